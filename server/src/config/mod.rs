//! Configuration: `SYNC_*` variables and nothing else (but for the reference's five `CLOUDFLARE_*` ones).
//!
//! Duty: turn an environment into typed values, or say exactly which variable is wrong and what would be right.
//! Invariant: strict. An unknown `SYNC_*` name and a text that does not parse are errors, because the alternative is a
//! server that runs with a setting its operator believes to be another.
//! Danger: secrets. A [`Kind::Secret`] is never printed; its `_FILE` form is the one we write ourselves (law 15).

mod limits;
mod login;
mod mail;
mod networks;
mod operating;
mod places;
mod table;
mod tls;
mod value;

pub use limits::RateLimits;
pub use login::LoginSettings;
pub use mail::{CloudflareSettings, MailSettings, Security, SmtpSettings};
pub use networks::Networks;
pub use operating::Operating;
pub use table::{IGNORED, Kind, Standing, VARIABLES, Variable};
pub use tls::{AcmeConfig, CertificateSource, ChallengeChoice, LETS_ENCRYPT, TlsConfig};
pub use value::parse_duration;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is wrong with an environment; all faults at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

impl ConfigError {
    /// Stable word for programs.
    pub fn code(&self) -> &'static str {
        "config_invalid"
    }

    /// What helps.
    pub fn remedy(&self) -> &'static str {
        "td-sync config list"
    }
}

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Exactly there.
    At(SocketAddr),
    /// On all interfaces.
    Everywhere(u16),
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Everywhere(port) => write!(f, "all interfaces, port {port}"),
        }
    }
}

impl Listen {
    /// The port.
    pub fn port(self) -> u16 {
        match self {
            Self::At(address) => address.port(),
            Self::Everywhere(port) => port,
        }
    }

    /// As `SYNC_LISTEN_ADDR` has it.
    pub fn setting(self) -> String {
        match self {
            Self::At(address) => address.to_string(),
            Self::Everywhere(port) => format!(":{port}"),
        }
    }

    /// Whether strangers could reach it.
    pub fn is_loopback(self) -> bool {
        matches!(self, Self::At(a) if a.ip().is_loopback())
    }
}

/// Shape of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For a person.
    Text,
}

impl LogFormat {
    /// As `SYNC_LOG_FORMAT` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
        }
    }
}

/// A server's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// `server.db`.
    pub server_db: PathBuf,
    /// Parent of all project folders.
    pub projects: PathBuf,
    /// Bound of a graceful stop.
    pub shutdown_timeout: Duration,
    /// What people and devices connect to; without a trailing slash.
    pub base_url: String,
    /// Whether `SYNC_BASE_URL` was given.
    pub base_url_given: bool,
    /// Log lines.
    pub log_format: LogFormat,
    /// `debug`, `info`, `warn` or `error`.
    pub log_level: String,
    /// Calls per minute.
    pub limits: RateLimits,
    /// Live streams and waiting pulls that one key may hold open.
    pub streams_per_key: usize,
    /// Free bytes below which no more events are taken.
    pub disk_floor: u64,
    /// Proxies that are believed.
    pub trusted_proxies: Networks,
    /// How people sign in.
    pub login: LoginSettings,
    /// How mail leaves.
    pub mail: MailSettings,
    /// HTTPS, if the server speaks it itself.
    pub tls: Option<TlsConfig>,
    /// What is kept how long, and who may look.
    pub operating: Operating,
    /// Settings that were given but govern nothing yet, and names on the ignore list: to be logged.
    pub notes: Vec<String>,
}

