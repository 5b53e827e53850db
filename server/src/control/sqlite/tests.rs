use super::*;
use crate::auth::Scopes;
use crate::clock::{at, later};
use crate::control::logins::{
    DeviceProof, Exchanged, LoginEvent, LoginStore, Metadata, NewLogin, Polled, Purpose, WebProof,
};
use crate::control::{Keep, Lifecycle, Oversight};
use crate::secret;
use std::time::Duration;

struct World {
    dir: tempfile::TempDir,
    store: SqliteControl,
    _data: DataDir,
}

fn world() -> World {
    let dir = tempfile::tempdir().expect("dir");
    let data = DataDir::take(dir.path(), Duration::ZERO).expect("take");
    let store = SqliteControl::open(&dir.path().join("server.db"), &data).expect("open");
    World { dir, store, _data: data }
}

fn noon() -> ClientTime {
    at(1_795_262_400_000_000_000)
}

fn key(expires_at: Option<ClientTime>) -> NewKey {
    NewKey::make("test", Scopes::stored("sync"), expires_at).expect("key")
}

fn user(w: &World, email: &str) -> User {
    w.store.ensure_user(email, true, noon()).expect("user").0
}

#[test]
fn the_first_user_is_an_admin_and_the_last_admin_stays_one() {
    let w = world();
    let (first, made) = w.store.ensure_user(" Root@Test.Local ", true, noon()).expect("user");
    assert!(made && first.is_admin);
    assert_eq!(first.email, "root@test.local");
    assert_eq!(w.store.ensure_user("root@test.local", true, noon()).expect("again"), (first.clone(), false));
    let second = user(&w, "b@test.local");
    assert!(!second.is_admin);
    assert_eq!(w.store.set_admin(&first.id, false, noon()).expect("revoke"), Change::Last);
    assert_eq!(w.store.set_admin(&second.id, true, noon()).expect("grant"), Change::Done);
    assert_eq!(w.store.set_admin(&first.id, false, noon()).expect("revoke"), Change::Done);
    assert_eq!(w.store.set_admin("u_nobody", true, noon()).expect("grant"), Change::Unknown);
}

#[test]
fn a_key_is_found_by_its_hash_until_it_is_revoked_and_its_secret_is_nowhere_in_the_file() {
    let w = world();
    let owner = user(&w, "a@test.local");
    let key = key(None);
    let id = w.store.create_key(&owner.id, &key, noon()).expect("create");
    let hash = secret::hash(&key.plaintext);
    let found = w.store.principal(&hash).expect("look").expect("found");
    assert_eq!((found.key_id.as_str(), found.user_id.as_str()), (id.as_str(), owner.id.as_str()));
    assert_eq!(w.store.keys(None).expect("list")[0].prefix, key.plaintext[8..16]);
    for file in ["server.db", "server.db-wal"] {
        let bytes = std::fs::read(w.dir.path().join(file)).expect("read");
        assert!(!bytes.windows(40).any(|b| b == key.plaintext.as_bytes()), "{file}");
    }
    assert_eq!(w.store.revoke_key(&id).expect("revoke"), Change::Done);
    assert_eq!(w.store.revoke_key(&id).expect("revoke"), Change::Unknown);
    assert_eq!(w.store.principal(&hash).expect("look"), None);
}

#[test]
fn slugs_are_unique_over_deleted_projects_too() {
    let w = world();
    let owner = user(&w, "a@test.local");
    let make =
        |id: &str, name: &str| w.store.create_project(id, name, "", &owner.id, noon()).expect("make").slug;
    assert_eq!(make("p_1", "Garden Work"), "garden-work");
    assert_eq!(w.store.delete_project("p_1", noon()).expect("delete"), Change::Done);
    assert_eq!(w.store.delete_project("p_1", noon()).expect("delete"), Change::Unknown);
    assert_eq!(make("p_2", "garden work"), "garden-work-2");
    assert_eq!(make("p_3", "!!"), "p_3");
    assert_eq!(w.store.projects_of(&owner.id).expect("list").len(), 2);
}

