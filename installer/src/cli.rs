//! The words of the command line. Everything else about them (help, completions, man page, tables) is generated.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Sets up a td-sync server, looks after it, and takes it away again.
///
/// Without a verb it sets up, or continues where an earlier run stopped.
#[derive(Parser, Debug)]
#[command(name = "td-sync-setup", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
#[command(after_help = EXITS)]
pub struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,

    #[command(flatten)]
    setup: SetupWords,

    /// Ask nothing: take what was detected for every answer that is missing
    #[arg(long, short = 'y', global = true)]
    pub yes: bool,

    /// Answer in JSON (runs: one event per line)
    #[arg(long, global = true)]
    pub json: bool,

    /// No colour and no moving lines (also: NO_COLOR, TERM=dumb, CI)
    #[arg(long, global = true)]
    pub no_color: bool,
}

const EXITS: &str = "\
Exit codes: 0 done or nothing to do; 1 failed, run it again to continue; 2 wrong usage or
missing answers; 3 changes pending or drift; 5 another run is at work; 6 a person must decide;
7 refused, nothing changed; 8 stopped by you, resumable; 9 doctor: failures; 10 doctor could not run.";

/// What to do.
#[derive(Subcommand, Debug, Clone)]
pub enum Verb {
    /// Set up, or continue (this is the default)
    Setup(SetupWords),
    /// Show what setup would do, and change nothing (exit code 3: something would change)
    Plan(PlanWords),
    /// Do exactly what a saved plan says
    Apply(ApplyWords),
    /// Show which steps are done and whether the server is well
    Status,
    /// Start the server (it does not start at boot)
    Start,
    /// Stop the server after it has answered everybody
    Stop,
    /// Show the log of the server
    Logs(LogWords),
    /// Say what each step does and why
    Explain(ExplainWords),
    /// Check everything, from this machine's client to the newest copy
    Doctor,
    /// Show, change, save or read the answers
    Answers(AnswersWords),
    /// Take everything away that setup brought
    Uninstall(UninstallWords),
    #[command(flatten)]
    Hidden(Hidden),
}

/// Verbs that our own programs call.
#[derive(Subcommand, Debug, Clone)]
pub enum Hidden {
    /// Keep a server running
    #[command(hide = true)]
    Supervise(SpecWords),
    /// Become the server of a supervisor
    #[command(hide = true)]
    ExecServer {
        #[command(flatten)]
        spec: SpecWords,
        /// Process of the supervisor
        #[arg(long)]
        supervisor: u32,
    },
    /// What runs, as JSON
    #[command(hide = true)]
    HostStatus(SpecWords),
    /// Have the supervisor restart the server
    #[command(hide = true)]
    HostRestart(SpecWords),
    /// Stop supervisor and server
    #[command(hide = true)]
    HostStop(SpecWords),
    /// Print completions for a shell
    #[command(hide = true)]
    Completions {
        /// bash, zsh, fish, …
        shell: clap_complete::Shell,
    },
    /// Print the man page
    #[command(hide = true)]
    Man,
}

/// The supervisor's specification.
#[derive(Args, Debug, Clone)]
pub struct SpecWords {
    /// File that server.units wrote
    #[arg(long)]
    pub spec: PathBuf,
}

/// Where to set up.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A server on this machine, for this user
    Local,
}

/// Answers on the command line. They win over saved ones.
#[derive(Args, Debug, Clone, Default)]
pub struct SetupWords {
    /// Where to set up
    #[arg(long, value_enum)]
    pub target: Option<Target>,
    /// Mail address of the first admin (no mail is sent)
    #[arg(long, value_name = "ADDRESS")]
    pub email: Option<String>,
    /// Port on 127.0.0.1 [default: the first free one from 8470 to 8479]
    #[arg(long, value_name = "PORT")]
    pub port: Option<String>,
    /// Folder of the server's data
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Folder of backup copies
    #[arg(long, value_name = "DIR")]
    pub backups: Option<String>,
    /// Install the commands to DIR/bin [default: ~/.local]
    #[arg(long, value_name = "DIR")]
    pub prefix: Option<String>,
    /// Name of this machine among your devices
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
    /// Folder of the demo project
    #[arg(long, value_name = "DIR")]
    pub demo: Option<String>,
}

