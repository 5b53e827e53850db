//! Local changes: row and event together, or neither.

use super::*;

#[test]
fn closing_the_last_child_closes_its_epics_and_frees_what_waited_for_them() {
    let (dir, other, server) = (temp(), temp(), FakeServer::new(1000));
    let (mut a, mut b) = (linked(dir.path(), 1), linked(other.path(), 2));
    let epic = |title: &str, parent: &str| NewIssue {
        kind: Some("epic".into()),
        parent_id: parent.into(),
        ..titled(title)
    };
    let top = a.store.create_issue(epic("the whole garden", "")).expect("create");
    let bed = a.store.create_issue(epic("the vegetable bed", &top.id)).expect("create");
    let child = |title: &str| NewIssue { parent_id: bed.id.clone(), ..titled(title) };
    let (dig, sow) = (
        a.store.create_issue(child("dig it over")).expect("create"),
        a.store.create_issue(child("sow the beans")).expect("create"),
    );
    let eat = a.store.create_issue(titled("eat the beans")).expect("create");
    let blocked = IssuePatch { status: Some("blocked".into()), ..IssuePatch::default() };
    a.store.update_issue(&eat.id, blocked).expect("block");
    for (n, on) in [&sow.id, &bed.id].into_iter().enumerate() {
        let id = format!("dep_{n:016x}");
        let row = serde_json::json!({"id": id, "issue_id": eat.id, "depends_on_id": on, "relation_type": "depends_on"});
        let tx = a.store.begin().expect("tx");
        tx.record(&Change {
            verb: "add_dependency".into(),
            ..Change::create("issue_dependencies", &id, row)
        })
        .expect("depends");
        tx.commit().expect("commit");
    }
    assert_eq!(a.store.close_issue(&dig.id, None).expect("close").followed, []);
    let closed = a.store.close_issue(&sow.id, Some("sown")).expect("close");
    let followed: Vec<_> = closed.followed.iter().map(|i| (i.id.as_str(), i.status.as_str())).collect();
    assert_eq!(
        followed,
        [(bed.id.as_str(), "closed"), (top.id.as_str(), "closed"), (eat.id.as_str(), "open")]
    );
    assert!(closed.followed[0].closed_by_session.is_empty() && closed.followed[0].closed_at.is_some());
    let said = |id: &str| a.store.log_lines(id).expect("log").pop().expect("a line").message;
    assert_eq!(said(&top.id), "Auto-cascaded to closed (all children complete)");
    assert_eq!(said(&eat.id), format!("Auto-unblocked (dependency {} closed)", sow.id));
    round(&mut a, &server).expect("sync");
    round(&mut b, &server).expect("sync");
    assert_eq!(rows(&a), rows(&b));
}

#[test]
fn an_issue_that_is_its_own_parent_can_be_closed() {
    let dir = temp();
    let mut a = new_project(dir.path(), 1);
    let epic =
        a.store.create_issue(NewIssue { kind: Some("epic".into()), ..titled("a knot") }).expect("create");
    let knot = IssuePatch { parent_id: Some(epic.id.clone()), ..IssuePatch::default() };
    a.store.update_issue(&epic.id, knot).expect("knot");
    assert_eq!(a.store.close_issue(&epic.id, None).expect("close").followed, []);
}

#[test]
fn a_change_made_on_an_older_copy_is_refused_when_the_issue_moved_on() {
    let dir = temp();
    let mut a = new_project(dir.path(), 1);
    let issue = a.store.create_issue(titled("edited twice")).expect("create");
    let patch = |loaded: &str| IssuePatch {
        title: Some("new".into()),
        loaded: Some(loaded.into()),
        ..IssuePatch::default()
    };
    let after = a.store.update_issue(&issue.id, patch(&issue.updated_at)).expect("fresh");
    assert!(after.updated_at > issue.updated_at);
    let error = a.store.update_issue(&issue.id, patch(&issue.updated_at)).expect_err("stale");
    assert!(error.to_string().contains("was modified after it was loaded"), "{error}");
}

#[test]
fn a_failed_change_leaves_neither_row_nor_event() {
    let dir = temp();
    let mut a = new_project(dir.path(), 1);
    assert!(a.store.comment("td-ffffff", "to nobody").is_err());
    assert!(a.store.create_issue(NewIssue { points: 4, ..titled("bad points") }).is_err());
    let actions: i64 =
        a.store.conn().query_row("SELECT count(*) FROM action_log", [], |r| r.get(0)).expect("count");
    assert_eq!(actions, 0);
}

#[test]
fn a_change_without_effect_is_refused_and_leaves_no_event() {
    let dir = temp();
    let mut a = new_project(dir.path(), 1);
    let tx = a.store.begin().expect("tx");
    let orphan = serde_json::json!({"issue_id": "td-ffffff", "session_id": "s", "text": "to nobody"});
    let refused = tx.record(&Change::create("comments", "cm-00000000", orphan));
    assert!(matches!(refused, Err(WriteError::NoEffect(_))), "{refused:?}");
    drop(tx);
    let actions: i64 =
        a.store.conn().query_row("SELECT count(*) FROM action_log", [], |r| r.get(0)).expect("count");
    assert_eq!(actions, 0);
}

#[test]
fn every_event_says_who_made_it_and_what_they_had_seen() {
    let (dir, server) = (temp(), FakeServer::new(1000));
    let mut a = linked(dir.path(), 1);
    a.store.create_issue(titled("before the login")).expect("create");
    round(&mut a, &server).expect("sync");
    a.store.set_actor("agent:u_1");
    a.store.create_issue(titled("after it")).expect("create");
    round(&mut a, &server).expect("sync");
    let events = server.events.borrow();
    let meta = |n: usize| events[n].payload.value().expect("json")["meta"].clone();
    assert_eq!(meta(0), serde_json::json!({"v": 1, "actor": "user:local", "origin": "td", "base_seq": 0}));
    assert_eq!(meta(1)["actor"], "agent:u_1");
    assert_eq!(meta(1)["base_seq"], events[0].seq.0);
}

#[test]
fn the_files_of_a_project_are_private_where_they_name_a_device() {
    use std::os::unix::fs::PermissionsExt;
    let dir = temp();
    drop(new_project(dir.path(), 1));
    let mode = |name: &str| {
        std::fs::metadata(dir.path().join(".todos").join(name)).expect(name).permissions().mode() & 0o777
    };
    assert_eq!(mode("td-sync.json"), 0o600);
    assert_eq!(mode("db.lock"), 0o600);
}

#[test]
fn a_payload_of_ours_is_the_engines_shape_of_the_row() {
    let dir = temp();
    let mut a = new_project(dir.path(), 1);
    let new = NewIssue {
        labels: vec!["x".into(), "y".into()],
        description: "d".into(),
        points: 3,
        minor: true,
        ..titled("compared with the row")
    };
    let id = a.store.create_issue(new).expect("create").id;
    let closed = a.store.close_issue(&id, None).expect("close").issue;
    let table = a.store.db().catalog().synced("issues").expect("table");
    let columns: Vec<_> = table.columns.iter().map(|c| c.name.as_str()).collect();
    let sql = format!("SELECT {} FROM issues WHERE id = ?1", columns.join(", "));
    let values = a.store.conn().query_row(&sql, [&id], |r| (0..columns.len()).map(|i| r.get(i)).collect());
    let row = td_engine::db::Row(values.expect("row"));
    let shape = td_engine::shape::payload_object(table, &row);
    assert_eq!(serde_json::to_value(closed).expect("json"), serde_json::Value::Object(shape));
}
