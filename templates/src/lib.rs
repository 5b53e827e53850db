//! Text that td-sync writes for other programs to read: environment files and service units.
//!
//! Duty: turn a template and values into text, strictly, and read environment files back as the service manager would.
//! Invariant: a placeholder without a value, and a value without a placeholder, are errors; nothing is guessed and there
//! is no logic in a template.
//! Danger: an environment file is data. It is parsed by [`env_file`] and never handed to a shell.

pub mod env_file;
mod render;
mod units;

pub use render::{Template, TemplateError};
pub use units::{SystemUnits, UnitValues};
