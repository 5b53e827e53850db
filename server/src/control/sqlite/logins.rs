//! Challenges in `auth_email_challenges`, events in `auth_events`.

use super::{SqliteControl, invitations, keys, stamp, time, users};
use crate::control::logins::{
    Approved, Approver, Exchanged, LoginEvent, LoginStore, Metadata, NewLogin, PendingLogin, Polled, Purpose,
};
use crate::control::{ControlError, NewKey};
use crate::secret;
use rusqlite::{Connection, OptionalExtension, Row, params};
use td_engine::time::ClientTime;

/// Wrong states after which a web link is burnt.
const MOST_ATTEMPTS: i64 = 5;

/// A stored challenge.
struct Challenge {
    id: String,
    selector: String,
    purpose: String,
    email: String,
    user_id: Option<String>,
    token_hash: String,
    code_challenge: String,
    state_hash: String,
    status: String,
    expires_at: ClientTime,
}

const COLUMNS: &str =
    "SELECT id, selector, purpose, email, user_id, token_hash, code_challenge, state_hash, status, expires_at
    FROM auth_email_challenges";

fn challenge(row: &Row<'_>) -> rusqlite::Result<Challenge> {
    let text = |column: &str| row.get::<_, Option<String>>(column).map(Option::unwrap_or_default);
    Ok(Challenge {
        id: row.get("id")?,
        selector: row.get("selector")?,
        purpose: row.get("purpose")?,
        email: row.get("email")?,
        user_id: row.get("user_id")?,
        token_hash: row.get("token_hash")?,
        code_challenge: text("code_challenge")?,
        state_hash: text("state_hash")?,
        status: row.get("status")?,
        expires_at: time(row, "expires_at")?,
    })
}

impl Challenge {
    fn find(c: &Connection, column: &str, value: &str) -> Result<Option<Self>, ControlError> {
        let mut q = c.prepare_cached(&format!("{COLUMNS} WHERE {column} = ?1"))?;
        Ok(q.query_row([value], challenge).optional()?)
    }

    /// Of this purpose and with this secret.
    fn known(
        c: &Connection,
        selector: &str,
        token_hash: &str,
        purpose: Purpose,
    ) -> Result<Option<Self>, ControlError> {
        let found = Self::find(c, "selector", selector)?;
        Ok(found.filter(|f| secret::same(&f.token_hash, token_hash) && f.purpose == purpose.as_str()))
    }

    fn is_over(&self, now: ClientTime) -> bool {
        self.expires_at.unix_nanos() <= now.unix_nanos()
    }

    /// Nothing stands in the way of an approval but this.
    fn obstacle(&self, now: ClientTime) -> Option<Approved> {
        match self.status.as_str() {
            "pending" if self.is_over(now) => Some(Approved::Expired),
            "pending" => None,
            "expired" => Some(Approved::Expired),
            _ => Some(Approved::Used),
        }
    }

    fn turn(&self, c: &Connection, status: &str, column: &str, now: ClientTime) -> Result<(), ControlError> {
        c.execute(
            &format!("UPDATE auth_email_challenges SET status = ?2, {column} = ?3 WHERE id = ?1"),
            params![self.id, status, stamp(now)],
        )?;
        Ok(())
    }

    fn note(
        &self,
        c: &Connection,
        kind: &str,
        metadata: &Metadata,
        now: ClientTime,
    ) -> Result<(), ControlError> {
        event(c, kind, &self.selector, &self.email, metadata, now)
    }

    /// Whoever read the mail owns the address.
    fn proves_address(&self, c: &Connection, now: ClientTime) -> Result<(), ControlError> {
        c.execute(
            "UPDATE users SET email_verified_at = ?2, updated_at = ?2 WHERE id = ?1 AND email_verified_at IS NULL",
            params![self.user_id, stamp(now)],
        )?;
        self.user_id.as_deref().map_or(Ok(()), |user| invitations::proven(c, user))
    }
}

