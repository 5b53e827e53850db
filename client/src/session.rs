//! Which session acts: the row of `sessions` that this terminal or agent shares with Go `td` (client-engine 2.4).
//!
//! Duty: find the most recently active session for the same branch, agent and worktree, or begin one.
//! Invariant: the key is computed by the caller, who may look at the environment; this module only looks at the table.

use crate::ambient::{Ambient, fresh_id, hex};
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};
use std::path::Path;
use td_engine::id::SessionId;

/// What tells one session from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionKey {
    /// Git branch, `default` outside of git.
    pub branch: String,
    /// Fingerprint of the acting agent, `terminal` or `unknown`.
    pub agent_type: String,
    /// Its process, 0 where the fingerprint says it all.
    pub agent_pid: i64,
    /// `TD_CONTEXT_ID`.
    pub context: String,
    /// Root of the worktree, symlinks resolved.
    pub worktree_root: String,
}

impl SessionKey {
    /// `wt_` and the first 12 hex digits of SHA-256 over the root's path.
    fn worktree_id(&self) -> String {
        format!("wt_{}", &hex(&Sha256::digest(&self.worktree_root))[..12])
    }
}

/// The fingerprint of an explicitly named session.
pub fn explicit_agent(name: &str) -> String {
    let clean: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' }).collect();
    format!("explicit_{}", clean.chars().take(32).collect::<String>())
}

/// The agent a process name gives away.
pub fn agent_of_process(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    let agents = ["claude", "cursor", "codex", "windsurf", "zed", "aider", "copilot", "gemini"];
    let found = agents.into_iter().find(|a| name.contains(a))?;
    Some(if found == "claude" { "claude-code" } else { found })
}

/// The root that stands for a folder: git's top level, else the folder, symlinks resolved.
pub fn worktree_root(folder: &Path) -> String {
    let top = crate::place::git_top(folder).unwrap_or_else(|| folder.to_path_buf());
    std::fs::canonicalize(&top).unwrap_or(top).to_string_lossy().into_owned()
}

/// Finds or begins the session of `key`, inside the caller's write transaction.
pub(crate) fn adopt(
    conn: &Connection,
    key: &SessionKey,
    ambient: &dyn Ambient,
) -> rusqlite::Result<SessionId> {
    let (worktree, now) = (key.worktree_id(), ambient.now().canonical());
    let find = "SELECT id FROM sessions WHERE branch = ?1 AND agent_type = ?2 AND agent_pid = ?3 \
                AND match_context_id = ?4 AND worktree_id = ?5 AND ended_at IS NULL \
                ORDER BY last_activity DESC LIMIT 1";
    let ask = |worktree: &str| {
        conn.query_row(find, params![key.branch, key.agent_type, key.agent_pid, key.context, worktree], |r| {
            r.get::<_, String>(0)
        })
        .optional()
    };
    let found = match ask(&worktree)? {
        Some(id) => Some(id),
        None => ask("")?,
    };
    let id = match found {
        Some(id) => {
            conn.execute(
                "UPDATE sessions SET last_activity = ?1, worktree_id = ?2, worktree_root = ?3 WHERE id = ?4",
                params![now, worktree, key.worktree_root, id],
            )?;
            id
        }
        None => {
            let id = fresh_id(ambient, "ses_", 6);
            conn.execute(
                "INSERT INTO sessions (id, branch, agent_type, agent_pid, match_context_id, worktree_id, \
                 worktree_root, started_at, last_activity) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)",
                params![
                    id,
                    key.branch,
                    key.agent_type,
                    key.agent_pid,
                    key.context,
                    worktree,
                    key.worktree_root,
                    now
                ],
            )?;
            id
        }
    };
    // An id from our own table or from `fresh_id` is never empty; an empty one in a foreign file becomes a name.
    Ok(SessionId::new(id)
        .or_else(|_| SessionId::new("ses_unnamed"))
        .unwrap_or_else(|_| unreachable!("not empty")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_agents_and_explicit_sessions_are_the_references() {
        assert_eq!(explicit_agent("my session/1"), "explicit_my_session_1");
        assert_eq!(explicit_agent(&"x".repeat(40)), format!("explicit_{}", "x".repeat(32)));
        assert_eq!(agent_of_process("Claude"), Some("claude-code"));
        assert_eq!(agent_of_process("/usr/bin/codex-cli"), Some("codex"));
        assert_eq!(agent_of_process("bash"), None);
    }
}
