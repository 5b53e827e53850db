//! What was intended and what happened, line by line, on disk before and after (DESIGN laws 11, 12).
//!
//! Duty: append records durably; read all of them back after any crash and say what they add up to.
//! Invariant: when [`Journal::append`] returns, the line is on disk. A line that could not be written ends all writing.
//! Danger: a torn last line is normal after a power cut and is moved aside; a bad line before a good one is not, and
//! nothing is guessed from such a journal.

use crate::dir::TargetDir;
use crate::durable;
use crate::error::StateError;
use crate::ledger::{Illegal, Ledger};
use crate::lock::Lock;
use crate::record::{self, BadLine, Body, Intent, Record, VERSION};
use crate::run::RunId;
use crate::secret::Redactor;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Proof that an intent is on disk. Only a journal makes it; acting on a host takes one.
#[derive(Debug)]
pub struct OnDisk {
    seq: u64,
}

impl OnDisk {
    /// The record.
    pub fn seq(&self) -> u64 {
        self.seq
    }
}

/// The journal of a run that is being written.
#[derive(Debug)]
pub struct Journal {
    run: RunId,
    path: PathBuf,
    file: File,
    length: u64,
    closed: bool,
    began: Instant,
    boot: Option<String>,
    resumes: Option<RunId>,
    ledger: Ledger,
    redactor: Redactor,
}

/// All journals of a target, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// What they add up to.
    pub ledger: Ledger,
    /// Every record, oldest first.
    pub records: Vec<Record>,
    /// Runs that left a journal, oldest first.
    pub runs: Vec<RunId>,
    /// Last lines that were cut off in the middle of writing.
    pub torn: Vec<Torn>,
}

/// The remains of a line that was cut off in the middle of writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The journal.
    pub path: PathBuf,
    /// Where the remains begin.
    pub at: u64,
    /// The remains.
    pub bytes: Vec<u8>,
}

/// Reads all journals of a target. Changes nothing, so it may be called while a run is at work.
pub fn read(dir: &TargetDir) -> Result<History, StateError> {
    let mut history = History::default();
    let mut boot = None;
    for run in dir.runs()? {
        let path = dir.journal(&run);
        if let Some(bytes) = durable::read(&path)? {
            read_one(&path, &bytes, &mut history, &mut boot)?;
            history.runs.push(run);
        }
    }
    Ok(history)
}

fn read_one(
    path: &Path,
    bytes: &[u8],
    history: &mut History,
    boot: &mut Option<String>,
) -> Result<(), StateError> {
    let mut at = 0;
    for (number, line) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
        let number = number + 1;
        let record = match line
            .strip_suffix(b"\n")
            .ok_or(BadLine::Damaged("it has no end"))
            .and_then(record::from_line)
        {
            Ok(record) => record,
            Err(BadLine::Damaged(_)) if at + line.len() == bytes.len() => {
                let remains = Torn { path: path.into(), at: at as u64, bytes: line.to_vec() };
                history.torn.push(remains);
                return Ok(());
            }
            Err(BadLine::Damaged(why)) => {
                return Err(StateError::Damaged { path: path.into(), line: number, why: why.into() });
            }
            Err(BadLine::Newer(found)) => {
                return Err(StateError::Newer { path: path.into(), found, known: VERSION });
            }
            Err(BadLine::Strange(why)) => {
                return Err(StateError::Illegal { path: path.into(), line: number, why });
            }
        };
        let illegal = |why: String| {
            let line = String::from_utf8_lossy(line);
            StateError::Illegal {
                path: path.into(),
                line: number,
                why: format!("{why}: {}", line.trim_end()),
            }
        };
        let expected = history.ledger.seq + 1;
        if record.seq != expected {
            return Err(illegal(format!("record {} where {expected} should be", record.seq)));
        }
        if let Body::RunStarted { boot: b, .. } = &record.body {
            boot.clone_from(b);
        }
        history.ledger.add(&record, boot.as_deref()).map_err(|i| illegal(i.to_string()))?;
        history.records.push(record);
        at += line.len();
    }
    Ok(())
}

/// What a run says about itself when it begins.
#[derive(Clone, Debug)]
pub struct Begin {
    /// `setup`, `uninstall`.
    pub verb: String,
    /// Version of the program.
    pub tool: String,
    /// Digest of the answers.
    pub answers: String,
    /// The host's boot.
    pub boot: Option<String>,
}

