//! The load: keep-alive connections on one thread, each with one request under way.
//!
//! Duty: cost as little as possible, and believe no answer that does not say what it should.
//! Danger: this reads only what these servers send: HTTP/1.1 with a length or in chunks.

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use std::cell::Cell;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// What to ask for, again and again.
pub struct Load {
    addr: SocketAddr,
    kind: Kind,
    path: String,
    key: String,
}

enum Kind {
    Get,
    /// So many events.
    Push(u64),
    /// A page of so many events, from anywhere in a log that holds at least so many more.
    Pull {
        page: u64,
        stored: u64,
    },
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Measured {
    /// Requests answered per second.
    pub per_second: f64,
    /// Half of the answers came within so many milliseconds.
    pub p50_ms: f64,
    /// All but one percent did.
    pub p99_ms: f64,
    /// How many were answered.
    pub requests: u64,
}

impl Load {
    /// A GET that must be answered with 200.
    pub fn get(addr: SocketAddr, path: &str, key: &str) -> Self {
        Self { addr, kind: Kind::Get, path: path.into(), key: key.into() }
    }

    /// Pushes of new events, all of which must be accepted.
    pub fn push(key: &str, project: &str, events: u64) -> Self {
        let path = format!("/v1/projects/{project}/sync/push");
        Self { kind: Kind::Push(events), ..Self::get(SocketAddr::from(([127, 0, 0, 1], 0)), &path, key) }
    }

    /// Pages of `page` events of a log that holds `stored`.
    pub fn pull(key: &str, project: &str, page: u64, stored: u64) -> Self {
        let path = format!("/v1/projects/{project}/sync/pull");
        Self {
            kind: Kind::Pull { page, stored },
            ..Self::get(SocketAddr::from(([127, 0, 0, 1], 0)), &path, key)
        }
    }

    /// The same at another address.
    pub fn to(self, addr: SocketAddr) -> Self {
        Self { addr, ..self }
    }

    /// The n-th request of this run.
    fn write(&self, n: u64, run: u64, into: &mut String) {
        into.clear();
        let Self { addr, path, key, .. } = self;
        // Writing to a String does not fail.
        let _ = match self.kind {
            Kind::Get => {
                write!(into, "GET {path} HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {key}\r\n\r\n")
            }
            Kind::Pull { page, stored } => {
                let after = scatter(n) % stored.saturating_sub(page).max(1);
                write!(
                    into,
                    "GET {path}?after_server_seq={after}&limit={page} HTTP/1.1\r\nHost: {addr}\r\n\
                     Authorization: Bearer {key}\r\n\r\n"
                )
            }
            Kind::Push(events) => {
                let body = batch(n, run, events);
                write!(
                    into,
                    "POST {path} HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {key}\r\n\
                     Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )
            }
        };
    }

    fn check(&self, answer: &Answer) -> Result<()> {
        let near = answer.body.len().min(200);
        let (part, expected) = match self.kind {
            Kind::Get => (&answer.body[..near], String::new()),
            Kind::Push(events) => (&answer.body[..near], format!("\"accepted\":{events},")),
            Kind::Pull { .. } => (&answer.body[answer.body.len() - near..], "\"has_more\":true".into()),
        };
        let part = String::from_utf8_lossy(part);
        ensure!(answer.status == 200 && part.contains(&expected), "unexpected: {} {part}", answer.status);
        Ok(())
    }
}

/// Drives the load for some time; an unexpected answer fails it.
pub async fn run(load: Load, connections: usize, time: Duration) -> Result<Measured> {
    // Each run has a session of its own, so that its events are new.
    let run = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos() as u64;
    let (load, next, begun) = (Rc::new(load), Rc::new(Cell::new(0)), Instant::now());
    let local = LocalSet::new();
    let tasks: Vec<_> = (0..connections)
        .map(|_| local.spawn_local(connection(load.clone(), next.clone(), run, begun + time)))
        .collect();
    local.await;
    let elapsed = begun.elapsed().as_secs_f64();
    let mut micros = Vec::new();
    for task in tasks {
        micros.extend(task.await??);
    }
    micros.sort_unstable();
    let at = |share: f64| {
        let index = (micros.len() as f64 * share) as usize;
        micros.get(index).map_or(0.0, |us| f64::from(*us) / 1e3)
    };
    let requests = micros.len() as u64;
    Ok(Measured { per_second: requests as f64 / elapsed, p50_ms: at(0.5), p99_ms: at(0.99), requests })
}

/// One request after the other until the time is over. How long each took, in microseconds.
async fn connection(load: Rc<Load>, next: Rc<Cell<u64>>, run: u64, end: Instant) -> Result<Vec<u32>> {
    let mut stream = TcpStream::connect(load.addr).await?;
    stream.set_nodelay(true)?;
    let (mut request, mut answer, mut micros) = (String::new(), Answer::default(), Vec::new());
    while Instant::now() < end {
        load.write(next.replace(next.get() + 1), run, &mut request);
        let asked = Instant::now();
        stream.write_all(request.as_bytes()).await?;
        answer.read(&mut stream).await?;
        micros.push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
        load.check(&answer)?;
    }
    Ok(micros)
}

/// Makes the project that the load goes to.
pub fn create_project(addr: SocketAddr, key: &str) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stream = TcpStream::connect(addr).await?;
        let body = r#"{"name":"load"}"#;
        let request = format!(
            "POST /v1/projects HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Answer::default();
        answer.read(&mut stream).await?;
        let made: serde_json::Value = serde_json::from_slice(&answer.body)?;
        Ok(made["id"].as_str().with_context(|| format!("no project: {made}"))?.to_owned())
    })
}

