//! The oracle: what must be true of every world in the end, and of every device at any time.
//!
//! Duty: compare all copies with each other, with a fresh replay of the log, and with what was asked for.
//! Danger: a check that compares the engine with the engine sees no rule that is wrong everywhere; [`crate::second`]
//! computes a part of the state by other means.

use crate::device::{Device, Made};
use crate::report::Lost;
use crate::second;
use crate::world::World;
use anyhow::Context;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use td_client::sync::Status;
use td_engine::conflict::{Conflict, list_conflicts};
use td_engine::db::{ProjectDb, Standing};
use td_engine::event::{LogEvent, NewEvent};
use td_engine::id::{ActionId, Seq};
use td_engine::payload::Payload;
use td_engine::replay::{SkippedEvent, list_skipped};
use td_engine::taxonomy::{Schema, TdSchema, action_of_local_verb};
use td_engine::time::ClientTime;

/// Differing lines shown per pair of copies.
const LINES: usize = 6;

/// What the oracle saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// What is wrong; empty in a good world.
    pub problems: Vec<String>,
    /// Conflicts of the fresh replay.
    pub conflicts: Vec<Lost>,
    /// Events without full effect there.
    pub skipped: usize,
    /// Events in the log.
    pub logged: usize,
}

/// One copy's state.
struct Facts {
    name: String,
    at: Seq,
    digest: String,
    lines: Vec<String>,
    conflicts: Vec<Conflict>,
    skipped: Vec<SkippedEvent>,
    dangling: i64,
}

/// Judges a world that has settled.
pub fn judge(world: &mut World) -> anyhow::Result<Seen> {
    let mut seen = compare(world)?;
    seen.problems.extend(ledger(&mut world.devices, &world.network.server.events()?)?);
    Ok(seen)
}

/// Compares all copies, whoever wrote the log.
pub fn compare(world: &mut World) -> anyhow::Result<Seen> {
    let events = world.network.server.events()?;
    let mut problems = world.network.broken_promises();
    let fresh = replay(&events, 1_000)?;
    let truth = facts("a fresh replay", &fresh)?;
    problems.extend(second::opinion(&events, &fresh)?);

    for page in [1, 7] {
        let other = replay(&events, page)?;
        differences(&truth, &facts(&format!("a replay in pages of {page}"), &other)?, &mut problems);
    }
    let live = world.network.server.live_view()?;
    differences(&truth, &facts("the live view", &live)?, &mut problems);
    drop(live);
    let snapshot = world.network.server.snapshot()?;
    differences(&truth, &facts("the snapshot", &snapshot)?, &mut problems);
    let server = world.network.server.digest()?;
    if server.digest != truth.digest || server.seq != truth.at {
        problems.push(format!("the server says {server:?}, a replay {} at {}", truth.digest, truth.at));
    }
    for device in &mut world.devices {
        let name = format!("device {}", device.index);
        let status = Status::local(&mut device.project()?.store, None)?;
        if status.pending != 0 || !status.rejected.is_empty() || status.cursor != Some(truth.at) {
            problems.push(format!(
                "{name} is not done: {} pending, {} rejected, cursor {:?} of {}",
                status.pending,
                status.rejected.len(),
                status.cursor,
                truth.at
            ));
        }
        if status.digest.as_ref().map(|d| &d.value) != Some(&truth.digest) {
            problems
                .push(format!("{name} reports digest {:?}, a replay has {}", status.digest, truth.digest));
        }
        differences(&truth, &facts(&name, device.project()?.store.db())?, &mut problems);
    }
    Ok(Seen {
        problems,
        conflicts: truth.conflicts.iter().map(lost).collect(),
        skipped: truth.skipped.len(),
        logged: events.len(),
    })
}