#[test]
fn a_project_keeps_an_owner() {
    let w = world();
    let (a, b) = (user(&w, "a@test.local"), user(&w, "b@test.local"));
    w.store.create_project("p_1", "P", "", &a.id, noon()).expect("make");
    assert_eq!(w.store.set_role("p_1", &a.id, Role::Reader).expect("demote"), Change::Last);
    assert_eq!(w.store.remove_member("p_1", &a.id).expect("remove"), Change::Last);
    let added = w.store.add_member("p_1", &b.id, Role::Owner, &a.id, noon()).expect("add");
    assert_eq!(added, Added::Since(noon()));
    assert_eq!(w.store.add_member("p_1", &b.id, Role::Owner, &a.id, noon()).expect("again"), Added::Refused);
    assert_eq!(w.store.add_member("p_1", "u_x", Role::Owner, &a.id, noon()).expect("x"), Added::Refused);
    assert_eq!(w.store.remove_member("p_1", &a.id).expect("remove"), Change::Done);
    assert_eq!(w.store.remove_member("p_1", &a.id).expect("remove"), Change::Unknown);
    assert_eq!(w.store.membership("p_1", &a.id).expect("role"), None);
    assert_eq!(w.store.membership("p_1", &b.id).expect("role").map(|m| m.role), Some(Role::Owner));
}

#[test]
fn an_enrolment_link_works_once_and_not_after_its_time() {
    let w = world();
    let owner = user(&w, "a@test.local");
    let guest = user(&w, "g@test.local");
    w.store.create_project("p_1", "P", "", &owner.id, noon()).expect("make");
    let new = |hash: &str| NewEnrolment {
        secret_hash: hash.into(),
        user_id: guest.id.clone(),
        project: Some(("p_1".into(), Role::Writer)),
        expires_at: later(noon(), Duration::from_secs(900)),
    };
    w.store.create_enrolment(&new("h1"), noon()).expect("link");
    w.store.create_enrolment(&new("h2"), noon()).expect("link");
    assert_eq!(w.store.redeem("nope", &key(None), noon()).expect("redeem"), Redeemed::Unknown);
    let done = w.store.redeem("h1", &key(None), noon()).expect("redeem");
    assert_eq!(done, Redeemed::Done { user: guest.clone(), project_id: Some("p_1".into()) });
    assert_eq!(w.store.membership("p_1", &guest.id).expect("role").map(|m| m.role), Some(Role::Writer));
    assert_eq!(w.store.redeem("h1", &key(None), noon()).expect("redeem"), Redeemed::Used);
    let late = later(noon(), Duration::from_secs(901));
    assert_eq!(w.store.redeem("h2", &key(None), late).expect("redeem"), Redeemed::Expired);
    assert_eq!(w.store.keys(Some(&guest.id)).expect("keys").len(), 1);
}

#[test]
fn an_account_that_a_person_vouches_for_has_its_share_of_what_they_have() {
    let w = world();
    let [ana, ben, cleo] = ["a", "b", "c"].map(|who| user(&w, &format!("{who}@test.local")));
    let counts_as = |who: &User| {
        let key = key(None);
        w.store.create_key(&who.id, &key, noon()).expect("key");
        w.store.principal(&secret::hash(&key.plaintext)).expect("look").expect("known").counts_as
    };
    let vouch = |who: &User, by: &User| {
        let sql = "INSERT OR REPLACE INTO tdsync_vouched VALUES (?1, ?2)";
        w.store.write(|tx| Ok(tx.execute(sql, [&who.id, &by.id])?)).expect("vouched")
    };
    assert_eq!(counts_as(&ben), ben.id);
    vouch(&ben, &ana);
    vouch(&cleo, &ben);
    assert_eq!([counts_as(&ana), counts_as(&ben), counts_as(&cleo)], [(); 3].map(|()| ana.id.clone()));
    vouch(&ana, &cleo);
    assert!(!counts_as(&ana).is_empty(), "a ring has an end");
    w.store.write(|tx| invitations::proven(tx, &ben.id)).expect("proven");
    assert_eq!(counts_as(&ben), ben.id);
}

