//! Tokens for agents and public links: less than their maker, a budget that holds, revocable alone.

mod support;

use serde_json::{Value, json};
use support::wire::{Answer, Ask};
use support::{Server, push};

fn make(server: &Server, key: &str, terms: &Value) -> Answer {
    server.ask(&Ask::post("/v1/keys").key(key).json(terms))
}

fn token(server: &Server, key: &str, project: &str, role: &str) -> (String, String) {
    let made = make(server, key, &json!({"name": "robot", "grants": [{"project": project, "role": role}]}));
    assert_eq!(made.status, 201, "{}", made.text());
    let text = |name: &str| made.json()[name].as_str().expect(name).to_string();
    (text("id"), text("api_key"))
}

fn pull(project: &str, key: &str) -> Ask {
    Ask::get(&format!("/v1/projects/{project}/sync/pull")).key(key)
}

#[test]
fn a_token_reads_and_writes_where_it_may_and_nothing_else() {
    let server = Server::start();
    let (ana, ana_id) = server.key("ana");
    let (one, two) = (server.project(&ana, "One"), server.project(&ana, "Two"));
    let (id, writer) = token(&server, &ana, &one, "writer");
    let (_, reader) = token(&server, &ana, &one, "reader");
    assert!(writer.starts_with("td_agent_") && id.starts_with("tk_"));
    assert_eq!(server.ask(&push(&one, &[1]).key(&writer)).status, 200);
    assert_eq!(server.ask(&pull(&one, &reader)).json()["last_server_seq"], 1);
    let listed = server.ask(&Ask::get("/v1/projects").key(&writer)).json();
    assert_eq!((listed.as_array().map(Vec::len), &listed[0]["id"]), (Some(1), &json!(one)));
    for (ask, status) in [
        (push(&one, &[2]).key(&reader), 403),
        (push(&two, &[2]).key(&writer), 403),
        (pull(&two, &reader), 403),
        (Ask::post("/v1/projects").key(&writer).json(&json!({"name": "x"})), 403),
        (Ask::new("PATCH", &format!("/v1/projects/{one}")).key(&writer).json(&json!({"name": "x"})), 403),
        (Ask::new("DELETE", &format!("/v1/projects/{one}")).key(&writer), 403),
        (Ask::new("DELETE", &format!("/v1/projects/{one}/members/{ana_id}")).key(&writer), 403),
        (Ask::get("/v1/invitations").key(&writer), 403),
        (Ask::get("/v1/keys").key(&writer), 403),
        (Ask::post("/v1/keys").key(&writer).json(&json!({"name": "x"})), 403),
        (Ask::new("DELETE", &format!("/v1/keys/{id}")).key(&writer), 403),
        (Ask::get(&format!("/v1/projects/{one}/invitations")).key(&writer), 403),
    ] {
        let answer = server.ask(&ask);
        assert_eq!(answer.status, status, "{} {}: {}", ask.method, ask.path, answer.text());
    }
    assert_eq!(server.ask(&Ask::get("/v1/keys/current").key(&writer)).json()["id"], json!(id));
}

#[test]
fn a_token_shrinks_with_its_maker_and_goes_alone() {
    let server = Server::start();
    let (ana, _) = server.key("ana");
    let (ben, ben_id) = server.key("ben");
    let project = server.project(&ana, "Garden");
    let members = format!("/v1/projects/{project}/members");
    let add = Ask::post(&members).key(&ana).json(&json!({"user_id": ben_id, "role": "writer"}));
    assert_eq!(server.ask(&add).status, 201);
    let (id, robot) = token(&server, &ben, &project, "writer");
    assert_eq!(server.ask(&push(&project, &[1]).key(&robot)).status, 200);
    let ben_row = format!("{members}/{ben_id}");
    let demote = Ask::new("PATCH", &ben_row).key(&ana).json(&json!({"role": "reader"}));
    assert_eq!(server.ask(&demote).status, 200);
    assert_eq!(server.ask(&push(&project, &[2]).key(&robot)).status, 403);
    assert_eq!(server.ask(&pull(&project, &robot)).status, 200);
    let too_much = json!({"name": "x", "grants": [{"project": project, "role": "writer"}]});
    assert_eq!(make(&server, &ben, &too_much).status, 403, "nobody gives what they have not");
    assert_eq!(server.ask(&Ask::new("DELETE", &ben_row).key(&ana)).status, 204);
    assert_eq!(server.ask(&pull(&project, &robot)).status, 403);
    assert_eq!(server.ask(&Ask::new("DELETE", &format!("/v1/keys/{id}")).key(&ana)).status, 404, "not hers");
    assert_eq!(server.ask(&Ask::new("DELETE", &format!("/v1/keys/{id}")).key(&ben)).status, 204);
    assert_eq!(server.ask(&pull(&project, &robot)).status, 401);
    assert_eq!(server.ask(&Ask::get("/v1/projects").key(&ben)).status, 200, "his own key stays");
}

