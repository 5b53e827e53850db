//! Lists for admins. Every list goes by id, so a page neither repeats nor misses a row, whatever is added meanwhile (W38).

use super::{SqliteControl, changed, maybe_time, projects, stamp, time, users};
use crate::control::{
    AuthEventSeen, Change, ControlError, CursorSeen, Keep, Oversight, Page, ProjectSeen, Records,
    RefusalSeen, Slice, Totals, User, UserSeen,
};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};
use serde_json::json;
use td_engine::time::ClientTime;

/// Most cursors in one answer.
const MOST_CURSORS: i64 = 10_000;
/// Most records of a kind that one round forgets, so that no round holds the file long.
pub(super) const FORGET_AT_ONCE: i64 = 5_000;
/// Most refusals that are kept, however young: whoever is refused needs no key, so strangers decide how many there are.
pub(super) const MOST_REFUSALS: i64 = 100_000;

const USER: &str = "SELECT u.id, u.email, u.is_admin, u.created_at,
    (SELECT count(*) FROM memberships m WHERE m.user_id = u.id) AS projects,
    (SELECT max(last_used_at) FROM api_keys k WHERE k.user_id = u.id) AS last_activity FROM users u";
const PROJECT: &str = "SELECT p.id, p.name, p.description, p.slug, p.created_at, p.updated_at, p.deleted_at,
    p.event_count, p.last_event_at,
    (SELECT count(*) FROM memberships m WHERE m.project_id = p.id) AS members FROM projects p";

fn user(row: &Row<'_>) -> rusqlite::Result<UserSeen> {
    Ok(UserSeen {
        user: users::user(row)?,
        projects: row.get("projects")?,
        last_activity: row.get("last_activity")?,
    })
}

fn project(row: &Row<'_>) -> rusqlite::Result<ProjectSeen> {
    Ok(ProjectSeen {
        project: projects::project(row)?,
        events: row.get("event_count")?,
        last_event_at: maybe_time(row, "last_event_at")?,
        members: row.get("members")?,
    })
}