/// Its row says so only when a job has swept by.
#[test]
fn a_login_that_is_overdue_is_over_before_it_is_swept() {
    let w = world();
    let ana = user(&w, "a@test.local");
    let new = |purpose, selector: &str| NewLogin {
        purpose,
        email: ana.email.clone(),
        user_id: ana.id.clone(),
        selector: selector.into(),
        token_hash: "token".into(),
        device: Some(DeviceProof { code_hash: "code".into(), challenge: "x".into() })
            .filter(|_| purpose == Purpose::DeviceLogin),
        web: Some(WebProof { redirect_uri: "https://x".into(), state_hash: "state".into() })
            .filter(|_| purpose == Purpose::WebLogin),
        client: String::new(),
        user_agent: String::new(),
        expires_at: later(noon(), Duration::from_secs(900)),
    };
    let begun = LoginEvent {
        kind: "challenge_started",
        request: String::new(),
        email: String::new(),
        metadata: Metadata::new(),
    };
    for (purpose, selector) in [(Purpose::DeviceLogin, "device"), (Purpose::WebLogin, "web")] {
        w.store.start_login(&new(purpose, selector), &begun, noon()).expect("begun");
    }
    let late = later(noon(), Duration::from_secs(901));
    let (of, key) = (Metadata::new(), key(None));
    assert!(w.store.is_login_pending("code", noon()).expect("asked"));
    assert!(!w.store.is_login_pending("code", late).expect("asked"));
    let polled = w.store.finish_device_login("code", "x", &key, &of, late).expect("polled");
    assert!(matches!(polled, Polled::Expired), "{polled:?}");
    let exchanged = w.store.finish_web_login("web", "token", "state", &key, &of, late).expect("tried");
    assert_eq!(exchanged, Exchanged::Expired);
}

#[test]
fn times_are_written_in_the_one_form_that_the_reference_sorts_by() {
    let w = world();
    user(&w, "a@test.local");
    let raw = rusqlite::Connection::open(w.dir.path().join("server.db")).expect("open");
    let text: String = raw.query_row("SELECT created_at FROM users", [], |r| r.get(0)).expect("row");
    assert_eq!(text, "2026-11-21 12:00:00+00:00");
}

#[test]
fn use_is_recorded_and_cursors_only_move_forward() {
    let w = world();
    let owner = user(&w, "a@test.local");
    w.store.create_project("p_1", "P", "", &owner.id, noon()).expect("make");
    for (seq, client) in [(7, "dev"), (5, "dev")] {
        let mut usage = Usage::default();
        usage.cursor("p_1", client, td_engine::id::Seq(seq));
        usage.cursor("p_gone", client, td_engine::id::Seq(seq));
        usage.cursor("p_1", &"x".repeat(1000), td_engine::id::Seq(seq));
        usage.counts.insert("p_1".into(), (3, Some(noon())));
        w.store.record(&usage, noon()).expect("record");
    }
    let raw = rusqlite::Connection::open(w.dir.path().join("server.db")).expect("open");
    let rows: Vec<(String, i64)> = raw
        .prepare("SELECT client_id, last_event_id FROM sync_cursors")
        .and_then(|mut q| q.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect())
        .expect("rows");
    assert_eq!(rows, [("dev".to_string(), 7)]);

    // However many names a reader makes up, so many are kept, and who came last is among them.
    let mut flood = Usage::default();
    (0..1_500).for_each(|n| flood.cursor("p_1", &format!("made up {n}"), td_engine::id::Seq(1)));
    w.store.record(&flood, noon()).expect("record");
    let mut late = Usage::default();
    late.cursor("p_1", "late", td_engine::id::Seq(1));
    w.store.record(&late, ClientTime::parse("2026-11-21T12:00:30Z").expect("time")).expect("record");
    let kept = "SELECT count(*), sum(client_id = 'late') FROM sync_cursors";
    let kept: (i64, i64) = raw.query_row(kept, [], |r| Ok((r.get(0)?, r.get(1)?))).expect("row");
    assert_eq!(kept, (1_000, 1));
}

