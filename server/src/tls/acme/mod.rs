//! Certificates from an authority that speaks ACME (RFC 8555).
//!
//! Duty: keep a certificate that covers our names, asking as rarely as possible: [`plan`] decides, [`order`] asks,
//! [`record`] remembers.
//! Invariant: the certificate in use stays in use until a better one is on disk; one file holds key and chain, so they
//! always fit. What the authority counts is counted before it is asked.

mod http;
mod order;
pub mod plan;
pub mod record;

use super::certificate::Certificate;
use super::{Tls, now, on_disk};
use crate::config::{AcmeConfig, LETS_ENCRYPT, TlsConfig};
use crate::datadir::write_durably;
use order::{Authority, Failure, Issued};
use plan::{Held, Next, Rules, Situation};
use record::{Attempt, Challenge, Keeper, Kind, Outcome};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::block_in_place;
use zeroize::Zeroizing;

/// File with key and chain below `tls/` in the data directory.
pub const CERTIFICATE: &str = "certificate.pem";
/// Longest time for a whole attempt.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(300);
/// Longest sleep: the machine's clock may jump, and nothing else would notice.
const LONGEST_SLEEP: i64 = 3600;
/// Sleep where our own disk is the trouble.
const DISK_TROUBLE: i64 = 60;
/// How far an authority's clock may be ahead of ours.
const CLOCK_SLACK: i64 = 300;

/// What can be wrong with the settings that only a look at the disk shows.
pub fn check(acme: &AcmeConfig) -> Result<(), String> {
    http::Http::new(acme.ca_file.as_deref()).map(drop)
}

/// What the settings mean for the plan.
pub fn rules(tls: &TlsConfig, acme: &AcmeConfig, http: bool) -> Rules {
    Rules {
        names: tls.names.clone(),
        directory: acme.directory.clone(),
        staging: acme.staging.clone(),
        first_wait: acme.first_wait,
        weekly: (acme.directory == LETS_ENCRYPT).then_some(plan::CERTIFICATES_PER_WEEK),
        challenge: acme.challenge,
        http,
    }
}

/// The certificate as the plan looks at it, if it covers what is wanted.
pub fn held(certificate: Option<&Certificate>, names: &[String]) -> Option<Held> {
    let fits = certificate.filter(|c| c.covers_all(names))?;
    let [high, low, ..] = fits.fingerprint;
    Some(Held { validity: fits.validity, spread: u16::from_be_bytes([high, low]) })
}

/// Keeps the certificate current for as long as the server lives. Disk work is done in place: it is a few small files.
pub(super) async fn keep(tls: &Tls, acme: &AcmeConfig) {
    let rules = rules(&tls.config, acme, tls.answers_http);
    let lost = || attempt(&rules, Challenge::Http01, false);
    let mut keeper = loop {
        match block_in_place(|| Keeper::open(&tls.dir, lost)) {
            Ok(keeper) => break keeper,
            Err(e) => {
                tls.note(Some(&e.to_string()), None);
                tracing::error!(cause = %e, "without its record of attempts the server asks for no certificate");
                tls.sleep_until(now() + DISK_TROUBLE).await;
            }
        }
    };
    let mut said = None;
    loop {
        let present = tls.served.present();
        let situation = Situation {
            now: now(),
            held: held(present.as_deref(), &rules.names),
            record: keeper.record(),
            rules: &rules,
            forced: tls.forced.load(Ordering::Relaxed),
        };
        let next = plan::next(&situation);
        let trouble =
            keeper.record().trouble().map(|(attempt, kind, detail)| on_disk::trouble(attempt, kind, detail));
        match next {
            Next::Rest { until } => {
                // A renewal that an operator asked for too early may have failed.
                tls.note(trouble.as_deref(), Some((until, None)));
                tls.sleep_until(until.min(now() + LONGEST_SLEEP)).await;
            }
            Next::Wait { until, why } => {
                tls.forced.store(false, Ordering::Relaxed);
                if said.replace(until) != Some(until) {
                    tracing::warn!(until = super::date(until), %why, "no certificate is asked for before then");
                }
                tls.note(trouble.as_deref(), Some((until, Some(why.to_string()))));
                tls.sleep_until(until.min(now() + LONGEST_SLEEP)).await;
            }
            Next::Rehearse(challenge) => try_once(tls, acme, &rules, &mut keeper, challenge, true).await,
            Next::Issue(challenge) => try_once(tls, acme, &rules, &mut keeper, challenge, false).await,
        }
    }
}

fn attempt(rules: &Rules, challenge: Challenge, rehearsal: bool) -> Attempt {
    let directory = if rehearsal { rules.staging.as_ref() } else { None }.unwrap_or(&rules.directory);
    let (names, directory) = (rules.names.clone(), directory.clone());
    Attempt { at: now(), names, directory, rehearsal, challenge, outcome: None }
}

