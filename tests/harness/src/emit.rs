//! Random local changes that the rows of a device permit.
//!
//! Duty: every entity type and every action that a client publishes, in the payload shapes of client-engine 2.1, on few
//! enough rows and values that devices meet on them all the time.
//! Invariant: a change is composed from the device's rows and a seed only, so a repeated world composes it again.

use crate::random::Random;
use rusqlite::types::Value;
use serde_json::{Map, Value as Json, json};
use td_client::store::Store;
use td_client::write::Change;
use td_engine::payload::short_digest;
use td_engine::shape::shaped;

/// The fields of a row as a payload spells them.
type Fields = Map<String, Json>;

/// One change being composed.
pub struct Draft<'a> {
    store: &'a Store,
    random: &'a mut Random,
    now: String,
}

type Compose = fn(&mut Draft<'_>) -> rusqlite::Result<Option<Change>>;

/// How often, and what. Edits of the same few issues dominate, as in a real project.
const MENU: &[(usize, Compose)] = &[
    (8, |d| d.issue_create()),
    (26, |d| d.issue_edit()),
    (8, |d| d.issue_status()),
    (4, |d| d.issue_delete()),
    (3, |d| d.issue_undelete()),
    (8, |d| d.comment()),
    (1, |d| d.comment_delete()),
    (5, |d| d.log()),
    (3, |d| d.handoff()),
    (2, |d| d.board()),
    (3, |d| d.board_edit()),
    (1, |d| d.board_delete()),
    (5, |d| d.position()),
    (2, |d| d.unposition()),
    (5, |d| d.dependency()),
    (2, |d| d.dependency_remove()),
    (4, |d| d.file_link()),
    (2, |d| d.file_unlink()),
    (2, |d| d.work_session()),
    (2, |d| d.work_session_end()),
    (3, |d| d.tag()),
    (1, |d| d.untag()),
    (2, |d| d.review()),
    (1, |d| d.review_supersede()),
    (1, |d| d.review_delete()),
    (3, |d| d.note()),
    (4, |d| d.note_edit()),
    (1, |d| d.note_delete()),
    (1, |d| d.note_restore()),
];

/// Changes that wait for their device.
pub type Actions = std::collections::VecDeque<Change>;

/// A change that the rows of `store` permit. There always is one: an issue can be created any time.
pub fn compose(store: &Store, random: &mut Random) -> rusqlite::Result<Change> {
    let now = store.ambient().now().fixed_utc();
    let mut draft = Draft { store, random, now };
    let total: usize = MENU.iter().map(|(weight, _)| weight).sum();
    for _ in 0..8 {
        let mut at = draft.random.below(total);
        let chosen = MENU.iter().find(|(weight, _)| {
            let here = at < *weight;
            at = at.saturating_sub(*weight);
            here
        });
        if let Some((_, compose)) = chosen
            && let Some(change) = compose(&mut draft)?
        {
            return Ok(change);
        }
    }
    draft.new_issue()
}

const WORDS: &[&str] = &[
    "path",
    "shed",
    "pond",
    "lamp",
    "müsli",
    "50%",
    "it's",
    "\"quoted\"",
    "水",
    "emoji🙂",
    "a\\b",
    "<b>&amp;",
];

/// Columns that payloads spell as true and false.
const FLAGS: [&str; 5] = ["minor", "is_builtin", "self_review", "pinned", "archived"];

impl Draft<'_> {
    fn id(&mut self, prefix: &str, digits: usize) -> String {
        let hex = format!("{:016x}", self.random.draw());
        format!("{prefix}{}", &hex[..digits])
    }

    fn one_of(&mut self, words: &[&str]) -> String {
        self.random.pick(words).map(ToString::to_string).unwrap_or_default()
    }

    fn text(&mut self) -> String {
        let words: Vec<_> = (0..1 + self.random.below(4)).map(|_| self.one_of(WORDS)).collect();
        words.join(if self.random.chance(10) { "\n" } else { " " })
    }

    fn session(&self) -> String {
        self.store.device().session.to_string()
    }

    /// An id out of a table.
    fn any(&mut self, table: &str, condition: &str) -> rusqlite::Result<Option<String>> {
        let sql = format!("SELECT id FROM {table} WHERE {condition} ORDER BY id");
        let mut ask = self.store.conn().prepare_cached(&sql)?;
        let ids = ask.query_map([], |r| r.get(0))?.collect::<Result<Vec<String>, _>>()?;
        Ok(self.random.pick(&ids).cloned())
    }

    fn live_issue(&mut self) -> rusqlite::Result<Option<String>> {
        self.any("issues", "deleted_at IS NULL")
    }

    /// The row as a payload object.
    fn fields(&self, table: &str, id: &str) -> rusqlite::Result<Fields> {
        let mut ask = self.store.conn().prepare_cached(&format!("SELECT * FROM {table} WHERE id = ?1"))?;
        let names: Vec<String> = ask.column_names().map(str::to_string).collect();
        let values: Vec<Value> = ask.query_row([id], |r| (0..names.len()).map(|i| r.get(i)).collect())?;
        let json = |name: &str, value: Value| match value {
            Value::Integer(i) if FLAGS.contains(&name) => json!(i != 0),
            Value::Integer(i) => json!(i),
            Value::Real(r) => json!(r),
            Value::Text(t) if name == "labels" => t.split(',').filter(|l| !l.is_empty()).collect(),
            Value::Text(t) => json!(t),
            Value::Blob(b) => json!(String::from_utf8_lossy(&b)),
            Value::Null => Json::Null,
        };
        let fields = names.iter().zip(values).map(|(name, value)| (name.clone(), json(name, value)));
        Ok(shaped(table, fields.collect()))
    }

    /// A row, and the same with some fields set.
    fn edit(
        &mut self,
        verb: &str,
        table: &str,
        id: Option<String>,
        set: impl FnOnce(&mut Self, &mut Fields),
    ) -> rusqlite::Result<Option<Change>> {
        let Some(id) = id else { return Ok(None) };
        let before = self.fields(table, &id)?;
        let mut after = before.clone();
        set(self, &mut after);
        let after = shaped(table, after);
        if before == after {
            return Ok(None);
        }
        Ok(Some(Change::update(verb, table, &id, Json::Object(before), Json::Object(after))))
    }

    /// Removes a row for good.
    fn remove(&mut self, verb: &str, table: &str) -> rusqlite::Result<Option<Change>> {
        let Some(id) = self.any(table, "1")? else { return Ok(None) };
        let before = Json::Object(self.fields(table, &id)?);
        Ok(Some(with_verb(verb, table, &id, Some(before), None)))
    }

    fn new_issue(&mut self) -> rusqlite::Result<Change> {
        let (id, now, session) = (self.id("td-", 6), self.now.clone(), self.session());
        let parent =
            if self.random.chance(30) { self.live_issue()?.unwrap_or_default() } else { String::new() };
        let fields = json!({
            "id": id, "title": self.text(), "description": if self.random.chance(50) { self.text() } else { String::new() },
            "status": "open", "type": self.one_of(&["bug", "feature", "task", "epic", "chore"]),
            "priority": self.one_of(&["P0", "P1", "P2", "P3"]), "points": self.random.below(4), "labels": self.labels(),
            "parent_id": parent, "implementer_session": "", "creator_session": session, "reviewer_session": "",
            "created_at": now, "updated_at": now, "minor": self.random.chance(20), "defer_count": 0,
        });
        Ok(Change::create("issue", &id, Json::Object(shaped("issues", object(fields)))))
    }

    fn labels(&mut self) -> Vec<String> {
        (0..self.random.below(3)).map(|_| self.one_of(&["x", "spring", "häuser"])).collect()
    }

    fn issue_create(&mut self) -> rusqlite::Result<Option<Change>> {
        // Few rows, many meetings.
        let count: i64 = self.store.conn().query_row("SELECT COUNT(*) FROM issues", [], |r| r.get(0))?;
        if count > 12 && self.random.chance(70) { Ok(None) } else { self.new_issue().map(Some) }
    }

    fn issue_edit(&mut self) -> rusqlite::Result<Option<Change>> {
        // Deleted issues accept updates too (client-engine 2.1).
        let condition = if self.random.chance(10) { "1" } else { "deleted_at IS NULL" };
        let (id, parent) = (self.any("issues", condition)?, self.live_issue()?.unwrap_or_default());
        self.edit("update", "issues", id, |d, f| {
            f.insert("updated_at".into(), json!(d.now));
            for _ in 0..1 + d.random.below(2) {
                let (key, value) = match d.random.below(9) {
                    0 | 1 => ("title", json!(d.text())),
                    2 => ("description", json!(if d.random.chance(30) { String::new() } else { d.text() })),
                    3 => ("priority", json!(d.one_of(&["P0", "P1", "P2", "P3"]))),
                    4 => ("points", json!(d.random.below(4))),
                    5 => ("labels", json!(d.labels())),
                    6 => ("parent_id", json!(if d.random.chance(40) { "" } else { parent.as_str() })),
                    7 => ("due_date", d.random.chance(60).then_some("2026-12-24").into()),
                    _ => ("minor", json!(d.random.chance(50))),
                };
                f.insert(key.into(), value);
            }
        })
    }

    fn issue_status(&mut self) -> rusqlite::Result<Option<Change>> {
        let id = self.live_issue()?;
        let verb = self.one_of(&["start", "block", "unblock", "close", "reopen", "review"]);
        let status = match verb.as_str() {
            "start" => "in_progress",
            "block" => "blocked",
            "close" => "closed",
            "review" => "in_review",
            _ => "open",
        };
        self.edit(&verb, "issues", id, |d, f| {
            f.insert("status".into(), json!(status));
            f.insert("updated_at".into(), json!(d.now));
            f.insert("closed_at".into(), (status == "closed").then(|| d.now.clone()).into());
            if status == "in_progress" {
                f.insert("implementer_session".into(), json!(d.session()));
            }
        })
    }

    fn issue_delete(&mut self) -> rusqlite::Result<Option<Change>> {
        let id = self.live_issue()?;
        self.edit("update", "issues", id, |d, f| {
            f.insert("deleted_at".into(), json!(d.now));
            f.insert("updated_at".into(), json!(d.now));
        })
    }

    fn issue_undelete(&mut self) -> rusqlite::Result<Option<Change>> {
        let id = self.any("issues", "deleted_at IS NOT NULL")?;
        self.edit("update", "issues", id, |d, f| {
            f.remove("deleted_at");
            f.insert("updated_at".into(), json!(d.now));
        })
    }

    /// A new child of an issue.
    fn child(
        &mut self,
        verb: &str,
        table: &str,
        prefix: &str,
        fields: impl FnOnce(&mut Self, String, String) -> Json,
    ) -> rusqlite::Result<Option<Change>> {
        let Some(issue) = self.live_issue()? else { return Ok(None) };
        let id = self.id(prefix, 8);
        let fields = fields(self, id.clone(), issue);
        Ok(Some(with_verb(verb, table, &id, None, Some(fields))))
    }

    fn comment(&mut self) -> rusqlite::Result<Option<Change>> {
        self.child("create", "comments", "cm-", |d, id, issue| {
            json!({"id": id, "issue_id": issue, "session_id": d.session(), "text": d.text(), "created_at": d.now})
        })
    }

    fn comment_delete(&mut self) -> rusqlite::Result<Option<Change>> {
        // Any verb that maps to a wire delete does (client-engine 11.2).
        self.remove("review_delete", "comments")
    }

    fn log(&mut self) -> rusqlite::Result<Option<Change>> {
        self.child("create", "logs", "lg-", |d, id, issue| {
            let kind = d.one_of(&["progress", "blocker", "decision"]);
            json!({"id": id, "issue_id": issue, "session_id": d.session(), "work_session_id": "",
                   "message": d.text(), "type": kind, "timestamp": d.now})
        })
    }

    fn handoff(&mut self) -> rusqlite::Result<Option<Change>> {
        self.child("handoff", "handoff", "ho-", |d, id, issue| {
            let done = json!([d.text()]).to_string();
            json!({"id": id, "issue_id": issue, "session_id": d.session(), "done": done, "remaining": "null",
                   "decisions": "[]", "uncertain": "null", "timestamp": d.now})
        })
    }

    fn board(&mut self) -> rusqlite::Result<Option<Change>> {
        let id = self.id("bd-", 8);
        let fields = json!({"id": id, "name": self.text(), "query": "status = open", "is_builtin": false,
                            "view_mode": "swimlanes", "created_at": self.now, "updated_at": self.now});
        Ok(Some(with_verb("board_create", "board", &id, None, Some(fields))))
    }

    fn board_edit(&mut self) -> rusqlite::Result<Option<Change>> {
        let id = self.any("boards", "is_builtin = 0")?;
        self.edit("update", "boards", id, |d, f| {
            f.insert("name".into(), json!(d.text()));
            f.insert("updated_at".into(), json!(d.now));
        })
    }

    fn board_delete(&mut self) -> rusqlite::Result<Option<Change>> {
        let Some(id) = self.any("boards", "is_builtin = 0")? else { return Ok(None) };
        let before = Json::Object(self.fields("boards", &id)?);
        Ok(Some(with_verb("board_delete", "board", &id, Some(before), None)))
    }

    fn position(&mut self) -> rusqlite::Result<Option<Change>> {
        let (Some(board), Some(issue)) = (self.any("boards", "1")?, self.live_issue()?) else {
            return Ok(None);
        };
        let id = pair_id("bip_", &[&board, &issue]);
        let position = i64::try_from(self.random.below(8)).unwrap_or(0) * 65_536;
        let fields = json!({"id": id, "board_id": board, "issue_id": issue, "position": position, "added_at": self.now});
        Ok(Some(with_verb("board_set_position", "board_issue_positions", &id, None, Some(fields))))
    }

    fn unposition(&mut self) -> rusqlite::Result<Option<Change>> {
        let Some(id) = self.any("board_issue_positions", "deleted_at IS NULL")? else { return Ok(None) };
        let before = Json::Object(self.fields("board_issue_positions", &id)?);
        Ok(Some(with_verb("board_unposition", "board_issue_positions", &id, Some(before), None)))
    }

    fn dependency(&mut self) -> rusqlite::Result<Option<Change>> {
        let (Some(from), Some(to)) = (self.live_issue()?, self.live_issue()?) else { return Ok(None) };
        if from == to {
            return Ok(None);
        }
        let id = pair_id("dep_", &[&from, &to, "depends_on"]);
        let fields = json!({"id": id, "issue_id": from, "depends_on_id": to, "relation_type": "depends_on"});
        Ok(Some(with_verb("add_dependency", "issue_dependencies", &id, None, Some(fields))))
    }

    fn dependency_remove(&mut self) -> rusqlite::Result<Option<Change>> {
        self.remove("remove_dependency", "issue_dependencies")
    }

    fn file_link(&mut self) -> rusqlite::Result<Option<Change>> {
        let Some(issue) = self.live_issue()? else { return Ok(None) };
        let path = self.one_of(&["src/a.rs", "b/größe.txt", "c d"]);
        let id = pair_id("ifl_", &[&issue, &path]);
        let fields = json!({"id": id, "issue_id": issue, "file_path": path, "role": self.one_of(&["implementation", "test"]),
                            "linked_sha": short_digest(&self.text(), 32), "linked_at": self.now});
        Ok(Some(with_verb("link_file", "issue_files", &id, None, Some(fields))))
    }

    fn file_unlink(&mut self) -> rusqlite::Result<Option<Change>> {
        self.remove("unlink_file", "issue_files")
    }

    fn work_session(&mut self) -> rusqlite::Result<Option<Change>> {
        let id = self.id("ws-", 8);
        let fields = json!({"id": id, "name": self.text(), "session_id": self.session(), "started_at": self.now,
                            "start_sha": "abc"});
        Ok(Some(Change::create("work_sessions", &id, fields)))
    }

    fn work_session_end(&mut self) -> rusqlite::Result<Option<Change>> {
        let id = self.any("work_sessions", "1")?;
        self.edit("update", "work_sessions", id, |d, f| {
            f.insert("ended_at".into(), json!(d.now));
            f.insert("end_sha".into(), json!("def"));
        })
    }

    fn tag(&mut self) -> rusqlite::Result<Option<Change>> {
        let (Some(ws), Some(issue)) = (self.any("work_sessions", "1")?, self.live_issue()?) else {
            return Ok(None);
        };
        let id = pair_id("wsi_", &[&ws, &issue]);
        let fields = json!({"id": id, "work_session_id": ws, "issue_id": issue, "tagged_at": self.now});
        Ok(Some(with_verb("work_session_tag", "work_session_issues", &id, None, Some(fields))))
    }

    fn untag(&mut self) -> rusqlite::Result<Option<Change>> {
        self.remove("work_session_untag", "work_session_issues")
    }

    fn review(&mut self) -> rusqlite::Result<Option<Change>> {
        self.child("create", "issue_reviews", "rv-", |d, id, issue| {
            let decision = d.one_of(&["approved", "changes_requested"]);
            json!({"id": id, "issue_id": issue, "reviewer_session": d.session(), "decision": decision,
                   "summary": d.text(), "created_at": d.now, "self_review": false})
        })
    }

    fn review_supersede(&mut self) -> rusqlite::Result<Option<Change>> {
        let id = self.any("issue_reviews", "superseded_at IS NULL")?;
        self.edit("update", "issue_reviews", id, |d, f| {
            f.insert("superseded_at".into(), json!(d.now));
        })
    }

    fn review_delete(&mut self) -> rusqlite::Result<Option<Change>> {
        self.remove("review_delete", "issue_reviews")
    }

    fn note(&mut self) -> rusqlite::Result<Option<Change>> {
        let id = self.id("nt-", 6);
        let fields = json!({"id": id, "title": self.text(), "content": self.text(), "created_at": self.now,
                            "updated_at": self.now, "pinned": false, "archived": false});
        Ok(Some(Change::create("note", &id, fields)))
    }

    fn note_edit(&mut self) -> rusqlite::Result<Option<Change>> {
        let id = self.any("notes", "1")?;
        self.edit("update", "notes", id, |d, f| {
            let key = d.one_of(&["title", "content"]);
            f.insert(key, json!(d.text()));
            f.insert("pinned".into(), json!(d.random.chance(50)));
            f.insert("updated_at".into(), json!(d.now));
        })
    }

    fn note_delete(&mut self) -> rusqlite::Result<Option<Change>> {
        let Some(id) = self.any("notes", "deleted_at IS NULL")? else { return Ok(None) };
        let before = Json::Object(self.fields("notes", &id)?);
        Ok(Some(with_verb("delete", "note", &id, Some(before), None)))
    }

    fn note_restore(&mut self) -> rusqlite::Result<Option<Change>> {
        let Some(id) = self.any("notes", "deleted_at IS NOT NULL")? else { return Ok(None) };
        let before = self.fields("notes", &id)?;
        let mut after = before.clone();
        after.remove("deleted_at");
        Ok(Some(with_verb("restore", "note", &id, Some(Json::Object(before)), Some(Json::Object(after)))))
    }
}

fn with_verb(verb: &str, entity_type: &str, id: &str, previous: Option<Json>, new: Option<Json>) -> Change {
    Change { verb: verb.into(), entity_type: entity_type.into(), entity_id: id.into(), previous, new }
}

/// A deterministic id (client-engine 1.8).
fn pair_id(prefix: &str, parts: &[&str]) -> String {
    format!("{prefix}{}", short_digest(&parts.join("|"), 8))
}

fn object(json: Json) -> Fields {
    match json {
        Json::Object(map) => map,
        _ => Fields::new(),
    }
}
