//! Signing in: approvals are acts of a person, a login ends in one key at most, and without mail there is another way.

mod support;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use support::Server;
use support::wire::Ask;

const VERIFIER: &str = "a-verifier-of-the-device";

fn start(server: &Server, email: &str) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    let ask = Ask::post("/v1/auth/device/start")
        .json(&json!({"email": email, "code_challenge": challenge, "code_challenge_method": "S256"}));
    let answer = server.ask(&ask);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["device_code"].as_str().expect("code").to_string()
}

fn poll(code: &str) -> Ask {
    Ask::post("/v1/auth/device/poll").json(&json!({"device_code": code, "code_verifier": VERIFIER}))
}

fn form(path: &str, fields: &[(&str, &str)]) -> Ask {
    let body: Vec<String> = fields.iter().map(|(k, v)| format!("{k}={}", v.replace('#', "%23"))).collect();
    Ask::post(path).header("Content-Type", "application/x-www-form-urlencoded").body(body.join("&"))
}

fn mailed_token(server: &Server) -> String {
    let mail = server.ask(&Ask::get("/internal/dev/last-email")).json();
    let text = mail["text"].as_str().expect("text").to_string();
    let token = text.split("token=").nth(1).expect("a link").split_whitespace().next().expect("a token");
    token.to_string()
}

const MEMORY: [(&str, &str); 2] = [("SYNC_EMAIL_PROVIDER", "memory"), ("SYNC_RATE_LIMIT_AUTH", "1000")];

#[test]
fn a_scanner_that_follows_the_mailed_link_approves_nothing() {
    // The mailbox is looked into by a server of its own life: the flag that shows it also approves by looking.
    let server = Server::with(&[MEMORY[0], MEMORY[1], ("SYNC_DEV_EMAIL_INSPECT", "1")]);
    server.admin(&["create-user", "--email", "ana@test.local"]);
    let code = start(&server, "ana@test.local");
    let token = mailed_token(&server);
    let mut server = server;
    server.restart_with(&[MEMORY[1]]);
    for method in ["GET", "HEAD"] {
        let looked = server.ask(&Ask::new(method, &format!("/auth/device/approve?token={token}")));
        assert_eq!(looked.status, 200);
        assert!(
            looked.header("content-security-policy").is_some_and(|p| p.contains("frame-ancestors 'none'"))
        );
    }
    assert_eq!(server.ask(&poll(&code)).json()["status"], "pending", "nobody pressed the button yet");
    // Any other last digit: a fixed one was, once in sixteen runs, the right one.
    let (head, last) = token.split_at(token.len() - 1);
    let wrong = format!("{head}{}", if last == "0" { "1" } else { "0" });
    assert!(
        server.ask(&form("/auth/device/approve", &[("token", &wrong)])).text().contains("Invalid or expired")
    );
    let pressed = server.ask(&form("/auth/device/approve", &[("token", &token)]));
    assert!(pressed.text().contains("Device approved"), "{}", pressed.text());
    let done = server.ask(&poll(&code)).json();
    assert_eq!(done["status"], "complete", "{done}");
    let key = done["api_key"].as_str().expect("key");
    assert_eq!(server.ask(&Ask::get("/v1/projects").key(key)).status, 200);
}

#[test]
fn polls_at_the_same_time_get_one_key() {
    let server = Server::with(&[("SYNC_RATE_LIMIT_AUTH", "1000")]);
    server.admin(&["create-user", "--email", "ana@test.local"]);
    let code = start(&server, "ana@test.local");
    let waiting = server.admin(&["logins", "list"]);
    server.admin(&["logins", "approve", waiting[0]["id"].as_str().expect("id")]);
    let address = server.address;
    let polls: Vec<_> = (0..8)
        .map(|_| {
            let ask = poll(&code);
            std::thread::spawn(move || support::wire::send(address, &ask))
        })
        .collect();
    let answers: Vec<_> = polls.into_iter().map(|t| t.join().expect("thread")).collect();
    let complete = answers.iter().filter(|a| a.status == 200).count();
    let used = answers.iter().filter(|a| a.status == 410).count();
    assert_eq!((complete, used), (1, 7), "{answers:?}");
    assert_eq!(server.admin(&["keys", "list"]).as_array().map(Vec::len), Some(1));
}

