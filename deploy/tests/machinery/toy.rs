//! Small steps of every sort, for testing the engine.

use super::Scene;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use td_deploy::error::{Remedy, StepError};
use td_deploy::facts::Facts;
use td_deploy::host::model::{Behaviour, ModelHost};
use td_deploy::host::{Detached, Digest, Made, Mode, ProcessId, Program, Ran, Removed, Signal};
use td_deploy::step::{
    AnyStep, Change, Diff, Kind, Outcome, Step, StepKey, StepTraits, UndoOutcome, Wanted, erase,
};
use td_deploy::{Apply, Capture, Kept, Probe, Wait};
use td_state::answers::{Answer, AnswerKey, Answers};

pub const TEXT: AnswerKey = AnswerKey::of("toy.text");
/// Name of the text file.
pub const NAME: AnswerKey = AnswerKey::of("toy.name");
pub const PORT: AnswerKey = AnswerKey::of("toy.port");

pub const SCENE: Scene = Scene { machine, steps, answers };

/// The file there was before us.
pub fn machine() -> ModelHost {
    let host = ModelHost::bare();
    host.teach("/usr/bin/toyd", toyd());
    host.teach("/usr/bin/toycheck", Arc::new(|_, _| Ok(ran(0))));
    use td_deploy::host::WriteFiles;
    host.put(&PathBuf::from("/home/ada/profile"), b"of ada", Mode::PRIVATE).unwrap();
    host.calm();
    host
}

pub fn steps() -> Vec<Box<dyn AnyStep>> {
    vec![
        erase(Elsewhere),
        erase(Folder),
        erase(PickPort),
        erase(Text { key_is_profile: false }),
        erase(Profile(Text { key_is_profile: true })),
        erase(Rehearse),
        erase(Daemon),
    ]
}

pub fn answers() -> Answers {
    let mut answers = Answers::default();
    answers.set(&TEXT, Answer::Text("hello".into()));
    answers
}

pub fn folder(facts: &Facts) -> PathBuf {
    facts.home.join("toy")
}

fn ran(code: i32) -> Ran {
    Ran { code: Some(code), signal: None, stdout: Vec::new(), stderr: Vec::new(), dropped: 0 }
}

fn toyd() -> Behaviour {
    Arc::new(|world, call| {
        if let (Some(pid), Some(port)) = (call.pid, call.args.first().and_then(|p| p.parse().ok())) {
            world.listen(SocketAddr::from(([127, 0, 0, 1], port)), pid);
        }
        Ok(ran(0))
    })
}

/// Makes no sense here.
pub struct Elsewhere;

impl Step for Elsewhere {
    type Desired = ();
    type Observed = ();
    type Undo = ();
    const KEY: StepKey = StepKey::new("toy.elsewhere");
    const KIND: Kind = Kind::Mutation;
    const REV: u32 = 1;
    fn title(&self) -> String {
        "Be elsewhere".into()
    }
    fn why(&self) -> &'static str {
        "to be skipped"
    }
    fn desired(&self, _: &Answers, _: &Facts) -> Result<Wanted<()>, StepError> {
        Ok(Wanted::Skip("not on this target".into()))
    }
    fn observe(&self, _: &Probe<'_>, (): &()) -> Result<(), StepError> {
        Ok(())
    }
    fn plan(&self, (): &(), (): ()) -> Change<()> {
        Change::Noop
    }
    fn capture(&self, _: &Capture<'_>, _: &Change<()>) -> Result<(), StepError> {
        Ok(())
    }
    fn apply(&self, _: &mut Apply<'_>, _: Change<()>) -> Result<Outcome, StepError> {
        Ok(Outcome::Changed)
    }
    fn undo(&self, _: &mut Apply<'_>, (): ()) -> Result<UndoOutcome, StepError> {
        Ok(UndoOutcome::NothingToDo)
    }
}

/// A folder with another in it.
pub struct Folder;

