//! One file per verb, or per family of verbs.

pub mod answers;
pub mod doctor;
pub mod explain;
pub mod hidden;
pub mod plan;
pub mod run;
pub mod server;
pub mod setup;
pub mod status;
pub mod summary;
pub mod uninstall;
