//! What `td doctor` looks at on this machine and in this project (deploy-ops 12.1).
//!
//! Duty: each check one question with one answer, a cause and a command.
//! Invariant: looking changes nothing; a server gets the key only after its identity was right.

use crate::ambient::Ambient;
use crate::config::{Choice, Logins};
use crate::http::Server;
use crate::identity::{self, IdentityError};
use crate::project::Project;
use crate::sync::{Status, SyncError, transport_remedy};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use td_doctor::{Check, Finding, Remedy, Verdict};
use td_engine::time::ClientTime;

/// What the checks are about.
#[derive(Clone)]
pub struct Subject {
    /// Name this program is installed as.
    pub td: String,
    /// Our login file.
    pub logins: Logins,
    /// The server and login this place uses.
    pub choice: Option<Choice>,
    /// The project folder, if there is one here.
    pub base: Option<PathBuf>,
    /// Time and chance.
    pub ambient: Arc<dyn Ambient>,
}

const ONLINE: Duration = Duration::from_secs(35);

impl Subject {
    /// Checks of login and server.
    pub fn login_checks(&self) -> Vec<Check> {
        let check = |id, title, run: fn(&Subject) -> Verdict| {
            let subject = self.clone();
            Check::new(id, title, move || run(&subject)).limit(ONLINE)
        };
        vec![
            check("client.auth.present", "this machine has a login", Subject::auth_present),
            check(
                "client.server.identity",
                "the server is the one that was pinned",
                Subject::server_identity,
            )
            .after(&["client.auth.present"]),
            check("client.auth.valid", "the server accepts the login", Subject::auth_valid)
                .after(&["client.server.identity"]),
            check("client.channel", "the channel to the server is private", Subject::channel)
                .after(&["client.auth.present"]),
        ]
    }

    /// Checks of the project here; each is skipped where there is none.
    pub fn project_checks(&self) -> Vec<Check> {
        let check = |id, title, run: fn(&Subject, &mut Project) -> Verdict| {
            let subject = self.clone();
            Check::new(id, title, move || subject.in_project(run)).limit(ONLINE)
        };
        vec![
            check("client.db.integrity", "the project's database is whole", Subject::integrity),
            check("client.db.fk", "no row refers to something that is not there", Subject::foreign_keys)
                .after(&["client.db.integrity"]),
            check("client.link", "the project is linked to one on the server", Subject::link)
                .after(&["client.db.integrity"]),
            check("client.pending", "nothing waits to be sent for long", Subject::pending)
                .after(&["client.link"]),
            check("client.rejected", "the server takes everything", Subject::rejected)
                .after(&["client.link"]),
            check("client.skipped", "every event of the log could be applied", Subject::skipped)
                .after(&["client.link"]),
            check("client.conflicts", "losing sides that are kept", Subject::conflicts)
                .after(&["client.link"]),
            check(
                "client.link.exists",
                "the project exists there, in the same history",
                Subject::link_exists,
            )
            .after(&["client.link", "client.auth.valid"]),
            check("e2e.digest", "this copy and the server have the same state", Subject::same_digest)
                .after(&["client.link.exists"]),
        ]
    }

    fn finding(&self, cause: impl std::fmt::Display, remedy: impl Into<String>) -> Finding {
        Finding::new(cause.to_string(), Remedy::command(remedy))
    }

    fn td(&self, rest: &str) -> String {
        format!("{} {rest}", self.td)
    }

    fn server(&self) -> Result<Server, Verdict> {
        let Some(choice) = &self.choice else { return Err(Verdict::Skip("no server is known here".into())) };
        let ca = choice.login.as_ref().and_then(|l| l.ca_file.as_deref());
        Server::new(choice.url.clone(), ca, choice.key.clone())
            .map_err(|e| Verdict::Fail(self.finding(&e, transport_remedy(&e, &self.td))))
    }

