//! Which entity types and actions exist, and the spellings that mean them (server-protocol 5.2).
//!
//! Duty: turn what a client wrote into the canonical word, before anything is stored or applied.
//! Danger: the log and HTTP know no table of `td`; they reach these words only through [`Schema`].

use crate::apply::{self, EventRef};
use crate::payload::Payload;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A canonical entity type. For `td` projects it is a table name; only a [`Schema`] makes one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntityType(String);

impl EntityType {
    /// The canonical word.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A word read back from a log or a pull answer. It was canonical when it was stored; applying it checks again.
    pub fn stored(word: impl Into<String>) -> Self {
        Self(word.into())
    }
}

impl fmt::Display for EntityType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an event does. A log may hold only these five words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Insert or replace a whole row.
    Create,
    /// Change the columns that differ between the two halves of the payload.
    Update,
    /// Remove the row.
    Delete,
    /// Set `deleted_at`.
    SoftDelete,
    /// Clear `deleted_at`.
    Restore,
}

impl Action {
    /// The word on the wire and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Update => "update",
            Action::Delete => "delete",
            Action::SoftDelete => "soft_delete",
            Action::Restore => "restore",
        }
    }

    /// Exactly one of the five words, as a log holds them.
    pub fn from_stored(word: &str) -> Option<Self> {
        [Action::Create, Action::Update, Action::Delete, Action::SoftDelete, Action::Restore]
            .into_iter()
            .find(|a| a.as_str() == word)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a project's events mean. The log and the HTTP layer take one of these and name no entity themselves.
pub trait Schema: Send + Sync {
    /// The canonical type for any accepted spelling; `None` refuses the whole push.
    fn entity_type(&self, word: &str) -> Option<EntityType>;
    /// Every canonical type, sorted.
    fn entity_types(&self) -> Vec<EntityType>;
    /// The canonical action; every word means one.
    fn action(&self, word: &str) -> Action;
    /// Removes what must not leave the device, be stored or be shown: `None` keeps the bytes as they are.
    fn scrub(&self, entity: &str, payload: &str) -> Option<Payload>;
    /// What a live stream calls an event of this type and action (server-protocol 4.7) when watchers can follow it by
    /// its entity alone; `None` tells them to load everything again.
    fn announcement(&self, entity: &str, action: &str) -> Option<&'static str>;
    /// Whether the author of `own` had seen `other`, an earlier event of the same entity: its state before shows what
    /// `other` wrote. A schema that cannot tell says yes.
    fn shows(&self, own: EventRef<'_>, other: EventRef<'_>) -> bool;
}

/// The schema of `td` projects.
#[derive(Clone, Copy, Debug, Default)]
pub struct TdSchema;

const ENTITY_SPELLINGS: &[(&str, &[&str])] = &[
    ("issues", &["issue"]),
    ("logs", &["log"]),
    ("handoffs", &["handoff"]),
    ("comments", &["comment"]),
    ("sessions", &["session"]),
    ("boards", &["board"]),
    ("board_issue_positions", &["board_position"]),
    ("work_sessions", &["work_session"]),
    ("work_session_issues", &["work_session_issue"]),
    ("issue_files", &["file_link"]),
    ("issue_dependencies", &["dependency"]),
    ("git_snapshots", &["git_snapshot"]),
    ("issue_session_history", &["issue_session_histories"]),
    ("issue_reviews", &["issue_review"]),
    ("notes", &["note"]),
];

/// The types whose events change rows, in an order in which parents precede children. The other three of the fifteen
/// (`sessions`, `git_snapshots`, `issue_session_history`) are local to a device: logged if pushed, never applied.
pub const SYNCED: [&str; 12] = [
    "issues",
    "logs",
    "comments",
    "handoffs",
    "boards",
    "work_sessions",
    "board_issue_positions",
    "issue_dependencies",
    "issue_files",
    "work_session_issues",
    "issue_reviews",
    "notes",
];

/// Columns of `work_sessions` that name places on one machine and must never travel (client-engine 1.9).
pub const WORK_SESSION_LOCAL: [&str; 3] = ["worktree_id", "worktree_root", "repo_root"];

impl Schema for TdSchema {
    fn entity_type(&self, word: &str) -> Option<EntityType> {
        ENTITY_SPELLINGS
            .iter()
            .find(|(table, others)| {
                table.eq_ignore_ascii_case(word) || others.iter().any(|o| o.eq_ignore_ascii_case(word))
            })
            .map(|(table, _)| EntityType((*table).into()))
    }

    fn entity_types(&self) -> Vec<EntityType> {
        let mut all: Vec<_> = ENTITY_SPELLINGS.iter().map(|(table, _)| EntityType::stored(*table)).collect();
        all.sort();
        all
    }

    fn action(&self, word: &str) -> Action {
        // A canonical word in exactly its own spelling is kept: `delete` on the wire stays a hard delete, while any
        // other spelling of it is the action-log verb, which means a soft one.
        if let Some(action) = Action::from_stored(word) {
            return action;
        }
        match word.to_ascii_lowercase().as_str() {
            "create" | "handoff" | "add_dependency" | "link_file" | "board_create" | "board_update"
            | "board_add_issue" | "board_set_position" | "work_session_tag" => Action::Create,
            "remove_dependency" | "unlink_file" | "board_delete" | "work_session_untag" | "review_delete" => {
                Action::Delete
            }
            "delete" | "board_unposition" | "board_remove_issue" | "soft_delete" => Action::SoftDelete,
            "restore" => Action::Restore,
            _ => Action::Update,
        }
    }

    fn scrub(&self, entity: &str, payload: &str) -> Option<Payload> {
        (entity == "work_sessions").then(|| Payload::without_keys(payload, &WORK_SESSION_LOCAL)).flatten()
    }

    fn announcement(&self, entity: &str, action: &str) -> Option<&'static str> {
        match (entity, Action::from_stored(action)?) {
            ("issues", Action::Delete | Action::SoftDelete) => Some("issue.deleted"),
            ("issues", _) => Some("issue.upserted"),
            _ => None,
        }
    }

    fn shows(&self, own: EventRef<'_>, other: EventRef<'_>) -> bool {
        apply::shows(own, other)
    }
}

