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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::scratch;
    use crate::script::{Script, Size};
    use td_engine::db::Purpose;

    fn script(seed: u64) -> Script {
        Script::of(seed, Size { devices: 2, events: 120 })
    }

    /// The first seed whose world has conflicts and skipped events.
    fn rich() -> u64 {
        static SEED: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
        *SEED.get_or_init(|| {
            let is_rich = |seed: &u64| {
                let dir = scratch().expect("folder");
                let mut world = World::settled(&script(*seed), dir.path()).expect("settled");
                let seen = judge(&mut world).expect("judged");
                assert_eq!(seen.problems, Vec::<String>::new());
                !seen.conflicts.is_empty() && seen.skipped > 0
            };
            (1..60).find(is_rich).expect("a world with conflicts and skipped events")
        })
    }

    /// What the oracle says of a rich world in which `tamper` changed something.
    fn problems_after(tamper: impl FnOnce(&mut World)) -> String {
        let dir = scratch().expect("folder");
        let mut world = World::settled(&script(rich()), dir.path()).expect("settled");
        tamper(&mut world);
        judge(&mut world).expect("judged").problems.join("\n")
    }

    fn on_device_1(sql: &str) -> impl FnOnce(&mut World) {
        move |world| {
            let project = world.devices[1].project().expect("open");
            project.store.conn().execute_batch(sql).expect(sql);
        }
    }

    #[track_caller]
    fn assert_says(said: &str, words: &str) {
        assert!(said.contains(words), "expected {words:?} in:\n{said}");
    }

    #[test]
    fn a_row_that_differs_on_one_device_is_seen_and_shown() {
        let said = problems_after(on_device_1("UPDATE issues SET title = 'tampered'"));
        assert_says(&said, "device 1 and a fresh replay differ");
        assert_says(&said, "only in device 1: ");
        assert_says(&said, "tampered");
        assert_says(&said, "device 1 reports digest");
    }

    #[test]
    fn a_conflict_that_one_device_lacks_is_seen() {
        let said = problems_after(on_device_1("DELETE FROM tdsync_conflict"));
        assert_says(&said, "device 1 and a fresh replay keep other conflicts: 0 and");
    }

    #[test]
    fn a_skipped_event_that_one_device_lacks_is_seen() {
        let said = problems_after(on_device_1("UPDATE sync_skipped_events SET error = 'tampered'"));
        assert_says(&said, "device 1 and a fresh replay skip other events");
    }

    #[test]
    fn a_dangling_reference_is_seen() {
        let sql = "PRAGMA foreign_keys = OFF; DELETE FROM issues; PRAGMA foreign_keys = ON";
        let said = problems_after(on_device_1(sql));
        assert_says(&said, "dangling foreign keys");
    }

    #[test]
    fn a_number_that_is_not_the_logs_is_seen() {
        let said =
            problems_after(on_device_1("UPDATE action_log SET server_seq = server_seq + 1 WHERE rowid = 1"));
        assert_says(&said, "device 1: action 1 ");
        assert_says(&said, "the device says");
    }

    #[test]
    fn an_action_that_is_gone_or_rewritten_is_seen() {
        let said = problems_after(on_device_1("DELETE FROM action_log WHERE rowid = 1"));
        assert_says(&said, "is gone from the action log");
        let said = problems_after(on_device_1("UPDATE action_log SET new_data = '{}' WHERE rowid = 2"));
        assert_says(&said, "was changed in the action log");
    }

    #[test]
    fn an_outstanding_change_is_seen() {
        let said = problems_after(on_device_1("UPDATE action_log SET synced_at = NULL WHERE rowid = 1"));
        assert_says(&said, "device 1 is not done: 1 pending");
    }

    #[test]
    fn an_event_that_is_missing_altered_or_nobodys_is_seen() {
        let said = problems_after(|world| {
            let (number, made) = world.devices[1].made.pop_first().expect("made");
            world.devices[1].made.insert(number + 10_000, made);
        });
        assert_says(&said, "nobody made event");
        assert_says(&said, "nobody asked for action");
        let said = problems_after(|world| {
            let made = world.devices[0].made.values_mut().next().expect("made");
            made.new["title"] = "tampered".into();
        });
        assert_says(&said, "and is in the log as");
    }

    #[test]
    fn an_event_that_is_there_twice_is_seen() {
        let said = problems_after(|world| {
            let mut event = world.network.server.events().expect("log").remove(0);
            event.session = td_engine::id::SessionId::new("another").expect("session");
            world.network.server.take_in(&event).expect("taken");
        });
        assert_says(&said, "is in the log 2 times");
    }

    #[test]
    fn a_live_view_that_differs_is_seen() {
        let said = problems_after(|world| {
            let path = world.network.server.live_path();
            let mut live = ProjectDb::open(&path, Purpose::LiveView).expect("open");
            let write = live.write().expect("write");
            write.conn().execute_batch("UPDATE issues SET title = 'tampered'").expect("tampered");
            write.commit().expect("commit");
        });
        assert_says(&said, "the live view and a fresh replay differ");
    }

    #[test]
    fn a_rule_that_is_wrong_everywhere_is_seen() {
        let dir = scratch().expect("folder");
        let world = World::settled(&script(rich()), dir.path()).expect("settled");
        let events = world.network.server.events().expect("log");
        for (sql, words) in [
            ("UPDATE issues SET title = 'tampered'", "title of issues"),
            ("DELETE FROM comments", "is gone, and nobody removed it"),
            ("UPDATE logs SET message = ''", "message of logs"),
        ] {
            let db = replay(&events, 1_000).expect("replay");
            assert_eq!(second::opinion(&events, &db).expect("opinion"), Vec::<String>::new());
            db.conn().execute_batch(sql).expect(sql);
            assert_says(&second::opinion(&events, &db).expect("opinion").join("\n"), words);
        }
    }

    #[test]
    fn rows_that_are_not_log_and_outstanding_changes_are_seen_at_any_time() {
        let dir = scratch().expect("folder");
        let mut world = World::settled(&script(rich()), dir.path()).expect("settled");
        probe(&mut world, 1).expect("as it should be");
        on_device_1("UPDATE issues SET points = 99")(&mut world);
        assert_says(&probe(&mut world, 1).expect_err("tampered").to_string(), "differ");
    }
}
