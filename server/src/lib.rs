//! td-sync, the server: an event log per project, who may use it, and the routes over both.
//!
//! Duty: acknowledge what is durable, serve it in one order, keep everything else derivable from it.

pub mod log;
