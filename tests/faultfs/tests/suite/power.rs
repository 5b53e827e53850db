//! Sixteen pushing clients and a power cut, again and again.
//!
//! Duty: every acknowledged event is there afterwards, everything anyone has read is, numbers grow and are never given
//! out twice, and every retry is a duplicate with its old number.
//! `TD_TEST_FULL=1` runs many more worlds, `TD_TEST_SEED` other ones. The seed decides where the cut falls and what it
//! spares; how the threads interleave is the machine's choice, so a seed narrows a failure down but does not replay it.

use crate::logs::options;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use td_engine::id::Seq;
use td_faultfs::{Death, Disk, Rng};
use td_laws::build::{append, event, push};
use td_server::log::{CheckpointPolicy, Durability, EventLog, Options, Outcome, ReadQuery, SqliteLog};

const CLIENTS: usize = 16;
const LIVES: usize = 4;
const FILE: &str = "/p/events.db";

/// Which client's which event.
type Key = (String, i64);

/// What the clients were promised and shown, over all lives.
#[derive(Default)]
struct Ledger {
    acknowledged: BTreeMap<Key, i64>,
    read: BTreeMap<i64, Key>,
    allocated: i64,
    broken: Option<String>,
}

struct World {
    ledger: Mutex<Ledger>,
    /// Each client's first number that nobody has acknowledged.
    next: Vec<Mutex<i64>>,
    answers: AtomicUsize,
}

#[test]
fn acknowledged_events_survive_power_cuts_and_kills() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let seeds = if number("TD_TEST_FULL") == 1 { 500 } else { 30 };
    let first = number("TD_TEST_SEED");
    println!("seed: {first}");
    let mut answers = 0;
    for seed in first..first + seeds {
        match world(seed, Durability::Full) {
            Ok(n) => answers += n,
            Err(broken) => panic!("seed {seed}: {broken}"),
        }
    }
    println!("{seeds} worlds, {answers} acknowledged pushes, nothing lost");
    assert!(answers as u64 > seeds * 20, "the cuts came before anything was acknowledged");
}

/// The same test must fail where commits are not synced, or it could not see a missing sync either.
#[test]
fn the_fault_filesystem_catches_synchronous_off() {
    // With NORMAL some worlds sync so often for their checkpoints that little is left to lose.
    for (weak, least) in [(Durability::Off, 8), (Durability::Normal, 1)] {
        let caught = (0..10).filter(|seed| world(*seed, weak).is_err()).count();
        assert!(caught >= least, "{weak:?} was caught in {caught} of 10 worlds only");
    }
}

/// Some lives of one log. Returns how many pushes were acknowledged, or what was broken.
fn world(seed: u64, durability: Durability) -> Result<usize, String> {
    let mut rng = Rng::new(seed);
    let disk = Disk::new(seed);
    let bytes = [0, 64 * 1024, 1024 * 1024][rng.below(3) as usize];
    let checkpoint = match rng.below(4) {
        0 => CheckpointPolicy::Sidecar,
        _ => CheckpointPolicy::Own { bytes, idle: Duration::from_millis(1) },
    };
    let options = Options { durability, checkpoint, ..options(&disk) };
    let path = Path::new(FILE);
    SqliteLog::create(path, &Options { durability: Durability::Full, ..options.clone() })
        .map_err(|e| e.to_string())?;
    disk.sync_directory();
    let world = World {
        ledger: Mutex::default(),
        next: (0..CLIENTS).map(|_| Mutex::new(1)).collect(),
        answers: AtomicUsize::new(0),
    };
    for life in 0..LIVES {
        let log = SqliteLog::open(path, options.clone()).map_err(|e| format!("life {life}: {e}"))?;
        world.check(&log).map_err(|broken| format!("life {life}: {broken}"))?;
        let how = if rng.below(4) == 0 { Death::Kill } else { Death::Cut };
        disk.die_at(1 + rng.below(400), how);
        std::thread::scope(|s| {
            for client in 0..CLIENTS {
                let (world, log, seed) = (&world, &log, rng.draw());
                s.spawn(move || world.client(client, log, Rng::new(seed)));
            }
            s.spawn(|| world.reader(&log));
        });
        drop(log);
        disk.restart();
    }
    let log = SqliteLog::open(path, options).map_err(|e| format!("at the end: {e}"))?;
    world.check(&log).map_err(|broken| format!("at the end: {broken}"))?;
    Ok(world.answers.load(Ordering::SeqCst))
}

