//! `td-sync admin …`: flags into requests.

use super::{Failure, Output, complain};
use clap::{Args, Subcommand, ValueEnum};
use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::time::Duration;
use td_server::admin::{Request, Turn, ask};
use td_server::config::{Config, parse_duration};

/// Longest text that `redact` takes: a key file is shorter.
const LONGEST_TEXT: u64 = 16 * 1024;

#[derive(Args)]
pub(super) struct Admin {
    /// For programs
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// server.db to work on, instead of SYNC_SERVER_DB_PATH
    #[arg(long, global = true, value_name = "FILE")]
    db: Option<PathBuf>,
    #[command(subcommand)]
    verb: AdminVerb,
}

#[derive(Subcommand)]
enum AdminVerb {
    /// Make an account
    CreateUser {
        #[arg(long)]
        email: String,
    },
    /// Make an account an admin
    Grant {
        #[arg(long)]
        email: String,
    },
    /// Take the admin right away; the last admin keeps it
    Revoke {
        #[arg(long)]
        email: String,
    },
    /// Make an API key for an admin; it is shown once
    CreateKey {
        #[arg(long)]
        email: String,
        #[arg(long)]
        name: String,
        /// Comma separated
        #[arg(long, default_value = "sync")]
        scopes: String,
    },
    /// Forget an API key (the reference's spelling of `keys revoke`)
    RevokeKey {
        #[arg(long)]
        email: String,
        #[arg(long)]
        key_id: String,
    },
    /// Accounts
    Users {
        #[command(subcommand)]
        verb: UsersVerb,
    },
    /// API keys
    Keys {
        #[command(subcommand)]
        verb: KeysVerb,
    },
    /// Everything that signs in: devices, browsers, agents' tokens, public links
    Devices {
        #[command(subcommand)]
        verb: DevicesVerb,
    },
    /// Projects
    Projects {
        #[command(subcommand)]
        verb: ProjectsVerb,
    },
    /// Links that connect a device
    Enroll {
        #[command(subcommand)]
        verb: EnrollVerb,
    },
    /// Logins that wait for approval
    Logins {
        #[command(subcommand)]
        verb: LoginsVerb,
    },
    /// The way for mail
    Mail {
        #[command(subcommand)]
        verb: MailVerb,
    },
    /// The certificate for HTTPS
    Tls {
        #[command(subcommand)]
        verb: TlsVerb,
    },
    /// Events that did not simply apply
    Quarantine {
        #[command(subcommand)]
        verb: QuarantineVerb,
    },
    /// Take a leaked secret out of a project: log, live view and snapshots
    ///
    /// The text comes through standard input, so that no shell keeps it: `td-sync admin redact --project P < FILE`.
    /// Sequences stay, devices are told of the rows that had it, and nothing here shows the text again.
    Redact {
        /// Id, slug or name
        #[arg(long)]
        project: String,
        /// Say how many events hold it, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Hold writes while reads go on
    Maintenance {
        /// What to do
        turn: Switch,
    },
}

#[derive(Subcommand)]
enum UsersVerb {
    /// All of them
    List,
    /// End an account, with its keys, memberships and invitations
    Delete {
        /// Id or address
        user: String,
        /// Also delete the projects that nobody else owns
        #[arg(long)]
        with_projects: bool,
    },
}

#[derive(Subcommand)]
enum ProjectsVerb {
    /// All of them
    List {
        /// Only deleted ones, and when their files go
        #[arg(long)]
        deleted: bool,
    },
    /// Delete a project; it can be brought back for a while (SYNC_PROJECT_GRACE)
    Delete {
        /// Id, slug or name
        project: String,
    },
    /// Bring a deleted project back
    Undelete {
        /// Id, slug or name
        project: String,
        /// Address of who becomes an owner
        #[arg(long)]
        owner: Option<String>,
    },
    /// Take the files of a deleted project away now
    Purge {
        /// Id, slug or name
        project: String,
    },
}

#[derive(Subcommand)]
enum KeysVerb {
    /// All keys, or one account's
    List {
        #[arg(long)]
        email: Option<String>,
    },
    /// Forget a key
    Revoke {
        /// As `keys list` shows it
        key_id: String,
    },
}

#[derive(Subcommand)]
enum DevicesVerb {
    /// All of them, or one account's
    List {
        #[arg(long)]
        email: Option<String>,
    },
    /// End one, or all of an account
    Revoke {
        /// As `devices list` shows it
        #[arg(required_unless_present = "all_of", conflicts_with = "all_of")]
        id: Option<String>,
        /// Address of the account whose devices all end
        #[arg(long, value_name = "EMAIL")]
        all_of: Option<String>,
    },
}

#[derive(Subcommand)]
enum LoginsVerb {
    /// What waits now
    List,
    /// Let a device in
    Approve {
        /// As `logins list` shows it
        code: String,
    },
    /// Let it not in
    Deny {
        /// As `logins list` shows it
        code: String,
    },
}

#[derive(Subcommand)]
enum EnrollVerb {
    /// Make a link that works once
    Create {
        /// Whose device it will be [default: the oldest admin]
        #[arg(long)]
        email: Option<String>,
        /// Project to join: id, slug or name
        #[arg(long)]
        project: Option<String>,
        /// Role there: reader, writer or owner [default: writer]
        #[arg(long)]
        role: Option<String>,
        /// How long the link works
        #[arg(long, default_value = "15m", value_parser = ttl)]
        ttl: Duration,
    },
    /// Links that were made
    List,
}

#[derive(Subcommand)]
enum MailVerb {
    /// Send one with a code in it, to see whether it arrives
    Test {
        /// Address to send it to
        #[arg(long)]
        to: String,
    },
}

#[derive(Subcommand)]
enum TlsVerb {
    /// What is in service, what went wrong last, what comes next
    Status,
    /// Ask for a certificate now (or read the files again); limits of the authority's still hold
    Renew,
}

#[derive(Subcommand)]
enum QuarantineVerb {
    /// Show them with the reason
    List {
        /// Id, slug or name
        #[arg(long)]
        project: String,
        /// Only those above this sequence
        #[arg(long, default_value_t = 0)]
        after: i64,
        /// At most so many (1 to 1000)
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Build the project's live view again from its log, so that what applies now does
    Replay {
        /// Id, slug or name
        #[arg(long)]
        project: String,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Switch {
    On,
    Off,
    Status,
}

fn ttl(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "a duration, as 15m".into())
}

impl Admin {
    /// Asks and shows.
    pub(super) fn run(self) -> Result<Output, Failure> {
        let config = config(self.db)?;
        let reply = ask(&config, &request(self.verb)?)?;
        Ok(Output { text: reply.text, json: reply.json })
    }
}

/// `--db` is the reference's way to say which server is meant; it wins over the environment.
fn config(db: Option<PathBuf>) -> Result<Config, Failure> {
    let Some(db) = db else { return Ok(Config::from_process()?) };
    let given =
        db.to_str().ok_or_else(|| anyhow::anyhow!("--db: {} is no UTF-8 text", db.display()))?.to_string();
    let process =
        std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let others = process.filter(|(name, _)| name != "SYNC_SERVER_DB_PATH");
    Ok(Config::from_pairs(others.chain([("SYNC_SERVER_DB_PATH".to_string(), given)]))?)
}

fn request(verb: AdminVerb) -> Result<Request, Failure> {
    Ok(match verb {
        AdminVerb::Redact { project, dry_run } => {
            Request::Redact { project, text: from_standard_input()?, dry_run }
        }
        AdminVerb::CreateUser { email } => Request::CreateUser { email },
        AdminVerb::Grant { email } => Request::Grant { email },
        AdminVerb::Revoke { email } => Request::Revoke { email },
        AdminVerb::CreateKey { email, name, scopes } => Request::CreateKey { email, name, scopes },
        AdminVerb::RevokeKey { email, key_id } => Request::RevokeKey { email, key_id },
        AdminVerb::Users { verb: UsersVerb::List } => Request::UsersList,
        AdminVerb::Users { verb: UsersVerb::Delete { user, with_projects } } => {
            Request::UsersDelete { user, with_projects }
        }
        AdminVerb::Keys { verb: KeysVerb::List { email } } => Request::KeysList { email },
        AdminVerb::Keys { verb: KeysVerb::Revoke { key_id } } => Request::KeysRevoke { key_id },
        AdminVerb::Devices { verb: DevicesVerb::List { email } } => Request::DevicesList { email },
        AdminVerb::Devices { verb: DevicesVerb::Revoke { id, all_of } } => {
            Request::DevicesRevoke { id, all_of }
        }
        AdminVerb::Projects { verb } => match verb {
            ProjectsVerb::List { deleted } => Request::ProjectsList { deleted },
            ProjectsVerb::Delete { project } => Request::ProjectsDelete { project },
            ProjectsVerb::Undelete { project, owner } => Request::ProjectsUndelete { project, owner },
            ProjectsVerb::Purge { project } => Request::ProjectsPurge { project },
        },
        AdminVerb::Enroll { verb: EnrollVerb::Create { email, project, role, ttl } } => {
            Request::EnrollCreate { email, project, role, ttl_seconds: ttl.as_secs() }
        }
        AdminVerb::Enroll { verb: EnrollVerb::List } => Request::EnrollList,
        AdminVerb::Logins { verb: LoginsVerb::List } => Request::LoginsList,
        AdminVerb::Logins { verb: LoginsVerb::Approve { code } } => {
            Request::LoginsDecide { id: code, approve: true }
        }
        AdminVerb::Logins { verb: LoginsVerb::Deny { code } } => {
            Request::LoginsDecide { id: code, approve: false }
        }
        AdminVerb::Mail { verb: MailVerb::Test { to } } => Request::MailTest { to },
        AdminVerb::Tls { verb: TlsVerb::Status } => Request::TlsStatus,
        AdminVerb::Tls { verb: TlsVerb::Renew } => Request::TlsRenew,
        AdminVerb::Quarantine { verb: QuarantineVerb::List { project, after, limit } } => {
            Request::QuarantineList { project, after, limit }
        }
        AdminVerb::Quarantine { verb: QuarantineVerb::Replay { project } } => {
            Request::QuarantineReplay { project }
        }
        AdminVerb::Maintenance { turn } => Request::Maintenance {
            turn: match turn {
                Switch::On => Turn::On,
                Switch::Off => Turn::Off,
                Switch::Status => Turn::Status,
            },
        },
    })
}

/// All of standard input but its last line break.
fn from_standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    if std::io::stdin().is_terminal() {
        complain("type the text that must go, then Enter and Ctrl-D:\n");
    }
    std::io::stdin().lock().take(LONGEST_TEXT + 1).read_to_string(&mut text).map_err(anyhow::Error::from)?;
    let text = text.replace("\r\n", "\n");
    let bare = text.strip_suffix('\n').unwrap_or(&text);
    if text.len() as u64 > LONGEST_TEXT {
        return Err(
            anyhow::anyhow!("the text is longer than {LONGEST_TEXT} bytes; a part of it will do").into()
        );
    }
    Ok(bare.to_string())
}
