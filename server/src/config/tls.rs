//! Settings of TLS: where certificates come from and which sockets there are.
//!
//! Invariant: settings that only make sense together are refused alone; one that would be ignored is refused too (law 20).

use super::{ConfigError, Listen, value};
use std::path::PathBuf;
use std::time::Duration;

/// Let's Encrypt's directory, the default of `SYNC_ACME_DIRECTORY`.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Where a rehearsal against Let's Encrypt costs nothing.
pub const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// TLS as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// Where certificates come from.
    pub source: CertificateSource,
    /// Where HTTPS is spoken.
    pub listen: Listen,
    /// Where plain HTTP is sent on to HTTPS and HTTP-01 is answered.
    pub redirect: Option<Listen>,
    /// Names of this server; never empty with ACME.
    pub names: Vec<String>,
}

/// Where certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// Two PEM files that somebody else keeps current.
    Files {
        /// The chain, own certificate first.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// A certificate authority that speaks ACME.
    Acme(AcmeConfig),
}

/// How to deal with a certificate authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeConfig {
    /// The real directory.
    pub directory: String,
    /// The directory for rehearsals, if there is one.
    pub staging: Option<String>,
    /// Mail address for the account.
    pub contact: Option<String>,
    /// How control of the names is shown.
    pub challenge: ChallengeChoice,
    /// PEM file that replaces the bundled authorities when speaking to the directory.
    pub ca_file: Option<PathBuf>,
    /// Wait after the first failure.
    pub first_wait: Duration,
}

/// Which challenges may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeChoice {
    /// HTTP-01 first where plain HTTP is answered, the other one after a failure.
    Auto,
    /// HTTP-01 only.
    Http01,
    /// TLS-ALPN-01 only.
    TlsAlpn01,
}

/// What only counts with certificate files, and what only counts with ACME.
const OF_FILES: [&str; 2] = ["SYNC_TLS_CERT_FILE", "SYNC_TLS_KEY_FILE"];
const OF_ACME: [&str; 6] = [
    "SYNC_ACME_DIRECTORY",
    "SYNC_ACME_STAGING_DIRECTORY",
    "SYNC_ACME_CONTACT",
    "SYNC_ACME_CHALLENGE",
    "SYNC_ACME_CA_FILE",
    "SYNC_ACME_BACKOFF",
];
const OF_TLS: [&str; 3] = ["SYNC_TLS_LISTEN_ADDR", "SYNC_TLS_REDIRECT_ADDR", "SYNC_TLS_NAMES"];

impl TlsConfig {
    /// From checked texts: `given` knows what was set, `text` also the defaults.
    pub(super) fn read<'a>(
        given: impl Fn(&str) -> Option<&'a str>,
        text: impl Fn(&str) -> String,
    ) -> Result<Option<Self>, ConfigError> {
        let mode = text("SYNC_TLS");
        let mut faults = misplaced(&mode, &given);
        if mode == "off" {
            return if faults.is_empty() { Ok(None) } else { Err(ConfigError(faults)) };
        }
        let (listen, names) = (value::parse_listen(&text("SYNC_TLS_LISTEN_ADDR")), given("SYNC_TLS_NAMES"));
        let redirect = value::parse_listen(&text("SYNC_TLS_REDIRECT_ADDR"));
        let names = names.and_then(value::parse_names).unwrap_or_default();
        let source = if mode == "files" { files(&given) } else { acme(&given, &text, &mut faults) };
        if mode == "acme" && names.is_empty() {
            faults.push("SYNC_TLS=acme needs SYNC_TLS_NAMES: the names a certificate is asked for".into());
        }
        if redirect.is_none() && text("SYNC_ACME_CHALLENGE") == "http-01" {
            faults.push(
                "SYNC_ACME_CHALLENGE=http-01 needs SYNC_TLS_REDIRECT_ADDR: it is answered there".into(),
            );
        }
        let plain = value::parse_listen(&text("SYNC_LISTEN_ADDR"));
        // Port 0 is another one each time.
        if listen.filter(|l| l.port() != 0).is_some_and(|l| [plain, redirect].contains(&Some(l))) {
            faults.push(
                "SYNC_TLS_LISTEN_ADDR is also the address of another setting: each needs its own".into(),
            );
        }
        if let Some(plain) = given("SYNC_BASE_URL").filter(|u| !u.starts_with("https://")) {
            faults.push(format!("SYNC_BASE_URL: {plain:?} is not https:// although SYNC_TLS is on"));
        }
        match (source, listen) {
            (Some(source), Some(listen)) if faults.is_empty() => {
                Ok(Some(Self { source, listen, redirect, names }))
            }
            (None, _) if mode == "files" => {
                faults.push("SYNC_TLS=files needs SYNC_TLS_CERT_FILE and SYNC_TLS_KEY_FILE".into());
                Err(ConfigError(faults))
            }
            _ => Err(ConfigError(faults)),
        }
    }

    /// What people connect to, where `SYNC_BASE_URL` does not say: the first name, or the address that is listened on.
    pub(super) fn base_url(&self) -> String {
        let port = self.listen.port();
        let ip = match self.listen {
            Listen::At(address) => Some(address.ip()).filter(|ip| !ip.is_unspecified()),
            Listen::Everywhere(_) => None,
        };
        let host = match (self.names.first(), ip) {
            (Some(name), _) => name.clone(),
            (None, Some(std::net::IpAddr::V6(ip))) => format!("[{ip}]"),
            (None, Some(ip)) => ip.to_string(),
            (None, None) => "localhost".into(),
        };
        if port == 443 { format!("https://{host}") } else { format!("https://{host}:{port}") }
    }
}

