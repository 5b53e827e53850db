//! How long a single push takes while 500 a second come in.

use super::{Bench, Row};
use crate::drive::{self, Load};
use anyhow::Result;
use std::time::Duration;

const RATE: f64 = 500.0;
const CONNECTIONS: usize = 64;

pub fn row(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let server = bench.server("latency")?;
    let project = bench.runtime.block_on(server.project("latency"))?;
    let load = Load::push(server.addr(), &server.key, &project, 1);
    bench.drive(&load, 1, Duration::from_millis(200))?;
    let load = Load::push(server.addr(), &server.key, &project, 1);
    let measured = bench.runtime.block_on(drive::paced(&load, CONNECTIONS, RATE, Duration::from_secs(10)))?;
    server.child.stop()?;
    Ok(vec![Row {
        name: "single push at 500/s, 99 of 100",
        reached: measured.p99_ms,
        needed: 10.0,
        at_least: false,
        unit: "ms",
        is_ratio: false,
        beside: format!("{:.0} pushes/s, half within {:.1} ms", measured.per_second, measured.p50_ms),
    }])
}
