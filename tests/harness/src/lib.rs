//! A world in a box: simulated devices, one server engine in this process, a network and disks that fail by seed.
//!
//! Duty: find what makes two copies differ or loses a change, and hand it over as a seed and a short story.
//! Invariant: devices are the product's client library on real project folders, the server is the product's log, live
//! view and snapshot; only time, chance, network and disk are ours. Databases are opened through the product alone.
//! Danger: an oracle that compares a program with itself. So what was asked for is kept here, outside the product,
//! and compared with what the log and the rows say in the end.

pub mod busy;
pub mod device;
pub mod emit;
pub mod html;
pub mod mind;
pub mod network;
pub mod oracle;
pub mod random;
pub mod report;
pub mod run;
pub mod script;
pub mod second;
pub mod server;
pub mod trace;
pub mod world;