/// Decision 1 on one device, at any time: its rows are the log at its cursor and its outstanding changes on top.
pub fn probe(world: &mut World, index: usize) -> anyhow::Result<()> {
    let events = world.network.server.events()?;
    let device = &mut world.devices[index];
    let Standing::At(cursor) = device.project()?.store.db().standing()? else {
        anyhow::bail!("device {index} must be rebuilt");
    };
    let known = events.partition_point(|e| e.seq <= cursor);
    let mut expected = replay(&events[..known], 1_000)?;
    let write = expected.write()?;
    for (number, made, seq) in device.actions()? {
        // Its place, whether or not the device has heard of it.
        let id = device.project()?.store.device().id.clone();
        let place = events.iter().find(|e| e.device == id && e.action_id.0 == number).map(|e| e.seq);
        if seq.is_some() && seq != place.map(|s| s.0) {
            anyhow::bail!("device {index}: action {number} is said to be at {seq:?}, it is at {place:?}");
        }
        if place.is_none_or(|seq| seq > cursor) {
            let _ = write.apply(event(number, &made)?.as_ref().into())?;
        }
    }
    write.commit()?;
    let mut problems = Vec::new();
    let name = format!("device {index}");
    differences(
        &facts("log and outstanding changes", &expected)?,
        &facts(&name, device.project()?.store.db())?,
        &mut problems,
    );
    anyhow::ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

/// The event that a change must have become. Composed here, not by the client.
fn event(number: i64, made: &Made) -> anyhow::Result<Box<NewEvent>> {
    let halves =
        serde_json::json!({"new_data": made.new, "previous_data": made.previous, "schema_version": 1});
    Ok(Box::new(NewEvent {
        action_id: ActionId(number),
        action: action_of_local_verb(&made.verb),
        entity_type: TdSchema.entity_type(&made.entity_type).context("an entity type of td")?,
        entity_id: made.entity_id.clone(),
        payload: Some(Payload::from_value(&halves)),
        client_time: made.time,
    }))
}

/// Everything that was made is in the log exactly once and as it was made, and nothing else is.
fn ledger(devices: &mut [Device], events: &[LogEvent]) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    let mut places: BTreeMap<(&str, i64), Vec<&LogEvent>> = BTreeMap::new();
    for event in events {
        places.entry((event.device.as_str(), event.action_id.0)).or_default().push(event);
    }
    let mut explained = BTreeSet::new();
    for device in devices {
        let id = device.project()?.store.device().id.clone();
        let actions: BTreeMap<_, _> =
            device.actions()?.into_iter().map(|(n, made, seq)| (n, (made, seq))).collect();
        for (number, made) in &device.made {
            let name = format!("device {}: action {number} ({} {})", device.index, made.verb, made.entity_id);
            let Some((kept, seq)) = actions.get(number) else {
                problems.push(format!("{name} is gone from the action log"));
                continue;
            };
            if kept != made {
                problems.push(format!("{name} was changed in the action log: {made:?} became {kept:?}"));
            }
            match places.get(&(id.as_str(), *number)).map(Vec::as_slice) {
                None => problems.push(format!("{name} is not in the log")),
                Some([event]) => {
                    explained.insert(event.seq);
                    if *seq != Some(event.seq.0) {
                        problems.push(format!("{name} is at {}, the device says {seq:?}", event.seq));
                    }
                    problems.extend(altered(&name, made, event)?);
                }
                Some(all) => {
                    let at: Vec<_> = all.iter().map(|e| e.seq.to_string()).collect();
                    problems.push(format!("{name} is in the log {} times, at {}", all.len(), at.join(", ")));
                    explained.extend(all.iter().map(|e| e.seq));
                }
            }
        }
        if let Some(extra) = actions.keys().find(|n| !device.made.contains_key(n)) {
            problems.push(format!("device {}: nobody asked for action {extra}", device.index));
        }
    }
    for event in events.iter().filter(|e| !explained.contains(&e.seq)) {
        problems.push(format!(
            "nobody made event {} ({} {} {} of {})",
            event.seq, event.action, event.entity_type, event.entity_id, event.device
        ));
    }
    Ok(problems)
}

/// What the log has otherwise than it was made.
fn altered(name: &str, made: &Made, logged: &LogEvent) -> anyhow::Result<Option<String>> {
    let expected = event(logged.action_id.0, made)?;
    let body = logged.payload.value()?;
    let half = |key: &str| body.get(key).cloned().unwrap_or(Json::Null);
    let same = expected.action.as_str() == logged.action
        && expected.entity_type == logged.entity_type
        && expected.entity_id == logged.entity_id
        && half("new_data") == made.new
        && half("previous_data") == made.previous
        && body.get("meta").is_some()
        && made.time.unix_nanos() == logged.client_time.unix_nanos();
    Ok((!same).then(|| format!("{name} was made as {made:?} and is in the log as {logged:?}")))
}

/// A new database with the log in it.
fn replay(events: &[LogEvent], page: usize) -> anyhow::Result<ProjectDb> {
    let mut db = ProjectDb::in_memory(ClientTime::from_unix_nanos(0)?)?;
    for page in events.chunks(page) {
        let up_to = page.last().map_or(Seq(0), |e| e.seq);
        db.apply_page(page, up_to)?;
    }
    Ok(db)
}

fn facts(name: &str, db: &ProjectDb) -> anyhow::Result<Facts> {
    let conn = db.conn();
    let Standing::At(at) = db.standing()? else { anyhow::bail!("{name} must be rebuilt") };
    Ok(Facts {
        name: name.into(),
        at,
        digest: db.digest()?.to_string(),
        lines: db.digest_lines()?,
        conflicts: list_conflicts(conn)?,
        skipped: list_skipped(conn)?,
        dangling: conn.query_row("SELECT COUNT(*) FROM pragma_foreign_key_check", [], |r| r.get(0))?,
    })
}

/// Lists and foreign keys are compared besides the digest: a digest that forgot them would say equal.
fn differences(truth: &Facts, other: &Facts, problems: &mut Vec<String>) {
    let pair = format!("{} and {}", other.name, truth.name);
    if truth.digest != other.digest || truth.lines != other.lines {
        problems.push(format!("{pair} differ: digest {} and {}", &other.digest[..12], &truth.digest[..12]));
        let (a, b): (BTreeSet<_>, BTreeSet<_>) = (other.lines.iter().collect(), truth.lines.iter().collect());
        problems.extend(
            a.difference(&b).take(LINES).map(|l| format!("  only in {}: {}", other.name, l.trim_end())),
        );
        problems.extend(
            b.difference(&a).take(LINES).map(|l| format!("  only in {}: {}", truth.name, l.trim_end())),
        );
    }
    if truth.conflicts != other.conflicts {
        problems.push(format!(
            "{pair} keep other conflicts: {} and {}",
            other.conflicts.len(),
            truth.conflicts.len()
        ));
    }
    if truth.skipped != other.skipped {
        problems.push(format!("{pair} skip other events: {:?} and {:?}", other.skipped, truth.skipped));
    }
    if other.dangling != 0 {
        problems.push(format!("{} has {} dangling foreign keys", other.name, other.dangling));
    }
}

fn lost(c: &Conflict) -> Lost {
    Lost {
        entity_type: c.entity_type.clone(),
        entity_id: c.entity_id.clone(),
        winner_seq: c.winner_seq.0,
        loser_seq: c.loser_seq.0,
        kind: c.kind.as_str(),
        loser: serde_json::to_string(&c.loser).unwrap_or_default(),
        winner: serde_json::to_string(&c.winner).unwrap_or_default(),
    }
}
