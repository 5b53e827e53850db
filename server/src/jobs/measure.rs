//! How large every project is, for the metrics: looked up here, so that no request and no scrape has to.

use super::Failure;
use crate::http::App;
use crate::metrics::ProjectSize;
use std::path::Path;

/// Folders that are kept beside a project's folder, by its id.
const BESIDE: [&str; 1] = ["snapshots"];

/// Measures all projects, deleted ones included: they take room too.
pub(super) fn sizes(app: &App) -> Result<(), Failure> {
    let root = &app.config.projects;
    let mut sizes = Vec::new();
    for (project, events) in app.control.store().event_counts()? {
        if app.is_stopping() {
            return Ok(());
        }
        let beside: u64 = BESIDE.iter().map(|folder| bytes(&root.join(folder).join(&project))).sum();
        let bytes = bytes(&root.join(&project)) + beside;
        sizes.push(ProjectSize { project, events, bytes });
    }
    app.metrics.measured(sizes);
    Ok(())
}

/// Bytes of the files in a folder; what cannot be looked at counts nothing.
fn bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let files = entries.flatten().filter_map(|e| e.metadata().ok()).filter(|m| m.is_file());
    files.map(|m| m.len()).sum()
}
