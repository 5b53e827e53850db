//! The commands in the person's own folder of programs, and a login of this machine at its server.

use super::asking;
use super::places::{LOOK, PROGRAMS, Places};
use super::questions::{DEVICE, EMAIL};
use super::server_admin::admin_program;
use crate::error::{Finding, Remedy, Situation, StepError};
use crate::facts::Facts;
use crate::host::{EntryKind, Look, Program, Removed};
use crate::step::{Change, Diff, Kind, Outcome, Step, StepKey, StepTraits, UndoOutcome, Wanted};
use crate::steps::clearing;
use crate::steps::dirs::{Dirs, MadeDirs};
use crate::view::{Apply, Capture, Probe};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;
use td_client::ambient::System;
use td_client::config::{ConfigError, LoginFile, Logins};
use td_client::connect::{ConnectError, Link, connect};
use td_client::http::Server;
use td_client::server_url::ServerUrl;
use td_client::transport::TransportError;
use td_state::answers::Answers;
use td_state::shell;

pub(super) struct ClientConfig;

/// Commands and login.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Client {
    /// Links: where, and what they point to.
    links: Vec<(PathBuf, PathBuf)>,
    url: ServerUrl,
}

#[derive(Debug, Serialize)]
pub(super) struct Seen {
    /// Per link: what stands there.
    links: Vec<At>,
    login: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
enum At {
    Nothing,
    Ours,
    /// A link of another installation of ours.
    Former(PathBuf),
    Foreign,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Undo {
    dirs: MadeDirs,
    links: Vec<(PathBuf, PathBuf)>,
    url: ServerUrl,
    had_file: bool,
    had_login: bool,
    default: Option<ServerUrl>,
}

impl Step for ClientConfig {
    type Desired = Client;
    type Observed = Seen;
    type Undo = Undo;
    const KEY: StepKey = StepKey::CLIENT_CONFIG;
    const KIND: Kind = Kind::Mutation;
    const REV: u32 = 1;

    fn title(&self) -> String {
        "Install the commands and log this machine in".into()
    }

    fn why(&self) -> &'static str {
        "this machine is your first device; it enrols by the same kind of link that later devices use"
    }

    fn needs(&self) -> &'static [StepKey] {
        &[StepKey::SERVER_ADMIN]
    }

    fn traits(&self) -> StepTraits {
        StepTraits { time: Duration::from_secs(1), ..StepTraits::default() }
    }

    fn desired(&self, answers: &Answers, facts: &Facts) -> Result<Wanted<Client>, StepError> {
        let places = Places::of(answers, facts);
        let installed = |program: &str| if program == "td" { places.td.clone() } else { program.to_owned() };
        let link = |program: &&str| (places.bin.join(installed(program)), places.current.join(program));
        Ok(Wanted::This(Client { links: PROGRAMS.iter().map(link).collect(), url: url(&places)? }))
    }

    fn observe(&self, cx: &Probe<'_>, client: &Client) -> Result<Seen, StepError> {
        let places = Places::of(cx.answers(), cx.facts());
        let look = |(at, to): &(PathBuf, PathBuf)| -> Result<At, StepError> {
            let points_to = cx.read_link(at)?;
            Ok(match points_to {
                Some(points_to) if points_to == *to => At::Ours,
                Some(points_to) if points_to.file_name() == to.file_name() && is_ours(&points_to) => {
                    At::Former(points_to)
                }
                None if cx.stat(at)?.is_none() => At::Nothing,
                _ => At::Foreign,
            })
        };
        let links = client.links.iter().map(look).collect::<Result<_, _>>()?;
        Ok(Seen { links, login: login_works(&places, &client.url)? })
    }

