//! The one place that reads the wall clock, so that tests can hand in another.

use crate::log::Clock;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use td_engine::time::ClientTime;

/// The machine's clock.
pub fn system() -> Clock {
    Arc::new(|| {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        at(i128::try_from(nanos).unwrap_or(i128::MAX))
    })
}

/// A moment, clipped to the years that have four digits.
pub fn at(unix_nanos: i128) -> ClientTime {
    const YEAR_9999_END: i128 = 253_402_300_799_000_000_000;
    let clipped = unix_nanos.clamp(0, YEAR_9999_END);
    // Inside the clipped range every number is a moment.
    ClientTime::from_unix_nanos(clipped).unwrap_or_else(|_| unreachable!("{clipped} is within 1970..=9999"))
}

/// `after` later than `time`.
pub fn later(time: ClientTime, after: std::time::Duration) -> ClientTime {
    at(time.unix_nanos().saturating_add(i128::try_from(after.as_nanos()).unwrap_or(i128::MAX)))
}

/// `before` earlier than `time`.
pub fn earlier(time: ClientTime, before: std::time::Duration) -> ClientTime {
    at(time.unix_nanos().saturating_sub(i128::try_from(before.as_nanos()).unwrap_or(i128::MAX)))
}
