//! Filesystems for SQLite that fail the way machines do.

pub mod kill;
