//! The command line: every verb, flag and their contradictions.
//!
//! Invariant: flags that contradict each other are refused here, before anything is opened (law 20).

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Tasks of a project, shared through a server of your own.
#[derive(Debug, Parser)]
#[command(disable_version_flag = true, arg_required_else_help = true, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 nothing done because the server cannot be \
    reached (your changes are kept). `doctor`: 0 nothing failed, 9 something failed, 10 could not run."
)]
pub struct Cli {
    /// Answer in JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// Project folder, instead of the current one.
    #[arg(long, short = 'w', global = true, value_name = "DIR", env = "TD_WORK_DIR", hide_env_values = true)]
    pub work_dir: Option<PathBuf>,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make this folder a project.
    Init,
    /// Create an issue.
    #[command(visible_aliases = ["add", "new"])]
    Create(Create),
    /// List issues that are not closed.
    #[command(visible_alias = "ls")]
    List(List),
    /// Show an issue with its comments and history.
    Show {
        /// Issue id; `td-` may be left out.
        id: String,
    },
    /// Change an issue.
    Update(Update),
    /// Close issues.
    Close {
        /// Issue ids.
        #[arg(required = true)]
        ids: Vec<String>,
        /// Why; goes into the history.
        #[arg(long, short = 'm', visible_alias = "message")]
        reason: Option<String>,
    },
    /// Comment on an issue.
    Comment {
        /// Issue id.
        id: String,
        /// What to say.
        text: String,
    },
    /// Delete issues. They are kept, and can be restored.
    #[command(visible_alias = "rm")]
    Delete {
        /// Issue ids.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Connect this machine to a server by an enrolment link.
    Connect {
        /// The link; `-` or nothing reads it from standard input, which keeps it out of the list of processes.
        link: Option<String>,
        /// What the server calls this machine.
        #[arg(long, value_name = "NAME")]
        device_name: Option<String>,
        /// Certificate authorities (PEM) instead of the bundled ones.
        #[arg(long, value_name = "FILE")]
        ca_file: Option<PathBuf>,
    },
    /// The login of this machine.
    #[command(subcommand)]
    Auth(Auth),
    /// Send and receive changes.
    Sync(Sync),
    /// Rebuild this project from the server's log; changes that were not sent yet are kept.
    Resync {
        /// Fingerprint of the server's new key, as its operator tells it, if the server was set up anew.
        #[arg(long, value_name = "FINGERPRINT")]
        accept_key: Option<String>,
    },
    /// Projects on the server.
    #[command(subcommand, visible_alias = "sp")]
    SyncProject(SyncProject),
    /// Find out whether everything works, from this folder to the server and back.
    Doctor {
        /// Run only this check and those it needs; repeatable.
        #[arg(long, value_name = "CHECK")]
        only: Vec<String>,
    },
    /// Which program and version this is.
    Version,
    /// Print a completion script.
    #[command(hide = true)]
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    #[command(hide = true)]
    Man,
}

#[derive(Debug, Args)]
pub struct Create {
    /// One line that says what it is about.
    pub title: String,
    /// bug, feature, task, epic or chore.
    #[arg(long = "type", short = 't')]
    pub kind: Option<String>,
    /// P0 to P4.
    #[arg(long, short = 'p')]
    pub priority: Option<String>,
    /// 1, 2, 3, 5, 8, 13 or 21.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub points: i64,
    /// Words, comma-separated; repeatable.
    #[arg(long, short = 'l', value_delimiter = ',')]
    pub labels: Vec<String>,
    /// Markdown.
    #[arg(long, short = 'd', default_value = "", hide_default_value = true)]
    pub description: String,
    /// Acceptance criteria.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub acceptance: String,
    /// Issue above it.
    #[arg(long, visible_alias = "epic", default_value = "", hide_default_value = true)]
    pub parent: String,
    /// May be reviewed by its own author.
    #[arg(long)]
    pub minor: bool,
}

#[derive(Debug, Args)]
pub struct List {
    /// open, in_progress, blocked, in_review or closed; repeatable.
    #[arg(long, short = 's', value_delimiter = ',')]
    pub status: Vec<String>,
    /// Closed ones too.
    #[arg(long, short = 'a', conflicts_with = "status")]
    pub all: bool,
    /// At most this many.
    #[arg(long, short = 'n')]
    pub limit: Option<usize>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub struct Update {
    /// Issue ids.
    #[arg(required = true)]
    pub ids: Vec<String>,
    /// New title.
    #[arg(long, group = "change")]
    pub title: Option<String>,
    /// bug, feature, task, epic or chore.
    #[arg(long = "type", short = 't', group = "change")]
    pub kind: Option<String>,
    /// P0 to P4.
    #[arg(long, short = 'p', group = "change")]
    pub priority: Option<String>,
    /// 0, 1, 2, 3, 5, 8, 13 or 21.
    #[arg(long, group = "change")]
    pub points: Option<i64>,
    /// Words, comma-separated, instead of those there are; empty for none.
    #[arg(long, short = 'l', group = "change")]
    pub labels: Option<String>,
    /// Markdown.
    #[arg(long, short = 'd', group = "change")]
    pub description: Option<String>,
    /// Acceptance criteria.
    #[arg(long, group = "change")]
    pub acceptance: Option<String>,
    /// Issue above it, empty for none.
    #[arg(long, group = "change")]
    pub parent: Option<String>,
    /// open, in_progress, blocked or in_review.
    #[arg(long, short = 's', group = "change", value_enum)]
    pub status: Option<OpenStatus>,
}

/// Statuses an update may set; closing is a verb of its own, because it is logged.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum OpenStatus {
    Open,
    InProgress,
    Blocked,
    InReview,
}

#[derive(Debug, Subcommand)]
pub enum Auth {
    /// Who this machine is logged in as.
    Status,
    /// Forget the login. The server's pinned identity stays.
    Logout,
    /// Keys for agents, which may do less than you.
    #[command(subcommand)]
    Token(Token),
}

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token. It is shown once.
    Create {
        #[command(flatten)]
        terms: TokenTerms,
    },
    /// Your tokens and devices, with their last use.
    List,
    /// Revoke one token or device; everything else goes on.
    Revoke {
        /// As the list shows it.
        id: String,
    },
    /// Ask for a token, as an agent, and wait until a person approves.
    Request {
        /// What the agent calls itself.
        #[arg(long, value_name = "NAME")]
        name: String,
    },
    /// Approve an agent's request.
    Approve {
        /// The eight characters the agent shows.
        code: String,
        #[command(flatten)]
        terms: TokenTerms,
    },
}

