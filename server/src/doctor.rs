//! What can be wrong with a server, seen from its own machine.
//!
//! Invariant: looks only. A database is opened read-only, the lock is probed and not taken, nothing is created.

use crate::admin::Request;
use crate::config::{Config, ConfigError, MailSettings};
use crate::identity::Identity;
use crate::tls::Alarm;
use crate::{admin, datadir, disk, identity, tls};
use rusqlite::{Connection, OpenFlags};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use td_doctor::{Check, Finding, Remedy, Verdict};
use td_engine::id::Epoch;
use zeroize::Zeroizing;

/// Below this the disk is a failure, below ten times this a warning.
const LEAST_FREE: u64 = 100 * 1024 * 1024;
/// A live view this far behind is worth a warning.
const FAR_BEHIND: i64 = 1000;

type Look = fn(&Config) -> Verdict;

/// All checks. With a configuration that does not parse, there is only the one that says so.
pub fn checks(config: Result<Config, ConfigError>) -> Vec<Check> {
    let config = match config {
        Ok(config) => Arc::new(config),
        Err(e) => {
            let finding = Finding::new(e.to_string(), Remedy::command(e.remedy()));
            return vec![Check::new("server.config", "settings", move || Verdict::Fail(finding))];
        }
    };
    let check = |id, title, look: Look| {
        let config = Arc::clone(&config);
        Check::new(id, title, move || look(&config))
    };
    const DIR: &[&str] = &["server.data_dir"];
    vec![
        check("server.config", "settings", settings),
        check("server.data_dir", "data directory and its permissions", data_dir),
        check("server.lock", "a server runs on the data directory", lock).after(DIR),
        check("server.database", "server.db opens and is sound", database)
            .after(DIR)
            .limit(Duration::from_secs(30)),
        check("server.identity", "the server's key is there and private", identity).after(DIR),
        check("server.epoch", "the history's id", epoch).after(DIR),
        check("server.disk", "room on the disk", room).after(DIR),
        check("server.base_url", "the address people use", base_url),
        check("tls.plain_http", "who could read along", plain_http),
        check("tls.certificate", "the certificate for HTTPS", certificate).after(DIR),
        check("server.signup", "who may make an account", signup),
        check("server.mail", "how logins are approved", mail),
        check("server.apply", "live views follow their logs", apply).after(&["server.lock"]),
        check("server.quarantine", "events that cannot apply", quarantine).after(&["server.lock"]),
    ]
}

fn warn(cause: impl Into<String>, command: impl Into<String>) -> Verdict {
    Verdict::Warn(Finding::new(cause, Remedy::command(command)))
}

fn fail(cause: impl Into<String>, command: impl Into<String>) -> Verdict {
    Verdict::Fail(Finding::new(cause, Remedy::command(command)))
}

fn settings(config: &Config) -> Verdict {
    if config.notes.is_empty() {
        return Verdict::Ok("all SYNC_* settings are known".into());
    }
    warn(config.notes.join("; "), "td-sync config list")
}

fn data_dir(config: &Config) -> Verdict {
    let dir = config.data_dir();
    match std::fs::metadata(&dir) {
        Err(e) => fail(format!("{} cannot be looked at: {e}", dir.display()), "td-sync serve"),
        Ok(meta) if !meta.is_dir() => fail(format!("{} is no folder", dir.display()), "td-sync config list"),
        Ok(meta) if meta.permissions().mode() & 0o002 != 0 => {
            fail(format!("everybody may write in {}", dir.display()), format!("chmod 700 {}", quoted(&dir)))
        }
        Ok(_) => Verdict::Ok(dir.display().to_string()),
    }
}

fn lock(config: &Config) -> Verdict {
    match datadir::holder(&config.data_dir()) {
        Err(e) => fail(e.to_string(), e.remedy()),
        Ok(None) => warn("no server is running on this data directory", "td-sync serve"),
        Ok(Some(pid)) => Verdict::Ok(format!("held by process {pid}")),
    }
}

fn database(config: &Config) -> Verdict {
    let path = &config.server_db;
    if !path.exists() {
        return warn(
            format!("{} is not there yet; the first start makes it", path.display()),
            "td-sync serve",
        );
    }
    let look = || -> rusqlite::Result<String> {
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.busy_timeout(Duration::from_secs(5))?;
        db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
    };
    match look() {
        Ok(word) if word == "ok" => Verdict::Ok("sound".into()),
        Ok(word) => fail(format!("server.db is damaged: {word}"), "td-sync backup check DIR"),
        Err(e) => fail(format!("server.db cannot be read: {e}"), "td-sync backup check DIR"),
    }
}

