//! The dependency cycle rule (client-engine 3.8): of two opposite edges, the smaller text stays.
//!
//! Invariant: every full replayer gets the same edges, whatever way the search goes.
//! Danger: for cycles of three and more edges the rule is not sound (the cycle may persist), but it is the same on every
//! copy, and that is what it has to give. A search from one end alone walks a whole chain for each edge that is added to
//! it: 8,000 edges once kept a server and every device busy for minutes.

use super::outcome::{How, Reason, Removal, Stop};
use super::parts::{Half, Parts};
use super::write::Writer;
use rusqlite::Connection;
use serde_json::Value;
use std::collections::HashSet;

/// What an issue depends on, itself first; a row at a time, and no further than is asked for.
const NEEDED: &str = "WITH RECURSIVE reached(id) AS (
         SELECT ?1
         UNION
         SELECT d.depends_on_id FROM issue_dependencies d JOIN reached r ON d.issue_id = r.id
         WHERE d.relation_type = 'depends_on'
     )
     SELECT id FROM reached";

/// What depends on an issue, alike.
const WAITING: &str = "WITH RECURSIVE reached(id) AS (
         SELECT ?1
         UNION
         SELECT d.issue_id FROM issue_dependencies d JOIN reached r ON d.depends_on_id = r.id
         WHERE d.relation_type = 'depends_on'
     )
     SELECT id FROM reached";

/// Whether the incoming edge is dropped. If it closes a cycle and wins, the reverse edge is removed here.
pub(super) fn drops(writer: &mut Writer<'_>, parts: &Parts<'_>) -> Result<bool, Stop> {
    let Half::Object(new) = parts.new_half("issue_dependencies") else { return Ok(false) };
    let end = |key: &str| new.get(key).and_then(Value::as_str).filter(|s| !s.is_empty());
    let (Some(from), Some(to)) = (end("issue_id"), end("depends_on_id")) else { return Ok(false) };
    if !reaches(writer.conn, to, from)? {
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

/// Whether `from` depends on `to`, over any number of edges. Both ends take turns, so the search costs what the smaller
/// side holds: an issue on which nothing depends closes no cycle, and nothing is walked to find that out.
fn reaches(conn: &Connection, from: &str, to: &str) -> rusqlite::Result<bool> {
    if from == to {
        return Ok(true);
    }
    let (mut needed, mut waiting) = (conn.prepare_cached(NEEDED)?, conn.prepare_cached(WAITING)?);
    let (mut needed, mut waiting) = (needed.query([from])?, waiting.query([to])?);
    let mut seen = [HashSet::from([from.to_owned()]), HashSet::from([to.to_owned()])];
    loop {
        for (side, rows) in [(1, &mut waiting), (0, &mut needed)] {
            let Some(row) = rows.next()? else { return Ok(false) };
            let id: String = row.get(0)?;
            if seen[1 - side].contains(&id) {
                return Ok(true);
            }
            seen[side].insert(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::ProjectDb;
    use proptest::prelude::*;
    use rusqlite::StatementStatus;

    /// Issues named by their number, and these edges between them.
    fn graph(issues: usize, edges: impl IntoIterator<Item = (usize, usize, &'static str)>) -> ProjectDb {
        let now = crate::time::ClientTime::parse("2026-01-01T00:00:00Z").expect("time");
        let db = ProjectDb::in_memory(now).expect("database");
        let mut issue = db.conn().prepare("INSERT INTO issues (id, title) VALUES (?1, '')").expect("sql");
        for id in 0..issues {
            issue.execute([id.to_string()]).expect("issue");
        }
        let put = "INSERT OR IGNORE INTO issue_dependencies VALUES (hex(randomblob(8)), ?1, ?2, ?3)";
        let mut put = db.conn().prepare(put).expect("sql");
        for (from, to, relation) in edges {
            put.execute((from.to_string(), to.to_string(), relation)).expect("edge");
        }
        drop((issue, put));
        db
    }

    /// The rule as it is written down: everything that can be reached from one end.
    fn plainly(edges: &[(usize, usize, &str)], from: usize, to: usize) -> bool {
        let (mut reached, mut next) = (HashSet::from([from]), vec![from]);
        while let Some(at) = next.pop() {
            for (_, on, _) in edges.iter().filter(|(issue, _, kind)| *issue == at && *kind == "depends_on") {
                if reached.insert(*on) {
                    next.push(*on);
                }
            }
        }
        reached.contains(&to)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_search_from_both_ends_finds_what_a_plain_one_finds(
            edges in (2..12usize).prop_flat_map(|n| {
                let kind = prop_oneof![4 => Just("depends_on"), 1 => Just("related")];
                prop::collection::vec((0..n, 0..n, kind), 0..3 * n)
            })
        ) {
            let db = graph(12, edges.iter().copied());
            for (from, to) in (0..12).flat_map(|from| (0..12).map(move |to| (from, to))) {
                let found = reaches(db.conn(), &from.to_string(), &to.to_string()).expect("search");
                prop_assert_eq!(found, plainly(&edges, from, to), "{} to {}", from, to);
            }
        }
    }

    #[test]
    fn an_edge_at_either_end_of_a_long_chain_is_judged_without_walking_it() {
        let db = graph(3001, (1..2000).map(|issue| (issue, issue - 1, "depends_on")));
        // A new issue on top, and a new one below.
        for (from, to) in [("1999", "3000"), ("3000", "0")] {
            assert!(!reaches(db.conn(), from, to).expect("search"));
        }
        let steps = |sql| db.conn().prepare_cached(sql).expect("sql").get_status(StatementStatus::VmStep);
        let steps = steps(NEEDED) + steps(WAITING);
        assert!((1..1000).contains(&steps), "{steps}");
        assert!(reaches(db.conn(), "1999", "0").expect("search"));
    }
}
