//! The canary: a real event through a real server and out again, in a throw-away project (DESIGN 8).
//!
//! Duty: the one green line a person may trust. Each phase is a check of its own with its own time, so that a failure
//! names the phase: name, connection, TLS, identity, login, push, read, digest, tombstone.
//! Invariant: nothing of the person's is read or written; both devices live in memory and are forgotten.
//! Danger: the key goes only to a server that passed the identity phase.

use crate::ambient::{Ambient, fresh_id};
use crate::config::Logins;
use crate::http::Server;
use crate::identity::{self, IdentityError};
use crate::store::{Device, Store};
use crate::sync::{Gate, Sync, SyncError, link, transport_remedy};
use crate::transport::{Transport, TransportError};
use crate::write::NewIssue;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use td_doctor::{Check, Finding, Remedy, Report, Verdict};
use td_engine::db::ProjectDb;
use td_engine::id::{DeviceId, ProjectId, SessionId};

/// Name of the hidden project; lists leave it out.
pub const PROJECT_NAME: &str = "td-sync canary";
/// A canary log longer than this is left behind for a new one, so that reading it back stays quick.
const LONG_LOG: i64 = 2000;
const LIMIT: Duration = Duration::from_secs(35);

/// What a canary flight needs.
#[derive(Clone)]
pub struct Canary {
    /// The server, with the key to fly with.
    pub server: Server,
    /// Pinned identity (base64), if the server was connected by link.
    pub pinned: Option<String>,
    /// Where the canary project's id is remembered.
    pub logins: Logins,
    /// Time and chance.
    pub ambient: Arc<dyn Ambient>,
    /// Name this program is installed as.
    pub td: String,
}

#[derive(Default)]
struct Flight {
    addresses: Vec<SocketAddr>,
    project: Option<ProjectId>,
    devices: Option<(Store, Store)>,
    issue: String,
}

type Shared = Arc<Mutex<Flight>>;

impl Canary {
    /// One flight; `report.ok` is the verdict.
    pub fn fly(self) -> Report {
        td_doctor::run(self.checks(), &mut |_| {})
    }

