//! Pulls of clients that have everything already.

use super::{Bench, Row, mean, mean_rate};
use crate::drive::Load;
use anyhow::Result;

const CONNECTIONS: usize = 64;

pub fn row(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let server = bench.server("polls")?;
    let project = bench.runtime.block_on(server.project("polls"))?;
    let fill = Load::push(server.addr(), &server.key, &project, 100);
    let head = bench.drive(&fill, 1, bench.seconds(0.2, 0.2))?.requests * 100;
    let load = Load::poll(server.addr(), &server.key, &project, head);
    let (mut empty, mut polled, mut requests, mut used) = (vec![], vec![], 0, 0.0);
    for _ in 0..3 {
        empty.push(server.child.aside(|| bench.hello(CONNECTIONS, bench.seconds(0.7, 1.5)))?);
        let before = server.child.cpu()?;
        let measured = bench.drive(&load, CONNECTIONS, bench.seconds(1.0, 2.0))?;
        used += (server.child.cpu()? - before).as_secs_f64();
        polled.push(measured.per_second);
        requests += measured.requests;
    }
    server.child.stop()?;
    let (empty, reached) = (mean_rate(&empty), mean(&polled));
    Ok(vec![Row {
        name: "empty pulls, 64 connections",
        reached,
        needed: 0.15 * empty.per_second,
        at_least: true,
        unit: "pulls/s",
        is_ratio: true,
        beside: format!(
            "{:.0} empty routes/s: 0.15 x; reached {:.2} x; processor {:.0} us to {:.0} us",
            empty.per_second,
            reached / empty.per_second,
            used * 1e6 / requests as f64,
            empty.micros
        ),
    }])
}
