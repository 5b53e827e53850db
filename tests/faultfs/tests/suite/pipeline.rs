//! Writer, applier and snapshot publisher, stopped at a write, again and again.
//!
//! Duty: whatever a death leaves, the log has every acknowledged event, the live view is the state after some prefix of
//! it and goes on from there, and every snapshot with a finished name is whole and is the state after its sequence.
//! A seed decides what is done, where the death falls and what it spares. `TD_TEST_FULL=1` runs 10,000 worlds instead of
//! 500, `TD_TEST_SEED` begins with another one.

use crate::files::FaultFiles;
use crate::logs::options;
use serde_json::json;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use td_engine::db::{Place, ProjectDb, Purpose, Standing};
use td_engine::event::{LogEvent, NewEvent, Push};
use td_engine::id::{ActionId, DeviceId, Epoch, Seq, SessionId};
use td_engine::payload::Payload;
use td_engine::taxonomy::{Action, EntityType};
use td_engine::time::ClientTime;
use td_faultfs::{Death, Disk, Rng};
use td_laws::build::{append, clock};
use td_server::live::LiveView;
use td_server::log::{CheckpointPolicy, EventLog, Options, Outcome, ReadQuery, SqliteLog};
use td_server::snapshot::{Folder, Shelf, Version};

const LOG: &str = "/p/events.db";
const VIEW: &str = "/p/project.db";
const SNAPSHOTS: &str = "/p/snap";
const LIVES: usize = 3;

#[test]
fn whatever_a_death_leaves_view_and_snapshots_are_states_of_the_log() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let seeds = if number("TD_TEST_FULL") == 1 { 10_000 } else { 500 };
    let first = number("TD_TEST_SEED");
    println!("seed: {first}");
    let next = AtomicU64::new(first);
    let worker = || -> Result<Tally, String> {
        let mut total = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= first + seeds {
                return Ok(total);
            }
            total.add(&World::new(seed).run().map_err(|broken| format!("seed {seed}: {broken}"))?);
        }
    };
    let mut total = Tally::default();
    std::thread::scope(|s| {
        let workers = [s.spawn(worker), s.spawn(worker)];
        for worker in workers {
            match worker.join().expect("a worker") {
                Ok(tally) => total.add(&tally),
                Err(broken) => panic!("{broken}"),
            }
        }
    });
    println!("figure: {seeds} worlds, {total:?}");
    let seeds = usize::try_from(seeds).expect("small");
    assert!(total.acknowledged > seeds * 5, "the deaths came before anything was acknowledged");
    assert!(total.snapshots > seeds && total.prefixes > seeds / 4, "the deaths came too early or too late");
    assert!(total.deaths > seeds, "too few deaths came at all");
}

/// What was met, so that the test can say whether it has looked at anything.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    acknowledged: usize,
    deaths: usize,
    /// Live views that were found behind their log.
    prefixes: usize,
    /// Finished snapshots that were compared.
    snapshots: usize,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.deaths += other.deaths;
        self.prefixes += other.prefixes;
        self.snapshots += other.snapshots;
    }
}

struct World {
    disk: Arc<Disk>,
    rng: Rng,
    /// Action ids that were answered, and with which number.
    acknowledged: BTreeMap<i64, Seq>,
    next: i64,
    tally: Tally,
}

