//! `server.db`: the control store in SQLite, in the reference's schema (server-protocol 6.4).
//!
//! Duty: open or create the file, and run each method as one transaction on it.
//! Invariant: only the holder of the data directory's lock opens it. WAL and `synchronous=FULL`: a revoked key stays
//! revoked after a power loss.
//! Danger: the reference compares times as text, so every time is written in one form ([`stamp`]).

mod invitations;
mod keys;
mod lifecycle;
mod logins;
mod members;
mod oversight;
mod projects;
mod tokens;
mod users;

use super::{
    Added, Change, ControlError, ControlStore, Enrolment, Key, Member, Membership, NewEnrolment, NewKey,
    Project, Redeemed, Usage, User,
};
use crate::auth::{Principal, Role};
use crate::datadir::DataDir;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use td_engine::time::ClientTime;

/// Version of `schema_info` that this program reads and writes.
pub const SCHEMA: u32 = 6;
/// Makes the tables of that version in an empty file.
pub(crate) const CONTROL_SCHEMA: &str = include_str!("schema.sql");

/// `server.db`.
pub struct SqliteControl {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
}

impl SqliteControl {
    /// Opens the file, creating it if it is missing. `_dir` proves that nobody else has it open.
    pub fn open(path: &Path, _dir: &DataDir) -> Result<Self, ControlError> {
        let mut writer = Connection::open(path)?;
        settings(&writer)?;
        check_or_create(&mut writer)?;
        writer.execute_batch(include_str!("additions.sql"))?;
        projects::backfill_slugs(&mut writer)?;
        let reader = Connection::open(path)?;
        settings(&reader)?;
        reader.pragma_update(None, "query_only", true)?;
        Ok(Self { writer: Mutex::new(writer), reader: Mutex::new(reader) })
    }

    fn read<T>(&self, ask: impl FnOnce(&Connection) -> Result<T, ControlError>) -> Result<T, ControlError> {
        ask(&lock(&self.reader))
    }

    fn write<T>(
        &self,
        act: impl FnOnce(&Transaction<'_>) -> Result<T, ControlError>,
    ) -> Result<T, ControlError> {
        let mut writer = lock(&self.writer);
        let tx = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = act(&tx)?;
        tx.commit()?;
        Ok(result)
    }
}

/// A transaction that a panic interrupted was rolled back when it was dropped, so the connection is usable.
fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

fn settings(connection: &Connection) -> Result<(), ControlError> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(())
}

fn check_or_create(connection: &mut Connection) -> Result<(), ControlError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let tables: i64 =
        tx.query_row("SELECT count(*) FROM sqlite_master WHERE type = 'table'", [], |row| row.get(0))?;
    if tables == 0 {
        tx.execute_batch(CONTROL_SCHEMA)?;
    } else {
        let version = tx
            .query_row("SELECT value FROM schema_info WHERE key = 'version'", [], |row| {
                row.get::<_, String>(0)
            })
            .optional();
        let found = version.ok().flatten().unwrap_or_else(|| "none".into());
        if found != SCHEMA.to_string() {
            return Err(ControlError::Schema { found, supported: SCHEMA });
        }
    }
    Ok(tx.commit()?)
}

/// The one form in which times are written (server-protocol 6.3): UTC, `+00:00`.
fn stamp(time: ClientTime) -> String {
    time.utc().canonical()
}

/// A time column; any stored form.
fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<ClientTime> {
    let text: String = row.get(column)?;
    parse_time(&text)
}

/// A time column that may be NULL.
fn maybe_time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<ClientTime>> {
    row.get::<_, Option<String>>(column)?.map(|t| parse_time(&t)).transpose()
}

fn parse_time(text: &str) -> rusqlite::Result<ClientTime> {
    ClientTime::parse_stored(text)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e)))
}

fn changed(rows: usize) -> Change {
    if rows == 0 { Change::Unknown } else { Change::Done }
}

impl From<rusqlite::Error> for ControlError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(error.to_string())
    }
}

impl ControlStore for SqliteControl {
    fn ping(&self) -> Result<(), ControlError> {
        self.read(|c| Ok(c.query_row("SELECT 1", [], |_| Ok(()))?))
    }

