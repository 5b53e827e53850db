//! What is particular to the file: its forms, the reference's files, checkpoints, the queue. The laws are in `td-laws`.

mod many;
mod rewrites;

use super::*;
use crate::log::{Outcome, Projects, ProjectsOptions};
use rusqlite::Connection;
use td_engine::event::NewEvent;
use td_engine::id::{ActionId, DeviceId, ProjectId, Seq, SessionId};
use td_engine::payload::Payload;
use td_engine::taxonomy::{Action, EntityType};
use td_engine::time::ClientTime;

/// As the reference writes it, tabs and all.
const REFERENCE_SCHEMA: &str = "CREATE TABLE events (
\t\t\tserver_seq        INTEGER PRIMARY KEY AUTOINCREMENT,
\t\t\tdevice_id         TEXT NOT NULL,
\t\t\tsession_id        TEXT NOT NULL,
\t\t\tclient_action_id  INTEGER NOT NULL,
\t\t\taction_type       TEXT NOT NULL,
\t\t\tentity_type       TEXT NOT NULL,
\t\t\tentity_id         TEXT NOT NULL,
\t\t\tpayload           JSON NOT NULL,
\t\t\tclient_timestamp  DATETIME NOT NULL,
\t\t\tserver_timestamp  DATETIME DEFAULT CURRENT_TIMESTAMP,
\t\t\tUNIQUE(device_id, session_id, client_action_id)
\t\t);
CREATE INDEX idx_events_entity ON events(entity_type, entity_id);";

fn options() -> Options {
    let now = ClientTime::parse("2026-11-21T09:53:18.7+02:00").expect("time");
    Options::new(Arc::new(move || now))
}