impl Config {
    /// From this process's environment.
    pub fn from_process() -> Result<Self, ConfigError> {
        Self::from_pairs(
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))),
        )
    }

    /// From given pairs; anything not named `SYNC_*` is ignored. An empty value counts as unset.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let (given, mut faults, mut notes) = (given(pairs), Vec::new(), Vec::new());
        let mut texts = BTreeMap::new();
        for (name, text) in given {
            match resolve(&name, text) {
                Ok(Resolved::Value(v, text)) => {
                    if let Err(why) = value::check(v.kind, &text) {
                        let shown =
                            if v.kind == Kind::Secret { "its value".into() } else { format!("{text:?}") };
                        faults.push(format!("{name}: {shown} is not {why}"));
                    }
                    if v.kind == Kind::Secret && v.name == name {
                        notes.push(format!(
                            "{name} stands in the environment; {name}_FILE would keep it out of it"
                        ));
                    }
                    if v.standing == Standing::NotYet {
                        notes.push(format!("{name} is known but governs nothing in this version yet"));
                    }
                    texts.insert(v.name, text);
                }
                Ok(Resolved::Ignored(why)) => notes.push(format!("{name} is ignored: {why}")),
                Err(fault) => faults.push(fault),
            }
        }
        let (server_db, projects) = places(|name| texts.get(name).map(String::as_str));
        faults.extend(places::faults(&server_db, &projects));
        if !faults.is_empty() {
            return Err(ConfigError(faults));
        }
        Self::typed(&texts, notes)
    }

    fn typed(texts: &BTreeMap<&'static str, String>, mut notes: Vec<String>) -> Result<Self, ConfigError> {
        let given = |name: &str| texts.get(name).map(String::as_str);
        let text = |name: &str| {
            given(name).or_else(|| table::find(name).and_then(|v| v.default)).unwrap_or_default().to_string()
        };
        let bad = |name: &str| ConfigError(vec![format!("{name}: {:?} cannot be used", text(name))]);
        let listen = value::parse_listen(&text("SYNC_LISTEN_ADDR")).ok_or_else(|| bad("SYNC_LISTEN_ADDR"))?;
        let (server_db, projects) = places(given);
        let timeout = text("SYNC_SHUTDOWN_TIMEOUT");
        let tls = TlsConfig::read(given, text)?;
        let default_url = || tls.as_ref().map_or_else(|| default_base_url(listen), TlsConfig::base_url);
        let base_url =
            given("SYNC_BASE_URL").map_or_else(default_url, |u| u.trim_end_matches('/').to_string());
        let login = LoginSettings::read(text, &base_url)?;
        let mail = MailSettings::read(given, text, &mut notes)?;
        Ok(Self {
            listen,
            projects,
            shutdown_timeout: parse_duration(&timeout).ok_or_else(|| bad("SYNC_SHUTDOWN_TIMEOUT"))?,
            base_url,
            base_url_given: given("SYNC_BASE_URL").is_some(),
            log_format: if text("SYNC_LOG_FORMAT") == "text" { LogFormat::Text } else { LogFormat::Json },
            log_level: text("SYNC_LOG_LEVEL"),
            limits: RateLimits::read(text)?,
            streams_per_key: limits::count(text, "SYNC_STREAMS_PER_KEY")?,
            disk_floor: (limits::count(text, "SYNC_DISK_FLOOR_MIB")? as u64).saturating_mul(1024 * 1024),
            trusted_proxies: Networks::parse(&text("SYNC_TRUSTED_PROXIES"))
                .ok_or_else(|| bad("SYNC_TRUSTED_PROXIES"))?,
            login,
            mail,
            tls,
            operating: Operating::read(text)?,
            server_db,
            notes,
        })
    }

    /// What `server.db` is called in the data directory.
    pub fn database_name(&self) -> Option<String> {
        self.server_db.file_name().map(|name| name.to_string_lossy().into_owned())
    }

    /// The data directory: LOCK, epoch, identity, staging and socket live beside `server.db`.
    pub fn data_dir(&self) -> PathBuf {
        folder_of(&self.server_db)
    }
}

