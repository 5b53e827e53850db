//! The dependency cycle rule (client-engine 3.8): of two opposite edges, the smaller text stays.
//!
//! Danger: for cycles of three and more edges the rule is not sound (the cycle may persist), but every full replayer
//! gets the same edges, and that is what it has to give.

use super::outcome::{How, Reason, Removal, Stop};
use super::parts::{Half, Parts};
use super::write::Writer;
use serde_json::Value;

/// Whether the incoming edge is dropped. If it closes a cycle and wins, the reverse edge is removed here.
pub(super) fn drops(writer: &mut Writer<'_>, parts: &Parts<'_>) -> Result<bool, Stop> {
    let Half::Object(new) = parts.new_half("issue_dependencies") else { return Ok(false) };
    let end = |key: &str| new.get(key).and_then(Value::as_str).filter(|s| !s.is_empty());
    let (Some(from), Some(to)) = (end("issue_id"), end("depends_on_id")) else { return Ok(false) };
    if !reaches(writer, to, from)? {
        return Ok(false);
    }
    if format!("{from}|{to}") >= format!("{to}|{from}") {
        return Ok(true);
    }
    let Some(table) = writer.catalog.synced("issue_dependencies") else { return Ok(false) };
    let list: Vec<_> = table.columns.iter().map(|c| c.name.as_str()).collect();
    let find = format!(
        "SELECT {} FROM issue_dependencies WHERE issue_id = ?1 AND depends_on_id = ?2",
        list.join(", ")
    );
    for (id, row) in writer.rows(table, &find, &[&to, &from])? {
        writer.begin_several()?;
        writer.conn.prepare_cached(&table.remove)?.execute([&id])?;
        writer.changed(table, id, Some(row), How::Removed(Removal::Cycle));
        writer.note = Some(Reason::ReverseEdgeRemoved(format!("{to} depends on {from}")));
    }
    Ok(false)
}

fn reaches(writer: &Writer<'_>, from: &str, to: &str) -> rusqlite::Result<bool> {
    if from == to {
        return Ok(true);
    }
    let mut path = writer.conn.prepare_cached(
        "WITH RECURSIVE reached(id) AS (
             SELECT ?1
             UNION
             SELECT d.depends_on_id FROM issue_dependencies d JOIN reached r ON d.issue_id = r.id
             WHERE d.relation_type = 'depends_on'
         )
         SELECT 1 FROM reached WHERE id = ?2",
    )?;
    path.exists([from, to])
}
