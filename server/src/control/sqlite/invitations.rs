//! Invitations in `invitations`.

use super::{SqliteControl, keys, maybe_time, members, stamp, time, users};
use crate::auth::Role;
use crate::control::invitations::{Answered, Invitation, InvitationStore, NewInvitation};
use crate::control::{Added, ControlError, Member, NewEnrolment};
use crate::secret;
use rusqlite::{Connection, OptionalExtension, Row, params};
use td_engine::time::ClientTime;

const COLUMNS: &str =
    "SELECT i.id, i.project_id, i.email, i.role, i.invited_by, i.status, i.created_at, i.expires_at,
    i.accepted_at FROM invitations i JOIN projects p ON p.id = i.project_id";

/// An invitation is as good as the right of whoever made it: it can be answered while they own the project (W34).
pub(super) const STANDS: &str =
    "p.deleted_at IS NULL AND EXISTS (SELECT 1 FROM memberships m WHERE m.project_id = i.project_id
    AND m.user_id = i.invited_by AND m.role = 'owner')";

fn invitation(row: &Row<'_>) -> rusqlite::Result<Invitation> {
    Ok(Invitation {
        id: row.get("id")?,
        project_id: row.get("project_id")?,
        email: row.get("email")?,
        role: row.get("role")?,
        invited_by: row.get("invited_by")?,
        status: row.get("status")?,
        created_at: time(row, "created_at")?,
        expires_at: time(row, "expires_at")?,
        accepted_at: maybe_time(row, "accepted_at")?,
    })
}

fn invite(c: &Connection, new: &NewInvitation, now: ClientTime) -> Result<Option<Invitation>, ControlError> {
    let id = secret::id("inv_")?;
    c.execute(
        "INSERT INTO invitations (id, project_id, email, role, invited_by, token_hash, created_at, expires_at)
         SELECT ?1, p.id, ?3, ?4, ?5, ?6, ?7, ?8 FROM projects p WHERE p.id = ?2 AND p.deleted_at IS NULL",
        params![
            id,
            new.project,
            new.email,
            new.role.as_str(),
            new.by,
            new.token_hash,
            stamp(now),
            stamp(new.expires_at)
        ],
    )?;
    let mut q = c.prepare_cached(&format!("{COLUMNS} WHERE i.id = ?1"))?;
    Ok(q.query_row([id], invitation).optional()?)
}

/// The invitation, if this person may answer it now. One that is overdue is marked so.
fn answerable(
    c: &Connection,
    id: &str,
    email: &str,
    now: ClientTime,
) -> Result<Answered<Invitation>, ControlError> {
    let mut q = c.prepare_cached(&format!("{COLUMNS} WHERE i.id = ?1 AND i.email = ?2 AND {STANDS}"))?;
    let Some(found) = q.query_row([id, email], invitation).optional()? else { return Ok(Answered::Unknown) };
    if found.status != "pending" {
        return Ok(Answered::NotPending);
    }
    if found.expires_at.unix_nanos() <= now.unix_nanos() {
        c.execute("UPDATE invitations SET status = 'expired' WHERE id = ?1", [id])?;
        return Ok(Answered::Expired);
    }
    Ok(Answered::Done(found))
}

fn hand_over(
    c: &Connection,
    invitation: &Invitation,
    secret_hash: &str,
    until: ClientTime,
    now: ClientTime,
) -> Result<bool, ControlError> {
    let (user, is_new) = users::ensure(c, &invitation.email, false, now)?;
    if !is_new {
        return Ok(false);
    }
    let project = Role::parse(&invitation.role).map(|role| (invitation.project_id.clone(), role));
    let new = NewEnrolment {
        secret_hash: secret_hash.into(),
        user_id: user.id.clone(),
        project,
        expires_at: until,
    };
    let link = keys::create_enrolment(c, &new, now)?;
    c.execute("INSERT INTO tdsync_invitation_links VALUES (?1, ?2)", [&link, &invitation.id])?;
    c.execute("INSERT INTO tdsync_vouched VALUES (?1, ?2)", [&user.id, &invitation.invited_by])?;
    Ok(true)
}

/// Of the account `u`: whoever answers for it, and that is itself once it is proven ([`Principal::counts_as`]). An account
/// that nothing proves may have vouched for the next one.
///
/// [`Principal::counts_as`]: crate::auth::Principal::counts_as
pub(super) const COUNTS_AS: &str = "(WITH RECURSIVE answers(id, steps) AS (
        SELECT u.id, 0
        UNION ALL SELECT v.by_user, steps + 1 FROM answers JOIN tdsync_vouched v ON v.user_id = answers.id
        WHERE steps < 100
    ) SELECT id FROM answers ORDER BY steps DESC LIMIT 1) AS counts_as";

