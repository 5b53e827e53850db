//! Every variable there is: the one table behind parsing, `config list`, the generated reference and the
//! sentence about an unknown name.

use super::tls::LETS_ENCRYPT;
use serde::Serialize;

/// How a variable's text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `host:port`; `:port` means all interfaces.
    Address,
    /// As `Address`, or `off`.
    AddressOrOff,
    /// A path.
    Path,
    /// `30s`, `1m30s`, `90d`.
    Duration,
    /// `true`, `1`, `false`, `0`.
    Flag,
    /// An `http://` or `https://` URL without query and fragment.
    Url,
    /// As `Url`, or `off`.
    UrlOrOff,
    /// A URL of any scheme without fragment: a page, or an app that opens by its own scheme.
    Page,
    /// DNS names, separated by commas.
    Names,
    /// A whole number above zero.
    Count,
    /// One of the words.
    OneOf(&'static [&'static str]),
    /// Addresses or CIDR blocks, separated by commas.
    Networks,
    /// Origins of web pages, separated by commas, or `*`.
    Origins,
    /// Any text.
    Text,
    /// Any text that must not be shown; also readable from the file that `<name>_FILE` names.
    Secret,
}

/// Since when a variable does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Read and obeyed.
    Active,
    /// Known and checked, so that an environment made for the reference is accepted, but what it governs does not exist
    /// here yet; the log says so at start.
    NotYet,
}

/// One variable.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// How its text is read.
    pub kind: Kind,
    /// The text that stands for an unset one; `None` where unset is a state of its own.
    pub default: Option<&'static str>,
    /// What it governs.
    pub meaning: &'static str,
    /// Whether it does something already.
    pub standing: Standing,
}

/// Names that are neither ours nor mistakes; printed by `config list`.
pub const IGNORED: [(&str, &str); 1] =
    [("SYNC_LISTEN_PORT", "the reference's compose file maps a host port with it")];

const fn active(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    meaning: &'static str,
) -> Variable {
    Variable { name, kind, default, meaning, standing: Standing::Active }
}

const fn not_yet(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    meaning: &'static str,
) -> Variable {
    Variable { name, kind, default, meaning, standing: Standing::NotYet }
}

