//! Looking at a log as an operator does: by what an event is, with the time it came.

use td_engine::event::LogEvent;
use td_engine::id::Seq;
use td_engine::taxonomy::EntityType;
use td_engine::time::ClientTime;

/// Which events. What is `None` may be anything.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only events above this sequence.
    pub after: Seq,
    /// At most so many events.
    pub limit: usize,
    /// Of this kind of entity.
    pub entity_type: Option<EntityType>,
    /// Of this entity.
    pub entity_id: Option<String>,
    /// Doing this.
    pub action: Option<String>,
    /// Pushed by this device.
    pub device: Option<String>,
    /// In this session.
    pub session: Option<String>,
    /// That did not come before this moment.
    pub from: Option<ClientTime>,
    /// That did not come after this moment.
    pub to: Option<ClientTime>,
}

/// An event, and when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// The event.
    pub event: LogEvent,
    /// `server_timestamp`.
    pub at: ClientTime,
}

impl Filter {
    /// Whether an event is meant.
    pub(super) fn admits(&self, event: &LogEvent, at: ClientTime) -> bool {
        let is = |want: &Option<String>, have: &str| want.as_deref().is_none_or(|want| want == have);
        event.seq > self.after
            && self.entity_type.as_ref().is_none_or(|t| *t == event.entity_type)
            && is(&self.entity_id, &event.entity_id)
            && is(&self.action, &event.action)
            && is(&self.device, event.device.as_str())
            && is(&self.session, event.session.as_str())
            && self.from.is_none_or(|from| at.unix_nanos() >= from.unix_nanos())
            && self.to.is_none_or(|to| at.unix_nanos() <= to.unix_nanos())
    }
}