/// Whether only another owner's word says that this account is who its address says. Without mail nothing proves it: an
/// owner who invited a stranger's address could take the link themselves, and be in every project that others give to it.
pub(super) fn is_unproven(c: &Connection, user: &str, owner: &str) -> Result<bool, ControlError> {
    let mut q = c.prepare_cached(
        "SELECT 1 FROM tdsync_vouched v JOIN users u ON u.id = v.user_id
         WHERE v.user_id = ?1 AND v.by_user <> ?2 AND u.email_verified_at IS NULL",
    )?;
    Ok(q.exists([user, owner])?)
}

/// The address is proven, by a mail or by the operator. What signed in before is not of whoever proved it, perhaps.
pub(super) fn proven(c: &Connection, user: &str) -> Result<(), ControlError> {
    if c.execute("DELETE FROM tdsync_vouched WHERE user_id = ?1", [user])? > 0 {
        c.execute("DELETE FROM api_keys WHERE user_id = ?1", [user])?;
        c.execute("DELETE FROM tdsync_tokens WHERE maker = ?1", [user])?;
    }
    Ok(())
}

pub(super) fn accept(
    c: &Connection,
    id: &str,
    user: &str,
    email: &str,
    now: ClientTime,
) -> Result<Answered<Member>, ControlError> {
    let found = match answerable(c, id, email, now)? {
        Answered::Done(found) => found,
        Answered::Unknown => return Ok(Answered::Unknown),
        Answered::NotPending => return Ok(Answered::NotPending),
        Answered::Expired => return Ok(Answered::Expired),
    };
    // The schema's CHECK admits the three words only.
    let Some(role) = Role::parse(&found.role) else { return Ok(Answered::Unknown) };
    let added = members::add(c, &found.project_id, user, role, &found.invited_by, now)?;
    // The invitation stays: its inviter would read that it was accepted, and nobody is a member.
    if added == Added::Unproven {
        return Ok(Answered::Unknown);
    }
    c.execute(
        "UPDATE invitations SET status = 'accepted', accepted_at = ?2 WHERE id = ?1",
        params![id, stamp(now)],
    )?;
    let all = members::list(c, &found.project_id)?;
    let member = all.into_iter().find(|m| m.user_id == user);
    debug_assert!(member.is_some() || added != Added::Since(now), "added and not there");
    Ok(member.map_or(Answered::Unknown, Answered::Done))
}

impl InvitationStore for SqliteControl {
    fn hand_over(
        &self,
        invitation: &Invitation,
        secret_hash: &str,
        until: ClientTime,
        now: ClientTime,
    ) -> Result<bool, ControlError> {
        self.write(|tx| hand_over(tx, invitation, secret_hash, until, now))
    }

    fn is_unproven(&self, email: &str, owner: &str) -> Result<bool, ControlError> {
        self.read(|c| match users::by_email(c, email)? {
            Some(user) => is_unproven(c, &user.id, owner),
            None => Ok(false),
        })
    }

    fn invite(&self, new: &NewInvitation, now: ClientTime) -> Result<Option<Invitation>, ControlError> {
        self.write(|tx| invite(tx, new, now))
    }

    fn invitations_of_project(&self, project: &str) -> Result<Vec<Invitation>, ControlError> {
        self.read(|c| {
            let sql = format!(
                "{COLUMNS} WHERE i.project_id = ?1 ORDER BY i.created_at DESC, i.rowid DESC LIMIT 1000"
            );
            Ok(c.prepare_cached(&sql)?.query_map([project], invitation)?.collect::<Result<_, _>>()?)
        })
    }

    fn invitations_of_person(&self, email: &str, now: ClientTime) -> Result<Vec<Invitation>, ControlError> {
        self.read(|c| {
            let sql = format!(
                "{COLUMNS} WHERE i.email = ?1 AND i.status = 'pending' AND i.expires_at > ?2
                 AND {STANDS} ORDER BY i.created_at DESC, i.rowid DESC LIMIT 1000"
            );
            let mut q = c.prepare_cached(&sql)?;
            Ok(q.query_map(params![email, stamp(now)], invitation)?.collect::<Result<_, _>>()?)
        })
    }

    fn withdraw_invitation(&self, project: &str, id: &str) -> Result<bool, ControlError> {
        self.write(|tx| {
            let gone = "DELETE FROM invitations WHERE id = ?1 AND project_id = ?2";
            Ok(tx.execute(gone, [id, project])? > 0)
        })
    }

    fn accept_invitation(
        &self,
        id: &str,
        user: &str,
        email: &str,
        now: ClientTime,
    ) -> Result<Answered<Member>, ControlError> {
        self.write(|tx| accept(tx, id, user, email, now))
    }

    fn decline_invitation(
        &self,
        id: &str,
        email: &str,
        now: ClientTime,
    ) -> Result<Answered<()>, ControlError> {
        self.write(|tx| {
            Ok(match answerable(tx, id, email, now)? {
                Answered::Done(_) => {
                    tx.execute("UPDATE invitations SET status = 'declined' WHERE id = ?1", [id])?;
                    Answered::Done(())
                }
                Answered::Unknown => Answered::Unknown,
                Answered::NotPending => Answered::NotPending,
                Answered::Expired => Answered::Expired,
            })
        })
    }
}
