//! Files of every version are read for ever; files of a later one are refused with a sentence.
//!
//! `fixtures/v<n>/` holds a target's folder as version `n` wrote it. It is never rewritten: to add a version, run
//! `TD_WRITE_FIXTURE=1 cargo test -p td-state --test formats` once and commit the new folder.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::fs;
use std::path::{Path, PathBuf};
use td_state::answers::{Answer, AnswerKey, Answers, SecretRef};
use td_state::dir::TargetDir;
use td_state::journal::{self, Begin, Journal};
use td_state::legality::State;
use td_state::lock::Lock;
use td_state::receipt;
use td_state::record::{Act, Body, End, Intent, UndoEnd};
use td_state::secret::Redactor;

const PORT: AnswerKey = AnswerKey::of("server.port");
const NAME: AnswerKey = AnswerKey::of("server.name");
const OPEN: AnswerKey = AnswerKey::of("server.open");
const PASSWORD: AnswerKey = AnswerKey::of("mail.password");

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

/// A copy to work on.
fn copied() -> (tempfile::TempDir, TargetDir) {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &to)
            } else {
                fs::copy(entry.path(), to).unwrap();
            }
        }
    }
    let home = tempfile::tempdir().unwrap();
    let dir = TargetDir::at(home.path(), "local").unwrap();
    copy(&fixture(), dir.path());
    (home, dir)
}

/// Every kind of record, and every kind of file.
fn write(dir: &TargetDir) {
    dir.make().unwrap();
    let mut answers = Answers::default();
    answers.set(&PORT, Answer::Int(8471));
    answers.set(&NAME, Answer::Text("a \"quoted\" name".into()));
    answers.set(&OPEN, Answer::Bool(false));
    answers.set(&PASSWORD, Answer::Secret(SecretRef::File("/run/secret".into())));
    answers.save(&dir.answers()).unwrap();
    let lock = Lock::take(dir, "setup").unwrap();
    let begin = |verb: &str| Begin {
        verb: verb.into(),
        tool: "0.1.0".into(),
        answers: answers.digest(),
        boot: Some("boot-1".into()),
    };
    let intent = |step: &str, act, undo: &str| Intent {
        step: step.into(),
        rev: 2,
        attempt: 1,
        act,
        change: "sha256:01".into(),
        observed: Some("sha256:02".into()),
        undo: undo.into(),
        created_by_us: vec!["/home/ada/.config/td-sync".into()],
        op: None,
    };
    let outcome = |step: &str, end| Body::Outcome { step: step.into(), end };
    let why = |why: &str| (String::from("E-TEST"), why.to_owned());
    let (code, reason) = why("it broke");
    let verified = |step: &str| Body::Verified {
        step: step.into(),
        rev: 2,
        desired: Some("sha256:01".into()),
        observed: Some("sha256:03".into()),
    };

    let mut j = Journal::begin(dir, &lock, begin("setup"), Redactor::default()).unwrap();
    j.append(outcome("tls.issue", End::Skipped { reason: "not on this target".into() })).unwrap();
    j.append(outcome("sys.dirs", End::Satisfied)).unwrap();
    j.intent(intent("server.config", Act::Create, "undo/4.json")).unwrap();
    j.append(Body::AnswersChanged { answers: answers.digest() }).unwrap();
    j.append(outcome("server.config", End::Ok)).unwrap();
    j.append(verified("server.config")).unwrap();
    j.append(Body::Boundary { name: "point_of_no_return".into() }).unwrap();
    j.intent(intent("server.cutover", Act::Update, "undo/9.json")).unwrap();
    drop(j);
    let mut j = Journal::begin(dir, &lock, begin("setup"), Redactor::default()).unwrap();
    j.append(outcome("server.cutover", End::Adopted)).unwrap();
    j.append(Body::Degraded {
        step: "server.cutover".into(),
        what: "no boot start".into(),
        why: "no systemd".into(),
    })
    .unwrap();
    j.intent(intent("data.drill", Act::Check, "undo/13.json")).unwrap();
    j.append(outcome("data.drill", End::Failed { code: code.clone(), why: reason.clone() })).unwrap();
    j.undo_intent("data.drill", 13).unwrap();
    let end = UndoEnd::LeftAlone { why: "somebody edited it".into() };
    j.append(Body::UndoOutcome { step: "data.drill".into(), of: 13, end }).unwrap();
    j.append(outcome("client.config", End::Refused { code: code.clone(), why: reason.clone() })).unwrap();
    j.append(Body::Note { text: "a note".into() }).unwrap();
    j.undo_intent("server.cutover", 9).unwrap();
    let end = UndoEnd::Failed { code, why: reason };
    j.append(Body::UndoOutcome { step: "server.cutover".into(), of: 9, end }).unwrap();
    j.append(Body::RunFinished { exit: 6 }).unwrap();
    receipt::save(dir, j.ledger()).unwrap();
}