fn identity(config: &Config) -> Verdict {
    let path = config.data_dir().join(identity::FILE);
    match std::fs::metadata(&path) {
        Err(_) => warn("there is no identity.key yet; the first start makes it", "td-sync serve"),
        Ok(meta) if meta.permissions().mode() & 0o077 != 0 => {
            fail("others may read the server's key", format!("chmod 600 {}", quoted(&path)))
        }
        Ok(_) => match std::fs::read(&path).map(|text| Identity::parse(&Zeroizing::new(text))) {
            // What a person compares before they trust a new key (`td resync`).
            Ok(Some(key)) => Verdict::Ok(format!("fingerprint {}", key.fingerprint())),
            Ok(None) => fail("identity.key is damaged: not 32 bytes in base64", "td-sync backup check DIR"),
            Err(e) => fail(format!("identity.key cannot be read: {e}"), "td-sync backup check DIR"),
        },
    }
}

fn epoch(config: &Config) -> Verdict {
    match std::fs::read_to_string(config.data_dir().join("epoch")) {
        Err(_) => warn("there is no epoch yet; the first start makes it", "td-sync serve"),
        Ok(text) => match Epoch::parse(text.trim()) {
            Ok(epoch) => Verdict::Ok(epoch.to_string()),
            Err(e) => fail(format!("the file epoch is damaged: {e}"), "td-sync backup check DIR"),
        },
    }
}

fn room(config: &Config) -> Verdict {
    let dir = config.data_dir();
    match disk::free_bytes(&dir) {
        Err(e) => fail(format!("the disk cannot be asked: {e}"), format!("df {}", quoted(&dir))),
        Ok(free) => {
            let shown = format!("{} MiB free", free / 1_048_576);
            let finding = || {
                let cause = "an almost full disk: writes fail when it is full";
                Finding::new(cause, Remedy::command(format!("df -h {}", quoted(&dir)))).value(shown.clone())
            };
            match free {
                f if f < LEAST_FREE => Verdict::Fail(finding()),
                f if f < 10 * LEAST_FREE => Verdict::Warn(finding()),
                _ => Verdict::Ok(shown),
            }
        }
    }
}

fn base_url(config: &Config) -> Verdict {
    let url = &config.base_url;
    if !config.listen.is_loopback() && url.starts_with("http://") {
        let cause =
            format!("{url} is plain HTTP and the server listens beyond this machine: keys travel readable");
        return warn(
            cause,
            "set SYNC_TLS=acme and SYNC_TLS_NAMES, or put a TLS proxy in front; SYNC_BASE_URL=https://…",
        );
    }
    if !config.base_url_given {
        return warn(format!("SYNC_BASE_URL is not set; links say {url}"), "set SYNC_BASE_URL and restart");
    }
    Verdict::Ok(url.clone())
}

fn plain_http(config: &Config) -> Verdict {
    match (&config.tls, config.listen.is_loopback()) {
        (Some(_), _) => {
            Verdict::Ok("HTTPS; plain HTTP is answered to this machine only, or redirected".into())
        }
        (None, true) => Verdict::Ok("plain HTTP, to this machine only".into()),
        (None, false) => {
            let cause = format!("plain HTTP on {}: whoever is in between reads every key", config.listen);
            warn(
                cause,
                "set SYNC_TLS=acme and SYNC_TLS_NAMES, or SYNC_LISTEN_ADDR=127.0.0.1:8080 behind a TLS proxy",
            )
        }
    }
}

fn certificate(config: &Config) -> Verdict {
    let standing = tls::standing_on_disk(config);
    if standing.source == "off" {
        return Verdict::Skip("TLS is off".into());
    }
    let renew = match standing.source.as_str() {
        "files" => "put a new certificate and its key in SYNC_TLS_CERT_FILE and SYNC_TLS_KEY_FILE",
        _ => "td-sync admin tls renew",
    };
    let missing = (!standing.missing.is_empty()).then(|| format!("it lacks {}", standing.missing.join(", ")));
    let extra = [
        missing,
        standing.trouble.clone(),
        standing
            .waiting_for
            .as_ref()
            .zip(standing.next.as_ref())
            .map(|(why, at)| format!("next attempt {at}: {why}")),
    ];
    let extra: String = extra.into_iter().flatten().map(|t| format!("; {t}")).collect();
    let Some(shown) = &standing.certificate else {
        return fail(format!("there is no certificate{extra}"), renew);
    };
    let left = format!("{} days left", shown.days_left);
    if let Some(stale) = served_is_other(config, &shown.fingerprint) {
        return warn(format!("{stale}{extra}"), "td-sync admin tls status");
    }
    match shown.validity().alarm(tls::now()) {
        Alarm::Expired => {
            fail(format!("the certificate ended on {}{extra}", tls::date(shown.not_after)), renew)
        }
        Alarm::NotYet => {
            let cause = format!("the certificate begins on {}{extra}", tls::date(shown.not_before));
            fail(cause, "timedatectl status")
        }
        Alarm::Soon => fail(format!("{left}{extra}"), renew),
        Alarm::Late => warn(format!("{left}: a renewal is late{extra}"), renew),
        Alarm::None if !extra.is_empty() => warn(format!("{left}{extra}"), renew),
        Alarm::None => Verdict::Ok(format!("{}, {left}", shown.names.join(", "))),
    }
}

