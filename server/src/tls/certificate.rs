//! A certificate chain with its key, and what one has to know of it.
//!
//! Duty: PEM in, something that can be served out, or the sentence that says why not.
//! Invariant: holding a [`Certificate`] proves that the key fits the certificate and that its dates could be read.

use sha2::{Digest, Sha256};
use std::sync::Arc;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, InconsistentKeys};
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// A day, in seconds.
pub const DAY: i64 = 86_400;

/// From when to when, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First moment.
    pub not_before: i64,
    /// Last moment.
    pub not_after: i64,
}

impl Validity {
    /// How long it was made for.
    pub fn lifetime(self) -> i64 {
        (self.not_after - self.not_before).max(0)
    }

    /// How alarming the rest of it is. The thresholds are those of a 90-day certificate, in proportion for shorter ones:
    /// one that lives for six days is not late when three are left.
    pub fn alarm(self, now: i64) -> Alarm {
        let left = self.not_after - now;
        let of_life = |days: i64| (days * DAY).min(self.lifetime() * days / 90);
        match left {
            _ if now < self.not_before => Alarm::NotYet,
            l if l < 0 => Alarm::Expired,
            l if l < of_life(7) => Alarm::Soon,
            l if l < of_life(21) => Alarm::Late,
            _ => Alarm::None,
        }
    }
}

/// See [`Validity::alarm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Nothing to do.
    None,
    /// A renewal should have happened by now.
    Late,
    /// It ends soon.
    Soon,
    /// It has ended.
    Expired,
    /// It has not begun: somebody's clock is wrong.
    NotYet,
}

/// Why a pair of PEM texts cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// No certificate in it, or not PEM.
    #[error("it holds no certificate in PEM form")]
    NoCertificate,
    /// No key in it, or not PEM.
    #[error("the key file holds no private key in PEM form")]
    NoKey,
    /// They belong to other pairs: often a replacement that is half done.
    #[error("key and certificate do not belong together")]
    Mismatch,
    /// Anything else.
    #[error("it cannot be used: {0}")]
    Unusable(String),
}

/// Something to serve.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// For the handshake.
    pub key: Arc<CertifiedKey>,
    /// DNS names and addresses in it.
    pub names: Vec<String>,
    /// Its dates.
    pub validity: Validity,
    /// SHA-256 of the certificate itself.
    pub fingerprint: [u8; 32],
}

impl Certificate {
    /// Reads a chain (own certificate first) and its key. Both may be the same text.
    pub fn parse(chain_pem: &[u8], key_pem: &[u8]) -> Result<Self, BadCertificate> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain_pem).collect();
        let chain = chain.ok().filter(|c| !c.is_empty()).ok_or(BadCertificate::NoCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| BadCertificate::NoKey)?;
        let (names, validity) = facts(&chain[0])?;
        let fingerprint = Sha256::digest(&chain[0]).into();
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider());
        let key = key.map_err(|e| match e {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => BadCertificate::Mismatch,
            other => BadCertificate::Unusable(other.to_string()),
        })?;
        Ok(Self { key: Arc::new(key), names, validity, fingerprint })
    }

    /// Whether a client that asks for this name would accept it, as far as the name goes.
    pub fn covers(&self, name: &str) -> bool {
        let (Ok(name), Ok(end)) = (ServerName::try_from(name), self.key.end_entity_cert()) else {
            return false;
        };
        ParsedCertificate::try_from(end).is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
    }

    /// Whether it covers all of them.
    pub fn covers_all(&self, names: &[String]) -> bool {
        names.iter().all(|n| self.covers(n))
    }
}

fn facts(der: &CertificateDer<'_>) -> Result<(Vec<String>, Validity), BadCertificate> {
    let unusable = |e: x509_cert::der::Error| BadCertificate::Unusable(e.to_string());
    let parsed = x509_cert::Certificate::from_der(der).map_err(unusable)?;
    let seconds =
        |t: x509_cert::time::Time| i64::try_from(t.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    let body = parsed.tbs_certificate();
    let validity = Validity {
        not_before: seconds(body.validity().not_before),
        not_after: seconds(body.validity().not_after),
    };
    let alternative = body.get_extension::<SubjectAltName>().map_err(unusable)?;
    let names = alternative.map(|(_, san)| san.0).unwrap_or_default();
    let names = names.iter().filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(ip) => match ip.as_bytes() {
            [a, b, c, d] => Some(std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string()),
            long => <[u8; 16]>::try_from(long).ok().map(|b| std::net::Ipv6Addr::from(b).to_string()),
        },
        _ => None,
    });
    Ok((names.collect(), validity))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};
    use time::OffsetDateTime;

    /// Chain and key of a self-signed certificate.
    pub fn pem(names: &[&str], validity: Validity) -> (String, String) {
        let mut params =
            CertificateParams::new(names.iter().map(|n| n.to_string()).collect::<Vec<_>>()).expect("names");
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).expect("time");
        (params.not_before, params.not_after) = (at(validity.not_before), at(validity.not_after));
        let key = KeyPair::generate().expect("key");
        (params.self_signed(&key).expect("signed").pem(), key.serialize_pem())
    }

    const ABOUT_2026: Validity = Validity { not_before: 1_767_225_600, not_after: 1_767_225_600 + 90 * DAY };

    #[test]
    fn a_pair_is_read_with_its_names_and_dates() {
        let (chain, key) = pem(&["a.example", "*.b.example", "10.0.0.1"], ABOUT_2026);
        let read = Certificate::parse(chain.as_bytes(), key.as_bytes()).expect("good");
        assert_eq!(read.names, ["a.example", "*.b.example", "10.0.0.1"]);
        assert_eq!(read.validity, ABOUT_2026);
        assert!(read.covers_all(&["a.example".into(), "x.b.example".into(), "10.0.0.1".into()]));
        assert!(!read.covers("b.example") && !read.covers("x.y.b.example") && !read.covers(""));
        let both = format!("{key}{chain}");
        Certificate::parse(both.as_bytes(), both.as_bytes()).expect("one file with both");
    }

    #[test]
    fn what_cannot_be_served_says_why() {
        let (chain, key) = pem(&["a.example"], ABOUT_2026);
        let (_, other) = pem(&["a.example"], ABOUT_2026);
        let fault =
            |chain: &str, key: &str| Certificate::parse(chain.as_bytes(), key.as_bytes()).expect_err("bad");
        assert_eq!(fault("", &key), BadCertificate::NoCertificate);
        assert_eq!(fault(&chain, &chain), BadCertificate::NoKey);
        assert_eq!(fault(&chain, &other), BadCertificate::Mismatch);
        let cut = format!("{}\n-----END CERTIFICATE-----\n", &chain[..200]);
        assert!(matches!(fault(&cut, &key), BadCertificate::NoCertificate | BadCertificate::Unusable(_)));
    }

    #[test]
    fn the_alarm_grows_with_what_is_left_in_proportion_to_its_life() {
        let (quarter, week) = (ABOUT_2026, Validity { not_before: 0, not_after: 6 * DAY });
        for (validity, left, alarm) in [
            (quarter, 30 * DAY, Alarm::None),
            (quarter, 20 * DAY, Alarm::Late),
            (quarter, 6 * DAY, Alarm::Soon),
            (quarter, -1, Alarm::Expired),
            (quarter, 91 * DAY, Alarm::NotYet),
            (week, 3 * DAY, Alarm::None),
            (week, DAY, Alarm::Late),
            (week, DAY / 4, Alarm::Soon),
        ] {
            assert_eq!(validity.alarm(validity.not_after - left), alarm, "{left} seconds left");
        }
    }
}
