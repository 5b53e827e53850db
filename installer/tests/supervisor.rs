//! The supervisor as real processes: who is killed, what a client sees meanwhile, and what is left.
//!
//! The server is a few lines of Perl (part of Debian's base): it accepts on descriptor 3 and answers with its pid and
//! what it was given.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use td_deploy::supervisor::{Ask, Control, Spec, SupervisorStatus};

const LIMIT: Duration = Duration::from_secs(20);

/// Answers `pid LISTEN_PID LISTEN_FDS SYNC_X HOME`; `die` in the request makes it die, TERM makes it finish its client first.
const SERVER: &str = r#"
$SIG{TERM} = sub { $end = 1 };
open(S, "+<&=3") or die "no descriptor 3";
print STDERR "serving\n";
until ($end) {
  accept(C, S) or next;
  $request = <C>;
  kill 9, $$ if $request =~ /die/;
  select(undef, undef, undef, 0.5) if $request =~ /slow/;
  print C join(" ", $$, $ENV{LISTEN_PID}, $ENV{LISTEN_FDS}, $ENV{SYNC_X}, $ENV{HOME} // "no-home"), "\n";
  close C;
}
"#;

struct World {
    dir: tempfile::TempDir,
    address: SocketAddr,
    supervisor: Child,
}

impl World {
    fn new(nested: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join(nested);
        std::fs::create_dir_all(&home).unwrap();
        let program = home.join("server.pl");
        std::fs::write(&program, SERVER).unwrap();
        std::fs::write(home.join("env"), "SYNC_X=\"a b\"\n").unwrap();
        // A free port of this moment; only this test's supervisor is told about it.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut spec =
            Spec::new(env!("CARGO_BIN_EXE_td-sync-setup").into(), "/usr/bin/perl".into(), vec![address]);
        spec.args = vec![program.display().to_string()];
        spec.env_file = home.join("env");
        spec.directory = home.clone();
        spec.state = home.join("state");
        spec.log = home.join("server.log");
        spec.stop_limit = 5;
        std::fs::write(home.join("spec.json"), spec.to_text()).unwrap();
        let supervisor = start(&home.join("spec.json"));
        let world = Self { dir, address, supervisor };
        world.wait("a first server", |status| status.server.is_some());
        world
    }

    fn spec_path(&self) -> PathBuf {
        let mut found = Vec::new();
        find(self.dir.path(), "spec.json", &mut found);
        found.remove(0)
    }

    fn spec(&self) -> Spec {
        Spec::read(&self.spec_path()).unwrap()
    }

    fn control(&self) -> Control {
        Control::new(&self.spec().state)
    }

    fn wait(&self, what: &str, holds: impl Fn(&SupervisorStatus) -> bool) -> SupervisorStatus {
        let until = Instant::now() + LIMIT;
        loop {
            if let Ok(Some(status)) = self.control().status()
                && holds(&status)
            {
                return status;
            }
            assert!(Instant::now() < until, "no {what}; log:\n{}", self.log());
            pause();
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.spec().log).unwrap_or_default()
    }

    fn request(&self, text: &str) -> String {
        try_request(self.address, text).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.control().stop(LIMIT);
        let _ = self.supervisor.wait();
    }
}

fn find(dir: &Path, name: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.file_name() == name {
            found.push(entry.path());
        } else if entry.path().is_dir() {
            find(&entry.path(), name, found);
        }
    }
}

fn start(spec: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_td-sync-setup"));
    command.arg("supervise").arg("--spec").arg(spec).stdin(Stdio::null());
    command.spawn().unwrap()
}

fn pause() {
    #[allow(clippy::disallowed_methods, reason = "every caller polls a condition with a limit")]
    std::thread::sleep(Duration::from_millis(10));
}

