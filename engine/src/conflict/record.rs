//! Finding the losing sides of one applied event, and moving the registers on.
//!
//! Danger: the evidence rules ("had the author seen it?") decide what people are shown as lost. Too strict hides a
//! loss, too lax cries wolf at every ordinary edit.

use super::register::{Entry, Registers};
use super::{Kind, is_bookkeeping};
use crate::apply::{Applied, Change, Half, How, Outcome, Parts, Removal, stored_value};
use crate::db::{Catalog, Default, Row, Table, exact_json, meaning};
use crate::event::LogEvent;
use crate::id::Seq;
use crate::payload::short_digest;
use rusqlite::types::Value;
use rusqlite::{Connection, params};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

/// Keeps the books for one applied event: conflicts, then registers. Returns the number of conflicts.
pub(crate) fn record(
    conn: &Connection,
    catalog: &Catalog,
    event: &LogEvent,
    applied: &Applied,
) -> rusqlite::Result<usize> {
    if !matches!(applied.outcome, Outcome::Applied { .. }) {
        return Ok(0);
    }
    let mut recorder = Recorder { conn, event, evidence: None, found: 0 };
    for change in &applied.changes {
        // Local tables are in no log.
        if let Some(table) = catalog.synced(&change.table) {
            recorder.change(table, change)?;
        }
    }
    Ok(recorder.found)
}

/// What the author of the event had seen.
struct Evidence {
    base_seq: i64,
    /// The previous half, if there is one.
    previous: Option<Map<String, Json>>,
}

struct Recorder<'r> {
    conn: &'r Connection,
    event: &'r LogEvent,
    evidence: Option<Evidence>,
    found: usize,
}

