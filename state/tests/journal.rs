//! The journal after every kind of ending. Cases 5, 6, 9, 11 and 12 of anchors-installer (f).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use proptest::prelude::*;
use std::fs;
use std::path::Path;
use td_state::StateError;
use td_state::dir::TargetDir;
use td_state::journal::{self, Begin, Journal};
use td_state::legality::State;
use td_state::lock::Lock;
use td_state::record::{Act, Body, End, Intent, UndoEnd};
use td_state::secret::{Redactor, Secret};

fn target(home: &Path) -> TargetDir {
    let dir = TargetDir::at(home, "local").unwrap();
    dir.make().unwrap();
    dir
}

fn begin_with(dir: &TargetDir, redactor: Redactor) -> Result<(Lock, Journal), StateError> {
    let lock = Lock::take(dir, "setup")?;
    let begin = Begin { verb: "setup".into(), tool: "1".into(), answers: "a".into(), boot: Some("b".into()) };
    let journal = Journal::begin(dir, &lock, begin, redactor)?;
    Ok((lock, journal))
}

fn begin(dir: &TargetDir) -> (Lock, Journal) {
    begin_with(dir, Redactor::default()).unwrap()
}

fn intent(step: &str, undo: &str) -> Intent {
    Intent {
        step: step.into(),
        rev: 1,
        attempt: 1,
        act: Act::Create,
        change: "c".into(),
        observed: Some("o".into()),
        undo: undo.into(),
        created_by_us: vec!["/a".into()],
        op: None,
    }
}

fn outcome(step: &str, end: End) -> Body {
    Body::Outcome { step: step.into(), end }
}

/// A run that did one step and began another.
fn a_run(dir: &TargetDir) -> Vec<u8> {
    let (_lock, mut journal) = begin(dir);
    journal.intent(intent("a.one", "undo/2.json")).unwrap();
    journal.append(outcome("a.one", End::Ok)).unwrap();
    journal.intent(intent("a.two", "undo/4.json")).unwrap();
    fs::read(journal.path()).unwrap()
}

fn only_journal(dir: &TargetDir) -> std::path::PathBuf {
    dir.journal(&dir.runs().unwrap()[0])
}

#[test]
fn what_was_written_is_read_and_adds_up() {
    let home = tempfile::tempdir().unwrap();
    let dir = target(home.path());
    a_run(&dir);
    let history = journal::read(&dir).unwrap();
    assert_eq!(history.records.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(history.ledger.step("a.one").state, State::Done);
    assert_eq!(history.ledger.step("a.two").state, State::MayHaveRun);
    assert_eq!(history.ledger.step("a.two").open.unwrap().boot.as_deref(), Some("b"));
    assert_eq!(history.ledger.undo.iter().map(|u| u.seq).collect::<Vec<_>>(), [2, 4]);
    let (_lock, next) = begin(&dir);
    assert_eq!(next.resumes(), history.runs.first(), "the first run did not say that it ended");
    assert_eq!(next.next_seq(), 6, "numbers go on over runs");
}

#[test]
fn f5_a_journal_cut_at_any_byte_of_its_last_two_lines_loses_no_earlier_line() {
    let home = tempfile::tempdir().unwrap();
    let dir = target(home.path());
    let whole = a_run(&dir);
    let path = only_journal(&dir);
    let ends: Vec<usize> =
        whole.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1).collect();
    for cut in ends[1]..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let complete = ends.iter().filter(|e| **e <= cut).count();
        let history = journal::read(&dir).unwrap();
        assert_eq!(history.records.len(), complete, "cut at {cut}");
        assert_eq!(history.torn.is_empty(), ends.contains(&cut), "cut at {cut}");
        assert_eq!(fs::read(&path).unwrap().len(), cut, "looking changes nothing");
    }
    // Power loss may also leave zeros, or a last line whose first part never arrived.
    let mut zeros = whole.clone();
    zeros.extend([0; 512]);
    let mut half = whole.clone();
    let last = ends[ends.len() - 2];
    half[last..last + 40].fill(0);
    for (bytes, lines) in [(zeros, 4), (half, 3)] {
        fs::write(&path, &bytes).unwrap();
        assert_eq!(journal::read(&dir).unwrap().records.len(), lines);
    }
}

