//! What to do next about the certificate: a function of the certificate, the record of attempts, the rules and the clock.
//!
//! Invariant: no clock, no file, no network in here; the same situation gives the same answer, also after a restart.
//! Danger: a certificate authority counts. Let's Encrypt allows five failed validations per account, name and hour, and
//! five certificates for one set of names per week; whoever is over that limit can get none for days, so every limit of
//! ours lies below.

use super::record::{Attempt, Challenge, Kind, Outcome, Record};
use crate::config::ChallengeChoice;
use crate::tls::certificate::{DAY, Validity};
use std::time::Duration;

const HOUR: i64 = 3600;
/// Failed attempts at one directory within an hour.
const FAILURES_PER_HOUR: usize = 3;
/// Certificates for one set of names within a week, where the authority counts them.
pub const CERTIFICATES_PER_WEEK: usize = 4;
/// No wait grows beyond this: a cause that is gone should be noticed the same day.
const LONGEST_WAIT: i64 = 6 * HOUR;
/// Least wait where the authority said that we ask too often, but not until when.
const RATE_LIMITED: i64 = HOUR;
/// A rehearsal that old proves nothing about today's name servers and firewalls.
const REHEARSAL_LASTS: i64 = 7 * DAY;
/// A record from further in the future than this was written under a wrong clock.
const CLOCK_SLACK: i64 = 300;

/// What does not change while the server runs.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Names to have in the certificate.
    pub names: Vec<String>,
    /// The real directory.
    pub directory: String,
    /// Where to rehearse.
    pub staging: Option<String>,
    /// Wait after the first failure.
    pub first_wait: Duration,
    /// Most certificates per week, if the authority counts them.
    pub weekly: Option<usize>,
    /// Which challenges may be used.
    pub challenge: ChallengeChoice,
    /// Whether plain HTTP is answered at all.
    pub http: bool,
}

/// A certificate that covers the wanted names.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Its dates.
    pub validity: Validity,
    /// A number of its own, so that servers which began together do not renew together.
    pub spread: u16,
}

/// What is known at one moment.
pub struct Situation<'a> {
    /// Seconds since 1970.
    pub now: i64,
    /// What is there.
    pub held: Option<Held>,
    /// What was tried.
    pub record: &'a Record,
    /// What to go by.
    pub rules: &'a Rules,
    /// An operator wants it now: the wait of our own is skipped, limits of the authority's are not.
    pub forced: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The certificate is good; look again then.
    Rest {
        /// When it is due.
        until: i64,
    },
    /// One is needed, but not before then.
    Wait {
        /// When to try.
        until: i64,
        /// What holds us back.
        why: Why,
    },
    /// Ask the staging directory; what it issues is thrown away.
    Rehearse(Challenge),
    /// Ask the real one.
    Issue(Challenge),
}

/// What a wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Failures in a row.
    BackOff,
    /// Too many failures in an hour.
    FailuresPerHour,
    /// Too many certificates in a week.
    CertificatesPerWeek,
    /// The authority said when to come back.
    Told,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BackOff => "waiting longer after each failure",
            Self::FailuresPerHour => "three attempts failed within an hour",
            Self::CertificatesPerWeek => "four certificates for these names were issued within a week",
            Self::Told => "the certificate authority asked to wait",
        })
    }
}

/// When a certificate is due: with a third of its life left, and up to a twentieth of its life later.
pub fn due(held: Held) -> i64 {
    let life = held.validity.lifetime();
    held.validity.not_after - life / 3 + life * i64::from(held.spread) / (20 * i64::from(u16::MAX))
}

/// The whole of it.
pub fn next(s: &Situation<'_>) -> Next {
    if let Some(until) = s.held.map(due).filter(|until| s.now < *until && !s.forced) {
        return Next::Rest { until };
    }
    let ours: Vec<&Attempt> = s.record.attempts.iter().filter(|a| concerns(s, a)).collect();
    let failures =
        ours.iter().rev().take_while(|a| !is_certificate(a)).filter(|a| failure(a).is_some()).count();
    let challenge = challenge(s.rules, failures);
    let rehearse = s.rules.staging.is_some() && needs_rehearsal(s, &ours, failures);
    let directory = if rehearse { s.rules.staging.as_deref() } else { None }.unwrap_or(&s.rules.directory);
    match hold_back(s, &ours, directory, failures) {
        Some((until, why)) => Next::Wait { until, why },
        None if rehearse => Next::Rehearse(challenge),
        None => Next::Issue(challenge),
    }
}

