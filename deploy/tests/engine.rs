//! How a run goes, besides the generated faults.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod machinery;

use machinery::toy::{self, NAME, Odd, PORT, SCENE, TEXT, good};
use machinery::{Stage, uncrashed};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use td_deploy::engine::{OnFailure, Overall, Report, Setup, Uninstall, status};
use td_deploy::error::{Remedy, StepError};
use td_deploy::event::{EventBody, StepResult};
use td_deploy::exit::Exit;
use td_deploy::fault::Faults;
use td_deploy::host::{Host, Mode, ReadFiles, WriteFiles};
use td_deploy::step::{Outcome, StepKey, StepTraits, erase};
use td_deploy::stream::channel;
use td_deploy::{Apply, Cancel, Wait};
use td_state::answers::Answer;
use td_state::lock::Lock;
use td_state::secret::{Redactor, Secret};

fn stage_of(odd: Odd) -> Stage {
    Stage { steps: vec![erase(odd)], ..SCENE.stage() }
}

fn result(report: &Report, key: &str) -> StepResult {
    report.steps.iter().find(|(k, _)| k == key).map(|(_, r)| r.clone()).unwrap()
}

fn failure() -> StepError {
    StepError::new("E-ODD", "it broke", "it is broken", Remedy::say("mend it"))
}