/// Settings that were given for another mode than the one that is on.
fn misplaced<'a>(mode: &str, given: impl Fn(&str) -> Option<&'a str>) -> Vec<String> {
    let groups: [(&[&str], &[&str]); 3] =
        [(&OF_TLS, &["files", "acme"]), (&OF_FILES, &["files"]), (&OF_ACME, &["acme"])];
    let unfit = groups.iter().filter(|(_, modes)| !modes.contains(&mode));
    let names = unfit.flat_map(|(names, modes)| names.iter().map(|n| (*n, modes.join(" or "))));
    names
        .filter(|(name, _)| given(name).is_some())
        .map(|(name, modes)| format!("{name} is for SYNC_TLS={modes}, and SYNC_TLS is {mode}"))
        .collect()
}

fn files<'a>(given: impl Fn(&str) -> Option<&'a str>) -> Option<CertificateSource> {
    Some(CertificateSource::Files {
        certificate: given("SYNC_TLS_CERT_FILE")?.into(),
        key: given("SYNC_TLS_KEY_FILE")?.into(),
    })
}

fn acme<'a>(
    given: impl Fn(&str) -> Option<&'a str>,
    text: impl Fn(&str) -> String,
    faults: &mut Vec<String>,
) -> Option<CertificateSource> {
    let directory = text("SYNC_ACME_DIRECTORY");
    let staging = match given("SYNC_ACME_STAGING_DIRECTORY") {
        Some("off") => None,
        Some(url) => Some(url.to_string()),
        None => (directory == LETS_ENCRYPT).then(|| LETS_ENCRYPT_STAGING.to_string()),
    };
    let asked =
        [("SYNC_ACME_DIRECTORY", Some(&directory)), ("SYNC_ACME_STAGING_DIRECTORY", staging.as_ref())];
    for (name, url) in asked.into_iter().filter_map(|(name, url)| Some((name, url?))) {
        if !url.starts_with("https://") {
            faults
                .push(format!("{name}: {url:?} is not https://: an ACME directory is never asked in clear"));
        }
    }
    let contact = given("SYNC_ACME_CONTACT").map(str::to_string);
    if let Some(bad) = contact.as_ref().filter(|c| !c.contains('@') || c.contains([' ', ',', ':'])) {
        faults.push(format!("SYNC_ACME_CONTACT: {bad:?} is not a mail address"));
    }
    Some(CertificateSource::Acme(AcmeConfig {
        directory,
        staging,
        contact,
        challenge: match text("SYNC_ACME_CHALLENGE").as_str() {
            "http-01" => ChallengeChoice::Http01,
            "tls-alpn-01" => ChallengeChoice::TlsAlpn01,
            _ => ChallengeChoice::Auto,
        },
        ca_file: given("SYNC_ACME_CA_FILE").map(PathBuf::from),
        first_wait: value::parse_duration(&text("SYNC_ACME_BACKOFF"))?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn config(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_pairs(pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())))
    }

    #[test]
    fn acme_needs_names_and_rehearses_where_lets_encrypt_is_asked() {
        let c = config(&[("SYNC_TLS", "acme"), ("SYNC_TLS_NAMES", "Sync.Example.org, b.example.org")]);
        let c = c.expect("acme");
        assert_eq!(c.base_url, "https://sync.example.org");
        let tls = c.tls.expect("on");
        assert_eq!(tls.names, ["sync.example.org", "b.example.org"]);
        assert_eq!((tls.listen, tls.redirect), (Listen::Everywhere(443), Some(Listen::Everywhere(80))));
        let CertificateSource::Acme(acme) = tls.source else { panic!("acme") };
        assert_eq!(acme.staging.as_deref(), Some(LETS_ENCRYPT_STAGING));

        let own = [("SYNC_ACME_DIRECTORY", "https://ca.example/dir")];
        let c = config(&[&own[..], &[("SYNC_TLS", "acme"), ("SYNC_TLS_NAMES", "a.example")]].concat());
        let CertificateSource::Acme(acme) = c.expect("own").tls.expect("on").source else { panic!("acme") };
        assert_eq!(acme.staging, None, "another authority has no staging directory that we know of");
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused_and_named() {
        let files = [("SYNC_TLS", "files"), ("SYNC_TLS_CERT_FILE", "/c"), ("SYNC_TLS_KEY_FILE", "/k")];
        let acme = [("SYNC_TLS", "acme"), ("SYNC_TLS_NAMES", "a.example")];
        for (base, more, named) in [
            (&files[..1], &[][..], "SYNC_TLS_CERT_FILE and SYNC_TLS_KEY_FILE"),
            (&files[..], &[("SYNC_ACME_CONTACT", "a@b.c")], "SYNC_ACME_CONTACT is for SYNC_TLS=acme"),
            (&acme[..1], &[], "SYNC_TLS=acme needs SYNC_TLS_NAMES"),
            (&acme, &[("SYNC_TLS_KEY_FILE", "/k")], "SYNC_TLS_KEY_FILE is for SYNC_TLS=files"),
            (&acme, &[("SYNC_BASE_URL", "http://a.example")], "SYNC_BASE_URL"),
            (&acme, &[("SYNC_ACME_DIRECTORY", "http://ca.example/dir")], "SYNC_ACME_DIRECTORY: \"http"),
            (&acme, &[("SYNC_ACME_CONTACT", "nobody")], "not a mail address"),
            (&acme, &[("SYNC_TLS_LISTEN_ADDR", ":80")], "SYNC_TLS_LISTEN_ADDR is also"),
            (&acme, &[("SYNC_LISTEN_ADDR", ":443")], "SYNC_TLS_LISTEN_ADDR is also"),
            (
                &acme,
                &[("SYNC_ACME_CHALLENGE", "http-01"), ("SYNC_TLS_REDIRECT_ADDR", "off")],
                "SYNC_TLS_REDIRECT_ADDR",
            ),
            (&acme[1..], &[], "SYNC_TLS_NAMES is for SYNC_TLS=files or acme, and SYNC_TLS is off"),
            (&acme, &[("SYNC_TLS_NAMES", "*.example.org")], "SYNC_TLS_NAMES"),
        ] {
            let error = config(&[base, more].concat()).expect_err(named);
            assert!(error.to_string().contains(named), "{named}: {error}");
        }
        assert!(config(&files).is_ok());
    }

    #[test]
    fn the_base_url_names_the_port_only_where_it_has_to() {
        let base = |listen: &str| {
            let files = [("SYNC_TLS", "files"), ("SYNC_TLS_CERT_FILE", "/c"), ("SYNC_TLS_KEY_FILE", "/k")];
            config(&[&files[..], &[("SYNC_TLS_LISTEN_ADDR", listen)]].concat()).expect("files").base_url
        };
        assert_eq!(base(":443"), "https://localhost");
        assert_eq!(base("127.0.0.1:8443"), "https://127.0.0.1:8443");
        assert_eq!(base("[::1]:443"), "https://[::1]");
    }
}