    fn plan(&self, seen: &Seen, desired: Client) -> Change<Client> {
        let all = || seen.links.iter().zip(&desired.links);
        if let Some((_, (at, _))) = all().find(|(seen, _)| **seen == At::Foreign) {
            return Change::Blocked {
                code: "E-COMMAND-FOREIGN".into(),
                why: format!("{} is there and is not ours", at.display()),
                remedy: Remedy::run(
                    "move it away, or choose another folder for the commands",
                    "td-sync-setup setup --prefix DIR",
                ),
            };
        }
        let mut diff = Diff::default();
        for (seen, (at, to)) in all() {
            match seen {
                At::Ours | At::Foreign => {}
                At::Nothing => diff = diff.and(at.display().to_string(), "absent", to.display().to_string()),
                At::Former(old) => {
                    diff = diff.and(
                        at.display().to_string(),
                        old.display().to_string(),
                        to.display().to_string(),
                    );
                }
            }
        }
        if !seen.login {
            diff = diff.and("login", "none that works", format!("at {}", desired.url));
        }
        let nothing_yet = !seen.login && seen.links.iter().all(|link| *link == At::Nothing);
        match diff.0.is_empty() {
            true => Change::Noop,
            false if nothing_yet => Change::Create { desired },
            false => Change::Update { diff, desired },
        }
    }

    fn capture(&self, cx: &Capture<'_>, change: &Change<Client>) -> Result<Undo, StepError> {
        let places = Places::of(cx.answers(), cx.facts());
        let dirs = Dirs::with_parents(&[&places.bin, &places.client]).missing(cx, &[])?;
        let logins = Logins::in_dir(&places.client);
        let file = logins.read().map_err(LoginError::File)?;
        let url = url(&places)?;
        let mut links = Vec::new();
        for (at, to) in change.desired().map(|client| client.links.clone()).unwrap_or_default() {
            if cx.stat(&at)?.is_none() {
                links.push((at, to));
            }
        }
        Ok(Undo {
            dirs,
            links,
            had_file: cx.stat(logins.path())?.is_some(),
            had_login: file.servers.contains_key(&url),
            default: file.default,
            url,
        })
    }

    fn creates(&self, undo: &Undo) -> Vec<String> {
        let links = undo.links.iter().map(|(at, _)| at.display().to_string());
        undo.dirs.names().into_iter().chain(links).collect()
    }

    fn apply(&self, cx: &mut Apply<'_>, change: Change<Client>) -> Result<Outcome, StepError> {
        let Some(client) = change.desired() else { return Ok(Outcome::Unchanged) };
        let places = Places::of(cx.answers(), cx.facts());
        Dirs::with_parents(&[&places.bin, &places.client]).apply(cx)?;
        for (at, to) in &client.links {
            if cx.read_link(at)?.as_ref() != Some(to) {
                cx.put_link(at, to)?;
            }
        }
        if !login_works(&places, &client.url)? {
            log_in(cx, &places, &client.url)?;
        }
        let on_path = cx.facts().path.contains(&places.bin);
        Ok(if on_path { Outcome::Changed } else { Outcome::Warned { findings: vec![not_on_path(&places)] } })
    }

    fn undo(&self, cx: &mut Apply<'_>, undo: Undo) -> Result<UndoOutcome, StepError> {
        let mut restored = false;
        let mut edited = None;
        for (at, to) in &undo.links {
            match cx.read_link(at)? {
                Some(points_to) if points_to == *to => restored |= cx.remove_file(at)? == Removed::Gone,
                None if cx.stat(at)?.is_none() => {}
                _ => edited = Some(format!("{} is another one now", at.display())),
            }
        }
        restored |= log_out(cx, &undo)?;
        let outcome = match edited {
            Some(why) => UndoOutcome::LeftAlone { why },
            None if restored => UndoOutcome::Restored,
            None => UndoOutcome::NothingToDo,
        };
        Ok(clearing::both(outcome, undo.dirs.undo(cx, clearing::nothing)?))
    }
}

