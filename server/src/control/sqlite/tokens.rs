//! Tokens in tables of ours.

use super::invitations::COUNTS_AS;
use super::{SqliteControl, maybe_time, members, stamp, time};
use crate::auth::{Principal, Role, Scopes};
use crate::clock::later;
use crate::control::tokens::{Collected, Decided, Grant, Kind, Made, Terms, Token, TokenRequest, TokenStore};
use crate::control::{ControlError, NewKey};
use crate::secret;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;
use td_engine::time::ClientTime;

/// Requests of agents that wait at the same time. Anybody may make one, so there is an end to it.
const MOST_REQUESTS: usize = 1_000;
/// Of those, from one network.
const EACH: usize = 20;

const COLUMNS: &str =
    "SELECT id, kind, name, key_prefix, created_at, expires_at, last_used_at, max_events, used_events
    FROM tdsync_tokens";

fn grants(c: &Connection, token: &str) -> rusqlite::Result<Vec<Grant>> {
    let mut q = c.prepare_cached(
        "SELECT g.project_id, g.role FROM tdsync_grants g JOIN projects p ON p.id = g.project_id
         WHERE g.token_id = ?1 AND p.deleted_at IS NULL ORDER BY g.project_id",
    )?;
    q.query_map([token], |row| Ok(Grant { project: row.get(0)?, role: row.get(1)? }))?.collect()
}

fn token(c: &Connection, row: &Row<'_>) -> rusqlite::Result<Token> {
    let id: String = row.get("id")?;
    let kind: String = row.get("kind")?;
    Ok(Token {
        grants: grants(c, &id)?,
        kind: if kind == "link" { Kind::Link } else { Kind::Agent },
        name: row.get("name")?,
        prefix: row.get("key_prefix")?,
        created_at: time(row, "created_at")?,
        expires_at: maybe_time(row, "expires_at")?,
        last_used_at: maybe_time(row, "last_used_at")?,
        max_events: row.get("max_events")?,
        used_events: row.get("used_events")?,
        id,
    })
}

/// The holder of a token: its maker, with the grants as the only projects there are.
pub(super) fn principal(c: &Connection, key_hash: &str) -> Result<Option<Principal>, ControlError> {
    let mut q = c.prepare_cached(&format!(
        "SELECT t.id, t.kind, t.maker, u.email, t.expires_at, t.max_events, {COUNTS_AS}
         FROM tdsync_tokens t JOIN users u ON u.id = t.maker WHERE t.key_hash = ?1",
    ))?;
    let found = q.query_row([key_hash], |row| {
        let id: String = row.get("id")?;
        Ok(Principal {
            grants: Some(grants(c, &id)?),
            has_budget: row.get::<_, Option<i64>>("max_events")?.is_some(),
            is_public: row.get::<_, String>("kind")? == Kind::Link.as_str(),
            key_id: id,
            user_id: row.get("maker")?,
            email: row.get("email")?,
            is_admin: false,
            scopes: Scopes::stored("sync"),
            expires_at: maybe_time(row, "expires_at")?,
            counts_as: row.get("counts_as")?,
        })
    });
    Ok(found.optional()?)
}

/// The first grant that this person may not give.
fn not_theirs(c: &Connection, maker: &str, terms: &Terms) -> Result<Option<String>, ControlError> {
    for grant in &terms.grants {
        let have = members::get(c, &grant.project, maker)?.filter(|m| !m.deleted).map(|m| m.role);
        if grant.role().is_none_or(|role| have.is_none_or(|have| have < role)) {
            return Ok(Some(grant.project.clone()));
        }
    }
    Ok(None)
}