/// `server.db` and the parent of all project folders.
fn places<'a>(given: impl Fn(&str) -> Option<&'a str>) -> (PathBuf, PathBuf) {
    let default = || table::find("SYNC_SERVER_DB_PATH").and_then(|v| v.default);
    let server_db = PathBuf::from(given("SYNC_SERVER_DB_PATH").or_else(default).unwrap_or_default());
    let projects =
        given("SYNC_PROJECT_DATA_DIR").map_or_else(|| folder_of(&server_db).join("projects"), PathBuf::from);
    (server_db, projects)
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn default_base_url(listen: Listen) -> String {
    match listen {
        Listen::At(a) if a.ip().is_unspecified() => format!("http://localhost:{}", a.port()),
        Listen::At(a) => format!("http://{a}"),
        Listen::Everywhere(port) => format!("http://localhost:{port}"),
    }
}

fn given(pairs: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let ours = |name: &str| {
        name.starts_with("SYNC_") || table::find(name).is_some() || secret_in_file(name).is_some()
    };
    pairs.into_iter().filter(|(name, value)| ours(name) && !value.is_empty()).collect()
}

/// The secret whose `_FILE` form this name is.
fn secret_in_file(name: &str) -> Option<&'static Variable> {
    name.strip_suffix("_FILE").and_then(table::find).filter(|v| v.kind == Kind::Secret)
}

