//! Snapshots over HTTP: what a device that starts from one needs, whole or in parts.

mod support;

use serde_json::json;
use std::path::{Path, PathBuf};
use support::wire::{Answer, Ask};
use support::{Project, push, unpacked};
use td_engine::db::{ProjectDb, Purpose};

impl Project {
    fn push(&self, ids: impl Iterator<Item = i64>) {
        for chunk in ids.collect::<Vec<_>>().chunks(1000) {
            let answer = self.server.ask(&push(&self.id, chunk).key(&self.key));
            assert_eq!(answer.json()["accepted"], chunk.len(), "{}", answer.text());
        }
    }

    fn get(&self, route: &str) -> Ask {
        Ask::get(&format!("/v1/projects/{}/sync/{route}", self.id)).key(&self.key)
    }

    fn snapshot(&self, headers: &[(&str, &str)]) -> Answer {
        let ask = headers.iter().fold(self.get("snapshot"), |ask, (name, value)| ask.header(name, value));
        self.server.ask(&ask)
    }

    fn digest(&self, seq: i64) -> Answer {
        self.server.ask(&self.get(&format!("digest?seq={seq}")))
    }

    fn folder(&self) -> PathBuf {
        self.server.data().join("projects").join(&self.id)
    }
}

fn seq(answer: &Answer) -> i64 {
    answer.header("x-snapshot-seq").and_then(|n| n.parse().ok()).expect("a sequence")
}

fn digest_of(dir: &Path, bytes: &[u8]) -> String {
    let path = dir.join("installed.db");
    std::fs::write(&path, bytes).expect("write");
    ProjectDb::open(&path, Purpose::Device).expect("opens").digest().expect("digest").to_string()
}

#[test]
fn a_snapshot_is_a_whole_database_that_a_stock_device_can_install() {
    let p = Project::new();
    p.push(1..=25);
    let bad = json!({"device_id": "dev", "session_id": "ses", "events": [{"client_action_id": 99, "action_type":
        "create", "entity_type": "comments", "entity_id": "cm-1", "payload": {"new_data": {"issue_id": "td-none"}},
        "client_timestamp": "2026-11-21T10:00:00Z"}]});
    p.server.ask(&Ask::post(&format!("/v1/projects/{}/sync/push", p.id)).key(&p.key).json(&bad));
    let answer = p.snapshot(&[]);
    assert_eq!((answer.status, seq(&answer)), (200, 26));
    assert_eq!(answer.header("content-type"), Some("application/x-sqlite3"));
    assert_eq!(answer.header("x-snapshot-event-id"), Some("26"));
    assert_eq!(answer.header("x-td-head"), Some("26"));
    assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
    assert_eq!(answer.header("content-encoding"), None);
    assert!(answer.body.starts_with(b"SQLite format 3\0"));
    assert_eq!(answer.body[18..20], [1, 1], "the file alone is the database: no WAL");

    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("issues.db");
    std::fs::write(&path, &answer.body).expect("write");
    let db = rusqlite::Connection::open(&path).expect("opens");
    let text = |sql: &str| db.query_row(sql, [], |r| r.get::<_, String>(0)).expect(sql);
    let count = |sql: &str| db.query_row(sql, [], |r| r.get::<_, i64>(0)).expect(sql);
    assert_eq!(text("PRAGMA quick_check"), "ok");
    assert_eq!(text("SELECT value FROM schema_info WHERE key = 'version'"), "38");
    assert_eq!(count("SELECT COUNT(*) FROM pragma_foreign_key_check"), 0);
    assert_eq!(count("SELECT COUNT(*) FROM issues"), 25);
    assert_eq!(count("SELECT COUNT(*) FROM sync_skipped_events"), 1, "what did not apply is not hidden");
    for empty in ["action_log", "sync_state", "sync_history", "sync_conflicts", "sessions", "tdsync_before"] {
        assert_eq!(count(&format!("SELECT COUNT(*) FROM {empty}")), 0, "{empty}");
    }
    let stamp =
        "INSERT OR REPLACE INTO sync_state (project_id, last_pulled_server_seq, last_pushed_action_id,
                 last_sync_at, sync_disabled) VALUES ('p', 26, 0, CURRENT_TIMESTAMP, 0)";
    assert_eq!(db.execute(stamp, []).expect("as the stock client stamps it"), 1);
    let foreign =
        "SELECT COUNT(*) FROM sqlite_master WHERE type IN ('trigger', 'view') OR name = 'applied_events'";
    assert_eq!(count(foreign), 0);
    let served = p.digest(26);
    assert_eq!(served.json()["digest"], digest_of(dir.path(), &answer.body));
    let sent = p.server.ask(&Ask { method: "HEAD".into(), ..p.get("snapshot") });
    assert_eq!((sent.status, sent.body.len()), (200, 0));
    assert_eq!(sent.header("content-length"), answer.header("content-length"));
}

