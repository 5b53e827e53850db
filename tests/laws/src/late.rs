//! Law 8: what a device gets back of its own although it asked for others' only.

use crate::build::*;
use crate::{Backend, create, open};
use td_engine::event::NewEvent;
use td_engine::id::{DeviceId, Seq};
use td_engine::payload::Payload;
use td_engine::taxonomy::Action;
use td_server::log::{EventLog, ReadQuery};

/// An update of issue `td-1` under key `n`, by somebody who sees `from` as its title.
fn edit(n: i64, from: &str, to: &str) -> NewEvent {
    change(n, Action::Update, serde_json::json!({"title": from}), serde_json::json!({"title": to}))
}

fn change(n: i64, action: Action, previous: serde_json::Value, new: serde_json::Value) -> NewEvent {
    let body = serde_json::json!({"new_data": new, "previous_data": previous, "schema_version": 1});
    NewEvent { action, entity_id: "td-1".into(), payload: Some(Payload::from_value(&body)), ..event(n) }
}

/// What a device sees that leaves out its own events.
fn of_others(log: &dyn EventLog, device: &str) -> Vec<i64> {
    let exclude = Some(DeviceId::new(device).expect("not empty"));
    seqs(&page(log, &ReadQuery { after: Seq(0), limit: 100, exclude }))
}

/// From the first event that did not know what another device had changed: all of the entity but creates.
pub fn a_late_event_and_what_follows_it_come_back_to_their_device(backend: &mut dyn Backend) {
    let log = create(backend);
    stored(&*log, "a", [titled(1, "made")]);
    stored(&*log, "b", [edit(1, "made", "by b")]);
    assert_eq!(of_others(&*log, "a"), [2]);
    stored(&*log, "a", [edit(2, "made", "by a")]);
    assert_eq!(of_others(&*log, "a"), [2, 3], "a had not seen what b did");
    assert_eq!(of_others(&*log, "b"), [1, 3]);
    let other = NewEvent { entity_id: "td-9".into(), ..edit(3, "x", "y") };
    stored(&*log, "a", [edit(4, "by a", "again"), titled(1000, "elsewhere"), other, titled(5, "made anew")]);
    let again = NewEvent { entity_id: "td-1".into(), ..titled(6, "made anew") };
    stored(&*log, "a", [again]);
    assert_eq!(of_others(&*log, "a"), [2, 3, 4], "no creates, no other entities");
    stored(&*log, "b", [edit(2, "made anew", "seen by b")]);
    stored(&*log, "a", [edit(7, "seen by b", "seen by a")]);
    assert_eq!(of_others(&*log, "a"), [2, 3, 4, 9, 10], "once late, always");
    assert_eq!(of_others(&*log, "b"), [1, 3, 4, 5, 6, 7, 8, 10]);
    drop(log);
    backend.crash();
    let log = open(backend);
    assert_eq!(of_others(&*log, "a"), [2, 3, 4, 9, 10], "decided once and for all");
    stored(&*log, "a", [edit(8, "seen by a", "after the crash")]);
    assert_eq!(of_others(&*log, "a").last(), Some(&11));
    assert_eq!(after(&*log, 0).len(), 11);
}

/// Who had seen it does not get anything back, however often it goes on.
pub fn an_event_in_time_does_not_come_back(backend: &mut dyn Backend) {
    let log = create(backend);
    stored(&*log, "a", [titled(1, "made")]);
    stored(&*log, "b", [edit(1, "made", "one"), edit(2, "one", "two"), edit(3, "two", "three")]);
    stored(&*log, "a", [edit(2, "three", "four"), edit(3, "four", "five")]);
    let gone = change(4, Action::SoftDelete, serde_json::json!({"title": "five"}), serde_json::json!({}));
    stored(&*log, "b", [gone]);
    let deleted_at = "2026-11-21T07:53:18.7Z";
    let seen = serde_json::json!({"title": "five", "deleted_at": deleted_at});
    stored(&*log, "a", [change(4, Action::Restore, seen.clone(), serde_json::json!({}))]);
    assert_eq!(of_others(&*log, "a"), [2, 3, 4, 7]);
    assert_eq!(of_others(&*log, "b"), [1, 5, 6, 8]);
    stored(&*log, "b", [change(5, Action::Delete, seen, serde_json::json!({}))]);
    assert_eq!(of_others(&*log, "b"), [1, 5, 6, 8, 9], "b had not seen the restore");
}

/// Duplicates and refusals mark nothing, events of one push see each other, and a push that fails leaves no mark.
pub fn lateness_is_judged_event_by_event(backend: &mut dyn Backend) {
    let log = create(backend);
    stored(&*log, "b", [titled(1, "made")]);
    let batch = [edit(1, "made", "one"), edit(1, "made", "one"), edit(2, "one", "two")];
    stored(&*log, "a", batch);
    assert_eq!(of_others(&*log, "a"), [1]);
    let mut huge = event(9);
    huge.payload = Some(Payload::stored(format!("\"{}\"", "x".repeat(td_server::log::MAX_PAYLOAD_BYTES))));
    stored(&*log, "b", [edit(2, "made", "late")]);
    assert_eq!(of_others(&*log, "b"), [2, 4, 5]);
    let late = edit(3, "nothing", "late");
    let (good, bad) = (log.append(push("a", [event(8)])), log.append(push("a", [late.clone(), huge])));
    assert!(good.blocking_recv().expect("answer").is_ok());
    assert!(bad.blocking_recv().expect("answer").is_err());
    assert_eq!(of_others(&*log, "a"), [1, 5]);
    stored(&*log, "a", [late]);
    assert_eq!(of_others(&*log, "a"), [1, 5, 7]);
}