    fn auth_present(&self) -> Verdict {
        let connect = self.td("connect LINK");
        let Some(choice) = &self.choice else {
            return Verdict::Warn(self.finding("this machine is not connected to any server", connect));
        };
        if choice.key.is_none() {
            let cause = format!("there is no login for {} ({})", choice.url, choice.url_source.as_str());
            return Verdict::Fail(self.finding(cause, connect));
        }
        let path = self.logins.path();
        match std::fs::metadata(path).map(|m| m.permissions().mode() & 0o777) {
            Ok(mode) if mode & 0o077 != 0 => Verdict::Warn(
                self.finding(
                    "other users of this machine can read your key",
                    format!("chmod 600 {}", path.display()),
                )
                .value(format!("{} has mode {mode:03o}", path.display())),
            ),
            _ => {
                Verdict::Ok(format!("{} at {}", choice.email.as_deref().unwrap_or(&choice.actor), choice.url))
            }
        }
    }

    fn server_identity(&self) -> Verdict {
        let server = match self.server() {
            Ok(server) => server,
            Err(verdict) => return verdict,
        };
        let pinned = self.choice.as_ref().and_then(|c| c.login.as_ref()?.public_key.clone());
        let Some(pinned) = pinned else {
            return Verdict::Warn(self.finding(
                "this login was not made by a link, so nothing was pinned",
                self.td("connect LINK"),
            ));
        };
        match identity::expect(&server, &*self.ambient, &identity::fingerprint(&pinned)) {
            Ok(key) => Verdict::Ok(key.fingerprint()),
            Err(IdentityError::Transport(e)) => {
                Verdict::Fail(self.finding(&e, transport_remedy(&e, &self.td)))
            }
            Err(e) => Verdict::Fail(self.finding(e, self.td("resync"))),
        }
    }

    fn auth_valid(&self) -> Verdict {
        let server = match self.server() {
            Ok(server) => server,
            Err(verdict) => return verdict,
        };
        if let Err(e) = server.projects() {
            return Verdict::Fail(self.finding(&e, transport_remedy(&e, &self.td)));
        }
        let ends = self.choice.as_ref().and_then(|c| c.login.as_ref()?.expires_at.clone());
        let Some(end) = ends.as_deref().and_then(|t| ClientTime::parse_stored(t).ok()) else {
            return Verdict::Ok("accepted".into());
        };
        let days = (end.unix_nanos() - self.ambient.now().unix_nanos()) / 86_400_000_000_000;
        if days < 14 {
            let cause = format!("the login ends in {days} days");
            return Verdict::Warn(self.finding(cause, self.td("connect LINK")).value(end.rfc3339n()));
        }
        Verdict::Ok(format!("accepted, {days} days left"))
    }

    fn channel(&self) -> Verdict {
        match &self.choice {
            None => Verdict::Skip("no server is known here".into()),
            Some(c) if c.url.is_tls() => Verdict::Ok("TLS".into()),
            Some(c) if c.url.is_loopback() => Verdict::Ok("plain HTTP on this machine".into()),
            Some(c) => Verdict::Warn(
                self.finding("the key and all changes travel unencrypted", "td-sync-setup setup")
                    .value(c.url.as_str()),
            ),
        }
    }

    fn in_project(&self, run: fn(&Subject, &mut Project) -> Verdict) -> Verdict {
        let Some(base) = &self.base else { return Verdict::Skip("not in a project folder".into()) };
        match Project::is_known(base) {
            Ok(true) => {}
            // Opening it for writing would make it ours, and a doctor changes nothing.
            Ok(false) => {
                return Verdict::Skip("Go td made this project and ours has not been used in it".into());
            }
            Err(error) => return Verdict::Fail(self.finding(&error, error.remedy(&self.td))),
        }
        match Project::open(base, self.ambient.clone()) {
            Ok(mut project) => run(self, &mut project),
            Err(error) => Verdict::Fail(self.finding(&error, error.remedy(&self.td))),
        }
    }

    fn status(&self, project: &mut Project) -> Result<Status, Verdict> {
        Status::local(&mut project.store, None).map_err(|e| self.failed(&e))
    }

    fn failed(&self, error: &SyncError) -> Verdict {
        Verdict::Fail(self.finding(error, error.remedy(&self.td)))
    }

    fn integrity(&self, project: &mut Project) -> Verdict {
        match project.store.quick_check() {
            Ok(()) => Verdict::Ok(display(project.base())),
            Err(error) => Verdict::Fail(self.finding(&error, error.remedy(&self.td))),
        }
    }

