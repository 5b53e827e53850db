//! The command line: verbs and flags, what goes to which stream, exit codes.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 usage; doctor: 0, 9, 10 (DESIGN 2).

mod admin;
mod import;
mod serve;

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use td_server::admin::{ReachError, Request, ask};
use td_server::config::{self, Config, ConfigError};
use td_server::{doctor, version, visible};

/// td-sync, the server for shared td projects.
#[derive(Parser)]
#[command(name = "td-sync", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the server (also without any verb)
    Serve,
    /// Users, keys, enrolment links, maintenance; asks the running server or acts itself
    Admin(admin::Admin),
    /// Look whether the server is well
    Doctor(Doctor),
    /// Copies of all databases
    Backup {
        #[command(subcommand)]
        verb: BackupVerb,
    },
    /// Take over a data directory of the Go td-sync, or give one back
    Import(import::Import),
    /// Settings, which are SYNC_* environment variables
    Config {
        #[command(subcommand)]
        verb: ConfigVerb,
    },
    /// Print the routes as an OpenAPI document
    Openapi {
        /// On one line
        #[arg(long)]
        json: bool,
    },
    /// Which program this is
    Version {
        /// For programs
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
struct Doctor {
    /// For programs
    #[arg(long)]
    json: bool,
    /// Only this check (may be repeated)
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
}

#[derive(Subcommand)]
enum BackupVerb {
    /// Copy every database of the data directory, open the copies again, and write a manifest
    Export {
        /// Folder to make
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Open the copies of an export again and compare them with its manifest
    Check {
        /// Folder that `export` made
        dir: PathBuf,
        /// For programs
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum ConfigVerb {
    /// Say what is wrong with the settings of this environment
    Check {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// All settings there are
    List {
        /// For programs
        #[arg(long)]
        json: bool,
    },
}

/// What a verb ends with, if it is not well.
enum Failure {
    /// A refusal with code and remedy.
    Told { code: String, message: String, remedy: Option<String> },
    /// Anything else.
    Other(anyhow::Error),
}

impl From<ReachError> for Failure {
    fn from(e: ReachError) -> Self {
        Self::Told { code: e.code(), message: e.to_string(), remedy: e.remedy() }
    }
}

impl From<ConfigError> for Failure {
    fn from(e: ConfigError) -> Self {
        Self::Told { code: e.code().into(), message: e.to_string(), remedy: Some(e.remedy().into()) }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(e: anyhow::Error) -> Self {
        Self::Other(e)
    }
}

/// What a verb prints: for people, for programs.
struct Output {
    text: String,
    json: Value,
}

/// `-email` as `--email` behind `admin`: the reference takes either, and people's scripts have both (server-protocol 9.1).
pub fn two_dashes(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    fn flags(command: &clap::Command, into: &mut BTreeSet<String>) {
        into.extend(command.get_arguments().filter_map(|a| a.get_long()).map(str::to_string));
        command.get_subcommands().for_each(|c| flags(c, into));
    }
    let mut words: Vec<_> = words.collect();
    if words.get(1).is_some_and(|verb| verb == "admin") {
        let mut known = BTreeSet::new();
        flags(&Cli::command(), &mut known);
        for word in &mut words[2..] {
            let flag =
                word.to_str().and_then(|w| w.strip_prefix('-')).map(|w| w.split('=').next().unwrap_or(w));
            if flag.is_some_and(|flag| known.contains(flag)) {
                let mut two = OsString::from("-");
                two.push(&*word);
                *word = two;
            }
        }
    }
    words
}

/// Runs a command line.
pub fn run(cli: Cli) -> ExitCode {
    let (as_json, result) = match cli.verb {
        None | Some(Verb::Serve) => return report(false, serve::serve().map(|()| None)),
        Some(Verb::Doctor(args)) => return examine(args),
        Some(Verb::Import(args)) => return args.run(),
        Some(Verb::Admin(admin)) => (admin.json, admin.run()),
        Some(Verb::Backup { verb: BackupVerb::Export { to, json } }) => (json, export(to)),
        Some(Verb::Backup { verb: BackupVerb::Check { dir, json } }) => (json, check_backup(dir)),
        Some(Verb::Config { verb: ConfigVerb::Check { json } }) => (json, check_config()),
        Some(Verb::Config { verb: ConfigVerb::List { json } }) => (json, Ok(list_config())),
        Some(Verb::Openapi { json }) => (json, Ok(openapi())),
        Some(Verb::Version { json }) => (json, Ok(say_version())),
    };
    report(as_json, result.map(Some))
}

fn report(as_json: bool, result: Result<Option<Output>, Failure>) -> ExitCode {
    match result {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(output)) => {
            let text = if as_json { format!("{}\n", output.json) } else { visible::lines(&output.text) };
            say(&text, ExitCode::SUCCESS)
        }
        Err(failure) => {
            let (code, message, remedy) = match failure {
                Failure::Told { code, message, remedy } => (code, message, remedy),
                Failure::Other(e) => ("failed".into(), format!("{e:#}"), None),
            };
            let todo = remedy.iter().map(|remedy| format!("  do:  {remedy}\n")).collect::<String>();
            complain(&visible::lines(&format!("error: {message}\n{todo}")));
            let error = json!({"error": {"code": code, "message": message, "remedy": remedy}});
            if as_json { say(&format!("{error}\n"), ExitCode::FAILURE) } else { ExitCode::FAILURE }
        }
    }
}

/// Prints what was asked for and hands the exit code on. A reader that has seen enough (`| head`) is its own choice;
/// anything else that keeps the words from arriving is a failure. Not `print!`, which panics in both cases.
fn say(text: &str, code: ExitCode) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            complain(&format!("error: the answer could not be written: {e}\n"));
            ExitCode::FAILURE
        }
        _ => code,
    }
}

/// Nobody could be told that this did not arrive; the exit code says what matters.
fn complain(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn examine(args: Doctor) -> ExitCode {
    let mut checks = doctor::checks(Config::from_process());
    if let Some(unknown) = args.only.iter().find(|id| !checks.iter().any(|c| c.id == id.as_str())) {
        complain(&format!("error: there is no check {unknown}\n"));
        return ExitCode::from(td_doctor::EXIT_COULD_NOT_RUN);
    }
    checks.retain(|c| args.only.is_empty() || args.only.iter().any(|id| id == c.id));
    let report = td_doctor::run(checks, &mut |_| {});
    let code = ExitCode::from(report.exit_code());
    match serde_json::to_string(&report) {
        Ok(text) if args.json => say(&format!("{text}\n"), code),
        Ok(_) => say(&report.plain(), code),
        Err(e) => {
            complain(&format!("error: {e}\n"));
            ExitCode::from(td_doctor::EXIT_COULD_NOT_RUN)
        }
    }
}

fn export(to: PathBuf) -> Result<Output, Failure> {
    let config = Config::from_process()?;
    // The server has another current folder than whoever asks it.
    let to = std::path::absolute(&to).with_context(|| format!("{} is no path", to.display()))?;
    let reply = ask(&config, &Request::BackupExport { to })?;
    Ok(Output { text: reply.text, json: reply.json })
}

fn check_backup(dir: PathBuf) -> Result<Output, Failure> {
    let checked = td_backup::check(&dir).map_err(|e| Failure::Told {
        code: e.code().into(),
        message: e.to_string(),
        remedy: Some(e.remedy().into()),
    })?;
    let text = format!(
        "{} is sound: {} databases with {} events, made {}\n",
        dir.display(),
        checked.databases,
        checked.rows,
        checked.made_at
    );
    let json = json!({"ok": true, "path": dir, "made_at": checked.made_at, "epoch": checked.epoch,
        "databases": checked.databases, "events": checked.rows, "files": checked.files});
    Ok(Output { text, json })
}

fn check_config() -> Result<Output, Failure> {
    let config = Config::from_process()?;
    let mut text = String::new();
    for note in &config.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    let https = config.tls.as_ref().map(|t| format!(", HTTPS on {}", t.listen)).unwrap_or_default();
    let data = config.data_dir();
    text.push_str(&format!("good: listens on {}{https}, data in {}\n", config.listen, data.display()));
    let json = json!({"ok": true, "notes": config.notes, "base_url": config.base_url, "data_dir": config.data_dir()});
    Ok(Output { text, json })
}

fn list_config() -> Output {
    let mut text = String::new();
    for v in config::VARIABLES {
        let default = v.default.map(|d| format!(" [{d}]")).unwrap_or_default();
        let file = if v.kind == config::Kind::Secret {
            format!("; better in a file that {}_FILE names", v.name)
        } else {
            String::new()
        };
        let later =
            if v.standing == config::Standing::NotYet { " (accepted, governs nothing yet)" } else { "" };
        text.push_str(&format!("{}{default}\n    {}{file}{later}\n", v.name, v.meaning));
    }
    for (name, why) in config::IGNORED {
        text.push_str(&format!("{name}\n    ignored: {why}\n"));
    }
    Output { text, json: config::table_json() }
}

fn openapi() -> Output {
    let json = td_server::openapi::document();
    Output { text: format!("{json:#}\n"), json }
}

fn say_version() -> Output {
    let epoch = Config::from_process().ok().and_then(|c| {
        let text = std::fs::read_to_string(c.data_dir().join("epoch")).ok()?;
        td_engine::id::Epoch::parse(text.trim()).ok()
    });
    let commit = option_env!("TD_COMMIT").map(|c| format!(" ({c})")).unwrap_or_default();
    Output { text: format!("td-sync {}{commit}\n", version::VERSION), json: version::json(epoch.as_ref()) }
}
