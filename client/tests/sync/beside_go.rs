//! Project folders in which Go `td` works too, or worked before us.

use super::*;

#[test]
fn what_our_own_td_recorded_before_the_link_is_published() {
    let (dir, server) = (temp(), FakeServer::new(1000));
    let (mut a, mut b) = (new_project(&dir.path().join("a"), 1), linked(&dir.path().join("b"), 2));
    let issue = a.store.create_issue(titled("older than the link")).expect("create");
    a.store.close_issue(&issue.id, None).expect("close");
    assert_eq!(link(&mut a.store, &project()).expect("link"), Linked::First);
    round(&mut a, &server).expect("sync");
    round(&mut b, &server).expect("sync");
    assert_eq!(b.store.issue(&issue.id).expect("arrived").status, "closed");
    assert_eq!(link(&mut a.store, &project()).expect("link"), Linked::Already);
    unlink(&mut a.store).expect("unlink");
    assert_eq!(link(&mut a.store, &project()).expect("link"), Linked::Again);
    assert_eq!(a.sync(&server, |s| s.round()).expect("sync").pulled.events, 0, "it goes on where it was");
    unlink(&mut a.store).expect("unlink");
    let other = ProjectId::parse("p_ffffffffffffffff").expect("id");
    assert!(matches!(link(&mut a.store, &other), Err(SyncError::OtherProject { .. })));
}

#[test]
fn a_database_that_go_wrote_is_refused_by_name_at_the_link() {
    let dir = temp();
    let mut a = new_project(&dir.path().join("rows"), 1);
    let row = "INSERT INTO issues (id, title) VALUES ('td-aaaaaa', 'imported without an action')";
    a.store.begin().expect("tx").conn().execute(row, []).expect("rolled back");
    link(&mut a.store, &project()).expect("nothing foreign in it");
    unlink(&mut a.store).expect("unlink");

    let mut a = new_project(&dir.path().join("row"), 2);
    let tx = a.store.begin().expect("tx");
    tx.conn().execute(row, []).expect("insert");
    tx.commit().expect("commit");
    assert!(
        matches!(link(&mut a.store, &project()), Err(SyncError::WrittenByGo(why)) if why.contains("rows"))
    );

    let mut a = new_project(&dir.path().join("action"), 3);
    go_action(&mut a, "td-bbbbbb");
    assert!(
        matches!(link(&mut a.store, &project()), Err(SyncError::WrittenByGo(why)) if why.contains("1 of its"))
    );

    // Made and used by Go before ours ever opened it.
    let todos = dir.path().join("created/.todos");
    std::fs::create_dir_all(&todos).expect("folder");
    let (path, device) = (todos.join("issues.db"), td_engine::db::Purpose::Device);
    let mut db = td_engine::db::ProjectDb::create(&path, device, ambient(4).now()).expect("create");
    let write = db.write().expect("tx");
    write.conn().execute(row, []).expect("insert");
    write.commit().expect("commit");
    drop(db);
    let mut go = Project::open(&dir.path().join("created"), ambient(4)).expect("open");
    assert!(
        matches!(link(&mut go.store, &project()), Err(SyncError::WrittenByGo(why)) if why.contains("before"))
    );
}

#[test]
fn a_project_that_was_only_initialised_is_ours_whoever_did_it() {
    let dir = temp();
    let todos = dir.path().join(".todos");
    std::fs::create_dir_all(&todos).expect("folder");
    let device = td_engine::db::Purpose::Device;
    // As Go's `init` leaves it, and as ours does when it is killed right after creating the file.
    drop(
        td_engine::db::ProjectDb::create(&todos.join("issues.db"), device, ambient(4).now()).expect("create"),
    );
    let mut project_folder = Project::open(dir.path(), ambient(5)).expect("open");
    assert_eq!(link(&mut project_folder.store, &project()).expect("link"), Linked::First);
}

/// A row and an action row as Go `td` writes them.
fn go_action(project: &mut Project, id: &str) {
    let tx = project.store.begin().expect("tx");
    tx.conn()
        .execute("INSERT INTO issues (id, title, status) VALUES (?1, 'by Go', 'open')", [id])
        .expect("row");
    tx.conn()
        .execute(
            "INSERT INTO action_log (id, session_id, action_type, entity_type, entity_id, new_data, timestamp) \
             VALUES (?1, 'ses_go', 'create', 'issue', ?2, ?3, '2026-11-21T09:53:18.5Z')",
            (
                format!("al-{}", &id[3..]),
                id,
                format!(r#"{{"id":"{id}","title":"by Go","status":"open","type":"task","priority":"P2","points":0,"implementer_session":"","creator_session":"ses_go","reviewer_session":"","created_at":"2026-11-21T09:53:18.5Z","updated_at":"2026-11-21T09:53:18.5Z","minor":false,"defer_count":0}}"#),
            ),
        )
        .expect("action");
    tx.commit().expect("commit");
}

#[test]
fn what_go_writes_beside_us_after_the_link_is_published_too() {
    let (dir, server) = (temp(), FakeServer::new(2));
    let (mut a, mut b) = (linked(&dir.path().join("a"), 1), linked(&dir.path().join("b"), 2));
    a.store.create_issue(titled("ours before")).expect("create");
    go_action(&mut a, "td-cccccc");
    a.store
        .update_issue("td-cccccc", IssuePatch { title: Some("ours on Go's".into()), ..IssuePatch::default() })
        .expect("update");
    b.store.create_issue(titled("another device's")).expect("create");
    round(&mut b, &server).expect("sync");
    round(&mut a, &server).expect("sync");
    round(&mut b, &server).expect("sync");
    assert_eq!(rows(&a), rows(&b));
    assert_eq!(b.store.issue("td-cccccc").expect("arrived").title, "ours on Go's");
}

#[test]
fn a_bad_row_of_go_is_recorded_and_stops_no_other() {
    let (dir, server) = (temp(), FakeServer::new(1000));
    let mut a = linked(dir.path(), 1);
    go_action(&mut a, "td-dddddd");
    let tx = a.store.begin().expect("tx");
    tx.conn().execute("UPDATE action_log SET new_data = 'not json'", []).expect("update");
    tx.conn()
        .execute(
            "INSERT INTO action_log (id, session_id, action_type, entity_type, entity_id) \
             VALUES ('al-1', 's', 'create', 'git_snapshots', 'gs-1')",
            [],
        )
        .expect("local-only");
    tx.commit().expect("commit");
    a.store.create_issue(titled("a good one")).expect("create");
    let pushed = a.sync(&server, |s| s.push()).expect("push");
    assert_eq!((pushed.accepted, pushed.rejected), (1, 1));
    let status = a.sync(&server, |s| s.status(None)).expect("status");
    assert_eq!(status.pending, 0, "what stays here by design does not wait");
}