fn start(c: &Connection, new: &NewLogin, now: ClientTime) -> Result<(), ControlError> {
    c.execute(
        "INSERT INTO auth_email_challenges (id, purpose, email, user_id, selector, token_hash, device_code_hash,
         code_challenge, code_challenge_method, redirect_uri, state_hash, ip, user_agent, expires_at, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        params![
            secret::id("ec_")?,
            new.purpose.as_str(),
            new.email,
            new.user_id,
            new.selector,
            new.token_hash,
            new.device.as_ref().map(|d| &d.code_hash),
            new.device.as_ref().map(|d| &d.challenge),
            new.device.as_ref().map(|_| "S256"),
            new.web.as_ref().map(|w| &w.redirect_uri),
            new.web.as_ref().map(|w| &w.state_hash),
            new.client,
            new.user_agent,
            stamp(new.expires_at),
            stamp(now)
        ],
    )?;
    Ok(())
}

fn approve(
    c: &Connection,
    selector: &str,
    token_hash: &str,
    metadata: &Metadata,
    now: ClientTime,
) -> Result<Approved, ControlError> {
    let Some(found) = Challenge::known(c, selector, token_hash, Purpose::DeviceLogin)? else {
        return Ok(Approved::Unknown);
    };
    if let Some(obstacle) = found.obstacle(now) {
        return Ok(obstacle);
    }
    found.turn(c, "verified", "verified_at", now)?;
    found.proves_address(c, now)?;
    found.note(c, "device_verified", metadata, now)?;
    Ok(Approved::Done)
}

/// The account that the holder of an enrolment link may approve for.
fn approver(c: &Connection, link_hash: &str, now: ClientTime) -> Result<Option<String>, ControlError> {
    let user = &format!(
        "SELECT e.user_id FROM tdsync_enrolments e LEFT JOIN tdsync_invitation_links l ON l.enrolment_id = e.id
         WHERE e.secret_hash = ?1 AND e.used_at IS NULL AND e.expires_at > ?2 AND {}",
        keys::link_stands()
    );
    Ok(c.query_row(user, params![link_hash, stamp(now)], |row| row.get(0)).optional()?)
}

fn decide(
    c: &Connection,
    id: &str,
    by: &Approver,
    yes: bool,
    metadata: &Metadata,
    now: ClientTime,
) -> Result<Approved, ControlError> {
    let found = Challenge::find(c, "id", id)?.filter(|f| f.purpose == Purpose::DeviceLogin.as_str());
    let Some(found) = found else { return Ok(Approved::Unknown) };
    if let Approver::Enrolment(hash) = by {
        let user = approver(c, hash, now)?;
        if user.is_none() || user != found.user_id {
            return Ok(Approved::Unknown);
        }
    }
    if let Some(obstacle) = found.obstacle(now) {
        return Ok(obstacle);
    }
    if let Approver::Enrolment(hash) = by {
        c.execute(
            "UPDATE tdsync_enrolments SET used_at = ?2 WHERE secret_hash = ?1",
            params![hash, stamp(now)],
        )?;
    }
    let who = if *by == Approver::Operator { "operator" } else { "enrolment" };
    let metadata = with(metadata, "by", who);
    if yes {
        found.turn(c, "verified", "verified_at", now)?;
        found.note(c, "device_verified", &metadata, now)?;
    } else {
        found.turn(c, "expired", "consumed_at", now)?;
        found.note(c, "login_failed", &metadata, now)?;
    }
    Ok(Approved::Done)
}

/// With the account's own address: what was typed may say anything around it, and is no proof of whom it is for.
const PENDING: &str =
    "SELECT c.id, u.email, coalesce(c.ip, '') ip, coalesce(c.user_agent, '') user_agent, c.created_at,
    c.expires_at FROM auth_email_challenges c JOIN users u ON u.id = c.user_id
    WHERE c.purpose = 'device_login' AND c.status = 'pending' AND c.expires_at > ?1";

fn waiting(row: &Row<'_>) -> rusqlite::Result<PendingLogin> {
    Ok(PendingLogin {
        id: row.get("id")?,
        email: row.get("email")?,
        client: row.get("ip")?,
        user_agent: row.get("user_agent")?,
        created_at: time(row, "created_at")?,
        expires_at: time(row, "expires_at")?,
    })
}