fn push(n: i64) -> Push {
    let event = NewEvent {
        action_id: ActionId(n),
        action: Action::Create,
        entity_type: EntityType::stored("issues"),
        entity_id: format!("td-{n}"),
        payload: Some(Payload::stored(r#"{"new_data":{"title":"müsli"}}"#)),
        client_time: ClientTime::parse("2026-11-21T09:53:18.700-05:00").expect("time"),
    };
    let device = DeviceId::new("d").expect("not empty");
    Push { device, session: SessionId::new("s").expect("not empty"), events: vec![event] }
}

fn append(log: &SqliteLog, push: Push) -> Result<Vec<Outcome>, LogError> {
    log.append(push).blocking_recv().expect("an answer")
}

fn accepted(seq: i64) -> Vec<Outcome> {
    vec![Outcome::Accepted { seq: Seq(seq), moved: false }]
}

fn read(log: &SqliteLog) -> Result<Vec<LogEvent>, LogError> {
    let mut events = Vec::new();
    log.read(&ReadQuery { after: Seq(0), limit: 100, exclude: None }, &mut |event| {
        events.push(event);
        ControlFlow::Continue(())
    })?;
    Ok(events)
}

fn new_log(dir: &tempfile::TempDir, options: Options) -> (PathBuf, SqliteLog) {
    let path = dir.path().join("events.db");
    SqliteLog::create(&path, &options).expect("a file");
    let log = SqliteLog::open(&path, options).expect("a log");
    (path, log)
}

fn one<T: rusqlite::types::FromSql>(path: &Path, sql: &str) -> T {
    Connection::open(path).and_then(|conn| conn.query_row(sql, [], |row| row.get(0))).expect(sql)
}

fn project(n: u32) -> ProjectId {
    ProjectId::parse(&format!("p_{n:016x}")).expect("well formed")
}

fn projects(dir: &tempfile::TempDir) -> Projects {
    Projects::new(ProjectsOptions { dir: dir.path().to_owned(), most_open: 2, log: options() })
        .expect("a folder")
}

#[test]
fn a_row_has_the_forms_of_the_reference() {
    let dir = tempfile::tempdir().expect("a folder");
    let (path, log) = new_log(&dir, options());
    assert_eq!(append(&log, push(7)).expect("stored"), accepted(1));
    drop(log);
    let sql = "SELECT json_array(server_seq, device_id, session_id, client_action_id, action_type, entity_type, \
               entity_id, typeof(payload), CAST(payload AS TEXT), client_timestamp, server_timestamp) FROM events";
    assert_eq!(
        one::<String>(&path, sql),
        r#"[1,"d","s",7,"create","issues","td-7","blob","{\"new_data\":{\"title\":\"müsli\"}}","2026-11-21 09:53:18.7-05:00","2026-11-21 07:53:18"]"#
    );
    let ours = one::<String>(&path, "SELECT group_concat(sql, ';') FROM sqlite_master WHERE sql IS NOT NULL");
    let words = |sql: &str| sql.split_whitespace().collect::<Vec<_>>().join(" ");
    let reference = dir.path().join("reference.db");
    Connection::open(&reference).and_then(|conn| conn.execute_batch(REFERENCE_SCHEMA)).expect("a file");
    let theirs =
        one::<String>(&reference, "SELECT group_concat(sql, ';') FROM sqlite_master WHERE sql IS NOT NULL");
    assert_eq!(words(&ours), words(&theirs));
}

#[test]
fn a_file_of_the_reference_is_taken_over_and_can_be_given_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("events.db");
    let conn = Connection::open(&path).expect("a file");
    conn.execute_batch(REFERENCE_SCHEMA).expect("schema");
    conn.execute_batch(
        r#"PRAGMA journal_mode = TRUNCATE;
        INSERT INTO events VALUES
          (1,'d','s',1,'create','issues','td-1',CAST('{"b": 1, "a": 2}' AS BLOB),'2026-03-01 10:00:01+00:00','2026-11-21 09:51:29'),
          (3,'d','s',2,'frobnicate','issues','td-1','{"as":"text"}','2026-03-01T10:00:02Z','2026-11-21T09:51:30Z');
        UPDATE sqlite_sequence SET seq = 7;"#,
    )
    .expect("rows");
    drop(conn);
    let log = SqliteLog::open(&path, options()).expect("taken over");
    let head = log.head();
    assert_eq!((head.seq, head.allocated, head.count), (Seq(3), Seq(7), 2));
    assert_eq!(head.last_time.expect("a time").rfc3339n(), "2026-11-21T09:51:30Z");
    let events = read(&log).expect("readable");
    assert_eq!(events[1].action, "frobnicate", "an unknown word is for apply to judge");
    assert_eq!(events[1].payload.as_str(), r#"{"as":"text"}"#);
    let mut again = push(1);
    again.events[0].payload = Some(Payload::stored(r#"{"a":2,"b":1}"#));
    assert_eq!(append(&log, again).expect("answer"), [Outcome::Duplicate { seq: Some(Seq(1)) }]);
    assert_eq!(append(&log, push(3)).expect("answer"), accepted(9));
    drop(log);
    assert_eq!(one::<String>(&path, "PRAGMA journal_mode"), "wal");
    assert_eq!(one::<String>(&path, "PRAGMA journal_mode = DELETE"), "delete");
    assert_eq!(one::<i64>(&path, "SELECT count(*) FROM events"), 3);
    assert_eq!(one::<String>(&path, "PRAGMA integrity_check"), "ok");
}

#[test]
fn a_log_is_counted_when_it_grows_and_not_when_it_is_opened() {
    let dir = tempfile::tempdir().expect("a folder");
    let (path, log) = new_log(&dir, options());
    for n in 1..=3 {
        append(&log, push(n)).expect("answer");
    }
    drop(log);
    let count = || SqliteLog::open(&path, options()).expect("a log").head().count;
    // Below what was counted nobody looks again,
    one::<i64>(&path, "UPDATE sqlite_sequence SET seq = seq + 40 WHERE name = 'tdsync_count' RETURNING seq");
    assert_eq!(count(), 43);
    // what somebody else has added is counted,
    one::<i64>(
        &path,
        "INSERT INTO events VALUES (9,'go','s',1,'create','issues','td-9','{}','2026-11-21','2026-11-21') RETURNING 1",
    );
    assert_eq!(count(), 44);
    // and a note of other rows is none.
    one::<i64>(&path, "UPDATE sqlite_sequence SET seq = 10 WHERE name = 'tdsync_counted' RETURNING seq");
    assert_eq!(count(), 4);
    let log = SqliteLog::open(&path, options()).expect("a log");
    assert_eq!(append(&log, push(4)).expect("answer"), accepted(10));
    drop(log);
    assert_eq!(count(), 5);
}

#[test]
fn a_file_that_is_no_log_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("events.db");
    assert!(matches!(SqliteLog::open(&path, options()), Err(LogError::Missing)));
    assert!(!path.exists(), "opening made a file");
    std::fs::write(&path, "not a database, but long enough to look at").expect("a file");
    assert!(matches!(SqliteLog::open(&path, options()), Err(LogError::Storage(_))));
    std::fs::write(&path, "").expect("a file");
    assert!(matches!(SqliteLog::open(&path, options()), Err(LogError::Storage(_))));
}

#[test]
fn a_log_that_cannot_be_made_says_why() {
    let dir = tempfile::tempdir().expect("dir");
    // As when no descriptor is left: neither the folder nor anything in it can be opened.
    let made = SqliteLog::create(&dir.path().join("gone/events.db"), &options());
    let Err(LogError::Storage(why)) = made else { panic!("{made:?}") };
    assert!(why.contains("No such file or directory"), "{why}");
}

#[test]
fn a_damaged_row_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let (path, log) = new_log(&dir, options());
    append(&log, push(1)).expect("stored");
    append(&log, push(2)).expect("stored");
    let spoil = "UPDATE events SET client_timestamp = 'yesterday' WHERE server_seq = 2";
    Connection::open(&path).and_then(|conn| conn.execute(spoil, [])).expect("spoilt");
    assert!(matches!(read(&log), Err(LogError::Damaged { seq: Seq(2), .. })));
}

#[test]
fn what_is_passed_on_is_what_is_read_however_it_was_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let (path, log) = new_log(&dir, options());
    (1..=6).for_each(|n| drop(append(&log, push(n)).expect("stored")));
    let odd = "UPDATE events SET client_timestamp = '2026-11-21T09:53:18.70Z' WHERE server_seq = 2;
        UPDATE events SET client_timestamp = '2026-11-21 09:53:18.7 +0200 CEST' WHERE server_seq = 3;
        UPDATE events SET payload = CAST(payload AS TEXT), entity_id = '\"\' WHERE server_seq = 4;
        UPDATE events SET payload = x'22ff22' WHERE server_seq = 5";
    Connection::open(&path).and_then(|conn| conn.execute_batch(odd)).expect("written by others");
    let passed_on = || {
        let mut passed_on: Vec<LogEvent> = Vec::new();
        let query = ReadQuery { after: Seq(0), limit: 100, exclude: None };
        log.read_raw(&query, &mut |event| {
            let mut json = Vec::new();
            event.write(&mut json);
            passed_on.push(serde_json::from_slice(&json).expect("JSON"));
            ControlFlow::Continue(())
        })
        .map(|_| passed_on)
    };
    assert_eq!(passed_on().expect("events"), read(&log).expect("events"));
    let spoil = "UPDATE events SET session_id = '' WHERE server_seq = 6";
    Connection::open(&path).and_then(|conn| conn.execute(spoil, [])).expect("spoilt");
    assert!(matches!(passed_on(), Err(LogError::Damaged { seq: Seq(6), .. })));
}

/// Rows from before its server scrubbed them.
#[test]
fn what_an_old_reference_stored_of_a_device_is_not_shown_and_its_event_is_known_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let (path, log) = new_log(&dir, options());
    let session = |data: &str| {
        let mut push = push(1);
        push.events[0].entity_type = EntityType::stored("work_sessions");
        push.events[0].payload = Some(Payload::stored(format!(r#"{{"new_data":{data}}}"#)));
        push
    };
    let clean = r#"{"id":"ws-1","n":1.10}"#;
    assert_eq!(append(&log, session(clean)).expect("stored"), accepted(1));
    let old =
        r#"UPDATE events SET payload = '{"new_data":{"id":"ws-1","n":1.10,"worktree_root":"/home/secret"}}'"#;
    Connection::open(&path).and_then(|conn| conn.execute(old, [])).expect("as it was once");
    let expected = format!(r#"{{"new_data":{clean}}}"#);
    assert_eq!(read(&log).expect("events")[0].payload.as_str(), expected);
    let query = ReadQuery { after: Seq(0), limit: 100, exclude: None };
    let mut passed_on = Vec::new();
    let each = &mut |event: &RawEvent<'_>| {
        passed_on.push(event.payload.to_string());
        ControlFlow::Continue(())
    };
    log.read_raw(&query, each).expect("events");
    let each = &mut |row: Inspected| {
        passed_on.push(row.event.payload.as_str().to_string());
        ControlFlow::Continue(())
    };
    log.inspect(&Filter { limit: 100, ..Filter::default() }, each).expect("events");
    assert_eq!(passed_on, [expected.clone(), expected]);
    let again = append(&log, session(clean)).expect("answered");
    assert_eq!(again, [Outcome::Duplicate { seq: Some(Seq(1)) }]);
}

#[test]
fn a_push_that_the_file_refuses_takes_nothing_out_of_its_commit() {
    let dir = tempfile::tempdir().expect("a folder");
    let options = Options { gate: Arc::new(CommitGate::new(1)), ..options() };
    let path = dir.path().join("events.db");
    SqliteLog::create(&path, &options).expect("a file");
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON events WHEN NEW.entity_id = 'td-2'
        BEGIN SELECT RAISE(ABORT, 'not this one'); END";
    Connection::open(&path).and_then(|conn| conn.execute_batch(refuse)).expect("a trigger");
    let log = SqliteLog::open(&path, options.clone()).expect("a log");
    let permit = options.gate.pass();
    let tickets = [1, 2, 3].map(|n| log.append(push(n)));
    drop(permit);
    let [first, second, third] = tickets.map(|ticket| ticket.blocking_recv().expect("an answer"));
    assert_eq!(first.expect("stored"), accepted(1));
    assert!(matches!(second, Err(LogError::Refused(_))));
    assert_eq!(third.expect("stored"), accepted(2), "a refused push consumes no number");
    assert_eq!(read(&log).expect("events").len(), 2);
    assert_eq!(options.counters.read().commits, 1, "they shared a commit");
}

#[test]
fn a_lingering_reader_holds_up_no_push() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_, log) = new_log(&dir, options());
    (1..=3).for_each(|n| drop(append(&log, push(n)).expect("stored")));
    let mut pushed = 0;
    let query = ReadQuery { after: Seq(0), limit: 100, exclude: None };
    let handed = log.read(&query, &mut |event| {
        assert_eq!(append(&log, push(event.seq.0 + 3)).expect("stored").len(), 1);
        pushed += 1;
        ControlFlow::Continue(())
    });
    assert_eq!((handed.expect("readable"), pushed), (3, 3), "the page is of the moment it began");
    assert_eq!(read(&log).expect("readable").len(), 6);
}

/// As many as wait for their clients; what waits for no client has connections of its own.
#[test]
fn pages_keep_a_connection_from_neither_the_live_view_nor_the_announcements() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_, log) = new_log(&dir, options());
    append(&log, push(1)).expect("stored");
    fn slow_pages(log: &SqliteLog, more: usize) {
        if more == 0 {
            assert_eq!(read(log).expect("readable").len(), 1);
            return;
        }
        let query = ReadQuery { after: Seq(0), limit: 1, exclude: None };
        let page = log.read_raw(&query, &mut |_| {
            slow_pages(log, more - 1);
            ControlFlow::Continue(())
        });
        assert_eq!(page.expect("readable"), 1);
    }
    slow_pages(&log, reader::READERS);
}

