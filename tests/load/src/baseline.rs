//! What this machine can do: the disk, SQLite on it, and an HTTP route that does nothing.
//!
//! Danger: a calibration that does more than it must makes the product look fast. These do the least that the row they
//! stand beside cannot go without.

use crate::events;
use anyhow::{Context, Result};
use rusqlite::Connection;
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Appends of 4 KiB, each with fdatasync, per second: what one writer without group commit could acknowledge.
pub fn fdatasync(dir: &Path, time: Duration) -> Result<f64> {
    let path = dir.join("appended");
    let mut file = File::create(&path).context("a file to append to")?;
    let (block, begun, mut n) = ([0x5a; 4096], Instant::now(), 0.0);
    while begun.elapsed() < time {
        file.write_all(&block)?;
        file.sync_data()?;
        n += 1.0;
    }
    let rate = n / begun.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}

/// What a calibration reached.
#[derive(Clone, Copy)]
pub struct Rate {
    /// In a second.
    pub per_second: f64,
    /// Processor time for each, in microseconds.
    pub micros: f64,
}

/// Processor time of this thread.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// SQLite with a table and indexes as the log's, and nothing around it.
pub struct RawLog {
    conn: Connection,
    stored: i64,
}

impl RawLog {
    /// An empty one.
    pub fn create(dir: &Path) -> Result<Self> {
        let conn = Connection::open(dir.join("raw.db"))?;
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        conn.execute_batch(
            "PRAGMA synchronous = FULL;
            CREATE TABLE events (server_seq INTEGER PRIMARY KEY AUTOINCREMENT, device_id TEXT NOT NULL,
                session_id TEXT NOT NULL, client_action_id INTEGER NOT NULL, action_type TEXT NOT NULL,
                entity_type TEXT NOT NULL, entity_id TEXT NOT NULL, payload JSON NOT NULL,
                client_timestamp DATETIME NOT NULL, server_timestamp DATETIME DEFAULT CURRENT_TIMESTAMP,
                UNIQUE(device_id, session_id, client_action_id));
            CREATE INDEX idx_events_entity ON events(entity_type, entity_id);",
        )?;
        Ok(Self { conn, stored: 0 })
    }

    /// Events stored per second, 1,000 in a transaction, each durable. The texts are made beforehand: what it costs to
    /// make them is no part of what SQLite can do.
    pub fn insert(&mut self, time: Duration) -> Result<Rate> {
        let (mut worked, mut cpu, mut n) = (Duration::ZERO, Duration::ZERO, 0);
        while worked < time {
            let rows = self.stored + 1..=self.stored + 1000;
            let rows: Vec<_> = rows
                .map(|n| {
                    let id = events::entity(n.unsigned_abs());
                    let payload = events::created(&id, 0).into_bytes();
                    (n, id, payload)
                })
                .collect();
            let (begun, before) = (Instant::now(), used());
            let transaction = self.conn.transaction()?;
            let mut insert = transaction.prepare_cached(
                "INSERT INTO events (server_seq, device_id, session_id, client_action_id, action_type, \
                 entity_type, entity_id, payload, client_timestamp, server_timestamp) \
                 VALUES (?1, 'load', 'ses_12345678901234567890', ?1, 'create', 'issues', ?2, ?3, \
                 '2026-11-21 09:53:18.7+02:00', '2026-11-21 07:53:18')",
            )?;
            for row in &rows {
                insert.execute((row.0, &row.1, &row.2))?;
            }
            drop(insert);
            transaction.commit()?;
            worked += begun.elapsed();
            cpu += used() - before;
            (n, self.stored) = (n + 1000, self.stored + 1000);
        }
        let micros = cpu.as_secs_f64() * 1e6 / f64::from(n);
        Ok(Rate { per_second: f64::from(n) / worked.as_secs_f64(), micros })
    }

    /// Events per second that are read in pages of 1,000 from anywhere and written as JSON into memory, every text
    /// pasted as it stands.
    pub fn scan(&self, time: Duration) -> Result<Rate> {
        let mut page = self.conn.prepare_cached(
            "SELECT server_seq, device_id, session_id, client_action_id, action_type, entity_type, entity_id, \
             payload, client_timestamp FROM events WHERE server_seq > ?1 ORDER BY server_seq LIMIT 1000",
        )?;
        let (begun, before) = (Instant::now(), used());
        let (mut turn, mut n, mut out) = (0, 0u64, Vec::new());
        while begun.elapsed() < time {
            turn += 1;
            let from = events::scatter(turn) % (self.stored.unsigned_abs() - 1000).max(1);
            out.clear();
            out.extend_from_slice(b"{\"events\":[");
            let mut rows = page.query([from as i64])?;
            while let Some(row) = rows.next()? {
                write!(out, "{{\"server_seq\":{}", row.get_ref(0)?.as_i64()?)?;
                for (column, name) in [(1, "device_id"), (2, "session_id")] {
                    text(&mut out, name, row.get_ref(column)?.as_bytes()?);
                }
                write!(out, ",\"client_action_id\":{}", row.get_ref(3)?.as_i64()?)?;
                for (column, name) in [(4, "action_type"), (5, "entity_type"), (6, "entity_id")] {
                    text(&mut out, name, row.get_ref(column)?.as_bytes()?);
                }
                out.extend_from_slice(b",\"payload\":");
                out.extend_from_slice(row.get_ref(7)?.as_bytes()?);
                text(&mut out, "client_timestamp", row.get_ref(8)?.as_bytes()?);
                out.extend_from_slice(b"},");
                n += 1;
            }
            std::hint::black_box(&out);
        }
        let micros = (used() - before).as_secs_f64() * 1e6 / n as f64;
        Ok(Rate { per_second: n as f64 / begun.elapsed().as_secs_f64(), micros })
    }
}

fn text(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [b",\"", name.as_bytes(), b"\":\"", value, b"\""] {
        out.extend_from_slice(part);
    }
}

/// An HTTP server with one empty route, in the way the product serves, until it is killed. Prints its address.
pub fn serve_hello() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("{}", listener.local_addr()?);
        let app = axum::Router::new().route("/", axum::routing::get(async || "hello, world"));
        axum::serve(listener, app).await.context("serving hello")
    })
}
