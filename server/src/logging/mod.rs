//! Log lines: one per event on standard error, JSON or text (server-protocol 9.4).
//!
//! Duty: every line that a request causes carries that request's ids: `rid`, and once known `uid` and `pid`.
//! Invariant: of programs that we use, only warnings are logged: at `debug` they would tell headers and bodies.
//! Danger: a secret, a query string or a payload in a line. `server/tests/log.rs` looks for all of them at `debug`.

mod held;
mod line;
mod trail;

pub use held::{REQUESTS, flush};
pub use trail::{Trail, blocking};

use crate::config::Config;
use held::StandardError;
use line::Lines;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, registry};

/// Every crate of ours is named so.
const OURS: &str = "td_";

/// Starts logging. Called once, by the binary.
pub fn start(config: &Config) {
    let level = match config.log_level.as_str() {
        "debug" => LevelFilter::DEBUG,
        "warn" => LevelFilter::WARN,
        "error" => LevelFilter::ERROR,
        _ => LevelFilter::INFO,
    };
    let which = Targets::new().with_target(OURS, level).with_default(level.min(LevelFilter::WARN));
    let lines = fmt::layer().with_writer(StandardError).event_format(Lines(config.log_format));
    // A second start is refused by the library; the first one stays, which is what a test wants.
    let _ = registry().with(lines).with(which).try_init();
}
