//! Pulls that are packed on their way: the same page, smaller.

mod support;

use serde_json::{Value, json};
use support::wire::{Answer, Ask};
use support::{Server, push, unpacked};

fn plain(answer: &Answer) -> Value {
    let bytes = match answer.header("content-encoding") {
        Some(encoding) => unpacked(encoding, &answer.body),
        None => answer.body.clone(),
    };
    serde_json::from_slice(&bytes).expect("json")
}

#[test]
fn a_pull_is_packed_as_the_client_likes_it_and_says_the_same() {
    let server = Server::start();
    let (key, _) = server.key("ana");
    let project = server.project(&key, "garden");
    let pull = |query: &str, accept: &str| {
        let ask = Ask::get(&format!("/v1/projects/{project}/sync/pull?{query}")).key(&key);
        server.ask(&if accept.is_empty() { ask } else { ask.header("Accept-Encoding", accept) })
    };
    for first in [1, 1001, 2001] {
        server.ask(&push(&project, &(first..first + 1000).collect::<Vec<_>>()).key(&key));
    }
    // One page in a piece with a length, one in many chunks.
    for limit in [100, 3000] {
        let want = pull(&format!("limit={limit}"), "");
        assert_eq!(want.header("content-encoding"), None);
        assert_eq!(want.json()["events"].as_array().map(Vec::len), Some(limit));
        for (accept, encoding) in [
            ("gzip", Some("gzip")),
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("gzip;q=1.0, zstd;q=0.5", Some("gzip")),
            ("identity", None),
            ("gzip;q=0", None),
        ] {
            let got = pull(&format!("limit={limit}"), accept);
            assert_eq!((got.status, got.header("content-encoding")), (200, encoding), "{accept}");
            assert_eq!(got.header("vary"), Some("accept-encoding"));
            assert_eq!(got.header("x-td-head"), Some("3000"));
            assert_eq!(plain(&got), want.json(), "{accept} {limit}");
            if encoding.is_some() {
                assert!(got.body.len() * 5 < want.body.len(), "{accept}: {} bytes", got.body.len());
            }
        }
    }
    let small = pull("after_server_seq=2999", "gzip");
    assert_eq!((small.header("content-encoding"), small.header("content-length").is_some()), (None, true));
    assert!(small.body.len() < 1024);
    assert_eq!(pull("limit=0", "gzip").error(), "bad_request invalid limit");
}

#[test]
fn a_page_ends_at_its_bytes_and_the_client_goes_on_where_it_ended() {
    let server = Server::start();
    let (key, _) = server.key("ana");
    let project = server.project(&key, "garden");
    let filler = "x".repeat(1_000_000);
    for n in 1..=12 {
        let event = json!({"client_action_id": n, "action_type": "create", "entity_type": "issues", "entity_id":
            format!("td-{n}"), "payload": {"new_data": {"title": filler}}, "client_timestamp": "2026-11-21T10:00:00Z"});
        let body = json!({"device_id": "dev", "session_id": "ses", "events": [event]});
        let pushed =
            server.ask(&Ask::post(&format!("/v1/projects/{project}/sync/push")).key(&key).json(&body));
        assert_eq!(pushed.json()["accepted"], 1);
    }
    for accept in ["identity", "gzip", "zstd"] {
        let pull = |after: i64| {
            let path = format!("/v1/projects/{project}/sync/pull?after_server_seq={after}");
            plain(&server.ask(&Ask::get(&path).key(&key).header("Accept-Encoding", accept)))
        };
        let first = pull(0);
        assert_eq!(first["has_more"], true);
        let last = first["last_server_seq"].as_i64().expect("a sequence");
        assert_eq!(
            (first["events"].as_array().map(Vec::len), last),
            (Some(9), 9),
            "8 MiB and what passes them"
        );
        let second = pull(last);
        assert_eq!(
            (second["events"].as_array().map(Vec::len), &second["has_more"]),
            (Some(3), &json!(false))
        );
    }
}
