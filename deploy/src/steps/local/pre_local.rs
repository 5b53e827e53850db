//! Gate: this copy of setup is complete.

use super::places::{LOOK, PROGRAMS};
use crate::error::{Remedy, StepError};
use crate::facts::Facts;
use crate::host::Program;
use crate::step::{Change, Kind, Outcome, Step, StepKey, UndoOutcome, Wanted};
use crate::view::{Apply, Capture, Probe};
use std::path::PathBuf;
use td_state::answers::Answers;

pub(super) struct PreLocal;

impl Step for PreLocal {
    /// The folder of the programs.
    type Desired = PathBuf;
    /// What is wrong with each of them.
    type Observed = Vec<String>;
    type Undo = ();
    const KEY: StepKey = StepKey::PRE_LOCAL;
    const KIND: Kind = Kind::Gate;
    const REV: u32 = 1;

    fn title(&self) -> String {
        "Check that setup itself is complete".into()
    }

    fn why(&self) -> &'static str {
        "setup installs the programs that stand beside it; they have to be there, of one version, and run here"
    }

    fn desired(&self, _: &Answers, facts: &Facts) -> Result<Wanted<PathBuf>, StepError> {
        Ok(Wanted::This(facts.program.parent().unwrap_or(&facts.program).to_owned()))
    }

    fn observe(&self, cx: &Probe<'_>, folder: &PathBuf) -> Result<Vec<String>, StepError> {
        let mut wrong = Vec::new();
        for name in PROGRAMS {
            let path = folder.join(name);
            if cx.stat(&path)?.is_none() {
                wrong.push(format!("{} is missing", path.display()));
            } else if name != "td-sync-setup" {
                let mut look = Program::new(&path, LOOK).args(["version", "--json"]);
                look.clean_env = true;
                let said = cx.query(&look).map(|ran| serde_json::from_slice(&ran.stdout).unwrap_or_default());
                match said {
                    Ok(said) => wrong.extend(other_version(name, &said)),
                    Err(error) => wrong.push(error.to_string()),
                }
            }
        }
        Ok(wrong)
    }

    fn plan(&self, wrong: &Vec<String>, _: PathBuf) -> Change<PathBuf> {
        if wrong.is_empty() {
            return Change::Noop;
        }
        Change::Blocked {
            code: "E-LOCAL-INCOMPLETE".into(),
            why: wrong.join("; "),
            remedy: Remedy::run("build or unpack all three programs into one folder", "./install.sh --local"),
        }
    }

    fn capture(&self, _: &Capture<'_>, _: &Change<PathBuf>) -> Result<(), StepError> {
        Ok(())
    }

    fn apply(&self, _: &mut Apply<'_>, _: Change<PathBuf>) -> Result<Outcome, StepError> {
        Ok(Outcome::Unchanged)
    }

    fn undo(&self, _: &mut Apply<'_>, (): ()) -> Result<UndoOutcome, StepError> {
        Ok(UndoOutcome::NothingToDo)
    }
}

fn other_version(name: &str, said: &serde_json::Value) -> Option<String> {
    let word = |key| said.get(key).and_then(serde_json::Value::as_str).unwrap_or("nothing");
    let ours = env!("CARGO_PKG_VERSION");
    match (word("product"), word("version")) {
        ("td-sync", version) if version == ours => None,
        ("td-sync", version) => Some(format!("{name} is version {version}, setup is {ours}")),
        _ => Some(format!("{name} does not run here, or is another program")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_another_version_or_product_is_named() {
        let said = serde_json::json!({"product": "td-sync", "version": env!("CARGO_PKG_VERSION")});
        assert_eq!(other_version("td", &said), None);
        let older = serde_json::json!({"product": "td-sync", "version": "0.0.1"});
        assert!(other_version("td", &older).unwrap().contains("0.0.1"));
        assert!(other_version("td", &serde_json::Value::Null).unwrap().contains("another program"));
    }
}
