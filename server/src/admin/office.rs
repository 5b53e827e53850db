//! Answers requests over an open control store.

use super::{AdminError, Reply, Request, Turn, backup, logins, one_line, quarantine};
use crate::auth::{Role, SCOPES, Scopes};
use crate::clock::later;
use crate::config::Config;
use crate::control::{Change, Control, NewEnrolment, NewKey, Project, User};
use crate::datadir::DataDir;
use crate::http::App;
use crate::identity::Identity;
use crate::secret;
use serde_json::json;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use td_engine::id::Seq;

/// Longest life of an enrolment link: a day. A link is a password in a chat window.
const LONGEST_TTL: u64 = 86_400;

/// Who answers: the server that holds the data directory, or a command that took it for a moment.
pub enum Office {
    /// Inside a running server.
    Server(Arc<App>),
    /// A command on its own.
    Alone(Box<Alone>),
}

/// What a command takes for the moment of its request.
pub struct Alone {
    /// Settings.
    pub config: Config,
    /// The directory, held.
    pub dir: DataDir,
    /// Its key.
    pub identity: Identity,
    /// Its control store.
    pub control: Control,
}

pub(super) type Answer = Result<Reply, AdminError>;

impl Office {
    /// Of a running server.
    pub fn of_server(app: Arc<App>) -> Self {
        Self::Server(app)
    }

    pub(super) fn control(&self) -> &Control {
        match self {
            Self::Server(app) => &app.control,
            Self::Alone(alone) => &alone.control,
        }
    }

    pub(super) fn config(&self) -> &Config {
        match self {
            Self::Server(app) => &app.config,
            Self::Alone(alone) => &alone.config,
        }
    }

    pub(super) fn dir(&self) -> &DataDir {
        match self {
            Self::Server(app) => &app.dir,
            Self::Alone(alone) => &alone.dir,
        }
    }

    fn identity(&self) -> &Identity {
        match self {
            Self::Server(app) => &app.identity,
            Self::Alone(alone) => &alone.identity,
        }
    }

    /// Answers. Blocks, but for closing the gate, which the caller does first ([`Office::prepare`]).
    pub fn answer(&self, request: &Request) -> Answer {
        match request {
            Request::CreateUser { email } => self.create_user(email),
            Request::Grant { email } => self.set_admin(email, true),
            Request::Revoke { email } => self.set_admin(email, false),
            Request::CreateKey { email, name, scopes } => self.create_key(email, name, scopes),
            Request::RevokeKey { email, key_id } => {
                let user = self.user(email)?;
                self.revoke_key(key_id, &format!("revoked key {key_id} from {}", user.email))
            }
            Request::UsersList => self.users(),
            Request::UsersDelete { user, with_projects } => self.delete_user(user, *with_projects),
            Request::KeysList { email } => self.keys(email.as_deref()),
            Request::KeysRevoke { key_id } => self.revoke_key(key_id, &format!("revoked key {key_id}")),
            Request::DevicesList { email } => self.devices(email.as_deref()),
            Request::DevicesRevoke { id, all_of } => self.revoke_devices(id.as_deref(), all_of.as_deref()),
            Request::ProjectsList { deleted } => self.projects(*deleted),
            Request::ProjectsDelete { project } => self.delete_project(project),
            Request::ProjectsUndelete { project, owner } => self.undelete_project(project, owner.as_deref()),
            Request::ProjectsPurge { project } => self.purge_project(project),
            Request::Redact { project, text, dry_run } => self.redact(project, text, *dry_run),
            Request::EnrollCreate { email, project, role, ttl_seconds } => {
                self.enroll(email.as_deref(), project.as_deref(), role.as_deref(), *ttl_seconds)
            }
            Request::EnrollList => self.enrolments(),
            Request::LoginsList => logins::list(self.control()),
            Request::LoginsDecide { id, approve } => logins::decide(self.control(), id, *approve),
            Request::Maintenance { turn } => self.maintenance(*turn),
            Request::BackupExport { to } => self.backup(to),
            Request::MailTest { to } => self.mail_test(to),
            Request::TlsStatus => self.tls_status(),
            Request::TlsRenew => self.tls_renew(),
            Request::QuarantineList { project, after, limit } => {
                quarantine::list(self, &self.project(project)?, Seq(*after), *limit)
            }
            Request::QuarantineReplay { project } => quarantine::replay(self, &self.project(project)?),
            Request::Standing => self.standing(),
        }
    }

