//! The whole programs, run as a person runs them: separate processes, real files, real sockets.
//!
//! Duty: a place for what several of these tests need, and nothing that a single one needs.
//! Danger: a test that cannot run here must say so by name ([`skip`]); `tests/run` compares with the list of skips
//! that are expected on this class of machine.

pub mod api;
pub mod device;
pub mod dist;
pub mod front;
pub mod home;
pub mod pebble;
pub mod random;
pub mod relay;
pub mod server;
pub mod tls;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A program of ours, as built for release (static). `tests/run` builds them first and says where they are.
pub fn binary(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let folder =
        std::env::var_os("TD_TEST_BIN").map_or_else(|| target.join(triple).join("release"), PathBuf::from);
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built: run ./tests/run --only release", path.display());
    path
}

/// Asks again every 10 ms until it holds or the limit is over.
#[allow(clippy::disallowed_methods, reason = "polls a condition with a limit")]
pub fn wait_until(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The checkout's top folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("tests/e2e is two folders deep")
        .to_path_buf()
}

/// Records that the named test could not run here, and why. Never silent: without a runner it is printed.
pub fn skip(name: &str, why: &str) {
    println!("SKIPPED {name}: {why}");
    if let Some(file) = std::env::var_os("TD_TEST_SKIPS") {
        let mut file =
            std::fs::OpenOptions::new().append(true).create(true).open(file).expect("the runner's file");
        writeln!(file, "{name}\t{why}").expect("the runner's file takes a line");
    }
}

/// Whether the long form of a test was asked for (`tests/run --full`).
pub fn full() -> bool {
    std::env::var("TD_TEST_FULL").is_ok_and(|v| v == "1")
}

/// The run's seed: from TD_TEST_SEED, else a fixed one, always printed so that a failure can be repeated.
pub fn seed() -> u64 {
    let seed = std::env::var("TD_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    println!("seed: {seed}");
    seed
}