/// Another `td` on the search path: then ours is installed as `tds`.
pub(super) fn foreign_td(places: &Places, facts: &Facts, look: &dyn Look) -> Option<PathBuf> {
    let ours = |path: &Path| {
        let mut version = Program::new(path, Duration::from_secs(2)).args(["version", "--json"]);
        version.keep = 4096;
        let said: Option<serde_json::Value> =
            look.query(&version).ok().and_then(|ran| serde_json::from_slice(&ran.stdout).ok());
        said.and_then(|said| said.get("product")?.as_str().map(str::to_owned)).as_deref() == Some("td-sync")
    };
    let mut folders = facts.path.clone();
    folders.push(places.bin.clone());
    // A link into an installation of ours is ours, also when that is gone; a folder is no command.
    let command = |path: &PathBuf| {
        let kind = look.stat(path).ok().flatten().map(|stat| stat.kind);
        kind.is_some_and(|kind| kind != EntryKind::Dir)
            && !look.read_link(path).is_ok_and(|to| to.is_some_and(|to| is_ours(&to)))
    };
    folders.into_iter().map(|folder| folder.join("td")).find(|path| command(path) && !ours(path))
}

/// Whether a link leads into an installation of ours.
fn is_ours(points_to: &Path) -> bool {
    points_to.parent().is_some_and(|dir| dir.ends_with("td-sync/current"))
}

fn url(places: &Places) -> Result<ServerUrl, StepError> {
    ServerUrl::parse(&places.url).map_err(|error| {
        StepError::new(
            "E-INTERNAL",
            error.to_string(),
            "this is a bug in setup",
            Remedy::say("please report it"),
        )
    })
}

/// There is a login for this server, and the server, if it answers, accepts it.
fn login_works(places: &Places, url: &ServerUrl) -> Result<bool, StepError> {
    let file = Logins::in_dir(&places.client).read().map_err(LoginError::File)?;
    let Some(key) = file.servers.get(url).and_then(|login| login.api_key.clone()) else { return Ok(false) };
    let server = Server::with_limit(url.clone(), None, Some(key), LOOK).map_err(LoginError::Server)?;
    Ok(match server.projects() {
        Ok(_) | Err(TransportError::Offline { .. }) => true,
        Err(TransportError::Refused { status: 401 | 403, .. }) => false,
        Err(other) => return Err(LoginError::Server(other).into()),
    })
}

/// By an enrolment link that nobody but us sees: it comes over a pipe and is used up at once.
fn log_in(cx: &Apply<'_>, places: &Places, url: &ServerUrl) -> Result<(), StepError> {
    let email = cx.answers().text(&EMAIL).unwrap_or_default();
    let device = cx.answers().text(&DEVICE).unwrap_or_else(|| cx.facts().hostname.clone());
    let create = admin_program(places, &**cx, &["admin", "enroll", "create", "--email", &email, "--json"])?;
    let made: serde_json::Value = asking::answered(&create, cx.run(&create)?, &places.log)?;
    let link = made.get("link").and_then(serde_json::Value::as_str).unwrap_or_default();
    let link = Link::parse(link).map_err(|error| LoginError::Connect(error.into()))?;
    let logins = Logins::in_dir(&places.client);
    let former = logins.read().map_err(LoginError::File)?.default.filter(|default| default != url);
    connect(&link, &logins, &System, &device, None).map_err(LoginError::Connect)?;
    let kept = logins.update(|file| settle_default(file, former, url)).map_err(LoginError::File)?;
    if let Some(kept) = kept {
        cx.warn(Finding {
            text: format!("{kept} stays the default server of new projects"),
            remedy: Remedy::say("name this one where you want it: TD_SYNC_URL"),
        });
    }
    Ok(())
}

