//! The steps themselves: one file, one step, one type.
//!
//! Duty: say for each step what is wanted, what is there, how to get from one to the other, and how to get back.
//! Invariant: a step touches only what it created, and its undo data say what that is.
//! Danger: `plan` and `apply` are written side by side and drift apart silently; the generated fault tests run every
//! step of a list through every interruption.

mod clearing;
mod dirs;
pub mod local;
mod managed;