impl Journal {
    /// Begins a run: reads what there is, moves torn tails aside, makes the run's folder and writes its first record.
    pub fn begin(
        dir: &TargetDir,
        _held: &Lock,
        begin: Begin,
        redactor: Redactor,
    ) -> Result<Self, StateError> {
        let history = read(dir)?;
        if let Some(receipt) = crate::receipt::load(dir)?
            && receipt.seq > history.ledger.seq
        {
            return Err(StateError::JournalLost {
                dir: dir.path().into(),
                receipt: receipt.seq,
                journal: history.ledger.seq,
            });
        }
        let notes = history.torn.iter().map(set_aside).collect::<Result<Vec<_>, _>>()?;
        let run = RunId::after(dir.runs()?.last())
            .map_err(|e| StateError::io("name a run in", dir.path(), std::io::Error::other(e)))?;
        let path = dir.journal(&run);
        let folder = dir.run(&run);
        fs::create_dir_all(&folder).map_err(|e| StateError::io("make", &folder, e))?;
        durable::sync_dir(&dir.runs_dir())?;
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| StateError::io("make", &path, e))?;
        durable::sync_dir(&folder)?;
        let mut journal = Self {
            run,
            path,
            file,
            length: 0,
            closed: false,
            began: Instant::now(),
            boot: begin.boot.clone(),
            resumes: history.ledger.open_run.clone(),
            ledger: history.ledger,
            redactor,
        };
        let resumes = journal.resumes.clone();
        journal.append(Body::RunStarted {
            verb: begin.verb,
            tool: begin.tool,
            answers: begin.answers,
            target: dir.id().into(),
            boot: begin.boot,
            resumes,
        })?;
        for text in notes {
            journal.append(Body::Note { text })?;
        }
        Ok(journal)
    }

    /// This run.
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// The run before it, if that did not end by itself.
    pub fn resumes(&self) -> Option<&RunId> {
        self.resumes.as_ref()
    }

    /// Where it is written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What everything so far adds up to.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Values that must not reach the disk from now on.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// The number the next record will have.
    pub fn next_seq(&self) -> u64 {
        self.ledger.seq + 1
    }

    /// Writes an intent. The proof it returns is what acting takes.
    pub fn intent(&mut self, intent: Intent) -> Result<OnDisk, StateError> {
        self.append(Body::Intent(intent)).map(|seq| OnDisk { seq })
    }

    /// Writes the intent to undo. The proof it returns is what acting takes.
    pub fn undo_intent(&mut self, step: &str, of: u64) -> Result<OnDisk, StateError> {
        self.append(Body::UndoIntent { step: step.into(), of }).map(|seq| OnDisk { seq })
    }

    /// Writes any other record; durable when this returns.
    pub fn append(&mut self, body: Body) -> Result<u64, StateError> {
        if self.closed {
            return Err(StateError::JournalClosed);
        }
        self.ledger.allows(&body).map_err(|i| StateError::BadMove {
            step: i.step,
            state: i.state.name(),
            record: i.record.name(),
        })?;
        let t = time::OffsetDateTime::now_utc();
        let record = Record {
            v: VERSION,
            seq: self.next_seq(),
            run: self.run.clone(),
            t: t.format(&time::format_description::well_known::Rfc3339).unwrap_or_default(),
            mono_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            body,
        };
        let mut object = record::to_value(&record).map_err(|e| self.failed(std::io::Error::other(e), 0))?;
        self.redactor.scrub_json(&mut object);
        let mut line = record::to_line(&object);
        // Remember what is written, not what was meant: the same words that the next run will read.
        let record = record::from_line(line.as_bytes())
            .map_err(|e| self.failed(std::io::Error::other(format!("{e:?}")), line.len()))?;
        line.push('\n');
        if let Err(e) = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data()) {
            self.closed = true;
            // Best effort: what remains of the line would otherwise be moved aside by the next run.
            let _ = self.file.set_len(self.length);
            return Err(self.failed(e, line.len()));
        }
        self.length += line.len() as u64;
        let seq = record.seq;
        self.ledger.add(&record, self.boot.as_deref()).map_err(|i| StateError::BadMove {
            step: i.step,
            state: i.state.name(),
            record: i.record.name(),
        })?;
        Ok(seq)
    }

    fn failed(&self, e: std::io::Error, bytes: usize) -> StateError {
        match StateError::io("append to", &self.path, e) {
            StateError::Full { dir, .. } => StateError::Full { dir, bytes },
            other => other,
        }
    }
}

/// Moves the remains of a torn line to a file beside the journal.
fn set_aside(torn: &Torn) -> Result<String, StateError> {
    let mut aside = torn.path.with_extension("jsonl.torn");
    let mut n = 1;
    while aside.exists() {
        n += 1;
        aside = torn.path.with_extension(format!("jsonl.torn-{n}"));
    }
    durable::replace(&aside, &torn.bytes)?;
    let cut = OpenOptions::new().write(true).open(&torn.path);
    cut.and_then(|f| f.set_len(torn.at).and_then(|()| f.sync_all()))
        .map_err(|e| StateError::io("cut", &torn.path, e))?;
    Ok(format!("{} bytes of a line that was cut off were moved to {}", torn.bytes.len(), aside.display()))
}

impl std::fmt::Display for Illegal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a {} of {} may not follow {}", self.record.name(), self.step, self.state.name())
    }
}