#[test]
fn f5_the_remains_of_a_torn_line_are_moved_aside_and_noted() {
    let home = tempfile::tempdir().unwrap();
    let dir = target(home.path());
    let whole = a_run(&dir);
    let path = only_journal(&dir);
    fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    let (lock, journal) = begin(&dir);
    assert_eq!(journal.ledger().step("a.two").state, State::NotStarted);
    let aside = fs::read(path.with_extension("jsonl.torn")).unwrap();
    assert!(whole[..whole.len() - 5].ends_with(&aside) && aside.starts_with(b"{"));
    assert!(whole.starts_with(&fs::read(&path).unwrap()));
    let note = fs::read_to_string(journal.path()).unwrap();
    assert!(note.contains("were moved to") && note.contains("jsonl.torn"), "{note}");
    drop((lock, journal));
    assert!(journal::read(&dir).unwrap().torn.is_empty());
    begin(&dir);
}

#[test]
fn f6_a_flipped_bit_in_the_middle_is_refused_with_its_line() {
    let home = tempfile::tempdir().unwrap();
    let dir = target(home.path());
    let whole = a_run(&dir);
    let path = only_journal(&dir);
    let second = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
    let third = second + whole[second..].iter().position(|b| *b == b'\n').unwrap();
    for at in second..third {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let e = begin_with(&dir, Redactor::default()).unwrap_err();
        assert!(matches!(e, StateError::Damaged { line: 2, .. }), "byte {at}: {e}");
        assert!(e.remedy().1.unwrap().starts_with("sed -n 2p "));
    }
    assert_eq!(fs::read(&path).unwrap().len(), whole.len(), "nothing was cut");
}

#[test]
fn a_line_that_is_missing_or_in_the_wrong_place_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let dir = target(home.path());
    let whole = a_run(&dir);
    let path = only_journal(&dir);
    let lines: Vec<&[u8]> = whole.split_inclusive(|b| *b == b'\n').collect();
    for order in [vec![0, 2, 3], vec![0, 2, 1, 3], vec![0, 1, 1, 2], vec![1]] {
        fs::write(&path, order.iter().flat_map(|i| lines[*i].to_vec()).collect::<Vec<u8>>()).unwrap();
        let e = journal::read(&dir).unwrap_err();
        assert_eq!(e.code(), "E-JOURNAL-ILLEGAL", "{order:?}: {e}");
    }
}

#[test]
fn a_journal_that_is_gone_is_noticed() {
    let home = tempfile::tempdir().unwrap();
    let dir = target(home.path());
    let (lock, mut journal) = begin(&dir);
    journal.intent(intent("a.one", "undo/2.json")).unwrap();
    td_state::receipt::save(&dir, journal.ledger()).unwrap();
    drop((lock, journal));
    fs::remove_dir_all(dir.runs_dir()).unwrap();
    fs::create_dir(dir.runs_dir()).unwrap();
    assert_eq!(begin_with(&dir, Redactor::default()).unwrap_err().code(), "E-JOURNAL-LOST");
}

#[test]
fn a_record_that_may_not_follow_is_not_written() {
    let home = tempfile::tempdir().unwrap();
    let dir = target(home.path());
    let (_lock, mut journal) = begin(&dir);
    let before = fs::read(journal.path()).unwrap();
    let e = journal.append(outcome("a.one", End::Ok)).unwrap_err();
    assert_eq!(e.to_string(), "a good outcome of a.one may not follow not started");
    assert_eq!(journal.undo_intent("a.one", 7).unwrap_err().code(), "E-JOURNAL-MOVE");
    assert_eq!(fs::read(journal.path()).unwrap(), before);
}

#[test]
fn another_attempt_keeps_the_first_before_image() {
    let home = tempfile::tempdir().unwrap();
    let dir = target(home.path());
    let (_lock, mut journal) = begin(&dir);
    journal.intent(intent("a.one", "undo/2.json")).unwrap();
    journal.append(outcome("a.one", End::Failed { code: "E".into(), why: "w".into() })).unwrap();
    journal.intent(Intent { attempt: 2, ..intent("a.one", "undo/2.json") }).unwrap();
    journal.append(outcome("a.one", End::Ok)).unwrap();
    assert_eq!(journal.ledger().undo.iter().map(|u| u.seq).collect::<Vec<_>>(), [2]);
    journal.undo_intent("a.one", 2).unwrap();
    journal.append(Body::UndoOutcome { step: "a.one".into(), of: 2, end: UndoEnd::Restored }).unwrap();
    assert_eq!(journal.ledger().step("a.one").state, State::Undone);
    assert!(journal.ledger().undo.is_empty());
}

