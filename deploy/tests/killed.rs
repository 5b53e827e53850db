//! SIGKILL from outside, on the real local host: the process parks at a fault point, is killed, and the next one goes on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod machinery;

use machinery::toy::{self, Odd, PORT, TEXT};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use td_deploy::engine::{OnFailure, Setup, Uninstall};
use td_deploy::exit::Exit;
use td_deploy::fault::{Faults, POINTS};
use td_deploy::host::LocalHost;
use td_deploy::step::{AnyStep, Outcome, erase};
use td_deploy::stream::Sender;
use td_deploy::{Cancel, Wait};
use td_state::answers::{Answer, Answers};
use td_state::dir::TargetDir;
use td_state::secret::Redactor;

/// A step that waits for ever, or that works for ever without a safe point.
fn endless(deaf: bool) -> Vec<Box<dyn AnyStep>> {
    vec![erase(Odd::new(move |cx| {
        std::fs::write(std::env::var_os("TD_TEST_READY").unwrap(), b"").unwrap();
        if deaf {
            loop {
                std::thread::park();
            }
        }
        cx.wait_for(&Wait::new("the end of days", Duration::from_secs(3600)), || Ok(None::<()>))?;
        Ok(Outcome::Changed)
    }))]
}

/// Those toys that need no modelled program.
fn steps() -> Vec<Box<dyn AnyStep>> {
    vec![
        erase(toy::Elsewhere),
        erase(toy::Folder),
        erase(toy::PickPort),
        erase(toy::Text { key_is_profile: false }),
        erase(toy::Profile(toy::Text { key_is_profile: true })),
    ]
}

fn run(home: &Path, verb: &str, faults: Faults) -> Exit {
    let env = BTreeMap::from([("HOME".to_owned(), home.display().to_string())]);
    let host = LocalHost::new(env, "/bin/sh".into());
    let dir = TargetDir::at(&home.join(".local/state"), "local").unwrap();
    let steps = match verb {
        "wait" | "work" => endless(verb == "work"),
        _ => steps(),
    };
    let cancel = Cancel::default();
    if std::env::var_os("TD_TEST_READY").is_some() {
        td_deploy::signals::watch(&cancel).unwrap();
    }
    let setup = Setup {
        steps: &steps,
        host: &host,
        dir: &dir,
        cancel,
        events: Sender::default(),
        redactor: Redactor::default(),
        tool: "0.0.0-test",
        faults,
    };
    let mut answers = Answers::default();
    answers.set(&TEXT, Answer::Text("hello".into()));
    answers.set(&PORT, Answer::Int(1));
    match verb {
        "uninstall" => setup.uninstall(&Uninstall { keep: Vec::new(), forget: true }).exit,
        _ => setup.apply(answers, OnFailure::Keep).exit,
    }
}

/// The process that is killed. Run by the test below with its environment; does nothing otherwise.
#[test]
fn victim() {
    if let (Some(home), Ok(verb)) = (std::env::var_os("TD_TEST_HOME"), std::env::var("TD_TEST_VERB")) {
        std::process::exit(run(Path::new(&home), &verb, Faults::from_env()).code().into());
    }
}

/// Starts a victim that parks at the n-th passing of the point, kills it there. False if it never came there.
fn killed_at(home: &Path, verb: &str, point: &str, n: u32) -> bool {
    let parked = home.with_extension("parked");
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim"])
        .env("TD_TEST_HOME", home)
        .env("TD_TEST_VERB", verb)
        .env("TD_FAULT", format!("{point}:{n}"))
        .env("TD_FAULT_FILE", &parked)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let there = parks(&mut victim, &parked);
    let _ = victim.kill();
    victim.wait().unwrap();
    let _ = std::fs::remove_file(parked);
    there
}

#[allow(clippy::disallowed_methods, reason = "polls a condition with a limit")]
fn parks(victim: &mut Child, parked: &Path) -> bool {
    let begin = Instant::now();
    while !parked.exists() {
        if victim.try_wait().unwrap().is_some() {
            return parked.exists();
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "neither parked nor ended");
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

#[test]
fn f7_one_signal_ends_a_wait_and_two_end_anything_both_with_exit_8() {
    for (verb, signals) in [("wait", 1), ("work", 2)] {
        let folder = folder();
        let home = home(&folder);
        let ready = folder.path().join("ready");
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "victim"])
            .env("TD_TEST_HOME", &home)
            .env("TD_TEST_VERB", verb)
            .env("TD_TEST_READY", &ready)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        assert!(parks(&mut victim, &ready), "{verb} ended early");
        let pid = rustix::process::Pid::from_child(&victim);
        let begin = Instant::now();
        let mut sent = 0;
        let status = loop {
            if sent < signals || begin.elapsed() > Duration::from_secs(1) {
                // Again and again after a second: two at the same moment may arrive as one.
                rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
                sent += 1;
            }
            if let Some(status) = victim.try_wait().unwrap() {
                break status;
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "{verb} does not end");
            std::thread::park_timeout(Duration::from_millis(100));
        };
        assert_eq!(status.code(), Some(8), "{verb}");
    }
}

/// Every file with mode and content, but for what setup remembers.
fn picture(home: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    fn walk(at: &Path, out: &mut Vec<(PathBuf, u32, Vec<u8>)>) {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let mode = std::fs::symlink_metadata(&path).unwrap().permissions().mode();
            if path.is_dir() {
                out.push((path.clone(), mode, Vec::new()));
                walk(&path, out);
            } else {
                out.push((path.clone(), mode, std::fs::read(&path).unwrap()));
            }
        }
    }
    let mut all = Vec::new();
    walk(home, &mut all);
    let mut all: Vec<_> =
        all.into_iter().map(|(p, m, c)| (p.strip_prefix(home).unwrap().to_path_buf(), m, c)).collect();
    all.retain(|(p, ..)| !p.starts_with(".local"));
    all.sort();
    all
}

/// In memory where there is such a folder: SIGKILL takes nothing from the disk's cache anyway.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn home(folder: &tempfile::TempDir) -> PathBuf {
    let home = folder.path().join("home");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("profile"), "of ada").unwrap();
    home
}

#[test]
fn f1_to_f4_killed_from_outside_at_every_point_it_is_gone_on_from() {
    let calm = folder();
    let calm_home = home(&calm);
    assert_eq!(run(&calm_home, "setup", Faults::default()), Exit::Done);
    let wanted = picture(&calm_home);
    let mut kills = 0;
    for verb in ["setup", "uninstall"] {
        for point in POINTS {
            for n in 1.. {
                let folder = folder();
                let home = home(&folder);
                let begin = picture(&home);
                let what = format!("{verb} killed at {point}:{n}");
                if verb == "uninstall" {
                    assert_eq!(run(&home, "setup", Faults::default()), Exit::Done, "{what}");
                }
                if !killed_at(&home, verb, point, n) {
                    break;
                }
                kills += 1;
                assert_eq!(run(&home, verb, Faults::default()), Exit::Done, "{what}");
                if verb == "setup" {
                    assert_eq!(picture(&home), wanted, "{what}");
                    assert_eq!(run(&home, "uninstall", Faults::default()), Exit::Done, "{what}");
                }
                assert_eq!(picture(&home), begin, "{what}");
                assert!(!home.join(".local").exists(), "{what}: what setup remembered is gone too");
            }
        }
    }
    // Three steps act and are undone, each passes five points.
    assert_eq!(kills, 30);
}
