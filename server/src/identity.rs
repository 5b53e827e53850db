//! The server's Ed25519 key: proves to a device that this is the server it enrolled with (DESIGN 6.1, identity).
//!
//! Invariant: made once, under the data directory's lock; 0600; never leaves the directory but in a backup.
//! Danger: a lost key makes every pinned device refuse this server until it resyncs.

use crate::datadir::{DataDir, DataDirError, read_if_there, write_durably};
use crate::secret;
use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// File name in the data directory.
pub const FILE: &str = "identity.key";

/// What a signed nonce begins with, so that a signature can mean nothing else.
pub const CONTEXT: &str = "td-sync identity 1\n";

/// The key pair.
pub struct Identity(SigningKey);

impl Identity {
    /// Reads the key, or makes it.
    pub fn load(dir: &DataDir) -> Result<Self, DataDirError> {
        let path = dir.path().join(FILE);
        let text = match read_if_there(&path)? {
            Some(content) => Zeroizing::new(content),
            None => {
                let seed = Zeroizing::new(secret::bytes::<32>()?);
                let text = Zeroizing::new(format!("{}\n", STANDARD.encode(*seed)).into_bytes());
                write_durably(&path, &text, 0o600)?;
                text
            }
        };
        Self::parse(&text).ok_or_else(|| DataDirError::Damaged { path, why: "not 32 bytes in base64".into() })
    }

    /// From the content of the file.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let seed = STANDARD.decode(text.trim_ascii()).ok().map(Zeroizing::new)?;
        let seed: [u8; 32] = seed.as_slice().try_into().ok()?;
        Some(Self(SigningKey::from_bytes(&seed)))
    }

    /// The public key in base64.
    pub fn public_key(&self) -> String {
        STANDARD.encode(self.0.verifying_key().as_bytes())
    }

    /// The first 16 hex digits of SHA-256 of the public key: the `fp` of an enrolment link.
    pub fn fingerprint(&self) -> String {
        secret::hex(&Sha256::digest(self.0.verifying_key().as_bytes())[..8])
    }

    /// The signature over [`CONTEXT`] and the nonce as it was asked, in base64.
    pub fn sign(&self, nonce: &str) -> String {
        STANDARD.encode(self.0.sign(format!("{CONTEXT}{nonce}").as_bytes()).to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signature, Verifier, VerifyingKey};
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    #[test]
    fn the_key_stays_the_same_is_private_and_its_signatures_verify() {
        let dir = tempfile::tempdir().expect("dir");
        let data = DataDir::take(dir.path(), Duration::ZERO).expect("take");
        let first = Identity::load(&data).expect("made");
        let second = Identity::load(&data).expect("read");
        assert_eq!(first.public_key(), second.public_key());
        assert_eq!(first.fingerprint().len(), 16);
        let mode = std::fs::metadata(dir.path().join(FILE)).expect("meta").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let key: [u8; 32] = STANDARD.decode(first.public_key()).expect("b64").try_into().expect("32");
        let signature = STANDARD.decode(first.sign("00ff")).expect("b64");
        let signature = Signature::from_slice(&signature).expect("64");
        let key = VerifyingKey::from_bytes(&key).expect("key");
        assert!(key.verify(b"td-sync identity 1\n00ff", &signature).is_ok());
        assert!(key.verify(b"00ff", &signature).is_err());
    }
}