#[test]
fn a_budget_counts_stored_events_and_is_refused_as_a_whole() {
    let server = Server::start();
    let (ana, _) = server.key("ana");
    let project = server.project(&ana, "Garden");
    let terms = json!({"name": "r", "grants": [{"project": project, "role": "writer"}], "max_events": 3});
    let robot = make(&server, &ana, &terms).json()["api_key"].as_str().expect("key").to_string();
    assert_eq!(server.ask(&push(&project, &[1, 2]).key(&robot)).json()["accepted"], 2);
    let again = server.ask(&push(&project, &[1, 2]).key(&robot));
    assert_eq!(
        (again.status, &again.json()["accepted"]),
        (200, &json!(0)),
        "what is stored costs nothing again"
    );
    let refused = server.ask(&push(&project, &[3, 4]).key(&robot));
    assert_eq!(refused.status, 403);
    assert!(refused.error().starts_with("budget_exhausted "), "{}", refused.error());
    assert_eq!(server.ask(&pull(&project, &robot)).json()["last_server_seq"], 2, "nothing of it was stored");
    server.admin(&["maintenance", "on"]);
    assert_eq!(server.ask(&push(&project, &[3]).key(&robot)).status, 503);
    server.admin(&["maintenance", "off"]);
    assert_eq!(
        server.ask(&push(&project, &[3]).key(&robot)).json()["accepted"],
        1,
        "a refusal costs nothing"
    );
    assert_eq!(server.ask(&push(&project, &[4]).key(&robot)).status, 403);
    let lost_answer = server.ask(&push(&project, &[1, 2, 3]).key(&robot));
    assert_eq!(lost_answer.status, 200, "also when nothing is left: {}", lost_answer.text());
    let listed = server.ask(&Ask::get("/v1/keys").key(&ana)).json();
    let token =
        listed.as_array().expect("list").iter().find(|k| k["kind"] == "agent").expect("the token").clone();
    assert_eq!((&token["used_events"], &token["max_events"]), (&json!(3), &json!(3)));
}

#[test]
fn sixteen_pushers_on_one_budget_store_no_more_than_it_holds() {
    let server = Server::with(&[("SYNC_RATE_LIMIT_PUSH", "1000"), ("SYNC_RATE_LIMIT_AGENT", "1000")]);
    let (ana, _) = server.key("ana");
    let project = server.project(&ana, "Garden");
    let terms = json!({"name": "r", "grants": [{"project": project, "role": "writer"}], "max_events": 10});
    let robot = make(&server, &ana, &terms).json()["api_key"].as_str().expect("key").to_string();
    let address = server.address;
    let pushers: Vec<_> = (1..=16)
        .map(|n| {
            let ask = push(&project, &[n]).key(&robot);
            std::thread::spawn(move || support::wire::send(address, &ask).status)
        })
        .collect();
    let stored = pushers.into_iter().filter_map(|t| t.join().ok()).filter(|s| *s == 200).count();
    assert_eq!(stored, 10);
    let status = server.ask(&Ask::get(&format!("/v1/projects/{project}/sync/status")).key(&ana)).json();
    assert_eq!(status["event_count"], 10);
}

