//! Mail by a mail server: a login from the first call to its key, nothing readable on the wire, and a mail server that
//! fails harms nobody but the mail.

mod support;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use support::mailserver::{MailServer, Manner};
use support::tls::Authority;
use support::wire::Ask;
use support::{Server, wait_until};

const VERIFIER: &str = "a-verifier-of-the-device";

/// A folder with the authority's file and a certificate for `localhost`.
struct Papers {
    dir: tempfile::TempDir,
    certificate: (PathBuf, PathBuf),
}

impl Papers {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let authority = Authority::new();
        let certificate = authority.write(dir.path(), "mail", &["localhost"], 30);
        std::fs::write(dir.path().join("ca.pem"), authority.pem()).expect("ca");
        std::fs::write(dir.path().join("password"), "hush\n").expect("password");
        Self { dir, certificate }
    }

    fn mail_server(&self, manner: Manner) -> MailServer {
        MailServer::start(manner, Some((&self.certificate.0, &self.certificate.1)))
    }

    fn server(&self, mails: &MailServer, tls: &str) -> Server {
        let (ca, password) = (self.dir.path().join("ca.pem"), self.dir.path().join("password"));
        Server::with(&[
            ("SYNC_EMAIL_PROVIDER", "smtp"),
            ("SYNC_SMTP_HOST", "localhost"),
            ("SYNC_SMTP_PORT", &mails.port.to_string()),
            ("SYNC_SMTP_TLS", tls),
            ("SYNC_SMTP_CA_FILE", ca.to_str().expect("path")),
            ("SYNC_SMTP_USER", "sync"),
            ("SYNC_SMTP_PASSWORD_FILE", password.to_str().expect("path")),
            ("SYNC_EMAIL_FROM", "Sync <sync@example.org>"),
            ("SYNC_RATE_LIMIT_AUTH", "1000"),
        ])
    }
}

/// For a mail server on this machine that needs neither.
fn bare(mails: &MailServer) -> Server {
    Server::with(&[
        ("SYNC_EMAIL_PROVIDER", "smtp"),
        ("SYNC_SMTP_HOST", "127.0.0.1"),
        ("SYNC_SMTP_PORT", &mails.port.to_string()),
        ("SYNC_SMTP_TLS", "off"),
        ("SYNC_EMAIL_FROM", "sync@example.org"),
        ("SYNC_RATE_LIMIT_AUTH", "1000"),
    ])
}

fn start(server: &Server, email: &str) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    let ask = Ask::post("/v1/auth/device/start")
        .json(&json!({"email": email, "code_challenge": challenge, "code_challenge_method": "S256"}));
    let answer = server.ask(&ask);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["device_code"].as_str().expect("code").to_string()
}

/// The kinds of events around logins, oldest first.
fn events(server: &Server) -> Vec<String> {
    let db = rusqlite::Connection::open(server.db()).expect("db");
    let mut q = db.prepare("SELECT event_type FROM auth_events ORDER BY id").expect("query");
    let all = q.query_map([], |row| row.get(0)).expect("rows");
    all.collect::<Result<_, _>>().expect("kinds")
}

#[test]
fn a_mailed_link_leads_to_a_key_and_nothing_of_it_was_readable_on_the_wire() {
    let papers = Papers::new();
    for (manner, tls) in [(Manner::StartTls, "starttls"), (Manner::Tls, "tls")] {
        let mails = papers.mail_server(manner);
        let server = papers.server(&mails, tls);
        server.admin(&["create-user", "--email", "ana@test.local"]);
        let code = start(&server, "ana@test.local");
        wait_until("the mail is there", || !mails.mails().is_empty());
        let mail = mails.mails().remove(0);
        assert_eq!((&*mail.from, &*mail.to), ("MAIL FROM:<sync@example.org>", "RCPT TO:<ana@test.local>"));
        assert_eq!(mail.login, Some(STANDARD.encode("\0sync\0hush")));
        let readable = mails.readable();
        assert!(readable.lines().all(|l| l.starts_with("EHLO") || l == "STARTTLS"), "{tls}: {readable}");
        let link = mail.text.split("/auth/device/approve?token=").nth(1).expect("a link");
        let token = link.split_whitespace().next().expect("a token");
        let press = Ask::post("/auth/device/approve")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(format!("token={token}"));
        assert!(server.ask(&press).text().contains("Device approved"));
        let poll =
            Ask::post("/v1/auth/device/poll").json(&json!({"device_code": code, "code_verifier": VERIFIER}));
        assert_eq!(server.ask(&poll).json()["status"], "complete");
        wait_until("it is written down", || events(&server).iter().any(|e| e == "email_sent"));
    }
}