/// Attempts for other names or at other directories, or from a future that a wrong clock made up, say nothing here.
fn concerns(s: &Situation<'_>, a: &Attempt) -> bool {
    let place = a.directory == s.rules.directory || Some(&a.directory) == s.rules.staging.as_ref();
    a.names == s.rules.names && place && a.at <= s.now + CLOCK_SLACK
}

fn is_certificate(a: &Attempt) -> bool {
    !a.rehearsal && matches!(a.outcome, Some(Outcome::Issued))
}

/// Kind and "not before" of a failure. An attempt without outcome is one that something cut off.
fn failure(a: &Attempt) -> Option<(Kind, Option<i64>)> {
    match &a.outcome {
        Some(Outcome::Issued) => None,
        Some(Outcome::Failed { kind, retry_at, .. }) => Some((*kind, *retry_at)),
        None => Some((Kind::Interrupted, None)),
    }
}

/// The first certificate is rehearsed, and so is every further try after a failure: staging forgives, the real one counts.
fn needs_rehearsal(s: &Situation<'_>, ours: &[&Attempt], failures: usize) -> bool {
    if s.held.is_some() && failures == 0 {
        return false;
    }
    let good =
        |a: &&&Attempt| a.rehearsal && a.outcome == Some(Outcome::Issued) && a.at > s.now - REHEARSAL_LASTS;
    ours.last().filter(good).is_none()
}

fn challenge(rules: &Rules, failures: usize) -> Challenge {
    match rules.challenge {
        ChallengeChoice::Http01 => Challenge::Http01,
        ChallengeChoice::TlsAlpn01 => Challenge::TlsAlpn01,
        ChallengeChoice::Auto if rules.http && failures.is_multiple_of(2) => Challenge::Http01,
        ChallengeChoice::Auto => Challenge::TlsAlpn01,
    }
}

/// The latest moment that something asks us to wait for, if it is still to come.
fn hold_back(s: &Situation<'_>, ours: &[&Attempt], directory: &str, failures: usize) -> Option<(i64, Why)> {
    let here = || ours.iter().copied().filter(|a| a.directory == directory);
    let failed = |a: &&Attempt| failure(a).is_some();
    let told = here().rev().find_map(|a| match failure(a) {
        Some((Kind::RateLimited, None)) => Some(a.at + RATE_LIMITED),
        // A date that is years away is a mistake of the authority's.
        Some((_, retry_at)) => Some(retry_at?.min(a.at + 7 * DAY)),
        None => None,
    });
    let last_of =
        |n: usize, window: i64, times: Vec<i64>| times.iter().rev().nth(n - 1).map(|oldest| oldest + window);
    let hourly = last_of(FAILURES_PER_HOUR, HOUR, here().filter(failed).map(|a| a.at).collect());
    let issued = ours.iter().filter(|a| is_certificate(a)).map(|a| a.at).collect();
    let weekly = s.rules.weekly.filter(|_| directory == s.rules.directory);
    let weekly = weekly.and_then(|most| last_of(most, 7 * DAY, issued));
    let newest = ours.iter().rev().find(|a| failure(a).is_some()).filter(|_| failures > 0 && !s.forced);
    let doubled = newest.map(|a| a.at + back_off(s.rules, failures, a));
    let asked = [
        (told, Why::Told),
        (weekly, Why::CertificatesPerWeek),
        (hourly, Why::FailuresPerHour),
        (doubled, Why::BackOff),
    ];
    let waits = asked.into_iter().filter_map(|(until, why)| Some((until?, why))).filter(|(u, _)| *u > s.now);
    waits.max_by_key(|(until, _)| *until)
}

