//! stub

pub mod supervisor;
