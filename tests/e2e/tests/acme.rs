//! Certificates from a real ACME server: issued, renewed, refused, rate limited, and never asked for too often.

use serde_json::Value;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use td_e2e::front::{Fault, Front};
use td_e2e::pebble::{Looks, Names, Pebble, free_addresses, is_here};
use td_e2e::server::Server;
use td_e2e::tls::{Authority, shown};
use td_e2e::wait_until;

const NAME: &str = "sync.test";
const QUARTER: u32 = 90 * 86_400;
const SOON: Duration = Duration::from_secs(60);

/// An ACME server, its names, and where our server will listen.
struct Town {
    dir: tempfile::TempDir,
    authority: Authority,
    names: Names,
    looks: Looks,
    pebble: Pebble,
}

impl Town {
    fn new(lifetime: u32) -> Self {
        let (dir, authority) = (tempfile::tempdir().expect("dir"), Authority::new());
        let names = Names::start(dir.path());
        let [http, https] = free_addresses();
        let looks = Looks { http, https, lifetime };
        let pebble = Pebble::start(dir.path(), "real", &authority, &names, looks);
        Self { dir, authority, names, looks, pebble }
    }

    /// Our server, which is to get its certificate from `directory`.
    fn server(&self, directory: &str, more: &[(&str, &str)]) -> Server {
        let (https, http) = (self.looks.https.to_string(), self.looks.http.to_string());
        let base = format!("https://{NAME}:{}", self.looks.https.port());
        let settings = [
            ("SYNC_TLS", "acme"),
            ("SYNC_TLS_NAMES", NAME),
            ("SYNC_TLS_LISTEN_ADDR", &https),
            ("SYNC_TLS_REDIRECT_ADDR", &http),
            ("SYNC_BASE_URL", &base),
            ("SYNC_ACME_DIRECTORY", directory),
            ("SYNC_ACME_CONTACT", "ops@sync.test"),
            ("SYNC_ACME_CA_FILE", self.pebble.ca_file().to_str().expect("path")),
        ];
        Server::with(&self.dir.path().join("data"), &[&settings[..], more].concat())
    }

    fn directory(&self) -> String {
        self.pebble.directory("127.0.0.1")
    }

    fn shown(&self) -> Result<Vec<u8>, String> {
        shown(&self.pebble.root_pem(), self.looks.https, NAME)
    }

    fn wait_for_certificate(&self, server: &Server) -> Vec<u8> {
        let there = wait_until(SOON, || ready(server));
        assert!(there, "no certificate:\n{}", server.log_text());
        self.shown().expect("a good certificate for the name")
    }
}

fn ready(server: &Server) -> bool {
    ureq::get(format!("{}/readyz", server.url())).call().is_ok()
}

fn status(server: &Server) -> Value {
    server.admin(&["tls", "status"])
}

/// Waits until the server says that it waits for the next attempt; what it says.
fn wait_for_wait(server: &Server) -> Value {
    let waits = wait_until(SOON, || status(server)["waiting_for"].is_string());
    assert!(waits, "{}\n{}", status(server), server.log_text());
    status(server)
}

fn attempts(server: &Server) -> Vec<Value> {
    let text = std::fs::read(server.dir().join("tls/attempts.json")).expect("record");
    let record: Value = serde_json::from_slice(&text).expect("json");
    record["attempts"].as_array().expect("attempts").clone()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("file").permissions().mode() & 0o777
}

