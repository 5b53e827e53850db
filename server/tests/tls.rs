//! HTTPS with certificate files: what is shown, reload without a restart, the redirect, sockets with names.

mod support;

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::IntoRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::tls::Authority;
use support::wire::{self, Ask, Connection};
use support::{Server, push, wait_until};
use tokio_rustls::rustls::version;

/// A server with HTTPS and redirects on ports of its own, and the authority whose certificate it shows.
struct Secured {
    authority: Authority,
    files: tempfile::TempDir,
    server: Server,
    https: SocketAddr,
    http: SocketAddr,
}

/// Free at this moment only; a server that cannot bind says so and the test fails with its words. Asked for one after the
/// other they were once the same.
fn free<const N: usize>() -> [SocketAddr; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    held.each_ref().map(|listener| listener.local_addr().expect("an address"))
}

impl Secured {
    fn start(names: &[&str], days: i64) -> Self {
        let (authority, files) = (Authority::new(), tempfile::tempdir().expect("dir"));
        let (chain, key) = authority.write(files.path(), "served", names, days);
        let [https, http] = free();
        let server = Server::with(&[
            ("SYNC_TLS", "files"),
            ("SYNC_TLS_CERT_FILE", chain.to_str().expect("path")),
            ("SYNC_TLS_KEY_FILE", key.to_str().expect("path")),
            ("SYNC_TLS_LISTEN_ADDR", &https.to_string()),
            ("SYNC_TLS_REDIRECT_ADDR", &http.to_string()),
            ("SYNC_BASE_URL", &format!("https://a.example:{}", https.port())),
        ]);
        Self { authority, files, server, https, http }
    }

    /// Replaces the pair of files, the key first: in between they do not fit each other.
    fn replace(&self, names: &[&str], days: i64) {
        let (chain, key) = self.authority.write(self.files.path(), "next", names, days);
        let served = |end: &str| self.files.path().join(format!("served.{end}"));
        std::fs::rename(key, served("key")).expect("key");
        std::fs::rename(chain, served("pem")).expect("chain");
    }

    fn shows(&self, name: &str) -> bool {
        self.authority.connect(self.https, name).is_ok()
    }

    /// What one check of the doctor says.
    fn doctor(&self, id: &str) -> Value {
        let out = self.server.command(&["doctor", "--json", "--only", id]).output().expect("doctor");
        let report: Value = serde_json::from_slice(&out.stdout).expect("json");
        report["checks"].as_array().expect("checks").iter().find(|c| c["id"] == id).expect(id).clone()
    }
}

#[test]
fn a_push_over_https_is_served_and_answers_pin_browsers_to_it() {
    let secured = Secured::start(&["a.example", "b.example"], 60);
    let (key, _) = secured.server.key("ana");
    let project = secured.server.project(&key, "P");
    for versions in [&[&version::TLS13], &[&version::TLS12]] {
        let mut connection = secured.authority.connect_as(secured.https, "b.example", versions).expect("TLS");
        let answer = connection.ask(&push(&project, &[1, 2]).key(&key));
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("strict-transport-security"), Some("max-age=2592000"));
        assert_eq!(connection.ask(&Ask::get("/readyz")).status, 200, "the connection is kept");
    }
    let plain = secured.server.ask(&Ask::get("/readyz"));
    assert_eq!((plain.status, plain.header("strict-transport-security")), (200, None));
    assert_eq!(secured.doctor("tls.certificate")["state"], "ok");
    let metrics = secured.server.ask(&Ask::get("/metrics")).text();
    let days = metrics.lines().find_map(|l| l.strip_prefix("td_sync_certificate_days ")).expect("its days");
    assert!((58.0..=60.0).contains(&days.parse().expect("a number")), "{days}");
}

#[test]
fn versions_before_1_2_are_refused_with_the_alert_that_says_so() {
    let secured = Secured::start(&["a.example"], 60);
    // A TLS 1.1 hello with what a server of 1.2 wants to know: point format, group P-256, ECDSA with SHA-256.
    let mut hello = vec![0x16, 3, 1, 0, 0, 1, 0, 0, 0, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x09, 1, 0, 0, 22]);
    hello.extend([0, 11, 0, 2, 1, 0, 0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3]);
    hello[4] = u8::try_from(hello.len() - 5).expect("short");
    hello[8] = u8::try_from(hello.len() - 9).expect("short");
    let mut socket = TcpStream::connect(secured.https).expect("connect");
    socket.write_all(&hello).expect("write");
    let mut said = Vec::new();
    socket.read_to_end(&mut said).expect("read");
    assert_eq!((said.first(), said.last()), (Some(&0x15), Some(&70)), "alert protocol_version: {said:?}");
}

