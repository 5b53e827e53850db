//! What can be said about certificates: by a running server, or by somebody who only sees its files.

use super::acme::record::{Attempt, Kind, Record};
use super::certificate::{Certificate, Validity};
use super::{acme, date, files, folder, now};
use crate::config::{CertificateSource, Config, TlsConfig};
use crate::secret;
use serde::{Deserialize, Serialize};

/// The state of certificates, for admin, doctor and programs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// `off`, `files` or `acme`.
    pub source: String,
    /// Names that are wanted.
    pub names: Vec<String>,
    /// Those of them that the certificate does not have.
    pub missing: Vec<String>,
    /// The certificate, if there is one.
    pub certificate: Option<Shown>,
    /// What went wrong last, if nothing went well since.
    pub trouble: Option<String>,
    /// When a certificate is asked for next (RFC 3339).
    pub next: Option<String>,
    /// What that moment waits for.
    pub waiting_for: Option<String>,
}

/// A certificate without its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// Names in it.
    pub names: Vec<String>,
    /// First moment, seconds since 1970.
    pub not_before: i64,
    /// Last moment, seconds since 1970.
    pub not_after: i64,
    /// Days left, rounded down.
    pub days_left: i64,
    /// SHA-256 in hex.
    pub fingerprint: String,
}

impl Shown {
    /// Its dates.
    pub fn validity(&self) -> Validity {
        Validity { not_before: self.not_before, not_after: self.not_after }
    }
}

impl Standing {
    pub(super) fn new(
        config: &TlsConfig,
        certificate: Option<&Certificate>,
        trouble: Option<String>,
        next: Option<(i64, Option<String>)>,
    ) -> Self {
        let source = match config.source {
            CertificateSource::Files { .. } => "files",
            CertificateSource::Acme(_) => "acme",
        };
        let missing = |c: &Certificate| config.names.iter().filter(|n| !c.covers(n)).cloned().collect();
        let missing = certificate.map(missing).unwrap_or_default();
        let certificate = certificate.map(|c| Shown {
            names: c.names.clone(),
            not_before: c.validity.not_before,
            not_after: c.validity.not_after,
            days_left: (c.validity.not_after - now()).div_euclid(super::DAY),
            fingerprint: secret::hex(&c.fingerprint),
        });
        let (next, waiting_for) = next.map_or((None, None), |(at, why)| (Some(date(at)), why));
        let (source, names) = (source.into(), config.names.clone());
        Self { source, names, missing, certificate, trouble, next, waiting_for }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut lines = vec![match &self.certificate {
            _ if self.source == "off" => "TLS is off".into(),
            None => "no certificate".into(),
            Some(c) => format!(
                "certificate for {}, until {} ({} days left)",
                c.names.join(", "),
                date(c.not_after),
                c.days_left
            ),
        }];
        if !self.missing.is_empty() {
            lines.push(format!("not in it: {}", self.missing.join(", ")));
        }
        lines.extend(self.trouble.iter().map(|t| format!("trouble: {t}")));
        lines.extend(self.next.iter().map(|at| match &self.waiting_for {
            Some(why) => format!("next attempt: {at} ({why})"),
            None => format!("renewal: {at}"),
        }));
        lines.join("\n") + "\n"
    }
}

/// How a failed attempt is told.
pub(super) fn trouble(attempt: &Attempt, kind: Kind, detail: &str) -> String {
    let what = if attempt.rehearsal { "the rehearsal" } else { "the attempt" };
    let kind = match kind {
        Kind::Validation => "the authority could not see that the names are ours",
        Kind::RateLimited => "the authority says that we ask too often",
        Kind::Unreachable => "the directory does not answer as one",
        Kind::Refused => "the authority refused",
        Kind::Unusable => "what was issued cannot be used",
        Kind::Disk => "a file",
        Kind::Interrupted => "the server ended in the middle",
    };
    format!("{what} of {} by {} failed; {kind}: {detail}", date(attempt.at), attempt.challenge)
}

/// The state as the files tell it. Reads only.
pub fn standing_on_disk(config: &Config) -> Standing {
    let Some(tls) = &config.tls else {
        let off = String::from("off");
        return Standing {
            source: off,
            names: Vec::new(),
            missing: Vec::new(),
            certificate: None,
            trouble: None,
            next: None,
            waiting_for: None,
        };
    };
    let acme = match &tls.source {
        CertificateSource::Files { certificate, key } => {
            let (found, trouble) = match files::load(certificate, key) {
                Ok(found) => (Some(found), None),
                Err(e) => (None, Some(e.to_string())),
            };
            return Standing::new(tls, found.as_ref(), trouble, None);
        }
        CertificateSource::Acme(acme) => acme,
    };
    let dir = folder(&config.data_dir());
    let (found, broken) = match acme::stored(&dir) {
        Ok(found) => (found, None),
        Err(why) => (None, Some(why)),
    };
    let record = match Record::read(&dir) {
        Ok(record) => record,
        Err(e) => return Standing::new(tls, found.as_ref(), Some(e.to_string()), None),
    };
    let rules = acme::rules(tls, acme, tls.redirect.is_some());
    let held = acme::held(found.as_ref(), &tls.names);
    let next = acme::plan::next(&acme::plan::Situation {
        now: now(),
        held,
        record: &record,
        rules: &rules,
        forced: false,
    });
    let next = match next {
        acme::plan::Next::Rest { until } => Some((until, None)),
        acme::plan::Next::Wait { until, why } => Some((until, Some(why.to_string()))),
        _ => None,
    };
    let trouble = record.trouble().map(|(attempt, kind, detail)| trouble(attempt, kind, detail));
    Standing::new(tls, found.as_ref(), broken.or(trouble), next)
}