    fn principal(&self, key_hash: &str) -> Result<Option<Principal>, ControlError> {
        self.read(|c| keys::principal(c, key_hash))
    }

    fn membership(&self, project: &str, user: &str) -> Result<Option<Membership>, ControlError> {
        self.read(|c| members::get(c, project, user))
    }

    fn ensure_user(
        &self,
        email: &str,
        first_is_admin: bool,
        now: ClientTime,
    ) -> Result<(User, bool), ControlError> {
        self.write(|tx| users::ensure(tx, email, first_is_admin, now))
    }

    fn user_by_email(&self, email: &str) -> Result<Option<User>, ControlError> {
        self.read(|c| users::by_email(c, email))
    }

    fn users(&self) -> Result<Vec<User>, ControlError> {
        self.read(users::all)
    }

    fn set_admin(&self, user: &str, admin: bool, now: ClientTime) -> Result<Change, ControlError> {
        self.write(|tx| users::set_admin(tx, user, admin, now))
    }

    fn create_key(&self, user: &str, key: &NewKey, now: ClientTime) -> Result<String, ControlError> {
        self.write(|tx| keys::create(tx, user, key, now))
    }

    fn keys(&self, user: Option<&str>) -> Result<Vec<Key>, ControlError> {
        self.read(|c| keys::list(c, user))
    }

    fn revoke_key(&self, key_id: &str) -> Result<Change, ControlError> {
        self.write(|tx| Ok(changed(tx.execute("DELETE FROM api_keys WHERE id = ?1", [key_id])?)))
    }

    fn create_project(
        &self,
        id: &str,
        name: &str,
        description: &str,
        owner: &str,
        now: ClientTime,
    ) -> Result<Project, ControlError> {
        self.write(|tx| projects::create(tx, id, name, description, owner, now))
    }

    fn projects_of(&self, user: &str) -> Result<Vec<Project>, ControlError> {
        self.read(|c| projects::of_user(c, user))
    }

    fn projects(&self) -> Result<Vec<Project>, ControlError> {
        self.read(projects::all)
    }

    fn project(&self, id: &str) -> Result<Option<Project>, ControlError> {
        self.read(|c| projects::get(c, id))
    }

    fn update_project(
        &self,
        id: &str,
        name: Option<&str>,
        description: Option<&str>,
        now: ClientTime,
    ) -> Result<Option<Project>, ControlError> {
        self.write(|tx| projects::update(tx, id, name, description, now))
    }

    fn delete_project(&self, id: &str, now: ClientTime) -> Result<Change, ControlError> {
        self.write(|tx| projects::delete(tx, id, now))
    }

    fn add_member(
        &self,
        project: &str,
        user: &str,
        role: Role,
        invited_by: &str,
        now: ClientTime,
    ) -> Result<Added, ControlError> {
        self.write(|tx| members::add(tx, project, user, role, invited_by, now))
    }

    fn members(&self, project: &str) -> Result<Vec<Member>, ControlError> {
        self.read(|c| members::list(c, project))
    }

    fn set_role(&self, project: &str, user: &str, role: Role) -> Result<Change, ControlError> {
        self.write(|tx| members::set_role(tx, project, user, role))
    }

    fn remove_member(&self, project: &str, user: &str) -> Result<Change, ControlError> {
        self.write(|tx| members::remove(tx, project, user))
    }

    fn create_enrolment(&self, new: &NewEnrolment, now: ClientTime) -> Result<String, ControlError> {
        self.write(|tx| keys::create_enrolment(tx, new, now))
    }

    fn enrolments(&self) -> Result<Vec<Enrolment>, ControlError> {
        self.read(keys::enrolments)
    }

    fn redeem(&self, secret_hash: &str, key: &NewKey, now: ClientTime) -> Result<Redeemed, ControlError> {
        self.write(|tx| keys::redeem(tx, secret_hash, key, now))
    }

    fn record(&self, usage: &Usage, now: ClientTime) -> Result<(), ControlError> {
        self.write(|tx| users::record(tx, usage, now))
    }
}

#[cfg(test)]
mod tests;
