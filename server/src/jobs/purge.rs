//! Deleted projects whose time to be brought back is over.

use super::Failure;
use crate::clock::earlier;
use crate::http::App;
use std::path::Path;
use std::time::Duration;

/// Most projects per run: removing files keeps the disk busy.
const AT_ONCE: usize = 20;

/// Whether the files came only lately, by a takeover or out of a backup: the time to bring a project back is not over
/// because another server deleted it long ago.
fn is_new_here(folder: &Path, grace: Duration) -> bool {
    let changed = std::fs::metadata(folder).and_then(|m| m.modified());
    changed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < grace))
}

/// Ends what is due. One that fails does not keep the others.
pub(super) fn purge(app: &App) -> Result<(), Failure> {
    let moment = earlier(app.control.now(), app.config.operating.grace);
    let mut failed = None;
    for project in app.control.store().deleted_before(moment, AT_ONCE)? {
        if app.is_stopping() {
            break;
        }
        if is_new_here(&app.config.projects.join(&project.id), app.config.operating.grace) {
            continue;
        }
        if let Err(e) = app.ending.purge(&project.id, moment) {
            tracing::error!(pid = project.id, cause = %e, "a deleted project's end did not come");
            failed = Some(e);
        }
    }
    failed.map_or(Ok(()), |e| Err(e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_came_lately_have_their_time_of_grace_here() {
        let dir = tempfile::tempdir().expect("dir");
        assert!(is_new_here(dir.path(), Duration::from_secs(3600)));
        assert!(!is_new_here(dir.path(), Duration::ZERO));
        assert!(!is_new_here(&dir.path().join("gone"), Duration::from_secs(3600)), "nothing to keep");
    }
}