#[test]
fn a_file_of_another_schema_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("dir");
    let data = DataDir::take(dir.path(), Duration::ZERO).expect("take");
    let path = dir.path().join("server.db");
    drop(SqliteControl::open(&path, &data).expect("open"));
    let raw = rusqlite::Connection::open(&path).expect("open");
    raw.execute("UPDATE schema_info SET value = '7'", []).expect("newer");
    drop(raw);
    let err = SqliteControl::open(&path, &data).err().expect("refused");
    assert!(matches!(err, ControlError::Schema { ref found, .. } if found == "7"), "{err}");
}

#[test]
fn expired_keys_and_tokens_are_listed_for_a_month_and_then_forgotten() {
    use crate::control::logins::LoginStore;
    use crate::control::tokens::{Kind, Terms, TokenStore};
    let w = world();
    let owner = user(&w, "a@test.local");
    let day = Duration::from_secs(86_400);
    w.store.create_key(&owner.id, &key(Some(later(noon(), day))), noon()).expect("key");
    w.store.create_key(&owner.id, &key(None), noon()).expect("key");
    for expires_in in [Some(day.as_secs()), None] {
        let terms = Terms { name: "robot".into(), grants: Vec::new(), expires_in, max_events: None };
        w.store.create_token(&owner.id, Kind::Agent, &terms, &key(None), noon()).expect("token");
    }
    let left = |now| {
        w.store.sweep(now).expect("sweep");
        let tokens = w.store.tokens_of(&owner.id).expect("tokens").len();
        (w.store.keys(None).expect("keys").len(), tokens)
    };
    assert_eq!(left(later(noon(), day * 30)), (2, 2));
    assert_eq!(left(later(noon(), day * 32)), (1, 1));
}

/// One of two owners may go, never both, however close together they ask.
#[test]
fn two_owners_who_leave_at_the_same_time_leave_one_behind() {
    for leave in
        [(|s: &SqliteControl, u: &str| s.remove_member("p_1", u)) as fn(&SqliteControl, &str) -> _, |s, u| {
            s.set_role("p_1", u, Role::Reader)
        }]
    {
        let w = world();
        let (a, b) = (user(&w, "a@test.local"), user(&w, "b@test.local"));
        w.store.create_project("p_1", "One", "", &a.id, noon()).expect("project");
        w.store.add_member("p_1", &b.id, Role::Owner, &a.id, noon()).expect("owner");
        let both = std::sync::Barrier::new(2);
        let (store, both) = (&w.store, &both);
        let ends: Vec<Change> = std::thread::scope(|s| {
            let leaving = [a.id.as_str(), b.id.as_str()].map(|who| {
                s.spawn(move || {
                    both.wait();
                    leave(store, who).expect("answered")
                })
            });
            leaving.into_iter().map(|t| t.join().expect("thread")).collect()
        });
        assert!(ends.contains(&Change::Done) && ends.contains(&Change::Last), "{ends:?}");
    }
}

#[test]
fn of_many_first_users_at_the_same_time_one_becomes_an_admin() {
    let w = world();
    let start = std::sync::Barrier::new(8);
    std::thread::scope(|s| {
        for n in 0..8 {
            let (store, start) = (&w.store, &start);
            s.spawn(move || {
                start.wait();
                store.ensure_user(&format!("u{n}@test.local"), true, noon()).expect("user")
            });
        }
    });
    let users = w.store.users().expect("users");
    assert_eq!((users.len(), users.iter().filter(|u| u.is_admin).count()), (8, 1));
}