fn pending(
    c: &Connection,
    of: &Approver,
    now: ClientTime,
) -> Result<Option<Vec<PendingLogin>>, ControlError> {
    let user = match of {
        Approver::Operator => None,
        Approver::Enrolment(hash) => match approver(c, hash, now)? {
            Some(user) => Some(user),
            None => return Ok(None),
        },
    };
    let mut q = c.prepare_cached(&format!(
        "{PENDING} AND (?2 IS NULL OR c.user_id = ?2) ORDER BY c.created_at DESC, c.id LIMIT 100"
    ))?;
    let rows = q.query_map(params![stamp(now), user], waiting)?;
    Ok(Some(rows.collect::<Result<_, _>>()?))
}

fn finish_device(
    c: &Connection,
    code_hash: &str,
    challenge: &str,
    key: &NewKey,
    metadata: &Metadata,
    now: ClientTime,
) -> Result<Polled, ControlError> {
    let Some(found) = Challenge::find(c, "device_code_hash", code_hash)? else { return Ok(Polled::Pending) };
    match found.status.as_str() {
        "pending" if !found.is_over(now) => return Ok(Polled::Pending),
        "verified" if !found.is_over(now) => {}
        "consumed" => return Ok(Polled::Used),
        _ => return Ok(Polled::Expired),
    }
    let failed = |reason: Polled| {
        found.note(c, "login_failed", metadata, now)?;
        Ok(reason)
    };
    if !secret::same(&found.code_challenge, challenge) {
        return failed(Polled::WrongVerifier);
    }
    let user = found.user_id.as_deref().map(|id| users::by_id(c, id)).transpose()?.flatten();
    let Some(user) = user else { return failed(Polled::NoUser) };
    found.turn(c, "consumed", "consumed_at", now)?;
    let key_id = keys::create(c, &user.id, key, now)?;
    found.note(c, "key_issued", &with(metadata, "key_id", &key_id), now)?;
    Ok(Polled::Complete(user, found.email))
}

fn finish_web(
    c: &Connection,
    selector: &str,
    token_hash: &str,
    state_hash: &str,
    key: &NewKey,
    metadata: &Metadata,
    now: ClientTime,
) -> Result<Exchanged, ControlError> {
    let failed = |email: &str, reason: Exchanged| {
        event(c, "login_failed", selector, email, metadata, now)?;
        Ok(reason)
    };
    let Some(found) = Challenge::known(c, selector, token_hash, Purpose::WebLogin)? else {
        return failed("", Exchanged::Unknown);
    };
    match found.obstacle(now) {
        None => {}
        Some(Approved::Expired) => return failed(&found.email, Exchanged::Expired),
        Some(_) => return failed(&found.email, Exchanged::Used),
    }
    if !secret::same(&found.state_hash, state_hash) {
        // Not burnt at once, as the reference does: a person may have opened the link in the wrong browser (W33).
        c.execute(
            "UPDATE auth_email_challenges SET attempts = attempts + 1,
             status = CASE WHEN attempts + 1 >= ?2 THEN 'failed' ELSE status END WHERE id = ?1",
            params![found.id, MOST_ATTEMPTS],
        )?;
        return failed(&found.email, Exchanged::WrongState);
    }
    let user = found.user_id.as_deref().map(|id| users::by_id(c, id)).transpose()?.flatten();
    let Some(user) = user else { return failed(&found.email, Exchanged::Unknown) };
    found.turn(c, "consumed", "consumed_at", now)?;
    found.proves_address(c, now)?;
    let key_id = keys::create(c, &user.id, key, now)?;
    found.note(c, "web_exchanged", &with(metadata, "key_id", &key_id), now)?;
    Ok(Exchanged::Complete(user, found.email))
}

fn with(metadata: &Metadata, name: &'static str, value: &str) -> Metadata {
    let mut metadata = metadata.clone();
    metadata.insert(name, value.into());
    metadata
}

fn event(
    c: &Connection,
    kind: &str,
    request: &str,
    email: &str,
    metadata: &Metadata,
    now: ClientTime,
) -> Result<(), ControlError> {
    let metadata = serde_json::to_string(metadata).map_err(|e| ControlError::Storage(e.to_string()))?;
    let put = "INSERT INTO auth_events (auth_request_id, email, event_type, metadata, created_at)
               VALUES (?1, ?2, ?3, ?4, ?5)";
    c.prepare_cached(put)?.execute(params![request, email, kind, metadata, now.sql_utc()])?;
    Ok(())
}

