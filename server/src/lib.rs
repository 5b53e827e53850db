//! td-sync, the server: an event log per project, who may use it, and the routes over both.
//!
//! Duty: acknowledge what is durable, serve it in one order, keep everything else derivable from it.

pub mod admin;
pub mod auth;
pub mod clock;
pub mod config;
pub mod control;
pub mod datadir;
pub mod descriptors;
pub mod disk;
pub mod doctor;
pub mod ending;
pub mod http;
pub mod identity;
pub mod import;
pub mod jobs;
pub mod limit;
pub mod live;
pub mod log;
pub mod logging;
pub mod mail;
pub mod maintenance;
pub mod metrics;
pub mod openapi;
pub mod packing;
pub mod redact;
pub mod secret;
pub mod server;
pub mod snapshot;
pub mod tls;
pub mod version;
pub mod visible;
