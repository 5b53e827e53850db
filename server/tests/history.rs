//! What a project remembers: the history of an entity, and what changes took away.

mod support;

use serde_json::{Value, json};
use support::wire::Ask;
use support::{Project, unpacked};

impl Project {
    fn push(&self, device: &str, n: i64, action: &str, entity: &str, id: &str, payload: Value) {
        let event = json!({"client_action_id": n, "action_type": action, "entity_type": entity, "entity_id": id,
            "payload": payload, "client_timestamp": "2026-11-21T10:00:00Z"});
        let body = json!({"device_id": device, "session_id": "ses", "events": [event]});
        let ask = Ask::post(&format!("/v1/projects/{}/sync/push", self.id)).key(&self.key).json(&body);
        let answer = self.server.ask(&ask);
        assert_eq!(answer.json()["accepted"], 1, "{}", answer.text());
    }

    fn get(&self, route: &str) -> Value {
        let answer = self.server.ask(&Ask::get(&format!("/v1/projects/{}/{route}", self.id)).key(&self.key));
        assert_eq!(answer.status, 200, "{route}: {}", answer.text());
        answer.json()
    }

    fn refusal(&self, route: &str) -> (u16, String) {
        let answer = self.server.ask(&Ask::get(&format!("/v1/projects/{}/{route}", self.id)).key(&self.key));
        (answer.status, answer.error())
    }
}

fn title(text: &str) -> Value {
    json!({"id": "td-1", "title": text})
}

fn edit(from: &str, to: &str) -> Value {
    json!({"schema_version": 1, "new_data": title(to), "previous_data": title(from)})
}

fn seqs(page: &Value) -> Vec<i64> {
    let events = page["events"].as_array().expect("events");
    events.iter().map(|e| e["server_seq"].as_i64().expect("a sequence")).collect()
}

#[test]
fn an_entity_shows_its_own_events_in_pages_and_no_others() {
    let p = Project::new();
    p.push("a", 1, "create", "issues", "td-1", edit("", "one"));
    p.push("a", 2, "create", "issues", "td-2", edit("", "another"));
    p.push("a", 3, "create", "logs", "td-1", json!({"new_data": {"message": "of the same name"}}));
    p.push("b", 1, "update", "issues", "td-1", edit("one", "two"));
    p.push("b", 2, "update", "issues", "td-1", edit("two", "three"));
    let all = p.get("history/issue/td-1");
    assert_eq!((&all["entity_type"], &all["entity_id"]), (&json!("issues"), &json!("td-1")));
    assert_eq!(seqs(&all), [1, 4, 5]);
    assert_eq!((&all["last_server_seq"], &all["has_more"]), (&json!(5), &json!(false)));
    assert_eq!(all["events"][1]["payload"], edit("one", "two"));
    assert_eq!(all["events"][1]["device_id"], "b");
    let first = p.get("history/issues/td-1?limit=2");
    assert_eq!((seqs(&first), &first["has_more"]), (vec![1, 4], &json!(true)));
    let rest = p.get("history/issues/td-1?limit=2&after_server_seq=4");
    assert_eq!((seqs(&rest), &rest["has_more"]), (vec![5], &json!(false)));
    assert_eq!(seqs(&p.get("history/issues/td-none")), [0; 0]);
    assert_eq!(p.refusal("history/widgets/td-1"), (400, "bad_request invalid entity_type: widgets".into()));
    assert_eq!(p.refusal("history/issues/td-1?limit=0"), (400, "bad_request invalid limit".into()));
    let bad = p.refusal("history/issues/td-1?after_server_seq=x");
    assert_eq!(bad, (400, "bad_request invalid after_server_seq".into()));
}

#[test]
fn an_id_with_odd_characters_is_found_as_it_was_pushed() {
    let p = Project::new();
    p.push("a", 1, "create", "issues", "td-\"/ä b", json!({"new_data": title("odd")}));
    let page = p.get("history/issues/td-%22%2F%C3%A4%20b");
    assert_eq!((seqs(&page), &page["entity_id"]), (vec![1], &json!("td-\"/ä b")));
}

#[test]
fn what_lost_is_kept_with_both_sides_and_walked_in_pages() {
    let p = Project::new();
    assert_eq!(p.get("sync/conflicts"), json!({"seq": 0, "conflicts": [], "next": null}));
    for n in 1..=3 {
        let id = format!("td-{n}");
        p.push("a", 10 * n, "create", "issues", &id, edit("", "one"));
        p.push("a", 10 * n + 1, "update", "issues", &id, edit("one", "mine"));
        p.push("b", 10 * n, "update", "issues", &id, edit("one", "theirs"));
    }
    let all = p.get("sync/conflicts");
    assert_eq!((&all["seq"], &all["next"]), (&json!(9), &json!(null)));
    let list = all["conflicts"].as_array().expect("a list");
    assert_eq!(list.len(), 3);
    let id = list[0]["id"].as_str().expect("an id");
    assert_eq!(
        list[0],
        json!({"id": id, "kind": "edit", "entity_type": "issues", "entity_id": "td-1",
            "winner": {"server_seq": 3, "device_id": "b", "values": {"title": "theirs"}},
            "loser": {"server_seq": 2, "device_id": "a", "values": {"title": "mine"}}})
    );
    let (mut walked, mut next) = (Vec::new(), Value::Null);
    loop {
        let after = next.as_str().map(|next| format!("&after={next}")).unwrap_or_default();
        let page = p.get(&format!("sync/conflicts?limit=2{after}"));
        walked.extend(page["conflicts"].as_array().expect("a list").clone());
        next = page["next"].clone();
        if next.is_null() {
            break;
        }
        assert_eq!(page["conflicts"].as_array().map(Vec::len), Some(2));
    }
    assert_eq!(&walked, list);
    assert_eq!(p.refusal("sync/conflicts?after=x"), (400, "bad_request invalid after".into()));
    assert_eq!(p.refusal("sync/conflicts?limit=x"), (400, "bad_request invalid limit".into()));
}

#[test]
fn both_routes_need_a_key_and_a_membership_and_pack_what_is_large() {
    let p = Project::new();
    for n in 1..=12 {
        p.push("a", n, "create", "issues", "td-1", edit("", &format!("title {n} and some more words")));
    }
    let (stranger, _) = p.server.key("eve");
    for route in ["sync/conflicts", "history/issues/td-1"] {
        let ask = Ask::get(&format!("/v1/projects/{}/{route}", p.id));
        assert_eq!(p.server.ask(&ask).status, 401, "{route}");
        assert_eq!(p.server.ask(&ask.clone().key(&stranger)).status, 403, "{route}");
    }
    let ask = Ask::get(&format!("/v1/projects/{}/history/issues/td-1", p.id)).key(&p.key);
    let packed = p.server.ask(&ask.clone().header("Accept-Encoding", "zstd"));
    assert_eq!(packed.header("content-encoding"), Some("zstd"));
    assert_eq!(unpacked("zstd", &packed.body), p.server.ask(&ask).body);
}
