//! Named points where a test can stop the program (the only test hook in product code).
//!
//! Duty: with `TD_FAULT=<point>[:n]`, at the n-th passing of the point, create the file named by `TD_FAULT_FILE` and
//! park for ever, so that a test outside can send SIGKILL at exactly that place. Tests inside the process unwind instead.
//! Invariant: without the variable nothing happens.
//!
//! Points: `deploy.before_intent`, `deploy.after_intent`, `deploy.after_effect`, `deploy.before_outcome`,
//! `deploy.after_outcome`; passed by every step that acts, and by every undo.

use std::cell::Cell;
use std::path::PathBuf;

/// Undo data are kept, nothing is recorded yet.
pub const BEFORE_INTENT: &str = "deploy.before_intent";
/// The intent is on disk, nothing is changed yet.
pub const AFTER_INTENT: &str = "deploy.after_intent";
/// The step has returned.
pub const AFTER_EFFECT: &str = "deploy.after_effect";
/// Answers the step decided are saved; the outcome is about to be recorded.
pub const BEFORE_OUTCOME: &str = "deploy.before_outcome";
/// The outcome is on disk, nothing is verified yet.
pub const AFTER_OUTCOME: &str = "deploy.after_outcome";

/// All of them.
pub const POINTS: &[&str] = &[BEFORE_INTENT, AFTER_INTENT, AFTER_EFFECT, BEFORE_OUTCOME, AFTER_OUTCOME];

/// What unwinds when a test inside the process asked for a crash.
#[derive(Debug)]
pub struct Crash;

/// Where to stop, if anywhere.
#[derive(Debug, Default)]
pub struct Faults(Option<Fault>);

#[derive(Debug)]
struct Fault {
    point: String,
    left: Cell<u32>,
    act: Act,
}

#[derive(Debug)]
enum Act {
    Park(Option<PathBuf>),
    Unwind,
}

impl Faults {
    /// As the environment says.
    pub fn from_env() -> Self {
        let fault = std::env::var("TD_FAULT").ok().map(|text| {
            let (point, n) = text.rsplit_once(':').unwrap_or((&text, "1"));
            let file = std::env::var_os("TD_FAULT_FILE").map(PathBuf::from);
            Fault { point: point.into(), left: Cell::new(n.parse().unwrap_or(1)), act: Act::Park(file) }
        });
        Self(fault)
    }

    /// Unwinds with [`Crash`] at the n-th passing, without a message.
    pub fn crash_at(point: &str, n: u32) -> Self {
        Self(Some(Fault { point: point.into(), left: Cell::new(n), act: Act::Unwind }))
    }

    pub(crate) fn pass(&self, point: &str) {
        let Some(fault) = self.0.as_ref().filter(|f| f.point == point) else { return };
        fault.left.set(fault.left.get().saturating_sub(1));
        if fault.left.get() > 0 {
            return;
        }
        match &fault.act {
            Act::Unwind => std::panic::resume_unwind(Box::new(Crash)),
            Act::Park(file) => {
                if let Some(file) = file {
                    let _ = std::fs::write(file, b"");
                }
                loop {
                    std::thread::park();
                }
            }
        }
    }
}