    /// What has to be awaited before [`Office::answer`] may block.
    pub async fn prepare(&self, request: &Request) -> Result<(), AdminError> {
        match (self, request) {
            (Self::Server(app), Request::Maintenance { turn: Turn::On }) if !app.gate.close().await => {
                let message =
                    "a write that was under way did not end; maintenance is off: give the command again";
                Err(AdminError::new("write_under_way", message).remedy("td-sync admin maintenance on"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn user(&self, email: &str) -> Result<User, AdminError> {
        let found = self.control().store().user_by_email(required("email", email)?)?;
        found.ok_or_else(|| {
            AdminError::new("user_not_found", format!("user not found: {email}"))
                .remedy("td-sync admin users list")
        })
    }

    fn create_user(&self, email: &str) -> Answer {
        let (email, now) = (address(email)?, self.control().now());
        let (user, made) = self.control().change_now(|s| s.ensure_user(&email, true, now))?;
        let what = if made { "created user" } else { "user already exists:" };
        let text = format!("{what} {} ({})\n", user.email, user.id);
        let json = json!({"id": user.id, "email": user.email, "is_admin": user.is_admin, "created": made});
        Ok(Reply { text, json })
    }

    fn set_admin(&self, email: &str, admin: bool) -> Answer {
        let (user, now) = (self.user(email)?, self.control().now());
        let text = match self.control().change_now(|s| s.set_admin(&user.id, admin, now))? {
            Change::Done if admin => format!("granted admin to {}\n", user.email),
            Change::Done => format!("revoked admin from {}\n", user.email),
            Change::Last => return Err(AdminError::new("last_admin", "cannot revoke last admin")),
            Change::Unknown => {
                return Err(AdminError::new("user_not_found", format!("user not found: {email}")));
            }
        };
        Ok(Reply { text, json: json!({"id": user.id, "email": user.email, "is_admin": admin}) })
    }

    fn create_key(&self, email: &str, name: &str, scopes: &str) -> Answer {
        required("name", name)?;
        let (user, now) = (self.user(email)?, self.control().now());
        if !user.is_admin {
            let message = format!("user {email} is not an admin");
            return Err(AdminError::new("not_an_admin", message)
                .remedy(format!("td-sync admin enroll create --email {}", user.email)));
        }
        // Given but empty is the default, as in the reference: a key that may do nothing is what nobody asks for.
        let scopes = Scopes::parse(if scopes.trim().is_empty() { "sync" } else { scopes })
            .map_err(|part| AdminError::new("invalid_scope", format!("invalid scope: \"{part}\"")))
            .map_err(|e| e.remedy(format!("give some of {}, separated by commas", SCOPES.join(", "))))?;
        let key = NewKey::make(name, scopes, None)?;
        let id = self.control().change_now(|s| s.create_key(&user.id, &key, now))?;
        let mut text = format!("created API key for {}\n", user.email);
        let _ = write!(text, "  name:   {name}\n  scopes: {}\n  key:    {}\n", key.scopes, *key.plaintext);
        text.push_str("\nSave this key now -- it will not be shown again.\n");
        let json = json!({"id": id, "email": user.email, "user_id": user.id, "name": name,
            "scopes": key.scopes.to_string(), "api_key": *key.plaintext});
        Ok(Reply { text, json })
    }

    fn revoke_key(&self, key_id: &str, done: &str) -> Answer {
        required("key-id", key_id)?;
        match self.control().change_now(|s| s.revoke_key(key_id))? {
            Change::Done => {
                Ok(Reply { text: format!("{done}\n"), json: json!({"id": key_id, "revoked": true}) })
            }
            _ => {
                Err(AdminError::new("key_not_found", format!("key not found: {key_id}")).remedy(match key_id
                    .starts_with("tk_")
                {
                    true => "td-sync admin devices revoke ID (it is a token)",
                    false => "td-sync admin keys list",
                }))
            }
        }
    }

    fn keys(&self, email: Option<&str>) -> Answer {
        // Use that is not written down yet counts too.
        self.control().flush()?;
        let user = email.map(|e| self.user(e)).transpose()?;
        let keys = self.control().store().keys(user.as_ref().map(|u| u.id.as_str()))?;
        let mut text = String::new();
        for k in &keys {
            let used = k.last_used_at.map_or("never used".into(), |t| format!("used {}", t.rfc3339s_utc()));
            let _ = writeln!(text, "{}  {}…  {}\n    {}  {used}", k.id, k.prefix, one_line(&k.name), k.email);
        }
        Ok(Reply { text, json: json!(keys) })
    }

    fn enroll(&self, email: Option<&str>, project: Option<&str>, role: Option<&str>, ttl: u64) -> Answer {
        if ttl == 0 || ttl > LONGEST_TTL {
            return Err(AdminError::new("invalid_ttl", "--ttl must be between 1s and 24h"));
        }
        let project = project.map(|p| self.project(p)).transpose()?;
        let role = match (role, &project) {
            (Some(_), None) => {
                return Err(AdminError::new("role_without_project", "--role says nothing without --project"));
            }
            (Some(word), Some(_)) => Role::parse(word).ok_or_else(|| {
                AdminError::new("invalid_role", format!("no such role: {word} (reader, writer, owner)"))
            })?,
            (None, _) => Role::Writer,
        };
        let now = self.control().now();
        let user = self.enrolled(email)?;
        let secret = secret::enrolment().map_err(crate::control::ControlError::from)?;
        let new = NewEnrolment {
            secret_hash: secret::hash(&secret),
            user_id: user.id.clone(),
            project: project.as_ref().map(|p| (p.id.clone(), role)),
            expires_at: later(now, Duration::from_secs(ttl)),
        };
        let id = self.control().change_now(|s| s.create_enrolment(&new, now))?;
        let link = format!("{}/connect#{secret}.{}", self.config().base_url, self.identity().fingerprint());
        let expires = new.expires_at.rfc3339s_utc();
        let json = json!({"id": id, "link": link, "email": user.email, "user_id": user.id, "expires_at": expires,
            "project_id": project.as_ref().map(|p| &p.id), "role": project.as_ref().map(|_| role.as_str())});
        let mut text = format!("{link}\n\nConnects one device as {}, until {expires}:\n", user.email);
        let _ = writeln!(text, "  td connect '{link}'");
        Ok(Reply { text, json })
    }

    /// For whom a link is: the given address, made if unknown; else the oldest admin, made if there is nobody at all.
    fn enrolled(&self, email: Option<&str>) -> Result<User, AdminError> {
        let now = self.control().now();
        if let Some(email) = email {
            let email = address(email)?;
            return Ok(self.control().change_now(|s| s.ensure_user(&email, true, now))?.0);
        }
        let users = self.control().store().users()?;
        match users.into_iter().find(|u| u.is_admin) {
            Some(admin) => Ok(admin),
            None => Ok(self.control().change_now(|s| s.ensure_user("admin@localhost", true, now))?.0),
        }
    }

    pub(super) fn project(&self, given: &str) -> Result<Project, AdminError> {
        self.project_among(given, false)
    }

    /// The project with this id, slug or name, among those that are deleted or those that are not.
    pub(super) fn project_among(&self, given: &str, deleted: bool) -> Result<Project, AdminError> {
        let all = self.control().store().projects()?.into_iter();
        let named = all.filter(|p| [&p.id, &p.slug, &p.name].into_iter().any(|n| n == given));
        let (mut found, others): (Vec<Project>, Vec<Project>) =
            named.partition(|p| p.deleted_at.is_some() == deleted);
        let (what, list) = match (deleted, others.is_empty()) {
            (false, true) => ("no such project", "td-sync admin projects list"),
            (false, false) => ("this project is deleted", "td-sync admin projects undelete PROJECT"),
            (true, true) => ("no such deleted project", "td-sync admin projects list --deleted"),
            (true, false) => ("this project is not deleted", "td-sync admin projects list"),
        };
        let unclear =
            |what: &str| AdminError::new("project_not_found", format!("{what}: {given}")).remedy(list);
        match found.len() {
            0 => Err(unclear(what)),
            1 => Ok(found.remove(0)),
            _ => Err(unclear("more than one project has this name; use its id")),
        }
    }

    fn enrolments(&self) -> Answer {
        let (links, now) = (self.control().store().enrolments()?, self.control().now());
        let mut text = String::new();
        for e in &links {
            let state = match e.used_at {
                Some(at) => format!("used {}", at.rfc3339s_utc()),
                None if e.expires_at.unix_nanos() < now.unix_nanos() => "expired".into(),
                None => format!("open until {}", e.expires_at.rfc3339s_utc()),
            };
            let _ = writeln!(text, "{}  {state}  {}", e.id, e.email);
        }
        Ok(Reply { text, json: json!(links) })
    }

    fn maintenance(&self, turn: Turn) -> Answer {
        let Self::Server(app) = self else {
            return Err(AdminError::new(
                "not_running",
                "the server is not running, so there is nothing to hold",
            )
            .remedy("td-sync serve"));
        };
        if turn == Turn::Off {
            app.gate.open();
        }
        let on = app.gate.is_closed();
        let text = if on { "maintenance is on: writes are held\n" } else { "maintenance is off\n" };
        Ok(Reply { text: text.into(), json: json!({"maintenance": on}) })
    }

    fn backup(&self, to: &Path) -> Answer {
        self.control().flush()?;
        backup::export(self.config(), self.dir(), self.control(), to)
    }

    fn standing(&self) -> Answer {
        let Self::Server(app) = self else {
            return Err(AdminError::new("not_running", "the server is not running"));
        };
        let lag: Vec<_> = app
            .projects
            .lag()
            .into_iter()
            .map(|p| {
                json!({"project": p.project, "applied": p.applied, "head": p.head.seq,
                    "recorded": p.recorded})
            })
            .collect();
        Ok(Reply { text: String::new(), json: json!({"maintenance": app.gate.is_closed(), "projects": lag}) })
    }
}

fn required<'a>(flag: &str, value: &'a str) -> Result<&'a str, AdminError> {
    if value.is_empty() { Err(AdminError::new("usage", format!("--{flag} is required"))) } else { Ok(value) }
}

/// An account is named by one bare address (server-protocol W31).
pub(super) fn address(email: &str) -> Result<String, AdminError> {
    required("email", email.trim())?;
    let invalid =
        || AdminError::new("invalid_email", format!("not an address: {email:?} (as ana@example.org)"));
    crate::auth::address(email).ok_or_else(invalid)
}