fn create(
    c: &Connection,
    maker: &str,
    kind: Kind,
    terms: &Terms,
    key: &NewKey,
    now: ClientTime,
) -> Result<Made, ControlError> {
    if let Some(project) = not_theirs(c, maker, terms)? {
        return Ok(Made::NotYours(project));
    }
    let id = secret::id("tk_")?;
    let shown = key.plaintext.rsplit('_').next().unwrap_or_default();
    c.execute(
        "INSERT INTO tdsync_tokens (id, key_hash, key_prefix, kind, name, maker, created_at, expires_at, max_events)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            id,
            secret::hash(&key.plaintext),
            shown.chars().take(8).collect::<String>(),
            kind.as_str(),
            terms.name,
            maker,
            stamp(now),
            terms.expires_in.map(|s| stamp(later(now, Duration::from_secs(s)))),
            terms.max_events
        ],
    )?;
    let mut put =
        c.prepare_cached("INSERT INTO tdsync_grants (token_id, project_id, role) VALUES (?1, ?2, ?3)")?;
    for grant in &terms.grants {
        put.execute([&id, &grant.project, &grant.role])?;
    }
    let made = by_id(c, &id)?.ok_or_else(|| ControlError::Storage("the new token is not there".into()))?;
    Ok(Made::Done(Box::new(made)))
}

/// Ends every public link of a project, or those that one person made.
fn forget_links(c: &Connection, project: &str, maker: Option<&str>) -> Result<bool, ControlError> {
    let gone = "DELETE FROM tdsync_tokens WHERE kind = 'link' AND (?2 IS NULL OR maker = ?2)
        AND id IN (SELECT token_id FROM tdsync_grants WHERE project_id = ?1)";
    Ok(c.prepare_cached(gone)?.execute(params![project, maker])? > 0)
}

/// What a person gave others in a project ends with their membership: it would come back to life with the next one.
pub(super) fn forget_grants(c: &Connection, project: &str, maker: &str) -> Result<(), ControlError> {
    forget_links(c, project, Some(maker))?;
    let gone = "DELETE FROM tdsync_grants WHERE project_id = ?1
        AND token_id IN (SELECT id FROM tdsync_tokens WHERE maker = ?2)";
    c.prepare_cached(gone)?.execute([project, maker])?;
    Ok(())
}

fn by_id(c: &Connection, id: &str) -> Result<Option<Token>, ControlError> {
    let mut q = c.prepare_cached(&format!("{COLUMNS} WHERE id = ?1"))?;
    Ok(q.query_row([id], |row| token(c, row)).optional()?)
}

fn collect(
    c: &Connection,
    poll_hash: &str,
    key: &NewKey,
    now: ClientTime,
) -> Result<Collected, ControlError> {
    let mut q = c.prepare_cached(
        "SELECT id, approved, approver, expires_at, used_at FROM tdsync_token_requests WHERE poll_hash = ?1",
    )?;
    let row = q.query_row([poll_hash], |row| {
        let approved = row.get::<_, Option<String>>(1)?.zip(row.get::<_, Option<String>>(2)?);
        let over = time(row, "expires_at")?.unix_nanos() <= now.unix_nanos();
        Ok((row.get::<_, String>(0)?, approved, over || row.get::<_, Option<String>>(4)?.is_some()))
    });
    let Some((id, approved, gone)) = row.optional()? else { return Ok(Collected::Pending) };
    if gone {
        return Ok(Collected::Gone);
    }
    let Some((terms, approver)) = approved else { return Ok(Collected::Pending) };
    let terms: Terms = serde_json::from_str(&terms).map_err(|e| ControlError::Storage(e.to_string()))?;
    c.execute("UPDATE tdsync_token_requests SET used_at = ?2 WHERE id = ?1", params![id, stamp(now)])?;
    Ok(match create(c, &approver, Kind::Agent, &terms, key, now)? {
        Made::Done(token) => Collected::Done(token),
        Made::NotYours(_) => Collected::Gone,
    })
}

