//! Files and directories.

use super::HostError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// Permission bits, as `0o600`.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mode(pub u32);

impl Mode {
    /// A file only its owner may read.
    pub const PRIVATE: Mode = Mode(0o600);
    /// A file anyone may read.
    pub const PUBLIC: Mode = Mode(0o644);
    /// A program, or a directory anyone may enter.
    pub const PROGRAM: Mode = Mode(0o755);
    /// A directory only its owner may enter.
    pub const PRIVATE_DIR: Mode = Mode(0o700);
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// `sha256:` and 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_sha256(<sha2::Sha256 as sha2::Digest>::digest(bytes).as_ref())
    }

    pub(super) fn from_sha256(sum: &[u8]) -> Self {
        use fmt::Write as _;
        Self(sum.iter().fold("sha256:".to_owned(), |mut text, byte| {
            let _infallible = write!(text, "{byte:02x}");
            text
        }))
    }

    /// With the `sha256:` in front.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first eight hex digits, for names.
    pub fn short(&self) -> &str {
        self.0.get(7..15).unwrap_or(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link (never followed by a look).
    Link,
    /// A socket, device or pipe.
    Other,
}

/// What a look at a path shows. The last part is not followed if it is a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: Mode,
    /// Bytes of a file.
    pub size: u64,
    /// Owner's user id.
    pub uid: u32,
}

/// Whether a directory was made by this call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It did not exist before.
    Created,
    /// It was there; nothing was changed, not even its mode.
    Existed,
}

/// Whether something was removed by this call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It was there and is gone.
    Gone,
    /// It was not there.
    Absent,
    /// It is a directory with something in it; nothing was removed.
    NotEmpty,
}

/// Reading. An absent path is an answer, not an error; a parent that is not a directory counts as absent.
pub trait ReadFiles {
    /// What stands there; none if nothing does.
    fn stat(&self, path: &Path) -> Result<Option<Stat>, HostError>;
    /// The content of a regular file, following links, of at most `limit` bytes (more is [`HostError::TooLarge`]).
    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, HostError>;
    /// Digest of a regular file of any size, following links.
    fn digest(&self, path: &Path) -> Result<Option<Digest>, HostError>;
    /// Where a symbolic link points; none if the path is absent or no link.
    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, HostError>;
    /// Names in a directory, sorted; none if it is absent.
    fn list(&self, dir: &Path) -> Result<Option<Vec<String>>, HostError>;
    /// Bytes an ordinary user may still write on the file system of the nearest existing parent.
    fn free_bytes(&self, path: &Path) -> Result<u64, HostError>;
    /// Whether this user may make things in the nearest existing parent of `path` (itself included), which is a
    /// directory on a file system that takes writes.
    fn may_write(&self, path: &Path) -> Result<bool, HostError>;
}

/// Writing. Each operation is atomic as seen by others and durable when it returns: after a failure or a crash the
/// path holds either its old or its new content, never a part. Left-over temporary names start with `.td-tmp-`.
pub trait WriteFiles {
    /// Makes one directory; its parent must exist. The mode is set before anybody can enter it.
    fn make_dir(&self, path: &Path, mode: Mode) -> Result<Made, HostError>;
    /// Removes a directory if it is empty.
    fn remove_dir(&self, path: &Path) -> Result<Removed, HostError>;
    /// Puts a file with exactly this content and mode in place of whatever file or link stood there. A directory there
    /// is an error. Private from birth; a link at the path is replaced, not followed.
    fn put(&self, path: &Path, content: &[u8], mode: Mode) -> Result<(), HostError>;
    /// As `put`, with the content of a file on the machine setup runs on; returns the digest as written.
    fn put_copy(&self, from: &Path, to: &Path, mode: Mode) -> Result<Digest, HostError>;
    /// Makes `path` a symbolic link to `points_to`, in place of whatever file or link stood there.
    fn put_link(&self, path: &Path, points_to: &Path) -> Result<(), HostError>;
    /// Removes a file or a link (not what it points to). A directory is an error.
    fn remove_file(&self, path: &Path) -> Result<Removed, HostError>;
    /// Removes a directory with all that is in it, without following links. The caller has
    /// to know that all of it is ours.
    fn remove_tree(&self, path: &Path) -> Result<Removed, HostError>;
    /// Sets the permission bits of a file or directory.
    fn set_mode(&self, path: &Path, mode: Mode) -> Result<(), HostError>;
    /// Renames within one file system, replacing a file but never a directory.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), HostError>;
}
