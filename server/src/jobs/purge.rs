//! Deleted projects whose time to be brought back is over.

use super::Failure;
use crate::clock::earlier;
use crate::http::App;

/// Most projects per run: removing files keeps the disk busy.
const AT_ONCE: usize = 20;

/// Ends what is due. One that fails does not keep the others.
pub(super) fn purge(app: &App) -> Result<(), Failure> {
    let moment = earlier(app.control.now(), app.config.operating.grace);
    let mut failed = None;
    for project in app.control.store().deleted_before(moment, AT_ONCE)? {
        if app.is_stopping() {
            break;
        }
        if let Err(e) = app.ending.purge(&project.id, moment) {
            tracing::error!(pid = project.id, cause = %e, "a deleted project's end did not come");
            failed = Some(e);
        }
    }
    failed.map_or(Ok(()), |e| Err(e.into()))
}
