//! One kept snapshot, with what is known about it.
//!
//! Invariant: whoever holds the `Arc` uses it; the shelf removes no file of one that somebody else holds.

use super::Name;
use super::store::{Blob, BlobStore};
use crate::live::{LiveError, StateDigest};
use crate::packing::{Effort, Encoding, Packer};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use td_engine::db::ProjectDb;
use td_engine::id::Seq;
use tokio::sync::OnceCell;

/// Tables whose rows are counted for an admin.
const COUNTED: &[&str] = &[
    "issues",
    "logs",
    "comments",
    "handoffs",
    "boards",
    "board_issue_positions",
    "work_sessions",
    "sessions",
    "notes",
];
/// Read at once while packing.
const CHUNK: usize = 128 * 1024;

/// A snapshot that is on disk, whole.
pub struct Kept {
    /// What it is called.
    pub name: Name,
    store: Arc<dyn BlobStore>,
    packed: [OnceCell<()>; Encoding::ALL.len()],
    digest: OnceLock<StateDigest>,
    digesting: Arc<tokio::sync::Mutex<()>>,
    used: Mutex<Instant>,
}

impl Kept {
    pub(super) fn new(name: Name, store: Arc<dyn BlobStore>) -> Self {
        let packed = std::array::from_fn(|_| OnceCell::new());
        let (digest, used) = (OnceLock::new(), Mutex::new(Instant::now()));
        Self { name, store, packed, digest, digesting: Arc::default(), used }
    }

    /// The state after this sequence.
    pub fn seq(&self) -> Seq {
        self.name.seq
    }

    /// Stands for the bytes of this file, packed so (a strong ETag, with its quotes).
    pub fn tag(&self, packed: Option<Encoding>) -> String {
        let ending = packed.map_or("", Encoding::suffix);
        format!("\"{}-{}{ending}\"", self.name.seq, self.name.random)
    }

    /// Opens the file, packed so. The packed file must have been made ([`Kept::pack`]). Blocks.
    pub fn open(&self, packed: Option<Encoding>) -> io::Result<Box<dyn Blob>> {
        self.touch();
        self.store.open(&self.file(packed))
    }

    /// Makes the packed file, once. Requests that come meanwhile wait for the same one.
    pub async fn pack(self: &Arc<Self>, encoding: Encoding) -> io::Result<()> {
        let made = self.packed[encoding as usize].get_or_try_init(|| async {
            let kept = Arc::clone(self);
            let packing = tokio::task::spawn_blocking(move || kept.pack_now(encoding));
            packing.await.unwrap_or_else(|e| Err(io::Error::other(e)))
        });
        made.await.copied()
    }

    fn pack_now(&self, encoding: Encoding) -> io::Result<()> {
        let (plain, name) = (self.open(None)?, self.file(Some(encoding)));
        self.store.workplace(&name)?;
        let mut packer = Packer::new(encoding, Effort::Some, self.store.write(&name)?)?;
        let (mut at, mut chunk) = (0, vec![0; CHUNK]);
        loop {
            let read = plain.read_at(at, &mut chunk)?;
            if read == 0 {
                break;
            }
            packer.write_all(&chunk[..read])?;
            at += read as u64;
        }
        packer.finish()?.flush()?;
        self.store.publish(&name, &name)
    }

    /// [`Kept::digest`] for one of many who may ask at once: one reads, and the others find it done.
    pub async fn digest_once(self: &Arc<Self>) -> Result<StateDigest, LiveError> {
        let turn = Arc::clone(&self.digesting).lock_owned().await;
        let kept = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || {
            // With the turn, for whoever asked may be gone before it is done.
            let _turn = turn;
            kept.digest()
        });
        read.await.unwrap_or_else(|e| Err(LiveError::Lost(e.to_string())))
    }

    /// The digest of its state. Reads all of it the first time; blocks.
    pub fn digest(&self) -> Result<StateDigest, LiveError> {
        if let Some(known) = self.digest.get() {
            return Ok(known.clone());
        }
        let db = ProjectDb::open_read_only_at(&self.store.place(&self.file(None)))?;
        let digest = StateDigest::of(&db)?;
        Ok(self.digest.get_or_init(|| digest).clone())
    }

    /// Rows by table, of the tables that an admin is shown (server-protocol 4.10), without the empty ones. Blocks.
    pub fn counts(&self) -> Result<BTreeMap<&'static str, i64>, LiveError> {
        let db = ProjectDb::open_read_only_at(&self.store.place(&self.file(None)))?;
        let mut counts = BTreeMap::new();
        for table in COUNTED {
            let sql = format!("SELECT count(*) FROM {table}");
            let count = db.conn().query_row(&sql, [], |row| row.get(0))?;
            if count > 0 {
                counts.insert(*table, count);
            }
        }
        Ok(counts)
    }

    pub(super) fn file(&self, packed: Option<Encoding>) -> String {
        format!("{}{}", self.name, packed.map_or("", Encoding::suffix))
    }

    /// Whether the file is as long as its own first page says: what a copy that was cut off is not. Nothing more; the
    /// device that gets it looks closer.
    pub(super) fn is_whole(&self) -> bool {
        let look = || -> io::Result<bool> {
            let (blob, mut head) = (self.open(None)?, [0; 100]);
            if blob.read_at(0, &mut head)? < head.len() || !head.starts_with(b"SQLite format 3\0") {
                return Ok(false);
            }
            let page = match u16::from_be_bytes([head[16], head[17]]) {
                1 => 65_536,
                size => u64::from(size),
            };
            let pages = u64::from(u32::from_be_bytes([head[28], head[29], head[30], head[31]]));
            Ok(blob.size()? == page * pages)
        };
        look().unwrap_or(false)
    }

    /// The packed file was found to be there already.
    pub(super) fn is_packed(&self, encoding: Encoding) {
        // Set before by nobody: the shelf is just being read.
        let _ = self.packed[encoding as usize].set(());
    }

    pub(super) fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn unused_for(&self) -> Duration {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}
