//! Live streams, waiting pulls, limits per key and project, and a disk that is nearly full.

mod support;

use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use support::wire::{Answer, Ask};
use support::{Server, push, wait_until};

/// A stream that is read frame by frame.
struct Watching(BufReader<TcpStream>);

impl Watching {
    fn open(server: &Server, project: &str, key: &str, last: Option<&str>) -> Self {
        let mut ask = Ask::get(&format!("/v1/projects/{project}/events")).key(key);
        if let Some(last) = last {
            ask = ask.header("Last-Event-ID", last);
        }
        let mut stream = TcpStream::connect(server.address).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        stream.write_all(&ask.bytes()).expect("write");
        let mut watching = Self(BufReader::new(stream));
        let head: Vec<String> = std::iter::from_fn(|| watching.line().filter(|l| !l.is_empty())).collect();
        assert!(head[0].contains(" 200 "), "{head:?}");
        let has = |line: &str| head.iter().any(|h| h.eq_ignore_ascii_case(line));
        assert!(has("content-type: text/event-stream") && has("cache-control: no-cache"), "{head:?}");
        assert!(has("x-accel-buffering: no") && has("connection: keep-alive"), "{head:?}");
        watching
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).expect("the stream goes on");
        (read > 0).then(|| line.trim_end().to_string())
    }

    /// The next chunk; `None` at the orderly end.
    fn next(&mut self) -> Option<String> {
        let length = usize::from_str_radix(&self.line()?, 16).expect("a length");
        let mut chunk = vec![0; length];
        self.0.read_exact(&mut chunk).expect("a chunk");
        self.line();
        (length > 0).then(|| String::from_utf8(chunk).expect("text"))
    }
}

/// `type id token` of each frame.
fn told(chunk: &str) -> Vec<String> {
    let frames = chunk.split("\n\n").filter(|f| !f.is_empty());
    let told = frames.map(|frame| {
        let lines: Vec<&str> = frame.lines().collect();
        let [kind, data, id] = lines[..] else { panic!("a frame has three lines: {frame:?}") };
        let data: serde_json::Value =
            serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("json");
        assert_eq!(kind.strip_prefix("event: "), data["type"].as_str());
        assert_eq!(id.strip_prefix("id: "), data["change_token"].as_str());
        let issue = data["issue_id"].as_str().unwrap_or("-");
        format!(
            "{} {issue} {}",
            data["type"].as_str().expect("type"),
            data["change_token"].as_str().expect("token")
        )
    });
    told.collect()
}

#[test]
fn a_push_is_told_to_watchers_and_a_returning_one_gets_what_it_missed() {
    let server = Server::start();
    let (key, _) = server.key("ana");
    let project = server.project(&key, "Garden");
    let mut first = Watching::open(&server, &project, &key, None);
    let mut second = Watching::open(&server, &project, &key, None);
    assert_eq!(server.ask(&push(&project, &[1]).key(&key)).status, 200);
    for watching in [&mut first, &mut second] {
        assert_eq!(told(&watching.next().expect("a frame")), ["issue.upserted td-000001 1"]);
    }
    drop(second);
    assert_eq!(server.ask(&push(&project, &[2, 3]).key(&key)).status, 200);
    assert_eq!(
        told(&first.next().expect("a frame")),
        ["issue.upserted td-000002 2", "issue.upserted td-000003 3"]
    );
    let mut back = Watching::open(&server, &project, &key, Some("1"));
    assert_eq!(
        told(&back.next().expect("what it missed")),
        ["issue.upserted td-000002 2", "issue.upserted td-000003 3"]
    );
    let mut stranger = Watching::open(&server, &project, &key, Some("1700000000000000000"));
    assert_eq!(told(&stranger.next().expect("an echo")), ["refresh - 1700000000000000000"]);
    assert_eq!(server.ask(&push(&project, &[4]).key(&key)).status, 200);
    for watching in [&mut first, &mut back, &mut stranger] {
        assert_eq!(told(&watching.next().expect("a frame")), ["issue.upserted td-000004 4"]);
    }
}

#[test]
fn streams_end_at_once_when_the_server_stops() {
    let mut server = Server::start();
    let (key, _) = server.key("ana");
    let project = server.project(&key, "Garden");
    let mut watching = Watching::open(&server, &project, &key, None);
    let begun = Instant::now();
    server.signal(rustix::process::Signal::TERM);
    assert!(server.wait().success());
    assert!(begun.elapsed() < Duration::from_secs(10), "took {:?}", begun.elapsed());
    assert_eq!(watching.next(), None, "an orderly end");
}

#[test]
fn a_stream_ends_with_the_membership_and_with_the_key() {
    let server = Server::start();
    let (ana, _) = server.key("ana");
    let (ben, ben_id) = server.key("ben");
    let project = server.project(&ana, "Garden");
    let members = format!("/v1/projects/{project}/members");
    let add = Ask::post(&members).key(&ana).json(&json!({"user_id": ben_id, "role": "reader"}));
    assert_eq!(server.ask(&add).status, 201);
    let mut watching = Watching::open(&server, &project, &ben, None);
    let mut owner = Watching::open(&server, &project, &ana, None);
    assert_eq!(server.ask(&Ask::new("DELETE", &format!("{members}/{ben_id}")).key(&ana)).status, 204);
    assert_eq!(server.ask(&push(&project, &[1]).key(&ana)).status, 200);
    assert_eq!(watching.next(), None, "a former member is told nothing");
    assert_eq!(told(&owner.next().expect("a frame")), ["issue.upserted td-000001 1"]);
    let keys = server.admin(&["keys", "list", "--email", "ana@test.local"]);
    server.admin(&["keys", "revoke", keys[0]["id"].as_str().expect("id")]);
    let (other, _) = server.key("ana");
    assert_eq!(server.ask(&push(&project, &[2]).key(&other)).status, 200);
    assert_eq!(owner.next(), None, "a revoked key is told nothing");
}