#[test]
fn write_the_fixture_when_asked() {
    if std::env::var_os("TD_WRITE_FIXTURE").is_none() || fixture().join("target.toml").exists() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = TargetDir::at(home.path(), "local").unwrap();
    write(&dir);
    fs::create_dir_all(fixture()).unwrap();
    assert!(
        std::process::Command::new("cp")
            .arg("-r")
            .arg(dir.path().join("."))
            .arg(fixture())
            .status()
            .unwrap()
            .success()
    );
    // The folders that were made for it are those of the test.
    fs::write(fixture().join("target.toml"), "schema = 1\nid = \"local\"\nmade = []\n").unwrap();
}

#[test]
fn version_1_answers_are_read() {
    let (_home, dir) = copied();
    let answers = Answers::load(&dir.answers()).unwrap();
    assert_eq!(answers.int(&PORT), Some(8471));
    assert_eq!(answers.text(&NAME).as_deref(), Some("a \"quoted\" name"));
    assert_eq!(answers.flag(&OPEN), Some(false));
    assert_eq!(answers.get(&PASSWORD), Some(Answer::Secret(SecretRef::File("/run/secret".into()))));
}

#[test]
fn version_1_journals_are_read_and_gone_on_from() {
    let (_home, dir) = copied();
    dir.make().unwrap();
    let history = journal::read(&dir).unwrap();
    assert_eq!((history.runs.len(), history.records.len(), history.torn.len()), (2, 21, 0));
    let state = |key: &str| history.ledger.step(key).state;
    assert_eq!(state("tls.issue"), State::Skipped);
    assert_eq!(state("server.config"), State::Verified);
    assert_eq!(state("server.cutover"), State::Stuck);
    assert_eq!(state("data.drill"), State::Undone);
    assert_eq!(state("client.config"), State::Failed);
    assert_eq!(history.ledger.undo.iter().map(|u| u.seq).collect::<Vec<_>>(), [4, 9]);
    assert_eq!(history.ledger.last_exit, Some(6));
    let lock = Lock::take(&dir, "setup").unwrap();
    let begin = Begin { verb: "setup".into(), tool: "9".into(), answers: "a".into(), boot: None };
    assert_eq!(Journal::begin(&dir, &lock, begin, Redactor::default()).unwrap().next_seq(), 23);
}

#[test]
fn a_version_1_receipt_is_read_and_is_the_picture_of_its_journals() {
    let (_home, dir) = copied();
    let receipt = receipt::load(&dir).unwrap().unwrap();
    let ledger = journal::read(&dir).unwrap().ledger;
    assert_eq!((receipt.target.as_str(), receipt.seq), ("local", ledger.seq));
    assert_eq!((receipt.ledger.steps, receipt.ledger.undo), (ledger.steps.clone(), ledger.undo.clone()));
    assert!(!receipt::save(&dir, &ledger).unwrap(), "nothing new, nothing written");
}

#[test]
fn a_kind_of_a_newer_version_is_kept_and_skipped() {
    let (_home, dir) = copied();
    let last = dir.journal(dir.runs().unwrap().last().unwrap());
    let mut text = fs::read_to_string(&last).unwrap();
    let run = dir.runs().unwrap().pop().unwrap();
    let plain =
        format!(r#"{{"v":1,"seq":22,"run":"{run}","t":"x","mono_ms":1,"kind":"op_started","op":"o-1"}}"#);
    text.push_str(&with_crc(&plain));
    fs::write(&last, &text).unwrap();
    let history = journal::read(&dir).unwrap();
    let Some(Body::Unknown { kind, fields }) = history.records.last().map(|r| &r.body) else { panic!() };
    assert_eq!((kind.as_str(), fields["op"].as_str()), ("op_started", Some("o-1")));
}

#[test]
fn files_of_a_newer_version_are_refused_and_left_as_they_are() {
    let (_home, dir) = copied();
    let last = dir.journal(dir.runs().unwrap().last().unwrap());
    let run = dir.runs().unwrap().pop().unwrap();
    let plain = format!(r#"{{"v":2,"seq":22,"run":"{run}","t":"x","mono_ms":1,"kind":"note","text":"n"}}"#);
    let newer: [(PathBuf, String); 3] = [
        (last.clone(), format!("{}{}", fs::read_to_string(&last).unwrap(), with_crc(&plain))),
        (dir.receipt(), "{\"schema\":2}".into()),
        (dir.path().join("target.toml"), "schema = 2\nid = \"local\"\n".into()),
    ];
    for (path, text) in newer {
        let before = fs::read(&path).unwrap();
        fs::write(&path, &text).unwrap();
        let refused = dir.make().and_then(|()| {
            let lock = Lock::take(&dir, "setup")?;
            let begin = Begin { verb: "setup".into(), tool: "1".into(), answers: "a".into(), boot: None };
            Journal::begin(&dir, &lock, begin, Redactor::default()).map(drop)
        });
        let e = refused.unwrap_err();
        assert_eq!(e.code(), "E-STATE-NEWER", "{e}");
        assert!(e.to_string().contains("has format 2"), "{e}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        fs::write(&path, before).unwrap();
    }
}

/// As a journal writes it.
fn with_crc(plain: &str) -> String {
    use sha2::{Digest, Sha256};
    let sum: String = Sha256::digest(plain.as_bytes()).iter().take(8).map(|b| format!("{b:02x}")).collect();
    format!("{},\"crc\":\"{sum}\"}}\n", plain.strip_suffix('}').unwrap())
}
