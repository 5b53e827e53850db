//! The Unix socket of a running server: one line of JSON in, one line out.
//!
//! Invariant: the socket appears under its name already private (0600): it is bound in the staging folder and renamed.
//! Danger: a socket path holds about 100 bytes; a longer data directory gets a name in `/tmp` that both sides compute.

use super::{AdminError, Office, Reply, Request};
use crate::datadir::DataDir;
use crate::secret;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// Longest path that every system binds.
const LONGEST: usize = 100;
/// Longest request; the only long thing in one is a path.
const LONGEST_REQUEST: u64 = 64 * 1024;

/// What is asked over the socket.
#[derive(Serialize, Deserialize)]
pub(super) struct Asked<R> {
    /// The file that is meant. Another one in the directory of this socket is none of the server's.
    #[serde(default)]
    pub database: Option<String>,
    #[serde(flatten)]
    pub request: R,
}

/// What is answered.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Spoken {
    Ok(Reply),
    Error(AdminError),
}

/// Where the socket of a data directory is.
pub fn path(dir: &Path) -> io::Result<PathBuf> {
    let dir = fs::canonicalize(dir)?;
    let near = dir.join("td-sync.sock");
    if near.as_os_str().len() <= LONGEST {
        return Ok(near);
    }
    let owner = fs::metadata(&dir)?.uid();
    let name = secret::hash(&dir.to_string_lossy());
    Ok(PathBuf::from(format!("/tmp/td-sync-{owner}/{}.sock", &name[..16])))
}

/// A bound socket. Removed when dropped.
pub struct Socket {
    listener: std::os::unix::net::UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Binds the socket of a data directory that we hold: a socket that is there belongs to nobody any more.
    pub fn bind(dir: &DataDir) -> Result<Self, (PathBuf, io::Error)> {
        let path = path(dir.path()).map_err(|e| (dir.path().to_path_buf(), e))?;
        let bind = || -> io::Result<_> {
            let folder = path.parent().unwrap_or(Path::new("."));
            if !path.starts_with(fs::canonicalize(dir.path())?) {
                private_folder(folder, fs::metadata(dir.path())?.uid())?;
            }
            let early = folder.join(format!(".s{}", std::process::id()));
            match fs::remove_file(&early) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let listener = std::os::unix::net::UnixListener::bind(&early)?;
            fs::set_permissions(&early, fs::Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            fs::rename(&early, &path)?;
            Ok(listener)
        };
        match bind() {
            Ok(listener) => Ok(Self { listener, path }),
            Err(e) => Err((path, e)),
        }
    }

    /// Answers until aborted.
    pub async fn serve(self, office: Office) {
        let office = Arc::new(office);
        let listener = match self.listener.try_clone().and_then(UnixListener::from_std) {
            Ok(listener) => listener,
            Err(e) => return tracing::error!(cause = %e, "the admin socket cannot be served"),
        };
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(converse(stream, Arc::clone(&office)))),
                Err(e) => {
                    tracing::warn!(cause = %e, "an admin connection could not be accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A name that stays behind is replaced by the next server.
        let _ = fs::remove_file(&self.path);
    }
}

/// Speaks to the server of a data directory; `None` if nobody listens. Asks a stranger's socket nothing: it would be told
/// secrets, and believed.
pub(super) fn connect(dir: &Path) -> io::Result<Option<std::os::unix::net::UnixStream>> {
    let Ok(path) = path(dir) else { return Ok(None) };
    if path.starts_with(fs::canonicalize(dir)?) {
        return Ok(std::os::unix::net::UnixStream::connect(path).ok());
    }
    connect_outside(&path, fs::metadata(dir)?.uid())
}

fn connect_outside(path: &Path, owner: u32) -> io::Result<Option<std::os::unix::net::UnixStream>> {
    match is_private(path.parent().unwrap_or(Path::new(".")), owner) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
        Ok(()) => Ok(std::os::unix::net::UnixStream::connect(path).ok()),
    }
}

/// A folder in `/tmp` that only its owner may enter; a stranger's folder of that name is refused.
fn private_folder(folder: &Path, owner: u32) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => is_private(folder, owner),
    }
}

fn is_private(folder: &Path, owner: u32) -> io::Result<()> {
    let meta = fs::symlink_metadata(folder)?;
    if !meta.is_dir() || meta.uid() != owner || meta.mode() & 0o077 != 0 {
        let why = format!("the folder {} is not the server's alone", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(())
}

async fn converse(stream: UnixStream, office: Arc<Office>) {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    if BufReader::new(read.take(LONGEST_REQUEST)).read_line(&mut line).await.is_err() {
        return;
    }
    let ours = office.config().database_name();
    let spoken = match serde_json::from_str::<Asked<Request>>(&line) {
        Err(e) => Spoken::Error(AdminError::new("bad_request", format!("not a request: {e}"))),
        Ok(Asked { database, .. }) if database.is_some() && database != ours => {
            let message = "the server that runs on this directory has another database open";
            let file = office.config().server_db.display();
            Spoken::Error(
                AdminError::new("another_database", message).remedy(format!("td-sync admin --db {file} …")),
            )
        }
        Ok(Asked { request, .. }) => {
            let answered = match office.prepare(&request).await {
                Ok(()) => tokio::task::spawn_blocking(move || office.answer(&request)).await,
                Err(e) => Ok(Err(e)),
            };
            match answered {
                Ok(Ok(reply)) => Spoken::Ok(reply),
                Ok(Err(e)) => Spoken::Error(e),
                Err(e) => Spoken::Error(AdminError::new("internal_error", e.to_string())),
            }
        }
    };
    if let Ok(mut text) = serde_json::to_vec(&spoken) {
        text.push(b'\n');
        // An asker that went away does not need the answer.
        let _ = write.write_all(&text).await;
        let _ = write.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_in_a_folder_of_a_stranger_is_not_spoken_to() {
        let dir = tempfile::tempdir().expect("dir");
        let (folder, owner) = (dir.path().join("f"), fs::metadata(dir.path()).expect("dir").uid());
        let path = folder.join("s.sock");
        assert!(connect_outside(&path, owner).expect("no folder, no server").is_none());
        private_folder(&folder, owner).expect("made");
        assert!(connect_outside(&path, owner).expect("no server").is_none());
        let _listener = std::os::unix::net::UnixListener::bind(&path).expect("bind");
        assert!(connect_outside(&path, owner).expect("ours").is_some());
        assert!(connect_outside(&path, owner + 1).is_err(), "of another user");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o770)).expect("mode");
        assert!(connect_outside(&path, owner).is_err(), "others may put a socket there");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).expect("link");
        assert!(
            connect_outside(&link.join("s.sock"), owner).is_err(),
            "who made the link decides where it leads"
        );
    }
}
