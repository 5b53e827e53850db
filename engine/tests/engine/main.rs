//! The engine from outside: what it promises to server, client and harness.
//!
//! Expected texts live in `tests/fixtures`; `TD_REWRITE=1 cargo test -p td-engine` writes them anew, to be read in the
//! diff before they are committed.

mod busy_log;
mod conflicts;
mod digest;
mod events;
mod local_changes;
mod merge_rules;
mod project_db;
mod random_log;
mod rebuild;
mod shapes;
mod soup;
mod speed;