impl LoginStore for SqliteControl {
    fn start_login(&self, new: &NewLogin, begun: &LoginEvent, now: ClientTime) -> Result<(), ControlError> {
        self.write(|tx| {
            start(tx, new, now)?;
            event(tx, begun.kind, &begun.request, &begun.email, &begun.metadata, now)
        })
    }

    fn pending_login(
        &self,
        selector: &str,
        token_hash: &str,
        now: ClientTime,
    ) -> Result<Option<PendingLogin>, ControlError> {
        self.read(|c| {
            let Some(known) = Challenge::known(c, selector, token_hash, Purpose::DeviceLogin)? else {
                return Ok(None);
            };
            let mut q = c.prepare_cached(&format!("{PENDING} AND c.id = ?2"))?;
            Ok(q.query_row(params![stamp(now), known.id], waiting).optional()?)
        })
    }

    fn approve_login(
        &self,
        selector: &str,
        token_hash: &str,
        metadata: &Metadata,
        now: ClientTime,
    ) -> Result<Approved, ControlError> {
        self.write(|tx| approve(tx, selector, token_hash, metadata, now))
    }

    fn decide_login(
        &self,
        id: &str,
        by: &Approver,
        yes: bool,
        metadata: &Metadata,
        now: ClientTime,
    ) -> Result<Approved, ControlError> {
        self.write(|tx| decide(tx, id, by, yes, metadata, now))
    }

    fn pending_logins(
        &self,
        of: &Approver,
        now: ClientTime,
    ) -> Result<Option<Vec<PendingLogin>>, ControlError> {
        self.read(|c| pending(c, of, now))
    }

    fn is_login_pending(&self, code_hash: &str, now: ClientTime) -> Result<bool, ControlError> {
        self.read(|c| {
            let found = Challenge::find(c, "device_code_hash", code_hash)?;
            Ok(found.is_none_or(|f| f.status == "pending" && !f.is_over(now)))
        })
    }

    fn finish_device_login(
        &self,
        code_hash: &str,
        challenge: &str,
        key: &NewKey,
        metadata: &Metadata,
        now: ClientTime,
    ) -> Result<Polled, ControlError> {
        self.write(|tx| finish_device(tx, code_hash, challenge, key, metadata, now))
    }

    fn finish_web_login(
        &self,
        selector: &str,
        token_hash: &str,
        state_hash: &str,
        key: &NewKey,
        metadata: &Metadata,
        now: ClientTime,
    ) -> Result<Exchanged, ControlError> {
        self.write(|tx| finish_web(tx, selector, token_hash, state_hash, key, metadata, now))
    }

    fn has_open_invitation(&self, email: &str, now: ClientTime) -> Result<bool, ControlError> {
        self.read(|c| {
            let open = format!(
                "SELECT 1 FROM invitations i JOIN projects p ON p.id = i.project_id WHERE i.email = ?1
                 AND i.status = 'pending' AND i.expires_at > ?2 AND {}",
                super::invitations::STANDS
            );
            Ok(c.prepare_cached(&open)?.exists(params![email, stamp(now)])?)
        })
    }

    fn login_events(&self, events: &[LoginEvent], now: ClientTime) -> Result<(), ControlError> {
        self.write(|tx| {
            events.iter().try_for_each(|e| event(tx, e.kind, &e.request, &e.email, &e.metadata, now))
        })
    }

    fn sweep(&self, now: ClientTime) -> Result<usize, ControlError> {
        self.write(|tx| {
            let mut changed = 0;
            for sql in [
                "UPDATE auth_email_challenges SET status = 'expired'
                 WHERE status IN ('pending', 'verified') AND expires_at <= ?1",
                "UPDATE invitations SET status = 'expired' WHERE status = 'pending' AND expires_at <= ?1",
                "DELETE FROM tdsync_enrolments WHERE expires_at <= datetime(?1, '-30 days')",
                "DELETE FROM api_keys WHERE expires_at <= datetime(?1, '-30 days')",
                "DELETE FROM tdsync_tokens WHERE expires_at <= datetime(?1, '-30 days')",
                "DELETE FROM auth_email_challenges WHERE status <> 'pending' AND created_at <= datetime(?1, '-30 days')",
            ] {
                changed += tx.execute(sql, [stamp(now)])?;
            }
            Ok(changed)
        })
    }
}
