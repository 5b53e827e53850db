//! Verbs for our own programs, and what packagers need.

use crate::cli::{Cli, Hidden};
use crate::say;
use clap::CommandFactory as _;
use std::time::Duration;
use td_deploy::exit::Exit;
use td_deploy::supervisor::{Ask, Control, HostStatus, Spec, exec_server, supervise};

/// Longer than any drain.
const LIMIT: Duration = Duration::from_secs(90);

/// Runs one; its exit code.
pub fn run(verb: Hidden) -> u8 {
    let result = match verb {
        Hidden::Supervise(words) => supervise(&words.spec).map_err(|error| error.to_string()),
        Hidden::ExecServer { spec, supervisor } => Err(exec_server(&spec.spec, supervisor).to_string()),
        Hidden::HostStatus(words) => print(format!("{}\n", serde_json::json!(HostStatus::look(&words.spec)))),
        Hidden::HostRestart(words) => control(&words.spec).and_then(|control| {
            control.ask(Ask::Restart, LIMIT).map(drop).map_err(|error| error.to_string())
        }),
        Hidden::HostStop(words) => {
            control(&words.spec).and_then(|control| control.stop(LIMIT).map_err(|error| error.to_string()))
        }
        Hidden::Completions { shell } => {
            // Into memory first: the generator panics where it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "td-sync-setup", &mut script);
            print(script)
        }
        Hidden::Man => {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
            rendered.map_err(|error| error.to_string()).and_then(|()| print(page))
        }
    };
    match result {
        Ok(()) => Exit::Done.code(),
        Err(why) => {
            say::aside(format!("td-sync-setup: {why}\n"));
            Exit::Failed.code()
        }
    }
}

fn print(text: impl AsRef<[u8]>) -> Result<(), String> {
    say::out(text).map_err(|failure| failure.error.to_string())
}

fn control(spec: &std::path::Path) -> Result<Control, String> {
    Spec::read(spec).map(|spec| Control::new(&spec.state)).map_err(|error| error.to_string())
}