/// An answer; its memory is used again for the next.
#[derive(Default)]
struct Answer {
    status: u16,
    body: Vec<u8>,
    buffer: Vec<u8>,
}

impl Answer {
    async fn read(&mut self, stream: &mut TcpStream) -> Result<()> {
        let head = self.through(stream, b"\r\n\r\n").await?;
        let head = String::from_utf8(head)?.to_ascii_lowercase();
        self.status = head.get(9..12).and_then(|code| code.parse().ok()).context("no status")?;
        self.body.clear();
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if let Some(length) = header("content-length:") {
            return self.take(stream, length.parse()?).await;
        }
        ensure!(header("transfer-encoding:") == Some("chunked"), "an answer without a length: {head}");
        loop {
            let line = String::from_utf8(self.through(stream, b"\r\n").await?)?;
            let size = usize::from_str_radix(line.trim(), 16)?;
            self.take(stream, size).await?;
            self.through(stream, b"\r\n").await?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    /// Removes and returns what is up to and with the mark.
    async fn through(&mut self, stream: &mut TcpStream, mark: &[u8]) -> Result<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(mark.len()).position(|window| window == mark) {
                let rest = self.buffer.split_off(at + mark.len());
                return Ok(std::mem::replace(&mut self.buffer, rest));
            }
            self.more(stream).await?;
        }
    }

    /// Moves so many bytes to the body.
    async fn take(&mut self, stream: &mut TcpStream, bytes: usize) -> Result<()> {
        while self.buffer.len() < bytes {
            self.more(stream).await?;
        }
        self.body.extend(self.buffer.drain(..bytes));
        Ok(())
    }

    async fn more(&mut self, stream: &mut TcpStream) -> Result<()> {
        self.buffer.reserve(64 * 1024);
        if stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the server closed the connection");
        }
        Ok(())
    }
}

/// Creations of issues, as the client sends them.
fn batch(n: u64, run: u64, events: u64) -> String {
    let mut body = format!(r#"{{"device_id":"load","session_id":"ses_{run}","events":["#);
    for action in n * events + 1..=(n + 1) * events {
        let id = entity(run ^ action);
        let comma = if action > n * events + 1 { "," } else { "" };
        // Writing to a String does not fail.
        let _ = write!(
            body,
            r#"{comma}{{"client_action_id":{action},"action_type":"create","entity_type":"issues","entity_id":"{id}","payload":{},"client_timestamp":"2026-11-21T09:53:18.7+02:00"}}"#,
            payload(&id)
        );
    }
    body.push_str("]}");
    body
}

/// An id in no order, as clients make them.
pub fn entity(n: u64) -> String {
    format!("td-{:012x}", scatter(n) & 0xffff_ffff_ffff)
}

/// The body of an event, of the size of an ordinary issue.
pub fn payload(id: &str) -> String {
    format!(
        r#"{{"meta":{{"v":1,"actor":"user:load","origin":"td-load","base_seq":0}},"new_data":{{"id":"{id}","title":"Repair the lamp over the shed door","description":"","status":"open","type":"task","priority":"P2","points":0,"labels":[],"created_at":"2026-11-21T09:53:18.7Z","updated_at":"2026-11-21T09:53:18.7Z"}},"previous_data":{{}},"schema_version":1}}"#
    )
}

fn scatter(n: u64) -> u64 {
    let z = n.wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (z ^ (z >> 29)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 3
}
