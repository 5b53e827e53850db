//! The laws of one log.

use crate::build::*;
use crate::{Backend, create, open};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use td_engine::event::NewEvent;
use td_engine::id::{DeviceId, Seq, SessionId};
use td_engine::payload::Payload;
use td_engine::taxonomy::{Action, EntityType};
use td_engine::time::ClientTime;
use td_server::log::{EventLog, Filter, Head, HistoryQuery, LogError, MAX_PAYLOAD_BYTES, Outcome, ReadQuery};

const PUSHERS: i64 = 4;
const PUSHES: i64 = 40;

/// Law 1, and the retry finds it.
pub fn an_acknowledged_event_survives_a_crash(backend: &mut dyn Backend) {
    drop(create(backend));
    for n in 1..=20 {
        stored(&*open(backend), "d", [event(n)]);
        if n % 3 == 0 {
            backend.crash();
        }
        assert_eq!(seqs(&after(&*open(backend), 0)), (1..=n).collect::<Vec<_>>());
    }
    let log = open(backend);
    assert_eq!(stored(&*log, "d", (1..=20).map(event)), (1..=20).map(duplicate).collect::<Vec<_>>());
}

/// Laws 1 and 4.
pub fn an_event_is_readable_when_its_push_is_answered(backend: &mut dyn Backend) {
    let log = create(backend);
    std::thread::scope(|s| {
        for device in 0..PUSHERS {
            let log = &log;
            s.spawn(move || {
                for n in 1..=PUSHES {
                    let outcome = stored(&**log, &format!("d{device}"), [event(n)]);
                    let [Outcome::Accepted { seq, .. }] = outcome[..] else { panic!("{outcome:?}") };
                    assert!(log.head().seq >= seq, "the head is behind an answer");
                    assert_eq!(after(&**log, seq.0 - 1).first().map(|e| e.seq), Some(seq));
                }
            });
        }
    });
}

/// Law 2: what a reader misses below a number it saw never comes later.
pub fn whoever_sees_a_number_has_seen_every_lower_one(backend: &mut dyn Backend) {
    let log = create(backend);
    let seen = while_pushing(&*log, |log, all: &mut Vec<i64>| {
        all.extend(seqs(&after(log, all.last().copied().unwrap_or(0))));
    });
    assert!(seen.is_sorted(), "numbers must grow");
    assert_eq!(seen, seqs(&after(&*log, 0)), "a reader that follows its cursor has missed something");
    assert_eq!(seen.len() as i64, PUSHERS * PUSHES * 2);
}

/// Law 4: while others push, every page is a prefix of the log behind the cursor, and holds each push whole or not.
pub fn a_page_is_one_consistent_moment(backend: &mut dyn Backend) {
    let log = create(backend);
    let pages = while_pushing(&*log, |log, pages: &mut Vec<Vec<i64>>| pages.push(seqs(&after(log, 0))));
    let end = seqs(&after(&*log, 0));
    for page in pages {
        assert_eq!(page, end[..page.len()], "not a prefix of the log");
        assert_eq!(page.len() % 2, 0, "half a push was visible");
    }
}

/// Runs `look` again and again while several devices push pairs of events, and once after.
fn while_pushing<T: Default + Send>(log: &dyn EventLog, look: impl Fn(&dyn EventLog, &mut T) + Sync) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|s| {
        let looker = s.spawn(|| {
            let mut seen = T::default();
            while !done.load(Ordering::SeqCst) {
                look(log, &mut seen);
            }
            look(log, &mut seen);
            seen
        });
        let pusher = |device: i64| {
            move || {
                for n in 1..=PUSHES {
                    stored(log, &format!("d{device}"), [event(2 * n), event(2 * n + 1)]);
                }
            }
        };
        let pushers: Vec<_> = (0..PUSHERS).map(|device| s.spawn(pusher(device))).collect();
        let ends: Vec<_> = pushers.into_iter().map(|p| p.join()).collect();
        done.store(true, Ordering::SeqCst);
        ends.into_iter().for_each(|end| end.expect("pusher"));
        looker.join().expect("looker")
    })
}

