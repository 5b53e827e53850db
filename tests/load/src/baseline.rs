//! What this machine can do: the disk, SQLite on it, and an HTTP route that does nothing.

use anyhow::{Context, Result};
use rusqlite::Connection;
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

/// Events per second into a table with the log's indexes, WAL and FULL, 1,000 per transaction, nothing around it.
pub fn sqlite(dir: &Path, time: Duration) -> Result<f64> {
    let dir = dir.join("raw-sqlite");
    std::fs::create_dir(&dir)?;
    let mut conn = Connection::open(dir.join("events.db"))?;
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
    let (begun, mut n) = (Instant::now(), 0i64);
    while begun.elapsed() < time {
        let transaction = conn.transaction()?;
        let mut insert = transaction.prepare_cached(
            "INSERT INTO events (server_seq, device_id, session_id, client_action_id, action_type, entity_type, \
             entity_id, payload, client_timestamp, server_timestamp) \
             VALUES (?1, 'device', 'session', ?1, 'create', 'issues', ?2, ?3, '2026-11-21 09:53:18.7+02:00', \
             '2026-11-21 07:53:18')",
        )?;
        for _ in 0..1000 {
            n += 1;
            let id = crate::drive::entity(n.unsigned_abs());
            insert.execute((n, &id, crate::drive::payload(&id).into_bytes()))?;
        }
        drop(insert);
        transaction.commit()?;
    }
    let rate = n as f64 / begun.elapsed().as_secs_f64();
    drop(conn);
    std::fs::remove_dir_all(dir)?;
    Ok(rate)
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
