//! Taking a text, such as a password that was pushed by mistake, out of a project.
//!
//! Duty: replace it in every payload of the log, make view and snapshots anew, and tell the devices: whatever row still
//! had it gets an update, so that their next edit does not bring it back.
//! Invariant: sequences, keys and times stay. The steps are written down in [`MARK`] before the first one, without the
//! text: after a crash the next start finishes them, and the same command does again what was not begun.
//! Danger: what is outside. Backups keep it until they expire, and a device keeps its own history until `td resync`.

mod held;

use crate::live::{LiveError, LiveView};
use crate::log::{Clock, EventLog, LogError, Logs, Outcome, ReadQuery, Rewrite, Rewritten};
use crate::secret;
use held::{Held, held};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use td_engine::db::ProjectDb;
use td_engine::event::{LogEvent, NewEvent, Push};
use td_engine::id::{ActionId, DeviceId, ProjectId, Seq, SessionId};
use td_engine::payload::{Meta, Payload, REDACTED};
use td_engine::shape::{payload, payload_object};
use td_engine::taxonomy::{Action, Schema, TdSchema};
use td_engine::time::ClientTime;

/// Shortest text that is taken out: a shorter one is in too many that mean something else.
pub const SHORTEST: usize = 6;
/// Notes in a project's folder what is under way.
const MARK: &str = "redacting.json";
/// Who pushes the updates.
const DEVICE: &str = "td-sync-redact";
/// Most events of one push.
const AT_ONCE: usize = 500;
/// Most events that are read at once.
const PAGE: usize = 1_000;
/// Most events that a refusal names.
const FEW: usize = 5;

/// Why a text was not taken out, or not everywhere.
#[derive(Debug, thiserror::Error)]
pub enum RedactError {
    /// The log could not be changed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The live view could not be built again.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// A file of the project.
    #[error("{path}: {source}")]
    Files {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not there.
    #[error("no event of this project holds the text; nothing was changed")]
    NotFound,
    /// Something that others rest on holds it, or what is not a text.
    #[error(
        "the text is in an id, a name, a number, a state or a time, which stay ({0}); nothing was changed: give a longer part of the secret"
    )]
    Fixed(Places),
    /// Pages under way did not end.
    #[error("somebody has been reading the log all the while; nothing was changed: give the command again")]
    InUse,
    /// A stranger's reader keeps the old state of the file.
    #[error(
        "the text is out of the log, the view and the snapshots, but another program reads {0} and keeps the old file as it was: end that program and give the command again"
    )]
    Kept(PathBuf),
    /// A file has it still: somebody brought it back meanwhile, or it is part of what is no event.
    #[error(
        "the text is still in {0}; give the command again, and if it stays there, it is part of a time or of a name that is kept"
    )]
    Left(PathBuf),
}

/// Events that hold the text where it has to stay: the first ones, each with the part that holds it.
#[derive(Debug, Default)]
pub struct Places {
    first: Vec<(Seq, &'static str)>,
    more: usize,
}

impl Places {
    fn add(&mut self, seq: Seq, part: &'static str) {
        if self.first.len() < FEW { self.first.push((seq, part)) } else { self.more += 1 }
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.first.iter().map(|(seq, part)| format!("event {seq}: {part}"));
        f.write_str(&first.collect::<Vec<_>>().join(", "))?;
        if self.more > 0 { write!(f, " and {} more", self.more) } else { Ok(()) }
    }
}

/// What is under way.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Mark {
    v: u32,
    /// Names the updates, so that sending them again adds none.
    run: String,
    /// (type, id) of everything whose events had the text.
    entities: BTreeSet<(String, String)>,
    /// How many events had it, in this run.
    #[serde(skip)]
    pub events: usize,
}

/// One project's folder and log.
pub struct Redaction<'a> {
    /// The logs.
    pub logs: &'a dyn Logs,
    /// Which project.
    pub project: &'a ProjectId,
    /// Its folder.
    pub folder: PathBuf,
    /// Makes whoever has its view or snapshots open let go.
    pub evict: &'a dyn Fn(),
}

