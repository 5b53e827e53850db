//! The record of attempts: what was asked of which directory, and what came of it.
//!
//! Duty: the budget of attempts must survive a restart, or a crash loop would use up what the authority allows.
//! Invariant: an attempt is on disk before its first request leaves (law 12); one that has no outcome was cut off, and
//! counts as a failure. The record is bounded.

use crate::datadir::{DataDirError, read_if_there, write_durably};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// File name below `tls/` in the data directory.
pub const FILE: &str = "attempts.json";
/// Older ones are forgotten. With the longest wait this is weeks.
const KEPT: usize = 64;

/// How control of a name is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Challenge {
    /// A file at a well-known path over plain HTTP.
    #[serde(rename = "http-01")]
    Http01,
    /// A certificate in a handshake.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

impl std::fmt::Display for Challenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        })
    }
}

/// What a failure was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The authority could not see that the names are ours.
    Validation,
    /// The authority says that we ask too often.
    RateLimited,
    /// The directory does not answer, or not as one.
    Unreachable,
    /// The authority does not want to, for another reason.
    Refused,
    /// What it issued cannot be used.
    Unusable,
    /// A file of ours could not be written or read.
    Disk,
    /// The server ended in the middle.
    Interrupted,
}

impl Kind {
    /// What helps.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Validation => {
                "check that every name's A and AAAA records lead here and that ports 80 and 443 are open, then td-sync admin tls renew"
            }
            Self::RateLimited => {
                "nothing: it is tried again when the authority allows it; td-sync admin tls status"
            }
            Self::Unreachable => {
                "check that this machine can reach SYNC_ACME_DIRECTORY, then td-sync admin tls renew"
            }
            Self::Refused => "read what the authority says, mend SYNC_TLS_NAMES or SYNC_ACME_*, then restart",
            Self::Unusable => "check this machine's clock and SYNC_TLS_NAMES, then td-sync admin tls renew",
            Self::Disk => "mend the file that is named, or its disk, then td-sync admin tls renew",
            Self::Interrupted => "td-sync admin tls status",
        }
    }
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// A certificate, good and stored (or, of a rehearsal, good and thrown away).
    Issued,
    /// None.
    Failed {
        /// What about.
        kind: Kind,
        /// In the authority's words, where it has any.
        detail: String,
        /// Not before then, if the authority said so.
        retry_at: Option<i64>,
    },
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began, in seconds since 1970.
    pub at: i64,
    /// For which names.
    pub names: Vec<String>,
    /// Who was asked.
    pub directory: String,
    /// Whether only to see if it would work.
    pub rehearsal: bool,
    /// By which challenge.
    pub challenge: Challenge,
    /// `None` while it is under way, and for ever if the server died.
    pub outcome: Option<Outcome>,
}

impl Attempt {
    /// A number that another server's attempt does not share.
    pub fn spread(&self) -> u16 {
        let digest = Sha256::digest(format!("{} {}", self.at, self.names.join(",")).as_bytes());
        u16::from_be_bytes([digest[0], digest[1]])
    }
}

/// All attempts that are remembered, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Format number.
    pub version: u32,
    /// The attempts.
    pub attempts: Vec<Attempt>,
}

impl Record {
    /// Reads it; a missing one is empty.
    pub fn read(dir: &Path) -> Result<Self, DataDirError> {
        let path = dir.join(FILE);
        let Some(content) = read_if_there(&path)? else { return Ok(Self::default()) };
        serde_json::from_slice(&content).map_err(|e| DataDirError::Damaged { path, why: e.to_string() })
    }

    /// The newest failure, if nothing was issued since.
    pub fn trouble(&self) -> Option<(&Attempt, Kind, &str)> {
        let last = self.attempts.last()?;
        match &last.outcome {
            Some(Outcome::Failed { kind, detail, .. }) => Some((last, *kind, detail)),
            Some(Outcome::Issued) => None,
            None => Some((last, Kind::Interrupted, "it was not finished")),
        }
    }
}

