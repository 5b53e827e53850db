//! Fleets of stock devices, which leave out their own events when they pull: they end equal, because the log gives
//! their late ones back (DESIGN 5; field-meta 7, whose simulation this is).

mod support;

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use support::log::clock;
use td_engine::db::ProjectDb;
use td_engine::event::{LogEvent, NewEvent, Push};
use td_engine::id::{ActionId, DeviceId, Seq, SessionId};
use td_engine::payload::Payload;
use td_engine::shape::payload_object;
use td_engine::taxonomy::{Action, Schema, TdSchema};
use td_engine::time::ClientTime;
use td_server::log::{EventLog, MemoryLog, ReadQuery};

const ISSUES: u64 = 2;

/// splitmix64
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

/// A device as the stock client is one: changes rows at once, applies what it pulls on top of them.
struct Device {
    id: DeviceId,
    db: ProjectDb,
    cursor: Seq,
    unsent: Vec<NewEvent>,
    actions: i64,
    /// How far its clock is off, in seconds.
    skew: i64,
}

impl Device {
    fn new(n: u64, dice: &mut Dice) -> Self {
        let skew = i64::try_from(dice.below(80)).expect("small") - 40;
        let id = DeviceId::new(format!("d{n}")).expect("an id");
        let db = ProjectDb::in_memory(clock()()).expect("a database");
        Self { id, db, cursor: Seq(0), unsent: Vec::new(), actions: 0, skew }
    }

    fn row(&self, issue: &str) -> Option<Map<String, Value>> {
        let table = self.db.catalog().synced("issues").expect("a table");
        let row = table.row(self.db.conn(), issue).expect("read")?;
        Some(payload_object(table, &row))
    }

    fn act(
        &mut self,
        action: Action,
        issue: &str,
        new: Map<String, Value>,
        previous: Map<String, Value>,
        now: ClientTime,
    ) {
        self.actions += 1;
        let payload = json!({"schema_version": 1, "new_data": new, "previous_data": previous});
        let event = NewEvent {
            action_id: ActionId(self.actions),
            action,
            entity_type: TdSchema.entity_type("issues").expect("a type"),
            entity_id: issue.into(),
            payload: Some(Payload::from_value(&payload)),
            client_time: now,
        };
        let write = self.db.write().expect("write");
        write.apply((&event).into()).expect("applied");
        write.commit().expect("commit");
        self.unsent.push(event);
    }

    /// One command of a person.
    fn work(&mut self, dice: &mut Dice, moment: i64) {
        let now = at(moment + self.skew);
        let issue = format!("td-{}", dice.below(ISSUES));
        let Some(before) = self.row(&issue) else { return };
        let mut after = before.clone();
        after.insert("updated_at".into(), json!(now));
        match dice.below(8) {
            0 if before.contains_key("deleted_at") => {
                self.act(Action::Restore, &issue, Map::new(), before, now);
            }
            0 => self.act(Action::SoftDelete, &issue, Map::new(), before, now),
            1 | 2 => {
                let status = if before["status"] == "open" { "closed" } else { "open" };
                after.insert("status".into(), json!(status));
                self.act(Action::Update, &issue, after, before, now);
            }
            3 | 4 => {
                after.insert("priority".into(), json!(format!("P{}", dice.below(4))));
                self.act(Action::Update, &issue, after, before, now);
            }
            _ => {
                after.insert("title".into(), json!(format!("title {}", dice.below(1000))));
                self.act(Action::Update, &issue, after, before, now);
            }
        }
    }

    /// Pull, push, pull, as the stock client does after a command. `hide` is the reference's server.
    fn sync(&mut self, log: &MemoryLog, hide: bool) {
        self.pull(log, hide);
        let events: Vec<NewEvent> = std::mem::take(&mut self.unsent);
        if !events.is_empty() {
            let session = SessionId::new("ses").expect("an id");
            let push = Push { device: self.id.clone(), session, events };
            log.append(push).blocking_recv().expect("answered").expect("stored");
            self.pull(log, hide);
        }
    }

    fn pull(&mut self, log: &MemoryLog, hide: bool) {
        let query = ReadQuery { after: self.cursor, limit: 10_000, exclude: Some(self.id.clone()) };
        let mut page: Vec<LogEvent> = Vec::new();
        log.read(&query, &mut |event| {
            if !hide || event.device != self.id {
                page.push(event);
            }
            ControlFlow::Continue(())
        })
        .expect("read");
        let write = self.db.write().expect("write");
        for event in &page {
            write.apply(event.into()).expect("applied");
        }
        write.commit().expect("commit");
        self.cursor = page.last().map_or(self.cursor, |event| event.seq);
    }

    fn state(&self) -> BTreeMap<String, Option<Map<String, Value>>> {
        (0..ISSUES).map(|n| format!("td-{n}")).map(|id| (id.clone(), self.row(&id))).collect()
    }
}

fn at(second: i64) -> ClientTime {
    let start = ClientTime::parse("2026-11-21T10:00:00Z").expect("time").unix_nanos();
    ClientTime::from_unix_nanos(start + i128::from(second) * 1_000_000_000).expect("time")
}

/// Whether a random fleet ends equal.
fn converges(seed: u64, hide: bool) -> bool {
    let mut dice = Dice(seed);
    let log = MemoryLog::new(clock());
    let mut fleet: Vec<Device> = (0..3).map(|n| Device::new(n, &mut dice)).collect();
    for n in 0..ISSUES {
        let Value::Object(new) = json!({"id": format!("td-{n}"), "title": "as made", "status": "open", "type": "task",
            "priority": "P2", "created_at": at(0), "updated_at": at(0)})
        else {
            unreachable!("an object")
        };
        fleet[0].act(Action::Create, &format!("td-{n}"), new, Map::new(), at(0));
    }
    fleet.iter_mut().for_each(|device| device.sync(&log, hide));
    for moment in 0..60 {
        let who = usize::try_from(dice.below(3)).expect("small");
        fleet[who].work(&mut dice, 100 + moment * 7);
        // Now and then somebody is offline for a while.
        if dice.below(3) > 0 {
            fleet[who].sync(&log, hide);
        }
    }
    for _ in 0..2 {
        fleet.iter_mut().for_each(|device| device.sync(&log, hide));
    }
    let first = fleet[0].state();
    fleet.iter().all(|device| device.state() == first)
}

#[test]
fn fleets_that_hide_their_own_events_end_equal_as_they_get_the_late_ones_back() {
    let seeds: u64 = if std::env::var("TD_TEST_FULL").as_deref() == Ok("1") { 2000 } else { 150 };
    let lost: Vec<u64> = (0..seeds).filter(|seed| !converges(*seed, false)).collect();
    assert!(lost.is_empty(), "{} of {seeds} fleets diverged: {lost:?}", lost.len());
    // The same fleets on a server that gives nothing back, or this test could not see the difference.
    let equal = (0..40).filter(|seed| converges(*seed, true)).count();
    assert!(equal < 20, "{equal} of 40 fleets end equal on the reference's server");
}