/// All of them.
pub const VARIABLES: &[Variable] = &[
    active(
        "SYNC_LISTEN_ADDR",
        Kind::Address,
        Some("127.0.0.1:8080"),
        "where to listen in plain HTTP; `:8080` means all interfaces (with SYNC_TLS, what is not loopback only redirects); \
         a socket handed over by the system wins",
    ),
    active(
        "SYNC_SERVER_DB_PATH",
        Kind::Path,
        Some("./data/server.db"),
        "users, keys, projects, members; its folder is the data directory",
    ),
    active("SYNC_PROJECT_DATA_DIR", Kind::Path, None, "event logs; unset: `projects` in the data directory"),
    active("SYNC_SHUTDOWN_TIMEOUT", Kind::Duration, Some("30s"), "how long a stop waits for open requests"),
    active(
        "SYNC_BASE_URL",
        Kind::Url,
        None,
        "address people and devices use; unset: from the listen address",
    ),
    active(
        "SYNC_LOG_FORMAT",
        Kind::OneOf(&["json", "text"]),
        Some("json"),
        "shape of the log on standard error",
    ),
    active(
        "SYNC_LOG_LEVEL",
        Kind::OneOf(&["debug", "info", "warn", "error"]),
        Some("info"),
        "least level that is logged",
    ),
    active("SYNC_RATE_LIMIT_AUTH", Kind::Count, Some("10"), "sign-in attempts per minute and client address"),
    active(
        "SYNC_TRUSTED_PROXIES",
        Kind::Networks,
        None,
        "proxies whose X-Forwarded-For is believed, for limits and logs",
    ),
    active("SYNC_ALLOW_SIGNUP", Kind::Flag, Some("false"), "whether strangers may make an account"),
    active(
        "SYNC_FIRST_USER_ADMIN",
        Kind::Flag,
        Some("false"),
        "whether the first stranger who makes an account becomes an admin",
    ),
    active(
        "SYNC_TLS",
        Kind::OneOf(&["off", "files", "acme"]),
        Some("off"),
        "HTTPS by the server itself: with certificate files of yours, or with certificates it gets by ACME (which means \
         agreeing to the authority's terms)",
    ),
    active(
        "SYNC_TLS_LISTEN_ADDR",
        Kind::Address,
        Some(":443"),
        "where HTTPS is spoken; a socket handed over under the name `https` wins",
    ),
    active(
        "SYNC_TLS_REDIRECT_ADDR",
        Kind::AddressOrOff,
        Some(":80"),
        "where plain HTTP is sent on to HTTPS and ACME's HTTP-01 is answered; a socket named `http` wins",
    ),
    active("SYNC_TLS_NAMES", Kind::Names, None, "names of this server, the main one first; needed for ACME"),
    active(
        "SYNC_TLS_CERT_FILE",
        Kind::Path,
        None,
        "PEM file with the certificate chain; read again when it changes",
    ),
    active("SYNC_TLS_KEY_FILE", Kind::Path, None, "PEM file with the certificate's private key"),
    active(
        "SYNC_ACME_DIRECTORY",
        Kind::Url,
        Some(LETS_ENCRYPT),
        "the certificate authority's ACME directory",
    ),
    active(
        "SYNC_ACME_STAGING_DIRECTORY",
        Kind::UrlOrOff,
        None,
        "directory to rehearse with before the real one is asked, or `off`; unset: Let's Encrypt's where it is asked",
    ),
    active("SYNC_ACME_CONTACT", Kind::Text, None, "mail address the authority may write to"),
    active(
        "SYNC_ACME_CHALLENGE",
        Kind::OneOf(&["auto", "http-01", "tls-alpn-01"]),
        Some("auto"),
        "how control of the names is shown; auto tries the other one after a failure",
    ),
    active(
        "SYNC_ACME_CA_FILE",
        Kind::Path,
        None,
        "PEM file with the authorities that are believed at the directory, instead of the bundled ones",
    ),
    active(
        "SYNC_ACME_BACKOFF",
        Kind::Duration,
        Some("5m"),
        "wait after a first failed attempt; doubles with each further one, up to six hours",
    ),
    active("SYNC_RATE_LIMIT_PUSH", Kind::Count, Some("60"), "pushes per minute, key and project"),
    active("SYNC_RATE_LIMIT_PULL", Kind::Count, Some("120"), "pulls per minute, key and project"),
    active("SYNC_RATE_LIMIT_OTHER", Kind::Count, Some("300"), "other calls per minute and key"),
    active(
        "SYNC_RATE_LIMIT_AGENT",
        Kind::Count,
        Some("120"),
        "all calls per minute of an agent's token or a public link, besides the limits above",
    ),
    active(
        "SYNC_STREAMS_PER_KEY",
        Kind::Count,
        Some("20"),
        "live streams and waiting pulls that one key may hold open",
    ),
    active(
        "SYNC_DISK_FLOOR_MIB",
        Kind::Count,
        Some("256"),
        "free space in MiB below which pushes are refused until there is room",
    ),
    active("SYNC_AUTH_EVENT_RETENTION", Kind::Duration, Some("90d"), "how long sign-in events are kept"),
    active(
        "SYNC_RATE_LIMIT_EVENT_RETENTION",
        Kind::Duration,
        Some("30d"),
        "how long refusals by a limit are kept",
    ),
    active(
        "SYNC_PROJECT_GRACE",
        Kind::Duration,
        Some("30d"),
        "how long a deleted project can be brought back before its files go",
    ),
    active(
        "SYNC_CORS_ALLOWED_ORIGINS",
        Kind::Origins,
        None,
        "origins whose pages may call the admin routes from a browser, separated by commas; `*` means all",
    ),
    active(
        "SYNC_EMAIL_PROVIDER",
        Kind::OneOf(&["log", "memory", "smtp", "cloudflare"]),
        Some("log"),
        "how mail leaves; with `log` none does, and an operator approves logins (td-sync admin logins)",
    ),
    active(
        "SYNC_EMAIL_FROM",
        Kind::Text,
        None,
        "sender of mail by SMTP, as sync@example.org or Sync <sync@example.org>",
    ),
    active("SYNC_SMTP_HOST", Kind::Text, None, "mail server that takes our mail: a name or an address"),
    active(
        "SYNC_SMTP_TLS",
        Kind::OneOf(&["starttls", "tls", "off"]),
        Some("starttls"),
        "how the way to the mail server is encrypted; off only where it runs on this machine",
    ),
    active(
        "SYNC_SMTP_PORT",
        Kind::Count,
        None,
        "its port; unset: 587 with starttls, 465 with tls, 25 with off",
    ),
    active("SYNC_SMTP_USER", Kind::Text, None, "name to sign in there"),
    active("SYNC_SMTP_PASSWORD", Kind::Secret, None, "password to sign in there"),
    active(
        "SYNC_SMTP_CA_FILE",
        Kind::Path,
        None,
        "PEM file with the authorities that are believed there, instead of the bundled ones",
    ),
    active("SYNC_EMAIL_BASE_URL", Kind::Url, None, "address in mailed device links"),
    active("SYNC_AUTH_WEB_CALLBACK_URL", Kind::Page, None, "address in mailed web links"),
    not_yet("SYNC_LEGACY_DEVICE_AUTH", Kind::Flag, Some("false"), "the reference's old device login"),
    active(
        "SYNC_DEV_EMAIL_INSPECT",
        Kind::Flag,
        Some("false"),
        "for tests: the last mail can be read, and looking at a login's link approves it",
    ),
    active("CLOUDFLARE_ACCOUNT_ID", Kind::Text, None, "account that sends mail"),
    active("CLOUDFLARE_EMAIL_API_TOKEN", Kind::Secret, None, "key of that account"),
    active("CLOUDFLARE_EMAIL_FROM", Kind::Text, None, "sender of mail"),
    active("CLOUDFLARE_EMAIL_FROM_NAME", Kind::Text, None, "name of the sender"),
    active("CLOUDFLARE_EMAIL_REPLY_TO", Kind::Text, None, "where replies go"),
    not_yet(
        "SYNC_BACKUP_MODE",
        Kind::OneOf(&["builtin", "litestream", "off"]),
        Some("builtin"),
        "who replicates the databases",
    ),
];

/// The variable of that name.
pub fn find(name: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|v| v.name == name)
}
