//! What happens on these screens: events of runs, states, reports and errors, in the shapes that engine and steps give.

use super::machine::Machine;
use td_deploy::engine::{Overall, Plan, Report as Run, Status, StepStatus};
use td_deploy::error::{Finding, Remedy, StepError};
use td_deploy::event::{Event, EventBody, StepLine, StepResult};
use td_deploy::exit::Exit;
use td_deploy::host::HostError;
use td_deploy::step::{AnyStep, Change};
use td_deploy::steps::local::steps;
use td_deploy::supervisor::{HostStatus, SupervisorStatus};
use td_doctor::{CheckReport, Finding as Found, Remedy as Cure, Report, Verdict};
use td_state::StateError;

const LOG: &str = "/home/ada/.local/state/td-sync-setup/host/log/server.log";
const RUN: &str = "01M7Z0PDVZ5QX7WSCFZX6KGMXR";

/// Events, numbered, a tenth of a second apart.
#[derive(Default)]
struct Script(Vec<Event>);

impl Script {
    fn tell(&mut self, body: EventBody) {
        let index = self.0.len() as u64 + 1;
        let step_ms = matches!(body, EventBody::StepFinished { .. }).then_some(100);
        self.0.push(Event { index, run_ms: index * 100, step_ms, attempt_ms: None, body });
    }

    fn start(&mut self, verb: &str, resumes: bool) {
        let line =
            |step: &dyn AnyStep| StepLine { key: step.key().to_string(), title: step.title(), group: None };
        self.tell(EventBody::RunStarted {
            run: RUN.into(),
            verb: verb.into(),
            target: "local".into(),
            resumes: resumes.then(|| "01M7Z0PDXWPJETZBX993W2K9DG".into()),
            steps: steps().iter().map(|step| line(&**step)).collect(),
        });
    }

    fn step(&mut self, step: &str, result: StepResult) {
        self.begin(step);
        self.tell(EventBody::StepFinished { step: step.into(), result });
    }

    fn begin(&mut self, step: &str) {
        let title = steps().iter().find(|known| known.key().as_str() == step).unwrap().title();
        self.tell(EventBody::StepStarted { step: step.into(), title });
    }

    fn wait(&mut self, step: &str, since_ms: u64) {
        self.tell(EventBody::Waiting {
            step: step.into(),
            for_what: "the server to answer on 127.0.0.1:8470".into(),
            since_ms,
            limit_ms: 60_000,
            look_at: Some(LOG.into()),
        });
    }

    fn end(&mut self, exit: u8, changed: u32, summary: &str) {
        self.tell(EventBody::RunFinished { exit, changed, summary: summary.into(), dropped: 0 });
    }
}

fn result(plan: &Plan, step: &str) -> StepResult {
    let line = plan.steps.iter().find(|line| line.key == step).unwrap();
    match &line.change {
        Change::Skip { reason } => StepResult::Skipped { reason: reason.clone() },
        Change::Noop | Change::Check { .. } => StepResult::Checked,
        _ if line.gate => StepResult::Checked,
        _ => StepResult::Changed,
    }
}

/// Everything at the first go, but for the search path.
pub fn done(machine: &Machine) -> Vec<Event> {
    let (plan, mut script) = (machine.plan(), Script::default());
    script.start("setup", false);
    for line in &plan.steps {
        if line.key == "client.config" {
            let bin = machine.facts.home.join(".local/bin");
            let finding = Finding {
                text: format!("{} is not in your PATH", bin.display()),
                remedy: Remedy::run(
                    "add it (in your shell's start file, for good)",
                    format!("export PATH={}:\"$PATH\"", bin.display()),
                ),
            };
            script.begin(&line.key);
            script.tell(EventBody::Warning { step: line.key.clone(), finding });
            script.tell(EventBody::StepFinished { step: line.key.clone(), result: StepResult::Changed });
        } else {
            script.step(&line.key, result(&plan, &line.key));
        }
    }
    script.0.iter_mut().filter(|event| event.index == 22).for_each(|event| event.step_ms = Some(2345));
    script.end(0, 14, "done; 14 steps changed something");
    script.0
}

