//! Durable pushes of one event, 64 connections, one project.

use super::{Bench, Row, mean, mean_rate};
use crate::drive::Load;
use anyhow::Result;

const CONNECTIONS: usize = 64;

pub fn row(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let server = bench.server("single")?;
    let project = bench.runtime.block_on(server.project("single"))?;
    let load = Load::push(server.addr(), &server.key, &project, 1);
    bench.drive(&load, CONNECTIONS, bench.seconds(0.5, 1.0))?;
    let (mut synced, mut empty, mut pushed, mut p99) = (vec![], vec![], vec![], 0f64);
    let before = server.child.cpu()?;
    let mut requests = 0;
    for _ in 0..3 {
        server.child.aside(|| {
            synced.push(bench.fdatasync(bench.seconds(0.5, 1.0))?);
            empty.push(bench.hello(CONNECTIONS, bench.seconds(1.0, 2.0))?);
            Ok(())
        })?;
        let measured = bench.drive(&load, CONNECTIONS, bench.seconds(2.0, 4.0))?;
        pushed.push(measured.per_second);
        p99 = p99.max(measured.p99_ms);
        requests += measured.requests;
    }
    let micros = (server.child.cpu()? - before).as_secs_f64() * 1e6 / requests as f64;
    let counts = server.child.stop()?;
    let group = counts.map_or(0.0, |c| c.pushes as f64 / c.commits as f64);
    let (synced, empty, pushed) = (mean(&synced), mean_rate(&empty), mean(&pushed));
    let beside = format!(
        "{synced:.0} fdatasync/s, {:.0} empty routes/s: lower of 2.5 x and 0.12 x; {group:.1} pushes a commit, \
         p99 {p99:.1} ms; processor {micros:.0} us to {:.0} us",
        empty.per_second, empty.micros
    );
    Ok(vec![Row {
        name: "durable single-event pushes, 64 connections",
        reached: pushed,
        needed: (2.5 * synced).min(0.12 * empty.per_second),
        at_least: true,
        unit: "pushes/s",
        is_ratio: true,
        beside,
    }])
}
