//! What can be wrong with a server, seen from its own machine.
//!
//! Invariant: looks only. A database is opened read-only, the lock is probed and not taken, nothing is created.

use crate::admin::Request;
use crate::config::{Config, ConfigError};
use crate::identity::Identity;
use crate::{admin, datadir, disk, identity};
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
        check("server.signup", "who may make an account", signup),
        check("server.apply", "live views follow their logs", apply).after(&["server.lock"]),
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
        return warn(cause, "put a TLS proxy in front, set SYNC_BASE_URL=https://… and listen on 127.0.0.1");
    }
    if !config.base_url_given {
        return warn(format!("SYNC_BASE_URL is not set; links say {url}"), "set SYNC_BASE_URL and restart");
    }
    Verdict::Ok(url.clone())
}

fn signup(config: &Config) -> Verdict {
    if config.allow_signup {
        return warn("anybody may make an account", "set SYNC_ALLOW_SIGNUP=false and restart");
    }
    Verdict::Ok("closed: accounts are made by enrolment and by owners".into())
}

fn apply(config: &Config) -> Verdict {
    let standing = match admin::ask_running(&config.data_dir(), &Request::Standing) {
        Ok(None) => return Verdict::Skip("no server answers on the admin socket".into()),
        Ok(Some(reply)) => reply.json,
        Err(e) => {
            return fail(
                format!("the running server does not answer: {e}"),
                "td-sync admin maintenance status",
            );
        }
    };
    if standing["maintenance"] == true {
        return warn("maintenance mode is on: writes are held", "td-sync admin maintenance off");
    }
    let empty = Vec::new();
    let projects = standing["projects"].as_array().unwrap_or(&empty);
    let lag = |p: &serde_json::Value| p["head"].as_i64().unwrap_or(0) - p["applied"].as_i64().unwrap_or(0);
    match projects.iter().max_by_key(|p| lag(p)).filter(|p| lag(p) > FAR_BEHIND) {
        Some(p) => {
            let cause = format!("the live view of {} is {} events behind", p["project"], lag(p));
            warn(cause, "td-sync doctor --only server.apply")
        }
        None => Verdict::Ok(format!("{} projects in use, none behind", projects.len())),
    }
}

/// For pasting into a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