/// A continued run whose server ends by itself.
pub fn failed(machine: &Machine) -> Vec<Event> {
    let (plan, mut script) = (machine.plan(), Script::default());
    script.start("setup", true);
    for line in plan.steps.iter().take_while(|line| line.key != "server.cutover") {
        let result = match (line.key.as_str(), result(&plan, &line.key)) {
            ("server.release", _) => StepResult::Adopted,
            ("sys.dirs" | "host.statedir", _) => StepResult::Unchanged,
            (_, result) => result,
        };
        script.step(&line.key, result);
    }
    script.begin("server.cutover");
    let why = "the supervisor did not answer within 10s and was stopped [E-HOST-TIMED-OUT]";
    script.tell(EventBody::Attempt { step: "server.cutover".into(), n: 2, why: why.into() });
    script.wait("server.cutover", 4000);
    let error = server_ends();
    script.tell(EventBody::StepFinished {
        step: "server.cutover".into(),
        result: StepResult::Failed { error },
    });
    script.end(1, 4, "failed; what was done is recorded, run it again to continue");
    script.0
}

/// In the middle: a program prints, and the server takes its time.
pub fn waiting(machine: &Machine) -> Vec<Event> {
    let mut script =
        Script(failed(machine).into_iter().take_while(|e| e.step_ms.is_some() || e.index < 40).collect());
    script.begin("server.cutover");
    script.wait("server.cutover", 12_000);
    // A line above the moving one draws both, whatever the clock says.
    script.tell(EventBody::Log {
        step: "server.cutover".into(),
        stream: "stderr".into(),
        line: "2026-09-20T10:00:00Z  WARN the database is being checked after an unclean stop; this may take a while"
            .into(),
    });
    script.0
}

pub fn server_ends() -> StepError {
    StepError::new(
        "E-SERVER-ENDS",
        "the server ends by itself again and again (exit code 1)",
        "it starts and finds something it cannot work with; the last lines of its log say what",
        Remedy::run(format!("read {LOG}"), "td-sync-setup logs"),
    )
    .tried("Start the server")
    .with_evidence([
        "2026-09-20T10:00:00Z  INFO server starting".to_owned(),
        "error: SYNC_LISTEN_ADDR: 127.0.0.1:84700 is no address; the port is a number from 1 to 65535"
            .to_owned(),
    ])
}

/// A person has put something into our folders.
pub fn uninstall() -> Vec<Event> {
    let mut script = Script::default();
    script.start("uninstall", false);
    script.step("receipt.seal", StepResult::Undone);
    script.step("server.cutover", StepResult::Undone);
    script.step("server.admin", StepResult::NothingToUndo);
    let why = "/home/ada/.config/td-sync/td-sync.env was edited since".to_owned();
    script.step("server.config", StepResult::LeftAlone { why });
    let why = "/home/ada/.config/td-sync is not empty: my-notes.txt, td-sync.env".to_owned();
    script.step("sys.dirs", StepResult::LeftAlone { why });
    script.end(0, 2, "done; 2 steps changed something");
    script.0
}