/// The wire action of a verb in a device's own action log (client-engine 2.2): as [`Schema::action`], but a local
/// `delete` is always soft.
pub fn action_of_local_verb(verb: &str) -> Action {
    match TdSchema.action(verb) {
        Action::Delete if verb.eq_ignore_ascii_case("delete") => Action::SoftDelete,
        action => action,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_mean_their_table() {
        for (word, table) in [
            ("Issue", "issues"),
            ("NOTES", "notes"),
            ("board_position", "board_issue_positions"),
            ("file_link", "issue_files"),
            ("issue_session_histories", "issue_session_history"),
        ] {
            assert_eq!(TdSchema.entity_type(word).expect(word).as_str(), table);
        }
        assert_eq!(TdSchema.entity_type("widgets"), None);
        assert_eq!(TdSchema.entity_type(""), None);
    }

    #[test]
    fn a_stream_names_changes_of_issues_and_asks_for_a_reload_otherwise() {
        assert_eq!(TdSchema.announcement("issues", "restore"), Some("issue.upserted"));
        assert_eq!(TdSchema.announcement("issues", "soft_delete"), Some("issue.deleted"));
        assert_eq!(TdSchema.announcement("comments", "create"), None);
        assert_eq!(TdSchema.announcement("issues", "explode"), None);
    }

    #[test]
    fn a_literal_delete_is_hard_on_the_wire_and_soft_in_an_action_log() {
        assert_eq!(TdSchema.action("delete"), Action::Delete);
        assert_eq!(TdSchema.action("DELETE"), Action::SoftDelete);
        assert_eq!(action_of_local_verb("delete"), Action::SoftDelete);
        assert_eq!(action_of_local_verb("unlink_file"), Action::Delete);
        assert_eq!(TdSchema.action("approve"), Action::Update);
    }
}
