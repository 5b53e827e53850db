//! Connecting and flying a canary over HTTP.

use crate::door::{Door, KEY, Owner};
use crate::{ambient, temp};
use td_client::canary::Canary;
use td_client::config::{Logins, Secret};
use td_client::connect::{ConnectError, Link, connect};
use td_client::http::Server;
use td_client::identity::IdentityError;
use td_client::server_url::ServerUrl;
use td_doctor::{Report, State};

fn try_connect(door: &Door, logins: &Logins) -> Result<td_client::connect::Connected, ConnectError> {
    connect(&Link::parse(&door.link())?, logins, &*ambient(1), "td@test", None)
}

#[test]
fn a_link_leads_to_a_login_with_a_pinned_server() {
    let (dir, door) = (temp(), Door::open(Owner::Rightful));
    let logins = Logins::in_dir(dir.path());
    let done = try_connect(&door, &logins).expect("connected");
    assert_eq!(done.email, "ana@example.org");
    let file = logins.read().expect("file");
    let login = &file.servers[&done.url];
    assert_eq!(file.default, Some(done.url));
    assert_eq!(login.api_key, Some(Secret::new(KEY)));
    assert_eq!(login.actor(), "user:u_1");
    assert_eq!(
        td_client::identity::fingerprint(login.public_key.as_deref().expect("pinned")),
        door.fingerprint
    );
    assert_eq!(login.epoch.as_ref().map(|e| e.as_str().len()), Some(32));

    assert!(matches!(try_connect(&door, &logins), Err(ConnectError::UsedUp)));
}

#[test]
fn the_secret_is_not_sent_to_a_server_that_the_link_does_not_name() {
    let (dir, door) = (temp(), Door::open(Owner::Impostor));
    let logins = Logins::in_dir(dir.path());
    let error = try_connect(&door, &logins).expect_err("another server");
    assert!(matches!(error, ConnectError::Identity(IdentityError::Other { .. })), "{error}");
    assert_eq!(door.asked(), ["GET /v1/identity"]);
    assert!(logins.read().expect("file").servers.is_empty());
}

fn fly(door: &Door, logins: &Logins, key: &str) -> Report {
    let url = ServerUrl::parse(&door.url).expect("url");
    let pinned = logins.read().expect("file").servers.get(&url).and_then(|l| l.public_key.clone());
    let server = Server::new(url, None, Some(Secret::new(key))).expect("server");
    // The real source: two flights must not choose the same devices.
    let ambient = std::sync::Arc::new(td_client::ambient::System);
    Canary { server, pinned, logins: logins.clone(), ambient, td: "td".into() }.fly()
}

#[test]
fn a_canary_comes_back_and_uses_the_same_project_again() {
    let (dir, door) = (temp(), Door::open(Owner::Rightful));
    let logins = Logins::in_dir(dir.path());
    try_connect(&door, &logins).expect("connected");
    for _ in 0..2 {
        let report = fly(&door, &logins, KEY);
        assert!(report.ok, "{}", report.plain());
        let states: Vec<State> = report.checks.iter().map(|c| c.state).collect();
        assert_eq!(states.iter().filter(|s| **s == State::Ok).count(), 8, "{}", report.plain());
        assert_eq!(report.checks[2].state, State::Skip, "no TLS here");
    }
    assert_eq!(door.asked().iter().filter(|r| *r == "POST /v1/projects +key").count(), 1);
}

fn failed(report: &Report) -> Vec<&str> {
    report.checks.iter().filter(|c| c.state == State::Fail).map(|c| c.id.as_str()).collect()
}

#[test]
fn a_canary_whose_event_does_not_come_back_is_not_green() {
    let (dir, door) = (temp(), Door::open(Owner::Forgetful));
    let logins = Logins::in_dir(dir.path());
    try_connect(&door, &logins).expect("connected");
    let report = fly(&door, &logins, KEY);
    assert_eq!(failed(&report), ["e2e.roundtrip.read"], "{}", report.plain());
    assert!(!report.ok);
}

#[test]
fn a_canary_names_the_phase_that_fails() {
    let dir = temp();
    let door = Door::open(Owner::Rightful);
    let logins = Logins::in_dir(dir.path());
    try_connect(&door, &logins).expect("connected");
    let report = fly(&door, &logins, "td_live_revoked");
    assert_eq!(failed(&report), ["e2e.roundtrip.authenticate"], "{}", report.plain());

    // The same login, another server at its address.
    let impostor = Door::open(Owner::Impostor);
    let pinned = logins.read().expect("file").servers.values().next().cloned().expect("login");
    let url = ServerUrl::parse(&impostor.url).expect("url");
    logins.update(|f| f.servers.insert(url, pinned)).expect("write");
    let report = fly(&impostor, &logins, KEY);
    assert_eq!(failed(&report), ["e2e.roundtrip.identity"], "{}", report.plain());
    assert!(impostor.asked().iter().all(|r| !r.contains("+key")), "the key stayed here");
}