impl Step for Folder {
    type Desired = Vec<PathBuf>;
    type Observed = Vec<bool>;
    type Undo = Vec<PathBuf>;
    const KEY: StepKey = StepKey::new("toy.folder");
    const KIND: Kind = Kind::Mutation;
    const REV: u32 = 1;
    fn title(&self) -> String {
        "Make folders".into()
    }
    fn why(&self) -> &'static str {
        "to put things in"
    }
    fn desired(&self, _: &Answers, facts: &Facts) -> Result<Wanted<Self::Desired>, StepError> {
        Ok(Wanted::This(vec![folder(facts), folder(facts).join("run")]))
    }
    fn observe(&self, cx: &Probe<'_>, desired: &Self::Desired) -> Result<Vec<bool>, StepError> {
        desired.iter().map(|d| Ok(cx.stat(d)?.is_some())).collect()
    }
    fn plan(&self, observed: &Vec<bool>, desired: Self::Desired) -> Change<Self::Desired> {
        if observed.iter().all(|there| *there) { Change::Noop } else { Change::Create { desired } }
    }
    fn capture(&self, cx: &Capture<'_>, change: &Change<Self::Desired>) -> Result<Self::Undo, StepError> {
        let mut missing = Vec::new();
        for dir in change.desired().into_iter().flatten() {
            if cx.stat(dir)?.is_none() {
                missing.push(dir.clone());
            }
        }
        Ok(missing)
    }
    fn creates(&self, undo: &Self::Undo) -> Vec<String> {
        undo.iter().map(|p| p.display().to_string()).collect()
    }
    fn apply(&self, cx: &mut Apply<'_>, change: Change<Self::Desired>) -> Result<Outcome, StepError> {
        let mut changed = false;
        for dir in change.desired().into_iter().flatten() {
            changed |= cx.make_dir(dir, Mode::PRIVATE_DIR)? == Made::Created;
        }
        Ok(if changed { Outcome::Changed } else { Outcome::Unchanged })
    }
    fn undo(&self, cx: &mut Apply<'_>, undo: Self::Undo) -> Result<UndoOutcome, StepError> {
        let mut outcome = UndoOutcome::NothingToDo;
        for dir in undo.iter().rev() {
            match cx.remove_dir(dir)? {
                Removed::Gone => outcome = UndoOutcome::Restored,
                Removed::Absent => {}
                Removed::NotEmpty => {
                    return Ok(UndoOutcome::LeftAlone { why: format!("{} is not empty", dir.display()) });
                }
            }
        }
        Ok(outcome)
    }
}

/// Finds a free port and saves it as an answer.
pub struct PickPort;

impl Step for PickPort {
    type Desired = Option<i64>;
    type Observed = Option<i64>;
    type Undo = ();
    const KEY: StepKey = StepKey::new("toy.port");
    const KIND: Kind = Kind::Gate;
    const REV: u32 = 1;
    fn title(&self) -> String {
        "Choose a port".into()
    }
    fn why(&self) -> &'static str {
        "to listen on"
    }
    fn desired(&self, answers: &Answers, _: &Facts) -> Result<Wanted<Self::Desired>, StepError> {
        Ok(Wanted::This(answers.int(&PORT)))
    }
    fn observe(&self, cx: &Probe<'_>, _: &Self::Desired) -> Result<Self::Observed, StepError> {
        for port in 8470..8480u16 {
            if cx.port_is_free(SocketAddr::from(([127, 0, 0, 1], port)))? {
                return Ok(Some(port.into()));
            }
        }
        Ok(None)
    }
    fn plan(&self, observed: &Self::Observed, desired: Self::Desired) -> Change<Self::Desired> {
        if desired.is_some() { Change::Noop } else { Change::Create { desired: *observed } }
    }
    fn capture(&self, _: &Capture<'_>, _: &Change<Self::Desired>) -> Result<(), StepError> {
        Ok(())
    }
    fn apply(&self, cx: &mut Apply<'_>, change: Change<Self::Desired>) -> Result<Outcome, StepError> {
        if let Some(Some(port)) = change.desired() {
            cx.decide(&PORT, Answer::Int(*port))?;
        }
        Ok(Outcome::Changed)
    }
    fn undo(&self, _: &mut Apply<'_>, (): ()) -> Result<UndoOutcome, StepError> {
        Ok(UndoOutcome::NothingToDo)
    }
}

/// Writes a file; with `key_is_profile` one that was there before.
pub struct Text {
    pub key_is_profile: bool,
}

#[derive(Serialize, Deserialize)]
pub struct TextDesired {
    path: PathBuf,
    content: String,
}

#[derive(Serialize, Deserialize)]
pub struct TextUndo {
    path: PathBuf,
    before: Option<(Kept, Digest, Mode)>,
    ours: Digest,
}