#[test]
fn a_key_may_hold_so_many_streams_and_no_more() {
    let server = Server::with(&[("SYNC_STREAMS_PER_KEY", "2")]);
    let (key, _) = server.key("ana");
    let project = server.project(&key, "Garden");
    let (one, _two) =
        (Watching::open(&server, &project, &key, None), Watching::open(&server, &project, &key, None));
    let ask = Ask::get(&format!("/v1/projects/{project}/events")).key(&key);
    let refused = server.ask(&ask);
    assert_eq!((refused.status, refused.error().as_str()), (429, "rate_limited rate limit exceeded"));
    assert!(refused.header("retry-after").is_some());
    drop(one);
    // The server notices that a watcher has gone when it next has something to tell.
    let mut n = 0;
    wait_until("the place is free again", || {
        n += 1;
        server.ask(&push(&project, &[n]).key(&key));
        let mut stream = TcpStream::connect(server.address).expect("connect");
        stream.write_all(&ask.bytes()).expect("write");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("a status");
        line.contains(" 200 ")
    });
}

#[test]
fn a_waiting_pull_answers_when_there_is_something_and_not_later_than_asked() {
    let server = Server::start();
    let (key, _) = server.key("ana");
    let project = server.project(&key, "Garden");
    let pull = |query: &str| Ask::get(&format!("/v1/projects/{project}/sync/pull?{query}")).key(&key);
    let begun = Instant::now();
    let empty = server.ask(&pull("wait=1"));
    assert_eq!(empty.json()["events"], json!([]));
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let (ask, address) = (pull("wait=20&exclude_client=other"), server.address);
    let waiting = std::thread::spawn(move || support::wire::send(address, &ask));
    assert_eq!(server.ask(&push(&project, &[1]).key(&key)).status, 200);
    let answer: Answer = waiting.join().expect("thread");
    assert_eq!(answer.json()["last_server_seq"], 1);
    assert!(begun.elapsed() < Duration::from_secs(15));
    // Its own events are nothing to wake a device for.
    let own = server.ask(&pull("wait=1&exclude_client=dev"));
    assert_eq!(own.json()["events"], json!([]));
    for bad in ["wait=soon", "wait=-1"] {
        assert_eq!(server.ask(&pull(bad)).error(), "bad_request invalid wait", "{bad}");
    }
}

#[test]
fn limits_count_per_key_and_project_and_refusals_are_written_down() {
    let server = Server::with(&[("SYNC_RATE_LIMIT_PUSH", "2")]);
    let (ana, _) = server.key("ana");
    let (one, two) = (server.project(&ana, "One"), server.project(&ana, "Two"));
    for n in 1..=2 {
        assert_eq!(server.ask(&push(&one, &[n]).key(&ana)).status, 200);
    }
    let refused = server.ask(&push(&one, &[3]).key(&ana));
    assert_eq!((refused.status, refused.error().as_str()), (429, "rate_limited rate limit exceeded"));
    let wait: u64 = refused.header("retry-after").and_then(|v| v.parse().ok()).expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(server.ask(&push(&two, &[4]).key(&ana)).status, 200, "projects are apart");
    let (other, _) = server.key("ana");
    assert_eq!(server.ask(&push(&one, &[5]).key(&other)).status, 200, "keys are apart");
    let (stranger, _) = server.key("eve");
    for _ in 0..3 {
        let answer = server.ask(&push(&one, &[6]).key(&stranger));
        assert_eq!(answer.status, 403, "who may not push is told so, and uses up nothing");
    }
    // Listing keys writes down what is written behind.
    server.admin(&["keys", "list"]);
    let db = rusqlite::Connection::open(server.db()).expect("open");
    let row: (String, String, String) = db
        .query_row("SELECT key_id, ip, endpoint_class FROM rate_limit_events", [], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?))
        })
        .expect("one row");
    assert!(row.0.starts_with("ak_"), "{row:?}");
    assert_eq!((row.1.as_str(), row.2.as_str()), ("127.0.0.1", "push"));
}

#[test]
fn a_nearly_full_disk_refuses_pushes_politely_and_answers_everything_else() {
    let mut server = Server::start();
    let (key, _) = server.key("ana");
    let project = server.project(&key, "Garden");
    server.restart_with(&[("SYNC_DISK_FLOOR_MIB", "4294967295")]);
    let another = server.ask(&Ask::post("/v1/projects").key(&key).json(&json!({"name": "Shed"})));
    assert_eq!(another.status, 503, "{}", another.text());
    let refused = server.ask(&push(&project, &[1]).key(&key));
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("60")));
    assert!(refused.error().contains("disk is nearly full"), "{}", refused.error());
    let pull = server.ask(&Ask::get(&format!("/v1/projects/{project}/sync/pull")).key(&key));
    assert_eq!((pull.status, pull.json()["events"].clone()), (200, json!([])));
    let ready = server.ask(&Ask::get("/readyz"));
    assert_eq!((ready.status, ready.json()["reasons"][0]["id"].clone()), (503, json!("disk")));
}