#[test]
fn a_client_that_wants_another_name_is_told_which_ones_there_are() {
    let secured = Secured::start(&["a.example"], 60);
    let why = secured.authority.connect(secured.https, "other.example").err().expect("refused by the client");
    assert!(why.contains("other.example") && why.contains("a.example"), "{why}");
    assert!(secured.authority.connect(secured.https, "127.0.0.1").is_err(), "no name, no match");
}

#[test]
fn new_files_are_served_without_a_restart_and_broken_ones_are_not() {
    let secured = Secured::start(&["a.example"], 60);
    let mut kept = secured.authority.connect(secured.https, "a.example").expect("TLS");
    let before = kept.shown();
    secured.replace(&["a.example", "new.example"], 80);
    wait_until("the new certificate is shown", || secured.shows("new.example"));
    assert_ne!(secured.authority.connect(secured.https, "a.example").expect("TLS").shown(), before);
    assert_eq!(kept.ask(&Ask::get("/healthz")).status, 200, "an open connection goes on");

    std::fs::write(secured.files.path().join("served.pem"), "half a file\n").expect("write");
    let trouble = || secured.server.admin(&["tls", "status"])["trouble"].clone();
    wait_until("the broken file is noticed", || !trouble().is_null());
    assert!(secured.shows("new.example"), "the old one stays in service");
    assert!(trouble().as_str().is_some_and(|t| t.contains("served.pem") && t.contains("no certificate")));
    assert_eq!(secured.doctor("tls.certificate")["state"], "fail");
    assert_eq!(secured.server.ask(&Ask::get("/readyz")).status, 200, "clients are still served");

    secured.replace(&["third.example"], 80);
    wait_until("it is mended", || secured.shows("third.example"));
    assert!(trouble().is_null());
}

#[test]
fn a_renewal_that_is_asked_for_looks_at_once() {
    let secured = Secured::start(&["a.example"], 60);
    secured.replace(&["b.example"], 60);
    secured.server.admin(&["tls", "renew"]);
    let begun = Instant::now();
    wait_until("the new certificate is shown", || secured.shows("b.example"));
    assert!(begun.elapsed() < Duration::from_secs(4), "sooner than the next look");
}

#[test]
fn an_ended_certificate_is_a_reason_not_to_come_and_a_failure_for_the_doctor() {
    let secured = Secured::start(&["a.example"], -1);
    let readyz = secured.server.ask(&Ask::get("/readyz"));
    assert_eq!(readyz.status, 503);
    assert_eq!(readyz.json()["reasons"][0]["id"], "certificate");
    let check = secured.doctor("tls.certificate");
    assert_eq!(check["state"], "fail", "{check}");
    secured.replace(&["a.example"], 20);
    wait_until("it is ready again", || secured.server.ask(&Ask::get("/readyz")).status == 200);
    assert_eq!(secured.doctor("tls.certificate")["state"], "warn", "20 of 90 days: late");
}

#[test]
fn plain_http_leads_to_https_and_serves_nothing_else() {
    let secured = Secured::start(&["a.example", "b.example"], 60);
    let port = secured.https.port();
    let ask = |ask: Ask, host: &str| {
        let mut connection = Connection::open(secured.http);
        let text = String::from_utf8(ask.bytes()).expect("text");
        connection.write(text.replace("Host: test", &format!("Host: {host}")).as_bytes());
        connection.answer(false).expect("an answer")
    };
    for (host, path, location) in [
        ("a.example", "/connect?x=1", format!("https://a.example:{port}/connect?x=1")),
        ("B.example:80", "/", format!("https://B.example:{port}/")),
        ("evil.example", "/v1/projects", format!("https://a.example:{port}/v1/projects")),
        ("", "/", format!("https://a.example:{port}/")),
    ] {
        let answer = ask(Ask::get(path), host);
        assert_eq!(
            (answer.status, answer.header("location")),
            (308, Some(location.as_str())),
            "{host}{path}"
        );
        assert!(answer.header("x-request-id").is_some());
    }
    let (key, _) = secured.server.key("ana");
    let project = secured.server.project(&key, "P");
    assert_eq!(ask(push(&project, &[1]).key(&key), "a.example").status, 308, "a push is not taken in clear");
    assert_eq!(ask(Ask::get("/.well-known/acme-challenge/none"), "a.example").status, 404);
    for path in ["/healthz", "/readyz", "/version"] {
        assert_eq!(ask(Ask::get(path), "a.example").status, 200, "{path} from this machine");
    }
}

#[test]
fn a_stop_ends_idle_connections_and_half_a_handshake() {
    let mut secured = Secured::start(&["a.example"], 60);
    let mut idle = secured.authority.connect(secured.https, "a.example").expect("TLS");
    assert_eq!(idle.ask(&Ask::get("/healthz")).status, 200);
    let half = TcpStream::connect(secured.https).expect("connect");
    let begun = Instant::now();
    secured.server.signal(rustix::process::Signal::TERM);
    assert_eq!(secured.server.wait().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(8), "nobody waits for a handshake");
    drop(half);
}