enum Resolved {
    Value(&'static Variable, String),
    Ignored(&'static str),
}

fn resolve(name: &str, text: String) -> Result<Resolved, String> {
    if let Some(v) = table::find(name) {
        return Ok(Resolved::Value(v, text));
    }
    if let Some((_, why)) = IGNORED.iter().find(|(n, _)| *n == name) {
        return Ok(Resolved::Ignored(why));
    }
    match secret_in_file(name) {
        Some(v) => match std::fs::read_to_string(&text) {
            Ok(content) => Ok(Resolved::Value(v, content.trim_end_matches(['\r', '\n']).to_string())),
            Err(e) => Err(format!("{name}: the file {text:?} cannot be read: {e}")),
        },
        None => Err(format!("{name}: no such setting{}", nearest(name))),
    }
}

/// `; did you mean SYNC_X?` for a name that shares most of its letters' order with a known one.
fn nearest(name: &str) -> String {
    let score = |known: &str| name.bytes().zip(known.bytes()).take_while(|(a, b)| a == b).count();
    let best = VARIABLES.iter().max_by_key(|v| score(v.name)).filter(|v| score(v.name) > "SYNC_".len() + 2);
    best.map(|v| format!("; did you mean {}?", v.name)).unwrap_or_default()
}

/// The table as JSON, for `config list --json` and the generated reference.
pub fn table_json() -> Value {
    let settings: Vec<Value> = VARIABLES
        .iter()
        .map(|v| json!({"name": v.name, "default": v.default, "kind": v.kind, "meaning": v.meaning, "standing": v.standing}))
        .collect();
    let ignored: Vec<Value> = IGNORED.iter().map(|(name, why)| json!({"name": name, "why": why})).collect();
    json!({"settings": settings, "ignored": ignored})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_pairs(pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())))
    }

    #[test]
    fn an_empty_environment_listens_on_loopback_with_sign_up_closed() {
        let c = config(&[]).expect("defaults");
        assert_eq!(c.listen, Listen::At(([127, 0, 0, 1], 8080).into()));
        assert_eq!(c.base_url, "http://127.0.0.1:8080");
        assert!(!c.login.allow_signup && !c.login.first_user_admin);
        assert_eq!(c.data_dir(), PathBuf::from("./data"));
        assert_eq!(c.projects, PathBuf::from("./data/projects"));
        assert_eq!(c.limits, RateLimits { auth: 10, push: 60, pull: 120, other: 300, agent: 120 });
        assert_eq!((c.shutdown_timeout, c.disk_floor), (Duration::from_secs(30), 256 << 20));
    }

    #[test]
    fn every_default_in_the_table_passes_its_own_check() {
        for v in VARIABLES {
            assert!(v.default.is_none_or(|d| value::check(v.kind, d).is_ok()), "{}", v.name);
        }
    }

    #[test]
    fn an_unknown_variable_is_an_error_that_names_it() {
        let err = config(&[("SYNC_LISTEN_ADR", ":1"), ("PATH", "/bin")]).expect_err("unknown");
        assert_eq!(err.0, ["SYNC_LISTEN_ADR: no such setting; did you mean SYNC_LISTEN_ADDR?"]);
    }

    #[test]
    fn the_default_folder_of_projects_is_beside_the_database() {
        let projects = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string()));
            Config::from_pairs(pairs).expect("good").projects
        };
        assert_eq!(projects(&[]), Path::new("./data/projects"));
        assert_eq!(projects(&[("SYNC_SERVER_DB_PATH", "/x/y.db")]), Path::new("/x/projects"));
        let both = [("SYNC_SERVER_DB_PATH", "/x/y.db"), ("SYNC_PROJECT_DATA_DIR", "p")];
        assert_eq!(projects(&both), Path::new("p"));
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let err =
            config(&[("SYNC_SHUTDOWN_TIMEOUT", "soon"), ("SYNC_RATE_LIMIT_PUSH", "0"), ("SYNC_NOPE", "1")]);
        assert_eq!(err.expect_err("faults").0.len(), 3);
    }

    #[test]
    fn the_environment_of_the_reference_end_to_end_suite_is_accepted() {
        let c = config(&[
            ("SYNC_ALLOW_SIGNUP", "true"),
            ("SYNC_BASE_URL", "http://sync.example/"),
            ("SYNC_EMAIL_PROVIDER", "memory"),
            ("SYNC_DEV_EMAIL_INSPECT", "1"),
            ("SYNC_EMAIL_BASE_URL", "http://sync.example"),
            ("SYNC_AUTH_WEB_CALLBACK_URL", "http://watch.example/home/login/complete"),
            ("SYNC_LOG_FORMAT", "json"),
            ("SYNC_RATE_LIMIT_AUTH", "1000"),
            ("SYNC_RATE_LIMIT_PUSH", "10000"),
            ("SYNC_LISTEN_ADDR", ":9"),
            ("SYNC_LISTEN_PORT", "8080"),
        ])
        .expect("accepted");
        assert_eq!(c.listen, Listen::Everywhere(9));
        assert_eq!(c.base_url, "http://sync.example");
        assert_eq!(c.mail, MailSettings::Memory);
        assert!(c.login.allow_signup && c.login.dev_inspect);
        assert!(c.notes.iter().any(|n| n.starts_with("SYNC_LISTEN_PORT is ignored")));
    }

    #[test]
    fn a_secret_may_stand_in_a_file_and_is_never_shown() {
        let dir = tempfile::tempdir().expect("dir");
        let file = dir.path().join("token");
        std::fs::write(&file, "hush\n").expect("write");
        let name = "CLOUDFLARE_EMAIL_API_TOKEN_FILE";
        let good = config(&[(name, file.to_str().expect("path"))]).expect("read");
        let plain = config(&[("CLOUDFLARE_EMAIL_API_TOKEN", "hush")]).expect("accepted");
        assert!(!format!("{good:?}{plain:?}").contains("hush"));
        assert!(plain.notes.iter().any(|n| n.contains("CLOUDFLARE_EMAIL_API_TOKEN_FILE would keep it out")));
        assert!(!good.notes.iter().any(|n| n.contains("would keep it out")));
        assert!(config(&[(name, "/does/not/exist")]).expect_err("missing").0[0].starts_with(name));
        assert!(config(&[("SYNC_BASE_URL_FILE", "x")]).is_err(), "only secrets have a file form");
    }

    #[test]
    fn host_names_are_refused_because_nothing_here_resolves_them() {
        assert!(config(&[("SYNC_LISTEN_ADDR", "example.org:80")]).is_err());
        assert!(config(&[("SYNC_LISTEN_ADDR", "localhost:80")]).is_ok());
        assert!(config(&[("SYNC_LISTEN_ADDR", "[::1]:80")]).is_ok());
    }
}