/// One life of the three actors.
struct Actors {
    log: SqliteLog,
    view: LiveView,
    shelf: Shelf,
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = Arc::new(Disk::new(seed));
        Self { disk, rng: Rng::new(seed), acknowledged: BTreeMap::new(), next: 1, tally: Tally::default() }
    }

    fn run(mut self) -> Result<Tally, String> {
        // No checkpoint runs beside the next step, or the seed would not say where the death falls.
        let options = Options { checkpoint: CheckpointPolicy::Sidecar, ..options(&self.disk) };
        SqliteLog::create(Path::new(LOG), &options).map_err(|e| e.to_string())?;
        self.disk.sync_directory();
        for life in 0..=LIVES {
            let mut actors = self.start(&options).map_err(|e| format!("life {life} does not start: {e}"))?;
            self.check(&mut actors).map_err(|e| format!("life {life}: {e}"))?;
            if life == LIVES {
                break;
            }
            let how = if self.rng.below(3) == 0 { Death::Kill } else { Death::Cut };
            self.disk.die_at(1 + self.rng.below(220), how);
            let worked = self.work(&mut actors);
            // A death that has not come comes now.
            self.disk.die(how);
            worked.map_err(|e| format!("life {life}: {e}"))?;
            drop(actors);
            self.disk.restart();
            self.tally.deaths += 1;
        }
        self.tally.acknowledged = self.acknowledged.len();
        Ok(self.tally)
    }

    fn start(&self, options: &Options) -> Result<Actors, String> {
        let log = SqliteLog::open(Path::new(LOG), options.clone()).map_err(|e| e.to_string())?;
        let view = LiveView::new(Place::on(self.disk.vfs(), VIEW), clock());
        let epoch = Epoch::parse("0123456789abcdef0123456789abcdef").map_err(|e| e.to_string())?;
        let files = Arc::new(FaultFiles(self.disk.clone()));
        let folder = Folder::on(files, SNAPSHOTS.into());
        let shelf = Shelf::new(Arc::new(folder), Version::current(&epoch), clock());
        Ok(Actors { log, view, shelf })
    }

    /// Steps of the three in random order, until one fails. Only a death may be the reason.
    fn work(&mut self, actors: &mut Actors) -> Result<(), String> {
        for _ in 0..24 {
            let done = match self.rng.below(8) {
                0 | 1 => actors.view.step(&actors.log).map(drop).map_err(|e| e.to_string()),
                2 | 3 => {
                    // Without a base now and then, and from the live view.
                    if self.rng.below(6) == 0 {
                        actors.shelf.clear();
                    }
                    let seen = actors.view.step(&actors.log).ok().filter(|_| self.rng.below(2) == 0);
                    let view = seen.map(|seen| (actors.view.place(), seen));
                    match actors.shelf.make(&actors.log, view) {
                        Err(td_server::snapshot::SnapshotError::Empty) => Ok(()),
                        made => made.map(drop).map_err(|e| e.to_string()),
                    }
                }
                _ => self.push(&actors.log),
            };
            if let Err(e) = done {
                let alive = self.disk.sync_names().is_ok();
                return if alive { Err(format!("failed without a death: {e}")) } else { Ok(()) };
            }
        }
        Ok(())
    }

    fn push(&mut self, log: &SqliteLog) -> Result<(), String> {
        let many = 1 + self.rng.below(5);
        let events: Vec<NewEvent> = (0..many).map(|_| self.event()).collect();
        let ids: Vec<i64> = events.iter().map(|e| e.action_id.0).collect();
        let device = DeviceId::new("d").map_err(|e| e.to_string())?;
        let session = SessionId::new("s").map_err(|e| e.to_string())?;
        let outcomes = append(log, Push { device, session, events }).map_err(|e| e.to_string())?;
        for (id, outcome) in ids.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Accepted { seq, moved: false } => drop(self.acknowledged.insert(id, seq)),
                other => return Err(format!("a new event was answered with {other:?}")),
            }
        }
        Ok(())
    }

    /// Creations, replaces that take comments along, edits, deletions, orphans.
    fn event(&mut self) -> NewEvent {
        let n = self.next;
        self.next += 1;
        let issue = format!("td-{}", self.rng.below(4));
        let title = json!({"title": format!("title {n}"), "status": "open"});
        let (action, table, id, new, previous) = match self.rng.below(8) {
            0 | 1 => (Action::Create, "issues", issue, title, json!({})),
            2 | 3 => (Action::Update, "issues", issue, title, json!({"title": "something else"})),
            4 => (Action::Delete, "issues", issue, json!({}), json!({})),
            5 => (
                Action::Create,
                "boards",
                format!("bd-{n}"),
                json!({"name": format!("board {n}")}),
                json!({}),
            ),
            _ => {
                let comment = json!({"issue_id": issue, "session_id": "s", "text": "x".repeat(400)});
                (Action::Create, "comments", format!("cm-{n}"), comment, json!({}))
            }
        };
        let payload = json!({"new_data": new, "previous_data": previous});
        NewEvent {
            action_id: ActionId(n),
            action,
            entity_type: EntityType::stored(table),
            entity_id: id,
            payload: Some(Payload::from_value(&payload)),
            client_time: ClientTime::parse("2026-11-21T09:53:18Z").unwrap_or_else(|_| unreachable!("a time")),
        }
    }

    /// What a start finds.
    fn check(&mut self, actors: &mut Actors) -> Result<(), String> {
        let mut log: Vec<LogEvent> = Vec::new();
        let query = ReadQuery { after: Seq(0), limit: usize::MAX, exclude: None };
        let read = actors.log.read(&query, &mut |event| {
            log.push(event);
            ControlFlow::Continue(())
        });
        read.map_err(|e| e.to_string())?;
        for (id, seq) in &self.acknowledged {
            let there = log.iter().find(|event| event.seq == *seq);
            if there.is_none_or(|event| event.action_id.0 != *id) {
                return Err(format!("event {id} was acknowledged as {seq} and is not there"));
            }
        }
        // What survived without an acknowledgement is there for good, too.
        self.next = self.next.max(log.iter().map(|e| e.action_id.0).max().unwrap_or(0) + 1);

        let mut replay = Replay::of(&log)?;
        let points = actors.shelf.points().map_err(|e| e.to_string())?;
        for seq in points {
            let kept =
                actors.shelf.at(seq).map_err(|e| e.to_string())?.ok_or("a point without a snapshot")?;
            let digest = kept.digest().map_err(|e| format!("the snapshot {} is damaged: {e}", kept.name))?;
            replay.compare(seq, &digest.hex).map_err(|e| format!("the snapshot {}: {e}", kept.name))?;
            self.tally.snapshots += 1;
        }
        let view = match ProjectDb::open_at(actors.view.place(), Purpose::LiveView) {
            Ok(db) => Some((db.standing(), db.digest())),
            // Its creation was cut off.
            Err(_) => None,
        };
        if let Some((Ok(Standing::At(seq)), digest)) = view {
            let digest = digest.map_err(|e| format!("the live view is damaged: {e}"))?.to_string();
            Replay::of(&log)?.compare(seq, &digest).map_err(|e| format!("the live view: {e}"))?;
            self.tally.prefixes += usize::from(seq < actors.log.head().seq && seq > Seq(0));
        }
        let whole =
            actors.view.digest(&actors.log).map_err(|e| format!("the live view does not go on: {e}"))?;
        replay.compare(whole.seq, &whole.hex).map_err(|e| format!("the live view at the head: {e}"))
    }
}