async fn try_once(
    tls: &Tls,
    acme: &AcmeConfig,
    rules: &Rules,
    keeper: &mut Keeper,
    challenge: Challenge,
    rehearsal: bool,
) {
    let attempt = attempt(rules, challenge, rehearsal);
    let directory = attempt.directory.clone();
    tracing::info!(directory, rehearsal, %challenge, names = rules.names.join(","), "asking for a certificate");
    if let Err(e) = block_in_place(|| keeper.begin(attempt)) {
        // Not asked: an attempt that is not on disk would not be counted after a crash.
        tracing::error!(cause = %e, "the attempt cannot be written down, so it is not made");
        tls.note(Some(&e.to_string()), None);
        return tls.sleep_until(now() + DISK_TROUBLE).await;
    }
    let asked =
        tokio::time::timeout(ATTEMPT_LIMIT, ask(tls, acme, &directory, &rules.names, challenge)).await;
    let late = || Failure::new(Kind::Unreachable, format!("no result within {} s", ATTEMPT_LIMIT.as_secs()));
    let taken = asked.unwrap_or_else(|_| Err(late()));
    let taken = taken.and_then(|issued| block_in_place(|| take(tls, &issued, &rules.names, rehearsal)));
    if !rehearsal || taken.is_err() {
        tls.forced.store(false, Ordering::Relaxed);
    }
    let outcome = match &taken {
        Ok(certificate) => {
            let until = super::date(certificate.validity.not_after);
            tracing::info!(directory, rehearsal, until, "certificate issued");
            Outcome::Issued
        }
        Err(Failure { kind, detail, retry_after }) => {
            tracing::error!(directory, rehearsal, ?kind, detail, remedy = kind.remedy(), "no certificate");
            let seconds = retry_after.map(|r| i64::try_from(r.as_secs()).unwrap_or(i64::MAX));
            let retry_at = seconds.map(|s| now().saturating_add(s));
            Outcome::Failed { kind: *kind, detail: detail.clone(), retry_at }
        }
    };
    if let Err(e) = block_in_place(|| keeper.finish(outcome)) {
        tracing::error!(cause = %e, "the attempt's outcome cannot be written down; after a restart it counts as failed");
    }
    // Last, so that who sees the new certificate also finds how it came.
    if let Some(certificate) = taken.ok().filter(|_| !rehearsal) {
        tls.served.replace(certificate);
    }
}

async fn ask(
    tls: &Tls,
    acme: &AcmeConfig,
    directory: &str,
    names: &[String],
    challenge: Challenge,
) -> Result<Issued, Failure> {
    let http = http::Http::new(acme.ca_file.as_deref()).map_err(|e| Failure::new(Kind::Disk, e))?;
    let authority = Authority { directory, dir: &tls.dir, contact: acme.contact.as_deref(), http };
    authority.obtain(names, challenge, &tls.served.challenges()).await
}

/// Looks at what was issued before anybody else does; what is good, and no rehearsal, goes to disk.
fn take(tls: &Tls, issued: &Issued, names: &[String], rehearsal: bool) -> Result<Certificate, Failure> {
    let unusable = |why: String| Failure::new(Kind::Unusable, why);
    let certificate = Certificate::parse(issued.chain.as_bytes(), issued.key.as_bytes());
    let certificate = certificate.map_err(|e| unusable(e.to_string()))?;
    let validity = certificate.validity;
    if !certificate.covers_all(names) {
        return Err(unusable(format!("it is for {}", certificate.names.join(", "))));
    }
    if validity.not_before > now() + CLOCK_SLACK || validity.not_after <= now() {
        let (from, to) = (super::date(validity.not_before), super::date(validity.not_after));
        return Err(unusable(format!(
            "it is valid from {from} to {to}, and this machine's clock says {}",
            super::date(now())
        )));
    }
    if !rehearsal {
        let both = Zeroizing::new(format!("{}\n{}", issued.key.trim_end(), issued.chain));
        write_durably(&tls.dir.join(CERTIFICATE), both.as_bytes(), 0o600)
            .map_err(|e| Failure::new(Kind::Disk, e.to_string()))?;
    }
    Ok(certificate)
}

/// The certificate that is on disk, if it is there and any good.
pub fn stored(dir: &Path) -> Result<Option<Certificate>, String> {
    let path = dir.join(CERTIFICATE);
    let content = crate::datadir::read_if_there(&path).map_err(|e| e.to_string())?.map(Zeroizing::new);
    let parsed = content.map(|both| Certificate::parse(&both, &both)).transpose();
    parsed.map_err(|e| format!("{}: {e}", path.display()))
}
