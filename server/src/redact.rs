//! Taking a text, such as a password that was pushed by mistake, out of a project.
//!
//! Duty: replace it in every payload of the log, make view and snapshots anew, and tell the devices: whatever row still
//! had it gets an update, so that their next edit does not bring it back.
//! Invariant: sequences, keys and times stay. The steps are written down in [`MARK`] before the first one, without the
//! text: after a crash the next start finishes them, and the same command does again what was not begun.
//! Danger: what is outside. Backups keep it until they expire, and a device keeps its own history until `td resync`.

use crate::live::{LiveError, LiveView};
use crate::log::{Clock, EventLog, LogError, Logs, Outcome, Rewrite, Rewritten};
use crate::secret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use td_engine::db::ProjectDb;
use td_engine::event::{NewEvent, Push};
use td_engine::id::{ActionId, DeviceId, ProjectId, SessionId};
use td_engine::payload::{Meta, Payload};
use td_engine::shape::{payload, payload_object};
use td_engine::taxonomy::{Action, Schema, TdSchema};
use td_engine::time::ClientTime;

/// What stands in the text's place.
pub const INSTEAD: &str = "[redacted]";
/// Shortest text that is taken out: a shorter one is in too many that mean something else.
pub const SHORTEST: usize = 6;
/// Notes in a project's folder what is under way.
const MARK: &str = "redacting.json";
/// Who pushes the updates.
const DEVICE: &str = "td-sync-redact";
/// Most events of one push.
const AT_ONCE: usize = 500;

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
    /// It is part of an id.
    #[error("the text is part of the id of an entity, and ids stay as they are; nothing was changed")]
    IsId,
    /// A device's name, an id, or an event's key holds it, and those stay.
    #[error("the text is still in {0}: an id or a name holds it, and those stay as they are")]
    Left(PathBuf),
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
    /// run had begun.
    pub fn rewrite(&self, text: Option<&str>) -> Result<Mark, RedactError> {
        let run = secret::hex(&secret::bytes::<8>().map_err(|e| LogError::Storage(e.to_string()))?);
        let known = read_mark(&self.folder)?.unwrap_or(Mark { v: 1, run, ..Mark::default() });
        let step = Step { redaction: self, text, is_id: AtomicBool::new(false), mark: Mutex::new(known) };
        let done = self.logs.rewrite(self.project, &step);
        // Whoever had it open has a log that is closed.
        (self.evict)();
        if step.is_id.load(Ordering::Relaxed) {
            return Err(RedactError::IsId);
        }
        done?;
        Ok(step.mark.into_inner().unwrap_or_else(PoisonError::into_inner))
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

    /// Looks for the text in every file that is left.
    pub fn prove(&self, text: &str) -> Result<(), RedactError> {
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
        previous.values_mut().filter(|v| v.to_string().contains(INSTEAD)).for_each(|v| *v = "".into());
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
                tracing::warn!(pid = %project, "a redaction was cut off, and is finished now; give the command again to be sure");
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
    let mark = redaction.rewrite(None)?;
    let log = logs.open(project)?;
    let mut live = LiveView::new(view, clock.clone());
    live.catch_up(&*log)?;
    let db = ProjectDb::open_read_only_at(live.place()).map_err(LiveError::from)?;
    redaction.tell(&*log, &mark, updates(&db, &mark, clock())?)?;
    Ok(())
}

struct Step<'a> {
    redaction: &'a Redaction<'a>,
    text: Option<&'a str>,
    is_id: AtomicBool,
    mark: Mutex<Mark>,
}

impl Rewrite for Step<'_> {
    fn change(&self, payload: &Payload) -> Option<Payload> {
        without(payload, self.text?)
    }

    fn begin(&self, found: &[Rewritten]) -> io::Result<()> {
        if self.text.is_some_and(|text| found.iter().any(|f| f.entity_id.contains(text))) {
            self.is_id.store(true, Ordering::Relaxed);
            return Err(io::Error::other("an id"));
        }
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        mark.events = found.len();
        mark.entities.extend(found.iter().map(|f| (f.entity_type.clone(), f.entity_id.clone())));
        write_mark(&self.redaction.folder, &mark)
    }

    fn end(&self) -> io::Result<()> {
        (self.redaction.evict)();
        self.redaction.remove_derived()
    }
}

/// The payload without the text, in whatever way JSON spells it; `None` if it does not hold it.
fn without(payload: &Payload, text: &str) -> Option<Payload> {
    // Without an escape, what a parser would read stands there as it is.
    if !payload.as_str().contains('\\') && !payload.as_str().contains(text) {
        return None;
    }
    let mut needles = vec![text.to_string()];
    // JSON within a string of JSON.
    let quoted = Value::from(text).to_string();
    needles.extend(quoted.get(1..quoted.len() - 1).filter(|q| *q != text).map(str::to_string));
    match payload.value() {
        Ok(mut value) => replace(&mut value, &needles).then(|| Payload::from_value(&value)),
        // Nested too deep to be parsed.
        Err(_) => {
            let found = needles.iter().any(|n| payload.as_str().contains(n.as_str()));
            found.then(|| Payload::stored(replaced(payload.as_str(), &needles)))
        }
    }
}

fn replace(value: &mut Value, needles: &[String]) -> bool {
    match value {
        Value::String(s) => {
            let new = replaced(s, needles);
            let changed = new != *s;
            *s = new;
            changed
        }
        Value::Array(all) => all.iter_mut().fold(false, |any, v| replace(v, needles) | any),
        Value::Object(all) => {
            let mut any = false;
            let old = std::mem::take(all);
            *all = old
                .into_iter()
                .map(|(key, mut v)| {
                    any |= replace(&mut v, needles);
                    let new = replaced(&key, needles);
                    any |= new != key;
                    (new, v)
                })
                .collect::<Map<_, _>>();
            any
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn replaced(s: &str, needles: &[String]) -> String {
    needles.iter().fold(s.to_string(), |s, needle| s.replace(needle.as_str(), INSTEAD))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_goes_however_json_spells_it_and_nothing_else_changes() {
        let text = "s3\"cr<é>t\\";
        let inner = serde_json::json!({"env": format!("KEY={text}")}).to_string();
        for spelled in [
            serde_json::json!({"new_data": {"title": format!("a {text} b"), "n": 1.5}}).to_string(),
            r#"{"new_data":{"title":"\u00733\u0022cr\u003c\u00e9\u003et\u005c"}}"#.to_string(),
            serde_json::json!({"new_data": {"previous": inner}}).to_string(),
            serde_json::json!([{text: [text]}]).to_string(),
        ] {
            let payload = Payload::parse(&spelled).expect("json");
            let clean = without(&payload, text).expect("found");
            assert!(clean.as_str().contains(INSTEAD), "{}", clean.as_str());
            assert_eq!(without(&clean, text), None, "{}", clean.as_str());
        }
        let other = Payload::parse(r#"{"new_data":{"title":"s3\u0022cr, but not it"}}"#).expect("json");
        assert_eq!(without(&other, text), None);
    }
}
