//! Events by what they are. Only admins ask, so nothing here is prepared ahead or has an index of its own.

use super::{file, reader};
use crate::log::{Filter, Inspected, LogError};
use rusqlite::{Connection, ToSql};
use std::ops::ControlFlow;
use td_engine::time::ClientTime;

/// `server_timestamp` holds whole seconds without a zone (server-protocol 6.3).
const SECOND: i128 = 1_000_000_000;

/// The conditions of a filter. What it does not name is left out, so that SQLite sees what it can look up.
fn conditions<'f>(filter: &'f Filter, values: &mut Vec<Box<dyn ToSql + 'f>>) -> String {
    let mut sql = "server_seq > ?1".to_string();
    values.push(Box::new(filter.after.0));
    let mut and = |condition: &str, value: Option<Box<dyn ToSql + 'f>>| {
        if let Some(value) = value {
            values.push(value);
            sql.push_str(&format!(" AND {condition} ?{}", values.len()));
        }
    };
    let text = |t: &'f Option<String>| t.as_ref().map(|t| Box::new(t.as_str()) as Box<dyn ToSql>);
    and("entity_type =", filter.entity_type.as_ref().map(|t| Box::new(t.as_str()) as Box<dyn ToSql>));
    and("entity_id =", text(&filter.entity_id));
    and("action_type =", text(&filter.action));
    and("device_id =", text(&filter.device));
    and("session_id =", text(&filter.session));
    let time = |t: i128| Box::new(crate::clock::at(t).sql_utc()) as Box<dyn ToSql>;
    // Every stored time is a whole second: from the next one on, up to the one before.
    let (from, to) = (filter.from.map(ClientTime::unix_nanos), filter.to.map(ClientTime::unix_nanos));
    and("server_timestamp >=", from.map(|t| time(t + (SECOND - 1))));
    and("server_timestamp <=", to.map(time));
    sql
}

pub(super) fn inspect(
    conn: &Connection,
    filter: &Filter,
    each: &mut dyn FnMut(Inspected) -> ControlFlow<()>,
) -> Result<usize, LogError> {
    let mut values = Vec::new();
    let wanted = conditions(filter, &mut values);
    let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
    let sql = format!(
        "SELECT server_seq, device_id, session_id, client_action_id, action_type, entity_type, entity_id, payload,
         client_timestamp, server_timestamp FROM events WHERE {wanted} ORDER BY server_seq LIMIT {limit}"
    );
    let mut statement = conn.prepare(&sql).map_err(file::storage)?;
    let values: Vec<&dyn ToSql> = values.iter().map(|v| &**v).collect();
    let mut rows = statement.query(&values[..]).map_err(file::storage)?;
    let mut handed = 0;
    while let Some(row) = rows.next().map_err(file::storage)? {
        let event = reader::event(row)?;
        let damaged = |what: String| LogError::Damaged { seq: event.seq, what };
        let at: Option<String> = row.get(9).map_err(|e| damaged(e.to_string()))?;
        let at = ClientTime::parse_stored(&at.unwrap_or_default()).map_err(|e| damaged(e.to_string()))?;
        handed += 1;
        if each(Inspected { event, at }).is_break() {
            break;
        }
    }
    Ok(handed)
}