/// One row more than asked for tells whether more follow.
fn page<T>(
    c: &Connection,
    sql: &str,
    values: &[&dyn ToSql],
    limit: usize,
    item: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Page<T>, ControlError> {
    let mut q = c.prepare_cached(&format!("{sql} LIMIT {}", limit.saturating_add(1)))?;
    let mut items: Vec<T> = q.query_map(values, item)?.collect::<Result<_, _>>()?;
    let more = items.len() > limit;
    items.truncate(limit);
    Ok(Page { items, more })
}

/// The journals' times are whole seconds without a zone (server-protocol 6.4), so a moment becomes the first of them that
/// is not before it, or the last that is not after it: instants are compared, not spellings.
fn seconds(time: ClientTime, up: bool) -> String {
    const SECOND: i128 = 1_000_000_000;
    let floor = time.unix_nanos().div_euclid(SECOND);
    let whole = if up && floor * SECOND != time.unix_nanos() { floor + 1 } else { floor };
    crate::clock::at(whole * SECOND).sql_utc()
}

impl Records {
    fn bounds(&self) -> (Option<String>, Option<String>, i64) {
        let after = self.slice.after.as_deref().and_then(|id| id.parse().ok()).unwrap_or(0);
        (self.from.map(|t| seconds(t, true)), self.to.map(|t| seconds(t, false)), after)
    }
}

impl Oversight for SqliteControl {
    fn totals(&self) -> Result<Totals, ControlError> {
        self.read(|c| {
            let sql = "SELECT (SELECT count(*) FROM projects WHERE deleted_at IS NULL),
                (SELECT count(*) FROM users), (SELECT count(*) FROM memberships)";
            Ok(c.query_row(sql, [], |row| {
                Ok(Totals { projects: row.get(0)?, users: row.get(1)?, members: row.get(2)? })
            })?)
        })
    }

    fn users_page(&self, email: Option<&str>, slice: &Slice) -> Result<Page<UserSeen>, ControlError> {
        let sql = format!(
            "{USER} WHERE (?1 IS NULL OR u.email LIKE '%' || ?1 || '%') AND (?2 IS NULL OR u.id > ?2) ORDER BY u.id"
        );
        self.read(|c| page(c, &sql, &[&email, &slice.after], slice.limit, user))
    }

    fn user_seen(&self, id: &str) -> Result<Option<UserSeen>, ControlError> {
        self.read(|c| Ok(c.query_row(&format!("{USER} WHERE u.id = ?1"), [id], user).optional()?))
    }

    fn roles_of(&self, user: &str) -> Result<Vec<(String, String, String)>, ControlError> {
        self.read(|c| {
            let mut q = c.prepare_cached(
                "SELECT p.id, p.name, m.role FROM memberships m JOIN projects p ON p.id = m.project_id
                 WHERE m.user_id = ?1 AND p.deleted_at IS NULL ORDER BY p.name, p.id",
            )?;
            let rows = q.query_map([user], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    fn revoke_key_of(
        &self,
        user: &User,
        key: &str,
        by: &str,
        now: ClientTime,
    ) -> Result<Change, ControlError> {
        self.write(|tx| {
            let rows = tx.execute("DELETE FROM api_keys WHERE id = ?1 AND user_id = ?2", [key, &user.id])?;
            if rows > 0 {
                let metadata = json!({"admin_user_id": by, "key_id": key}).to_string();
                tx.execute(
                    "INSERT INTO auth_events (auth_request_id, email, event_type, metadata, created_at)
                     VALUES ('', ?1, 'key_revoked', ?2, ?3)",
                    params![user.email, metadata, now.sql_utc()],
                )?;
            }
            Ok(changed(rows))
        })
    }

    fn projects_page(
        &self,
        name: Option<&str>,
        deleted: bool,
        slice: &Slice,
    ) -> Result<Page<ProjectSeen>, ControlError> {
        let sql = format!(
            "{PROJECT} WHERE (?1 IS NULL OR p.name LIKE '%' || ?1 || '%') AND (?2 IS NULL OR p.id > ?2)
             AND (?3 OR p.deleted_at IS NULL) ORDER BY p.id"
        );
        self.read(|c| page(c, &sql, &[&name, &slice.after, &deleted], slice.limit, project))
    }

    fn project_seen(&self, id: &str) -> Result<Option<ProjectSeen>, ControlError> {
        self.read(|c| Ok(c.query_row(&format!("{PROJECT} WHERE p.id = ?1"), [id], project).optional()?))
    }

    fn cursors(&self, project: &str) -> Result<Vec<CursorSeen>, ControlError> {
        self.read(|c| {
            let mut q = c.prepare_cached(
                "SELECT client_id, last_event_id, last_sync_at FROM sync_cursors WHERE project_id = ?1
                 ORDER BY client_id LIMIT ?2",
            )?;
            let rows = q.query_map(params![project, MOST_CURSORS], |row| {
                Ok(CursorSeen {
                    client: row.get("client_id")?,
                    seq: row.get("last_event_id")?,
                    at: maybe_time(row, "last_sync_at")?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    fn event_counts(&self) -> Result<Vec<(String, i64)>, ControlError> {
        self.read(|c| {
            let mut q = c.prepare_cached("SELECT id, event_count FROM projects ORDER BY id")?;
            Ok(q.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
        })
    }

    fn refusals(
        &self,
        key_id: Option<&str>,
        ip: Option<&str>,
        which: &Records,
    ) -> Result<Page<RefusalSeen>, ControlError> {
        let (from, to, after) = which.bounds();
        let sql = "SELECT id, key_id, ip, endpoint_class, created_at FROM rate_limit_events
            WHERE id > ?1 AND (?2 IS NULL OR created_at >= ?2) AND (?3 IS NULL OR created_at <= ?3)
            AND (?4 IS NULL OR key_id = ?4) AND (?5 IS NULL OR ip = ?5) ORDER BY id";
        self.read(|c| {
            page(c, sql, &[&after, &from, &to, &key_id, &ip], which.slice.limit, |row| {
                Ok(RefusalSeen {
                    id: row.get("id")?,
                    key_id: row.get::<_, Option<String>>("key_id")?.unwrap_or_default(),
                    ip: row.get::<_, Option<String>>("ip")?.unwrap_or_default(),
                    endpoint_class: row.get("endpoint_class")?,
                    created_at: time(row, "created_at")?,
                })
            })
        })
    }

    fn auth_events(
        &self,
        kind: Option<&str>,
        email: Option<&str>,
        which: &Records,
    ) -> Result<Page<AuthEventSeen>, ControlError> {
        let (from, to, after) = which.bounds();
        let sql = "SELECT id, auth_request_id, email, event_type, metadata, created_at FROM auth_events
            WHERE id > ?1 AND (?2 IS NULL OR created_at >= ?2) AND (?3 IS NULL OR created_at <= ?3)
            AND (?4 IS NULL OR event_type = ?4) AND (?5 IS NULL OR email LIKE '%' || ?5 || '%') ORDER BY id";
        self.read(|c| {
            page(c, sql, &[&after, &from, &to, &kind, &email], which.slice.limit, |row| {
                Ok(AuthEventSeen {
                    id: row.get("id")?,
                    auth_request_id: row.get("auth_request_id")?,
                    email: row.get("email")?,
                    event_type: row.get("event_type")?,
                    metadata: row.get::<_, Option<String>>("metadata")?.unwrap_or_else(|| "{}".into()),
                    created_at: time(row, "created_at")?,
                })
            })
        })
    }

    fn forget(&self, keep: &Keep) -> Result<usize, ControlError> {
        self.write(|tx| {
            let mut gone = 0;
            for (table, before) in [("auth_events", keep.auth_events), ("rate_limit_events", keep.refusals)] {
                let sql = format!(
                    "DELETE FROM {table} WHERE id IN
                     (SELECT id FROM {table} WHERE created_at < ?1 ORDER BY created_at LIMIT ?2)"
                );
                gone += tx.prepare_cached(&sql)?.execute(params![seconds(before, false), FORGET_AT_ONCE])?;
            }
            gone += tx
                .prepare_cached(
                    "DELETE FROM rate_limit_events WHERE id IN
                     (SELECT id FROM rate_limit_events WHERE id <=
                      (SELECT id FROM rate_limit_events ORDER BY id DESC LIMIT 1 OFFSET ?1) ORDER BY id LIMIT ?2)",
                )?
                .execute([MOST_REFUSALS, FORGET_AT_ONCE])?;
            // A client names itself, so rows of clients that never come back pile up (W14, W43).
            gone += tx
                .prepare_cached(
                    "DELETE FROM sync_cursors WHERE rowid IN
                     (SELECT rowid FROM sync_cursors WHERE last_sync_at < ?1 LIMIT ?2)",
                )?
                .execute(params![stamp(keep.cursors), FORGET_AT_ONCE])?;
            Ok(gone)
        })
    }
}