impl Redaction<'_> {
    /// Takes the text out of the log, and everything away that was made from it. Without a text: only what an earlier
    /// run had begun. With `only_look`, what would change is counted, and nothing is.
    pub fn rewrite(&self, text: Option<&str>, only_look: bool) -> Result<Mark, RedactError> {
        let run = secret::hex(&secret::bytes::<8>().map_err(|e| LogError::Storage(e.to_string()))?);
        let known = read_mark(&self.folder)?;
        let mut step = Step {
            redaction: self,
            needles: text.map(spellings),
            only_look,
            resumes: known.is_some(),
            fixed: Mutex::default(),
            stopped: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            mark: Mutex::new(known.unwrap_or(Mark { v: 1, run, ..Mark::default() })),
        };
        let done = self.logs.rewrite(self.project, &step);
        if !*step.ended.get_mut() {
            // Whoever had it open has a log that is closed. Not again behind the end: who opens it from there on has the
            // new one, and took away in the middle of its first page it left a half-made view to whoever came next.
            (self.evict)();
        }
        let mark = std::mem::take(step.mark.get_mut().unwrap_or_else(PoisonError::into_inner));
        let fixed = std::mem::take(step.fixed.get_mut().unwrap_or_else(PoisonError::into_inner));
        match done {
            _ if !fixed.first.is_empty() => Err(RedactError::Fixed(fixed)),
            _ if *step.stopped.get_mut() && mark.events == 0 => Err(RedactError::NotFound),
            _ if *step.stopped.get_mut() => Ok(mark),
            Err(LogError::InUse) if *step.begun.get_mut() => {
                Err(RedactError::Kept(self.folder.join("events.db")))
            }
            Err(LogError::InUse) => Err(RedactError::InUse),
            done => done.map(|()| mark).map_err(RedactError::from),
        }
    }

    /// Pushes the updates for the rows that had it, and ends the run.
    pub fn tell(&self, log: &dyn EventLog, mark: &Mark, events: Vec<NewEvent>) -> Result<usize, RedactError> {
        let (session, mut told) = (format!("redact-{}", mark.run), 0);
        let storage = |e: String| RedactError::Log(LogError::Storage(e));
        for some in events.chunks(AT_ONCE) {
            let push = Push {
                device: DeviceId::new(DEVICE).map_err(|e| storage(e.to_string()))?,
                session: SessionId::new(&*session).map_err(|e| storage(e.to_string()))?,
                events: some.to_vec(),
            };
            let outcomes = log.append(push).blocking_recv().map_err(|e| storage(e.to_string()))??;
            told += outcomes.iter().filter(|o| matches!(o, Outcome::Accepted { .. })).count();
        }
        let path = self.folder.join(MARK);
        fs::remove_file(&path).and_then(|()| sync(&self.folder)).map_err(|e| files(&path, e))?;
        Ok(told)
    }

    /// Looks for the text in the log as a reader has it, and in every file that is left.
    pub fn prove(&self, log: &dyn EventLog, text: &str) -> Result<(), RedactError> {
        let (needles, mut is_left) = (spellings(text), false);
        let mut after = Seq(0);
        // In pages: a reader that lingers keeps the WAL from starting over.
        loop {
            let page = ReadQuery { after, limit: PAGE, exclude: None };
            let read = log.read(&page, &mut |event| {
                after = event.seq;
                is_left |= held(&event, &needles) != Held::Nothing;
                if is_left { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if is_left {
                return Err(RedactError::Left(self.folder.join("events.db")));
            }
            if read < PAGE {
                break;
            }
        }
        for entry in fs::read_dir(&self.folder).map_err(|e| files(&self.folder, e))? {
            let path = entry.map_err(|e| files(&self.folder, e))?.path();
            if path.is_file() && holds(&path, text.as_bytes()).map_err(|e| files(&path, e))? {
                return Err(RedactError::Left(path));
            }
        }
        Ok(())
    }

    fn remove_derived(&self) -> io::Result<()> {
        for name in ["project.db", "project.db-wal", "project.db-shm"] {
            absent(fs::remove_file(self.folder.join(name)))?;
        }
        absent(fs::remove_dir_all(self.folder.join("snap")))?;
        sync(&self.folder)
    }
}

/// The updates that tell devices of the rows that had the text, from the view that was built anew.
pub fn updates(db: &ProjectDb, mark: &Mark, now: ClientTime) -> Result<Vec<NewEvent>, LiveError> {
    let base_seq = match db.standing()? {
        td_engine::db::Standing::At(seq) => seq.0,
        td_engine::db::Standing::Rebuild(_) => 0,
    };
    let meta = Meta { v: 1, actor: "user:operator".into(), origin: "td-sync".into(), base_seq };
    let mut events = Vec::new();
    for (n, (kind, id)) in mark.entities.iter().enumerate() {
        let Some(entity_type) = TdSchema.entity_type(kind) else { continue };
        let Some(table) = db.catalog().table(entity_type.as_str()) else { continue };
        let Some(row) = table.row(db.conn(), id)? else { continue };
        let new = payload_object(table, &row);
        let mut previous = new.clone();
        previous.values_mut().filter(|v| v.to_string().contains(REDACTED)).for_each(|v| *v = "".into());
        if new == previous {
            continue;
        }
        events.push(NewEvent {
            action_id: ActionId(i64::try_from(n + 1).unwrap_or(i64::MAX)),
            action: Action::Update,
            entity_type,
            entity_id: id.clone(),
            payload: Some(payload(&new, &previous, &meta)),
            client_time: now,
        });
    }
    Ok(events)
}

/// Finishes what a crash left. For the start, before anybody is served.
/// A project where that fails keeps its mark, and the others are served.
pub fn resume(logs: &dyn Logs, projects: &Path, clock: &Clock) -> io::Result<()> {
    for entry in fs::read_dir(projects)? {
        let folder = entry?.path();
        let name = folder.file_name().and_then(|n| n.to_str()).and_then(|n| ProjectId::parse(n).ok());
        let Some(project) = name.filter(|_| folder.join(MARK).exists()) else { continue };
        match finish(logs, &project, folder, clock) {
            Ok(()) => {
                tracing::warn!(pid = %project, "a redaction was cut off; what had begun is finished, but whether the text is out is not known: give the command again");
            }
            Err(e) => {
                tracing::error!(pid = %project, cause = %e, "a redaction was cut off and cannot be finished; the next start tries again");
            }
        }
    }
    Ok(())
}

fn finish(logs: &dyn Logs, project: &ProjectId, folder: PathBuf, clock: &Clock) -> Result<(), RedactError> {
    let view = folder.join("project.db");
    let redaction = Redaction { logs, project, folder, evict: &|| {} };
    let mark = redaction.rewrite(None, false)?;
    let log = logs.open(project)?;
    let mut live = LiveView::new(view, clock.clone());
    live.catch_up(&*log)?;
    let db = ProjectDb::open_read_only_at(live.place()).map_err(LiveError::from)?;
    redaction.tell(&*log, &mark, updates(&db, &mark, clock())?)?;
    Ok(())
}

struct Step<'a> {
    redaction: &'a Redaction<'a>,
    needles: Option<Vec<String>>,
    only_look: bool,
    /// An earlier run left its mark.
    resumes: bool,
    /// What keeps the whole from being done.
    fixed: Mutex<Places>,
    /// Ended before anything was changed.
    stopped: AtomicBool,
    /// Written down, and then done.
    begun: AtomicBool,
    /// Done, and whoever had it open has let go.
    ended: AtomicBool,
    mark: Mutex<Mark>,
}

impl Rewrite for Step<'_> {
    fn change(&self, event: &LogEvent) -> Option<Payload> {
        match held(event, self.needles.as_ref()?) {
            Held::Nothing => None,
            Held::Left(left) => Some(left),
            Held::Fixed(part) => {
                self.fixed.lock().unwrap_or_else(PoisonError::into_inner).add(event.seq, part);
                None
            }
        }
    }

    fn begin(&self, found: &[Rewritten]) -> io::Result<()> {
        let is_fixed = !self.fixed.lock().unwrap_or_else(PoisonError::into_inner).first.is_empty();
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        mark.events = found.len();
        let has_work = self.resumes || !found.is_empty();
        if is_fixed || self.only_look || !has_work {
            self.stopped.store(true, Ordering::Relaxed);
            return Err(io::Error::other("nothing is changed"));
        }
        mark.entities.extend(found.iter().map(|f| (f.entity_type.clone(), f.entity_id.clone())));
        self.begun.store(true, Ordering::Relaxed);
        write_mark(&self.redaction.folder, &mark)
    }

    fn end(&self) -> io::Result<()> {
        (self.redaction.evict)();
        self.ended.store(true, Ordering::Relaxed);
        self.redaction.remove_derived()
    }
}