impl World {
    /// Pushes until the log fails. Begins with what the last life left unanswered; now and then repeats an old push.
    fn client(&self, client: usize, log: &SqliteLog, mut rng: Rng) {
        let device = format!("d{client}");
        let mut next = self.next[client].lock().expect("not poisoned");
        loop {
            let many = 1 + rng.below(3) as i64;
            let first =
                if *next > 1 && rng.below(4) == 0 { 1 + rng.below(*next as u64 - 1) as i64 } else { *next };
            let numbers: Vec<i64> = (first..first + many).collect();
            let Ok(outcomes) = append(log, push(&device, numbers.iter().map(|n| event(*n)))) else { return };
            self.answers.fetch_add(1, Ordering::SeqCst);
            let mut ledger = self.ledger.lock().expect("not poisoned");
            for (n, outcome) in numbers.iter().zip(outcomes) {
                ledger.note((device.clone(), *n), outcome);
            }
            *next = (*next).max(first + many);
        }
    }

    /// Follows the log as a pulling client does, and remembers all it was shown.
    fn reader(&self, log: &SqliteLog) {
        let mut cursor = Seq(0);
        loop {
            let allocated = log.head().allocated.0;
            let query = ReadQuery { after: cursor, limit: 100, exclude: None };
            let mut ledger = Vec::new();
            let page = log.read(&query, &mut |event| {
                cursor = event.seq;
                ledger.push((event.seq.0, (event.device.as_str().to_owned(), event.action_id.0)));
                ControlFlow::Continue(())
            });
            let mut all = self.ledger.lock().expect("not poisoned");
            all.allocated = all.allocated.max(allocated);
            for (seq, key) in ledger {
                all.show(seq, key);
            }
            if page.is_err() {
                return;
            }
        }
    }

    /// Whether a log that was just opened has kept every promise.
    fn check(&self, log: &SqliteLog) -> Result<(), String> {
        let mut there = BTreeMap::new();
        let mut last = 0;
        let query = ReadQuery { after: Seq(0), limit: usize::MAX, exclude: None };
        let read = log.read(&query, &mut |event| {
            assert!(event.seq.0 > last, "pages go up");
            last = event.seq.0;
            there.insert(last, (event.device.as_str().to_owned(), event.action_id.0));
            ControlFlow::Continue(())
        });
        read.map_err(|e| format!("not readable: {e}"))?;
        let mut ledger = self.ledger.lock().expect("not poisoned");
        if let Some(broken) = ledger.broken.take() {
            return Err(broken);
        }
        for (key, seq) in &ledger.acknowledged {
            if there.get(seq) != Some(key) {
                return Err(format!("{key:?} was acknowledged as {seq}, where {:?} is", there.get(seq)));
            }
        }
        for (seq, key) in &ledger.read {
            if there.get(seq) != Some(key) {
                return Err(format!("{key:?} was read at {seq}, where {:?} is", there.get(seq)));
            }
        }
        let allocated = log.head().allocated.0;
        if allocated < ledger.allocated.max(last) {
            return Err(format!("numbers went back from {} to {allocated}", ledger.allocated));
        }
        // What is there was shown just now.
        there.into_iter().for_each(|(seq, key)| ledger.show(seq, key));
        Ok(())
    }
}

impl Ledger {
    fn note(&mut self, key: Key, outcome: Outcome) {
        let (seq, new) = match outcome {
            Outcome::Accepted { seq, moved: false } => (seq.0, true),
            Outcome::Duplicate { seq: Some(seq) } => (seq.0, false),
            other => return self.fault(format!("{key:?} was answered with {other:?}")),
        };
        match self.acknowledged.insert(key.clone(), seq) {
            Some(_) if new => self.fault(format!("{key:?} was stored twice, now as {seq}")),
            Some(old) if old != seq => self.fault(format!("{key:?} was {old} and is {seq} now")),
            _ => {}
        }
    }

    fn show(&mut self, seq: i64, key: Key) {
        if let Some(old) = self.read.insert(seq, key.clone()).filter(|old| *old != key) {
            self.fault(format!("{seq} was {old:?} and is {key:?} now"));
        }
    }

    fn fault(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }
}