#[test]
fn what_is_older_than_it_is_kept_goes_and_the_rest_stays() {
    let w = world();
    let owner = user(&w, "a@test.local");
    w.store.create_project("p_1", "P", "", &owner.id, noon()).expect("make");
    let day = |n: u32| later(noon(), Duration::from_secs(86_400) * n);
    for n in 0..4 {
        w.store
            .write(|tx| {
                tx.execute(
                    "INSERT INTO auth_events (auth_request_id, email, event_type, created_at) VALUES ('', ?1, 'x', ?2)",
                    rusqlite::params![n, day(n).sql_utc()],
                )?;
                tx.execute(
                    "INSERT INTO rate_limit_events (endpoint_class, created_at) VALUES ('push', ?1)",
                    [day(n).sql_utc()],
                )?;
                tx.execute(
                    "INSERT INTO sync_cursors (project_id, client_id, last_sync_at) VALUES ('p_1', ?1, ?2)",
                    rusqlite::params![n, stamp(day(n))],
                )?;
                Ok(())
            })
            .expect("rows");
    }
    let keep = Keep { auth_events: day(1), refusals: day(2), cursors: day(3) };
    assert_eq!(w.store.forget(&keep).expect("forget"), 1 + 2 + 3);
    assert_eq!(w.store.forget(&keep).expect("again"), 0);
    let left =
        |sql: &str| w.store.read(|c| Ok(c.query_row(sql, [], |row| row.get::<_, i64>(0))?)).expect("count");
    assert_eq!(left("SELECT count(*) FROM auth_events"), 3);
    assert_eq!(left("SELECT count(*) FROM rate_limit_events"), 2);
    assert_eq!(left("SELECT count(*) FROM sync_cursors"), 1);
}

#[test]
fn of_refusals_the_newest_are_kept_however_young_the_others_are() {
    let w = world();
    let (most, at_once) = (oversight::MOST_REFUSALS, oversight::FORGET_AT_ONCE);
    w.store
        .write(|tx| {
            tx.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                 INSERT INTO rate_limit_events (endpoint_class, created_at) SELECT 'auth', ?2 FROM n",
                rusqlite::params![most + at_once + 7, noon().sql_utc()],
            )?;
            Ok(())
        })
        .expect("rows");
    let keep = Keep { auth_events: noon(), refusals: noon(), cursors: noon() };
    let rounds: Vec<_> = (0..3).map(|_| w.store.forget(&keep).expect("forget")).collect();
    assert_eq!(rounds, [usize::try_from(at_once).expect("few"), 7, 0]);
    let left = "SELECT count(*), min(id) FROM rate_limit_events";
    let left: (i64, i64) =
        w.store.read(|c| Ok(c.query_row(left, [], |row| Ok((row.get(0)?, row.get(1)?)))?)).expect("count");
    assert_eq!(left, (most, at_once + 8));
}

#[test]
fn only_what_was_deleted_is_forgotten_and_it_is_forgotten_whole() {
    let w = world();
    let owner = user(&w, "a@test.local");
    for id in ["p_1", "p_2"] {
        w.store.create_project(id, id, "", &owner.id, noon()).expect("make");
    }
    let mut usage = Usage::default();
    usage.cursor("p_1", "c", td_engine::id::Seq(1));
    usage.cursor("p_2", "c", td_engine::id::Seq(1));
    w.store.record(&usage, noon()).expect("cursors");
    w.store.delete_project("p_1", noon()).expect("delete");
    let hour = later(noon(), Duration::from_secs(3600));
    let before = |moment| {
        w.store.deleted_before(moment, 10).expect("list").into_iter().map(|p| p.id).collect::<Vec<_>>()
    };
    assert_eq!((before(noon()), before(hour)), (vec![], vec!["p_1".to_string()]));
    assert_eq!(w.store.forget_project("p_2").expect("alive"), Change::Unknown);
    assert_eq!(w.store.cursors("p_2").expect("cursors").len(), 1, "a living project keeps everything");
    assert_eq!(w.store.forget_project("p_1").expect("gone"), Change::Done);
    assert_eq!(w.store.project("p_1").expect("look"), None);
    assert_eq!(w.store.membership("p_1", &owner.id).expect("look"), None);
    assert_eq!(w.store.cursors("p_1").expect("cursors"), []);
}
