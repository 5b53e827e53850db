//! A real project: its log replayed, its people's actions made again.
//!
//! Duty: read a server's log (`events.jsonl`) or action logs (`*.actions.jsonl`) of a recorded project and send them
//! through a world.
//! Invariant: a log is taken in event by event, under the keys it was recorded with; an action is recorded by a device
//! with the words and halves it had, and what the device's rows refuse is counted by reason.

use crate::emit::Actions;
use crate::oracle;
use crate::world::World;
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::Path;
use td_client::write::Change;
use td_engine::event::LogEvent;
use td_engine::id::{ActionId, DeviceId, Seq, SessionId};
use td_engine::payload::Payload;
use td_engine::replay::list_skipped;
use td_engine::taxonomy::EntityType;
use td_engine::time::ClientTime;

/// Page sizes of the readers, one device each.
const PAGES: [u32; 3] = [1, 7, 1_000];

/// What a recording is.
pub enum Recording {
    /// A server's log.
    Log(Vec<LogEvent>),
    /// What one person did.
    Actions(Actions),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Event {
        server_seq: Seq,
        device_id: DeviceId,
        session_id: SessionId,
        client_action_id: ActionId,
        action_type: String,
        entity_type: String,
        entity_id: String,
        payload: String,
        client_timestamp: ClientTime,
    },
    Action {
        action_type: String,
        entity_type: String,
        entity_id: String,
        previous_data: String,
        new_data: String,
        undone: i64,
    },
}

/// How a log came through.
#[derive(Debug, Serialize)]
pub struct LogReport {
    /// Events.
    pub events: usize,
    /// The one digest of every copy.
    pub digest: String,
    /// Conflicts.
    pub conflicts: usize,
    /// Events without full effect, by reason.
    pub recorded: BTreeMap<String, usize>,
    /// What differs; empty if all is well.
    pub problems: Vec<String>,
}

/// Lets a server take in the log, fresh devices pull it in pages of 1, 7 and 1,000, and the oracle compare all copies.
pub fn replay(events: &[LogEvent], dir: &Path) -> anyhow::Result<LogReport> {
    let mut world = World::of_readers(dir, PAGES.len())?;
    for event in events {
        let taken = world.network.server.take_in(event)?;
        anyhow::ensure!(taken == event.seq, "event {} got the number {taken}", event.seq);
    }
    for (device, page) in world.devices.iter_mut().zip(PAGES) {
        world.network.begin(0, &[], page, false)?;
        device.project()?.sync(&world.network, |sync| sync.pull())?;
    }
    let seen = oracle::compare(&mut world)?;
    let live = world.network.server.live_view()?;
    let mut recorded = BTreeMap::new();
    for event in list_skipped(live.conn())? {
        *recorded.entry(event.reason).or_default() += 1;
    }
    Ok(LogReport {
        events: seen.logged,
        digest: live.digest()?.to_string(),
        conflicts: seen.conflicts.len(),
        recorded,
        problems: seen.problems,
    })
}

/// Reads a recording.
pub fn read(path: &Path) -> anyhow::Result<Recording> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (mut events, mut actions) = (Vec::new(), Actions::new());
    for (at, line) in text.lines().enumerate() {
        let place = || format!("{}, line {}", path.display(), at + 1);
        match serde_json::from_str(line).with_context(place)? {
            Line::Event {
                server_seq,
                device_id,
                session_id,
                client_action_id,
                action_type,
                entity_type,
                entity_id,
                payload,
                client_timestamp,
            } => events.push(LogEvent {
                seq: server_seq,
                device: device_id,
                session: session_id,
                action_id: client_action_id,
                action: action_type,
                entity_type: EntityType::stored(entity_type),
                entity_id,
                payload: Payload::parse(&payload).with_context(place)?,
                client_time: client_timestamp,
            }),
            Line::Action { undone, .. } if undone != 0 => {}
            Line::Action { action_type, entity_type, entity_id, previous_data, new_data, .. } => {
                let half = |text: &str| -> anyhow::Result<Option<Json>> {
                    let json = (!text.is_empty()).then(|| serde_json::from_str(text));
                    json.transpose().with_context(place)
                };
                let (previous, new) = (half(&previous_data)?, half(&new_data)?);
                actions.push_back(Change { verb: action_type, entity_type, entity_id, previous, new });
            }
        }
    }
    match (events.is_empty(), actions.is_empty()) {
        (false, true) => Ok(Recording::Log(events)),
        (true, false) => Ok(Recording::Actions(actions)),
        _ => bail!("{} holds neither events nor actions", path.display()),
    }
}