#[test]
fn without_mail_an_operator_approves_or_denies() {
    let server = Server::with(&[("SYNC_RATE_LIMIT_AUTH", "1000")]);
    for who in ["ana", "ben"] {
        server.admin(&["create-user", "--email", &format!("{who}@test.local")]);
    }
    let (ana, ben) = (start(&server, "ana@test.local"), start(&server, "ben@test.local"));
    start(&server, "nobody@test.local");
    let waiting = server.admin(&["logins", "list"]);
    let id = |email: &str| {
        let all = waiting.as_array().expect("a list");
        all.iter().find(|l| l["email"] == email).and_then(|l| l["id"].as_str()).expect("waits").to_string()
    };
    assert_eq!(waiting.as_array().map(Vec::len), Some(2), "an unknown address waits for nothing");
    server.admin(&["logins", "approve", &id("ana@test.local")]);
    server.admin(&["logins", "deny", &id("ben@test.local")]);
    assert_eq!(server.ask(&poll(&ana)).json()["status"], "complete");
    assert_eq!(server.ask(&poll(&ben)).status, 410);
    let again = server.admin_raw(&["logins", "approve", &id("ben@test.local")]);
    assert_eq!(again.status.code(), Some(1), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(server.admin(&["logins", "list"]), json!([]));
}

#[test]
fn an_enrolment_code_typed_on_the_page_approves_logins_of_its_own_account_only() {
    let server = Server::with(&[("SYNC_RATE_LIMIT_AUTH", "1000")]);
    for who in ["ana", "ben"] {
        server.admin(&["create-user", "--email", &format!("{who}@test.local")]);
    }
    let (ana, ben) = (start(&server, "ana@test.local"), start(&server, "ben@test.local"));
    let link = server.admin(&["enroll", "create", "--email", "ana@test.local"]);
    let link = link["link"].as_str().expect("link").to_string();
    let page = server.ask(&form("/auth/device/code", &[("code", &link)])).text();
    let logins: BTreeSet<&str> =
        page.match_indices("name=\"login\" value=\"").map(|(at, m)| &page[at + m.len()..][..19]).collect();
    assert_eq!(logins.len(), 1, "only her own login is shown: {page}");
    let all = server.admin(&["logins", "list"]);
    let foreign =
        all.as_array().expect("list").iter().find(|l| l["email"] == "ben@test.local").expect("ben's");
    let foreign = foreign["id"].as_str().expect("id");
    let tried = server.ask(&form("/auth/device/code", &[("code", &link), ("login", foreign)])).text();
    assert!(tried.contains("Invalid or expired"), "{tried}");
    let own = logins.first().expect("one");
    let done = server.ask(&form("/auth/device/code", &[("code", &link), ("login", own)])).text();
    assert!(done.contains("Device approved"), "{done}");
    assert_eq!(server.ask(&poll(&ana)).json()["status"], "complete");
    assert_eq!(server.ask(&poll(&ben)).json()["status"], "pending");
    let again = server.ask(&form("/auth/device/code", &[("code", &link)])).text();
    assert!(again.contains("not known, was used"), "a code works once: {again}");
}

#[test]
fn a_known_and_an_unknown_address_get_the_same_answer_and_the_reference_logins_stay_retired() {
    let server = Server::with(&[("SYNC_RATE_LIMIT_AUTH", "1000")]);
    server.admin(&["create-user", "--email", "ana@test.local"]);
    let shape = |email: &str| {
        let ask = Ask::post("/v1/auth/device/start")
            .json(&json!({"email": email, "code_challenge": "c", "code_challenge_method": "S256"}));
        let answer = server.ask(&ask);
        let mut body = answer.json();
        body["device_code"] = Value::Null;
        (answer.status, body)
    };
    assert_eq!(shape("ana@test.local"), shape("nobody@test.local"));
    assert_eq!(server.ask(&Ask::get("/auth/verify")).status, 404);
    assert_eq!(server.ask(&Ask::post("/v1/auth/login/start")).status, 410);
    assert_eq!(server.ask(&Ask::get("/internal/dev/last-email")).status, 404, "closed by default");
}

#[test]
fn a_stranger_never_becomes_an_admin_unless_that_was_asked_for() {
    let page = "http://watch.test/done";
    let open = [("SYNC_ALLOW_SIGNUP", "true"), MEMORY[0], ("SYNC_AUTH_WEB_CALLBACK_URL", page)];
    for (settings, admin) in
        [(open.to_vec(), false), ([open.to_vec(), vec![("SYNC_FIRST_USER_ADMIN", "true")]].concat(), true)]
    {
        let server = Server::with(&settings);
        let ask = Ask::post("/v1/auth/web/start")
            .json(&json!({"email": "Eve <eve@test.local>", "redirect_uri": page, "state": "s"}));
        assert_eq!(server.ask(&ask).status, 200);
        let users = server.admin(&["users", "list"]);
        assert_eq!(
            (users[0]["email"].clone(), users[0]["is_admin"].clone()),
            (json!("eve@test.local"), json!(admin))
        );
    }
}

#[test]
fn the_page_of_a_web_login_may_be_an_app_with_a_query_of_its_own() {
    for (page, link) in
        [("tdwatch://cb", "tdwatch://cb?token="), ("http://x.test/?a=b", "http://x.test/?a=b&token=")]
    {
        let settings = [("SYNC_AUTH_WEB_CALLBACK_URL", page), ("SYNC_DEV_EMAIL_INSPECT", "1"), MEMORY[0]];
        let server = Server::with(&settings);
        server.admin(&["create-user", "--email", "ana@test.local"]);
        let ask = json!({"email": "ana@test.local", "redirect_uri": page, "state": "s"});
        assert_eq!(server.ask(&Ask::post("/v1/auth/web/start").json(&ask)).status, 200);
        let mail = server.ask(&Ask::get("/internal/dev/last-email")).json();
        assert!(mail["text"].as_str().is_some_and(|text| text.contains(link)), "{mail}");
    }
    let server = Server::with(&[("SYNC_DEV_EMAIL_INSPECT", "1"), MEMORY[0]]);
    server.admin(&["create-user", "--email", "ana@test.local"]);
    let ask = json!({"email": "ana@test.local", "redirect_uri": "https://x.test", "state": "s"});
    assert_eq!(server.ask(&Ask::post("/v1/auth/web/start").json(&ask)).status, 200);
    assert_eq!(server.ask(&Ask::get("/internal/dev/last-email")).status, 404, "there is no page to lead to");
}

#[test]
fn without_mail_an_invitation_comes_with_a_link_to_hand_over() {
    let server = Server::start();
    let (ana, _) = server.key("ana");
    let project = server.project(&ana, "Garden");
    let ask = Ask::post(&format!("/v1/projects/{project}/invitations"))
        .key(&ana)
        .json(&json!({"email": "ben@test.local", "role": "reader"}));
    let made = server.ask(&ask);
    assert_eq!(made.status, 201, "{}", made.text());
    let link = made.header("x-td-enrolment-link").expect("a link").to_string();
    let secret = link.split('#').nth(1).and_then(|f| f.split('.').next()).expect("a secret");
    let enrolled = server.ask(&Ask::post("/v1/enroll").json(&json!({"secret": secret, "device_name": "b"})));
    assert_eq!((enrolled.status, enrolled.json()["project_id"].clone()), (200, json!(project)));
    let key = enrolled.json()["api_key"].as_str().expect("key").to_string();
    let members = server.ask(&Ask::get(&format!("/v1/projects/{project}/members")).key(&key)).json();
    assert_eq!(members[1]["role"], "reader");
    let all = Ask::get(&format!("/v1/projects/{project}/invitations")).key(&ana);
    assert_eq!(server.ask(&all).json()[0]["status"], "accepted");
    // It is Ana's word that this is Ben; nobody else gives this account anything before more than that is known.
    let (cleo, _) = server.key("cleo");
    let shed = server.project(&cleo, "Shed");
    for (path, body) in [
        ("members", json!({"email": "ben@test.local", "role": "reader"})),
        ("members", json!({"user_id": enrolled.json()["user_id"], "role": "reader"})),
        ("invitations", json!({"email": "Ben <BEN@test.local>", "role": "reader"})),
    ] {
        let given = server.ask(&Ask::post(&format!("/v1/projects/{shed}/{path}")).key(&cleo).json(&body));
        assert_eq!(given.status, 409, "{path} {body}: {}", given.text());
        assert!(given.error().starts_with("unproven_address "), "{}", given.error());
    }
    let other = server.project(&ana, "Other");
    let add = Ask::post(&format!("/v1/projects/{other}/members")).key(&ana);
    assert_eq!(server.ask(&add.json(&json!({"email": "ben@test.local", "role": "reader"}))).status, 201);
    // The operator's link proves it, and what signed in before is somebody's of whom that is not known.
    let link = server.admin(&["enroll", "create", "--email", "ben@test.local"]);
    let secret = link["link"].as_str().and_then(|l| l.split(['#', '.']).nth_back(1)).expect("a secret");
    let secret = secret.to_string();
    let again = server.ask(&Ask::post("/v1/enroll").json(&json!({"secret": secret, "device_name": "b"})));
    let proven = again.json()["api_key"].as_str().expect("key").to_string();
    assert_eq!(server.ask(&Ask::get("/v1/projects").key(&key)).status, 401);
    let add = Ask::post(&format!("/v1/projects/{shed}/members")).key(&cleo);
    assert_eq!(server.ask(&add.json(&json!({"email": "ben@test.local", "role": "reader"}))).status, 201);
    assert_eq!(server.ask(&Ask::get("/v1/projects").key(&proven)).json().as_array().map(Vec::len), Some(3));
}

/// The account that was invited first is gone, and another owner's word made the one that is there.
#[test]
fn an_invitation_that_cannot_be_accepted_is_not_used_up() {
    let server = Server::start();
    let invite = |key: &str, project: &str| {
        let ask = json!({"email": "ben@test.local", "role": "reader"});
        server.ask(&Ask::post(&format!("/v1/projects/{project}/invitations")).key(key).json(&ask))
    };
    let ((ana, _), (cleo, _)) = (server.key("ana"), server.key("cleo"));
    let (garden, shed) = (server.project(&ana, "Garden"), server.project(&cleo, "Shed"));
    let waiting = invite(&cleo, &shed).json()["id"].as_str().expect("id").to_string();
    server.admin(&["users", "delete", "ben@test.local"]);
    let link = invite(&ana, &garden).header("x-td-enrolment-link").expect("a link").to_string();
    let secret = link.split(['#', '.']).nth_back(1).expect("a secret");
    let enrolled = server.ask(&Ask::post("/v1/enroll").json(&json!({"secret": secret}))).json();
    let ben = enrolled["api_key"].as_str().expect("key").to_string();
    let accept = Ask::post(&format!("/v1/invitations/{waiting}/accept")).key(&ben);
    let status = || {
        let all = Ask::get(&format!("/v1/projects/{shed}/invitations")).key(&cleo);
        server.ask(&all).json()[0]["status"].clone()
    };
    for _ in 0..2 {
        assert_eq!(server.ask(&accept).status, 404);
        assert_eq!(status(), "pending");
    }
    // Once the operator says that this is Ben, it is as good as it was.
    let link = server.admin(&["enroll", "create", "--email", "ben@test.local"])["link"].clone();
    let secret = link.as_str().and_then(|l| l.split(['#', '.']).nth_back(1)).expect("a secret").to_string();
    let enrolled = server.ask(&Ask::post("/v1/enroll").json(&json!({"secret": secret}))).json();
    let ben = enrolled["api_key"].as_str().expect("key").to_string();
    let accept = Ask::post(&format!("/v1/invitations/{waiting}/accept")).key(&ben);
    assert_eq!((server.ask(&accept).status, status()), (200, json!("accepted")));
}

#[test]
fn a_mail_that_proves_an_address_ends_what_signed_in_before_it_at_once() {
    let mut server = Server::with(&[("SYNC_RATE_LIMIT_AUTH", "1000")]);
    let (ana, _) = server.key("ana");
    let project = server.project(&ana, "Garden");
    let invitation = Ask::post(&format!("/v1/projects/{project}/invitations"))
        .key(&ana)
        .json(&json!({"email": "ben@test.local", "role": "reader"}));
    let link = server.ask(&invitation).header("x-td-enrolment-link").expect("a link").to_string();
    let secret = link.split(['#', '.']).nth_back(1).expect("a secret");
    let enrolled = server.ask(&Ask::post("/v1/enroll").json(&json!({"secret": secret}))).json();
    let vouched = enrolled["api_key"].as_str().expect("key").to_string();
    server.restart_with(&[MEMORY[0], MEMORY[1], ("SYNC_DEV_EMAIL_INSPECT", "1")]);
    let code = start(&server, "ben@test.local");
    // Asked just before, so that its answer is a remembered one.
    let projects = |key: &str| server.ask(&Ask::get("/v1/projects").key(key)).status;
    assert_eq!(projects(&vouched), 200);
    let token = mailed_token(&server);
    let pressed = server.ask(&form("/auth/device/approve", &[("token", &token)]));
    assert!(pressed.text().contains("Device approved"), "{}", pressed.text());
    assert_eq!(projects(&vouched), 401);
    let proven = server.ask(&poll(&code)).json();
    assert_eq!(projects(proven["api_key"].as_str().expect("key")), 200);
}

#[test]
fn a_handed_over_link_is_as_good_as_its_invitation() {
    let server = Server::with(&[("SYNC_RATE_LIMIT_AUTH", "1000")]);
    let (ana, _) = server.key("ana");
    let (dan, dan_id) = server.key("dan");
    let project = server.project(&ana, "Garden");
    let path = |rest: &str| format!("/v1/projects/{project}/{rest}");
    let add = Ask::post(&path("members")).key(&ana).json(&json!({"user_id": dan_id, "role": "owner"}));
    assert_eq!(server.ask(&add).status, 201);
    let invite = |who: &str| {
        let ask = json!({"email": format!("{who}@test.local"), "role": "owner"});
        let made = server.ask(&Ask::post(&path("invitations")).key(&dan).json(&ask));
        let link = made.header("x-td-enrolment-link").expect("a link").to_string();
        (
            made.json()["id"].as_str().expect("id").to_string(),
            link.split(['#', '.']).nth_back(1).expect("secret").to_string(),
        )
    };
    let redeem = |secret: &str| server.ask(&Ask::post("/v1/enroll").json(&json!({"secret": secret}))).status;
    let code = |secret: &str| {
        let form = format!("code={secret}");
        server.ask(
            &Ask::post("/auth/device/code")
                .header("Content-Type", "application/x-www-form-urlencoded")
                .body(form),
        )
    };
    let (withdrawn, first) = invite("ben");
    let (_, second) = invite("cleo");
    assert!(code(&first).text().contains("Nothing waits"));
    let gone = Ask::new("DELETE", &path(&format!("invitations/{withdrawn}"))).key(&ana);
    assert_eq!(server.ask(&gone).status, 204);
    assert_eq!(redeem(&first), 410, "withdrawn");
    assert!(code(&first).text().contains("No such code"));
    let demote = Ask::new("PATCH", &path(&format!("members/{dan_id}"))).key(&ana);
    assert_eq!(server.ask(&demote.json(&json!({"role": "writer"}))).status, 200);
    assert_eq!(redeem(&second), 410, "whoever gave it could not give it now");
    let members = server.ask(&Ask::get(&path("members")).key(&ana)).json();
    assert_eq!(members.as_array().map(Vec::len), Some(2), "{members}");
}

#[test]
fn a_stranger_who_asks_for_logins_keeps_nobody_from_signing_in_and_is_shown_as_one() {
    let server = Server::with(&[("SYNC_EMAIL_PROVIDER", "memory"), ("SYNC_TRUSTED_PROXIES", "127.0.0.1")]);
    server.admin(&["create-user", "--email", "ben@test.local"]);
    let begin = |from: &str, email: &str| {
        let body = json!({"email": email, "code_challenge": "x".repeat(43), "code_challenge_method": "S256"});
        let ask =
            Ask::post("/v1/auth/device/start").header("X-Forwarded-For", from).header("User-Agent", "td <b>");
        assert_eq!(server.ask(&ask.json(&body)).status, 200);
    };
    // What is typed around an address does not hide whose account is asked for.
    begin("203.0.113.66", "\"mallory@test.local\" <ben@test.local>");
    begin("198.51.100.7", "ben@test.local");
    begin("198.51.100.7", "ben@test.local");
    let waiting = server.admin(&["logins", "list"]);
    let seen: Vec<_> = waiting
        .as_array()
        .expect("a list")
        .iter()
        .map(|w| (w["client"].as_str().expect("client"), w["email"].as_str().expect("email")))
        .collect();
    assert_eq!(seen, [("198.51.100.7", "ben@test.local"), ("203.0.113.66", "ben@test.local")]);
}

#[test]
fn an_invitation_hands_nobody_the_account_of_somebody_else() {
    let server = Server::start();
    let (ana, _) = server.key("ana");
    server.key("root");
    server.admin(&["create-user", "--email", "ben@test.local"]);
    let project = server.project(&ana, "Garden");
    for known in ["root@test.local", "Ben <BEN@test.local>"] {
        let ask = Ask::post(&format!("/v1/projects/{project}/invitations"))
            .key(&ana)
            .json(&json!({"email": known, "role": "owner"}));
        let made = server.ask(&ask);
        assert_eq!(made.status, 201, "{}", made.text());
        assert_eq!(
            made.header("x-td-enrolment-link"),
            None,
            "{known} has an account and signs in on their own"
        );
    }
    assert_eq!(server.admin(&["enroll", "list"]), json!([]));
}

#[test]
fn an_invitation_is_as_good_as_its_inviter_and_nobodys_mailbox_is_filled() {
    let server = Server::start();
    let (ana, ana_id) = server.key("ana");
    let (ben, ben_id) = server.key("ben");
    let (cleo, _) = server.key("cleo");
    let project = server.project(&ana, "Garden");
    let (members, invitations) =
        (format!("/v1/projects/{project}/members"), format!("/v1/projects/{project}/invitations"));
    let add = Ask::post(&members).key(&ana).json(&json!({"user_id": ben_id, "role": "owner"}));
    assert_eq!(server.ask(&add).status, 201);
    let invite = |key: &str| {
        server.ask(
            &Ask::post(&invitations).key(key).json(&json!({"email": "cleo@test.local", "role": "owner"})),
        )
    };
    let made = invite(&ben);
    assert_eq!(made.status, 201, "{}", made.text());
    let accept = format!("/v1/invitations/{}/accept", made.json()["id"].as_str().expect("id"));
    let demote = Ask::new("PATCH", &format!("{members}/{ben_id}")).key(&ana).json(&json!({"role": "writer"}));
    assert_eq!(server.ask(&demote).status, 200);
    assert_eq!(server.ask(&Ask::post(&accept).key(&cleo)).status, 404, "ben may not make owners any more");
    assert_eq!(server.ask(&Ask::get("/v1/invitations").key(&cleo)).json(), json!([]));
    assert_eq!((invite(&ana).status, invite(&ana).status), (201, 201));
    let fourth = invite(&ana);
    assert_eq!(fourth.status, 429, "{ana_id}: {}", fourth.text());
    assert!(fourth.header("retry-after").is_some());
}

#[test]
fn the_journal_says_what_happened_to_a_login_and_from_where() {
    let server = Server::with(&[MEMORY[0], MEMORY[1], ("SYNC_DEV_EMAIL_INSPECT", "1")]);
    server.admin(&["create-user", "--email", "ana@test.local"]);
    let code = start(&server, "ana@test.local");
    start(&server, "nobody@test.local");
    let press =
        form("/auth/device/approve", &[("token", &mailed_token(&server))]).header("User-Agent", "browser");
    server.ask(&press);
    let key = server.ask(&poll(&code)).json();
    let list = server.admin(&["keys", "list"]);
    let id = list[0]["id"].as_str().expect("a key");
    assert_eq!(key["status"], "complete");
    let db = rusqlite::Connection::open(server.db()).expect("db");
    let mut q = db
        .prepare("SELECT event_type, auth_request_id, metadata FROM auth_events ORDER BY id")
        .expect("query");
    let rows: Vec<(String, String, String)> = q
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .and_then(Iterator::collect)
        .expect("rows");
    let from = |agent: &str| format!(r#"{{"ip":"127.0.0.1","user_agent":"{agent}"}}"#);
    let issued = format!(r#"{{"ip":"127.0.0.1","key_id":"{id}","user_agent":""}}"#);
    let want = [
        ("challenge_started", from("")),
        ("email_sent", from("")),
        ("email_suppressed", from("")),
        ("device_verified", from("browser")),
        ("key_issued", issued),
    ];
    let seen: Vec<(&str, String)> =
        rows.iter().map(|(kind, _, meta)| (kind.as_str(), meta.clone())).collect();
    assert_eq!(seen, want);
    let of_login: BTreeSet<&str> =
        rows.iter().filter(|r| r.0 != "email_suppressed").map(|r| r.1.as_str()).collect();
    assert_eq!(of_login.len(), 1, "all of it stands under the login's selector: {rows:?}");
}