#[test]
fn a_mail_server_that_offers_no_encryption_or_another_certificate_gets_nothing() {
    let papers = Papers::new();
    let plain = MailServer::start(Manner::Plain, None);
    let server = papers.server(&plain, "starttls");
    let refused = server.admin_raw(&["mail", "test", "--to", "ana@test.local"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("the mail did not leave"), "{said}");
    assert!(plain.readable().lines().all(|l| l.starts_with("EHLO") || l == "QUIT"), "{}", plain.readable());
    let stranger = Papers::new();
    for (manner, tls) in [(Manner::StartTls, "starttls"), (Manner::Tls, "tls")] {
        let mails = stranger.mail_server(manner);
        let server = papers.server(&mails, tls);
        let refused = server.admin_raw(&["mail", "test", "--to", "ana@test.local"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.to_lowercase().contains("certificate"), "{said}");
        assert!(mails.mails().is_empty() && !mails.readable().contains("AUTH"));
    }
}

#[test]
fn a_mail_server_that_hangs_holds_no_login_up_and_tells_nobody_who_has_an_account() {
    let mails = MailServer::start(Manner::Silent, None);
    let server = bare(&mails);
    server.admin(&["create-user", "--email", "ana@test.local"]);
    for email in ["ana@test.local", "nobody@test.local"] {
        let begun = Instant::now();
        start(&server, email);
        assert!(begun.elapsed() < Duration::from_secs(5), "{email}: {:?}", begun.elapsed());
    }
    wait_until("the mail server was asked", || mails.connections() > 0);
    // Neither does it hold up a stop: by default that is bounded at 30 seconds, and mails at five.
    let mut server = server;
    let begun = Instant::now();
    server.signal(rustix::process::Signal::TERM);
    assert!(server.wait().success());
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[test]
fn a_mail_that_is_refused_for_now_is_tried_again_and_one_that_is_refused_for_good_is_lost_and_noted() {
    let mails = MailServer::start(Manner::Plain, None);
    let server = bare(&mails);
    for who in ["ana", "ben"] {
        server.admin(&["create-user", "--email", &format!("{who}@test.local")]);
    }
    mails.refuse(&["451 come back later"]);
    start(&server, "ana@test.local");
    wait_until("the second try got through", || mails.mails().len() == 1);
    mails.refuse(&["550 no such mailbox"]);
    start(&server, "ben@test.local");
    wait_until("the loss is noted", || events(&server).iter().any(|e| e == "login_failed"));
    assert_eq!(mails.mails().len(), 1);
    assert_eq!(events(&server), ["challenge_started", "email_sent", "challenge_started", "login_failed"]);
}

#[test]
fn an_operator_sees_whether_mail_arrives() {
    let mails = MailServer::start(Manner::Plain, None);
    let mut server = bare(&mails);
    let sent = server.admin(&["mail", "test", "--to", "Ana <Ana@Test.local>"]);
    assert_eq!(sent["to"], "ana@test.local");
    let code = sent["code"].as_str().expect("a code").to_string();
    assert!(mails.mails()[0].text.contains(&format!("The code is {code}.")), "{:?}", mails.mails());
    server.kill();
    let alone: Value = server.admin(&["mail", "test", "--to", "ana@test.local"]);
    assert!(mails.mails()[1].text.contains(alone["code"].as_str().expect("a code")), "without a server too");
    let mailless = Server::start();
    let said = mailless.admin_raw(&["mail", "test", "--to", "ana@test.local"]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("no mail leaves this server"));
}

#[test]
fn a_mail_server_whose_authorities_cannot_be_read_stops_the_start() {
    let server = Server::start();
    let mut command = server.command(&["serve"]);
    let dir = tempfile::tempdir().expect("dir");
    let out = command
        .env("SYNC_SERVER_DB_PATH", dir.path().join("server.db"))
        .envs([
            ("SYNC_EMAIL_PROVIDER", "smtp"),
            ("SYNC_SMTP_HOST", "localhost"),
            ("SYNC_EMAIL_FROM", "a@b.example"),
        ])
        .env("SYNC_SMTP_CA_FILE", dir.path().join("none.pem"))
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        !out.status.success() && said.contains("SYNC_SMTP_CA_FILE") && said.contains("none.pem"),
        "{said}"
    );
}