impl Step for Text {
    type Desired = TextDesired;
    type Observed = Option<Digest>;
    type Undo = TextUndo;
    const KEY: StepKey = StepKey::new("toy.text");
    const KIND: Kind = Kind::Group("texts");
    const REV: u32 = 1;
    fn title(&self) -> String {
        "Write a text".into()
    }
    fn why(&self) -> &'static str {
        "to be read"
    }
    fn needs(&self) -> &'static [StepKey] {
        &[Folder::KEY]
    }
    fn desired(&self, answers: &Answers, facts: &Facts) -> Result<Wanted<Self::Desired>, StepError> {
        let Some(port) = answers.int(&PORT) else { return Ok(Wanted::After(PickPort::KEY)) };
        let name = answers.text(&NAME).unwrap_or_else(|| "text".into());
        let path = if self.key_is_profile { facts.home.join("profile") } else { folder(facts).join(name) };
        let content = format!("{} on {port}", answers.text(&TEXT).unwrap_or_default());
        Ok(Wanted::This(TextDesired { path, content }))
    }
    fn observe(&self, cx: &Probe<'_>, desired: &Self::Desired) -> Result<Self::Observed, StepError> {
        Ok(cx.digest(&desired.path)?)
    }
    fn plan(&self, observed: &Self::Observed, desired: Self::Desired) -> Change<Self::Desired> {
        let wanted = Digest::of(desired.content.as_bytes());
        match observed {
            Some(there) if *there == wanted => Change::Noop,
            Some(there) => {
                Change::Update { diff: Diff::one("content", there.short(), wanted.short()), desired }
            }
            None => Change::Create { desired },
        }
    }
    fn capture(&self, cx: &Capture<'_>, change: &Change<Self::Desired>) -> Result<Self::Undo, StepError> {
        let desired = change.desired().unwrap();
        let before = match cx.read(&desired.path, 1 << 20)? {
            Some(content) => {
                let mode = cx.stat(&desired.path)?.map_or(Mode::PRIVATE, |s| s.mode);
                Some((cx.keep(&content)?, Digest::of(&content), mode))
            }
            None => None,
        };
        Ok(TextUndo { path: desired.path.clone(), before, ours: Digest::of(desired.content.as_bytes()) })
    }
    fn apply(&self, cx: &mut Apply<'_>, change: Change<Self::Desired>) -> Result<Outcome, StepError> {
        let desired = change.desired().unwrap();
        cx.put(&desired.path, desired.content.as_bytes(), Mode::PRIVATE)?;
        Ok(Outcome::Changed)
    }
    fn undo(&self, cx: &mut Apply<'_>, undo: Self::Undo) -> Result<UndoOutcome, StepError> {
        let now = cx.digest(&undo.path)?;
        let was = undo.before.as_ref().map(|(_, digest, _)| digest.clone());
        if now == was {
            return Ok(UndoOutcome::NothingToDo);
        }
        if now.as_ref() != Some(&undo.ours) {
            return Ok(UndoOutcome::LeftAlone { why: format!("{} was edited", undo.path.display()) });
        }
        match undo.before {
            Some((kept, _, mode)) => cx.put(&undo.path, &cx.kept(&kept)?, mode)?,
            None => drop(cx.remove_file(&undo.path)?),
        }
        Ok(UndoOutcome::Restored)
    }
}

/// [`Text`] under another key.
pub struct Profile(pub Text);

impl Step for Profile {
    type Desired = TextDesired;
    type Observed = Option<Digest>;
    type Undo = TextUndo;
    const KEY: StepKey = StepKey::new("toy.profile");
    const KIND: Kind = Kind::Group("texts");
    const REV: u32 = 1;
    fn title(&self) -> String {
        "Edit the profile".into()
    }
    fn why(&self) -> &'static str {
        "to be read too"
    }
    fn desired(&self, answers: &Answers, facts: &Facts) -> Result<Wanted<Self::Desired>, StepError> {
        self.0.desired(answers, facts)
    }
    fn observe(&self, cx: &Probe<'_>, desired: &Self::Desired) -> Result<Self::Observed, StepError> {
        self.0.observe(cx, desired)
    }
    fn plan(&self, observed: &Self::Observed, desired: Self::Desired) -> Change<Self::Desired> {
        self.0.plan(observed, desired)
    }
    fn capture(&self, cx: &Capture<'_>, change: &Change<Self::Desired>) -> Result<Self::Undo, StepError> {
        self.0.capture(cx, change)
    }
    fn apply(&self, cx: &mut Apply<'_>, change: Change<Self::Desired>) -> Result<Outcome, StepError> {
        self.0.apply(cx, change)
    }
    fn undo(&self, cx: &mut Apply<'_>, undo: Self::Undo) -> Result<UndoOutcome, StepError> {
        self.0.undo(cx, undo)
    }
}

