//! Sentences of a plan: what changes on the way, and what an operator should know.

use super::events::Beside;
use super::numbers::{Numbering, PLAUSIBLE};
use super::plan::{Direction, Left, Plan, ProjectPlan};
use super::rest::Foreseen;
use crate::control::SCHEMA;
use td_engine::id::ProjectId;

pub(super) fn of_accounts(plan: &mut Plan) {
    let Some(accounts) = plan.accounts.clone() else { return };
    let (mut changes, mut warnings) = (Vec::new(), Vec::new());
    if accounts.schema < SCHEMA {
        changes.push(format!("server.db: its schema {} becomes {SCHEMA}.", accounts.schema));
    }
    if accounts.admins.is_empty() {
        warnings.push("Nobody is an admin. Once it runs: td-sync admin grant --email ADDRESS".into());
    }
    if accounts.pending_old_logins > 0 {
        warnings.push(format!(
            "{} logins of the reference's old kind are under way; they cannot be finished here. Those people begin again.",
            accounts.pending_old_logins
        ));
    }
    if accounts.view_as_keys > 0 && plan.direction == Direction::FromReference {
        warnings.push(format!(
            "{} keys let an admin look at projects as somebody else. They come along for reading and end when they \
             expire; there is no way to make or renew one here.",
            accounts.view_as_keys
        ));
    }
    for table in accounts.tables.iter().filter(|t| t.orphans > 0) {
        warnings.push(format!(
            "server.db: {} rows of {} stay behind, because what they refer to does not exist.",
            table.orphans, table.name
        ));
    }
    plan.changes.splice(0..0, changes);
    plan.warnings.splice(0..0, warnings);
}

pub(super) fn of_project(plan: &mut Plan, project: &ProjectPlan, numbering: &Numbering) {
    let name = &project.name;
    let stored: Vec<i64> = project
        .promoted
        .iter()
        .filter_map(|p| {
            if let Foreseen::Stored { server_seq, .. } = p.foreseen { Some(server_seq) } else { None }
        })
        .collect();
    if let (Some(first), Some(last)) = (stored.first(), stored.last()) {
        plan.changes.push(format!(
            "{name}: {} writes over REST that the reference had not put into the log yet are put into it, as events \
             {first} to {last}.",
            stored.len()
        ));
    }
    if project.event_count.was != project.event_count.becomes {
        plan.changes.push(format!(
            "{name}: its count of events becomes {} instead of {}, as the log has it.",
            project.event_count.becomes, project.event_count.was
        ));
    }
    if let Some(whose) = numbering.moved_by {
        plan.warnings.push(format!(
            "{name}: {whose} shows number {}, but the log ends at {}: the reference has lost what was between. New events \
             get higher numbers, so that no device misses one.",
            numbering.from, project.log.high_water
        ));
    }
    for claim in &numbering.unbelieved {
        plan.warnings.push(format!(
            "{name}: {claim}, more than {PLAUSIBLE} beyond the end of the log. That is not believed."
        ));
    }
    if !project.unsent.is_empty() {
        plan.warnings.push(format!(
            "{name}: {} writes over REST are not in the log and cannot be put into it; each is named below.",
            project.unsent.len()
        ));
    }
    of_project_db(plan, project);
}

fn of_project_db(plan: &mut Plan, project: &ProjectPlan) {
    let Some(db) = &project.project_db else { return };
    let (name, missing) = (&project.name, project.log.issues_created - db.issues);
    if db.integrity != "ok" {
        // Derived but for those writes, so it does not stop the takeover; but it has to be said.
        plan.warnings.push(format!(
            "{name}: its project.db {}. It is built again from the log; writes over REST that were not in the log yet, if \
             there were any, may not all have been seen.",
            db.integrity
        ));
    } else if missing > 0 {
        plan.warnings.push(format!(
            "{name}: the reference's project.db lacks {missing} of the {} issues that the log makes. It is built again \
             from the log.",
            project.log.issues_created
        ));
    }
}

/// Tables of others in a log.
pub(super) fn beside(plan: &mut Plan, id: &ProjectId, beside: &Beside) {
    for (names, why) in
        [(&beside.litestream, "Litestream's own"), (&beside.own, "of ours; derived from the log")]
    {
        for name in names {
            plan.left_behind
                .push(Left { what: format!("projects/{id}/events.db: table {name}"), why: why.to_string() });
        }
    }
}