/// The text as it may stand: with either kind of line break, and as JSON writes it within a text.
fn spellings(text: &str) -> Vec<String> {
    let mut all = vec![text.to_string(), text.replace('\n', "\r\n")];
    for plain in all.clone() {
        let quoted = Value::from(plain).to_string();
        all.extend(quoted.get(1..quoted.len() - 1).map(str::to_string));
    }
    // The longest first: it may hold another one.
    all.sort_by_key(|s| std::cmp::Reverse(s.len()));
    all.dedup();
    all
}

fn read_mark(folder: &Path) -> Result<Option<Mark>, RedactError> {
    let path = folder.join(MARK);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| files(&path, e.into())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(files(&path, e)),
    }
}

fn write_mark(folder: &Path, mark: &Mark) -> io::Result<()> {
    let early = folder.join(".redacting.json.new");
    let mut file = File::create(&early)?;
    file.write_all(&serde_json::to_vec(mark)?)?;
    file.sync_all()?;
    fs::rename(&early, folder.join(MARK))?;
    sync(folder)
}

fn holds(path: &Path, needle: &[u8]) -> io::Result<bool> {
    let (mut file, mut chunk) = (File::open(path)?, vec![0; 1024 * 1024]);
    let mut window: Vec<u8> = Vec::new();
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(false);
        }
        window.extend(&chunk[..read]);
        if window.windows(needle.len()).any(|w| w == needle) {
            return Ok(true);
        }
        // A match may lie across two chunks.
        window.drain(..window.len().saturating_sub(needle.len() - 1));
    }
}

fn absent(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn files(path: &Path, source: io::Error) -> RedactError {
    RedactError::Files { path: path.into(), source }
}