    /// The phases, to be run in this order by a doctor.
    pub fn checks(self) -> Vec<Check> {
        let flight = Shared::default();
        let tls = self.server.url().is_tls();
        let phase = |id, title, run: fn(&Canary, &mut Flight) -> Verdict| {
            let (canary, flight) = (self.clone(), flight.clone());
            Check::new(id, title, move || {
                run(&canary, &mut flight.lock().unwrap_or_else(PoisonError::into_inner))
            })
            .limit(LIMIT)
        };
        let channel: &'static [&'static str] =
            if tls { &["e2e.roundtrip.tls"] } else { &["e2e.roundtrip.connect"] };
        vec![
            phase("e2e.roundtrip.resolve", "the server's name has an address", Canary::resolve),
            phase("e2e.roundtrip.connect", "something listens there", Canary::connect)
                .after(&["e2e.roundtrip.resolve"]),
            phase("e2e.roundtrip.tls", "the channel is encrypted and the certificate is right", Canary::tls)
                .after(&["e2e.roundtrip.connect"]),
            phase("e2e.roundtrip.identity", "it is the server we know", Canary::identity).after(channel),
            phase("e2e.roundtrip.authenticate", "it accepts our login", Canary::authenticate)
                .after(&["e2e.roundtrip.identity"]),
            phase("e2e.roundtrip.push", "it takes an event", Canary::push)
                .after(&["e2e.roundtrip.authenticate"]),
            phase("e2e.roundtrip.read", "another device gets the event", Canary::read)
                .after(&["e2e.roundtrip.push"]),
            phase("e2e.roundtrip.digest", "server and device have the same state", Canary::digest)
                .after(&["e2e.roundtrip.read"]),
            phase("e2e.roundtrip.tombstone", "the event can be taken away again", Canary::tombstone)
                .after(&["e2e.roundtrip.read"]),
        ]
    }

    fn fail(&self, cause: impl std::fmt::Display, remedy: impl Into<String>) -> Verdict {
        Verdict::Fail(Finding::new(cause.to_string(), Remedy::command(remedy)))
    }

    fn fail_sync(&self, error: &SyncError) -> Verdict {
        self.fail(error, error.remedy(&self.td))
    }

    fn fail_transport(&self, error: &TransportError) -> Verdict {
        self.fail(error, transport_remedy(error, &self.td))
    }

    fn resolve(&self, flight: &mut Flight) -> Verdict {
        let (host, port) = self.server.url().host_port();
        match td_resolve::addresses(&host, port, Duration::from_secs(10)) {
            Ok(found) => {
                let text = found.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" ");
                flight.addresses = found;
                Verdict::Ok(text)
            }
            Err(error) => self.fail(error, format!("dig +short {host}")),
        }
    }

    fn connect(&self, flight: &mut Flight) -> Verdict {
        let mut last = None;
        for address in &flight.addresses {
            match TcpStream::connect_timeout(address, Duration::from_secs(10)) {
                Ok(_) => return Verdict::Ok(address.to_string()),
                Err(error) => last = Some(format!("{address}: {error}")),
            }
        }
        let why = last.unwrap_or_else(|| "no address".into());
        self.fail(format!("no connection to {}: {why}", self.server.url()), "td-sync-setup status")
    }

    fn tls(&self, _: &mut Flight) -> Verdict {
        if !self.server.url().is_tls() {
            let why = if self.server.url().is_loopback() { "on this machine only" } else { "plain HTTP" };
            return Verdict::Skip(why.into());
        }
        match self.server.health() {
            Ok(()) => Verdict::Ok("verified".into()),
            Err(error) => self.fail_transport(&error),
        }
    }

    fn identity(&self, _: &mut Flight) -> Verdict {
        let expected = self.pinned.as_deref().map(identity::fingerprint);
        let proven = match &expected {
            Some(fingerprint) => identity::expect(&self.server, &*self.ambient, fingerprint),
            None => identity::prove(&self.server, &*self.ambient),
        };
        match (proven, expected) {
            (Ok(key), Some(_)) => Verdict::Ok(key.fingerprint()),
            (Ok(key), None) => Verdict::Warn(
                Finding::new(
                    "this login was not made by a link, so there is nothing to compare the server's key with",
                    Remedy::command(format!("{} connect LINK", self.td)),
                )
                .value(key.fingerprint()),
            ),
            (Err(IdentityError::Transport(TransportError::Refused { status: 404, .. })), None) => {
                Verdict::Warn(Finding::new(
                    "this server cannot prove its identity; it is not one of td-sync's",
                    Remedy::command("td-sync-setup setup"),
                ))
            }
            (Err(error @ IdentityError::Other { .. }), _) => self.fail(error, format!("{} resync", self.td)),
            (Err(error), _) => self.fail(error, "td-sync-setup doctor"),
        }
    }

    fn authenticate(&self, flight: &mut Flight) -> Verdict {
        match self.find_project() {
            Ok(project) => {
                let text = project.to_string();
                flight.project = Some(project);
                Verdict::Ok(text)
            }
            Err(SyncError::Transport(error)) => self.fail_transport(&error),
            Err(error) => self.fail_sync(&error),
        }
    }

    /// The remembered project, else the one of that name, else a new one.
    fn find_project(&self) -> Result<ProjectId, SyncError> {
        let config = |e| SyncError::Store(crate::store::StoreError::Config(e));
        let file = self.logins.read().map_err(config)?;
        let remembered = file.servers.get(self.server.url()).and_then(|l| l.canary.clone());
        let listed = self.server.projects()?;
        let named =
            listed.iter().filter(|p| p.name == PROJECT_NAME).filter_map(|p| ProjectId::parse(&p.id).ok());
        for project in remembered.iter().cloned().chain(named) {
            let is_listed = listed.iter().any(|p| p.id == project.as_str());
            if is_listed && self.server.status(&project)?.event_count < LONG_LOG {
                self.remember(&project).map_err(config)?;
                return Ok(project);
            }
        }
        let text = "What doctors send events through. It can be deleted at any time.";
        let made = self.server.create_project(PROJECT_NAME, text)?;
        let project = ProjectId::parse(&made.id)?;
        self.remember(&project).map_err(config)?;
        Ok(project)
    }

    fn remember(&self, project: &ProjectId) -> Result<(), crate::config::ConfigError> {
        let known = self.logins.read()?;
        let url = self.server.url();
        if known.servers.get(url).and_then(|l| l.canary.as_ref()) == Some(project) {
            return Ok(());
        }
        self.logins.update(|file| file.servers.entry(url.clone()).or_default().canary = Some(project.clone()))
    }

    fn push(&self, flight: &mut Flight) -> Verdict {
        let Some(project) = flight.project.clone() else { return Verdict::Skip("no project".into()) };
        let work = || -> Result<_, SyncError> {
            let (mut a, b) = (self.device(&project)?, self.device(&project)?);
            self.with(&mut a, |s| s.pull().map(drop))?;
            let new = NewIssue { title: "a canary of td doctor".into(), ..NewIssue::default() };
            let issue = a.create_issue(new).map_err(|e| SyncError::Nonsense(e.to_string()))?;
            let pushed = self.with(&mut a, |s| s.push())?;
            Ok((a, b, issue.id, pushed))
        };
        match work() {
            Ok((_, _, _, pushed)) if pushed.accepted != 1 => {
                self.fail(format!("the server did not take the event: {pushed:?}"), "td-sync doctor")
            }
            Ok((a, b, issue, _)) => {
                let text = issue.clone();
                (flight.devices, flight.issue) = (Some((a, b)), issue);
                Verdict::Ok(text)
            }
            Err(error) => self.fail_sync(&error),
        }
    }

    fn read(&self, flight: &mut Flight) -> Verdict {
        let Some((_, b)) = &mut flight.devices else { return Verdict::Skip("nothing was pushed".into()) };
        match self.with(b, |s| s.pull()) {
            Err(error) => self.fail_sync(&error),
            Ok(pulled) if b.issue(&flight.issue).is_err() => self.fail(
                format!("the event was taken but did not come back (cursor {})", pulled.cursor),
                "td-sync doctor",
            ),
            Ok(pulled) => Verdict::Ok(format!("sequence {}", pulled.cursor)),
        }
    }

    fn digest(&self, flight: &mut Flight) -> Verdict {
        let Some((_, b)) = &mut flight.devices else { return Verdict::Skip("nothing was pushed".into()) };
        match self.with(b, |s| s.status(None)) {
            Err(error) => self.fail_sync(&error),
            Ok(status) => match (status.in_step, status.digest) {
                (Some(true), Some(at)) => {
                    Verdict::Ok(format!("{} at {}", at.value.get(..12).unwrap_or(""), at.seq))
                }
                (Some(false), _) => {
                    self.fail("the server's state is not the device's at the same sequence", "td-sync doctor")
                }
                // Somebody else flew through the same project in between, or the server is a reference one.
                _ => Verdict::Warn(Finding::new(
                    "the server gave no digest at this sequence",
                    Remedy::command(format!("{} doctor", self.td)),
                )),
            },
        }
    }

    fn tombstone(&self, flight: &mut Flight) -> Verdict {
        let issue = flight.issue.clone();
        let Some((a, b)) = &mut flight.devices else { return Verdict::Skip("nothing was pushed".into()) };
        let mut work = || -> Result<bool, SyncError> {
            a.delete_issue(&issue).map_err(|e| SyncError::Nonsense(e.to_string()))?;
            self.with(a, |s| s.push())?;
            self.with(b, |s| s.pull())?;
            Ok(b.issue(&issue).is_ok_and(|i| i.deleted_at.is_some()))
        };
        match work() {
            Ok(true) => Verdict::Ok("gone on both devices".into()),
            Ok(false) => self.fail("the deletion did not reach the other device", "td-sync doctor"),
            Err(error) => self.fail_sync(&error),
        }
    }

    fn device(&self, project: &ProjectId) -> Result<Store, SyncError> {
        let db = ProjectDb::in_memory(self.ambient.now()).map_err(crate::store::StoreError::from)?;
        let name = |prefix| fresh_id(&*self.ambient, prefix, 12);
        let device = Device {
            id: DeviceId::new(name("canary-"))?,
            session: SessionId::new(name("ses_"))?,
            actor: "user:local".into(),
            origin: "canary".into(),
        };
        let mut store = Store::new(db, device, self.ambient.clone(), None)?;
        link(&mut store, project)?;
        Ok(store)
    }

    fn with<R>(
        &self,
        store: &mut Store,
        work: impl FnOnce(&mut Sync<'_, &Server>) -> Result<R, SyncError>,
    ) -> Result<R, SyncError> {
        work(&mut Sync::open(store, &self.server, Gate::in_memory(), None)?)
    }
}
