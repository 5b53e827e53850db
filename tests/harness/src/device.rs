//! A simulated device: the product's client library on a real project folder, with a clock, dice and a disk of ours.
//!
//! Duty: act, die at a chosen write, come back through the product's own opener, and remember outside the product what
//! was asked of it.
//! Invariant: a change counts as made exactly if the product said so; after a death in mid-change either answer is
//! right, and what the action log then says is taken.

use crate::emit;
use crate::mind::Mind;
use crate::random::Random;
use anyhow::Context;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use td_client::project::Project;
use td_client::session::{SessionKey, explicit_agent};
use td_client::store::Store;
use td_client::write::{Change, IssuePatch, NewIssue, WriteError};
use td_engine::id::ProjectId;
use td_engine::time::ClientTime;
use td_faultfs::kill::Folder;

/// Tries for one change. A refusal is rare, so more in a row mean that writing is broken.
const TRIES: usize = 12;

/// What a device was asked to change and said it had.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// Verb in the action log.
    pub verb: String,
    /// Entity type in the action log.
    pub entity_type: String,
    /// Entity.
    pub entity_id: String,
    /// The row after.
    pub new: Json,
    /// The row before.
    pub previous: Json,
    /// When.
    pub time: ClientTime,
}

/// When the program of a device is killed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Death {
    /// At which write.
    pub at: Option<u32>,
    /// At which write of the restart once more.
    pub again_at: Option<u32>,
}

/// One device.
pub struct Device {
    /// Which.
    pub index: usize,
    /// Its clock and dice.
    pub mind: Arc<Mind>,
    /// Every change that was made, by action number.
    pub made: BTreeMap<i64, Made>,
    /// Deaths so far.
    pub deaths: u32,
    /// What it is to do instead of random changes.
    pub recording: Option<emit::Actions>,
    /// Changes of the recording that its rows refused, by reason.
    pub refused: BTreeMap<String, u64>,
    base: PathBuf,
    disk: Folder,
    project: Option<Project>,
}

impl Device {
    /// A new project folder below `dir`, linked to `project`. `dies_at`: the program is killed at that write of the
    /// set-up, and the person tries again.
    pub fn new(
        dir: &Path,
        index: usize,
        mind: Arc<Mind>,
        project: &ProjectId,
        dies_at: Option<u32>,
    ) -> anyhow::Result<Self> {
        let base = dir.join(format!("device-{index}"));
        std::fs::create_dir_all(&base)?;
        let disk = Folder::watch(&base)?;
        let mut device = Self {
            index,
            mind,
            made: BTreeMap::new(),
            deaths: 0,
            recording: None,
            refused: BTreeMap::new(),
            base,
            disk,
            project: None,
        };
        if let Some(n) = dies_at {
            device.disk.kill_after(n);
            let _ = device.set_up(project);
            device.deaths += u32::from(device.disk.is_dead());
            device.project = None;
            device.disk.revive();
        }
        device.set_up(project).context("setting up again after a kill")?;
        Ok(device)
    }

    fn set_up(&mut self, project: &ProjectId) -> anyhow::Result<()> {
        let (opened, _) = Project::init(&self.base, self.mind.clone())?;
        self.project = Some(opened);
        self.log_in()?;
        td_client::sync::link(&mut self.project()?.store, project)?;
        Ok(())
    }

    fn log_in(&mut self) -> anyhow::Result<()> {
        let key = SessionKey {
            branch: "default".into(),
            agent_type: explicit_agent(&format!("device {}", self.index)),
            ..SessionKey::default()
        };
        Ok(self.project()?.store.adopt_session(&key)?)
    }

    /// The open project.
    pub fn project(&mut self) -> anyhow::Result<&mut Project> {
        self.project.as_mut().ok_or_else(|| anyhow::anyhow!("the device is off"))
    }

    /// Lets the product do something, perhaps killing it at a write. The project is open again afterwards. Returns
    /// what the product last said, and whether it was killed.
    pub fn act<R>(
        &mut self,
        death: Death,
        work: impl FnOnce(&mut Project) -> R,
    ) -> anyhow::Result<(R, bool)> {
        if let Some(n) = death.at {
            self.disk.kill_after(n);
        }
        let result = work(self.project()?);
        if !self.disk.is_dead() {
            self.disk.revive();
            return Ok((result, false));
        }
        self.deaths += 1;
        self.project = None;
        self.disk.revive();
        if let Some(n) = death.again_at {
            self.disk.kill_after(n);
            if self.open().is_err() || self.disk.is_dead() {
                self.deaths += 1;
                self.project = None;
            }
            self.disk.revive();
        }
        self.open().context("opening the project after a kill")?;
        Ok((result, true))
    }

    fn open(&mut self) -> anyhow::Result<()> {
        self.project = None;
        self.project = Some(Project::open(&self.base, self.mind.clone())?);
        self.log_in()
    }

    /// Makes one local change: the next of its recording if it has one, else one that its rows permit. Whoever was
    /// refused, or killed before the change was made, tries again. Returns what happened.
    pub fn write(&mut self, seed: u64, death: Death) -> anyhow::Result<Vec<String>> {
        let mut random = Random::new(seed);
        let (mut words, mut death) = (Vec::new(), death);
        for _ in 0..TRIES {
            let (word, made) = self.try_to_write(&mut random, std::mem::take(&mut death))?;
            words.push(word);
            if made {
                return Ok(words);
            }
        }
        anyhow::bail!("no change was taken in {TRIES} tries: {}", words.join("; "))
    }