#[test]
fn an_empty_project_has_no_snapshot_and_a_stranger_gets_none() {
    let p = Project::new();
    let answer = p.snapshot(&[]);
    assert_eq!((answer.status, answer.error()), (404, "no_events no events to snapshot".into()));
    let (stranger, _) = p.server.key("eve");
    p.push(1..=1);
    let ask = Ask::get(&format!("/v1/projects/{}/sync/snapshot", p.id));
    assert_eq!(p.server.ask(&ask.clone().key(&stranger)).status, 403);
    assert_eq!(p.server.ask(&ask).status, 401);
}

#[test]
fn a_download_that_broke_off_goes_on_with_the_file_it_began_with() {
    let p = Project::new();
    p.push(1..=50);
    let whole = p.snapshot(&[]);
    let tag = whole.header("etag").expect("a tag").to_string();
    let size = whole.body.len();
    let first = p.snapshot(&[("Range", "bytes=0-9999")]);
    assert_eq!((first.status, first.body.len()), (206, 10_000));
    assert_eq!(first.header("content-range"), Some(format!("bytes 0-9999/{size}").as_str()));
    assert_eq!(first.header("etag"), Some(tag.as_str()));
    // Meanwhile the project goes on, and the newest snapshot is another one.
    p.push(51..=60);
    assert_eq!(seq(&p.snapshot(&[])), 60);
    let rest = p.snapshot(&[("Range", "bytes=10000-"), ("If-Range", &tag)]);
    assert_eq!((rest.status, seq(&rest)), (206, 50));
    assert_eq!(rest.header("x-snapshot-event-id"), Some("50"));
    assert_eq!([first.body, rest.body].concat(), whole.body);
    // A tag of nothing that is kept: all of the newest.
    for tag in ["\"50-00000000\"", "W/\"x\"", "Sat, 21 Nov 2026 10:00:00 GMT"] {
        let fresh = p.snapshot(&[("Range", "bytes=10000-"), ("If-Range", tag)]);
        assert_eq!((fresh.status, seq(&fresh)), (200, 60), "{tag}");
    }
    // Who takes no other file than that one gets it, or is told.
    let rest = p.snapshot(&[("Range", "bytes=10000-"), ("If-Match", &format!("\"x\", {tag}"))]);
    assert_eq!((rest.status, rest.body.as_slice()), (206, &whole.body[10_000..]));
    assert_eq!(p.snapshot(&[("If-Match", &tag)]).body, whole.body);
    assert_eq!(seq(&p.snapshot(&[("If-Match", "*")])), 60);
    for tag in [&format!("W/{tag}"), "\"50-00000000\""] {
        let gone = p.snapshot(&[("Range", "bytes=10000-"), ("If-Match", tag), ("If-Range", tag)]);
        assert_eq!((gone.status, gone.header("content-range")), (412, None), "{tag}");
        assert!(gone.error().starts_with("precondition_failed "), "{}", gone.error());
    }
    let newest = p.snapshot(&[]);
    let last = p.snapshot(&[("Range", "bytes=-100")]);
    assert_eq!((last.status, last.body.as_slice()), (206, &newest.body[newest.body.len() - 100..]));
    let beyond = p.snapshot(&[("Range", "bytes=99999999-")]);
    assert_eq!((beyond.status, beyond.body.len()), (416, 0));
    assert_eq!(beyond.header("content-range"), Some(format!("bytes */{}", newest.body.len()).as_str()));
    let odd = p.snapshot(&[("Range", "bytes=0-1,5-6")]);
    assert_eq!((odd.status, odd.body), (200, newest.body.clone()));
    let known = p.snapshot(&[("If-None-Match", newest.header("etag").expect("tag"))]);
    assert_eq!((known.status, known.body.len()), (304, 0));
}

#[test]
fn a_packed_snapshot_is_the_same_file_and_can_be_resumed_too() {
    let p = Project::new();
    p.push(1..=50);
    for (n, encoding) in (50..).zip(["gzip", "zstd"]) {
        let plain = p.snapshot(&[("Accept-Encoding", "identity, gzip;q=0.5")]);
        assert_eq!(plain.header("content-encoding"), None);
        let packed = p.snapshot(&[("Accept-Encoding", encoding)]);
        assert_eq!((packed.status, packed.header("content-encoding")), (200, Some(encoding)));
        assert_eq!((packed.header("vary"), seq(&packed)), (Some("accept-encoding"), n));
        assert!(packed.body.len() * 4 < plain.body.len(), "{encoding}: {}", packed.body.len());
        assert_eq!(unpacked(encoding, &packed.body), plain.body);
        let tag = packed.header("etag").expect("tag");
        assert_ne!(Some(tag), plain.header("etag"), "other bytes, another tag");
        p.push(n + 1..=n + 1);
        let rest = p.snapshot(&[("Range", "bytes=100-"), ("If-Range", tag), ("Accept-Encoding", encoding)]);
        assert_eq!((rest.status, rest.header("content-encoding")), (206, Some(encoding)));
        assert_eq!(rest.body, packed.body[100..]);
    }
}