/// What a token may do, and for how long.
#[derive(Clone, Debug, Args)]
pub struct TokenTerms {
    /// Project it is for, by name or id; repeatable.
    #[arg(long = "project", value_name = "PROJECT", required = true)]
    pub projects: Vec<String>,
    /// What it may do there.
    #[arg(long, value_enum, default_value_t = TokenRole::Reader)]
    pub role: TokenRole,
    /// How long it lives, as 12h, 7d or 90d; until it is revoked if left out.
    #[arg(long, value_name = "TIME", value_parser = life)]
    pub expires: Option<std::time::Duration>,
    /// How many events it may store.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub max_events: Option<i64>,
    /// What it is called.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// What a token may do in a project.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum TokenRole {
    Reader,
    Writer,
}

impl TokenRole {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
        }
    }
}

fn life(text: &str) -> Result<std::time::Duration, String> {
    let split = text.len().saturating_sub(1);
    let (number, unit) = if text.is_char_boundary(split) { text.split_at(split) } else { (text, "") };
    let seconds = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return Err("a time, as 12h, 7d or 4w".into()),
    };
    let number: u64 = number.parse().map_err(|_| "a time, as 12h, 7d or 4w".to_string())?;
    let total = number.checked_mul(seconds).filter(|t| *t > 0);
    total.map(std::time::Duration::from_secs).ok_or_else(|| "a time above zero".into())
}

#[derive(Debug, Args)]
pub struct Sync {
    /// Only send.
    #[arg(long, conflicts_with_all = ["pull", "status"])]
    pub push: bool,
    /// Only receive.
    #[arg(long, conflicts_with = "status")]
    pub pull: bool,
    /// Change nothing; say where this copy stands.
    #[arg(long)]
    pub status: bool,
}

#[derive(Debug, Subcommand)]
pub enum SyncProject {
    /// Create a project on the server and link this folder to it.
    Create {
        /// Its name.
        name: String,
        /// What it is about.
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
    },
    /// Link this folder to a project you are a member of.
    Join {
        /// Its name or id; asked for if left out.
        project: Option<String>,
    },
    /// Link this folder to a project by its id.
    Link {
        /// `p_` and 16 hex digits.
        id: String,
        /// Accepted for the sake of scripts; nothing is ever asked here.
        #[arg(long, short = 'f', hide = true)]
        force: bool,
    },
    /// Remove the link. Nothing else changes; linking again goes on where it was.
    Unlink {
        /// Accepted for the sake of scripts; nothing is ever asked here.
        #[arg(long, short = 'f', hide = true)]
        force: bool,
    },
    /// List the projects you can see.
    List,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    /// Of all verbs, those below `auth` and `sync-project` too; `help` is clap's own.
    fn each(command: &clap::Command, path: &str, look: &mut dyn FnMut(&str, &clap::Command)) {
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            let path = format!("{path} {}", verb.get_name());
            look(&path, verb);
            each(verb, &path, look);
        }
    }

    #[test]
    fn every_verb_answers_in_json() {
        let mut command = Cli::command();
        command.build();
        let mut verbs = 0;
        each(&command, "td", &mut |path, verb| {
            verbs += 1;
            assert!(verb.get_arguments().any(|arg| arg.get_long() == Some("json")), "{path}");
        });
        assert!(verbs > 20, "{verbs} verbs");
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        for words in [
            "td sync --push --pull",
            "td sync --push --status",
            "td sync --pull --status",
            "td list --all --status open",
        ] {
            let error = Cli::try_parse_from(words.split(' ')).expect_err(words);
            assert_eq!(error.kind(), ErrorKind::ArgumentConflict, "{words}");
        }
        let error = Cli::try_parse_from(["td", "update", "td-1"]).expect_err("nothing to change");
        assert_eq!(error.kind(), ErrorKind::MissingRequiredArgument);
    }
}