/// A gate that exercises something in a scratch file.
pub struct Rehearse;

impl Step for Rehearse {
    type Desired = PathBuf;
    type Observed = ();
    type Undo = PathBuf;
    const KEY: StepKey = StepKey::new("toy.rehearse");
    const KIND: Kind = Kind::Gate;
    const REV: u32 = 1;
    fn title(&self) -> String {
        "Rehearse".into()
    }
    fn why(&self) -> &'static str {
        "to know that it works"
    }
    fn desired(&self, _: &Answers, facts: &Facts) -> Result<Wanted<PathBuf>, StepError> {
        Ok(Wanted::This(folder(facts).join("run/scratch")))
    }
    fn observe(&self, _: &Probe<'_>, _: &PathBuf) -> Result<(), StepError> {
        Ok(())
    }
    fn plan(&self, (): &(), desired: PathBuf) -> Change<PathBuf> {
        Change::Check { desired }
    }
    fn capture(&self, _: &Capture<'_>, change: &Change<PathBuf>) -> Result<PathBuf, StepError> {
        Ok(change.desired().unwrap().clone())
    }
    fn apply(&self, cx: &mut Apply<'_>, change: Change<PathBuf>) -> Result<Outcome, StepError> {
        let scratch = change.desired().unwrap();
        cx.put(scratch, b"scratch", Mode::PRIVATE)?;
        let ran = cx.run(&Program::new("toycheck", Duration::from_secs(5)).arg("--now"))?;
        assert!(ran.ok());
        cx.remove_file(scratch)?;
        Ok(Outcome::Unchanged)
    }
    fn undo(&self, cx: &mut Apply<'_>, scratch: PathBuf) -> Result<UndoOutcome, StepError> {
        Ok(match cx.remove_file(&scratch)? {
            Removed::Gone => UndoOutcome::Restored,
            _ => UndoOutcome::NothingToDo,
        })
    }
}

/// A process that stays, with a file that says that it is up.
pub struct Daemon;

#[derive(Serialize, Deserialize)]
pub struct DaemonDesired {
    port: u16,
    dir: PathBuf,
}

impl DaemonDesired {
    fn at(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }
    fn pid_file(&self) -> PathBuf {
        self.dir.join("run/pid")
    }
}

impl Step for Daemon {
    type Desired = DaemonDesired;
    type Observed = bool;
    type Undo = DaemonDesired;
    const KEY: StepKey = StepKey::new("toy.daemon");
    const KIND: Kind = Kind::Mutation;
    const REV: u32 = 1;
    fn title(&self) -> String {
        "Start the daemon".into()
    }
    fn why(&self) -> &'static str {
        "to serve"
    }
    fn desired(&self, answers: &Answers, facts: &Facts) -> Result<Wanted<Self::Desired>, StepError> {
        let port = answers.int(&PORT).and_then(|p| u16::try_from(p).ok());
        Ok(port.map_or(Wanted::After(PickPort::KEY), |port| {
            Wanted::This(DaemonDesired { port, dir: folder(facts) })
        }))
    }
    fn observe(&self, cx: &Probe<'_>, desired: &Self::Desired) -> Result<bool, StepError> {
        Ok(cx.port_answers(desired.at(), Duration::from_millis(100))?
            && cx.stat(&desired.pid_file())?.is_some())
    }
    fn plan(&self, up: &bool, desired: Self::Desired) -> Change<Self::Desired> {
        if *up { Change::Noop } else { Change::Create { desired } }
    }
    fn capture(&self, _: &Capture<'_>, change: &Change<Self::Desired>) -> Result<Self::Undo, StepError> {
        let d = change.desired().unwrap();
        Ok(DaemonDesired { port: d.port, dir: d.dir.clone() })
    }
    fn apply(&self, cx: &mut Apply<'_>, change: Change<Self::Desired>) -> Result<Outcome, StepError> {
        let desired = change.desired().unwrap();
        if !cx.port_answers(desired.at(), Duration::from_millis(100))? {
            cx.spawn(&Detached {
                program: "/usr/bin/toyd".into(),
                args: vec![desired.port.to_string()],
                env: BTreeMap::new(),
                dir: "/".into(),
                log: desired.dir.join("run/log"),
            })?;
        }
        let pid = (100..200).find(|pid| matches!(cx.process(*pid), Ok(Some(_))));
        let pid = cx.wait_for(&Wait::new("the daemon to answer", Duration::from_secs(10)), || {
            Ok(pid.filter(|_| cx.port_answers(desired.at(), Duration::from_millis(100)).unwrap_or(false)))
        })?;
        assert!(pid >= 100);
        // Not the number: two runs that end alike shall look alike.
        cx.put(&desired.pid_file(), b"up", Mode::PRIVATE)?;
        Ok(Outcome::Changed)
    }
    fn undo(&self, cx: &mut Apply<'_>, undo: Self::Undo) -> Result<UndoOutcome, StepError> {
        let running: Vec<ProcessId> = (100..200).filter_map(|pid| cx.process(pid).ok().flatten()).collect();
        for process in &running {
            cx.signal(process, Signal::Terminate)?;
        }
        let file = cx.remove_file(&undo.pid_file())?;
        let log = cx.remove_file(&undo.dir.join("run/log"))?;
        let nothing = running.is_empty() && file == Removed::Absent && log == Removed::Absent;
        Ok(if nothing { UndoOutcome::NothingToDo } else { UndoOutcome::Restored })
    }
}

