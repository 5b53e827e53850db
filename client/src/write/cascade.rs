//! What closing an issue brings with it (server-protocol 4.9, client-engine 2.3): an epic whose last open child it was
//! closes too, and so upwards; what was blocked by nothing else opens again.
//!
//! Invariant: part of the transaction that closes the issue, each change with its own event.
//! Danger: loops. An issue may be its own parent, so nobody is looked at twice.

use super::issue::Issue;
use super::verbs::{half, later_than, log};
use super::{Change, WriteError};
use crate::store::Tx;
use std::collections::BTreeSet;

/// Closes and opens what follows from `closed`; the changed issues in order.
pub(super) fn follow(tx: &Tx<'_>, closed: &Issue) -> Result<Vec<Issue>, WriteError> {
    let mut changed = close_parents(tx, closed)?;
    let closed_ids: Vec<String> =
        std::iter::once(&closed.id).chain(changed.iter().map(|i| &i.id)).cloned().collect();
    for id in closed_ids {
        changed.extend(unblock_dependents(tx, &id)?);
    }
    Ok(changed)
}

fn close_parents(tx: &Tx<'_>, closed: &Issue) -> Result<Vec<Issue>, WriteError> {
    let (mut changed, mut seen) = (Vec::new(), BTreeSet::from([closed.id.clone()]));
    let mut parent_id = closed.parent_id.clone();
    while seen.insert(parent_id.clone()) {
        let Some(parent) = Issue::load(tx.conn(), &parent_id)? else { break };
        let stays = parent.kind != "epic" || parent.status == "closed" || parent.deleted_at.is_some();
        if stays || has_open_children(tx, &parent.id)? {
            break;
        }
        let parent = turn(tx, "close", &parent, "closed", "Auto-cascaded to closed (all children complete)")?;
        parent_id.clone_from(&parent.parent_id);
        changed.push(parent);
    }
    Ok(changed)
}

fn has_open_children(tx: &Tx<'_>, parent: &str) -> rusqlite::Result<bool> {
    let open = "SELECT 1 FROM issues WHERE parent_id = ?1 AND status <> 'closed' AND deleted_at IS NULL";
    tx.conn().prepare_cached(open)?.exists([parent])
}

fn unblock_dependents(tx: &Tx<'_>, closed: &str) -> Result<Vec<Issue>, WriteError> {
    let free = "SELECT DISTINCT i.id FROM issue_dependencies d JOIN issues i ON i.id = d.issue_id
        WHERE d.depends_on_id = ?1 AND d.relation_type = 'depends_on' AND i.status = 'blocked'
        AND i.deleted_at IS NULL AND NOT EXISTS (
            SELECT 1 FROM issue_dependencies o JOIN issues b ON b.id = o.depends_on_id
            WHERE o.issue_id = i.id AND o.relation_type = 'depends_on' AND b.status <> 'closed')
        ORDER BY i.id";
    let ids: Vec<String> =
        tx.conn().prepare_cached(free)?.query_map([closed], |r| r.get(0))?.collect::<Result<_, _>>()?;
    let mut changed = Vec::new();
    for id in ids {
        let Some(issue) = Issue::load(tx.conn(), &id)? else { continue };
        let why = format!("Auto-unblocked (dependency {closed} closed)");
        changed.push(turn(tx, "unblock", &issue, "open", &why)?);
    }
    Ok(changed)
}

/// Sets the status and logs it. Nobody closed it by hand, so no session is named.
fn turn(tx: &Tx<'_>, verb: &str, before: &Issue, status: &str, why: &str) -> Result<Issue, WriteError> {
    let mut after = before.clone();
    after.status = status.into();
    after.updated_at = later_than(&before.updated_at, tx.now());
    if status == "closed" {
        after.closed_at = Some(after.updated_at.clone());
    } else {
        // Whoever takes up an open issue is its implementer.
        after.implementer_session.clear();
    }
    tx.record(&Change::update(verb, "issue", &after.id, half(before), half(&after)))?;
    log(tx, &after.id, why)?;
    Ok(after)
}
