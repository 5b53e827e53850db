//! Verbs for our own programs, and what packagers need.

use crate::cli::{Cli, Hidden};
use clap::CommandFactory as _;
use std::io::Write as _;
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
        Hidden::HostStatus(words) => print(&serde_json::json!(HostStatus::look(&words.spec)).to_string()),
        Hidden::HostRestart(words) => control(&words.spec).and_then(|control| {
            control.ask(Ask::Restart, LIMIT).map(drop).map_err(|error| error.to_string())
        }),
        Hidden::HostStop(words) => {
            control(&words.spec).and_then(|control| control.stop(LIMIT).map_err(|error| error.to_string()))
        }
        Hidden::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "td-sync-setup", &mut std::io::stdout());
            Ok(())
        }
        Hidden::Man => {
            let page = clap_mangen::Man::new(Cli::command());
            page.render(&mut std::io::stdout()).map_err(|error| error.to_string())
        }
    };
    match result {
        Ok(()) => Exit::Done.code(),
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "td-sync-setup: {why}");
            Exit::Failed.code()
        }
    }
}

fn print(text: &str) -> Result<(), String> {
    writeln!(std::io::stdout(), "{text}").map_err(|error| error.to_string())
}

fn control(spec: &std::path::Path) -> Result<Control, String> {
    Spec::read(spec).map(|spec| Control::new(&spec.state)).map_err(|error| error.to_string())
}
