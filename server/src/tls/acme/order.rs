//! One order at one directory, from the account to the chain.
//!
//! Duty: I/O only. Whether to ask at all was decided by the plan; what comes back is judged by the caller.
//! Invariant: answers to challenges stand only while the order runs.

use super::http::Http;
use super::record::{Challenge, Kind};
use crate::datadir::{read_if_there, write_durably};
use crate::tls::served::Challenges;
use instant_acme::{
    Account, AuthorizationStatus, ChallengeStatus, ChallengeType, Error, Identifier, KeyAuthorization,
    NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

/// Longest time that an authority may take to look at our answers, and then to sign.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why there is no certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What about.
    pub kind: Kind,
    /// In the authority's words where it has any.
    pub detail: String,
    /// How long the authority asked us to wait.
    pub retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), retry_after: None }
    }
}

/// Chain and key, as PEM.
pub struct Issued {
    /// Own certificate first.
    pub chain: String,
    /// PKCS#8.
    pub key: Zeroizing<String>,
}

/// A directory and how we are known there.
pub struct Authority<'a> {
    /// Its URL.
    pub directory: &'a str,
    /// Where accounts are kept.
    pub dir: &'a Path,
    /// Mail address.
    pub contact: Option<&'a str>,
    /// The client.
    pub http: Http,
}

impl Authority<'_> {
    /// A certificate for the names.
    pub async fn obtain(
        &self,
        names: &[String],
        challenge: Challenge,
        desk: &Challenges,
    ) -> Result<Issued, Failure> {
        let identifiers: Vec<_> = names.iter().cloned().map(Identifier::Dns).collect();
        let mut order = self.order(&identifiers).await?;
        self.answer(&mut order, challenge, desk).await?;
        let policy = RetryPolicy::new().initial_delay(Duration::from_millis(250)).timeout(PATIENCE);
        match order.poll_ready(&policy).await {
            Ok(OrderStatus::Ready | OrderStatus::Valid) => {}
            refused => return Err(self.validation(&mut order, refused.err()).await),
        }
        let key = order.finalize().await.map_err(|e| self.failure(e))?;
        let chain = order.poll_certificate(&policy).await.map_err(|e| self.failure(e))?;
        Ok(Issued { chain, key: Zeroizing::new(key) })
    }

    /// Places the order; where the authority has forgotten the account, under a new one.
    async fn order(&self, identifiers: &[Identifier]) -> Result<Order, Failure> {
        let order = NewOrder::new(identifiers);
        if let Some(account) = self.known_account().await? {
            match account.new_order(&order).await {
                Err(Error::Api(p)) if is(&p.r#type, "accountDoesNotExist") => {
                    tracing::warn!(
                        directory = self.directory,
                        "the authority does not know our account; a new one is made"
                    );
                }
                other => return other.map_err(|e| self.failure(e)),
            }
        }
        self.new_account().await?.new_order(&order).await.map_err(|e| self.failure(e))
    }

    fn account_file(&self) -> PathBuf {
        let id = crate::secret::hex(&Sha256::digest(self.directory.as_bytes())[..8]);
        self.dir.join(format!("account-{id}.json"))
    }

    async fn known_account(&self) -> Result<Option<Account>, Failure> {
        let path = self.account_file();
        let disk = |e: &dyn std::fmt::Display| Failure::new(Kind::Disk, e.to_string());
        let Some(text) = read_if_there(&path).map_err(|e| disk(&e))?.map(Zeroizing::new) else {
            return Ok(None);
        };
        let credentials =
            serde_json::from_slice(&text).map_err(|e| disk(&format!("{}: {e}", path.display())))?;
        let account = Account::builder_with_http(Box::new(self.http.clone())).from_credentials(credentials);
        account.await.map(Some).map_err(|e| self.failure(e))
    }

    async fn new_account(&self) -> Result<Account, Failure> {
        let contact: Vec<String> = self.contact.iter().map(|c| format!("mailto:{c}")).collect();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let ask =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let builder = Account::builder_with_http(Box::new(self.http.clone()));
        let made = builder.create(&ask, self.directory.into(), None).await;
        let (account, credentials) = made.map_err(|e| self.failure(e))?;
        let text = serde_json::to_vec(&credentials).map(Zeroizing::new);
        let text = text.map_err(|e| Failure::new(Kind::Disk, e.to_string()))?;
        write_durably(&self.account_file(), &text, 0o600)
            .map_err(|e| Failure::new(Kind::Disk, e.to_string()))?;
        tracing::info!(directory = self.directory, "account made");
        Ok(account)
    }

    /// Lays out the answer for each name that is not proven yet, and tells the authority to look.
    async fn answer(
        &self,
        order: &mut Order,
        challenge: Challenge,
        desk: &Challenges,
    ) -> Result<(), Failure> {
        let mut pending = order.authorizations();
        while let Some(next) = pending.next().await {
            let mut authorization = next.map_err(|e| self.failure(e))?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let name = authorization.identifier().to_string();
            let kind = match challenge {
                Challenge::Http01 => ChallengeType::Http01,
                Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
            };
            let offered = authorization.challenge(kind);
            let mut handle = offered.ok_or_else(|| {
                Failure::new(Kind::Refused, format!("the authority does not offer {challenge} for {name}"))
            })?;
            let proof = handle.key_authorization();
            match challenge {
                Challenge::Http01 => desk.answer_http(&handle.token, proof.as_str()),
                Challenge::TlsAlpn01 => desk.answer_tls(&name, proof_in_a_certificate(&name, &proof)?),
            }
            handle.set_ready().await.map_err(|e| self.failure(e))?;
        }
        Ok(())
    }

    /// What the authority could not see, name by name: the order itself often says less.
    async fn validation(&self, order: &mut Order, refused: Option<Error>) -> Failure {
        if let Some(e) = refused.filter(|e| !matches!(e, Error::Api(_))) {
            return self.failure(e);
        }
        let mut said = Vec::new();
        let mut all = order.authorizations();
        while let Some(Ok(mut authorization)) = all.next().await {
            // Best effort: without the details the failure is still a failure.
            if authorization.refresh().await.is_err() {
                continue;
            }
            let name = authorization.identifier().to_string();
            let invalid = authorization.challenges.iter().filter(|c| c.status == ChallengeStatus::Invalid);
            said.extend(invalid.filter_map(|c| c.error.as_ref()).map(|e| format!("{name}: {}", words(e))));
        }
        if said.is_empty() {
            said.push("the authority could not validate the names and does not say why".into());
        }
        Failure::new(Kind::Validation, said.join("; "))
    }

    /// Sorts an error by what can be done about it.
    fn failure(&self, error: Error) -> Failure {
        let heard = self.http.heard();
        let limited = heard.status == Some(429);
        let kind = match &error {
            Error::Api(p) if limited || is(&p.r#type, "rateLimited") => Kind::RateLimited,
            Error::Api(p) if p.status.is_some_and(|s| s >= 500) => Kind::Unreachable,
            Error::Api(_) => Kind::Refused,
            _ if limited => Kind::RateLimited,
            _ => Kind::Unreachable,
        };
        let detail = match &error {
            Error::Api(p) => words(p),
            Error::Timeout(_) => format!("no result within {} s", PATIENCE.as_secs()),
            other => match heard.status {
                Some(status) if status >= 400 => format!("{} answers {status}", self.directory),
                _ => format!("{}: {other}", self.directory),
            },
        };
        let asked = heard.status.is_some_and(|s| s >= 400);
        Failure { kind, detail, retry_after: heard.retry_after.filter(|_| asked) }
    }
}

