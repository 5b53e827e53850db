//! How large every project is, for the metrics: looked up here, so that no request and no scrape has to.

use super::Failure;
use crate::http::App;
use crate::metrics::ProjectSize;
use std::path::Path;

/// How deep a project's folder is looked into.
const DEPTH: u32 = 2;

/// Measures all projects, deleted ones included: they take room too.
pub(super) fn sizes(app: &App) -> Result<(), Failure> {
    let root = &app.config.projects;
    let mut sizes = Vec::new();
    for (project, events) in app.control.store().event_counts()? {
        if app.is_stopping() {
            return Ok(());
        }
        let bytes = bytes(&root.join(&project), DEPTH);
        sizes.push(ProjectSize { project, events, bytes });
    }
    app.metrics.measured(sizes);
    Ok(())
}

/// Bytes of the files in a folder and, so deep, in those within; what cannot be looked at counts nothing.
fn bytes(folder: &Path, depth: u32) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_file() => meta.len(),
        Ok(meta) if meta.is_dir() && depth > 0 => bytes(&entry.path(), depth - 1),
        _ => 0,
    };
    entries.flatten().map(size).sum()
}
