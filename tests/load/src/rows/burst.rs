//! A burst of pushes of 100 events, and pulls of what it left.

use super::{Bench, Row, mean_rate, pulls};
use crate::baseline::RawLog;
use crate::drive::Load;
use anyhow::Result;
use std::time::Duration;

const CONNECTIONS: usize = 32;
const EVENTS: u64 = 100;
/// A live view that needs longer than this is broken, not slow.
const LIMIT: Duration = Duration::from_secs(300);

pub fn rows(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let mut raw = RawLog::create(&bench.folder("raw")?)?;
    let server = bench.server("burst")?;
    let project = bench.runtime.block_on(server.project("burst"))?;
    // SQLite before and after, on one table: it ages as the log does.
    let mut inserted = vec![server.child.aside(|| bench.raw_insert(&mut raw, Duration::from_secs(5)))?];
    let load = Load::push(server.addr(), &server.key, &project, EVENTS);
    let before = server.child.cpu()?;
    let measured = bench.drive(&load, CONNECTIONS, Duration::from_secs(10))?;
    let used = (server.child.cpu()? - before).as_secs_f64();
    let stored = measured.requests * EVENTS;
    let behind = bench.runtime.block_on(server.standing(&project))?.map_or(0, |s| s.head - s.applied);
    inserted.push(server.child.aside(|| bench.raw_insert(&mut raw, Duration::from_secs(5)))?);
    let caught_up = bench.runtime.block_on(server.caught_up(&project, LIMIT))?.as_secs_f64();
    let (inserted, reached) = (mean_rate(&inserted), stored as f64 / measured.seconds);
    let mut rows = vec![Row {
        name: "events in pushes of 100, burst of 10 s",
        reached,
        needed: 0.45 * inserted.per_second,
        at_least: true,
        unit: "events/s",
        is_ratio: true,
        beside: format!(
            "{:.0} raw SQLite inserts/s: 0.45 x; reached {:.2} x; {behind} events then caught up in {caught_up:.1} s; \
             processor {:.1} us, view included, to {:.1} us",
            inserted.per_second,
            reached / inserted.per_second,
            used * 1e6 / stored as f64,
            inserted.micros
        ),
    }];
    rows.extend(pulls::rows(bench, &server, &project, stored, &raw)?);
    server.child.stop()?;
    Ok(rows)
}
