//! `manifest.json`: what a backup folder holds and how to tell that it still does.

use crate::{BackupError, io_error};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Name in the folder.
pub const FILE: &str = "manifest.json";
/// Version of this shape.
pub const FORMAT: u32 = 1;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// When it was made, RFC 3339.
    pub made_at: String,
    /// History that the data belongs to.
    pub epoch: String,
    /// Databases, in the order in which they were copied.
    pub databases: Vec<StoredDatabase>,
    /// Other files.
    pub files: Vec<StoredFile>,
}

/// A copied database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredDatabase {
    /// Path within the folder.
    pub name: String,
    /// Lower-case hex over the file.
    pub sha256: String,
    /// Size of the file.
    pub bytes: u64,
    /// SQL that gives `head` and `count`, so that the copy can be measured again without the program that made it.
    pub measure: Option<String>,
    /// Highest sequence.
    pub head: Option<i64>,
    /// Number of rows.
    pub count: Option<i64>,
}

/// A copied file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Path within the folder.
    pub name: String,
    /// Lower-case hex.
    pub sha256: String,
}

impl Manifest {
    /// Reads a folder's manifest.
    pub fn read(dir: &Path) -> Result<Self, BackupError> {
        let path = dir.join(FILE);
        let none = |why: String| BackupError::NoManifest { path: path.clone(), why };
        let text = std::fs::read_to_string(&path).map_err(|e| none(e.to_string()))?;
        let manifest: Self = serde_json::from_str(&text).map_err(|e| none(e.to_string()))?;
        if manifest.format != FORMAT {
            return Err(none(format!("format {} instead of {FORMAT}", manifest.format)));
        }
        Ok(manifest)
    }
}

/// Lower-case hex of SHA-256 over a file, and its size.
pub(crate) fn hash_file(path: &Path) -> Result<(String, u64), BackupError> {
    let mut file = File::open(path).map_err(io_error("open", path))?;
    let (mut hash, mut buffer, mut bytes) = (Sha256::new(), vec![0; 1 << 16], 0);
    loop {
        let n = file.read(&mut buffer).map_err(io_error("read", path))?;
        if n == 0 {
            let hex = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
            return Ok((hex, bytes));
        }
        hash.update(&buffer[..n]);
        bytes += n as u64;
    }
}
