//! Fewer descriptors than everybody wants.

mod support;

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use support::wire::{Ask, Connection};
use support::{Server, push, wait_until};

/// The soft limit of open files of a process.
fn open_files(pid: u32) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits");
    let line = limits.lines().find_map(|l| l.strip_prefix("Max open files")).expect("its line");
    line.split_whitespace().next().expect("soft").parse().expect("a number")
}

#[test]
fn a_server_raises_its_limit_of_open_files() {
    let server = Server::limited("-Sn 300 && ulimit -Hn 2000", &[]);
    assert_eq!(open_files(server.pid()), 2000);
}

#[test]
fn a_server_that_gets_few_descriptors_says_how_many_and_starts() {
    let dir = tempfile::tempdir().expect("dir");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 300 && exec \"$0\" serve", env!("CARGO_BIN_EXE_td-sync")]).env_clear();
    command.env("SYNC_LISTEN_ADDR", "127.0.0.1:0").env("SYNC_SERVER_DB_PATH", dir.path().join("server.db"));
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("sh");
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let before: Vec<String> = lines.take_while(|line| !line.contains("server started")).collect();
    child.kill().expect("kill");
    child.wait().expect("ended");
    let told = before.iter().find(|line| line.contains("few files may be open")).expect("a warning");
    let told: serde_json::Value = serde_json::from_str(told).expect("json");
    assert_eq!((told["level"].as_str(), told["files"].as_u64()), (Some("WARN"), Some(300)), "{told}");
    assert_eq!(told["needed"], td_server::descriptors::NEEDED);
}

#[test]
fn silent_connections_leave_descriptors_for_every_project() {
    let mut server = Server::limited("-n 300", &[]);
    let (key, _) = server.key("ana");
    let projects: Vec<String> = (0..20).map(|n| server.project(&key, &format!("project {n}"))).collect();
    server.restart_with(&[]);
    let mut kept = Connection::open(server.address);
    assert_eq!(kept.ask(&Ask::get("/healthz")).status, 200);
    let silent: Vec<TcpStream> =
        (0..400).map(|_| TcpStream::connect(server.address).expect("connect")).collect();
    let metric = |kept: &mut Connection, name: &str| {
        let text = kept.ask(&Ask::get("/metrics")).text();
        let line = text.lines().find_map(|l| l.strip_prefix(name)).expect("its line").trim().to_string();
        line.parse::<u64>().expect("a number")
    };
    wait_until("every connection was looked at", || {
        metric(&mut kept, "td_sync_refused_connections_total ") == 251
    });
    assert_eq!(metric(&mut kept, "td_sync_connections "), 150, "half of the descriptors");
    // More projects than may be open at once: each makes room for the next.
    for project in &projects {
        let pushed = kept.ask(&push(project, &[1]).key(&key));
        assert_eq!(pushed.status, 200, "{}\n{}", pushed.text(), server.log());
    }
    let told = server.log().lines().filter(|line| line.contains("\"WARN\"")).count();
    assert_eq!(told, 1, "not one for each connection:\n{}", server.log());
    drop(silent);
    wait_until("there is room again", || metric(&mut kept, "td_sync_connections ") == 1);
    assert_eq!(server.ask(&Ask::get("/healthz")).status, 200);
}
