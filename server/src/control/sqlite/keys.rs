//! API keys and the enrolment links that make them.

use super::invitations::{self, COUNTS_AS};
use super::{maybe_time, stamp, time, tokens, users};
use crate::auth::{Principal, Role, Scopes};
use crate::control::invitations::Answered;
use crate::control::{ControlError, Enrolment, Key, NewEnrolment, NewKey, Redeemed};
use crate::secret;
use rusqlite::{Connection, OptionalExtension, params};
use td_engine::time::ClientTime;

pub(super) fn principal(c: &Connection, key_hash: &str) -> Result<Option<Principal>, ControlError> {
    let mut q = c.prepare_cached(&format!(
        "SELECT k.id, k.user_id, u.email, u.is_admin, k.scopes, k.expires_at, {COUNTS_AS}
         FROM api_keys k JOIN users u ON u.id = k.user_id WHERE k.key_hash = ?1"
    ))?;
    let found = q.query_row([key_hash], |row| {
        Ok(Principal {
            key_id: row.get("id")?,
            user_id: row.get("user_id")?,
            email: row.get("email")?,
            is_admin: row.get("is_admin")?,
            scopes: Scopes::stored(&row.get::<_, String>("scopes")?),
            expires_at: maybe_time(row, "expires_at")?,
            grants: None,
            has_budget: false,
            is_public: false,
            counts_as: row.get("counts_as")?,
        })
    });
    match found.optional()? {
        Some(found) => Ok(Some(found)),
        None => tokens::principal(c, key_hash),
    }
}

pub(super) fn create(
    c: &Connection,
    user: &str,
    key: &NewKey,
    now: ClientTime,
) -> Result<String, ControlError> {
    let id = secret::id("ak_")?;
    let shown = key.plaintext.strip_prefix("td_live_").unwrap_or(&key.plaintext);
    let prefix: String = shown.chars().take(8).collect();
    c.execute(
        "INSERT INTO api_keys (id, user_id, key_hash, key_prefix, name, scopes, expires_at, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            id,
            user,
            secret::hash(&key.plaintext),
            prefix,
            key.name,
            key.scopes.to_string(),
            key.expires_at.map(stamp),
            stamp(now)
        ],
    )?;
    Ok(id)
}