/// Whether one more request may wait. Where all places are taken, the network with most of them gives one up, its oldest: a
/// stranger with many addresses could otherwise keep everybody's agents from asking.
fn make_room(c: &Connection, client: &str) -> Result<bool, ControlError> {
    let waiting =
        "SELECT id, client FROM tdsync_token_requests WHERE approved IS NULL ORDER BY created_at, rowid";
    let mut q = c.prepare_cached(waiting)?;
    let waiting: Vec<(String, String)> =
        q.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let mut of: HashMap<String, Vec<&str>> = HashMap::new();
    for (id, client) in &waiting {
        of.entry(network(client)).or_default().push(id);
    }
    if of.get(&network(client)).is_some_and(|mine| mine.len() >= EACH) {
        return Ok(false);
    }
    if waiting.len() >= MOST_REQUESTS
        && let Some(oldest) = of.values().max_by_key(|ids| ids.len()).and_then(|ids| ids.first())
    {
        c.execute("DELETE FROM tdsync_token_requests WHERE id = ?1", [oldest])?;
    }
    Ok(true)
}

/// What one customer of a provider has: an IPv4 address, or the /48 around an IPv6 one.
fn network(client: &str) -> String {
    match client.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V6(v6)) => format!("{:x?}", &v6.segments()[..3]),
        _ => client.into(),
    }
}

impl TokenStore for SqliteControl {
    fn create_token(
        &self,
        maker: &str,
        kind: Kind,
        terms: &Terms,
        key: &NewKey,
        now: ClientTime,
    ) -> Result<Made, ControlError> {
        self.write(|tx| create(tx, maker, kind, terms, key, now))
    }

    fn tokens_of(&self, maker: &str) -> Result<Vec<Token>, ControlError> {
        self.read(|c| {
            let mut q = c.prepare_cached(&format!("{COLUMNS} WHERE maker = ?1 ORDER BY created_at, id"))?;
            Ok(q.query_map([maker], |row| token(c, row))?.collect::<Result<_, _>>()?)
        })
    }

    fn token(&self, id: &str) -> Result<Option<Token>, ControlError> {
        self.read(|c| by_id(c, id))
    }

    fn revoke_own(&self, user: &str, id: &str) -> Result<bool, ControlError> {
        self.write(|tx| {
            let token = tx.execute("DELETE FROM tdsync_tokens WHERE id = ?1 AND maker = ?2", [id, user])?;
            let key = tx.execute("DELETE FROM api_keys WHERE id = ?1 AND user_id = ?2", [id, user])?;
            Ok(token + key > 0)
        })
    }

    fn forget_token(&self, id: &str) -> Result<(), ControlError> {
        self.write(|tx| Ok(tx.execute("DELETE FROM tdsync_tokens WHERE id = ?1", [id]).map(drop)?))
    }

    fn public_link(&self, project: &str) -> Result<Option<Token>, ControlError> {
        self.read(|c| {
            let sql = format!(
                "{COLUMNS} WHERE kind = 'link' AND id IN (SELECT token_id FROM tdsync_grants WHERE project_id = ?1)"
            );
            Ok(c.prepare_cached(&sql)?.query_row([project], |row| token(c, row)).optional()?)
        })
    }

    fn replace_link(
        &self,
        maker: &str,
        project: &str,
        key: &NewKey,
        now: ClientTime,
    ) -> Result<Made, ControlError> {
        let grant = Grant { project: project.into(), role: Role::Reader.to_string() };
        let terms =
            Terms { name: "public link".into(), grants: vec![grant], expires_in: None, max_events: None };
        self.write(|tx| {
            forget_links(tx, project, None)?;
            create(tx, maker, Kind::Link, &terms, key, now)
        })
    }

    fn forget_link(&self, project: &str) -> Result<bool, ControlError> {
        self.write(|tx| forget_links(tx, project, None))
    }