#[test]
fn an_agent_asks_and_a_person_approves_once_and_names_the_projects() {
    let server = Server::with(&[("SYNC_RATE_LIMIT_AUTH", "1000")]);
    let (ana, _) = server.key("ana");
    let project = server.project(&ana, "Garden");
    let asked = server.ask(&Ask::post("/v1/keys/requests").json(&json!({"name": "build robot"}))).json();
    let (poll, code) =
        (asked["poll_code"].as_str().expect("poll"), asked["user_code"].as_str().expect("code"));
    assert_eq!(code.len(), 8);
    let collect = Ask::post("/v1/keys/requests/poll").json(&json!({"poll_code": poll}));
    assert_eq!(server.ask(&collect).json(), json!({"status": "pending"}));
    let request = format!("/v1/keys/requests/{}", code.to_lowercase());
    let seen = server.ask(&Ask::get(&request).key(&ana)).json();
    assert_eq!((&seen["name"], &seen["client"]), (&json!("build robot"), &json!("127.0.0.1")));
    let terms = json!({"name": "build robot", "expires_in": 3600,
        "grants": [{"project": project, "role": "reader"}]});
    assert_eq!(server.ask(&Ask::post(&request).json(&terms)).status, 401, "somebody has to be signed in");
    assert_eq!(server.ask(&Ask::post(&request).key(&ana).json(&terms)).status, 200);
    assert_eq!(server.ask(&Ask::post(&request).key(&ana).json(&terms)).status, 409);
    let got = server.ask(&collect).json();
    let robot = got["api_key"].as_str().expect("key").to_string();
    assert_eq!(server.ask(&pull(&project, &robot)).status, 200);
    assert_eq!(server.ask(&collect).status, 410, "once");
    let unknown = Ask::post("/v1/keys/requests/poll").json(&json!({"poll_code": "guess"}));
    assert_eq!(server.ask(&unknown).json(), json!({"status": "pending"}));
}

#[test]
fn a_public_link_is_off_until_it_is_made_reads_one_project_and_can_be_taken_back() {
    let server = Server::start();
    let (ana, _) = server.key("ana");
    let (project, other) = (server.project(&ana, "Open"), server.project(&ana, "Closed"));
    let path = format!("/v1/projects/{project}/public-link");
    assert_eq!(server.ask(&Ask::get(&path).key(&ana)).status, 404);
    let first = server.ask(&Ask::post(&path).key(&ana)).json()["api_key"].as_str().expect("key").to_string();
    let second = server.ask(&Ask::post(&path).key(&ana)).json()["api_key"].as_str().expect("key").to_string();
    assert_eq!(server.ask(&pull(&project, &first)).status, 401, "a new link ends the old one");
    assert_eq!(server.ask(&pull(&project, &second)).status, 200);
    assert_eq!(server.ask(&pull(&other, &second)).status, 403);
    assert_eq!(server.ask(&push(&project, &[1]).key(&second)).status, 403);
    assert_eq!(server.ask(&Ask::new("DELETE", &path).key(&second)).status, 403);
    assert_eq!(server.ask(&Ask::new("DELETE", &path).key(&ana)).status, 204);
    assert_eq!(server.ask(&pull(&project, &second)).status, 401);
}

#[test]
fn links_that_are_made_at_once_are_one_and_none_outlives_its_makers_membership() {
    let server = Server::start();
    let (ana, _) = server.key("ana");
    let (ben, ben_id) = server.key("ben");
    let project = server.project(&ana, "Open");
    let path = format!("/v1/projects/{project}/public-link");
    let make = |key: &str| {
        server.ask(&Ask::post(&path).key(key)).json()["api_key"].as_str().expect("key").to_string()
    };
    let reads = |link: &str| server.ask(&pull(&project, link)).status;
    let links: Vec<String> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..6).map(|_| scope.spawn(|| make(&ana))).collect();
        all.into_iter().map(|t| t.join().expect("thread")).collect()
    });
    assert_eq!(links.iter().filter(|link| reads(link) == 200).count(), 1);
    assert_eq!(server.ask(&Ask::new("DELETE", &path).key(&ana)).status, 204);
    assert!(links.iter().all(|link| reads(link) == 401));
    let member = |role: &str| {
        let add = Ask::post(&format!("/v1/projects/{project}/members")).key(&ana);
        assert_eq!(server.ask(&add.json(&json!({"user_id": ben_id, "role": role}))).status, 201);
    };
    member("owner");
    let (link, (_, robot)) = (make(&ben), token(&server, &ben, &project, "reader"));
    let remove = Ask::new("DELETE", &format!("/v1/projects/{project}/members/{ben_id}")).key(&ana);
    assert_eq!(server.ask(&remove).status, 204);
    assert_eq!(server.ask(&Ask::get(&path).key(&ana)).status, 404);
    member("reader");
    assert_eq!((reads(&link), reads(&robot)), (401, 403), "nothing comes back with the next membership");
}