#[test]
fn a_check_that_went_well_leaves_nothing_to_undo() {
    let home = tempfile::tempdir().unwrap();
    let dir = target(home.path());
    let (_lock, mut journal) = begin(&dir);
    journal.intent(Intent { act: Act::Check, ..intent("a.gate", "undo/2.json") }).unwrap();
    assert_eq!(journal.ledger().undo.len(), 1, "while it is at work it may leave something");
    journal.append(outcome("a.gate", End::Ok)).unwrap();
    assert!(journal.ledger().undo.is_empty());
}

#[test]
fn f11_f12_the_lock_is_the_kernels_and_says_who_holds_it() {
    let home = tempfile::tempdir().unwrap();
    let dir = target(home.path());
    let held = Lock::take(&dir, "setup").unwrap();
    let e = Lock::take(&dir, "uninstall").unwrap_err();
    assert_eq!(e.code(), "E-STATE-LOCKED");
    assert!(e.to_string().contains(&format!("setup, process {}", std::process::id())), "{e}");
    assert!(Lock::owner(&dir).unwrap().starts_with("setup, process"));
    drop(held);
    assert_eq!(Lock::owner(&dir), None);
    assert_eq!(fs::read(dir.lock()).unwrap(), b"", "no stale words");
    // Words without a holder mean nothing.
    fs::write(dir.lock(), "setup, process 1").unwrap();
    assert_eq!(Lock::owner(&dir), None);
    Lock::take(&dir, "setup").unwrap();
}

#[test]
fn f81_a_secret_is_masked_and_a_password_that_is_a_word_of_ours_breaks_nothing() {
    let home = tempfile::tempdir().unwrap();
    let dir = target(home.path());
    let mut redactor = Redactor::default();
    redactor.learn(&Secret::new("hunter2-hunter2"));
    redactor.learn(&Secret::new("intent"));
    let (_lock, mut journal) = begin_with(&dir, redactor).unwrap();
    journal.intent(intent("a.one", "undo/2.json")).unwrap();
    let end = End::Failed { code: "E".into(), why: "no intent with hunter2-hunter2".into() };
    journal.append(outcome("a.one", end)).unwrap();
    assert!(!fs::read_to_string(journal.path()).unwrap().contains("hunter2"));
    assert_eq!(journal.ledger().step("a.one").why.as_deref(), Some("no [secret] with [secret]"));
    assert_eq!(journal::read(&dir).unwrap().ledger.steps, journal.ledger().steps);
}

#[test]
fn a_folder_of_a_target_is_private_and_goes_with_what_was_made_for_it() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let dir = target(&home.path().join("state"));
    a_run(&dir);
    let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(dir.path()), mode(&dir.runs_dir()), mode(&dir.undo())), (0o700, 0o700, 0o700));
    let other = TargetDir::at(&home.path().join("state"), "vps").unwrap();
    other.make().unwrap();
    dir.remove().unwrap();
    assert!(other.exists() && !dir.exists(), "the other target is spared");
    other.remove().unwrap();
    assert!(home.path().join("state").exists(), "what the second found was not made for it");
    for bad in ["", ".", "..", ".gone-local", "a/b", "A", "é"] {
        assert_eq!(TargetDir::at(home.path(), bad), None, "{bad:?}");
    }
}

#[test]
fn a_removal_that_was_cut_off_is_finished_by_the_next() {
    let home = tempfile::tempdir().unwrap();
    let dir = target(home.path());
    a_run(&dir);
    fs::rename(dir.path(), dir.path().with_file_name(".gone-local")).unwrap();
    assert!(!dir.exists());
    dir.remove().unwrap();
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_a_journal_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let home = tempfile::tempdir().unwrap();
        let dir = target(home.path());
        a_run(&dir);
        fs::write(only_journal(&dir), &bytes).unwrap();
        let _ = journal::read(&dir);
    }

    #[test]
    fn a_changed_journal_is_never_read_as_another(at in 0usize..1000, byte in any::<u8>()) {
        let home = tempfile::tempdir().unwrap();
        let dir = target(home.path());
        let mut bytes = a_run(&dir);
        let whole = journal::read(&dir).unwrap().records;
        let at = at % bytes.len();
        bytes[at] = byte;
        fs::write(only_journal(&dir), &bytes).unwrap();
        if let Ok(history) = journal::read(&dir) {
            prop_assert!(whole.starts_with(&history.records), "a shorter story, never another");
        }
    }

    #[test]
    fn any_bytes_are_a_receipt_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = td_state::receipt::parse(Path::new("r"), &bytes);
    }
}