    fn spend(&self, token: &str, events: i64) -> Result<i64, ControlError> {
        self.write(|tx| {
            let left = "SELECT min(?2, max(0, coalesce(max_events - used_events, ?2))) FROM tdsync_tokens WHERE id = ?1";
            let left: Option<i64> =
                tx.prepare_cached(left)?.query_row(params![token, events], |row| row.get(0)).optional()?;
            let taken = left.unwrap_or(0);
            if taken > 0 {
                let take = "UPDATE tdsync_tokens SET used_events = used_events + ?2 WHERE id = ?1";
                tx.prepare_cached(take)?.execute(params![token, taken])?;
            }
            Ok(taken)
        })
    }

    fn refund(&self, token: &str, events: i64) -> Result<(), ControlError> {
        self.write(|tx| {
            let give = "UPDATE tdsync_tokens SET used_events = max(0, used_events - ?2) WHERE id = ?1";
            tx.execute(give, params![token, events])?;
            Ok(())
        })
    }

    fn ask_token(
        &self,
        poll_hash: &str,
        code: &str,
        name: &str,
        client: &str,
        until: ClientTime,
        now: ClientTime,
    ) -> Result<bool, ControlError> {
        self.write(|tx| {
            tx.execute("DELETE FROM tdsync_token_requests WHERE expires_at <= ?1", [stamp(now)])?;
            if !make_room(tx, client)? {
                return Ok(false);
            }
            tx.execute(
                "INSERT INTO tdsync_token_requests (id, poll_hash, user_code, name, client, created_at, expires_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![secret::id("tr_")?, poll_hash, code, name, client, stamp(now), stamp(until)],
            )?;
            Ok(true)
        })
    }

    fn token_request(&self, code: &str, now: ClientTime) -> Result<Option<TokenRequest>, ControlError> {
        self.read(|c| {
            let mut q = c.prepare_cached(
                "SELECT user_code, name, client, created_at FROM tdsync_token_requests
                 WHERE user_code = ?1 AND expires_at > ?2 AND approved IS NULL",
            )?;
            let found = q.query_row(params![code, stamp(now)], |row| {
                Ok(TokenRequest {
                    code: row.get(0)?,
                    name: row.get(1)?,
                    client: row.get(2)?,
                    created_at: time(row, "created_at")?,
                })
            });
            Ok(found.optional()?)
        })
    }

    fn approve_token(
        &self,
        code: &str,
        approver: &str,
        terms: &Terms,
        now: ClientTime,
    ) -> Result<Result<Decided, Made>, ControlError> {
        self.write(|tx| {
            if let Some(project) = not_theirs(tx, approver, terms)? {
                return Ok(Err(Made::NotYours(project)));
            }
            let open = "SELECT approved IS NOT NULL FROM tdsync_token_requests WHERE user_code = ?1 AND expires_at > ?2";
            let decided = tx.query_row(open, params![code, stamp(now)], |row| row.get::<_, bool>(0)).optional()?;
            match decided {
                None => return Ok(Ok(Decided::Unknown)),
                Some(true) => return Ok(Ok(Decided::Before)),
                Some(false) => {}
            }
            let text = serde_json::to_string(terms).map_err(|e| ControlError::Storage(e.to_string()))?;
            tx.execute(
                "UPDATE tdsync_token_requests SET approved = ?2, approver = ?3 WHERE user_code = ?1",
                params![code, text, approver],
            )?;
            Ok(Ok(Decided::Done))
        })
    }

    fn collect_token(
        &self,
        poll_hash: &str,
        key: &NewKey,
        now: ClientTime,
    ) -> Result<Collected, ControlError> {
        self.write(|tx| collect(tx, poll_hash, key, now))
    }
}

/// Last use of tokens, written behind with that of keys.
pub(super) fn used(c: &Connection, id: &str, at: ClientTime) -> Result<(), ControlError> {
    c.prepare_cached("UPDATE tdsync_tokens SET last_used_at = ?2 WHERE id = ?1")?
        .execute(params![id, stamp(at)])?;
    Ok(())
}
