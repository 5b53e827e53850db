//! The load: keep-alive connections on one thread, each with one request under way.
//!
//! Duty: cost as little as possible, and believe no answer that does not say what it should.
//! Danger: a rate that is offered and not kept up with hides in a closed loop. [`paced`] counts what a request waited
//! for its turn as part of how long it took.

use crate::events::{self, Does};
use crate::http::{Answer, Connection, get, post};
use anyhow::{Result, ensure};
use serde::Serialize;
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::LocalSet;

/// What to ask for, again and again.
#[derive(Clone)]
pub struct Load {
    addr: SocketAddr,
    kind: Kind,
    path: String,
    key: String,
    run: u64,
    next: Rc<Cell<u64>>,
}

#[derive(Clone, Copy)]
enum Kind {
    Get,
    /// So many new issues in a push.
    Push(u64),
    /// A page of so many events, from anywhere in a log that holds at least so many more.
    Pull {
        page: u64,
        stored: u64,
        gzip: bool,
    },
    /// What is behind the last event: nothing.
    Poll(u64),
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
    /// In how many seconds.
    pub seconds: f64,
}

impl Load {
    fn new(addr: SocketAddr, kind: Kind, path: String, key: &str) -> Self {
        Self { addr, kind, path, key: key.into(), run: events::run(), next: Rc::default() }
    }

    /// A GET that must be answered with 200.
    pub fn get(addr: SocketAddr, path: &str) -> Self {
        Self::new(addr, Kind::Get, path.into(), "")
    }

    /// Pushes of new events, all of which must be accepted.
    pub fn push(addr: SocketAddr, key: &str, project: &str, events: u64) -> Self {
        Self::new(addr, Kind::Push(events), format!("/v1/projects/{project}/sync/push"), key)
    }

    /// Pages of `page` events of a log that holds `stored`.
    pub fn pull(addr: SocketAddr, key: &str, project: &str, page: u64, stored: u64, gzip: bool) -> Self {
        let path = format!("/v1/projects/{project}/sync/pull");
        Self::new(addr, Kind::Pull { page, stored, gzip }, path, key)
    }

    /// Pulls of a client that has everything.
    pub fn poll(addr: SocketAddr, key: &str, project: &str, head: u64) -> Self {
        Self::new(addr, Kind::Poll(head), format!("/v1/projects/{project}/sync/pull"), key)
    }

    /// The n-th request.
    fn write(&self, n: u64, into: &mut String) {
        into.clear();
        let Self { addr, path, key, run, .. } = self;
        match self.kind {
            Kind::Get => get(into, *addr, path, key, ""),
            Kind::Pull { page, stored, gzip } => {
                let after = events::scatter(n) % stored.saturating_sub(page).max(1);
                let more = if gzip { "Accept-Encoding: gzip\r\n" } else { "" };
                get(into, *addr, &format!("{path}?after_server_seq={after}&limit={page}"), key, more);
            }
            Kind::Poll(head) => {
                let client = "exclude_client=0123456789abcdef";
                get(into, *addr, &format!("{path}?after_server_seq={head}&limit=1000&{client}"), key, "");
            }
            Kind::Push(count) => {
                post(into, *addr, path, key, &events::push(*run, n * count, count, Does::Create(0)));
            }
        }
    }

    fn check(&self, answer: &Answer) -> Result<()> {
        let body = &answer.body;
        let near = body.len().min(200);
        let (part, expected) = match self.kind {
            Kind::Get => (&body[..near], String::new()),
            Kind::Push(events) => (&body[..near], format!("\"accepted\":{events},")),
            // What is inside was looked at once, see `rows::pulls`.
            Kind::Pull { gzip: true, .. } => {
                let head = &answer.head;
                ensure!(head.contains("content-encoding: gzip"), "not packed: {head}");
                (&body[..0], String::new())
            }
            Kind::Pull { .. } => (&body[body.len() - near..], "\"has_more\":true".into()),
            Kind::Poll(head) => {
                (&body[..near], format!("{{\"events\":[],\"last_server_seq\":{head},\"has_more\":false}}"))
            }
        };
        let part = String::from_utf8_lossy(part);
        ensure!(answer.status == 200 && part.contains(&expected), "unexpected: {} {part}", answer.status);
        Ok(())
    }
}

/// When the next request may leave.
pub trait Pace {
    /// Waits for the turn of the `n`-th request. From when on it counts; `None`: no more.
    async fn turn(&self, n: u64) -> Option<Instant>;
}

/// As soon as the answer before is there.
struct Until(Instant);

impl Pace for Until {
    async fn turn(&self, _: u64) -> Option<Instant> {
        let now = Instant::now();
        (now < self.0).then_some(now)
    }
}

/// So many a second, whatever the answers do.
struct Rate {
    begun: Instant,
    per_second: f64,
    end: Instant,
}

impl Pace for Rate {
    async fn turn(&self, n: u64) -> Option<Instant> {
        let due = self.begun + Duration::from_secs_f64(n as f64 / self.per_second);
        if due >= self.end {
            return None;
        }
        if Instant::now() >= due {
            // All connections were busy: the wait counts.
            return Some(due);
        }
        tokio::time::sleep_until(due.into()).await;
        // The timer's own lateness does not.
        Some(Instant::now())
    }
}

/// Drives the load for some time; an unexpected answer fails it.
pub async fn run(load: &Load, connections: usize, time: Duration) -> Result<Measured> {
    with_pace(load, connections, Until(Instant::now() + time)).await
}

/// Offers so many requests a second for some time.
pub async fn paced(load: &Load, connections: usize, per_second: f64, time: Duration) -> Result<Measured> {
    load.next.set(0);
    let begun = Instant::now();
    with_pace(load, connections, Rate { begun, per_second, end: begun + time }).await
}

/// Does the work on a thread that never sleeps. A load that sleeps until its answer comes is woken by the answer, and on
/// loopback it is the server's core that pays for it: several microseconds an answer on a virtual machine, which a server
/// whose clients are elsewhere never spends.
pub async fn awake<T>(work: impl Future<Output = T>) -> T {
    let restless = async {
        loop {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        done = work => done,
        never = restless => never,
    }
}

/// Drives the load as `pace` has it.
pub async fn with_pace(load: &Load, connections: usize, pace: impl Pace + 'static) -> Result<Measured> {
    let (pace, begun) = (Rc::new(pace), Instant::now());
    let local = LocalSet::new();
    let tasks: Vec<_> =
        (0..connections).map(|_| local.spawn_local(one(load.clone(), Rc::clone(&pace)))).collect();
    local.await;
    let seconds = begun.elapsed().as_secs_f64();
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
    Ok(Measured {
        per_second: requests as f64 / seconds,
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        requests,
        seconds,
    })
}

/// One request after the other. How long each took, in microseconds.
async fn one(load: Load, pace: Rc<impl Pace>) -> Result<Vec<u32>> {
    let mut connection = Connection::open(load.addr).await?;
    let (mut request, mut answer, mut micros) = (String::new(), Answer::default(), Vec::new());
    loop {
        let n = load.next.replace(load.next.get() + 1);
        let Some(asked) = pace.turn(n).await else { return Ok(micros) };
        load.write(n, &mut request);
        connection.ask(request.as_bytes(), &mut answer).await?;
        micros.push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
        load.check(&answer)?;
    }
}