impl Recorder<'_> {
    fn change(&mut self, table: &Table, change: &Change) -> rusqlite::Result<()> {
        let registers = Registers { conn: self.conn, entity_type: &change.table, entity_id: &change.id };
        let writer = Entry { seq: self.event.seq, device: self.event.device.clone() };
        match (&change.how, &change.before) {
            (How::Row, None) => registers.assert_row(&writer),
            (How::Row, Some(before)) => {
                let entries = registers.read()?;
                let fields = table.columns.iter().map(|c| c.name.as_str());
                self.overwritten(table, change, before, &entries, fields, Kind::Replace)?;
                registers.clear()?;
                registers.assert_row(&writer)
            }
            (How::Fields(fields), Some(before)) => {
                let entries = registers.read()?;
                self.overwritten(
                    table,
                    change,
                    before,
                    &entries,
                    fields.iter().map(String::as_str),
                    Kind::Edit,
                )?;
                for field in fields.iter().filter(|f| !is_bookkeeping(f)) {
                    registers.assert_field(field, &writer)?;
                }
                Ok(())
            }
            (How::Removed(why), Some(before)) => {
                let entries = registers.read()?;
                self.removed(table, change, before, &entries, *why)?;
                registers.clear()
            }
            (How::Fields(_) | How::Removed(_), None) => Ok(()),
        }
    }

    /// Values of other devices that the event wrote over, one conflict per event that had written them.
    fn overwritten<'f>(
        &mut self,
        table: &Table,
        change: &Change,
        before: &Row,
        entries: &BTreeMap<String, Entry>,
        fields: impl Iterator<Item = &'f str>,
        kind: Kind,
    ) -> rusqlite::Result<()> {
        let mut suspects: BTreeMap<&Entry, Vec<&'f str>> = BTreeMap::new();
        for field in fields.filter(|f| !is_bookkeeping(f)) {
            let Some(entry) = entries.get(field).or_else(|| entries.get("")) else { continue };
            if entry.device != self.event.device && !self.had_seen(table, change, before, entry, field) {
                suspects.entry(entry).or_default().push(field);
            }
        }
        if suspects.is_empty() || is_builtin(table, before) {
            return Ok(());
        }
        let Some(after) = table.row(self.conn, &change.id)? else { return Ok(()) };
        let found_before = self.found;
        for (loser, fields) in suspects {
            let (mut lost, mut won) = (Map::new(), Map::new());
            for field in fields {
                let Some(i) = table.column_index(field) else { continue };
                let column = &table.columns[i];
                if meaning(column, &before.0[i]) != meaning(column, &after.0[i]) {
                    lost.insert(field.into(), exact_json(&before.0[i]));
                    won.insert(field.into(), exact_json(&after.0[i]));
                }
            }
            if !lost.is_empty() {
                self.keep(change, loser, kind, lost, won)?;
            }
        }
        if kind == Kind::Replace && self.found > found_before {
            self.tell_reference(table, change, before)?;
        }
        Ok(())
    }

    fn removed(
        &mut self,
        table: &Table,
        change: &Change,
        before: &Row,
        entries: &BTreeMap<String, Entry>,
        why: Removal,
    ) -> rusqlite::Result<()> {
        let kind = if why == Removal::Deleted { Kind::Delete } else { Kind::Cascade };
        let own = &self.event.device;
        let loser = match why {
            // Nobody meant to remove these, whoever wrote them.
            Removal::ByReplace | Removal::Displaced | Removal::Cycle => entries.values().max(),
            Removal::WithParent => {
                let base = self.evidence().base_seq;
                entries.values().filter(|e| e.device != *own && base < e.seq.0).max()
            }
            Removal::Deleted => {
                let mut unseen = Vec::new();
                for column in table.columns.iter().filter(|c| !is_bookkeeping(&c.name)) {
                    let Some(entry) = entries.get(&column.name).or_else(|| entries.get("")) else { continue };
                    if entry.device != *own && !self.had_seen(table, change, before, entry, &column.name) {
                        unseen.push(entry);
                    }
                }
                unseen.into_iter().max()
            }
        };
        let Some(loser) = loser.filter(|_| !is_builtin(table, before)) else { return Ok(()) };
        let Json::Object(lost) = before.to_json(table) else { return Ok(()) };
        self.keep(change, loser, kind, lost, Map::new())
    }

    fn had_seen(&mut self, table: &Table, change: &Change, before: &Row, entry: &Entry, field: &str) -> bool {
        // `previous_data` speaks of the event's own row only.
        let is_own_row = change.id == self.event.entity_id && change.table == self.event.entity_type.as_str();
        let evidence = self.evidence();
        if evidence.base_seq >= entry.seq.0 {
            return true;
        }
        let (Some(previous), true) = (&evidence.previous, is_own_row) else { return false };
        let Some(i) = table.column_index(field) else { return false };
        let column = &table.columns[i];
        let shown = match (previous.get(field), &column.default) {
            (Some(json), _) => stored_value(&table.name, column, json),
            // Left out means "as by default"; a defaulted time shows nothing.
            (None, Default::Literal(value)) => value.clone(),
            (None, Default::EventTime) => return false,
        };
        let shown = affine(shown, &before.0[i]);
        meaning(column, &shown) == meaning(column, &before.0[i])
    }

    fn evidence(&mut self) -> &Evidence {
        let event = self.event;
        self.evidence.get_or_insert_with(|| {
            let parts = Parts::read(Some(&event.payload)).unwrap_or_default();
            let table = event.entity_type.as_str();
            let previous = match parts.previous_half(table).map(|half| half.unwrapped(table)) {
                Some(Half::Object(map)) if !map.is_empty() => Some(map),
                _ => None,
            };
            Evidence { base_seq: parts.meta().map_or(0, |m| m.base_seq), previous }
        })
    }

    fn keep(
        &mut self,
        change: &Change,
        loser: &Entry,
        kind: Kind,
        lost: Map<String, Json>,
        won: Map<String, Json>,
    ) -> rusqlite::Result<()> {
        let (winner_seq, loser_seq) = (self.event.seq, loser.seq);
        let mut put = self.conn.prepare_cached(
            "INSERT OR REPLACE INTO tdsync_conflict (id, winner_seq, loser_seq, entity_type, entity_id, kind,
             winner_device, loser_device, loser, winner) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        put.execute(params![
            conflict_id(winner_seq, loser_seq),
            winner_seq.0,
            loser_seq.0,
            change.table,
            change.id,
            kind.as_str(),
            self.event.device.as_str(),
            loser.device.as_str(),
            Json::Object(lost).to_string(),
            Json::Object(won).to_string(),
        ])?;
        self.found += 1;
        Ok(())
    }

    /// The reference's own table of whole-row overwrites, for programs that show it. Not part of the digest: other
    /// programs write to it by their own clock.
    fn tell_reference(&self, table: &Table, change: &Change, before: &Row) -> rusqlite::Result<()> {
        let new = match Parts::read(Some(&self.event.payload)).unwrap_or_default().new_half(&table.name) {
            Half::Object(map) => Json::Object(map),
            _ => Json::Null,
        };
        let mut put = self.conn.prepare_cached(
            "INSERT INTO sync_conflicts (entity_type, entity_id, server_seq, local_data, remote_data, overwritten_at)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE NOT EXISTS (
                 SELECT 1 FROM sync_conflicts WHERE server_seq = ?3 AND entity_type = ?1 AND entity_id = ?2)",
        )?;
        put.execute(params![
            change.table,
            change.id,
            self.event.seq.0,
            before.to_json(table).to_string(),
            new.to_string(),
            self.event.client_time.utc().canonical(),
        ])?;
        Ok(())
    }
}

/// Each copy has its own built-in board, with its own times: no common history, hence no conflict.
fn is_builtin(table: &Table, row: &Row) -> bool {
    table.name == "boards" && matches!(row.get(table, "is_builtin"), Some(Value::Integer(1)))
}

/// What SQLite would have made of the shown value, judged by what it made of the stored one.
fn affine(shown: Value, stored: &Value) -> Value {
    match (shown, stored) {
        (Value::Text(text), Value::Integer(_)) => text.parse().map_or(Value::Text(text), Value::Integer),
        (Value::Text(text), Value::Real(_)) => text.parse().map_or(Value::Text(text), Value::Real),
        (Value::Integer(i), Value::Text(_)) => Value::Text(i.to_string()),
        (Value::Real(r), Value::Text(_)) => Value::Text(format!("{r:?}")),
        (shown, _) => shown,
    }
}

fn conflict_id(winner: Seq, loser: Seq) -> String {
    short_digest(&format!("conflict {winner} {loser}"), 8)
}
