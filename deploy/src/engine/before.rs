//! Before-images and undo data on disk.
//!
//! Duty: keep what an undo needs, durable before the intent that refers to it.
//! Invariant: owner-only; before-images are named by their content, undo data by the number of their intent.

use crate::error::{Remedy, StepError};
use crate::host::Digest;
use crate::view::{Keep, Kept};
use serde_json::Value;
use td_state::StateError;
use td_state::dir::TargetDir;
use td_state::durable;

/// More than any file setup edits; programs are not edited but put beside the old ones.
const LIMIT: usize = 64 << 20;

pub(super) struct Before<'a> {
    dir: &'a TargetDir,
}

impl<'a> Before<'a> {
    pub(super) fn new(dir: &'a TargetDir) -> Self {
        Self { dir }
    }

    /// Writes undo data; returns the name that stands in the intent.
    pub(super) fn put_undo(&self, seq: u64, undo: &Value) -> Result<String, StateError> {
        let name = format!("undo/{seq}.json");
        durable::replace(&self.dir.path().join(&name), undo.to_string().as_bytes())?;
        Ok(name)
    }

    /// Removes undo data that no record refers to any more. If that fails, a file nobody needs is left.
    pub(super) fn forget(&self, name: &str) {
        let _ = std::fs::remove_file(self.dir.path().join(name));
    }

    /// Reads undo data by that name.
    pub(super) fn undo(&self, name: &str) -> Result<Value, StepError> {
        let path = self.dir.path().join(name);
        let lost = |why: String| {
            StepError::new(
                "E-UNDO-LOST",
                format!("{} cannot be read: {why}", path.display()),
                "without it setup cannot tell how it was before",
                Remedy::say(
                    "put the file back from a backup, or undo this step by hand (td-sync-setup explain)",
                ),
            )
        };
        let bytes = durable::read(&path)?.ok_or_else(|| lost("it is gone".into()))?;
        serde_json::from_slice(&bytes).map_err(|e| lost(e.to_string()))
    }
}

impl Keep for Before<'_> {
    fn keep(&self, bytes: &[u8]) -> Result<Kept, StepError> {
        if bytes.len() > LIMIT {
            return Err(StepError::new(
                "E-UNDO-SIZE",
                format!("a before-image of {} bytes is too large to keep", bytes.len()),
                "without it the change could not be undone, so it is not made",
                Remedy::say("move the file away, then run setup again"),
            ));
        }
        let name = Digest::of(bytes).as_str().replace(':', "-");
        durable::replace_if_different(&self.dir.undo().join(&name), bytes)?;
        Ok(Kept(name))
    }

    fn kept(&self, which: &Kept) -> Result<Vec<u8>, StepError> {
        let path = self.dir.undo().join(&which.0);
        let bytes = durable::read(&path)?.filter(|b| Digest::of(b).as_str().replace(':', "-") == which.0);
        bytes.ok_or_else(|| {
            StepError::new(
                "E-UNDO-LOST",
                format!("the before-image {} is gone or damaged", path.display()),
                "setup does not put back what it is not sure of",
                Remedy::say("put the file back from a backup, or undo this step by hand"),
            )
        })
    }
}
