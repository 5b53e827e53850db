//! What is overdue or was kept long enough (server-protocol 9.3, W43).

use super::Failure;
use crate::clock::earlier;
use crate::control::Keep;
use crate::http::App;
use std::time::Duration;

/// A client that was silent for so long is not shown to admins any more; a log's head is never below a cursor.
const CURSORS: Duration = Duration::from_secs(365 * 86_400);

/// Forgets old records, in the amounts of one run; what is left goes with the next.
pub(super) fn forget(app: &App) -> Result<(), Failure> {
    let (settings, now) = (&app.config.operating, app.control.now());
    let keep = Keep {
        auth_events: earlier(now, settings.auth_event_retention),
        refusals: earlier(now, settings.refusal_retention),
        cursors: earlier(now, CURSORS),
    };
    let gone = app.control.store().forget(&keep)?;
    if gone > 0 {
        tracing::info!(count = gone, "old records forgotten");
    }
    Ok(())
}

/// Ends logins and invitations that took too long.
pub(super) fn sweep(app: &App) -> Result<(), Failure> {
    let swept = app.control.store().sweep(app.control.now())?;
    if swept > 0 {
        tracing::info!(swept, "overdue rows cleared away");
    }
    Ok(())
}
