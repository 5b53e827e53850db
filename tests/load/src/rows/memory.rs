//! Memory: of a server that has done nothing, and of one with many projects, streams and some work.

use super::{Bench, Row};
use crate::events::{self, Does};
use crate::http::{Answer, Connection};
use crate::server::TdSync;
use anyhow::{Result, ensure};
use std::time::Duration;

const PROJECTS: usize = 200;
const ACTIVE: usize = 20;
const STREAMS: usize = 500;

pub fn rows(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let server = bench.server("memory")?;
    bench.runtime.block_on(async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let fresh = server.child.rss()?;
        let mut projects = Vec::new();
        for n in 0..PROJECTS {
            projects.push(server.project(&format!("project {n}")).await?);
        }
        let mut pushes = Pushes::new(&server).await?;
        for project in &projects {
            pushes.push(project, 100).await?;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        let idle = server.child.rss()?;
        let mut streams = Vec::new();
        for n in 0..STREAMS {
            let mut connection = Connection::open(server.addr()).await?;
            connection
                .follow(&format!("/v1/projects/{}/events", projects[n % PROJECTS]), &server.key)
                .await?;
            streams.push(tokio::spawn(async move { while connection.drain().await.is_ok_and(|n| n > 0) {} }));
        }
        // Ten events into each of them, ten times a second altogether and more.
        let mut most = server.child.rss()?;
        for _ in 0..10 {
            for project in &projects[..ACTIVE] {
                pushes.push(project, 10).await?;
                most = most.max(server.child.rss()?);
            }
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        let open = streams.iter().filter(|stream| !stream.is_finished()).count();
        ensure!(open == STREAMS, "only {open} streams are still open");
        streams.iter().for_each(tokio::task::JoinHandle::abort);
        let row = |name, reached, needed, beside| Row {
            name,
            reached,
            needed,
            at_least: false,
            unit: "MiB",
            is_ratio: false,
            beside,
        };
        Ok(vec![
            row("memory, fresh idle server", fresh, 20.0, String::new()),
            row(
                "memory, 200 projects, 20 active, 500 streams",
                most,
                150.0,
                format!("{idle:.0} MiB after 5 s of rest, before the streams"),
            ),
        ])
    })
}

struct Pushes<'s> {
    server: &'s TdSync,
    connection: Connection,
    answer: Answer,
    run: u64,
    next: u64,
}

impl<'s> Pushes<'s> {
    async fn new(server: &'s TdSync) -> Result<Self> {
        let connection = Connection::open(server.addr()).await?;
        Ok(Self { server, connection, answer: Answer::default(), run: events::run(), next: 0 })
    }

    async fn push(&mut self, project: &str, count: u64) -> Result<()> {
        let path = format!("/v1/projects/{project}/sync/push");
        let body = events::push(self.run, self.next, count, Does::Create(0));
        self.connection.post(&path, &self.server.key, &body, &mut self.answer).await?;
        let said = self.answer.json()?;
        ensure!(said["accepted"] == count, "not stored: {said}");
        self.next += count;
        Ok(())
    }
}