fn state(stage: &Stage) -> (Overall, Vec<(String, &'static str)>) {
    let status = status(&stage.dir, &stage.steps).unwrap();
    (status.state, status.steps.into_iter().map(|s| (s.key, s.state)).collect())
}

#[test]
fn planning_makes_nothing_and_says_everything() {
    let stage = SCENE.stage();
    let begin = stage.host.picture();
    let plan = stage.setup(Faults::default()).plan(&stage.answers).unwrap();
    assert_eq!(stage.host.picture(), begin);
    assert_eq!(std::fs::read_dir(stage.folder.path()).unwrap().count(), 0, "no state folder");
    let changes: Vec<String> = plan
        .steps
        .iter()
        .map(|s| {
            format!("{} {}", s.key, serde_json::to_value(&s.change).unwrap()["change"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        changes,
        [
            "toy.elsewhere skip",
            "toy.folder create",
            "toy.port create",
            "toy.text depends_on",
            "toy.profile depends_on",
            "toy.rehearse check",
            "toy.daemon depends_on",
        ]
    );
    assert_eq!(plan.pending(), 5);
    stage.settle("apply");
    let after = stage.setup(Faults::default()).plan(&stage.answers()).unwrap();
    assert_eq!(after.pending(), 0, "{after:#?}");
    assert!(plan.drift(&after).iter().any(|d| d.key == "toy.folder"));
    assert!(after.drift(&after).is_empty());
}

#[test]
fn a_refusal_names_everything_and_leaves_no_trace() {
    let stage = stage_of(Odd { blocked: true, ..Odd::new(good) });
    let report = stage.apply(Faults::default()).unwrap();
    assert_eq!(report.exit, Exit::Refused);
    assert_eq!(report.errors.len(), 1);
    assert_eq!(
        (report.errors[0].code.as_str(), report.errors[0].tried.as_str()),
        ("E-ODD-BLOCKED", "Be odd")
    );
    assert_eq!(std::fs::read_dir(stage.folder.path()).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_looked_at_is_not_changed() {
    let stage = stage_of(Odd { unknown: true, ..Odd::new(|_| panic!("it must not act")) });
    let report = stage.apply(Faults::default()).unwrap();
    assert_eq!((report.exit, report.errors[0].code.as_str()), (Exit::Refused, "E-UNKNOWN"));
    assert_eq!(state(&stage).1, [("odd.step".into(), "failed")]);
}

#[test]
fn f11_a_second_run_at_the_same_time_is_told_who_is_there() {
    let stage = SCENE.stage();
    stage.dir.make().unwrap();
    let held = Lock::take(&stage.dir, "setup").unwrap();
    let report = stage.apply(Faults::default()).unwrap();
    assert_eq!(report.exit, Exit::Locked);
    assert!(report.errors[0].happened.contains("setup, process"), "{:?}", report.errors);
    assert_eq!(status(&stage.dir, &stage.steps).unwrap().running.unwrap().split(',').next(), Some("setup"));
    drop(held);
    stage.settle("the lock is free");
}

#[test]
fn f7_a_wish_to_stop_is_seen_between_steps_and_gone_on_from() {
    let stage = SCENE.stage();
    let cancel = Cancel::default();
    cancel.ask();
    let setup = Setup { cancel, ..stage.setup(Faults::default()) };
    let report = setup.apply(stage.answers.clone(), OnFailure::Keep);
    assert_eq!((report.exit, report.changed), (Exit::Stopped, 0));
    assert_eq!(stage.settle("again").exit, Exit::Done);
}

#[test]
fn f7_a_wish_to_stop_ends_a_wait() {
    let cancel = Cancel::default();
    let asked = cancel.clone();
    let stage = stage_of(Odd::new(move |cx| {
        asked.ask();
        cx.wait_for(&Wait::new("the end of days", Duration::from_secs(3600)), || Ok(None::<()>))?;
        Ok(Outcome::Changed)
    }));
    let setup = Setup { cancel, ..stage.setup(Faults::default()) };
    let report = setup.apply(stage.answers.clone(), OnFailure::Keep);
    assert_eq!((report.exit, report.errors.len()), (Exit::Stopped, 0));
}

#[test]
fn a_wait_says_what_for_and_ends_at_its_limit() {
    let stage = stage_of(Odd::new(|cx| {
        cx.wait_for(&Wait::new("a friend", Duration::from_secs(20)).look_at("the door"), || Ok(None::<()>))?;
        Ok(Outcome::Changed)
    }));
    let (events, seen) = channel(100);
    let setup = Setup { events: events.clone(), ..stage.setup(Faults::default()) };
    let report = setup.apply(stage.answers.clone(), OnFailure::Keep);
    events.close();
    assert_eq!((report.exit, report.errors[0].code.as_str()), (Exit::Failed, "E-WAIT"));
    let waits = std::iter::from_fn(|| seen.next()).filter(|e| {
        matches!(&e.body, EventBody::Waiting { for_what, limit_ms: 20_000, look_at: Some(at), .. }
            if for_what == "a friend" && at == "the door")
    });
    assert_eq!(waits.count(), 5, "after 1, 2, 4, 8 and 16 quiet seconds");
}

#[test]
fn only_an_error_that_says_so_is_tried_again() {
    for (retryable, attempts) in [(true, 3), (false, 1)] {
        let tries = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let count = Arc::clone(&tries);
        let traits = StepTraits { attempts: 3, ..StepTraits::default() };
        let act = move |_: &mut Apply<'_>| {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Err(if retryable { failure().may_retry() } else { failure() })
        };
        let stage = stage_of(Odd { traits, ..Odd::new(act) });
        let report = stage.apply(Faults::default()).unwrap();
        assert_eq!((report.exit, report.errors[0].tried.as_str()), (Exit::Failed, "Be odd"));
        assert_eq!(tries.load(std::sync::atomic::Ordering::SeqCst), attempts);
        let undoable = status(&stage.dir, &stage.steps).unwrap().undoable;
        assert_eq!(undoable, 1, "all attempts share the first before-image");
    }
}

#[test]
fn f2_what_a_cut_off_run_had_done_is_adopted_and_said_so() {
    let stage = stage_of(Odd::new(good));
    assert!(stage.apply(Faults::crash_at("deploy.after_effect", 1)).is_none());
    assert_eq!(state(&stage), (Overall::Incomplete, vec![("odd.step".into(), "unknown")]));
    let report = stage.settle("again");
    assert_eq!(result(&report, "odd.step"), StepResult::Adopted);
    assert_eq!(state(&stage), (Overall::Complete, vec![("odd.step".into(), "done")]));
    assert!(stage.journals().contains("\"resumes\":"));
}

#[test]
fn what_may_not_be_repeated_is_not_after_a_cut() {
    let traits = StepTraits { redo_safe: false, ..StepTraits::default() };
    let half = |cx: &mut Apply<'_>| {
        cx.put(&Odd::path(), b"half", Mode::PRIVATE)?;
        std::panic::resume_unwind(Box::new(td_deploy::fault::Crash))
    };
    let stage = stage_of(Odd { traits, ..Odd::new(half) });
    assert!(stage.apply(Faults::default()).is_none());
    let report = stage.apply(Faults::default()).unwrap();
    assert_eq!((report.exit, report.errors[0].code.as_str()), (Exit::Stuck, "E-MAY-HAVE-RUN"));
    assert_eq!(state(&stage).1, [("odd.step".into(), "unknown")], "still not known");
    stage.take_back("undo is the way out");
    assert_eq!(stage.host.stat(&Odd::path()).unwrap(), None);
}

#[test]
fn when_something_else_is_wanted_after_a_cut_the_rest_of_the_first_is_undone() {
    let stage = SCENE.stage();
    assert!(stage.apply(Faults::crash_at("deploy.after_effect", 4)).is_none());
    let mut answers = stage.answers();
    answers.set(&TEXT, Answer::Text("something else".into()));
    let report = stage.setup(Faults::default()).apply(answers, OnFailure::Keep);
    assert_eq!(report.exit, Exit::Done, "{:?}", report.errors);
    let profile = Path::new("/home/ada/profile");
    assert_eq!(stage.host.read(profile, 100).unwrap().unwrap(), b"something else on 8470");
    stage.take_back("undo");
    assert_eq!(stage.host.read(profile, 100).unwrap().unwrap(), b"of ada", "the very first content is back");
}

#[test]
fn the_before_image_of_one_place_is_never_used_for_another() {
    for point in ["deploy.after_intent", "deploy.after_effect", "deploy.after_outcome"] {
        let stage = SCENE.stage();
        let begin = stage.host.picture();
        // The third that acts writes a text; after the cut the person wants it in another place.
        assert!(stage.apply(Faults::crash_at(point, 3)).is_none());
        let mut answers = stage.answers();
        answers.set(&NAME, Answer::Text("other".into()));
        let report = stage.setup(Faults::default()).apply(answers, OnFailure::Keep);
        assert_eq!(report.exit, Exit::Done, "{point}: {:?}", report.errors);
        assert!(stage.host.stat(Path::new("/home/ada/toy/other")).unwrap().is_some());
        stage.take_back(point);
        assert_eq!(stage.host.picture(), begin, "{point}\n{}", stage.journals());
    }
}

#[test]
fn f7_a_wish_to_stop_while_looking_is_no_failure() {
    let cancel = Cancel::default();
    cancel.ask();
    let stage = stage_of(Odd { unknown: true, ..Odd::new(good) });
    let setup = Setup { cancel, ..stage.setup(Faults::default()) };
    assert_eq!(setup.apply(stage.answers.clone(), OnFailure::Keep).exit, Exit::Stopped);
}

#[test]
fn a_chain_of_changes_is_undone_to_its_beginning() {
    let stage = SCENE.stage();
    let begin = stage.host.picture();
    for text in ["one", "two", "three"] {
        let mut answers = stage.answers();
        answers.set(&TEXT, Answer::Text(text.into()));
        let report = stage.setup(Faults::default()).apply(answers, OnFailure::Keep);
        assert_eq!((report.exit, report.changed >= 2), (Exit::Done, true));
    }
    stage.take_back("all three");
    assert_eq!(stage.host.picture(), begin);
}

#[test]
fn f77_what_somebody_edited_is_left_alone_and_named() {
    let stage = SCENE.stage();
    stage.settle("set up");
    stage.host.put(Path::new("/home/ada/profile"), b"edited by ada", Mode::PRIVATE).unwrap();
    let report = stage.take_back("undo");
    assert!(
        matches!(result(&report, "toy.profile"), StepResult::LeftAlone { why } if why.contains("was edited"))
    );
    assert_eq!(stage.host.read(Path::new("/home/ada/profile"), 100).unwrap().unwrap(), b"edited by ada");
    assert_eq!(stage.host.stat(Path::new("/home/ada/toy")).unwrap(), None, "the rest is gone");
}

#[test]
fn a_good_uninstall_forgets_the_target_and_a_second_one_finds_nothing() {
    let stage = SCENE.stage();
    let all = Uninstall { keep: Vec::new(), forget: true };
    stage.settle("set up");
    let report = stage.setup(Faults::default()).uninstall(&all);
    assert_eq!(report.exit, Exit::Done, "{:?}", report.errors);
    assert_eq!(std::fs::read_dir(stage.folder.path()).unwrap().count(), 0, "also the folders above are gone");
    assert_eq!(stage.setup(Faults::default()).uninstall(&all).exit, Exit::Done);
    assert_eq!(state(&stage).0, Overall::None);
    stage.settle("and it can be set up again");
}

#[test]
fn what_is_kept_can_be_undone_later() {
    let stage = SCENE.stage();
    let begin = stage.host.picture();
    stage.settle("set up");
    let kept = Uninstall { keep: vec![StepKey::new("toy.text"), StepKey::new("toy.folder")], forget: true };
    assert_eq!(stage.setup(Faults::default()).uninstall(&kept).exit, Exit::Done);
    assert!(stage.host.stat(Path::new("/home/ada/toy/text")).unwrap().is_some());
    assert!(stage.dir.exists(), "as long as something is ours it is remembered");
    let all = Uninstall { keep: Vec::new(), forget: true };
    assert_eq!(stage.setup(Faults::default()).uninstall(&all).exit, Exit::Done);
    assert_eq!(stage.host.picture(), begin);
    assert!(!stage.dir.exists());
}

#[test]
fn a_failure_can_take_back_its_group_or_everything() {
    for (policy, profile_back, folder_back) in [
        (OnFailure::Keep, false, false),
        (OnFailure::UndoGroup, false, false),
        (OnFailure::UndoAll, true, true),
    ] {
        let mut stage = SCENE.stage();
        stage.steps.push(erase(Odd::new(|_| Err(failure()))));
        let report = stage.setup(Faults::default()).apply(stage.answers.clone(), policy);
        let exit = if policy == OnFailure::Keep { Exit::Failed } else { Exit::RolledBack };
        assert_eq!(report.exit, exit, "{policy:?}");
        let profile = stage.host.read(Path::new("/home/ada/profile"), 100).unwrap().unwrap();
        assert_eq!(profile == b"of ada", profile_back, "{policy:?}");
        assert_eq!(stage.host.stat(Path::new("/home/ada/toy")).unwrap().is_none(), folder_back, "{policy:?}");
    }
}

#[test]
fn a_degradation_is_remembered_until_a_later_run_does_better() {
    let stage = stage_of(Odd::new(|cx| {
        good(cx)?;
        Ok(Outcome::Degraded { what: "no start at boot".into(), why: "there is no systemd".into() })
    }));
    stage.settle("set up");
    stage.settle("again");
    let status = status(&stage.dir, &stage.steps).unwrap();
    assert_eq!(status.steps[0].degraded.as_deref(), Some("no start at boot: there is no systemd"));
    assert!(std::fs::read_to_string(stage.dir.receipt()).unwrap().contains("no start at boot"));
}

#[test]
fn f81_no_secret_reaches_journal_receipt_or_events() {
    let secret = "hunter2-hunter2";
    let stage = stage_of(Odd::new(move |cx| {
        cx.log("stdout", format!("key is {secret}"));
        Err(StepError { happened: format!("refused {secret}"), ..failure() })
    }));
    let mut redactor = Redactor::default();
    redactor.learn(&Secret::new(secret));
    let (events, seen) = channel(100);
    let setup = Setup { redactor, events: events.clone(), ..stage.setup(Faults::default()) };
    setup.apply(stage.answers.clone(), OnFailure::Keep);
    events.close();
    let shown: Vec<String> = std::iter::from_fn(|| seen.next()).map(|e| format!("{e:?}")).collect();
    assert!(shown.iter().any(|e| e.contains("key is [secret]")) && shown.iter().all(|e| !e.contains(secret)));
    let mut files = 0;
    for run in stage.dir.runs().unwrap() {
        for file in [stage.dir.journal(&run), stage.dir.events(&run), stage.dir.receipt()] {
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(!text.contains(secret), "{}", file.display());
            files += usize::from(text.contains("[secret]"));
        }
    }
    assert_eq!(files, 3, "all three show the mask");
}

#[test]
fn what_a_step_decides_is_an_answer_from_then_on() {
    let stage = SCENE.stage();
    stage.settle("set up");
    assert_eq!(stage.answers().int(&PORT), Some(8470));
    assert!(stage.journals().contains("answers_changed"));
}

#[test]
fn the_stream_drops_chatter_and_never_the_story() {
    let stage = stage_of(Odd::new(|cx| {
        for line in 0..1000 {
            cx.log("stdout", format!("line {line}"));
        }
        good(cx)
    }));
    let (events, seen) = channel(8);
    let setup = Setup { events: events.clone(), ..stage.setup(Faults::default()) };
    let bodies = std::thread::scope(|scope| {
        let reader = scope.spawn(|| std::iter::from_fn(|| seen.next()).map(|e| e.body).collect::<Vec<_>>());
        setup.apply(stage.answers.clone(), OnFailure::Keep);
        events.close();
        reader.join().unwrap()
    });
    assert!(matches!(bodies.first(), Some(EventBody::RunStarted { .. })));
    assert!(bodies.iter().any(|b| matches!(b, EventBody::StepFinished { result: StepResult::Changed, .. })));
    let Some(EventBody::RunFinished { exit: 0, dropped, .. }) = bodies.last() else { panic!("{bodies:?}") };
    let lines = bodies.iter().filter(|b| matches!(b, EventBody::Log { .. })).count();
    assert_eq!(lines as u64 + dropped, 1000);
}

#[test]
fn a_reader_that_goes_away_stops_nothing() {
    let stage = stage_of(Odd::new(good));
    let (events, seen) = channel(1);
    drop(seen);
    let setup = Setup { events, ..stage.setup(Faults::default()) };
    assert_eq!(setup.apply(stage.answers.clone(), OnFailure::Keep).exit, Exit::Done);
}

#[test]
fn f9_without_a_journal_nothing_is_changed() {
    let stage = stage_of(Odd::new(|_| panic!("it must not act")));
    stage.dir.make().unwrap();
    // Where the runs should be stands a file.
    std::fs::remove_dir(stage.dir.runs_dir()).unwrap();
    std::fs::write(stage.dir.runs_dir(), b"").unwrap();
    let report = stage.apply(Faults::default()).unwrap();
    assert_eq!(report.exit, Exit::Refused);
    assert!(report.errors[0].code.starts_with("E-STATE"), "{:?}", report.errors);
}

#[test]
fn a_step_that_could_cut_us_off_does_not_run_without_its_switch() {
    let traits = StepTraits { cuts_access: true, ..StepTraits::default() };
    let stage = stage_of(Odd { traits, ..Odd::new(|_| panic!("it must not act")) });
    let report = stage.apply(Faults::default()).unwrap();
    assert_eq!((report.exit, report.errors[0].code.as_str()), (Exit::Refused, "E-CUTS-ACCESS"));
}

#[test]
fn a_disk_that_is_too_small_is_found_out_before() {
    let traits = StepTraits { disk: 1 << 60, ..StepTraits::default() };
    let stage = stage_of(Odd { traits, ..Odd::new(|_| panic!("it must not act")) });
    assert_eq!(stage.apply(Faults::default()).unwrap().errors[0].code, "E-DISK");
}

#[test]
fn what_another_version_did_is_not_undone_by_guessing() {
    let mut stage = SCENE.stage();
    stage.settle("set up");
    stage.steps.retain(|s| s.key().as_str() != "toy.daemon");
    let report = stage.uninstall(Faults::default()).unwrap();
    assert_eq!((report.exit, report.errors[0].code.as_str()), (Exit::Stuck, "E-UNDO-STRANGER"));
}

#[test]
fn every_frozen_key_is_there_once_and_in_order() {
    let keys: Vec<&str> = StepKey::ALL.iter().map(|k| k.as_str()).collect();
    assert_eq!(keys.len(), 27);
    assert_eq!((keys[0], keys[8], keys[26]), ("pre.local", "secrets.write", "receipt.seal"));
}

#[test]
fn an_unwinding_test_is_not_mistaken_for_a_crash() {
    assert!(std::panic::catch_unwind(|| uncrashed(|| panic!("real"))).is_err());
    let _: &dyn Host = &toy::machine();
}