#[test]
fn a_stranger_with_many_addresses_keeps_no_agent_from_asking() {
    let server = Server::with(&[("SYNC_RATE_LIMIT_AUTH", "100000"), ("SYNC_TRUSTED_PROXIES", "127.0.0.1")]);
    let ask = |from: &str| {
        let ask = Ask::post("/v1/keys/requests").header("X-Forwarded-For", from);
        server.ask(&ask.json(&json!({"name": "robot"}))).status
    };
    assert!((0..20).all(|n| ask(&format!("2001:db8:1:{n:x}::1")) == 200));
    assert_eq!(ask("2001:db8:1:ffff::1"), 503, "one customer's network");
    for n in 2..52 {
        (0..20).for_each(|_| _ = ask(&format!("2001:db8:{n:x}::1")));
    }
    assert_eq!(ask("198.51.100.7"), 200, "the largest crowd makes room");
}

#[test]
fn bad_terms_are_refused_in_their_own_words() {
    let server = Server::start();
    let (ana, _) = server.key("ana");
    let project = server.project(&ana, "Garden");
    let grant = json!({"project": project, "role": "reader"});
    for (terms, says) in [
        (json!({"grants": [grant]}), "name is required"),
        (json!({"name": "x"}), "grants must name"),
        (json!({"name": "x", "grants": [{"project": project, "role": "owner"}]}), "role must be"),
        (json!({"name": "x", "grants": [grant, grant]}), "twice"),
        (json!({"name": "x", "grants": [grant], "expires_in": 0}), "expires_in"),
        (json!({"name": "x", "grants": [grant], "expires_in": -5}), "expires_in"),
        (json!({"name": "x", "grants": [grant], "max_events": 0}), "max_events"),
        (json!({"name": "x", "grants": "all"}), "invalid json body"),
        (json!({"name": "x", "grants": [grant], "max_events": "many"}), "invalid json body"),
    ] {
        let answer = make(&server, &ana, &terms);
        assert!(answer.status == 400 && answer.error().contains(says), "{terms}: {}", answer.text());
    }
    let nobody = json!({"name": "x", "grants": [{"project": "p_0123456789abcdef", "role": "reader"}]});
    assert_eq!(make(&server, &ana, &nobody).status, 403);
    assert_eq!(server.ask(&Ask::get("/v1/keys").key(&ana)).json().as_array().map(Vec::len), Some(1));
}

#[test]
fn a_public_link_shows_the_project_and_nothing_about_people() {
    let server = Server::start();
    let (ana, _) = server.key("ana");
    let project = server.project(&ana, "Open");
    let (_, robot) = token(&server, &ana, &project, "reader");
    server.ask(&push(&project, &[1]).key(&ana));
    let path = format!("/v1/projects/{project}/public-link");
    let link = server.ask(&Ask::post(&path).key(&ana)).json()["api_key"].as_str().expect("key").to_string();
    let of = |rest: &str| format!("/v1/projects/{project}{rest}");
    for path in [of(""), of("/sync/pull"), of("/sync/status"), "/v1/keys/current".into()] {
        assert_eq!(server.ask(&Ask::get(&path).key(&link)).status, 200, "{path}");
    }
    for path in [of("/members"), of("/invitations"), path, "/v1/invitations".into(), "/v1/keys".into()] {
        assert_eq!(server.ask(&Ask::get(&path).key(&link)).status, 403, "a link: {path}");
    }
    assert_eq!(
        server.ask(&Ask::get(&of("/members")).key(&robot)).status,
        200,
        "an agent sees whom it works with"
    );
    assert_eq!(
        server.ask(&Ask::get("/v1/invitations").key(&robot)).status,
        403,
        "those are its person's own"
    );
}
