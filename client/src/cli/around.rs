//! What surrounds a command: environment, folders, the acting session. The only place that reads them.

use super::args::Cli;
use super::out::{Failure, Out};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use td_client::ambient::{Ambient, System};
use td_client::config::{Choice, GoFiles, Logins, Overrides, Secret, choose};
use td_client::http::Server;
use td_client::identity::{self, IdentityError};
use td_client::place;
use td_client::project::Project;
use td_client::session::{SessionKey, agent_of_process, explicit_agent, worktree_root};

/// Everything a command takes from its surroundings.
pub struct Around {
    pub out: Out,
    pub base: PathBuf,
    pub logins: Logins,
    pub go: GoFiles,
    pub overrides: Overrides,
    pub ambient: Arc<dyn Ambient>,
    env: BTreeMap<String, String>,
}

impl Around {
    pub fn look(cli: &Cli, out: Out) -> Result<Self, Failure> {
        let env: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .filter(|(_, v)| !v.is_empty())
            .collect();
        let home = env.get("HOME").map(PathBuf::from);
        let config =
            env.get("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| Some(home.as_ref()?.join(".config")));
        let Some(config) = config else {
            return Err(out.usage(
                "neither HOME nor XDG_CONFIG_HOME is set",
                Some("set HOME to your home folder".into()),
            ));
        };
        let go = GoFiles { dir: home.map(|h| h.join(".config/td")) };
        let start = match &cli.work_dir {
            Some(dir) => dir.clone(),
            None => std::env::current_dir()
                .map_err(|e| out.usage(format!("the current folder cannot be read: {e}"), None))?,
        };
        Ok(Self {
            base: place::base_dir(&start, go.associations().as_deref()),
            logins: Logins::in_dir(config.join("td")),
            overrides: Overrides {
                url: env.get("TD_SYNC_URL").cloned(),
                key: env.get("TD_AUTH_KEY").map(Secret::new),
            },
            ambient: Arc::new(System),
            go,
            out,
            env,
        })
    }

    /// The project here.
    pub fn project(&self) -> Result<Project, Failure> {
        Project::open(&self.base, self.ambient.clone()).map_err(|e| self.out.store(&e))
    }

    /// The project here, with the session and the person who act.
    pub fn acting_project(&self) -> Result<Project, Failure> {
        let mut project = self.project()?;
        self.act_in(&mut project)?;
        Ok(project)
    }

    /// Lets this terminal's session act in `project`.
    pub fn act_in(&self, project: &mut Project) -> Result<(), Failure> {
        project.store.adopt_session(&self.session_key()).map_err(|e| self.out.store(&e))?;
        // A damaged login file must not stop local work; `doctor` names it.
        if let Ok(Some(choice)) = self.choice(Some(project)) {
            project.store.set_actor(choice.actor);
        }
        Ok(())
    }

    /// Whether this folder is a project.
    pub fn has_project(&self) -> bool {
        self.base.join(place::TODOS).join("issues.db").exists()
    }

    /// Server and login for `project`, or for this machine.
    pub fn choice(&self, project: Option<&Project>) -> Result<Option<Choice>, Failure> {
        let ours = self.logins.read().map_err(|e| self.out.config(&e))?;
        let server = project.and_then(|p| p.device_file().server.as_ref());
        choose(&self.overrides, server, &ours, &self.go).map_err(|e| self.out.config(&e))
    }

    /// A server that is the one we know, with a key. Asks it for its identity first.
    pub fn server(&self, project: Option<&Project>) -> Result<(Server, Choice), Failure> {
        self.server_or(project, |_, other| Err(self.out.identity(&other)))
    }

    /// As [`Around::server`]; `stranger` is asked about a server that shows another key than the known one.
    pub fn server_or(
        &self,
        project: Option<&Project>,
        stranger: impl FnOnce(&Choice, IdentityError) -> Result<(), Failure>,
    ) -> Result<(Server, Choice), Failure> {
        let not_logged_in = |message: &str| Failure {
            code: "not_logged_in".into(),
            message: message.into(),
            remedy: Some(format!(
                "run `{} connect LINK` with a link from the server's operator",
                self.out.td
            )),
            exit: super::out::FAILED,
        };
        let Some(choice) = self.choice(project)? else {
            return Err(not_logged_in("this machine is not connected to any server"));
        };
        let Some(key) = choice.key.clone() else {
            return Err(not_logged_in(&format!("not logged in to {}", choice.url)));
        };
        let ca = choice.login.as_ref().and_then(|l| l.ca_file.as_deref());
        let server = Server::new(choice.url.clone(), ca, None).map_err(|e| self.out.transport(&e))?;
        if let Some(pinned) = choice.login.as_ref().and_then(|l| l.public_key.as_deref()) {
            match identity::expect(&server, &*self.ambient, &identity::fingerprint(pinned)) {
                Ok(_) => {}
                Err(other @ IdentityError::Other { .. }) => stranger(&choice, other)?,
                Err(e) => return Err(self.out.identity(&e)),
            }
        }
        Ok((server.with_key(key), choice))
    }

    /// Git branch of the project folder.
    pub fn branch(&self) -> String {
        place::branch(place::git_top(&self.base).as_deref())
    }

    /// Name for the server to show: `td@<host>`.
    pub fn device_name(&self) -> String {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        if host.is_empty() { "td".into() } else { format!("td@{host}") }
    }

    fn session_key(&self) -> SessionKey {
        let (agent_type, agent_pid) = self.agent();
        SessionKey {
            branch: self.branch(),
            agent_type,
            agent_pid,
            context: self.env.get("TD_CONTEXT_ID").cloned().unwrap_or_default(),
            worktree_root: worktree_root(&std::env::current_dir().unwrap_or_else(|_| self.base.clone())),
        }
    }

    /// Who acts, as the reference tells agents and terminals apart (client-engine 2.4).
    fn agent(&self) -> (String, i64) {
        if let Some(name) = self.env.get("TD_SESSION_ID") {
            return (explicit_agent(name), 0);
        }
        if self.env.contains_key("CURSOR_AGENT") {
            let parent = rustix::process::getppid().map_or(0, |p| p.as_raw_nonzero().get());
            return (format!("cursor_{parent}"), parent.into());
        }
        if let Some((agent, pid)) = agent_above() {
            return (format!("{agent}_{pid}"), pid);
        }
        let terminal = [
            "TERM_SESSION_ID",
            "TMUX_PANE",
            "STY",
            "WINDOWID",
            "KONSOLE_DBUS_SESSION",
            "GNOME_TERMINAL_SCREEN",
        ];
        let known = terminal.iter().any(|name| self.env.contains_key(*name));
        (if known { "terminal" } else { "unknown" }.into(), 0)
    }
}

/// The nearest ancestor that is an agent, where `/proc` tells.
fn agent_above() -> Option<(&'static str, i64)> {
    let mut pid = i64::from(rustix::process::getppid()?.as_raw_nonzero().get());
    for _ in 0..15 {
        let proc = Path::new("/proc").join(pid.to_string());
        let name = std::fs::read_to_string(proc.join("comm")).ok()?;
        if let Some(agent) = agent_of_process(name.trim()) {
            return Some((agent, pid));
        }
        let stat = std::fs::read_to_string(proc.join("stat")).ok()?;
        // `pid (name) state ppid …`, and a name may hold anything but is followed by the last parenthesis.
        pid = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok().filter(|p| *p > 1)?;
    }
    None
}
