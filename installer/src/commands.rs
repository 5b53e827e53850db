//! What a person has to type on this machine to call our programs (DESIGN law 18).
//!
//! Duty: texts everywhere name commands plainly (`td-sync-setup logs`); before they are shown they become what works
//! here: the name, the full path where its folder is not searched, or the script that called us before anything is
//! installed.

use std::path::{Path, PathBuf};
use td_deploy::error::{Remedy, StepError};
use td_deploy::event::{Event, EventBody, StepResult};
use td_deploy::facts::Facts;
use td_deploy::steps::local::Installed;
use td_state::shell;

/// How `install.sh` was called: it may have unpacked us into a folder that is gone when it ends.
pub const CALLED_AS: &str = "TD_SETUP_CALLED_AS";

/// The three programs, as they are called here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commands {
    setup: Setup,
    server: String,
    td: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Setup {
    /// A name or a path.
    Program(String),
    /// A script that hands on what stands behind `--`.
    Script(String),
}

impl Commands {
    /// By name, where nothing better is known.
    pub fn plain() -> Self {
        Self { setup: Setup::Program("td-sync-setup".into()), server: "td-sync".into(), td: "td".into() }
    }

    /// As things stand now. `called_as` is what [`CALLED_AS`] says.
    pub fn of(
        installed: &Installed,
        facts: &Facts,
        called_as: Option<String>,
        exists: &dyn Fn(&Path) -> bool,
    ) -> Self {
        let found = |name: &str| facts.path.iter().map(|dir| dir.join(name)).find(|path| exists(path));
        let at = |name: &str| -> Option<String> {
            let link: PathBuf = installed.bin.join(name);
            let by_name = || found(name).as_ref() == Some(&link);
            exists(&link).then(|| if by_name() { name.to_owned() } else { shell::path(&link) })
        };
        let this = || match found("td-sync-setup") {
            Some(path) if path == facts.program => "td-sync-setup".to_owned(),
            _ => shell::path(&facts.program),
        };
        let setup = match (at("td-sync-setup"), called_as.filter(|script| !script.is_empty())) {
            (Some(name), _) => Setup::Program(name),
            (None, Some(script)) => Setup::Script(script),
            (None, None) => Setup::Program(this()),
        };
        Self {
            setup,
            server: at("td-sync").unwrap_or_else(|| "td-sync".into()),
            td: at(&installed.td).unwrap_or_else(|| installed.td.clone()),
        }
    }

    /// The command line as it works here. A line of another program stays as it is.
    pub fn shown(&self, line: &str) -> String {
        let (program, rest) = line.split_once(' ').map_or((line, ""), |(program, rest)| (program, rest));
        let joined = |program: &str| format!("{program} {rest}").trim_end().to_owned();
        match (program, &self.setup) {
            ("td-sync-setup", Setup::Program(setup)) => joined(setup),
            ("td-sync-setup", Setup::Script(script)) => {
                match rest.strip_prefix("setup").unwrap_or(rest).trim() {
                    "" => script.clone(),
                    rest => format!("{script} -- {rest}"),
                }
            }
            ("td-sync", _) => joined(&self.server),
            ("td", _) => joined(&self.td),
            _ => line.to_owned(),
        }
    }

    /// An error whose remedy works here.
    pub fn error(&self, error: &StepError) -> StepError {
        StepError { remedy: self.remedy(&error.remedy), ..error.clone() }
    }

    /// A remedy that works here.
    pub fn remedy(&self, remedy: &Remedy) -> Remedy {
        let commands = remedy.commands.iter().map(|command| self.shown(command)).collect();
        Remedy { text: remedy.text.clone(), commands }
    }

    /// An event whose remedies work here.
    pub fn event(&self, mut event: Event) -> Event {
        match &mut event.body {
            EventBody::Warning { finding, .. } => finding.remedy = self.remedy(&finding.remedy),
            EventBody::StepFinished { result: StepResult::Failed { error }, .. } => {
                *error = self.error(error)
            }
            _ => {}
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use td_deploy::host::Look as _;
    use td_deploy::host::model::ModelHost;
    use td_state::answers::Answers;

    fn commands(path: &[&str], there: &[&str], td: &str, called_as: Option<&str>) -> Commands {
        let mut facts = ModelHost::bare().facts().unwrap();
        facts.path = path.iter().map(PathBuf::from).collect();
        facts.program = "/build/td-sync-setup".into();
        let installed = Installed { td: td.into(), ..Installed::of(&Answers::default(), &facts) };
        let exists = |path: &Path| there.iter().any(|there| Path::new(there) == path);
        Commands::of(&installed, &facts, called_as.map(str::to_owned), &exists)
    }

    const BIN: &str = "/home/ada/.local/bin";
    const ALL: [&str; 3] =
        ["/home/ada/.local/bin/td-sync-setup", "/home/ada/.local/bin/td-sync", "/home/ada/.local/bin/tds"];

    #[test]
    fn an_installed_command_is_called_by_name_only_where_the_name_finds_it() {
        let here = commands(&["/usr/bin", BIN], &ALL, "tds", None);
        assert_eq!(here.shown("td-sync-setup logs"), "td-sync-setup logs");
        assert_eq!(here.shown("td list"), "tds list");
        let not_searched = commands(&["/usr/bin"], &ALL, "tds", None);
        assert_eq!(not_searched.shown("td-sync-setup"), "/home/ada/.local/bin/td-sync-setup");
        assert_eq!(not_searched.shown("td-sync doctor"), "/home/ada/.local/bin/td-sync doctor");
        assert_eq!(not_searched.shown("td sync"), "/home/ada/.local/bin/tds sync");
        let there: Vec<_> = ALL.into_iter().chain(["/usr/bin/td-sync-setup"]).collect();
        let hidden = commands(&["/usr/bin", BIN], &there, "tds", None);
        assert_eq!(
            hidden.shown("td-sync-setup"),
            "/home/ada/.local/bin/td-sync-setup",
            "another one comes first"
        );
        assert_eq!(hidden.shown("df -h /"), "df -h /");
    }

    #[test]
    fn before_anything_is_installed_the_program_or_the_script_that_runs_is_named() {
        assert_eq!(commands(&[], &[], "td", None).shown("td-sync-setup plan"), "/build/td-sync-setup plan");
        let script = commands(&[], &[], "td", Some("./install.sh --from /a"));
        assert_eq!(script.shown("td-sync-setup"), "./install.sh --from /a");
        assert_eq!(script.shown("td-sync-setup setup"), "./install.sh --from /a");
        assert_eq!(script.shown("td-sync-setup setup --port 8471"), "./install.sh --from /a -- --port 8471");
        assert_eq!(script.shown("td-sync-setup answers show"), "./install.sh --from /a -- answers show");
    }
}
