//! What is overdue or was kept long enough (server-protocol 9.3, W43).

use super::Failure;
use crate::clock::earlier;
use crate::control::Keep;
use crate::http::App;
use std::time::Duration;

/// A client that was silent for so long is not shown to admins any more; a log's head is never below a cursor.
const CURSORS: Duration = Duration::from_secs(365 * 86_400);

/// Forgets old records until none is left, in rounds between which others write. One round a run was once slower than
/// strangers made them.
pub(super) fn forget(app: &App) -> Result<(), Failure> {
    let (settings, now) = (&app.config.operating, app.control.now());
    let keep = Keep {
        auth_events: earlier(now, settings.auth_event_retention),
        refusals: earlier(now, settings.refusal_retention),
        cursors: earlier(now, CURSORS),
    };
    let gone = in_rounds(|| app.control.store().forget(&keep), || app.is_stopping())?;
    if gone > 0 {
        tracing::info!(count = gone, "old records forgotten");
    }
    Ok(())
}

fn in_rounds<E>(mut round: impl FnMut() -> Result<usize, E>, is_over: impl Fn() -> bool) -> Result<usize, E> {
    let mut gone = 0;
    while !is_over() {
        match round()? {
            0 => break,
            some => gone += some,
        }
    }
    Ok(gone)
}

/// Ends logins and invitations that took too long.
pub(super) fn sweep(app: &App) -> Result<(), Failure> {
    let swept = app.control.store().sweep(app.control.now())?;
    if swept > 0 {
        tracing::info!(swept, "overdue rows cleared away");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn rounds_go_on_until_nothing_is_left_or_the_server_stops() {
        let left = Cell::new(12);
        let round = || -> Result<usize, ()> {
            let some = left.get().min(5);
            left.set(left.get() - some);
            Ok(some)
        };
        assert_eq!((in_rounds(round, || left.get() <= 7), left.get()), (Ok(5), 7), "stopping");
        assert_eq!((in_rounds(round, || false), left.get()), (Ok(7), 0));
        assert_eq!(in_rounds(|| Err("no room"), || false), Err("no room"));
    }
}
