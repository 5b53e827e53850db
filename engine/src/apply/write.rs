//! The statements behind each action (client-engine 3.4 to 3.7).

use super::EventRef;
use super::outcome::{Change, How, Outcome, Reason, Removal, Stop};
use super::parts::{Half, Parts, difference};
use super::value::stored_value;
use crate::db::{Catalog, Row, Table, quoted};
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, ToSql, params_from_iter};
use serde_json::{Map, Value as Json};
use std::collections::{BTreeMap, BTreeSet};

/// One event being applied.
pub(super) struct Writer<'w> {
    pub conn: &'w Connection,
    pub catalog: &'w Catalog,
    pub event: EventRef<'w>,
    pub changes: Vec<Change>,
    pub note: Option<Reason>,
    pub has_savepoint: bool,
}

impl<'w> Writer<'w> {
    /// Called before the first statement of several. One statement alone leaves nothing behind when it fails, and a
    /// savepoint costs a copy of every page that is written.
    pub fn begin_several(&mut self) -> rusqlite::Result<()> {
        if !self.has_savepoint {
            self.conn.prepare_cached("SAVEPOINT event")?.execute([])?;
            self.has_savepoint = true;
        }
        Ok(())
    }

    /// Only the columns that differ between the halves; a whole-row replace where that does not work out.
    pub fn update(&mut self, table: &Table, parts: &Parts<'_>) -> Result<Outcome, Stop> {
        if let Some(previous) = parts.previous_half(&table.name) {
            let halves =
                (previous.unwrapped(&table.name), parts.new_half(&table.name).unwrapped(&table.name));
            if let (Half::Object(previous), Half::Object(new)) = halves {
                let changed = difference(&previous, &new);
                if let Some(outcome) = self.set_changed(table, changed)? {
                    return Ok(outcome);
                }
            }
        }
        self.write_row(table, parts.new_half(&table.name), false)
    }

    /// `None`: nothing to set, no such row, or SQLite refuses a value; the caller replaces the row instead.
    fn set_changed(
        &mut self,
        table: &Table,
        changed: BTreeMap<String, Json>,
    ) -> Result<Option<Outcome>, Stop> {
        let (known, unknown): (Vec<_>, Vec<_>) =
            changed.into_iter().partition(|(key, _)| table.column_index(key).is_some());
        if known.is_empty() {
            return Ok(None);
        }
        let Some(before) = self.find(table, self.event.entity_id)? else { return Ok(None) };
        let mut fields = Vec::with_capacity(known.len());
        let mut values = Vec::with_capacity(known.len() + 1);
        for (key, json) in known {
            let Some(index) = table.column_index(&key) else { continue };
            let column = &table.columns[index];
            values.push(match column.kept {
                true => before.0[index].clone(),
                false => stored_value(&table.name, column, &json),
            });
            fields.push(key);
        }
        values.push(Value::Text(self.event.entity_id.into()));
        match self.set(table, &fields, &values) {
            Ok(()) => {}
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => return Ok(None),
            Err(e) => return Err(e.into()),
        }
        self.changed(table, self.event.entity_id.into(), Some(before), How::Fields(fields));
        self.note_unknown(unknown.into_iter().map(|(key, _)| key).collect());
        Ok(Some(self.applied()))
    }

    fn set(&self, table: &Table, fields: &[String], values: &[Value]) -> rusqlite::Result<()> {
        let sets: Vec<_> = fields.iter().map(|f| format!("{} = ?", quoted(f))).collect();
        let sql = format!("UPDATE {} SET {} WHERE id = ?", quoted(&table.name), sets.join(", "));
        self.conn.prepare_cached(&sql)?.execute(params_from_iter(values)).map(drop)
    }

    /// Inserts the row, or replaces it whole.
    pub fn upsert(&mut self, table: &Table, new: Half) -> Result<Outcome, Stop> {
        self.write_row(table, new, true)
    }

