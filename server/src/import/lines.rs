//! The digest over a log's events, as the deployment's `facts.json` writes it down.
//!
//! Format: SHA-256 over one JSON array per event, in order of sequence, each with a line feed: server_seq, device_id,
//! session_id, client_action_id, action_type, entity_type, entity_id, payload, client_timestamp, server_timestamp; a
//! comma and a blank between them, nothing but control characters, quote and backslash escaped (Python's
//! `json.dumps(row, ensure_ascii=False)`). Anybody can compute it from the file with ten lines of script.

use crate::secret;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// In the order of the line. The first nine are what a pull shows.
pub(super) const COLUMNS: &str = "server_seq, device_id, session_id, client_action_id, action_type, entity_type, \
                                  entity_id, payload, client_timestamp, server_timestamp";
const WIDTH: usize = 10;

/// The digest of the events that it was shown.
#[derive(Default)]
pub struct EventLines {
    hash: Sha256,
    line: String,
}

impl EventLines {
    /// Of a log's events up to a sequence.
    pub fn of(conn: &Connection, up_to: i64) -> rusqlite::Result<String> {
        let mut lines = Self::default();
        let sql = format!("SELECT {COLUMNS} FROM events WHERE server_seq <= ?1 ORDER BY server_seq");
        let mut events = conn.prepare(&sql)?;
        let mut rows = events.query([up_to])?;
        while let Some(row) = rows.next()? {
            lines.add(row)?;
        }
        Ok(lines.hex())
    }

    pub(super) fn add(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let line = &mut self.line;
        line.clear();
        line.push('[');
        for column in 0..WIDTH {
            line.push_str(if column > 0 { ", " } else { "" });
            // Writing to a String does not fail.
            let _ = match row.get_ref(column)? {
                ValueRef::Null => write!(line, "null"),
                ValueRef::Integer(i) => write!(line, "{i}"),
                ValueRef::Real(r) => write!(line, "{r:?}"),
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                    text(line, bytes);
                    Ok(())
                }
            };
        }
        line.push_str("]\n");
        self.hash.update(line.as_bytes());
        Ok(())
    }

    pub(super) fn hex(self) -> String {
        secret::hex(&self.hash.finalize())
    }
}

/// A JSON string. A byte that is no UTF-8 becomes the lone surrogate that Python gives it (`surrogateescape`), spelt as
/// an escape, so that two different payloads never have one line.
fn text(line: &mut String, bytes: &[u8]) {
    line.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => line.push_str("\\\""),
                '\\' => line.push_str("\\\\"),
                '\n' => line.push_str("\\n"),
                '\r' => line.push_str("\\r"),
                '\t' => line.push_str("\\t"),
                '\u{8}' => line.push_str("\\b"),
                '\u{c}' => line.push_str("\\f"),
                c if c < ' ' => {
                    let _ = write!(line, "\\u{:04x}", u32::from(c));
                }
                c => line.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(line, "\\udc{byte:02x}");
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_python_writes() {
        let conn = Connection::open_in_memory().expect("open");
        conn.execute_batch(&format!(
            "CREATE TABLE events ({COLUMNS});
             INSERT INTO events VALUES (1, 'd', 's', -7, 'create', 'issues', 'td-é', CAST('{{\"a\":\"x\\\\n\"}}' AS BLOB),
                                        char(1, 8, 9, 10, 12, 13, 34, 92, 127), NULL)"
        ))
        .expect("row");
        // python3 -c 'import json,hashlib; r=[1,"d","s",-7,"create","issues","td-é","{\"a\":\"x\\\\n\"}",
        //   "\x01\b\t\n\f\r\"\\\x7f",None]; print(hashlib.sha256((json.dumps(r,ensure_ascii=False)+"\n").encode()).hexdigest())'
        assert_eq!(
            EventLines::of(&conn, 1).expect("digest"),
            "61691d6c3e039d688bb745d91578ff161f31f74cd708ec189bf832b3fceb0396"
        );
        let empty = EventLines::of(&conn, 0).expect("digest");
        assert_eq!(empty, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
