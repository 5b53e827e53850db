//! Random names and secrets, and the only form in which secrets are stored.
//!
//! Invariant: a plaintext leaves this module once, for the answer that shows it; files keep its SHA-256 (server-protocol
//! 2.2: without salt, so that keys of the reference keep working).

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The operating system gave no randomness. Nothing sensible can go on.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes: {0}")]
pub struct NoRandom(String);

/// A secret of the operator's: never printed, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes it over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The value, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Random bytes.
pub fn bytes<const N: usize>() -> Result<[u8; N], NoRandom> {
    let mut out = [0; N];
    let mut filled = 0;
    while filled < N {
        // The system call itself: a static program that asks through libc's symbol finds none and falls back to
        // /dev/urandom, which an empty root folder does not have.
        filled += rustix::rand::getrandom(&mut out[filled..], rustix::rand::GetRandomFlags::empty())
            .map_err(|e| NoRandom(e.to_string()))?;
    }
    Ok(out)
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    // Every request has two of these, its id and the hash of its key.
    let digit = |n: u8| char::from(if n < 10 { b'0' + n } else { b'a' + (n - 10) });
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

/// `prefix` and 16 random hex digits (server-protocol 2.1).
pub fn id(prefix: &str) -> Result<String, NoRandom> {
    Ok(format!("{prefix}{}", hex(&bytes::<8>()?)))
}

/// Whether two hashes are the same, in a time that does not tell where they differ.
pub fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && bool::from(a.as_bytes().ct_eq(b.as_bytes()))
}

/// Lower-case hex of SHA-256 over the whole plaintext.
pub fn hash(plaintext: &str) -> String {
    hex(&Sha256::digest(plaintext.as_bytes()))
}

/// `td_live_` and 32 characters, each uniform over `0-9A-Za-z`.
pub fn api_key() -> Result<String, NoRandom> {
    key("live")
}

/// The same for a token: `td_agent_…`, `td_link_…`.
pub fn token(kind: &str) -> Result<String, NoRandom> {
    key(kind)
}

fn key(kind: &str) -> Result<String, NoRandom> {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut key = format!("td_{kind}_");
    let length = key.len() + 32;
    while key.len() < length {
        // 248 is the largest multiple of 62 in a byte: what is above would favour the first letters.
        let usable = bytes::<32>()?.into_iter().filter(|b| *b < 248);
        key.extend(usable.map(|b| char::from(ALPHABET[usize::from(b % 62)])));
    }
    key.truncate(length);
    Ok(key)
}

/// Eight letters and digits that a person reads and types: none that look alike, 38 bits.
pub fn code() -> Result<String, NoRandom> {
    const ALPHABET: &[u8; 28] = b"BCDFGHJKLMNPQRSTVWXYZ2345679";
    let mut code = String::new();
    while code.len() < 8 {
        // 252 = 9 x 28.
        let usable = bytes::<16>()?.into_iter().filter(|b| *b < 252);
        code.extend(usable.map(|b| char::from(ALPHABET[usize::from(b % 28)])));
    }
    code.truncate(8);
    Ok(code)
}

/// 26 characters of lower-case base32: 128 bit (DESIGN 6.1, enrolment link).
pub fn enrolment() -> Result<String, NoRandom> {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let number = u128::from_be_bytes(bytes::<16>()?);
    // 26 × 5 = 130 bits: the last character carries three.
    let text = (0..26).map(|i| {
        let bits = if i < 25 { number >> (123 - 5 * i) } else { number << 2 };
        char::from(ALPHABET[usize::try_from(bits & 31).unwrap_or(0)])
    });
    Ok(text.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_reference_shape_and_differ() {
        let (a, b) = (api_key().expect("key"), api_key().expect("key"));
        assert_ne!(a, b);
        assert_eq!(a.len(), 40);
        assert!(a.strip_prefix("td_live_").is_some_and(|s| s.bytes().all(|c| c.is_ascii_alphanumeric())));
    }

    #[test]
    fn enrolment_secrets_are_26_characters_of_base32() {
        let s = enrolment().expect("secret");
        assert_eq!(s.len(), 26);
        assert!(s.bytes().all(|c| c.is_ascii_lowercase() || (b'2'..=b'7').contains(&c)), "{s}");
    }

    #[test]
    fn hashes_are_those_of_the_reference() {
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