    /// A replace is what a stock peer does: absent columns fall back to their defaults, children cascade away, rows
    /// with the same unique key give way. Only what no event can bring back is kept: local columns and local rows.
    fn write_row(&mut self, table: &Table, new: Half, may_insert: bool) -> Result<Outcome, Stop> {
        let id = self.event.entity_id;
        let row_name = || format!("{}/{id}", table.name);
        let new = match new.unwrapped(&table.name) {
            Half::Absent => return Err(Reason::NilPayload(row_name()).into()),
            Half::Other(why) => return Err(Reason::UnreadablePayload(why).into()),
            Half::Object(map) if map.is_empty() => return Err(Reason::NoFields(row_name()).into()),
            Half::Object(map) => map,
        };
        let is_known = |key: &String| table.column_index(key).is_some();
        let has_known = new.keys().any(|key| key != "id" && is_known(key));
        // Most events are creations, and nothing is in their way.
        let before = if may_insert && has_known && self.insert(table, &new)? {
            None
        } else {
            let before = self.find(table, id)?;
            if before.is_none() {
                if !may_insert {
                    return Ok(Outcome::Skipped(Reason::MissingRow(row_name())));
                }
                if let Some(orphan) = self.missing_parent(table, &new)? {
                    return Ok(Outcome::Skipped(orphan));
                }
            }
            if !has_known {
                return Err(Reason::NoKnownFields(row_name()).into());
            }
            self.replace(table, &new, before.as_ref())?;
            before
        };
        self.changed(table, id.into(), before, How::Row);
        self.note_unknown(new.keys().filter(|key| !is_known(key)).cloned().collect());
        Ok(self.applied())
    }