    fn foreign_keys(&self, project: &mut Project) -> Verdict {
        let count =
            project
                .store
                .conn()
                .query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |r| r.get::<_, i64>(0));
        match count {
            Ok(0) => Verdict::Ok("none".into()),
            Ok(n) => {
                Verdict::Fail(self.finding(format!("{n} rows refer to missing ones"), self.td("resync")))
            }
            Err(e) => Verdict::Fail(self.finding(e, self.td("doctor"))),
        }
    }

    fn link(&self, project: &mut Project) -> Verdict {
        match self.status(project) {
            Ok(Status { project: Some(id), .. }) => Verdict::Ok(id),
            Ok(_) => Verdict::Warn(self.finding(
                "this project is not linked; its changes stay on this machine",
                self.td("sync-project create NAME"),
            )),
            Err(verdict) => verdict,
        }
    }

    fn pending(&self, project: &mut Project) -> Verdict {
        let status = match self.status(project) {
            Ok(status) => status,
            Err(verdict) => return verdict,
        };
        let Some(oldest) = status.oldest_pending.as_deref().and_then(|t| ClientTime::parse_stored(t).ok())
        else {
            return Verdict::Ok("0".into());
        };
        let hours = (self.ambient.now().unix_nanos() - oldest.unix_nanos()) / 3_600_000_000_000;
        let value = format!("{}, the oldest for {hours} h", status.pending);
        if hours >= 24 {
            let cause = "changes have been waiting to be sent for more than a day";
            return Verdict::Warn(self.finding(cause, self.td("sync")).value(value));
        }
        Verdict::Ok(value)
    }

    fn rejected(&self, project: &mut Project) -> Verdict {
        match self.status(project) {
            Err(verdict) => verdict,
            Ok(status) => match status.rejected.first() {
                None => Verdict::Ok("yes".into()),
                Some(first) => Verdict::Warn(
                    self.finding(
                        format!(
                            "the server will never take {}/{}: {}",
                            first.entity_type, first.entity_id, first.reason
                        ),
                        self.td("sync --status"),
                    )
                    .value(format!("{} refused", status.rejected.len())),
                ),
            },
        }
    }

    fn skipped(&self, project: &mut Project) -> Verdict {
        match td_engine::replay::list_skipped(project.store.conn()) {
            Err(e) => Verdict::Fail(self.finding(e, self.td("doctor"))),
            Ok(events) => match events.first() {
                None => Verdict::Ok("yes".into()),
                Some(first) => Verdict::Warn(
                    self.finding(
                        format!("recorded and kept; first: sequence {}: {}", first.seq, first.error),
                        self.td("sync --status --json"),
                    )
                    .value(format!("{} events", events.len())),
                ),
            },
        }
    }

    fn conflicts(&self, project: &mut Project) -> Verdict {
        match self.status(project) {
            Ok(status) => Verdict::Ok(status.conflicts.to_string()),
            Err(verdict) => verdict,
        }
    }

    fn link_exists(&self, project: &mut Project) -> Verdict {
        let server = match self.server() {
            Ok(server) => server,
            Err(verdict) => return verdict,
        };
        match project.sync(server, |s| s.status(None)) {
            Ok(status) => {
                let (cursor, head) = (status.cursor.map_or(0, |c| c.0), status.head.map_or(0, |h| h.0));
                if cursor < head {
                    let cause = format!("this copy is behind: it is at {cursor} of {head}");
                    return Verdict::Warn(self.finding(cause, self.td("sync")));
                }
                Verdict::Ok(format!("head {head}"))
            }
            Err(SyncError::NotLinked) => Verdict::Skip("the project is not linked".into()),
            Err(error) => self.failed(&error),
        }
    }

    fn same_digest(&self, project: &mut Project) -> Verdict {
        let server = match self.server() {
            Ok(server) => server,
            Err(verdict) => return verdict,
        };
        match project.sync(server, |s| s.status(None)) {
            Ok(status) => match status.in_step {
                Some(true) => Verdict::Ok(status.digest.map(|d| d.value).unwrap_or_default()),
                Some(false) => Verdict::Fail(
                    self.finding("this copy and the server differ at the same sequence", self.td("resync")),
                ),
                None => Verdict::Skip("this copy is behind, or the server gives no digest".into()),
            },
            Err(error) => self.failed(&error),
        }
    }
}

fn display(path: &Path) -> String {
    path.display().to_string()
}
