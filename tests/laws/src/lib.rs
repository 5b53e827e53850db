//! The laws of an event log, as tests that any backend can be put through.
//!
//! Duty: say once what every backend must keep (the docs of [`EventLog`]), in a form that fails where one does not.
//! Use: implement [`Backend`] and name it in [`law_tests!`]; each law becomes one `#[test]`.
//! Danger: a law is only as strong as the backend's [`Backend::crash`]. The one on `tests/faultfs` loses unsynced
//! writes; the one on a real disk can only lose what a killed process loses.

pub mod build;
mod late;
mod laws;
mod store;

pub use late::*;
pub use laws::*;
pub use store::*;

use std::sync::Arc;
use td_engine::id::ProjectId;
use td_server::log::{EventLog, LogError, Logs};

/// A place where logs are kept, that can be restarted and crashed.
pub trait Backend {
    /// The logs as the running server has them.
    fn logs(&self) -> &dyn Logs;
    /// Stops cleanly and starts again over what is stored.
    fn restart(&mut self);
    /// Ends without any goodbye, and starts again over what is stored. Logs held from before stay safe to drop.
    fn crash(&mut self);
}

/// The project that the laws use.
pub fn project() -> ProjectId {
    ProjectId::parse("p_0123456789abcdef").expect("well formed")
}

/// A new log in the backend.
pub fn create(backend: &dyn Backend) -> Arc<dyn EventLog> {
    backend.logs().create(&project()).expect("a new log")
}

/// The log after a restart or crash.
pub fn open(backend: &dyn Backend) -> Arc<dyn EventLog> {
    backend.logs().open(&project()).expect("the log of before")
}

/// Whether the project has no log.
pub fn is_missing(backend: &dyn Backend) -> bool {
    matches!(backend.logs().open(&project()), Err(LogError::Missing))
}

/// One `#[test]` per law for the backend that the expression makes.
#[macro_export]
macro_rules! law_tests {
    ($make:expr) => {
        $crate::law_tests!(@each $make,
            an_acknowledged_event_survives_a_crash,
            an_event_is_readable_when_its_push_is_answered,
            whoever_sees_a_number_has_seen_every_lower_one,
            a_page_is_one_consistent_moment,
            duplicates_and_missing_payloads_burn_one_number_each,
            burned_numbers_survive_restart_and_crash,
            a_duplicate_push_answers_with_its_old_sequence,
            the_same_event_is_told_by_meaning_not_by_spelling,
            another_event_under_a_used_key_is_kept_beside_it,
            a_moved_event_is_found_again_after_a_crash,
            the_same_key_twice_in_one_push_is_matched_by_position,
            devices_and_sessions_have_keys_of_their_own,
            one_failing_push_does_not_take_its_neighbours,
            a_push_beyond_its_bound_stores_nothing,
            a_watcher_ends_with_the_newest_head,
            the_head_counts_what_is_stored_and_what_is_given_out,
            reads_start_after_stop_at_and_leave_out,
            an_entity_has_its_own_history,
            events_come_back_as_they_were_pushed,
            a_late_event_and_what_follows_it_come_back_to_their_device,
            an_event_in_time_does_not_come_back,
            lateness_is_judged_event_by_event,
            a_log_is_found_by_what_its_events_are,
            a_log_is_made_once_and_never_by_opening,
            deleted_means_gone,
            a_rewritten_log_has_other_payloads_and_nothing_else_is_new,
            a_project_made_again_starts_empty,
            a_closed_log_says_so,
            two_callers_get_the_same_log,
        );
    };
    (@each $make:expr, $($law:ident),* $(,)?) => {
        $(#[test] fn $law() { $crate::$law(&mut $make); })*
    };
}
