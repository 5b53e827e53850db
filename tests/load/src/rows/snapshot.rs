//! Snapshots of a project that has moved on by 100 events: to the first byte, plain.
//!
//! Two projects of one state (10,000 issues, 8 MiB): one whose log made it in 10,000 events, one with a hundred times as
//! many (ten times, in a quick run).

use super::{Bench, Row, median};
use crate::events::{self, Does};
use crate::http::{Answer, Connection};
use crate::server::TdSync;
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

const ISSUES: u64 = 10_000;
/// So that the file has 8 MiB.
const MORE: usize = 420;
const BATCH: u64 = 1000;
const NEW: u64 = 100;
const LIMIT: Duration = Duration::from_secs(300);

pub fn rows(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let server = bench.server("snapshot")?;
    let events = if bench.quick { 10 * ISSUES } else { 100 * ISSUES };
    bench.runtime.block_on(async {
        let mut short = Project::fill(&server, "short", ISSUES).await?;
        let mut long = Project::fill(&server, "long", events).await?;
        // The first one is built, not continued.
        for project in [&mut short, &mut long] {
            // The server has closed the old one while the other project was filled.
            project.connection = Connection::open(server.addr()).await?;
            project.move_on().await?;
            project.snapshot().await?;
        }
        let (mut few, mut many) = (Vec::new(), Vec::new());
        for _ in 0..if bench.quick { 15 } else { 25 } {
            for (project, times) in [(&mut short, &mut few), (&mut long, &mut many)] {
                project.move_on().await?;
                times.push(project.snapshot().await?);
            }
        }
        let mib = long.answer.body.len() as f64 / 1024.0 / 1024.0;
        let (few, many) = (median(&mut few), median(&mut many));
        let beside =
            format!("file of {mib:.1} MiB; {few:.1} ms at {ISSUES} events, {many:.1} ms at {events}");
        let row = |name, reached, needed, unit, is_ratio| Row {
            name,
            reached,
            needed,
            at_least: false,
            unit,
            is_ratio,
            beside: beside.clone(),
        };
        Ok(vec![
            row("warm snapshot, 100 new events, first byte, median", many.max(few), 30.0, "ms", false),
            row("the same, long log to short log", many / few, 1.5, "x", true),
        ])
    })
}

struct Project<'s> {
    server: &'s TdSync,
    id: String,
    connection: Connection,
    answer: Answer,
    run: u64,
    stored: u64,
}

impl<'s> Project<'s> {
    async fn fill(server: &'s TdSync, name: &str, events: u64) -> Result<Self> {
        let id = server.project(name).await?;
        let connection = Connection::open(server.addr()).await?;
        let (answer, run) = (Answer::default(), events::run());
        let mut project = Self { server, id, connection, answer, run, stored: 0 };
        while project.stored < events {
            let does = if project.stored < ISSUES { Does::Create(MORE) } else { Does::Update(ISSUES) };
            project.push(BATCH, does).await?;
        }
        project.server.caught_up(&project.id, LIMIT).await?;
        Ok(project)
    }

    async fn push(&mut self, count: u64, does: Does) -> Result<()> {
        let path = format!("/v1/projects/{}/sync/push", self.id);
        let body = events::push(self.run, self.stored, count, does);
        self.connection.post(&path, &self.server.key, &body, &mut self.answer).await?;
        let said = self.answer.json()?;
        ensure!(said["accepted"] == count, "not stored: {said}");
        self.stored += count;
        Ok(())
    }

    async fn move_on(&mut self) -> Result<()> {
        self.push(NEW, Does::Update(ISSUES)).await
    }

    /// Milliseconds to the first byte of the snapshot at the head.
    async fn snapshot(&mut self) -> Result<f64> {
        let path = format!("/v1/projects/{}/sync/snapshot", self.id);
        let asked = Instant::now();
        self.connection.get(&path, &self.server.key, "", &mut self.answer).await?;
        let came = self.answer.first_byte.context("no answer")?;
        let seq = self.answer.header("x-snapshot-seq").and_then(|seq| seq.parse().ok());
        ensure!(seq == Some(self.stored), "a snapshot at {seq:?}, not at {}", self.stored);
        ensure!(self.answer.body.starts_with(b"SQLite format 3"), "no snapshot: {}", self.answer.head);
        Ok((came - asked).as_secs_f64() * 1e3)
    }
}
