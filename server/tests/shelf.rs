//! Kept snapshots, without HTTP: what they are made from, what they hold, and which of them go.

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use support::log::{Log, clock};
use td_engine::db::{ProjectDb, Purpose};
use td_engine::id::{Epoch, Seq};
use td_server::live::{LiveView, StateDigest};
use td_server::packing::Encoding;
use td_server::snapshot::{self, Folder, Kept, Shelf, Version};

fn history(first: char) -> Version {
    let text: String = std::iter::repeat_n(first, 32).collect();
    Version::current(&Epoch::parse(&text).expect("epoch"))
}

fn shelf(dir: &Path) -> Shelf {
    Shelf::new(Arc::new(Folder::new(dir.join("snap"))), history('a'), clock())
}

fn files(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir.join("snap")) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|e| e.expect("entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The state of the whole log, replayed from its first event.
fn replayed(log: &Log) -> StateDigest {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("full.db");
    snapshot::build(&log.0, None, &path, clock()()).expect("built");
    StateDigest::of(&ProjectDb::open(&path, Purpose::Device).expect("opens")).expect("digest")
}

fn content(kept: &Kept, packed: Option<Encoding>) -> Vec<u8> {
    let blob = kept.open(packed).expect("opens");
    let mut bytes = vec![0; usize::try_from(blob.size().expect("size")).expect("small")];
    let mut at = 0;
    while at < bytes.len() {
        at += blob.read_at(at as u64, &mut bytes[at..]).expect("reads");
    }
    bytes
}

#[test]
fn a_snapshot_that_continues_another_one_equals_a_replay_of_everything() {
    let dir = tempfile::tempdir().expect("dir");
    let (shelf, log) = (shelf(dir.path()), Log::new());
    log.issues(1, 40);
    assert_eq!(shelf.make(&log.0, None).expect("made").digest().expect("digest"), replayed(&log));
    // A replace that takes children along, edits of another device, deletions, an orphan, a cycle.
    log.everything(41);
    let made = shelf.make(&log.0, None).expect("made");
    assert_eq!(made.digest().expect("digest"), replayed(&log));
    assert_eq!(made.seq(), log.head());
    let again = shelf.make(&log.0, None).expect("nothing to do");
    assert!(Arc::ptr_eq(&made, &again));
}

#[test]
fn a_snapshot_made_from_the_live_view_equals_a_replay_and_is_no_live_view() {
    let dir = tempfile::tempdir().expect("dir");
    let (shelf, log) = (shelf(dir.path()), Log::new());
    log.issues(1, 40);
    log.everything(41);
    let mut view = LiveView::new(dir.path().join("project.db"), clock());
    let seen = view.catch_up(&log.0).expect("applied");
    log.issues(200, 220);
    // The live view goes on while the snapshot is made from it.
    let made = shelf.make(&log.0, Some((view.place(), seen))).expect("made");
    assert_eq!(made.digest().expect("digest"), replayed(&log));
    let bytes = content(&made, None);
    assert_eq!((bytes[18], bytes[19]), (1, 1), "a rollback journal, or the file would need a WAL beside it");
    let path = dir.path().join("copy.db");
    fs::write(&path, bytes).expect("write");
    let raw = rusqlite::Connection::open(&path).expect("opens");
    let has = |table: &str| {
        let sql = "SELECT COUNT(*) FROM sqlite_master WHERE name = ?1";
        raw.query_row(sql, [table], |r| r.get::<_, i64>(0)).expect("asked") > 0
    };
    assert!(has("sync_state") && !has("applied_events"));
    assert!(has("idx_issues_status"), "devices search in it");
    view.catch_up(&log.0).expect("applied");
    assert_eq!(view.digest(&log.0).expect("digest"), replayed(&log), "the live view is as it was");
}

#[test]
fn a_live_view_that_is_further_than_asked_makes_a_snapshot_of_where_it_is() {
    let dir = tempfile::tempdir().expect("dir");
    let (shelf, log) = (shelf(dir.path()), Log::new());
    log.issues(1, 10);
    let early = support::log::Until(&log.0, Seq(6));
    let mut view = LiveView::new(dir.path().join("project.db"), clock());
    let seen = view.catch_up(&log.0).expect("applied");
    let made = shelf.make(&early, Some((view.place(), seen))).expect("made");
    assert_eq!((made.seq(), made.digest().expect("digest")), (Seq(10), replayed(&log)));
}

#[test]
fn a_live_view_that_cannot_be_copied_keeps_no_snapshot_from_being_made() {
    let dir = tempfile::tempdir().expect("dir");
    let (shelf, log) = (shelf(dir.path()), Log::new());
    log.issues(1, 10);
    // No damage, which is told apart: the disk or the system says no.
    let refused = LiveView::new(dir.path().to_owned(), clock());
    let made = shelf.make(&log.0, Some((refused.place(), Seq(5)))).expect("made from the log");
    assert_eq!(made.digest().expect("digest"), replayed(&log));
}

#[test]
fn a_damaged_or_vanished_base_is_replaced_and_a_sound_one_is_used() {
    let log = Log::new();
    log.issues(1, 300);
    for damage in ["nothing", "garbage", "gone", "shorter", "another sequence", "a page"] {
        let dir = tempfile::tempdir().expect("dir");
        let shelf = shelf(dir.path());
        let first = shelf.make(&log.0, None).expect("made");
        let path = dir.path().join("snap").join(first.name.to_string());
        let whole = fs::read(&path).expect("read");
        match damage {
            "garbage" => fs::write(&path, "no database").expect("write"),
            "gone" => fs::remove_file(&path).expect("remove"),
            "shorter" => fs::write(&path, &whole[..whole.len() / 2]).expect("write"),
            "a page" => {
                // In the middle, where nothing of what comes has to be written.
                let (mut bytes, at) = (whole.clone(), whole.len() / 8192 * 4096);
                bytes[at..at + 4096].fill(0x5a);
                fs::write(&path, bytes).expect("write");
            }
            "another sequence" => {
                let raw = rusqlite::Connection::open(&path).expect("opens");
                raw.execute("UPDATE tdsync_meta SET value = '7' WHERE key = 'cursor'", []).expect("moved");
            }
            _ => {}
        }
        let more = Log::new();
        more.issues(1, 310);
        let made = shelf.make(&more.0, None).expect("made");
        assert_eq!(made.digest().expect("digest"), replayed(&more), "{damage}");
        let is_kept = shelf.points().expect("points").contains(&first.seq());
        assert_eq!(is_kept, damage == "nothing", "{damage}");
    }
}

#[test]
fn what_another_program_or_history_made_is_not_served_and_goes() {
    let dir = tempfile::tempdir().expect("dir");
    let log = Log::new();
    log.issues(1, 20);
    let ours = shelf(dir.path()).make(&log.0, None).expect("made").name.to_string();
    let other = Shelf::new(Arc::new(Folder::new(dir.path().join("snap"))), history('b'), clock());
    assert!(other.newest().expect("read").is_none());
    assert_eq!(files(dir.path()), [""; 0], "what cannot be used is no use");
    other.make(&log.0, None).expect("made");
    let older = ours.replacen("38-", "37-", 1);
    for leftover in ["00ff00ff.half", "1020.db", &older, &ours, &format!("{ours}.gz"), "x.db.tmp.7"] {
        fs::write(dir.path().join("snap").join(leftover), "SQLite format 3, but cut off").expect("write");
    }
    let shelf = shelf(dir.path());
    assert!(shelf.newest().expect("read").is_none());
    assert_eq!(files(dir.path()), [""; 0]);
}

#[test]
fn a_shelf_that_is_opened_again_goes_on_with_what_was_kept() {
    let dir = tempfile::tempdir().expect("dir");
    let log = Log::new();
    log.issues(1, 20);
    let first = shelf(dir.path()).make(&log.0, None).expect("made");
    let tag = first.tag(None);
    let shelf = shelf(dir.path());
    let newest = shelf.newest().expect("read").expect("kept");
    assert_eq!((newest.tag(None), content(&newest, None)), (tag.clone(), content(&first, None)));
    log.issues(21, 25);
    shelf.make(&log.0, None).expect("made");
    let (found, packed) = shelf.by_tag(&tag).expect("read").expect("still kept");
    assert_eq!((found.seq(), packed), (Seq(20), None));
    assert!(shelf.by_tag("\"20-00000000\"").expect("read").is_none());
}

#[test]
fn old_snapshots_go_but_never_one_that_is_in_use() {
    let dir = tempfile::tempdir().expect("dir");
    let (shelf, log) = (shelf(dir.path()), Log::new());
    log.issues(1, 10);
    let served = shelf.make(&log.0, None).expect("made");
    for round in 0..8 {
        log.issues(11 + round, 11 + round);
        drop(shelf.make(&log.0, None).expect("made"));
    }
    let points: Vec<i64> = shelf.points().expect("points").iter().map(|seq| seq.0).collect();
    assert_eq!(points, [10, 15, 16, 17, 18], "the one in use, the newest, and three that were used last");
    assert_eq!(files(dir.path()).len(), 5);
    content(&served, None);
    drop(served);
    log.issues(19, 19);
    shelf.make(&log.0, None).expect("made");
    assert_eq!(files(dir.path()).len(), 4);
}

#[test]
fn a_packed_snapshot_unpacks_to_the_plain_one_and_goes_with_it() {
    let dir = tempfile::tempdir().expect("dir");
    let (shelf, log) = (shelf(dir.path()), Log::new());
    log.issues(1, 200);
    let made = shelf.make(&log.0, None).expect("made");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    for encoding in Encoding::ALL {
        let (one, two) = runtime.block_on(async { tokio::join!(made.pack(encoding), made.pack(encoding)) });
        one.and(two).expect("packed");
        let packed = content(&made, Some(encoding));
        assert_eq!(support::unpacked(encoding.token(), &packed), content(&made, None));
        assert!(packed.len() * 2 < content(&made, None).len());
    }
    assert_eq!(files(dir.path()).len(), 3);
    // Read again, they are found and not made again.
    let again = self::shelf(dir.path()).newest().expect("read").expect("kept");
    let stamp = fs::metadata(dir.path().join("snap").join(format!("{}.gz", made.name))).expect("there");
    runtime.block_on(again.pack(Encoding::Gzip)).expect("there already");
    let now = fs::metadata(dir.path().join("snap").join(format!("{}.gz", made.name))).expect("there");
    assert_eq!(stamp.modified().expect("time"), now.modified().expect("time"));
    shelf.clear();
    assert_eq!(files(dir.path()), [""; 0]);
}

#[test]
fn a_deleted_project_gets_no_folder_back() {
    let dir = tempfile::tempdir().expect("dir");
    let log = Log::new();
    log.issues(1, 5);
    assert!(shelf(&dir.path().join("deleted")).make(&log.0, None).is_err());
    assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 0);
}
