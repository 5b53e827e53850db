//! The installer as a person runs it: the whole programs, a home folder of their own, and SIGKILL from outside.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use td_e2e::home::Home;
use td_e2e::random::Random;
use td_e2e::{full, seed};

/// Every point at which the installer can be parked (docs/ARCHITECTURE.md).
const POINTS: [&str; 5] = [
    "deploy.before_intent",
    "deploy.after_intent",
    "deploy.after_effect",
    "deploy.before_outcome",
    "deploy.after_outcome",
];
/// Kills per verb when there is no time for all.
const SAMPLE: usize = 6;
/// More steps than there are: the enumeration ends where a point is not reached any more.
const MOST: u64 = 40;

#[test]
fn setup_leads_to_a_working_server_and_a_second_run_changes_nothing() {
    let mut home = Home::new();
    home.whole_receipt = true;
    let text = home.setup();
    home.assert_complete("after setup");
    for word in ["td-sync is set up.", "http://127.0.0.1:", "admin enroll create", "stop", "uninstall"] {
        assert!(text.contains(word), "the summary names {word:?}:\n{text}");
    }
    let stamps = |home: &Home| -> Vec<(String, i64, i64)> {
        let own =
            |name: &String| name.starts_with(".config") || name.contains("releases") || name.contains("bin/");
        let time = |name: String| {
            let meta = fs::symlink_metadata(home.path().join(&name)).expect("meta");
            (name, meta.mtime(), meta.mtime_nsec())
        };
        home.state().into_keys().filter(own).map(time).collect()
    };
    let before = (home.state(), home.processes(), stamps(&home));
    let text = home.setup();
    assert!(text.contains("nothing had to be changed"), "{text}");
    assert_eq!(before, (home.state(), home.processes(), stamps(&home)));
    let doctor = home.json(&["doctor", "--json"]);
    assert_eq!(doctor["ok"], true, "{doctor:#}");
    home.ok(&["uninstall", "--yes"]);
    home.assert_gone("after uninstall");
}

#[test]
fn stop_ends_everything_start_brings_it_back_and_a_killed_supervisor_is_replaced() {
    let home = Home::new();
    home.setup();
    home.ok(&["stop"]);
    assert!(home.processes().is_empty(), "{:?}", home.processes());
    assert_eq!(home.json(&["status", "--json"])["server"]["healthy"], false);
    assert_eq!(home.run(&["doctor"]).status.code(), Some(9), "a stopped server is a failure");
    home.ok(&["start"]);
    home.assert_complete("after start");
    for (pid, line) in home.processes() {
        if line.contains("supervise") {
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("SIGKILL");
        }
    }
    home.setup();
    home.assert_complete("after a kill of the supervisor");
}

#[test]
fn without_a_terminal_all_missing_answers_are_listed_and_nothing_is_touched() {
    let home = Home::new();
    let out = home.run(&["setup", "--email", "ana@example.org"]);
    assert_eq!(out.status.code(), Some(2));
    let text = String::from_utf8_lossy(&out.stderr);
    for flag in ["--port", "--data", "--backups", "--prefix", "--device", "--demo"] {
        assert!(text.contains(flag), "{flag} in:\n{text}");
    }
    assert!(!text.contains("--email "), "what was given is not missing:\n{text}");
    home.assert_gone("after a refusal");
}

#[test]
fn a_port_of_somebody_else_and_every_other_obstacle_are_named_before_anything_changes() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("address").port().to_string();
    let data = home.path().join("data").display().to_string();
    let inside = home.path().join("data/copies").display().to_string();
    let out = home.run(&["setup", "--yes", "--port", &port, "--data", &data, "--backups", &inside]);
    let text = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(7), "{text}");
    assert!(text.contains(&port) && text.contains("contain one another"), "{text}");
    home.assert_gone("after a refusal");
}

#[test]
fn an_uninstall_that_keeps_the_data_is_gone_on_with_by_a_later_setup() {
    let home = Home::new();
    home.setup();
    let epoch = home.json(&["status", "--json"])["server"]["epoch"].clone();
    let out = home.run(&["uninstall"]);
    assert_eq!(out.status.code(), Some(2), "data are not deleted without a word");
    home.ok(&["uninstall", "--keep-data"]);
    assert!(home.processes().is_empty());
    assert!(!home.path().join(".local/bin").exists());
    home.setup();
    assert_eq!(home.json(&["status", "--json"])["server"]["epoch"], epoch, "the same history");
    home.ok(&["uninstall", "--yes"]);
    home.assert_gone("after the second uninstall");
}

#[test]
fn setup_killed_at_any_point_is_gone_on_with_to_the_same_state() {
    let whole = Home::new();
    whole.setup();
    let expected = whole.state();
    drop(whole);
    let case = |point: &str, n: u64| -> bool {
        let what = format!("setup killed at {point}:{n}");
        let home = Home::new();
        if !home.killed(&["setup", "--yes", "--port", &home.port], point, n) {
            return false;
        }
        home.setup();
        home.assert_complete(&what);
        assert_eq!(home.state(), expected, "{what}");
        home.ok(&["uninstall", "--yes"]);
        home.assert_gone(&what);
        true
    };
    kill_everywhere(&case);
}

#[test]
fn uninstall_killed_at_any_point_is_gone_on_with_to_nothing() {
    let case = |point: &str, n: u64| -> bool {
        let what = format!("uninstall killed at {point}:{n}");
        let home = Home::new();
        home.setup();
        let killed = home.killed(&["uninstall", "--yes"], point, n);
        home.ok(&["uninstall", "--yes"]);
        home.assert_gone(&what);
        killed
    };
    kill_everywhere(&case);
}

/// All points and passings under `--full`, else a seeded sample. A case says whether its point was reached.
fn kill_everywhere(case: &dyn Fn(&str, u64) -> bool) {
    let mut random = Random(seed());
    if full() {
        for point in POINTS {
            let reached = (1..MOST).take_while(|n| case(point, *n)).count();
            assert!(reached > 8, "{point} was reached {reached} times only");
        }
        return;
    }
    for _ in 0..SAMPLE {
        let point = random.pick(&POINTS);
        assert!(case(point, 1 + random.below(10)), "every run passes each point ten times");
    }
}