#[test]
fn a_full_queue_says_busy_and_what_waited_shares_a_commit() {
    let dir = tempfile::tempdir().expect("a folder");
    let options = Options { gate: Arc::new(CommitGate::new(1)), ..options() };
    let (_, log) = new_log(&dir, options.clone());
    let permit = options.gate.pass();
    let mut tickets = Vec::new();
    // One more than the queue holds may be with the writer already.
    let busy = (1..=QUEUE as i64 + 2).find_map(|n| {
        let mut ticket = log.append(push(n));
        match ticket.try_recv() {
            Ok(answer) => Some(answer),
            Err(_) => {
                tickets.push(ticket);
                None
            }
        }
    });
    let Some(Err(LogError::Busy { retry_after })) = busy else { panic!("{busy:?}") };
    assert_eq!(retry_after, Duration::from_secs(1));
    assert!(tickets.len() >= QUEUE);
    drop(permit);
    for (n, ticket) in (1..).zip(tickets) {
        assert_eq!(ticket.blocking_recv().expect("answer").expect("stored"), accepted(n));
    }
    let counts = options.counters.read();
    assert!((1..=2).contains(&counts.commits), "{counts:?}");
    assert_eq!(counts.pushes, counts.events);
}

#[test]
fn megabytes_that_wait_fill_the_queue_too_and_one_push_alone_never_does() {
    let dir = tempfile::tempdir().expect("a folder");
    let options = Options { gate: Arc::new(CommitGate::new(1)), ..options() };
    let (_, log) = new_log(&dir, options.clone());
    let permit = options.gate.pass();
    let big = |n: i64| {
        let mut push = push(n);
        push.events[0].payload = Some(Payload::stored(format!("\"{}\"", "x".repeat(QUEUE_BYTES / 8))));
        push
    };
    let mut tickets: Vec<_> = (1..=12).map(|n| log.append(big(n))).collect();
    let refused = tickets.extract_if(.., |t| matches!(t.try_recv(), Ok(Err(LogError::Busy { .. })))).count();
    assert!((4..=5).contains(&refused), "{refused} of 12 were refused");
    drop(permit);
    for ticket in tickets {
        assert_eq!(ticket.blocking_recv().expect("answer").expect("stored").len(), 1);
    }
    assert!(append(&log, big(13)).is_ok(), "what was answered weighs nothing any more");
}