/// Starts a server that is given sockets under these names, as systemd would.
fn activated(dir: &Path, sockets: &[&TcpListener], names: &str, files: &(PathBuf, PathBuf)) -> Command {
    let mut script = String::from("exec");
    for (n, socket) in sockets.iter().enumerate() {
        // Above every number that is given to the server, or one redirection takes away what the next one needs.
        let copy = rustix::io::fcntl_dupfd_cloexec(socket, 20).expect("a copy");
        rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::empty()).expect("inheritable");
        script.push_str(&format!(" {}<&{}", n + 3, copy.into_raw_fd()));
    }
    let count = sockets.len();
    script.push_str(&format!(
        "; export LISTEN_PID=$$ LISTEN_FDS={count} LISTEN_FDNAMES={names}; exec \"$0\" serve"
    ));
    // Not sh: dash knows no number of two digits here, and tests beside this one take the others.
    let mut command = Command::new("bash");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_td-sync")]).stdin(Stdio::null());
    command.env("SYNC_SERVER_DB_PATH", dir.join("server.db")).env("SYNC_TLS", "files");
    command.env("SYNC_LOG_LEVEL", "error");
    command.env("SYNC_TLS_CERT_FILE", &files.0).env("SYNC_TLS_KEY_FILE", &files.1);
    command
}

#[test]
fn handed_over_sockets_speak_what_their_names_say() {
    let (authority, dir) = (Authority::new(), tempfile::tempdir().expect("dir"));
    let files = authority.write(dir.path(), "served", &["a.example"], 60);
    let sockets: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").expect("bind")).collect();
    let [first, second] = [0, 1].map(|n: usize| sockets[n].local_addr().expect("address"));
    let both: Vec<&TcpListener> = sockets.iter().collect();
    let mut child = activated(dir.path(), &both, "http:https", &files).spawn().expect("sh");
    let mut https = authority.connect(second, "a.example").expect("TLS on the second");
    assert_eq!(https.ask(&Ask::get("/healthz")).status, 200);
    assert_eq!(wire::send(first, &Ask::get("/")).status, 308);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signal");
    assert_eq!(child.wait().expect("ended").code(), Some(0));

    let refused = |names: &str| -> Output {
        activated(dir.path(), &both, names, &files).stderr(Stdio::piped()).output().expect("sh")
    };
    let unnamed = refused("https:td-sync.socket");
    let said = String::from_utf8_lossy(&unnamed.stderr).into_owned();
    assert_eq!(unnamed.status.code(), Some(1));
    assert!(said.contains("socket 2 was handed over as \"td-sync.socket\""), "{said}");
    assert!(said.contains("FileDescriptorName=https"), "{said}");
}

#[test]
fn a_start_without_a_usable_certificate_fails_and_says_which_file() {
    let (authority, dir) = (Authority::new(), tempfile::tempdir().expect("dir"));
    let (chain, _) = authority.write(dir.path(), "one", &["a.example"], 60);
    let (_, other) = authority.write(dir.path(), "two", &["a.example"], 60);
    let mut command = Command::new(env!("CARGO_BIN_EXE_td-sync"));
    command.arg("serve").env_clear().env("SYNC_SERVER_DB_PATH", dir.path().join("data/server.db"));
    command.env("SYNC_LISTEN_ADDR", "127.0.0.1:0").env("SYNC_TLS_LISTEN_ADDR", "127.0.0.1:0");
    command.env("SYNC_TLS_REDIRECT_ADDR", "off").env("SYNC_TLS", "files");
    command.env("SYNC_TLS_CERT_FILE", chain).env("SYNC_TLS_KEY_FILE", other);
    let out = command.output().expect("td-sync");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1));
    assert!(said.contains("one.pem: key and certificate do not belong together"), "{said}");
}

#[test]
fn plain_http_beyond_this_machine_is_a_warning() {
    let server = Server::with(&[("SYNC_LISTEN_ADDR", "0.0.0.0:0")]);
    let out = server.command(&["doctor", "--json", "--only", "tls.plain_http"]).output().expect("doctor");
    let report: Value = serde_json::from_slice(&out.stdout).expect("json");
    let check = &report["checks"][0];
    assert_eq!((&check["id"], &check["state"]), (&json!("tls.plain_http"), &json!("warn")));
    assert_eq!(server.admin(&["tls", "status"])["source"], "off");
    let renew = server.admin_raw(&["tls", "renew"]);
    assert!(String::from_utf8_lossy(&renew.stderr).contains("TLS is off"));
}