pub(super) fn list(c: &Connection, user: Option<&str>) -> Result<Vec<Key>, ControlError> {
    let mut q = c.prepare_cached(
        "SELECT k.id, k.user_id, u.email, k.key_prefix, k.name, k.scopes, k.expires_at, k.last_used_at, k.created_at
         FROM api_keys k JOIN users u ON u.id = k.user_id
         WHERE ?1 IS NULL OR k.user_id = ?1 ORDER BY k.created_at, k.id",
    )?;
    let rows = q.query_map([user], |row| {
        Ok(Key {
            id: row.get("id")?,
            user_id: row.get("user_id")?,
            email: row.get("email")?,
            prefix: row.get("key_prefix")?,
            name: row.get("name")?,
            scopes: row.get("scopes")?,
            expires_at: maybe_time(row, "expires_at")?,
            last_used_at: maybe_time(row, "last_used_at")?,
            created_at: time(row, "created_at")?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn create_enrolment(
    c: &Connection,
    new: &NewEnrolment,
    now: ClientTime,
) -> Result<String, ControlError> {
    let id = secret::id("en_")?;
    c.execute(
        "INSERT INTO tdsync_enrolments (id, secret_hash, user_id, project_id, role, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            id,
            new.secret_hash,
            new.user_id,
            new.project.as_ref().map(|(project, _)| project),
            new.project.as_ref().map(|(_, role)| role.as_str()),
            stamp(now),
            stamp(new.expires_at)
        ],
    )?;
    Ok(id)
}

pub(super) fn enrolments(c: &Connection) -> Result<Vec<Enrolment>, ControlError> {
    let mut q = c.prepare_cached(
        "SELECT e.id, u.email, e.project_id, e.role, e.created_at, e.expires_at, e.used_at
         FROM tdsync_enrolments e JOIN users u ON u.id = e.user_id ORDER BY e.created_at, e.id",
    )?;
    let rows = q.query_map([], |row| {
        Ok(Enrolment {
            id: row.get("id")?,
            email: row.get("email")?,
            project_id: row.get("project_id")?,
            role: row.get("role")?,
            created_at: time(row, "created_at")?,
            expires_at: time(row, "expires_at")?,
            used_at: maybe_time(row, "used_at")?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Of an enrolment `e` with its row `l` of `tdsync_invitation_links`, if any: a link that was handed over for an invitation is
/// as good as that is.
pub(super) fn link_stands() -> String {
    let stands = invitations::STANDS;
    format!(
        "(l.invitation_id IS NULL OR EXISTS (SELECT 1 FROM invitations i JOIN projects p ON p.id = i.project_id
         WHERE i.id = l.invitation_id AND i.status = 'pending' AND {stands}))"
    )
}

struct Link {
    id: String,
    user_id: String,
    invitation: Option<String>,
    stands: bool,
    project: Option<(String, Role)>,
    expires_at: ClientTime,
    used: bool,
}

pub(super) fn redeem(
    c: &Connection,
    secret_hash: &str,
    key: &NewKey,
    now: ClientTime,
) -> Result<Redeemed, ControlError> {
    let Some(link) = link(c, secret_hash)? else { return Ok(Redeemed::Unknown) };
    if link.used {
        return Ok(Redeemed::Used);
    }
    if link.expires_at.unix_nanos() < now.unix_nanos() {
        return Ok(Redeemed::Expired);
    }
    let user = users::by_id(c, &link.user_id)?.filter(|_| link.stands);
    let Some(user) = user else { return Ok(Redeemed::Expired) };
    let joined = match (&link.invitation, &link.project) {
        (Some(id), _) => matches!(invitations::accept(c, id, &user.id, &user.email, now)?, Answered::Done(_)),
        (None, Some((project, role))) => join(c, project, &user.id, *role, now)?,
        (None, None) => true,
    };
    if !joined {
        return Ok(Redeemed::Expired);
    }
    if link.invitation.is_none() {
        // The operator's own link.
        invitations::proven(c, &user.id)?;
    }
    let key_id = create(c, &user.id, key, now)?;
    c.execute(
        "UPDATE tdsync_enrolments SET used_at = ?2, key_id = ?3 WHERE id = ?1",
        params![link.id, stamp(now), key_id],
    )?;
    Ok(Redeemed::Done { user, project_id: link.project.map(|(project, _)| project) })
}

fn link(c: &Connection, secret_hash: &str) -> Result<Option<Link>, ControlError> {
    let mut q = c.prepare_cached(&format!(
        "SELECT e.id, e.user_id, e.project_id, e.role, e.expires_at, e.used_at, l.invitation_id, {} AS stands
         FROM tdsync_enrolments e LEFT JOIN tdsync_invitation_links l ON l.enrolment_id = e.id
         WHERE e.secret_hash = ?1",
        link_stands()
    ))?;
    let found = q.query_row([secret_hash], |row| {
        let project: Option<String> = row.get("project_id")?;
        let role: Option<String> = row.get("role")?;
        Ok(Link {
            id: row.get("id")?,
            user_id: row.get("user_id")?,
            invitation: row.get("invitation_id")?,
            stands: row.get("stands")?,
            project: project.zip(role.as_deref().and_then(Role::parse)),
            expires_at: time(row, "expires_at")?,
            used: row.get::<_, Option<String>>("used_at")?.is_some(),
        })
    });
    Ok(found.optional()?)
}

/// Adds the member or raises the role; never lowers it. `false` if the project is gone.
fn join(
    c: &Connection,
    project: &str,
    user: &str,
    role: Role,
    now: ClientTime,
) -> Result<bool, ControlError> {
    let alive =
        c.query_row("SELECT 1 FROM projects WHERE id = ?1 AND deleted_at IS NULL", [project], |_| Ok(()));
    if alive.optional()?.is_none() {
        return Ok(false);
    }
    let have = super::members::get(c, project, user)?;
    if have.is_none_or(|have| have.role < role) {
        c.execute(
            "INSERT INTO memberships (project_id, user_id, role, created_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (project_id, user_id) DO UPDATE SET role = excluded.role",
            params![project, user, role.as_str(), stamp(now)],
        )?;
    }
    Ok(true)
}