/// Law 2: the reference's numbers, which recordings pin.
pub fn duplicates_and_missing_payloads_burn_one_number_each(backend: &mut dyn Backend) {
    let log = create(backend);
    let bare = |n| NewEvent { payload: None, ..event(n) };
    let nameless = NewEvent { entity_id: String::new(), ..event(9) };
    let batch = [event(1), event(1), bare(2), nameless.clone(), bare(1), event(2)];
    let rejected = Outcome::Rejected { reason: "empty entity_id" };
    assert_eq!(
        stored(&*log, "d", batch),
        [accepted(1), duplicate(1), Outcome::Duplicate { seq: None }, rejected, duplicate(1), accepted(5)]
    );
    assert_eq!(stored(&*log, "d", [nameless]).len(), 1);
    assert_eq!(log.head().allocated, Seq(5), "an empty entity id consumed a number");
    assert_eq!(stored(&*log, "d", [event(3)]), [accepted(6)]);
}

/// Law 2: a number given out for nothing is given out.
pub fn burned_numbers_survive_restart_and_crash(backend: &mut dyn Backend) {
    let log = create(backend);
    stored(&*log, "d", [NewEvent { payload: None, ..event(1) }]);
    drop(log);
    backend.restart();
    let log = open(backend);
    assert_eq!(log.head().allocated, Seq(1), "burned before the first event, forgotten by a restart");
    assert_eq!(stored(&*log, "d", [event(1), event(1), event(1)]), [accepted(2), duplicate(2), duplicate(2)]);
    drop(log);
    backend.crash();
    let log = open(backend);
    assert_eq!(stored(&*log, "d", [event(2)]), [accepted(5)]);
    drop(log);
    backend.restart();
    assert_eq!(stored(&*open(backend), "d", [event(3)]), [accepted(6)]);
}

/// Law 3.
pub fn a_duplicate_push_answers_with_its_old_sequence(backend: &mut dyn Backend) {
    let log = create(backend);
    assert_eq!(stored(&*log, "d", [event(1), event(2)]), [accepted(1), accepted(2)]);
    assert_eq!(stored(&*log, "d", [event(1), event(2)]), [duplicate(1), duplicate(2)]);
    drop(log);
    backend.crash();
    let log = open(backend);
    assert_eq!(stored(&*log, "d", [event(2), event(3)]), [duplicate(2), accepted(6)]);
    assert_eq!(seqs(&after(&*log, 0)), [1, 2, 6]);
}