#[test]
fn acme_http_01_is_rehearsed_at_the_staging_directory_and_then_issued() {
    if !is_here("acme.pebble") {
        return;
    }
    let town = Town::new(QUARTER);
    let staging = Pebble::start(town.dir.path(), "staging", &town.authority, &town.names, town.looks);
    let server = town.server(
        &town.directory(),
        &[
            ("SYNC_ACME_STAGING_DIRECTORY", &staging.directory("127.0.0.1")),
            ("SYNC_ACME_CHALLENGE", "http-01"),
        ],
    );
    town.wait_for_certificate(&server);
    assert!(shown(&staging.root_pem(), town.looks.https, NAME).is_err(), "staging's is thrown away");
    let tried: Vec<_> = attempts(&server)
        .iter()
        .map(|a| (a["rehearsal"] == true, a["challenge"].clone(), a["outcome"]["result"].clone()))
        .collect();
    let each = |rehearsal| (rehearsal, "http-01".into(), "issued".into());
    assert_eq!(tried, [each(true), each(false)]);
    for entry in std::fs::read_dir(server.dir().join("tls")).expect("tls") {
        let path = entry.expect("entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    assert_eq!(mode(&server.dir().join("tls")), 0o700);
    assert_eq!(server.doctor("tls.certificate")["state"], "ok");
    let challenge = format!("http://{}/.well-known/acme-challenge/x", town.looks.http);
    assert!(ureq::get(challenge).call().is_err(), "answers are gone with their order");
}

#[test]
fn acme_tls_alpn_01_needs_no_plain_http_and_a_restart_asks_nobody() {
    if !is_here("acme.pebble") {
        return;
    }
    let town = Town::new(QUARTER);
    let front = Front::to(town.pebble.address(), &town.authority);
    let mut server = town.server(&front.directory(), &[("SYNC_TLS_REDIRECT_ADDR", "off")]);
    let first = town.wait_for_certificate(&server);
    assert_eq!(attempts(&server)[0]["challenge"], "tls-alpn-01");
    let asked = front.asked().len();
    assert_eq!(server.stop(), Some(0));
    server.restart();
    assert!(wait_until(SOON, || status(&server)["next"].is_string()));
    assert_eq!(town.shown().expect("shown"), first, "the stored one is served");
    assert_eq!(front.asked().len(), asked, "nobody was asked");
}

#[test]
fn acme_renews_before_the_end_without_a_moment_without_certificate() {
    if !is_here("acme.pebble") {
        return;
    }
    let town = Town::new(36);
    let server = town.server(&town.directory(), &[]);
    let first = town.wait_for_certificate(&server);
    let renewed = wait_until(SOON, || town.shown().expect("never without a good certificate") != first);
    assert!(renewed, "{}", server.log_text());
    assert_eq!(attempts(&server).len(), 2, "once, not in a loop");
}

#[test]
fn acme_refused_says_why_waits_and_is_mended_by_an_operator() {
    if !is_here("acme.pebble") {
        return;
    }
    let town = Town::new(QUARTER);
    town.names.fail(NAME);
    let front = Front::to(town.pebble.address(), &town.authority);
    let server = town.server(&front.directory(), &[("SYNC_ACME_BACKOFF", "1h")]);
    let said = wait_for_wait(&server);
    assert!(
        said["trouble"].as_str().is_some_and(|t| t.contains("could not see that the names are ours")),
        "{said}"
    );
    assert!(said["trouble"].as_str().is_some_and(|t| t.contains(NAME)), "in the authority's words: {said}");
    assert!(!ready(&server));
    let check = server.doctor("tls.certificate");
    assert_eq!((&check["state"], &check["remedy"]), (&"fail".into(), &"td-sync admin tls renew".into()));

    town.names.heal(NAME);
    server.admin(&["tls", "renew"]);
    let good = town.wait_for_certificate(&server);
    assert_eq!(attempts(&server)[1]["challenge"], "tls-alpn-01", "the other way after a failure");

    town.names.fail(NAME);
    server.admin(&["tls", "renew"]);
    assert!(wait_until(SOON, || status(&server)["trouble"].is_string()), "{}", server.log_text());
    assert_eq!(town.shown().expect("shown"), good, "a failed renewal takes nothing out of service");
    assert!(ready(&server));
    assert_eq!(server.doctor("tls.certificate")["state"], "warn");
}

#[test]
fn acme_rate_limited_waits_as_long_as_it_was_told_also_over_a_restart() {
    if !is_here("acme.pebble") {
        return;
    }
    let town = Town::new(QUARTER);
    let front = Front::to(town.pebble.address(), &town.authority);
    front.set(Some(Fault::Limited("/order-plz", 7200)));
    let mut server = town.server(&front.directory(), &[("SYNC_ACME_BACKOFF", "1s")]);
    let said = wait_for_wait(&server);
    assert_eq!(said["waiting_for"], "the certificate authority asked to wait");
    let outcome = attempts(&server)[0]["outcome"].clone();
    assert_eq!(outcome["kind"], "rate_limited");
    let wait = outcome["retry_at"].as_i64().expect("told") - attempts(&server)[0]["at"].as_i64().expect("at");
    assert!((7200..7260).contains(&wait), "{wait}");

    front.set(None);
    let asked = front.asked();
    server.kill();
    server.restart();
    assert_eq!(wait_for_wait(&server)["next"], said["next"]);
    server.admin(&["tls", "renew"]);
    assert_eq!(wait_for_wait(&server)["next"], said["next"], "an operator cannot lift the authority's limit");
    assert_eq!(front.asked(), asked, "nobody was asked");
    assert_eq!(attempts(&server).len(), 1);
}

#[test]
fn acme_backs_off_over_restarts_and_a_kill_in_the_middle_counts_as_a_failure() {
    if !is_here("acme.pebble") {
        return;
    }
    let town = Town::new(QUARTER);
    let front = Front::to(town.pebble.address(), &town.authority);
    front.set(Some(Fault::Stalled("/order-plz")));
    let mut server = town.server(&front.directory(), &[("SYNC_ACME_BACKOFF", "1h")]);
    let stalled = || front.asked().iter().any(|a| a.ends_with("/order-plz"));
    assert!(wait_until(SOON, stalled), "{:?}", front.asked());
    assert_eq!(attempts(&server)[0]["outcome"], Value::Null, "on disk before it is asked");
    server.kill();
    front.set(None);
    let asked = front.asked();
    for _ in 0..3 {
        server.restart();
        let said = wait_for_wait(&server);
        assert!(
            said["trouble"].as_str().is_some_and(|t| t.contains("the server ended in the middle")),
            "{said}"
        );
        server.kill();
    }
    assert_eq!(front.asked(), asked, "a crash loop asks nobody");
}

#[test]
fn acme_goes_on_where_the_authority_forgot_the_account() {
    if !is_here("acme.pebble") {
        return;
    }
    let mut town = Town::new(QUARTER);
    let server = town.server(&town.directory(), &[]);
    let first = town.wait_for_certificate(&server);
    town.pebble.restart();
    server.admin(&["tls", "renew"]);
    let renewed = wait_until(SOON, || town.shown().is_ok_and(|now| now != first));
    assert!(renewed, "{}", server.log_text());
}

#[test]
fn acme_believes_the_bundled_authorities_and_no_other_unless_told() {
    if !is_here("acme.pebble") {
        return;
    }
    let town = Town::new(QUARTER);
    // An empty value counts as unset.
    let server = town.server(&town.directory(), &[("SYNC_ACME_CA_FILE", ""), ("SYNC_ACME_BACKOFF", "1h")]);
    let said = wait_for_wait(&server);
    assert!(said["trouble"].as_str().is_some_and(|t| t.contains("UnknownIssuer")), "{said}");
}

#[test]
fn acme_asks_for_all_names_at_once() {
    if !is_here("acme.pebble") {
        return;
    }
    let town = Town::new(QUARTER);
    let server = town.server(&town.directory(), &[("SYNC_TLS_NAMES", "sync.test,www.sync.test")]);
    town.wait_for_certificate(&server);
    let https: SocketAddr = town.looks.https;
    assert!(shown(&town.pebble.root_pem(), https, "www.sync.test").is_ok());
    assert!(shown(&town.pebble.root_pem(), https, "other.test").is_err());
}