/// Connecting made this server the default. A former default of somebody else gets its place back, and is returned; the
/// former address of this very server is forgotten.
fn settle_default(file: &mut LoginFile, former: Option<ServerUrl>, url: &ServerUrl) -> Option<ServerUrl> {
    let former = former?;
    let key = |url: &ServerUrl| file.servers.get(url).and_then(|login| login.public_key.clone());
    if key(&former).is_some() && key(&former) == key(url) {
        file.servers.remove(&former);
        return None;
    }
    file.default = Some(former.clone());
    Some(former)
}

/// Forgets the login again; the file too, if it was not there before us and holds nothing else.
fn log_out(cx: &Apply<'_>, undo: &Undo) -> Result<bool, StepError> {
    let places = Places::of(cx.answers(), cx.facts());
    let logins = Logins::in_dir(&places.client);
    if undo.had_login || cx.stat(logins.path())?.is_none() {
        return Ok(false);
    }
    let empty = logins
        .update(|file| {
            file.servers.remove(&undo.url);
            if file.default.as_ref() == Some(&undo.url) {
                file.default.clone_from(&undo.default);
            }
            file.servers.is_empty()
        })
        .map_err(LoginError::File)?;
    if empty && !undo.had_file {
        cx.remove_file(logins.path())?;
        cx.remove_file(&logins.path().with_extension("json.lock"))?;
    }
    Ok(true)
}

fn not_on_path(places: &Places) -> Finding {
    Finding {
        text: format!("{} is not in your PATH", places.bin.display()),
        remedy: Remedy::run(
            "add it (in your shell's start file, for good)",
            format!("export PATH={}:\"$PATH\"", shell::path(&places.bin)),
        ),
    }
}

/// What can go wrong between this machine and its server.
#[derive(Debug, thiserror::Error)]
enum LoginError {
    #[error("the client's settings cannot be used")]
    File(#[source] ConfigError),
    #[error("the server did not take the enrolment")]
    Connect(#[source] ConnectError),
    #[error("the server does not answer as it should")]
    Server(#[source] TransportError),
}

impl Situation for LoginError {
    fn code(&self) -> &'static str {
        match self {
            Self::File(_) => "E-CLIENT-SETTINGS",
            Self::Connect(_) => "E-CLIENT-ENROL",
            Self::Server(_) => "E-CLIENT-SERVER",
        }
    }

    fn means(&self) -> String {
        "this machine is not logged in at its own server yet".into()
    }

    fn remedy(&self) -> Remedy {
        match self {
            Self::File(_) => {
                Remedy::say("correct the file that is named, or move it away, then run setup again")
            }
            Self::Connect(_) | Self::Server(_) => {
                Remedy::run("see what the server says", "td-sync-setup logs")
            }
        }
    }

    fn retryable(&self) -> bool {
        matches!(self, Self::Connect(error) if error.is_offline())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use td_client::config::Login;

    fn file(servers: &[(&str, &str)]) -> LoginFile {
        let mut file = LoginFile::default();
        for (url, key) in servers {
            let login = Login { public_key: Some((*key).into()), ..Login::default() };
            file.servers.insert(ServerUrl::parse(url).unwrap(), login);
        }
        file
    }

    #[test]
    fn a_default_of_somebody_else_keeps_its_place_and_our_own_former_address_does_not() {
        let [ours, moved, theirs] = ["http://127.0.0.1:1", "http://127.0.0.1:2", "https://sync.example"]
            .map(|url| ServerUrl::parse(url).unwrap());
        let urls = [ours.clone(), moved.clone(), theirs.clone()];
        let servers = [(urls[0].as_str(), "k1"), (urls[1].as_str(), "k1"), (urls[2].as_str(), "k2")];

        let mut there = file(&servers);
        assert_eq!(settle_default(&mut there, Some(theirs.clone()), &ours), Some(theirs.clone()));
        assert_eq!(there.default, Some(theirs));

        let mut moved_here = file(&servers);
        assert_eq!(settle_default(&mut moved_here, Some(ours.clone()), &moved), None);
        assert!(!moved_here.servers.contains_key(&ours) && moved_here.servers.len() == 2);
    }
}