impl SetupWords {
    /// The text given for a question's flag.
    pub fn given(&self, flag: &str) -> Option<&str> {
        match flag {
            "email" => &self.email,
            "port" => &self.port,
            "data" => &self.data,
            "backups" => &self.backups,
            "prefix" => &self.prefix,
            "device" => &self.device,
            "demo" => &self.demo,
            _ => &None,
        }
        .as_deref()
    }
}

/// Words of `plan`.
#[derive(Args, Debug, Clone)]
pub struct PlanWords {
    #[command(flatten)]
    pub setup: SetupWords,
    /// Save the plan, for `apply`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Words of `apply`.
#[derive(Args, Debug, Clone)]
pub struct ApplyWords {
    /// A file that `plan --out` wrote
    pub plan: PathBuf,
}

/// Words of `logs`.
#[derive(Args, Debug, Clone)]
pub struct LogWords {
    /// How many lines from the end
    #[arg(short = 'n', long, default_value_t = 50, value_name = "N")]
    pub lines: usize,
    /// The journal of the newest run of setup instead of the server's log
    #[arg(long)]
    pub journal: bool,
}

/// Words of `explain`.
#[derive(Args, Debug, Clone)]
pub struct ExplainWords {
    /// A step's name [default: all of them]
    pub step: Option<String>,
}

/// Words of `uninstall`.
#[derive(Args, Debug, Clone)]
pub struct UninstallWords {
    /// Keep data, copies and the demo project; a later `setup` uses them again
    #[arg(long)]
    pub keep_data: bool,
}

/// Words of `answers`.
#[derive(Args, Debug, Clone)]
pub struct AnswersWords {
    #[command(subcommand)]
    pub verb: Option<AnswersVerb>,
}

/// What to do with the answers.
#[derive(Subcommand, Debug, Clone)]
pub enum AnswersVerb {
    /// Show them (this is the default)
    Show,
    /// Change one, or with no words all of them in $EDITOR
    Edit {
        /// Its name, as `server.port`
        #[arg(requires = "value")]
        key: Option<String>,
        /// The new answer
        value: Option<String>,
    },
    /// Write them to a file, or to the screen
    Export {
        /// Where to
        file: Option<PathBuf>,
    },
    /// Take them from a file that `export` wrote
    Import {
        /// Where from
        file: PathBuf,
    },
}

impl Cli {
    /// The verb; setting up is what happens without one.
    pub fn verb(&self) -> Verb {
        self.verb.clone().unwrap_or_else(|| Verb::Setup(self.setup.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent_and_every_question_has_its_flag() {
        Cli::command().debug_assert();
        let flags: Vec<_> =
            Cli::command().get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned)).collect();
        for question in td_deploy::steps::local::questions::QUESTIONS {
            assert!(flags.iter().any(|flag| flag == question.flag), "--{}", question.flag);
            let words = Cli::parse_from(["td-sync-setup", &format!("--{}", question.flag), "x"]).setup;
            assert_eq!(words.given(question.flag), Some("x"));
        }
    }

    #[test]
    fn no_verb_means_setup_with_the_same_words() {
        let cli = Cli::parse_from(["td-sync-setup", "--yes", "--port", "9000"]);
        assert!(cli.yes && matches!(cli.verb(), Verb::Setup(words) if words.port.as_deref() == Some("9000")));
    }

    #[test]
    fn exit_codes_in_the_help_are_those_of_the_table() {
        for exit in td_deploy::exit::Exit::ALL {
            // 4 belongs to targets that roll back; no verb here does yet.
            let code = exit.code();
            assert!(code == 4 || EXITS.contains(&format!("{code} ")), "{code}");
        }
    }
}