    /// Whether it could be done without touching any other row.
    fn insert(&self, table: &Table, new: &Map<String, Json>) -> Result<bool, Stop> {
        if self.missing_parent(table, new)?.is_some() {
            return Ok(false);
        }
        let row = self.whole_row(table, new, None);
        match self.conn.prepare_cached(&table.insert)?.execute(params_from_iter(&row.0)) {
            Ok(_) => Ok(true),
            // What it was comes out when it is put in place of what is there.
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    fn replace(&mut self, table: &Table, new: &Map<String, Json>, before: Option<&Row>) -> Result<(), Stop> {
        let row = self.whole_row(table, new, before);
        let id = self.event.entity_id;
        let local_rows = self.note_cascades(table, id, before.is_some(), Removal::ByReplace)?;
        self.note_displaced(table, &row)?;
        if !local_rows.is_empty() {
            self.begin_several()?;
        }
        // With nothing known that could give way, nothing unknown does either.
        let is_new = before.is_none() && self.changes.is_empty();
        let put = if is_new { &table.insert } else { &table.replace };
        self.conn.prepare_cached(put)?.execute(params_from_iter(&row.0))?;
        for (child, row) in &local_rows {
            self.conn.prepare_cached(&child.replace)?.execute(params_from_iter(&row.0))?;
        }
        Ok(())
    }

    fn whole_row(&self, table: &Table, new: &Map<String, Json>, before: Option<&Row>) -> Row {
        let value = |(index, column): (usize, &crate::db::Column)| {
            if index == table.id {
                return Value::Text(self.event.entity_id.into());
            }
            if let (true, Some(before)) = (column.kept, before) {
                return before.0[index].clone();
            }
            let default = || column.default.value(self.event.client_time);
            match new.get(&column.name).filter(|_| !column.kept) {
                None => default(),
                Some(json) => match stored_value(&table.name, column, json) {
                    // What REPLACE does with a NULL that may not be; its CURRENT_TIMESTAMP would read a clock.
                    Value::Null if column.not_null => default(),
                    value => value,
                },
            }
        };
        Row(table.columns.iter().enumerate().map(value).collect())
    }

    fn missing_parent(&self, table: &Table, new: &Map<String, Json>) -> Result<Option<Reason>, Stop> {
        for key in &table.parents {
            let column = &table.columns[key.column];
            let Some(json @ (Json::String(_) | Json::Number(_))) = new.get(&column.name) else { continue };
            if json.as_str() == Some("") {
                continue;
            }
            let (parent, value) = (&self.catalog.tables[key.table], stored_value(&table.name, column, json));
            if !self.conn.prepare_cached(&parent.exists)?.exists([&value])? {
                let wanted = json.as_str().map_or_else(|| json.to_string(), str::to_owned);
                return Ok(Some(Reason::OrphanedParent(format!(
                    "orphaned {}/{}: {} references missing {}/{wanted}",
                    table.name, self.event.entity_id, column.name, parent.name
                ))));
            }
        }
        Ok(None)
    }

    /// Hard delete. Children cascade; an issue's sub-issues lose their parent first. SQLite refuses an issue that has
    /// reviews, here and on stock peers; but here nothing of the attempt stays.
    pub fn delete(&mut self, table: &Table) -> Result<Outcome, Stop> {
        let id = self.event.entity_id;
        if table.name == "issues" {
            self.orphan_sub_issues(table, id)?;
        }
        let Some(before) = self.find(table, id)? else {
            let missing = Reason::MissingRow(format!("{}/{id}", table.name));
            if self.changes.is_empty() {
                return Ok(Outcome::Skipped(missing));
            }
            self.note = Some(missing);
            return Ok(self.applied());
        };
        self.note_cascades(table, id, true, Removal::WithParent)?;
        self.conn.prepare_cached(&table.remove)?.execute([id])?;
        self.changed(table, id.into(), Some(before), How::Removed(Removal::Deleted));
        Ok(self.applied())
    }

    fn orphan_sub_issues(&mut self, table: &Table, id: &str) -> Result<(), Stop> {
        let list: Vec<_> = table.columns.iter().map(|c| quoted(&c.name)).collect();
        let find = format!("SELECT {} FROM issues WHERE parent_id = ?1", list.join(", "));
        let sub_issues = self.rows(table, &find, &[&id])?;
        if sub_issues.is_empty() {
            return Ok(());
        }
        self.begin_several()?;
        self.conn.prepare_cached("UPDATE issues SET parent_id = '' WHERE parent_id = ?1")?.execute([id])?;
        for (sub_issue, row) in sub_issues {
            self.changed(table, sub_issue, Some(row), How::Fields(vec!["parent_id".into()]));
        }
        Ok(())
    }

    /// `soft_delete` and `restore`. They carry the event's own time, in the form that stock peers give it; but notes
    /// keep their times in TEXT, where every other writer puts RFC 3339.
    pub fn set_deleted(&mut self, table: &Table, deleted: bool) -> Result<Outcome, Stop> {
        let id = self.event.entity_id;
        let needed: &[&'static str] = if deleted { &["deleted_at"] } else { &["deleted_at", "updated_at"] };
        for name in needed {
            table.column_index(name).ok_or(Reason::NoColumn(name))?;
        }
        let Some(before) = self.find(table, id)? else {
            return Ok(Outcome::Skipped(Reason::MissingRow(format!("{}/{id}", table.name))));
        };
        let is_text = table.columns.iter().any(|c| c.name == "deleted_at" && c.is_text);
        let time = self.event.client_time;
        let time = Value::Text(if is_text { time.rfc3339n() } else { time.canonical() });
        let id_value = Value::Text(id.into());
        let values = if deleted { vec![time, id_value] } else { vec![Value::Null, time, id_value] };
        let fields: Vec<String> = needed.iter().map(|f| (*f).into()).collect();
        self.set(table, &fields, &values)?;
        self.changed(table, id.into(), Some(before), How::Fields(fields));
        Ok(self.applied())
    }

    /// Notes every row that goes when this one goes; returns the local ones, which a replace puts back.
    fn note_cascades(
        &mut self,
        table: &Table,
        id: &str,
        is_there: bool,
        why: Removal,
    ) -> Result<Vec<(&'w Table, Row)>, Stop> {
        let mut local_rows = Vec::new();
        if !is_there {
            return Ok(local_rows);
        }
        let catalog = self.catalog;
        // A dependency of an issue on itself hangs on it twice.
        let mut seen = BTreeSet::new();
        for key in &table.children {
            let child = &catalog.tables[key.table];
            for (child_id, row) in self.rows(child, &key.find, &[&id])? {
                if !child.synced && why == Removal::ByReplace {
                    local_rows.push((child, row));
                } else if seen.insert((key.table, child_id.clone())) {
                    self.changed(child, child_id, Some(row), How::Removed(why));
                }
            }
        }
        Ok(local_rows)
    }

    fn note_displaced(&mut self, table: &Table, row: &Row) -> Result<(), Stop> {
        for unique in &table.uniques {
            let mut values: Vec<&dyn ToSql> =
                unique.columns.iter().map(|c| &row.0[*c] as &dyn ToSql).collect();
            values.push(&self.event.entity_id);
            for (id, other) in self.rows(table, &unique.find_other, &values)? {
                self.changed(table, id, Some(other), How::Removed(Removal::Displaced));
            }
        }
        Ok(())
    }

    fn find(&self, table: &Table, id: &str) -> rusqlite::Result<Option<Row>> {
        table.row(self.conn, id)
    }

    pub fn rows(
        &self,
        table: &Table,
        sql: &str,
        values: &[&dyn ToSql],
    ) -> rusqlite::Result<Vec<(String, Row)>> {
        let mut ask = self.conn.prepare_cached(sql)?;
        let width = table.columns.len();
        let rows = ask.query_map(values, |r| Ok((r.get(table.id)?, Row::read(r, width)?)))?;
        rows.collect()
    }

    pub fn changed(&mut self, table: &Table, id: String, before: Option<Row>, how: How) {
        self.changes.push(Change { table: table.name.clone(), id, before, how });
    }

    fn note_unknown(&mut self, names: Vec<String>) {
        if !names.is_empty() && self.note.is_none() {
            self.note = Some(Reason::UnknownColumns(names));
        }
    }

    fn applied(&mut self) -> Outcome {
        Outcome::Applied { note: self.note.take() }
    }
}
