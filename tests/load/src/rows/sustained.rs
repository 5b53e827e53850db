//! Pushes of 100 events at a steady rate, as long as the live view follows.
//!
//! More is offered than the row needs. The load looks how far the view is behind, and holds back while it is more than
//! [`HOLD`]. So what is reached is what this server sustains, up to what is offered; a view that falls behind further
//! fails the row.

use super::{Bench, Row};
use crate::drive::{self, Load, Measured, Pace};
use crate::server::TdSync;
use anyhow::Result;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 16;
const EVENTS: u64 = 100;
/// Pushes a second that are offered.
const OFFERED: f64 = 350.0;
/// The view may be so far behind.
const MOST: f64 = 2.0;
/// From here on the load holds back.
const HOLD: f64 = 1.3;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

pub fn row(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let server = bench.server("sustained")?;
    let project = bench.runtime.block_on(server.project("sustained"))?;
    let load = Load::push(server.addr(), &server.key, &project, EVENTS);
    let watch = Rc::new(Watch::default());
    let before = server.child.cpu()?;
    let measured = bench.runtime.block_on(async {
        let begun = Instant::now();
        let end = begun + Duration::from_secs(20);
        let pace = Follows { next: Cell::new(begun), end, watch: Rc::clone(&watch) };
        tokio::select! {
            measured = drive::with_pace(&load, CONNECTIONS, pace) => measured,
            failed = watch.keep_looking(&server, &project) => failed,
        }
    })?;
    let used = (server.child.cpu()? - before).as_secs_f64();
    server.child.stop()?;
    let (stored, worst) = (measured.requests * EVENTS, watch.worst.get());
    let reached = stored as f64 / measured.seconds;
    Ok(vec![Row {
        name: "sustained events, live view at most 2 s behind",
        reached: if worst <= MOST { reached } else { 0.0 },
        needed: 25_000.0,
        at_least: true,
        unit: "events/s",
        is_ratio: false,
        beside: format!(
            "{reached:.0}/s with the view at most {worst:.1} s behind; {:.1} us of processor each",
            used * 1e6 / stored as f64
        ),
    }])
}

/// How far the view is behind, in seconds.
#[derive(Default)]
struct Watch {
    heads: RefCell<VecDeque<(Instant, u64)>>,
    behind: Cell<f64>,
    worst: Cell<f64>,
}

impl Watch {
    /// Returns only if it cannot.
    async fn keep_looking(&self, server: &TdSync, project: &str) -> Result<Measured> {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look(server, project).await?;
        }
    }

    async fn look(&self, server: &TdSync, project: &str) -> Result<()> {
        let Some(standing) = server.standing(project).await? else { return Ok(()) };
        let (now, mut heads) = (Instant::now(), self.heads.borrow_mut());
        heads.push_back((now, standing.head));
        // What the view lacks came after the last look at which it was not there yet.
        while heads.get(1).is_some_and(|(_, head)| *head <= standing.applied) {
            heads.pop_front();
        }
        let since = heads.front().map_or(now, |(when, _)| *when);
        let behind = if standing.applied < standing.head { (now - since).as_secs_f64() } else { 0.0 };
        self.behind.set(behind);
        self.worst.set(self.worst.get().max(behind));
        Ok(())
    }
}

struct Follows {
    next: Cell<Instant>,
    end: Instant,
    watch: Rc<Watch>,
}

impl Pace for Follows {
    async fn turn(&self, _: u64) -> Option<Instant> {
        while self.watch.behind.get() > HOLD && Instant::now() < self.end {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // What was held back is not made up for.
        let due = self.next.get().max(Instant::now());
        self.next.set(due + Duration::from_secs_f64(1.0 / OFFERED));
        tokio::time::sleep_until(due.into()).await;
        (due < self.end).then_some(due)
    }
}