/// The record with its file: what changes is on disk before it is believed.
pub struct Keeper {
    path: PathBuf,
    record: Record,
}

impl Keeper {
    /// Opens the record below `dir`. A damaged one is put aside, and an attempt that was cut off stands for what is lost:
    /// to begin with an empty budget would be the one wrong guess that costs weeks.
    pub fn open(dir: &Path, lost: impl FnOnce() -> Attempt) -> Result<Self, DataDirError> {
        let path = dir.join(FILE);
        let record = match Record::read(dir) {
            Err(DataDirError::Damaged { why, .. }) => {
                let aside = dir.join(format!("{FILE}.damaged"));
                tracing::error!(cause = why, aside = %aside.display(), "the record of attempts is damaged; it is put aside");
                std::fs::rename(&path, &aside).map_err(|source| DataDirError::Io {
                    what: "put aside",
                    path: path.clone(),
                    source,
                })?;
                Record { version: 1, attempts: vec![lost()] }
            }
            read => Record { version: 1, ..read? },
        };
        Ok(Self { path, record })
    }

    /// What is known.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Writes down that an attempt begins.
    pub fn begin(&mut self, attempt: Attempt) -> Result<(), DataDirError> {
        self.record.attempts.push(attempt);
        let over = self.record.attempts.len().saturating_sub(KEPT);
        self.record.attempts.drain(..over);
        self.write()
    }

    /// Writes down how the newest attempt ended. If that fails, it counts as cut off after a restart, and until then as
    /// what it was.
    pub fn finish(&mut self, outcome: Outcome) -> Result<(), DataDirError> {
        if let Some(last) = self.record.attempts.last_mut() {
            last.outcome = Some(outcome);
        }
        self.write()
    }

    fn write(&self) -> Result<(), DataDirError> {
        let text = serde_json::to_vec_pretty(&self.record)
            .map_err(|e| DataDirError::Damaged { path: self.path.clone(), why: e.to_string() })?;
        write_durably(&self.path, &text, 0o600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(at: i64) -> Attempt {
        let directory = "https://ca.example/dir".to_string();
        let names = vec!["a.example".to_string()];
        Attempt { at, names, directory, rehearsal: false, challenge: Challenge::Http01, outcome: None }
    }

    #[test]
    fn attempts_outlive_the_process_and_one_that_was_cut_off_has_no_outcome() {
        let dir = tempfile::tempdir().expect("dir");
        let mut keeper = Keeper::open(dir.path(), || attempt(0)).expect("open");
        keeper.begin(attempt(1)).expect("begin");
        keeper.finish(Outcome::Issued).expect("finish");
        keeper.begin(attempt(2)).expect("begin");
        let read = Record::read(dir.path()).expect("read");
        assert_eq!(read.attempts.iter().map(|a| a.at).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(read.attempts[0].outcome, Some(Outcome::Issued));
        assert_eq!(read.trouble().map(|(a, kind, _)| (a.at, kind)), Some((2, Kind::Interrupted)));
    }

    #[test]
    fn the_record_is_bounded() {
        let dir = tempfile::tempdir().expect("dir");
        let mut keeper = Keeper::open(dir.path(), || attempt(0)).expect("open");
        for at in 0..100 {
            keeper.begin(attempt(at)).expect("begin");
        }
        let read = Record::read(dir.path()).expect("read");
        assert_eq!((read.attempts.len(), read.attempts[63].at), (64, 99));
    }

    #[test]
    fn a_damaged_record_is_put_aside_and_counts_as_a_failure() {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::write(dir.path().join(FILE), "{").expect("write");
        let keeper = Keeper::open(dir.path(), || attempt(7)).expect("open");
        assert_eq!(keeper.record().trouble().map(|(a, kind, _)| (a.at, kind)), Some((7, Kind::Interrupted)));
        assert!(dir.path().join("attempts.json.damaged").exists());
    }
}
