//! `td-sync import`: what the flags say, a line per step on stderr, the plan or the result on stdout.

use super::{Failure, Output, complain, report};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use td_server::clock;
use td_server::import::{ImportError, Options, Plan, Taking, done_text, plan_text};

/// What must stay free on the new directory's disk: below it the server would refuse pushes at once.
const KEEP_FREE: u64 = 64 << 20;

/// Reads the whole source, which is never written to, and makes a new directory that appears whole or not at all.
/// Exit codes: 0 done, or a dry run with nothing in the way; 1 refused or failed, and nothing was made; 2 usage.
#[derive(Args)]
pub(super) struct Import {
    /// Data directory to read: the folder that holds server.db. Whatever uses it must be stopped
    #[arg(value_name = "GO_DATA_DIR")]
    source: PathBuf,
    /// Directory to make; it must be absent or empty
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// The other way: from a data directory of td-sync to one that the Go td-sync opens
    #[arg(long)]
    reverse: bool,
    /// Where the project folders are, if not in GO_DATA_DIR/projects (SYNC_PROJECT_DATA_DIR)
    #[arg(long, value_name = "DIR")]
    projects: Option<PathBuf>,
    /// Leave this project behind, with its members and invitations (may be repeated)
    #[arg(long, value_name = "PROJECT_ID")]
    leave_out: Vec<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// For programs
    #[arg(long)]
    json: bool,
}

impl Import {
    pub(super) fn run(self) -> ExitCode {
        let options = Options {
            source: self.source,
            projects: self.projects,
            into: self.into,
            leave_out: self.leave_out,
            reverse: self.reverse,
            scratch: std::env::temp_dir(),
            keep_free: KEEP_FREE,
            clock: clock::system(),
        };
        let mut progress = |step: &str| complain(&format!("{step} …\n"));
        let taking = match Taking::prepare(options, &mut progress) {
            Ok(taking) => taking,
            Err(e) => return report(self.json, Err(e.into())),
        };
        if self.dry_run || !taking.plan().refusals.is_empty() {
            return say_plan(self.json, taking.plan());
        }
        let done = taking.run(&mut progress).map_err(Failure::from).map(|done| {
            let mut json = json!(done);
            json["ok"] = true.into();
            Some(Output { text: done_text(&done), json })
        });
        report(self.json, done)
    }
}

/// The whole plan, so that everything that is in the way is seen at once.
fn say_plan(as_json: bool, plan: &Plan) -> ExitCode {
    let in_the_way = plan.refusals.len();
    let mut json = json!({"ok": in_the_way == 0, "dry_run": true, "plan": plan});
    let message = format!("nothing was made: {in_the_way} things are in the way");
    if in_the_way > 0 {
        json["error"] = json!({"code": "import_refused", "message": message, "remedy": null});
    }
    let text = plan_text(plan) + "Nothing was written.\n";
    let said = report(as_json, Ok(Some(Output { text, json })));
    if in_the_way == 0 {
        return said;
    }
    complain(&format!(
        "error: {message}\n  do:  settle them as the list says, then run the same command again\n"
    ));
    ExitCode::FAILURE
}

impl From<ImportError> for Failure {
    fn from(e: ImportError) -> Self {
        Self::Told { code: e.code().into(), message: e.to_string(), remedy: Some(e.remedy()) }
    }
}