/// The log, replayed step by step in memory.
struct Replay<'l> {
    log: &'l [LogEvent],
    db: ProjectDb,
}

impl<'l> Replay<'l> {
    fn of(log: &'l [LogEvent]) -> Result<Self, String> {
        Ok(Self { log, db: ProjectDb::in_memory(clock()()).map_err(|e| e.to_string())? })
    }

    /// Points must come in ascending order.
    fn compare(&mut self, seq: Seq, digest: &str) -> Result<(), String> {
        let upto = self.log.partition_point(|event| event.seq <= seq);
        if self.log[..upto].last().map_or(Seq(0), |e| e.seq) < seq {
            return Err(format!("it is at {seq}, where the log has nothing"));
        }
        self.db.apply_page(&self.log[..upto], seq).map_err(|e| e.to_string())?;
        let want = self.db.digest().map_err(|e| e.to_string())?.to_string();
        if want == digest { Ok(()) } else { Err(format!("it is not the log at {seq}")) }
    }
}

/// One fixed history, with a death at each of its writes in turn.
#[test]
fn a_death_at_every_single_write_of_one_history_is_survived() {
    let mut nth = 1;
    let mut writes = 0;
    loop {
        let mut world = World::new(7);
        let options = Options {
            checkpoint: CheckpointPolicy::Own { bytes: u64::MAX, idle: Duration::from_secs(3600) },
            ..options(&world.disk)
        };
        SqliteLog::create(Path::new(LOG), &options).expect("a log");
        world.disk.sync_directory();
        let mut actors = world.start(&options).expect("a start");
        let begun = world.disk.work().writes;
        world.disk.die_at(nth, if nth % 2 == 0 { Death::Kill } else { Death::Cut });
        let history = world.history(&mut actors);
        let survived = history.is_ok();
        world.disk.die(Death::Cut);
        drop(actors);
        writes = writes.max(world.disk.work().writes - begun);
        world.disk.restart();
        let mut actors = world.start(&options).unwrap_or_else(|e| panic!("death {nth}: {e}"));
        world.check(&mut actors).unwrap_or_else(|e| panic!("death {nth}: {e}"));
        if survived {
            break;
        }
        nth += 1;
        assert!(nth < 5000, "the history does not end");
    }
    println!("figure: {nth} deaths in a history of {writes} writes");
    assert!(nth > 100, "{nth} deaths only");
}

impl World {
    fn history(&mut self, actors: &mut Actors) -> Result<(), String> {
        let step = |actors: &mut Actors| actors.view.step(&actors.log).map(drop).map_err(|e| e.to_string());
        self.push(&actors.log)?;
        step(actors)?;
        actors.shelf.make(&actors.log, None).map_err(|e| e.to_string())?;
        self.push(&actors.log)?;
        actors.shelf.make(&actors.log, None).map_err(|e| e.to_string())?;
        step(actors)?;
        self.push(&actors.log)?;
        step(actors)
    }
}