#[test]
fn slow_readers_keep_nobody_from_reading() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_, log) = new_log(&dir, options());
    append(&log, push(1)).expect("stored");
    let (started, starts) = std::sync::mpsc::channel();
    let (finish, wait) = std::sync::mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    std::thread::scope(|s| {
        for _ in 0..6 {
            let (log, started, wait) = (&log, started.clone(), &wait);
            s.spawn(move || {
                let query = ReadQuery { after: Seq(0), limit: 1, exclude: None };
                log.read(&query, &mut |_| {
                    started.send(()).expect("the test is there");
                    let _ = lock(wait).recv();
                    ControlFlow::Continue(())
                })
            });
        }
        (0..6).for_each(|_| starts.recv().expect("a reader begins"));
        assert_eq!(read(&log).expect("readable").len(), 1);
        drop(finish);
    });
}

/// Waits for what the writer does on its own.
fn until(condition: impl Fn() -> bool) -> bool {
    until_within(500, condition)
}

#[allow(clippy::disallowed_methods, reason = "polls a condition with a limit")]
fn until_within(turns: u32, condition: impl Fn() -> bool) -> bool {
    (0..turns).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        condition()
    })
}

#[test]
fn an_idle_log_is_checkpointed_by_its_writer_and_keeps_its_wal() {
    let dir = tempfile::tempdir().expect("a folder");
    let own = CheckpointPolicy::Own { bytes: u64::MAX, idle: Duration::from_millis(20) };
    let (path, log) = new_log(&dir, Options { checkpoint: own, ..options() });
    append(&log, push(1)).expect("stored");
    let wal = path.with_extension("db-wal");
    let in_file = || {
        std::fs::read(&path)
            .expect("a file")
            .windows(5)
            .any(|w| w == "müsli".as_bytes().get(..5).expect("long enough"))
    };
    assert!(until(in_file), "never checkpointed");
    drop(log);
    assert!(wal.metadata().expect("the WAL stays").len() > 0);
}