    /// Whether the change was made, or given up because the recording says so.
    fn try_to_write(&mut self, random: &mut Random, death: Death) -> anyhow::Result<(String, bool)> {
        let recorded = self.recording.as_ref().and_then(|queue| queue.front().cloned());
        let mut asked = recorded.clone();
        let (done, was_killed) = self.act(death, |project| {
            let store = &mut project.store;
            if asked.is_none() && random.chance(35) {
                return by_verb(store, random).map_err(anyhow::Error::from);
            }
            let change = asked.take().map_or_else(|| emit::compose(store, random), Ok)?;
            let done = record(store, &change);
            asked = Some(change);
            Ok(done?)
        })?;
        let made = self.note(asked.as_ref().filter(|_| !was_killed))?;
        let word = match &done {
            Ok(()) => {
                anyhow::ensure!(
                    !made.is_empty(),
                    "a change was made and is not in the action log: {asked:?}"
                );
                made.join(", ")
            }
            Err(_) if was_killed => {
                if made.is_empty() {
                    "killed".into()
                } else {
                    made.join(", ")
                }
            }
            Err(why) => {
                anyhow::ensure!(made.is_empty(), "a change was refused ({why}) and recorded: {made:?}");
                format!("refused: {why}")
            }
        };
        let mut is_over = !made.is_empty();
        if recorded.is_some() && (is_over || !was_killed) {
            self.recording.as_mut().map(|queue| queue.pop_front());
            if let Err(why) = done
                && !is_over
            {
                *self.refused.entry(why.to_string()).or_default() += 1;
                is_over = true;
            }
        }
        Ok((word, is_over))
    }

    /// Takes down the actions that are new in the action log.
    fn note(&mut self, asked: Option<&Change>) -> anyhow::Result<Vec<String>> {
        let known = self.made.last_key_value().map_or(0, |(rowid, _)| *rowid);
        let rows = actions(&self.project()?.store, known)?;
        let mut made = Vec::new();
        for (rowid, row, _) in rows {
            if let Some(change) = asked {
                let null = |half: &Option<Json>| half.clone().unwrap_or(Json::Object(Default::default()));
                let same = (&row.verb, &row.entity_id) == (&change.verb, &change.entity_id)
                    && row.new == null(&change.new)
                    && row.previous == null(&change.previous);
                anyhow::ensure!(same, "asked for {change:?}, recorded {row:?}");
            }
            made.push(format!("{rowid}: {} {} {}", row.verb, row.entity_type, row.entity_id));
            self.made.insert(rowid, row);
        }
        Ok(made)
    }

    /// The action log: number, change, sequence.
    pub fn actions(&mut self) -> anyhow::Result<Vec<(i64, Made, Option<i64>)>> {
        actions(&self.project()?.store, 0)
    }
}

/// One change through the door that every verb uses.
pub fn record(store: &mut Store, change: &Change) -> Result<(), WriteError> {
    let tx = store.begin()?;
    tx.record(change)?;
    Ok(tx.commit()?)
}

/// What a person would do with `td`.
fn by_verb(store: &mut Store, random: &mut Random) -> Result<(), WriteError> {
    let issues = store.issues(&[])?;
    let Some(issue) = random.pick(&issues).cloned() else {
        return store.create_issue(NewIssue { title: "First".into(), ..NewIssue::default() }).map(drop);
    };
    match random.below(6) {
        0 if issues.len() < 12 => {
            let title = format!("Task {}", random.below(100));
            store
                .create_issue(NewIssue { title, points: 3, parent_id: issue.id, ..NewIssue::default() })
                .map(drop)
        }
        1 => store.close_issue(&issue.id, Some("done")).map(drop),
        2 => store.delete_issue(&issue.id).map(drop),
        3 => store.comment(&issue.id, "Looks fine").map(drop),
        n => {
            let title = Some(format!("Title {}", random.below(20)));
            let labels = (n == 4).then(|| vec!["x".to_string()]);
            store.update_issue(&issue.id, IssuePatch { title, labels, ..IssuePatch::default() }).map(drop)
        }
    }
}

fn actions(store: &Store, above: i64) -> anyhow::Result<Vec<(i64, Made, Option<i64>)>> {
    let mut ask = store.conn().prepare_cached(
        "SELECT rowid, action_type, entity_type, entity_id, new_data, previous_data, timestamp, server_seq
         FROM action_log WHERE rowid > ?1 ORDER BY rowid",
    )?;
    let mut rows = ask.query([above])?;
    let mut all = Vec::new();
    while let Some(r) = rows.next()? {
        let half = |i: usize| -> anyhow::Result<Json> {
            let text: String = r.get(i)?;
            Ok(serde_json::from_str(if text.is_empty() { "{}" } else { &text })?)
        };
        let time: String = r.get(6)?;
        let made = Made {
            verb: r.get(1)?,
            entity_type: r.get(2)?,
            entity_id: r.get(3)?,
            new: half(4)?,
            previous: half(5)?,
            time: ClientTime::parse_stored(&time)?,
        };
        all.push((r.get(0)?, made, r.get(7)?));
    }
    Ok(all)
}