/// Doubles with each failure, and a quarter of it is up to the moment of the attempt, so that many servers that failed
/// together do not come back together.
fn back_off(rules: &Rules, failures: usize, last: &Attempt) -> i64 {
    let first = i64::try_from(rules.first_wait.as_secs()).unwrap_or(LONGEST_WAIT).max(1);
    let doublings = u32::try_from(failures - 1).unwrap_or(u32::MAX).min(30);
    let wait = first.saturating_mul(1 << doublings).min(LONGEST_WAIT.max(first));
    wait + wait * i64::from(last.spread()) / (4 * i64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str = "https://ca.example/dir";
    const STAGING: &str = "https://staging.example/dir";
    const MINUTE: i64 = 60;
    /// The moment all tables are about.
    const NOW: i64 = 1_800_000_000;

    /// What happened how long before now.
    #[derive(Clone, Copy)]
    enum Was {
        Rehearsed,
        RehearsalFailed,
        Issued,
        Failed,
        CutOff,
        /// Rate limited, "not before" so long after now.
        Limited(Option<i64>),
    }
    use Was::*;

    fn rules() -> Rules {
        Rules {
            names: vec!["a.example".into()],
            directory: REAL.into(),
            staging: Some(STAGING.into()),
            first_wait: Duration::from_secs(300),
            weekly: Some(CERTIFICATES_PER_WEEK),
            challenge: ChallengeChoice::Auto,
            http: true,
        }
    }

    fn record(history: &[(i64, Was)]) -> Record {
        let failed = |kind, retry_at| Some(Outcome::Failed { kind, detail: "why".into(), retry_at });
        let attempt = |(ago, was): &(i64, Was)| {
            let (rehearsal, outcome) = match was {
                Rehearsed => (true, Some(Outcome::Issued)),
                RehearsalFailed => (true, failed(Kind::Validation, None)),
                Issued => (false, Some(Outcome::Issued)),
                Failed => (false, failed(Kind::Validation, None)),
                CutOff => (false, None),
                Limited(after) => (false, failed(Kind::RateLimited, after.map(|a| NOW + a))),
            };
            Attempt {
                at: NOW - ago,
                names: rules().names,
                directory: if rehearsal { STAGING } else { REAL }.into(),
                rehearsal,
                challenge: Challenge::Http01,
                outcome,
            }
        };
        Record { version: 1, attempts: history.iter().map(attempt).collect() }
    }

    /// A 90-day certificate with so many days left.
    fn days_left(days: i64) -> Option<Held> {
        let not_after = NOW + days * DAY;
        Some(Held { validity: Validity { not_before: not_after - 90 * DAY, not_after }, spread: 0 })
    }

    fn plan(held: Option<Held>, history: &[(i64, Was)], rules: &Rules, forced: bool) -> Next {
        next(&Situation { now: NOW, held, record: &record(history), rules, forced })
    }

    #[test]
    fn the_real_authority_is_asked_after_a_rehearsal_that_went_well() {
        let http = Challenge::Http01;
        for (held, history, expected) in [
            (None, &[][..], Next::Rehearse(http)),
            (None, &[(MINUTE, Rehearsed)], Next::Issue(http)),
            (None, &[(8 * DAY, Rehearsed)], Next::Rehearse(http)),
            (None, &[(3 * DAY, Rehearsed), (2 * DAY, Failed)], Next::Rehearse(Challenge::TlsAlpn01)),
            (None, &[(DAY, CutOff)], Next::Rehearse(Challenge::TlsAlpn01)),
            (None, &[(DAY, Failed), (MINUTE, Rehearsed)], Next::Issue(Challenge::TlsAlpn01)),
            (days_left(29), &[(61 * DAY, Issued)], Next::Issue(http)),
            (days_left(20), &[(61 * DAY, Issued), (DAY, Failed)], Next::Rehearse(Challenge::TlsAlpn01)),
            (days_left(-5), &[], Next::Issue(http)),
        ] {
            assert_eq!(plan(held, history, &rules(), false), expected, "{}", history.len());
        }
        let without = Rules { staging: None, ..rules() };
        assert_eq!(plan(None, &[], &without, false), Next::Issue(http));
    }

    #[test]
    fn a_good_certificate_rests_until_a_third_of_its_life_is_left_and_spreads_renewals() {
        let Next::Rest { until } = plan(days_left(60), &[], &rules(), false) else { panic!("rest") };
        assert_eq!(until, NOW + 30 * DAY);
        let spread = |spread| due(Held { spread, ..days_left(60).expect("held") });
        assert_eq!(spread(u16::MAX) - spread(0), 90 * DAY / 20);
        assert!(spread(1000) > spread(0) && spread(1000) < spread(2000));
        assert_eq!(plan(days_left(60), &[], &rules(), true), Next::Issue(Challenge::Http01), "forced");
    }

    /// Failures `ago`, and how long after the newest one the next attempt comes at the earliest and at the latest.
    #[test]
    fn each_failure_doubles_the_wait_up_to_six_hours() {
        let without = Rules { staging: None, ..rules() };
        for (failures, wait) in
            [(1, 5 * MINUTE), (2, 10 * MINUTE), (3, 20 * MINUTE), (7, 320 * MINUTE), (9, 6 * HOUR)]
        {
            // Spaced so that the hourly budget does not speak.
            let history: Vec<_> = (0..failures).rev().map(|n| (10 + n * HOUR, Failed)).collect();
            let Next::Wait { until, why } = plan(None, &history, &without, false) else {
                panic!("{failures}")
            };
            assert_eq!(why, Why::BackOff);
            let waited = until - (NOW - 10);
            assert!((wait..=wait + wait / 4).contains(&waited), "{failures} failures: {waited} s");
        }
        let healed = [(3 * HOUR, Failed), (2 * HOUR, Issued), (6 * MINUTE + 20, Failed)];
        let Next::Issue(_) = plan(None, &healed, &without, false) else {
            panic!("counts from the last certificate")
        };
    }

    #[test]
    fn what_the_authority_counts_is_never_used_up() {
        let without = Rules { staging: None, ..rules() };
        let hour = [(50 * MINUTE, Failed), (40 * MINUTE, Failed), (25 * MINUTE, Failed)];
        let week: Vec<_> = (1..=4).rev().map(|n| (n * DAY, Issued)).collect();
        for (history, forced, until, why) in [
            (&hour[..], false, NOW + 10 * MINUTE, Why::FailuresPerHour),
            (&hour[..], true, NOW + 10 * MINUTE, Why::FailuresPerHour),
            (&week[..], true, NOW + 3 * DAY, Why::CertificatesPerWeek),
            (&[(MINUTE, Limited(Some(2 * HOUR)))], true, NOW + 2 * HOUR, Why::Told),
            (&[(MINUTE, Limited(None))], true, NOW + 59 * MINUTE, Why::Told),
            (&[(MINUTE, Limited(Some(9000 * DAY)))], true, NOW - MINUTE + 7 * DAY, Why::Told),
        ] {
            assert_eq!(plan(None, history, &without, forced), Next::Wait { until, why });
        }
        let forced = plan(None, &[(MINUTE, Failed)], &without, true);
        assert_eq!(forced, Next::Issue(Challenge::TlsAlpn01), "only our own wait can be skipped");
        let uncounted = Rules { weekly: None, ..without };
        assert_eq!(plan(None, &week, &uncounted, false), Next::Issue(Challenge::Http01));
    }

    #[test]
    fn a_limit_at_the_real_directory_does_not_keep_us_from_rehearsing() {
        let history = [(10 * MINUTE, Limited(Some(2 * HOUR)))];
        assert_eq!(plan(None, &history, &rules(), false), Next::Rehearse(Challenge::TlsAlpn01));
        let rehearsed = [(10 * MINUTE, Limited(Some(2 * HOUR))), (MINUTE, Rehearsed)];
        let expected = Next::Wait { until: NOW + 2 * HOUR, why: Why::Told };
        assert_eq!(plan(None, &rehearsed, &rules(), false), expected);
        let failing = [(MINUTE, RehearsalFailed)];
        assert!(matches!(plan(None, &failing, &rules(), false), Next::Wait { why: Why::BackOff, .. }));
    }

    #[test]
    fn records_of_other_names_and_from_the_future_say_nothing() {
        let without = Rules { staging: None, ..rules() };
        let other = Rules { names: vec!["b.example".into()], ..without.clone() };
        assert_eq!(plan(None, &[(MINUTE, Failed)], &other, false), Next::Issue(Challenge::Http01));
        let future = [(-DAY, Failed)];
        assert_eq!(plan(None, &future, &without, false), Next::Issue(Challenge::Http01));
    }

    #[test]
    fn the_challenge_is_the_one_that_was_asked_for() {
        for (choice, http, failures, expected) in [
            (ChallengeChoice::Auto, true, 0, Challenge::Http01),
            (ChallengeChoice::Auto, true, 1, Challenge::TlsAlpn01),
            (ChallengeChoice::Auto, true, 2, Challenge::Http01),
            (ChallengeChoice::Auto, false, 0, Challenge::TlsAlpn01),
            (ChallengeChoice::Http01, true, 1, Challenge::Http01),
            (ChallengeChoice::TlsAlpn01, true, 0, Challenge::TlsAlpn01),
        ] {
            let rules = Rules { challenge: choice, http, ..rules() };
            assert_eq!(challenge(&rules, failures), expected, "{choice:?} {http} {failures}");
        }
    }
}
