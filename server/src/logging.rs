//! Log lines: one per event on standard error, JSON or text (server-protocol 9.4).

use crate::config::{Config, LogFormat};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;

/// Starts logging. Called once, by the binary.
pub fn start(config: &Config) {
    let level = match config.log_level.as_str() {
        "debug" => LevelFilter::DEBUG,
        "warn" => LevelFilter::WARN,
        "error" => LevelFilter::ERROR,
        _ => LevelFilter::INFO,
    };
    let lines = fmt().with_writer(std::io::stderr).with_max_level(level).with_ansi(false).with_target(false);
    // A second start is refused by the library; the first one stays, which is what a test wants.
    let _ = match config.log_format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).try_init(),
        LogFormat::Text => lines.try_init(),
    };
}
