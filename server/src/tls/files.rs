//! Certificate files that somebody else keeps current.
//!
//! Invariant: what is served is always a pair that was good when it was read. A replacement that cannot be used (half
//! written, key of another pair, not readable) leaves the old pair in service, is said once in the log, and stays visible
//! in `readyz`'s sibling, the doctor, until it is mended.
//! Both files are read at every look: a renewal often swaps symlinks, and no time stamp tells that reliably.

use super::certificate::{BadCertificate, Certificate};
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A private key or a chain is smaller than this; what is larger is no such file.
const LARGEST: u64 = 1 << 20;

/// Why a pair cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// Their content is no good.
    #[error("the certificate in {}: {why}", .path.display())]
    Bad {
        /// The file with the chain.
        path: PathBuf,
        /// What is wrong.
        why: BadCertificate,
    },
}

/// Two paths and what was found there last.
pub struct Files {
    certificate: PathBuf,
    key: PathBuf,
    last: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
    complained: bool,
}

/// What a look found.
pub enum Look {
    /// As before.
    Same,
    /// Another pair.
    New(Certificate),
    /// Something that cannot be served; said for the first time.
    Worse(FilesError),
}

impl Files {
    /// Nothing is read yet.
    pub fn new(certificate: &Path, key: &Path) -> Self {
        Self { certificate: certificate.into(), key: key.into(), last: None, complained: false }
    }

    /// Reads both and tells whether that is news.
    pub fn look(&mut self) -> Look {
        let (chain, key) = match (read(&self.certificate), read(&self.key)) {
            (Ok(chain), Ok(key)) => (chain, Zeroizing::new(key)),
            (Err(e), _) | (_, Err(e)) => {
                // What comes back may be the very pair from before, and is then worth a word.
                self.last = None;
                return self.worse(e);
            }
        };
        if self.last.as_ref().is_some_and(|(c, k)| *c == chain && **k == *key) {
            return Look::Same;
        }
        let parsed = Certificate::parse(&chain, &key);
        // A new pair of bytes is a new state, also if it is as bad as the one before.
        self.complained = false;
        self.last = Some((chain, key));
        match parsed {
            Ok(certificate) => Look::New(certificate),
            Err(why) => self.worse(FilesError::Bad { path: self.certificate.clone(), why }),
        }
    }

    fn worse(&mut self, error: FilesError) -> Look {
        if std::mem::replace(&mut self.complained, true) { Look::Same } else { Look::Worse(error) }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, FilesError> {
    let unreadable = |source| FilesError::Unreadable { path: path.into(), source };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > LARGEST {
        return Err(unreadable(io::Error::other(format!("{length} bytes are no certificate"))));
    }
    std::fs::read(path).map_err(unreadable)
}

/// Reads the pair once.
pub fn load(certificate: &Path, key: &Path) -> Result<Certificate, FilesError> {
    match Files::new(certificate, key).look() {
        Look::New(certificate) => Ok(certificate),
        Look::Worse(e) => Err(e),
        Look::Same => unreachable!("a first look is always news"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificate::tests::pem;
    use super::super::certificate::{DAY, Validity};
    use super::*;

    #[test]
    fn a_replacement_is_taken_when_both_halves_are_there_and_a_broken_one_is_said_once() {
        let dir = tempfile::tempdir().expect("dir");
        let (chain_file, key_file) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
        let validity = Validity { not_before: 0, not_after: 90 * DAY };
        let write = |(chain, key): &(String, String)| {
            std::fs::write(&chain_file, chain).expect("chain");
            std::fs::write(&key_file, key).expect("key");
        };
        let (first, second) = (pem(&["a.example"], validity), pem(&["b.example"], validity));
        let mut files = Files::new(&chain_file, &key_file);
        assert!(matches!(files.look(), Look::Worse(FilesError::Unreadable { .. })));
        assert!(matches!(files.look(), Look::Same), "said once");
        write(&first);
        assert!(matches!(files.look(), Look::New(c) if c.names == ["a.example"]));
        assert!(matches!(files.look(), Look::Same));
        std::fs::write(&chain_file, &second.0).expect("half a replacement");
        assert!(matches!(files.look(), Look::Worse(FilesError::Bad { why: BadCertificate::Mismatch, .. })));
        assert!(matches!(files.look(), Look::Same), "said once");
        write(&second);
        assert!(matches!(files.look(), Look::New(c) if c.names == ["b.example"]));
        std::fs::remove_file(&key_file).expect("gone");
        assert!(matches!(files.look(), Look::Worse(_)));
        write(&second);
        assert!(matches!(files.look(), Look::New(_)), "back again, and worth a word");
    }
}
