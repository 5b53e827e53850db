//! Pages of 1,000 events, plain and gzip.

use super::{Bench, Row, mean, mean_rate};
use crate::baseline::RawLog;
use crate::drive::Load;
use crate::http::{Answer, Connection};
use crate::server::TdSync;
use anyhow::{Result, ensure};
use flate2::read::GzDecoder;
use std::io::Read;

const PAGE: u64 = 1000;
const CONNECTIONS: usize = 8;

/// Of a log that holds `stored` events.
pub fn rows(
    bench: &Bench<'_>,
    server: &TdSync,
    project: &str,
    stored: u64,
    raw: &RawLog,
) -> Result<Vec<Row>> {
    bench.runtime.block_on(look_inside(server, project))?;
    let load = |gzip| Load::pull(server.addr(), &server.key, project, PAGE, stored, gzip);
    let forms = [load(false), load(true)];
    let (mut scanned, mut pulled, mut used) = (vec![], [vec![], vec![]], [0.0; 2]);
    for _ in 0..3 {
        scanned.push(server.child.aside(|| bench.raw_scan(raw, bench.seconds(0.7, 1.5)))?);
        for (n, form) in forms.iter().enumerate() {
            let before = server.child.cpu()?;
            let measured = bench.drive(form, CONNECTIONS, bench.seconds(1.0, 2.0))?;
            pulled[n].push(measured.per_second * PAGE as f64);
            let cpu = (server.child.cpu()? - before).as_secs_f64();
            used[n] += cpu * 1e6 / (measured.requests * PAGE) as f64 / 3.0;
        }
    }
    let scanned = mean_rate(&scanned);
    let named = [("pull, pages of 1000, identity", 0.4), ("pull, pages of 1000, gzip", 0.25)];
    let rows = named.iter().zip(&pulled).zip(&used).map(|(((name, share), figures), used)| {
        let reached = mean(figures);
        Row {
            name,
            reached,
            needed: share * scanned.per_second,
            at_least: true,
            unit: "events/s",
            is_ratio: true,
            beside: format!(
                "{:.0} raw scan to JSON/s: {share} x; reached {:.2} x; processor {used:.2} us to {:.2} us",
                scanned.per_second,
                reached / scanned.per_second,
                scanned.micros
            ),
        }
    });
    Ok(rows.collect())
}

/// Both forms hold the same thousand events.
async fn look_inside(server: &TdSync, project: &str) -> Result<()> {
    let (mut connection, mut answer) = (Connection::open(server.addr()).await?, Answer::default());
    let path = format!("/v1/projects/{project}/sync/pull?after_server_seq=7&limit={PAGE}");
    connection.get(&path, &server.key, "", &mut answer).await?;
    let page = answer.json()?;
    let events = page["events"].as_array().map_or(&[][..], Vec::as_slice);
    let first = events.first().map(|e| &e["server_seq"]);
    ensure!(events.len() as u64 == PAGE && first == Some(&8.into()), "not the page that was asked for");
    let plain = answer.body.clone();
    connection.get(&path, &server.key, "Accept-Encoding: gzip\r\n", &mut answer).await?;
    let mut unpacked = Vec::new();
    GzDecoder::new(&answer.body[..]).read_to_end(&mut unpacked)?;
    ensure!(unpacked == plain, "the packed page is another one");
    Ok(())
}