/// Law 3: key order and white space do not make another event; the client's time does not either.
pub fn the_same_event_is_told_by_meaning_not_by_spelling(backend: &mut dyn Backend) {
    let log = create(backend);
    let with = |json: &str| NewEvent { payload: Some(Payload::parse(json).expect("json")), ..event(1) };
    assert_eq!(stored(&*log, "d", [with(r#"{"a":1,"b":{"x":2,"y":3}}"#)]), [accepted(1)]);
    let mut later = with(r#"{ "b": {"y":3, "x":2}, "a": 1 }"#);
    later.client_time = ClientTime::parse("2027-01-01T00:00:00Z").expect("time");
    assert_eq!(stored(&*log, "d", [later]), [duplicate(1)]);
    assert_eq!(
        after(&*log, 0)[0].payload.as_str(),
        r#"{"a":1,"b":{"x":2,"y":3}}"#,
        "the first spelling stays"
    );
}

/// Law 3: each part of an event can make it another one.
pub fn another_event_under_a_used_key_is_kept_beside_it(backend: &mut dyn Backend) {
    let log = create(backend);
    let mut others = vec![titled(1, "one"), titled(1, "two"), event(1), event(1), event(1)];
    others[2].entity_id = "td-other".into();
    others[3].action = Action::Delete;
    others[4].entity_type = EntityType::stored("notes");
    assert_eq!(stored(&*log, "d", others.clone()), [accepted(1), moved(2), moved(3), moved(4), moved(5)]);
    let again = (1..=5).map(duplicate).collect::<Vec<_>>();
    assert_eq!(stored(&*log, "d", others), again, "a repeat finds the moved event");
    let events = after(&*log, 0);
    assert_eq!(seqs(&events), [1, 2, 3, 4, 5]);
    assert_eq!(events[0].session.as_str(), "s");
    for event in &events[1..] {
        let suffix = event.session.as_str().strip_prefix("s~").expect("a derived session");
        assert!(suffix.len() == 8 && suffix.bytes().all(|b| b.is_ascii_hexdigit()), "{suffix}");
        assert_eq!(event.action_id.0, 1);
    }
}

/// Laws 1 and 3 together, and a squatter on the derived key.
pub fn a_moved_event_is_found_again_after_a_crash(backend: &mut dyn Backend) {
    let log = create(backend);
    assert_eq!(stored(&*log, "d", [titled(1, "one"), titled(1, "two")]), [accepted(1), moved(2)]);
    let derived = after(&*log, 1)[0].session.clone();
    let mut squatter = push("e", [titled(1, "squatting")]);
    squatter.session = derived;
    assert_eq!(append(&*log, squatter).expect("stored"), [accepted(3)]);
    assert_eq!(stored(&*log, "e", [titled(1, "one"), titled(1, "two")]), [accepted(4), moved(5)]);
    drop(log);
    backend.crash();
    let log = open(backend);
    assert_eq!(stored(&*log, "d", [titled(1, "two"), titled(1, "one")]), [duplicate(2), duplicate(1)]);
    assert_eq!(stored(&*log, "e", [titled(1, "two")]), [duplicate(5)]);
    assert_eq!(after(&*log, 0).len(), 5);
}

/// Server-protocol W3: the twin's outcome stands at the twin's place.
pub fn the_same_key_twice_in_one_push_is_matched_by_position(backend: &mut dyn Backend) {
    let log = create(backend);
    let batch = [event(7), event(8), event(7), titled(8, "another"), event(9)];
    assert_eq!(stored(&*log, "d", batch), [accepted(1), accepted(2), duplicate(1), moved(4), accepted(5)]);
    assert_eq!(seqs(&after(&*log, 0)), [1, 2, 4, 5]);
}

/// Law 3: the whole key counts, to the last bit of the number.
pub fn devices_and_sessions_have_keys_of_their_own(backend: &mut dyn Backend) {
    let log = create(backend);
    let mut elsewhere = push("d", [event(1)]);
    elsewhere.session = SessionId::new("t").expect("not empty");
    assert_eq!(stored(&*log, "d", [event(1)]), [accepted(1)]);
    assert_eq!(stored(&*log, "e", [event(1)]), [accepted(2)]);
    assert_eq!(append(&*log, elsewhere).expect("stored"), [accepted(3)]);
    assert_eq!(stored(&*log, "D", [event(1)]), [accepted(4)]);
    let edges = [i64::MIN, -1, 0, i64::MAX];
    let outcomes = stored(&*log, "d", edges.map(event));
    assert_eq!(outcomes, [accepted(5), accepted(6), accepted(7), accepted(8)]);
    assert_eq!(after(&*log, 4).iter().map(|e| e.action_id.0).collect::<Vec<_>>(), edges);
}

/// Law 5: whole, too; a refused push stores none of its events and consumes no number.
pub fn one_failing_push_does_not_take_its_neighbours(backend: &mut dyn Backend) {
    let log = create(backend);
    let mut huge = event(2);
    huge.payload = Some(Payload::stored(format!("\"{}\"", "x".repeat(MAX_PAYLOAD_BYTES))));
    // Queued without waiting, so that they can share a commit.
    let first = log.append(push("d", [event(1)]));
    let bad = log.append(push("d", [event(5), huge]));
    let last = log.append(push("d", [event(3)]));
    assert_eq!(first.blocking_recv().expect("answer").expect("stored"), [accepted(1)]);
    assert!(matches!(bad.blocking_recv().expect("answer"), Err(LogError::Refused(_))));
    assert_eq!(last.blocking_recv().expect("answer").expect("stored"), [accepted(2)]);
    assert_eq!(seqs(&after(&*log, 0)), [1, 2]);
}

/// Law 5: a push with more new events than its sender may store stores none, and what is stored already does not count.
pub fn a_push_beyond_its_bound_stores_nothing(backend: &mut dyn Backend) {
    let log = create(backend);
    let bounded = |events: Vec<NewEvent>, most| log.append_at_most(push("d", events), most).blocking_recv();
    let at_most = |events, most| bounded(events, most).expect("answer");
    assert_eq!(at_most(vec![event(1), event(2)], 2).expect("stored"), [accepted(1), accepted(2)]);
    assert!(matches!(at_most(vec![event(2), event(3), event(4)], 1), Err(LogError::TooMany)));
    assert_eq!((log.head().allocated, log.head().count), (Seq(2), 2), "no number was consumed");
    assert_eq!(at_most(vec![event(1), event(2)], 0).expect("known"), [duplicate(1), duplicate(2)]);
    assert!(matches!(at_most(vec![titled(1, "another")], 0), Err(LogError::TooMany)), "moved is new");
    drop(log);
    backend.restart();
    let log = open(backend);
    assert_eq!(seqs(&after(&*log, 0)), [1, 2]);
    assert_eq!(stored(&*log, "d", [event(3)]), [accepted(5)]);
}

/// Law 6.
pub fn a_watcher_ends_with_the_newest_head(backend: &mut dyn Backend) {
    let log = create(backend);
    let (mut early, end) = (log.watch(), PUSHERS * PUSHES * 2);
    std::thread::scope(|s| {
        let follower = s.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
            runtime.block_on(async {
                let mut last = early.borrow_and_update().seq.0;
                while last < end {
                    early.changed().await.expect("the log is open");
                    let now = early.borrow_and_update().seq.0;
                    assert!(now >= last, "the head went back");
                    last = now;
                }
                last
            })
        });
        while_pushing(&*log, |log, _: &mut ()| {
            let watched = *log.watch().borrow();
            assert!(watched.seq <= log.head().seq);
        });
        assert_eq!(follower.join().expect("follower"), end);
    });
    assert_eq!(log.watch().borrow().seq, log.head().seq, "a late watcher starts with the newest head");
}

/// [`Head`], before and after a restart.
pub fn the_head_counts_what_is_stored_and_what_is_given_out(backend: &mut dyn Backend) {
    let log = create(backend);
    assert_eq!(log.head(), Head::default());
    stored(&*log, "d", [event(1), event(2), event(1)]);
    let head = log.head();
    assert_eq!((head.seq, head.allocated, head.count), (Seq(2), Seq(3), 2));
    let time = head.last_time.expect("a time").rfc3339n();
    assert_eq!(time, "2026-11-21T09:53:18Z", "whole seconds in UTC");
    drop(log);
    backend.restart();
    assert_eq!(open(backend).head(), head);
    backend.crash();
    assert_eq!(open(backend).head(), head);
}

/// [`ReadQuery`].
pub fn reads_start_after_stop_at_and_leave_out(backend: &mut dyn Backend) {
    let log = create(backend);
    for n in 1..=6 {
        // Each clock is behind the one before: order is by sequence.
        let client_time = ClientTime::parse(&format!("2026-11-21T09:53:0{}Z", 9 - n)).expect("time");
        let event = NewEvent { client_time, ..event(n) };
        stored(&*log, if n % 2 == 0 { "even" } else { "odd" }, [event]);
    }
    let read = |after, limit, exclude: Option<&str>| {
        let exclude = exclude.map(|d| DeviceId::new(d).expect("not empty"));
        seqs(&page(&*log, &ReadQuery { after: Seq(after), limit, exclude }))
    };
    assert_eq!(read(0, 10_000, None), [1, 2, 3, 4, 5, 6]);
    assert_eq!(read(2, 3, None), [3, 4, 5]);
    assert_eq!(read(0, 2, Some("odd")), [2, 4]);
    assert_eq!(read(0, 10, Some("Odd")), [1, 2, 3, 4, 5, 6], "names are compared exactly");
    assert_eq!(read(6, 10, None), [0; 0]);
    assert_eq!(read(i64::MAX, 10, None), [0; 0]);
    let mut seen = 0;
    let handed = log.read(&ReadQuery { after: Seq(0), limit: 10, exclude: None }, &mut |_| {
        seen += 1;
        if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((handed.expect("readable"), seen), (2, 2), "the reader may stop the page");
}

/// [`HistoryQuery`]: one entity of one kind, in order, from behind a sequence.
pub fn an_entity_has_its_own_history(backend: &mut dyn Backend) {
    let log = create(backend);
    let of = |n: i64, kind: &str, id: &str| NewEvent {
        entity_type: EntityType::stored(kind),
        entity_id: id.into(),
        ..event(n)
    };
    let batch = [of(1, "issues", "x"), of(2, "issues", "y"), of(3, "notes", "x"), of(4, "issues", "x")];
    stored(&*log, "d", batch);
    stored(&*log, "e", [of(1, "issues", "X"), of(2, "issues", "x"), of(2, "issues", "x")]);
    let read = |log: &dyn EventLog, after: i64, limit: usize| {
        let query = HistoryQuery {
            entity_type: EntityType::stored("issues"),
            entity_id: "x".into(),
            after: Seq(after),
            limit,
        };
        let mut events = Vec::new();
        let handed = log.history(&query, &mut |event| {
            events.push(event);
            ControlFlow::Continue(())
        });
        assert_eq!(handed.expect("readable"), events.len());
        seqs(&events)
    };
    assert_eq!(read(&*log, 0, 100), [1, 4, 6]);
    assert_eq!(read(&*log, 0, 2), [1, 4]);
    assert_eq!(read(&*log, 4, 2), [6]);
    assert_eq!(read(&*log, 6, 2), [0; 0]);
    drop(log);
    backend.crash();
    assert_eq!(read(&*open(backend), 0, 100), [1, 4, 6]);
}

/// Nothing about an event changes on its way through the log: bytes, offset, odd characters.
pub fn events_come_back_as_they_were_pushed(backend: &mut dyn Backend) {
    let log = create(backend);
    let mut odd = event(1);
    odd.entity_id = "td-'\"\u{1F642}\u{0}水".into();
    odd.action = Action::SoftDelete;
    odd.payload = Some(Payload::stored(r#"{"b":1.10,"a":9007199254740993,"b":"\u0000\ud83d\ude42"}"#));
    odd.client_time = ClientTime::parse("2026-11-21T09:53:18.123456789-05:30").expect("time");
    let mut null = event(2);
    null.payload = Some(Payload::stored("null"));
    stored(&*log, "gerät 1", [odd.clone(), null]);
    let check = |log: &dyn EventLog| {
        let events = after(log, 0);
        let [first, second] = &events[..] else { panic!("{events:?}") };
        assert_eq!((first.device.as_str(), first.session.as_str()), ("gerät 1", "s"));
        assert_eq!(
            (first.seq, first.action_id, first.action.as_str()),
            (Seq(1), odd.action_id, "soft_delete")
        );
        assert_eq!((&first.entity_type, &first.entity_id), (&odd.entity_type, &odd.entity_id));
        assert_eq!(Some(&first.payload), odd.payload.as_ref());
        assert_eq!(first.client_time.rfc3339n(), "2026-11-21T09:53:18.123456789-05:30");
        assert_eq!(second.payload.as_str(), "null");
    };
    check(&*log);
    drop(log);
    backend.crash();
    check(&*open(backend));
}

/// [`EventLog::inspect`] finds what each word of a filter names, and nothing else.
pub fn a_log_is_found_by_what_its_events_are(backend: &mut dyn Backend) {
    let log = create(backend);
    let other = NewEvent { entity_id: "td-9".into(), action: Action::Delete, ..event(9) };
    stored(&*log, "d", [event(1), event(2)]);
    stored(&*log, "e", [event(1), other]);
    drop(log);
    backend.restart();
    let log = open(backend);
    let find = |filter: Filter| {
        let mut found = Vec::new();
        let handed = log.inspect(&filter, &mut |row| {
            assert_eq!(row.at.rfc3339n(), "2026-11-21T09:53:18Z", "the time it came, whole seconds");
            found.push(row.event.seq.0);
            ControlFlow::Continue(())
        });
        assert_eq!(handed.expect("readable"), found.len());
        found
    };
    let all = Filter { limit: 100, ..Filter::default() };
    let time = |text: &str| Some(ClientTime::parse(text).expect("time"));
    let word = |text: &str| Some(text.to_string());
    assert_eq!(find(all.clone()), [1, 2, 3, 4]);
    assert_eq!(find(Filter { after: Seq(1), limit: 2, ..all.clone() }), [2, 3]);
    assert_eq!(find(Filter { device: word("e"), ..all.clone() }), [3, 4]);
    assert_eq!(find(Filter { session: word("t"), ..all.clone() }), [0; 0]);
    assert_eq!(find(Filter { action: word("delete"), ..all.clone() }), [4]);
    assert_eq!(find(Filter { entity_id: word("td-1"), ..all.clone() }), [1, 3]);
    assert_eq!(find(Filter { entity_type: Some(EntityType::stored("notes")), ..all.clone() }), [0; 0]);
    let both = Filter { entity_id: word("td-1"), device: word("d"), ..all.clone() };
    assert_eq!(find(Filter { entity_type: Some(EntityType::stored("issues")), ..both }), [1]);
    assert_eq!(find(Filter { from: time("2026-11-21T10:53:18+01:00"), ..all.clone() }), [1, 2, 3, 4]);
    assert_eq!(find(Filter { from: time("2026-11-21T09:53:18.1Z"), ..all.clone() }), [0; 0]);
    assert_eq!(find(Filter { to: time("2026-11-21T09:53:18.1Z"), ..all.clone() }), [1, 2, 3, 4]);
    assert_eq!(find(Filter { to: time("2026-11-21T09:53:17.9Z"), ..all }), [0; 0]);
}