fn is(kind: &Option<String>, word: &str) -> bool {
    kind.as_deref().and_then(|k| k.rsplit(':').next()) == Some(word)
}

fn words(problem: &instant_acme::Problem) -> String {
    let kind = problem.r#type.as_deref().and_then(|t| t.rsplit(':').next()).unwrap_or("problem");
    let mut text = format!("{kind}: {}", problem.detail.as_deref().unwrap_or("no detail"));
    for sub in problem.subproblems.iter().filter_map(|s| s.detail.as_deref()) {
        text.push_str(&format!("; {sub}"));
    }
    text
}

/// The certificate that proves control in a handshake (RFC 8737).
fn proof_in_a_certificate(name: &str, proof: &KeyAuthorization) -> Result<CertifiedKey, Failure> {
    let make = || -> Result<CertifiedKey, Box<dyn std::error::Error>> {
        let mut params = CertificateParams::new(vec![name.to_string()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(proof.digest().as_ref())];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let der = PrivatePkcs8KeyDer::from(key.serialize_der());
        let signing = ring::default_provider().key_provider.load_private_key(der.into())?;
        // Not `from_der`, which reads the certificate and stumbles over the critical extension that is its point.
        Ok(CertifiedKey::new(vec![certificate.der().clone()], signing))
    };
    make().map_err(|e| Failure::new(Kind::Refused, format!("no proof for {name} can be made: {e}")))
}
