//! `backup export`: which databases a server has, in an order in which no copy misses what another one names.

use super::{AdminError, Reply};
use crate::config::Config;
use crate::control::Control;
use crate::datadir::DataDir;
use crate::identity;
use crate::tls;
use serde_json::json;
use std::path::Path;
use td_backup::{BackupError, Database, export as begin};
use td_engine::id::ProjectId;

const EVENTS: &str = "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0), \
                      coalesce(max(server_seq), 0)), count(*) FROM events";

/// Copies `server.db` first: a project's log is made before its row, so every row of the copy finds its log copied.
pub fn export(config: &Config, dir: &DataDir, control: &Control, to: &Path) -> Result<Reply, AdminError> {
    let made_at = control.now().rfc3339s_utc();
    let mut backup = begin(to, &made_at, dir.epoch().as_str())?;
    let server = Database { name: "server.db".into(), path: config.server_db.clone(), measure: None };
    backup.database(&server)?;
    for project in control.store().projects()? {
        // A row of a foreign file with a name that is no project id must not become a path.
        let Ok(id) = ProjectId::parse(&project.id) else { continue };
        let name = format!("projects/{id}/events.db");
        let path = config.projects.join(id.as_str()).join("events.db");
        if path.exists() {
            backup.database(&Database { name, path, measure: Some(EVENTS.into()) })?;
        }
    }
    for name in [identity::FILE, "epoch"] {
        backup.file(name, &dir.path().join(name))?;
    }
    // Certificates and the account they were got with: a restored server that begins without them uses up what an
    // authority allows per week.
    for name in tls_files(dir.path())? {
        backup.file(&format!("tls/{name}"), &tls::folder(dir.path()).join(&name))?;
    }
    let manifest = backup.finish()?;
    let events: i64 = manifest.databases.iter().filter_map(|d| d.count).sum();
    let text =
        format!("copied {} databases with {events} events to {}\n", manifest.databases.len(), to.display());
    Ok(Reply { text, json: json!({"path": to, "manifest": manifest}) })
}

fn tls_files(data_dir: &Path) -> Result<Vec<String>, AdminError> {
    let folder = tls::folder(data_dir);
    let failed =
        |e: std::io::Error| AdminError::new("backup_io", format!("cannot read {}: {e}", folder.display()));
    let entries = match std::fs::read_dir(&folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        // What is being written has another ending for a moment.
        let wanted = |n: &&str| n.ends_with(".pem") || n.ends_with(".json");
        names.extend(name.to_str().filter(wanted).map(str::to_string));
    }
    names.sort();
    Ok(names)
}

impl From<BackupError> for AdminError {
    fn from(e: BackupError) -> Self {
        Self::new(e.code(), e.to_string()).remedy(e.remedy())
    }
}