fn try_request(address: SocketAddr, text: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    writeln!(stream, "{text}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.trim().to_owned())
}

fn pid_of(answer: &str) -> u32 {
    answer.split(' ').next().unwrap().parse().unwrap()
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn the_server_gets_the_socket_and_its_own_environment_and_nothing_else() {
    let world = World::new("");
    let answer = world.request("hello");
    let pid = pid_of(&answer);
    assert_eq!(answer, format!("{pid} {pid} 1 a b no-home"));
    assert_eq!(world.control().status().unwrap().unwrap().server.unwrap().pid, pid);
}

#[test]
fn a_killed_server_is_started_again_and_connections_wait_instead_of_failing() {
    let world = World::new("");
    let first = pid_of(&world.request("hello"));
    for _ in 0..3 {
        assert_eq!(world.request("die"), "", "this client loses its answer, as with any crash");
        let next = pid_of(&world.request("hello"));
        assert_ne!(next, first);
    }
    let status = world.wait("fourth server", |status| status.starts == 4);
    assert!(status.last_exit.unwrap().contains("signal: 9"));
}

#[test]
fn a_restart_refuses_nobody_and_finishes_the_running_request() {
    let world = World::new("");
    let address = world.address;
    let before = pid_of(&world.request("hello"));
    let slow = std::thread::spawn(move || try_request(address, "slow").unwrap());
    let clients = std::thread::spawn(move || {
        (0..40).map(|_| try_request(address, "hello")).filter(std::io::Result::is_err).count()
    });
    let spec = world.spec();
    std::fs::write(&spec.env_file, "SYNC_X=new\n").unwrap();
    world.control().ask(Ask::Restart, LIMIT).unwrap();
    let after = world.request("hello");
    assert_ne!(pid_of(&after), before);
    assert!(after.contains(" 1 new "), "the environment was read again: {after}");
    assert!(!slow.join().unwrap().is_empty());
    assert_eq!(clients.join().unwrap(), 0, "refused connections");
}

#[test]
fn a_restart_with_a_broken_environment_keeps_the_old_server() {
    let world = World::new("");
    let before = pid_of(&world.request("hello"));
    std::fs::write(world.spec().env_file, "SYNC_X=$(id)\n").unwrap();
    let error = world.control().ask(Ask::Restart, LIMIT).unwrap_err().to_string();
    assert!(error.contains("line 1"), "{error}");
    assert_eq!(pid_of(&world.request("hello")), before);
}

#[test]
fn the_server_of_a_killed_supervisor_ends_and_the_next_supervisor_takes_over() {
    let mut world = World::new("");
    let orphan = pid_of(&world.request("hello"));
    kill(world.supervisor.id());
    world.supervisor.wait().unwrap();
    world.supervisor = start(&world.spec_path());
    let status = world.wait("server after the take-over", |status| status.server.is_some());
    assert_ne!(status.server.unwrap().pid, orphan);
    assert_ne!(pid_of(&world.request("hello")), orphan);
    assert!(!Path::new(&format!("/proc/{orphan}/fd/3")).exists(), "two servers at once");
}

#[test]
fn a_second_supervisor_for_the_same_folder_leaves_the_first_alone() {
    let world = World::new("");
    let before = pid_of(&world.request("hello"));
    assert!(!start(&world.spec_path()).wait().unwrap().success());
    assert_eq!(pid_of(&world.request("hello")), before);
}

#[test]
fn stop_leaves_no_process_no_socket_and_a_free_port() {
    let mut world = World::new("");
    let server = pid_of(&world.request("hello"));
    world.control().stop(LIMIT).unwrap();
    assert!(world.supervisor.wait().unwrap().success());
    assert!(!Path::new(&format!("/proc/{server}/fd/3")).exists());
    assert!(!world.spec().state.join("supervisor.sock").exists());
    assert!(world.control().status().unwrap().is_none());
    TcpListener::bind(world.address).unwrap();
}

#[test]
fn a_state_folder_with_a_path_too_long_for_a_socket_works() {
    let world = World::new(&["a-folder-with-a-long-name"; 6].join("/"));
    assert!(world.spec().state.as_os_str().len() > 108);
    world.request("hello");
    world.control().ask(Ask::Restart, LIMIT).unwrap();
    world.request("hello");
}

#[test]
fn a_port_of_somebody_else_ends_the_supervisor_with_the_address() {
    let world = World::new("");
    let other = tempfile::tempdir().unwrap();
    let mut spec = world.spec();
    spec.state = other.path().join("state");
    let path = other.path().join("spec.json");
    std::fs::write(&path, spec.to_text()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_td-sync-setup"))
        .arg("supervise")
        .arg("--spec")
        .arg(&path)
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains(&world.address.to_string()), "{text}");
}