pub type Act = Arc<dyn Fn(&mut Apply<'_>) -> Result<Outcome, StepError> + Send + Sync>;

/// A step that does what a test wants.
pub struct Odd {
    pub act: Act,
    pub traits: StepTraits,
    pub blocked: bool,
    pub unknown: bool,
}

impl Odd {
    pub fn new(act: impl Fn(&mut Apply<'_>) -> Result<Outcome, StepError> + Send + Sync + 'static) -> Self {
        Self { act: Arc::new(act), traits: StepTraits::default(), blocked: false, unknown: false }
    }

    pub fn path() -> PathBuf {
        "/home/ada/odd".into()
    }
}

impl Step for Odd {
    type Desired = String;
    type Observed = Option<Vec<u8>>;
    type Undo = ();
    const KEY: StepKey = StepKey::new("odd.step");
    const KIND: Kind = Kind::Mutation;
    const REV: u32 = 1;
    fn title(&self) -> String {
        "Be odd".into()
    }
    fn why(&self) -> &'static str {
        "for a test"
    }
    fn traits(&self) -> StepTraits {
        self.traits
    }
    fn desired(&self, answers: &Answers, _: &Facts) -> Result<Wanted<String>, StepError> {
        Ok(Wanted::This(answers.text(&TEXT).unwrap_or_default()))
    }
    fn observe(&self, cx: &Probe<'_>, _: &String) -> Result<Self::Observed, StepError> {
        if self.unknown {
            return Err(StepError::new("E-ODD", "it hides", "nothing", Remedy::say("seek")));
        }
        Ok(cx.read(&Self::path(), 100)?)
    }
    fn plan(&self, observed: &Self::Observed, desired: String) -> Change<String> {
        if self.blocked {
            let remedy = Remedy::run("unblock it", "true");
            return Change::Blocked { code: "E-ODD-BLOCKED".into(), why: "a log lies across".into(), remedy };
        }
        if observed.as_deref() == Some(desired.as_bytes()) {
            Change::Noop
        } else {
            Change::Create { desired }
        }
    }
    fn capture(&self, _: &Capture<'_>, _: &Change<String>) -> Result<(), StepError> {
        Ok(())
    }
    fn apply(&self, cx: &mut Apply<'_>, _: Change<String>) -> Result<Outcome, StepError> {
        (self.act)(cx)
    }
    fn undo(&self, cx: &mut Apply<'_>, (): ()) -> Result<UndoOutcome, StepError> {
        cx.remove_file(&Self::path())?;
        Ok(UndoOutcome::Restored)
    }
}

/// Does what is wanted.
pub fn good(cx: &mut Apply<'_>) -> Result<Outcome, StepError> {
    let text = cx.answers().text(&TEXT).unwrap_or_default();
    cx.put(&Odd::path(), text.as_bytes(), Mode::PRIVATE)?;
    Ok(Outcome::Changed)
}
