//! The event log on a disk that loses what was not synced.

mod disk;
mod failures;
mod files;
mod laws;
mod logs;
mod pipeline;
mod power;