#[test]
fn a_large_wal_is_checkpointed_under_load() {
    let dir = tempfile::tempdir().expect("a folder");
    let own = CheckpointPolicy::Own { bytes: 100_000, idle: Duration::from_secs(3600) };
    let options = Options { checkpoint: own, ..options() };
    let (path, log) = new_log(&dir, options.clone());
    (1..=200).for_each(|n| drop(append(&log, push(n)).expect("stored")));
    drop(log);
    assert!(options.counters.read().checkpoints >= 2);
    let size = path.with_extension("db-wal").metadata().expect("the WAL stays").len();
    assert!(size < 300_000, "the WAL grew to {size} bytes");
}

#[test]
fn with_a_sidecar_nothing_of_ours_touches_the_database_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let options = Options { checkpoint: CheckpointPolicy::Sidecar, ..options() };
    let (path, log) = new_log(&dir, options.clone());
    drop(log);
    let before = std::fs::read(&path).expect("a file");
    for n in 1..=50 {
        let log = SqliteLog::open(&path, options.clone()).expect("a log");
        append(&log, push(n)).expect("stored");
        assert_eq!(read(&log).expect("readable").len() as i64, n);
    }
    assert_eq!(std::fs::read(&path).expect("a file"), before);
    assert_eq!(options.counters.read().checkpoints, 0);
}

#[test]
fn a_history_is_read_from_the_index_and_not_by_going_through_the_log() {
    let dir = tempfile::tempdir().expect("a folder");
    let (path, log) = new_log(&dir, options());
    let conn = file::open_reader(&path, None).expect("a reader");
    let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {}", reader::HISTORY)).expect("a plan");
    let steps = plan.query_map(("issues", "td-1", 0, 10), |r| r.get::<_, String>(3)).expect("steps");
    let steps: Vec<String> = steps.collect::<Result<_, _>>().expect("steps");
    let wanted = "SEARCH events USING INDEX idx_events_entity (entity_type=? AND entity_id=? AND rowid>?)";
    assert_eq!(steps, [wanted]);
    drop(log);
}