/// All gone, data kept, and something left where it was.
pub fn uninstalled() -> [(&'static str, bool, Run); 3] {
    let report = |result: StepResult, left: &[&str]| Run {
        exit: Exit::Done,
        steps: vec![("sys.dirs".into(), result)],
        changed: 1,
        errors: Vec::new(),
        journal: None,
        left: left.iter().map(Into::into).collect(),
    };
    let why = "/home/ada/.config/td-sync is not empty: notes.txt".to_owned();
    let notes = "/home/ada/.local/state/td-sync-setup/targets/local/notes.txt";
    [
        ("uninstall-all", false, report(StepResult::Undone, &[])),
        ("uninstall-kept-data", true, report(StepResult::Undone, &[])),
        ("uninstall-left", false, report(StepResult::LeftAlone { why }, &[notes])),
    ]
}

fn status(state: Overall, of: &dyn Fn(&str) -> (&'static str, Option<&'static str>)) -> Status {
    let machine = Machine::new();
    let plan = machine.plan();
    let line = |line: &td_deploy::engine::PlanLine| {
        let (state, reason) = match &line.change {
            Change::Skip { .. } if state == Overall::None => ("pending", None),
            Change::Skip { reason } => ("skipped", Some(reason.clone())),
            _ => {
                let (state, reason) = of(&line.key);
                (state, reason.map(str::to_owned))
            }
        };
        StepStatus { key: line.key.clone(), state, reason, degraded: None }
    };
    let steps = plan.steps.iter().map(line).collect();
    Status { target: "local".into(), state, steps, running: None, undoable: 0 }
}

fn running() -> HostStatus {
    let supervisor =
        SupervisorStatus { pid: 1, server: None, starts: 1, last_exit: None, listen: Vec::new() };
    HostStatus {
        lives: true,
        supervisor: Some(supervisor),
        ready: Some(serde_json::json!({ "ready": true })),
        ..HostStatus::default()
    }
}

pub fn status_none() -> (Status, HostStatus) {
    (status(Overall::None, &|_| ("pending", None)), HostStatus::default())
}

fn complete() -> Status {
    status(Overall::Complete, &|key| match key {
        key if key.starts_with("pre.") => ("skipped", Some("it was as wanted already")),
        _ => ("done", None),
    })
}

pub fn status_complete() -> (Status, HostStatus) {
    (complete(), running())
}

pub fn status_stopped() -> (Status, HostStatus) {
    (complete(), HostStatus::default())
}

pub fn status_failed() -> (Status, HostStatus) {
    let failed = status(Overall::Incomplete, &|key| match key {
        "server.cutover" => ("failed", Some("the server ends by itself again and again (exit code 1)")),
        "server.config" => ("unknown", None),
        key if key.starts_with("client.") || key.starts_with("data.") => ("pending", None),
        "server.admin" | "receipt.seal" => ("pending", None),
        key if key.starts_with("pre.") || key == "net.ports" => ("skipped", None),
        _ => ("done", None),
    });
    let host = HostStatus { ready: None, ..running() };
    (failed, host)
}

pub fn status_at_work() -> (Status, HostStatus) {
    let at_work = status(Overall::Incomplete, &|key| match key {
        "server.release" => ("running", None),
        key if key.starts_with("pre.") || key.ends_with("dir") || key.ends_with("dirs") => ("done", None),
        _ => ("pending", None),
    });
    let running = Some("setup, process 4711, since 2026-09-20T10:00:00Z".into());
    (Status { running, ..at_work }, HostStatus::default())
}

pub fn doctor_stopped() -> Report {
    let start = || Cure::command("td-sync-setup start");
    let check = |id: &str, verdict| CheckReport::new(id, verdict, 0);
    Report::new(vec![
        check("setup.state", Verdict::Ok("complete".into())),
        check(
            "setup.supervisor",
            Verdict::Fail(Found::new(
                "nothing runs; either it was stopped, or this machine was restarted",
                start(),
            )),
        ),
        check("setup.server", Verdict::Skip("needs setup.supervisor, which is not well".into())),
        check(
            "setup.boot",
            Verdict::Ok(
                "no start at boot yet; after a restart of this machine run: td-sync-setup start".into(),
            ),
        ),
        check(
            "server.lock",
            Verdict::Warn(Found::new("no server is running on this data directory", start())),
        ),
        check(
            "e2e.digest",
            Verdict::Ok("3e8ca7fa2457a557a08946be3638336c3500fe068bd1fb3151d61af869b97852".into()),
        ),
    ])
}

/// One of each kind: of a host, of the memory, of the answers, of an uninstall.
pub fn errors() -> Vec<(&'static str, StepError)> {
    let file = "/home/ada/with a blank/.config/td-sync/td-sync.env";
    let full = HostError::Full { op: "write", path: file.into() };
    let locked = StateError::Locked { owner: "setup, process 4711, since 2026-09-20T10:00:00Z".into() };
    let missing = StepError::new(
        "E-ANSWERS-MISSING",
        "these answers are missing and there is nobody to ask",
        "nothing was touched",
        Remedy::run("give them as flags, or take what was detected", "td-sync-setup setup --yes"),
    )
    .with_evidence([
        "Your mail address (the first admin): --email ada@model  (made of your user and host name)"
            .to_owned(),
        "Folder of the server's data: --data /home/ada/.local/share/td-sync/data  (the usual place for a user's own data)".to_owned(),
    ]);
    let data = StepError::new(
        "E-UNINSTALL-DATA",
        "an uninstall deletes the data, and there is nobody to ask",
        "nothing was removed",
        Remedy {
            text: "keep the data, or say that they may go".into(),
            commands: vec![
                "td-sync-setup uninstall --keep-data".into(),
                "td-sync-setup uninstall --yes".into(),
            ],
        },
    );
    vec![
        ("disk-full", StepError::from(full).tried("Write the server's settings")),
        ("locked", locked.into()),
        ("answers-missing", missing),
        ("uninstall-data", data),
        ("server-ends", server_ends()),
    ]
}
