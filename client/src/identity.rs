//! Is this the server we know? (DESIGN 6.1)
//!
//! Duty: ask for a signature over a fresh nonce and compare the key with what was pinned, or what a link promised.
//! Invariant: no secret is sent to a server before this has passed.
//! Danger: it proves continuity of the server, not privacy of the channel; that is what TLS is for.

use crate::ambient::{Ambient, hex};
use crate::http::Server;
use crate::transport::TransportError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

const CONTEXT: &[u8] = b"td-sync identity 1\n";

/// The Ed25519 key of a server, base64 as it is pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(String);

/// Why a server was not recognised.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It did not answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The answer is no key and signature.
    #[error("the server's identity is malformed: {0}")]
    Malformed(&'static str),
    /// It does not own the key it shows.
    #[error("the server shows a key that it cannot sign with")]
    BadSignature,
    /// Another key than expected.
    #[error("another server answers there: its key has fingerprint {found}, expected was {expected}")]
    Other {
        /// Fingerprint of the key that answered.
        found: String,
        /// Fingerprint that was pinned or promised.
        expected: String,
    },
}

impl PublicKey {
    /// The key as base64.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 16 hex digits of SHA-256 over the key's bytes.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.0)
    }
}

/// The fingerprint of a pinned key; a text that is no base64 has the fingerprint of nothing, which matches no server.
pub fn fingerprint(base64: &str) -> String {
    hex(&Sha256::digest(STANDARD.decode(base64).unwrap_or_default()))[..16].into()
}

/// The key the server proves to own.
pub fn prove(server: &Server, ambient: &dyn Ambient) -> Result<PublicKey, IdentityError> {
    let mut nonce = [0_u8; 32];
    ambient.fill(&mut nonce);
    let nonce = hex(&nonce);
    let answer = server.identity(&nonce)?;
    check(&nonce, &answer.public_key, &answer.signature)
}

/// As [`prove`], and the key's fingerprint has to be `expected`.
pub fn expect(server: &Server, ambient: &dyn Ambient, expected: &str) -> Result<PublicKey, IdentityError> {
    let key = prove(server, ambient)?;
    let found = key.fingerprint();
    if found == expected { Ok(key) } else { Err(IdentityError::Other { found, expected: expected.into() }) }
}

fn check(nonce: &str, public_key: &str, signature: &str) -> Result<PublicKey, IdentityError> {
    let bytes = |text: &str| STANDARD.decode(text).map_err(|_| IdentityError::Malformed("not base64"));
    let key_bytes: [u8; 32] =
        bytes(public_key)?.try_into().map_err(|_| IdentityError::Malformed("a key has 32 bytes"))?;
    let key = VerifyingKey::from_bytes(&key_bytes).map_err(|_| IdentityError::Malformed("no Ed25519 key"))?;
    let signature = Signature::from_slice(&bytes(signature)?)
        .map_err(|_| IdentityError::Malformed("a signature has 64 bytes"))?;
    let message = [CONTEXT, nonce.as_bytes()].concat();
    key.verify_strict(&message, &signature).map_err(|_| IdentityError::BadSignature)?;
    Ok(PublicKey(STANDARD.encode(key_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer, SigningKey};

    #[test]
    fn only_the_owner_of_the_key_passes_and_only_for_this_nonce() {
        let owner = SigningKey::from_bytes(&[7; 32]);
        let public = STANDARD.encode(owner.verifying_key().as_bytes());
        let sign =
            |nonce: &str| STANDARD.encode(owner.sign(&[CONTEXT, nonce.as_bytes()].concat()).to_bytes());
        let key = check("00ff", &public, &sign("00ff")).expect("owner");
        assert_eq!(key.fingerprint(), fingerprint(&public));
        assert_eq!(key.fingerprint().len(), 16);
        assert!(matches!(check("00fe", &public, &sign("00ff")), Err(IdentityError::BadSignature)));
        assert!(matches!(check("00ff", "AAAA", &sign("00ff")), Err(IdentityError::Malformed(_))));
        let without_context = STANDARD.encode(owner.sign(b"00ff").to_bytes());
        assert!(check("00ff", &public, &without_context).is_err());
    }
}