/// A running server that has another certificate in service than the disk: one that it could not use, mostly.
fn served_is_other(config: &Config, on_disk: &str) -> Option<String> {
    let reply = admin::ask_running(config, &Request::TlsStatus).ok()??.json;
    let served = reply["certificate"]["fingerprint"].as_str();
    if served == Some(on_disk) {
        return None;
    }
    let trouble = reply["trouble"].as_str().map(|t| format!(": {t}")).unwrap_or_default();
    Some(format!("the running server has another certificate in service than the one on disk{trouble}"))
}

fn signup(config: &Config) -> Verdict {
    if config.login.allow_signup {
        return warn("anybody may make an account", "set SYNC_ALLOW_SIGNUP=false and restart");
    }
    Verdict::Ok("closed: accounts are made by enrolment and by owners".into())
}

fn mail(config: &Config) -> Verdict {
    if config.login.dev_inspect {
        let cause = "SYNC_DEV_EMAIL_INSPECT is on: a login is approved by whatever looks at its link, a mail scanner too, and \
                     mails kept in memory are shown to anybody";
        return warn(cause, "set SYNC_DEV_EMAIL_INSPECT=false and restart");
    }
    match &config.mail {
        MailSettings::Log => Verdict::Ok("no mail leaves; td-sync admin logins approves".into()),
        MailSettings::Memory => {
            warn("mail is kept in memory and reaches nobody", "set SYNC_EMAIL_PROVIDER and restart")
        }
        MailSettings::Smtp(smtp) => {
            Verdict::Ok(format!("by mail through {}; td-sync admin mail test tries it", smtp.host))
        }
        MailSettings::Cloudflare(_) => {
            Verdict::Ok("by mail through Cloudflare; td-sync admin mail test tries it".into())
        }
    }
}

/// What the running server says of its projects in use.
fn standing(config: &Config) -> Result<serde_json::Value, Verdict> {
    match admin::ask_running(config, &Request::Standing) {
        Ok(None) => Err(Verdict::Skip("no server answers on the admin socket".into())),
        Ok(Some(reply)) => Ok(reply.json),
        Err(e) => {
            Err(fail(format!("the running server does not answer: {e}"), "td-sync admin maintenance status"))
        }
    }
}

fn projects(standing: &serde_json::Value) -> &[serde_json::Value] {
    standing["projects"].as_array().map_or(&[], Vec::as_slice)
}

fn apply(config: &Config) -> Verdict {
    let standing = match standing(config) {
        Ok(standing) => standing,
        Err(verdict) => return verdict,
    };
    if standing["maintenance"] == true {
        return warn("maintenance mode is on: writes are held", "td-sync admin maintenance off");
    }
    let projects = projects(&standing);
    let lag = |p: &serde_json::Value| p["head"].as_i64().unwrap_or(0) - p["applied"].as_i64().unwrap_or(0);
    match projects.iter().max_by_key(|p| lag(p)).filter(|p| lag(p) > FAR_BEHIND) {
        Some(p) => {
            let cause = format!("the live view of {} is {} events behind", p["project"], lag(p));
            warn(cause, "td-sync doctor --only server.apply")
        }
        None => Verdict::Ok(format!("{} projects in use, none behind", projects.len())),
    }
}

fn quarantine(config: &Config) -> Verdict {
    let standing = match standing(config) {
        Ok(standing) => standing,
        Err(verdict) => return verdict,
    };
    let count = |p: &serde_json::Value, what: &str| p["recorded"][what].as_i64().unwrap_or(0);
    let sum = |what: &str| projects(&standing).iter().map(|p| count(p, what)).sum::<i64>();
    match projects(&standing).iter().max_by_key(|p| count(p, "quarantined")) {
        Some(p) if count(p, "quarantined") > 0 => {
            let project = p["project"].as_str().unwrap_or_default();
            let cause = format!("{} events of {project} cannot be applied", count(p, "quarantined"));
            warn(cause, format!("td-sync admin quarantine list --project {project}"))
        }
        // Without effect by rule: somebody changed what somebody else had deleted. Nothing to be done about it.
        _ => Verdict::Ok(format!(
            "none in the projects in use; {} without effect and {} conflicts are recorded",
            sum("skipped"),
            sum("conflicts")
        )),
    }
}

/// For pasting into a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
