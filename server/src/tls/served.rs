//! What is shown in a handshake: the present certificate, or the answer to a TLS-ALPN-01 challenge.
//!
//! Invariant: a certificate is replaced as a whole and at once; connections that are open keep what they began with.
//! A client that asks for a name which is not ours gets our certificate all the same: its own error then says which name
//! it wanted and which ones it was shown, where a refused handshake would say nothing
//! (docs/decisions/0009-tls.md).

use super::certificate::Certificate;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

/// The protocol name of a TLS-ALPN-01 validation (RFC 8737).
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// The present certificate and the challenges under way.
#[derive(Debug, Default)]
pub struct Served {
    present: RwLock<Option<Arc<Certificate>>>,
    desk: Mutex<Desk>,
}

/// Answers to challenges: as many as one order has names, and gone with it.
#[derive(Debug, Default)]
struct Desk {
    /// Token to key authorization (HTTP-01).
    tokens: BTreeMap<String, String>,
    /// Name to certificate (TLS-ALPN-01).
    names: BTreeMap<String, Arc<CertifiedKey>>,
}

impl Served {
    /// The certificate that new connections get.
    pub fn present(&self) -> Option<Arc<Certificate>> {
        self.present.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on this one.
    pub fn replace(&self, certificate: Certificate) {
        *self.present.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(certificate));
    }

    /// What HTTP-01 answers for a token.
    pub fn key_authorization(&self, token: &str) -> Option<String> {
        self.desk().tokens.get(token).cloned()
    }

    /// Answers to challenges can be laid out while the value is held.
    pub fn challenges(self: &Arc<Self>) -> Challenges {
        Challenges(Arc::clone(self))
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Clears the desk when the order is over, however it ended.
pub struct Challenges(Arc<Served>);

impl Challenges {
    /// Answers HTTP-01 for the token.
    pub fn answer_http(&self, token: &str, key_authorization: &str) {
        self.0.desk().tokens.insert(token.into(), key_authorization.into());
    }

    /// Answers TLS-ALPN-01 for the name.
    pub fn answer_tls(&self, name: &str, certificate: CertifiedKey) {
        self.0.desk().names.insert(name.into(), Arc::new(certificate));
    }
}

impl Drop for Challenges {
    fn drop(&mut self) {
        *self.0.desk() = Desk::default();
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let validation = hello.alpn().is_some_and(|mut offered| offered.any(|p| p == ACME_TLS));
        if validation {
            let name = hello.server_name()?.to_ascii_lowercase();
            return self.desk().names.get(&name).cloned();
        }
        let present = self.present()?;
        if let Some(name) = hello.server_name().filter(|n| !present.covers(n)) {
            tracing::debug!(name, "a client asks for a name that the certificate does not have");
        }
        Some(Arc::clone(&present.key))
    }
}