#[test]
fn the_digest_of_a_kept_snapshot_can_be_asked_for_and_of_nothing_else_but_the_head() {
    let p = Project::new();
    p.push(1..=10);
    let first = p.snapshot(&[]);
    p.push(11..=30);
    let dir = tempfile::tempdir().expect("dir");
    let kept = p.digest(10);
    assert_eq!(kept.json()["digest"], digest_of(dir.path(), &first.body));
    assert_eq!((&kept.json()["seq"], &kept.json()["format"]), (&json!(10), &json!(1)));
    let head = p.server.ask(&p.get("digest"));
    assert_eq!((head.json()["seq"].clone(), head.header("x-td-head")), (json!(30), Some("30")));
    assert_eq!(p.digest(30).json(), head.json());
    let between = p.digest(12);
    let said = "no_such_point no state is kept at sequence 12; the nearest is at 10";
    assert_eq!((between.status, between.error()), (409, said.into()));
    assert_eq!(between.header("x-td-digest-seq"), Some("10"));
    assert_eq!(p.digest(1000).header("x-td-digest-seq"), Some("30"));
    for bad in ["0", "-1", "x", "1e3"] {
        let answer = p.server.ask(&p.get(&format!("digest?seq={bad}")));
        assert_eq!((answer.status, answer.error()), (400, "bad_request invalid seq".into()), "{bad}");
    }
}

#[test]
fn what_is_derived_can_be_deleted_under_the_server_and_comes_back() {
    let mut p = Project::new();
    p.push(1..=40);
    let first = p.snapshot(&[]);
    std::fs::remove_dir_all(p.folder().join("snap")).expect("remove");
    let again = p.snapshot(&[]);
    assert_eq!((again.status, seq(&again)), (200, 40));
    assert_ne!(again.header("etag"), first.header("etag"), "other bytes, another tag");
    let dir = tempfile::tempdir().expect("dir");
    assert_eq!(digest_of(dir.path(), &again.body), digest_of(dir.path(), &first.body));
    p.server.kill();
    p.server.run();
    let kept = p.snapshot(&[]);
    assert_eq!(kept.header("etag"), again.header("etag"), "a restart goes on with what is kept");
    assert_eq!(kept.body, again.body);
    p.server.kill();
    std::fs::remove_dir_all(p.folder().join("snap")).expect("remove");
    std::fs::remove_file(p.folder().join("project.db")).expect("remove");
    p.server.run();
    assert_eq!(digest_of(dir.path(), &p.snapshot(&[]).body), digest_of(dir.path(), &first.body));
}

#[test]
fn damage_that_a_reader_finds_in_the_live_view_is_built_away() {
    let mut p = Project::new();
    p.push(1..=400);
    let sound = p.server.ask(&p.get("digest")).json();
    let view = p.folder().join("project.db");
    // Or the digest of this state would be known, and nobody would read.
    p.server.kill();
    // Of the issues, so that the applier, which has nothing to do, does not meet it. Closing moves the WAL into the file.
    let raw = rusqlite::Connection::open(&view).expect("opens");
    let leaf = "SELECT pageno FROM dbstat WHERE name = 'issues' AND pagetype = 'leaf' LIMIT 1 OFFSET 2";
    let page: u32 = raw.query_row(leaf, [], |row| row.get(0)).expect("a page");
    let page = usize::try_from(page).expect("small");
    drop(raw);
    let mut bytes = std::fs::read(&view).expect("read");
    bytes[(page - 1) * 4096..page * 4096].fill(0x5a);
    std::fs::write(&view, bytes).expect("write");
    p.server.run();
    assert_eq!(p.server.ask(&p.get("digest")).status, 500);
    assert_eq!(p.server.ask(&p.get("digest")).json(), sound);
}

#[test]
fn many_who_ask_at_once_get_one_snapshot_and_what_is_far_behind_is_waited_for() {
    let p = Project::new();
    p.push(1..=1500);
    let tags: Vec<String> = std::thread::scope(|s| {
        let ask = || p.snapshot(&[("Accept-Encoding", "gzip")]).header("etag").expect("tag").to_string();
        let asked: Vec<_> = (0..12).map(|_| s.spawn(ask)).collect();
        asked.into_iter().map(|t| t.join().expect("asked")).collect()
    });
    assert!(tags.iter().all(|tag| *tag == tags[0]), "{tags:?}");
    let files = std::fs::read_dir(p.folder().join("snap")).expect("list").count();
    assert_eq!(files, 2, "one snapshot, packed once, and nothing half-made");
    p.push(1501..=2600);
    assert_eq!(seq(&p.snapshot(&[])), 2600, "more than a thousand behind is not served");
}
