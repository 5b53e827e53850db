//! Headers, one `name: value` a line, of a snapshot, a pull, a stream and a status.
//!
//! What holds: a part of a file is that part of the very file, a packed answer unpacks to the plain one and was asked for
//! by name, and no header makes a route fail.

use crate::world::{Answer, World, with_world};
use axum::http::{HeaderName, Method, StatusCode};
use std::io::Read;

/// What somebody else could have set means nothing here.
const ASKED: [&str; 9] = [
    "range",
    "if-range",
    "if-none-match",
    "accept-encoding",
    "last-event-id",
    "x-forwarded-for",
    "authorization",
    "user-agent",
    "host",
];

pub fn run(input: &[u8]) {
    let mut headers: Vec<(&str, &[u8])> = Vec::new();
    for line in input.split(|b| *b == b'\n').take(32) {
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let Ok(name) = HeaderName::from_bytes(&line[..colon]) else { continue };
        let Some(name) = ASKED.into_iter().find(|n| *n == name) else { continue };
        headers.push((name, line[colon + 1..].trim_ascii()));
    }
    with_world(|world| {
        let ask = |path: &str| world.ask(Method::GET, path, &headers, b"");
        let Some(answer) = ask(&world.sync("snapshot")) else { return };
        snapshot(world, &headers, &answer);
        for path in [world.sync("pull"), world.sync("status"), "/v1/keys/current".into()] {
            if let Some(answer) = ask(&path).filter(|a| !is_refused(a)) {
                assert_eq!(answer.status, StatusCode::OK, "{path}");
                same(&headers, &answer, &world.get(&path).body);
            }
        }
        if let Some(answer) =
            ask(&format!("/v1/projects/{}/events", world.project)).filter(|a| !is_refused(a))
        {
            assert_eq!(answer.status, StatusCode::OK);
            stream(&answer);
        }
    });
}

/// By the key.
fn is_refused(answer: &Answer) -> bool {
    answer.status == StatusCode::UNAUTHORIZED && answer.refusal() == "unauthorized"
}

fn snapshot(world: &World, headers: &[(&str, &[u8])], answer: &Answer) {
    if is_refused(answer) {
        return;
    }
    let packed = answer.header("content-encoding");
    let wish = packed.unwrap_or("identity").as_bytes();
    let whole =
        world.ask(Method::GET, &world.sync("snapshot"), &[("accept-encoding", wish)], b"").expect("a file");
    let is_same_file = answer.header("etag") == whole.header("etag");
    match answer.status {
        StatusCode::OK => same(headers, answer, &world.get(&world.sync("snapshot")).body),
        StatusCode::NOT_MODIFIED => assert!(answer.body.is_empty()),
        StatusCode::PARTIAL_CONTENT => {
            let range = answer.header("content-range").expect("which part");
            let (part, size) = range.strip_prefix("bytes ").and_then(|r| r.split_once('/')).expect(range);
            let (from, last) = part.split_once('-').expect(range);
            let (from, last): (usize, usize) = (from.parse().expect(range), last.parse().expect(range));
            assert!(from <= last && size == whole.body.len().to_string(), "{range}");
            if let Some((first, end)) = plain_range(headers) {
                assert_eq!((from, last), (first, end.min(whole.body.len() - 1)), "{headers:?}");
            }
            assert!(!is_same_file || answer.body == whole.body[from..=last], "{range} is another part");
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            assert_eq!(answer.header("content-range"), Some(&*format!("bytes */{}", whole.body.len())));
        }
        other => panic!("{other}: {}", String::from_utf8_lossy(&answer.body)),
    }
}

/// What is asked for, where nothing but `bytes=FROM-TO` is said about it.
fn plain_range(headers: &[(&str, &[u8])]) -> Option<(usize, usize)> {
    let mut ranges = headers.iter().filter(|(name, _)| *name == "range");
    let range = std::str::from_utf8(ranges.next()?.1).ok().filter(|_| ranges.next().is_none())?;
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (is_number(from) && is_number(to)).then_some((from.parse().ok()?, to.parse().ok()?))
}

/// Packed or not, and only as the client said.
fn same(headers: &[(&str, &[u8])], answer: &Answer, plain: &[u8]) {
    let Some(packed) = answer.header("content-encoding") else {
        assert!(answer.body == plain, "another body");
        return;
    };
    let wished = headers.iter().any(|(name, value)| {
        let value = String::from_utf8_lossy(value).to_ascii_lowercase();
        *name == "accept-encoding" && (value.contains(packed) || packed == "gzip" && value.contains('*'))
    });
    assert!(wished, "{packed}, and nobody said so: {headers:?}");
    let mut unpacked = Vec::new();
    match packed {
        "gzip" => {
            flate2::read::GzDecoder::new(&answer.body[..]).read_to_end(&mut unpacked).expect("gzip");
        }
        "zstd" => zstd::stream::copy_decode(&answer.body[..], &mut unpacked).expect("zstd"),
        other => panic!("packed as {other}"),
    }
    assert!(unpacked == plain, "{packed} unpacks to something else");
}

/// Every line is a comment, a field that we use, or the end of an event.
fn stream(answer: &Answer) {
    let text = std::str::from_utf8(&answer.body).expect("text");
    assert!(text.is_empty() || text.ends_with("\n\n"), "{text:?}");
    for line in text.lines() {
        let known = ["id:", "event:", "data:", ":", "retry:"].iter().any(|field| line.starts_with(field));
        assert!(line.is_empty() || known, "{line:?}");
        if let Some(data) = line.strip_prefix("data:") {
            serde_json::from_str::<serde_json::Value>(data).unwrap_or_else(|e| panic!("{e}: {data}"));
        }
    }
}
