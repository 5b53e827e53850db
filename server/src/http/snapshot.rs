//! GET `/v1/projects/{id}/sync/snapshot` (server-protocol 4.6, 5.5).
//!
//! Duty: send a kept file, whole or the part that a broken download lacks, in bounded memory and without a thread that
//! waits for the client.
//! Invariant: every header speaks of the file that is sent: its sequence, its tag, its length.
//! Danger: the newest snapshot changes with every push. A download that was cut off is continued from the file it began
//! with (`If-Range` or `If-Match` names it), or it would never end on a busy project.

use crate::auth::Role;
use crate::http::App;
use crate::http::answer::with_type;
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::range::{Wanted, wanted};
use crate::http::stream::{Chunks, Sender, channel};
use crate::http::turns::Turn;
use crate::http::{accept, answer};
use crate::live::{LiveError, OpenProject};
use crate::log::LogError;
use crate::packing::{Encoding, LEAST};
use crate::snapshot::{Blob, Kept, SnapshotError, fresh};
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

const SQLITE: HeaderValue = HeaderValue::from_static("application/x-sqlite3");
/// Of the file that is sent; two spellings, for programs that know one of them.
const SEQ: [HeaderName; 2] =
    [HeaderName::from_static("x-snapshot-seq"), HeaderName::from_static("x-snapshot-event-id")];
/// Read and sent at once; three of them are in memory per download.
const CHUNK: usize = 64 * 1024;
/// How long a client may take for one chunk.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a request waits for a file to be packed, before it gets the plain one.
const PACKING: Duration = Duration::from_secs(5);

/// The route.
pub async fn snapshot(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let project = caller.in_project(&app, &id, Role::Reader).await?;
    let turn = app.downloads.take(&caller.0).await?;
    let open = app.projects.open(&project).await?;
    let head = open.log.head().seq;
    let ranges = headers.get(RANGE).and_then(|v| v.to_str().ok());
    let file = match named(&open, &headers, ranges).await? {
        Some(file) => file,
        None if asks_for_others(&headers) => return Err(gone()),
        None => current(&open, &headers).await?,
    };
    // A condition that names no file that is there means: all of the current one.
    let stale = headers.get(IF_RANGE).is_some_and(|tag| tag.as_bytes() != file.tag.as_bytes());
    let response = file.answer(if stale { None } else { ranges }, &headers, turn);
    Ok(answer::with_head(response, head))
}

impl From<SnapshotError> for ApiError {
    fn from(e: SnapshotError) -> Self {
        match e {
            SnapshotError::Empty => Self::new(StatusCode::NOT_FOUND, "no_events", "no events to snapshot"),
            SnapshotError::Late => {
                Self::unavailable("the snapshot is still being made", Duration::from_secs(10))
            }
            // A redaction took the log away in the middle; whoever asks again gets the new one.
            SnapshotError::Build(LiveError::Log(e @ LogError::Closed)) => e.into(),
            // Whose attempt it was has been told why, and the log too.
            SnapshotError::Joined(_) => {
                Self::unavailable("the snapshot has to be made again", Duration::from_secs(1))
            }
            e => Self::internal("failed to build snapshot", e),
        }
    }
}

/// Tags of a header that lists them.
fn tags(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter().filter_map(|v| v.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// Whether nothing but files with certain tags will do.
fn asks_for_others(headers: &HeaderMap) -> bool {
    headers.contains_key(IF_MATCH) && !tags(headers, IF_MATCH).any(|tag| tag == "*")
}

fn gone() -> ApiError {
    let message = "this snapshot is not kept any more; fetch the newest one without If-Match";
    ApiError::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", message)
}

/// The file that an interrupted download began with, if it is still kept.
async fn named(
    open: &Arc<OpenProject>,
    headers: &HeaderMap,
    ranges: Option<&str>,
) -> Result<Option<File>, ApiError> {
    let mut wanted: Vec<String> = tags(headers, IF_MATCH).map(str::to_string).collect();
    if let (true, Some(_)) = (wanted.is_empty(), ranges) {
        wanted.extend(headers.get(IF_RANGE).and_then(|v| v.to_str().ok()).map(str::to_string));
    }
    let shelf = Arc::clone(&open.shelf);
    let find = move || wanted.iter().find_map(|tag| shelf.by_tag(tag).transpose()).transpose();
    let found = tokio::task::spawn_blocking(find).await;
    let found = found.map_err(io::Error::other).and_then(|found| found);
    let Some((kept, packed)) = found.map_err(|e| ApiError::internal("failed to read snapshot", e))? else {
        return Ok(None);
    };
    // Gone after all: as if it had not been found.
    Ok(File::open(kept, packed).await.ok())
}

/// The newest snapshot, packed as the client likes it.
async fn current(open: &Arc<OpenProject>, headers: &HeaderMap) -> Result<File, ApiError> {
    let mut again = true;
    loop {
        let kept = fresh(open).await?;
        match File::packed(&kept, accept::encoding(headers)).await {
            Ok(file) => return Ok(file),
            // Somebody tidied up below us. What is derived may be deleted at any time (law 5).
            Err(e) if e.kind() == io::ErrorKind::NotFound && again => {
                again = false;
                let shelf = Arc::clone(&open.shelf);
                // Whether it worked shows in the next round.
                let _ = tokio::task::spawn_blocking(move || shelf.forget(&kept)).await;
            }
            Err(e) => return Err(ApiError::internal("failed to read snapshot", e)),
        }
    }
}

/// An open file and what is said about it.
struct File {
    kept: Arc<Kept>,
    packed: Option<Encoding>,
    blob: Arc<dyn Blob>,
    size: u64,
    tag: String,
}

impl File {
    async fn packed(kept: &Arc<Kept>, wish: Option<Encoding>) -> io::Result<Self> {
        let plain = Self::open(Arc::clone(kept), None).await?;
        let Some(encoding) = wish.filter(|_| plain.size >= LEAST) else { return Ok(plain) };
        match timeout(PACKING, kept.pack(encoding)).await {
            Ok(Ok(())) => Self::open(Arc::clone(kept), wish).await,
            Ok(Err(e)) => {
                tracing::error!(cause = %e, name = %kept.name, "a snapshot could not be packed; it is sent as it is");
                Ok(plain)
            }
            Err(_) => Ok(plain),
        }
    }

    async fn open(kept: Arc<Kept>, packed: Option<Encoding>) -> io::Result<Self> {
        let opened = tokio::task::spawn_blocking(move || {
            let blob: Arc<dyn Blob> = kept.open(packed)?.into();
            let (size, tag) = (blob.size()?, kept.tag(packed));
            Ok(Self { kept, packed, blob, size, tag })
        });
        opened.await.unwrap_or_else(|e| Err(io::Error::other(e)))
    }

    fn answer(self, ranges: Option<&str>, headers: &HeaderMap, turn: Turn) -> Response {
        let is_known = tags(headers, IF_NONE_MATCH)
            .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.tag);
        let (said, packed) = (self.headers(), self.packed);
        let mut response = if is_known {
            status(StatusCode::NOT_MODIFIED)
        } else {
            match wanted(ranges, self.size) {
                Wanted::Nothing => {
                    let mut response = status(StatusCode::RANGE_NOT_SATISFIABLE);
                    insert(&mut response, CONTENT_RANGE, format!("bytes */{}", self.size));
                    response
                }
                Wanted::Whole => {
                    let size = self.size;
                    self.send(StatusCode::OK, 0, size, turn)
                }
                Wanted::Part(from, to) => {
                    let range = format!("bytes {from}-{}/{}", to - 1, self.size);
                    let mut response = self.send(StatusCode::PARTIAL_CONTENT, from, to, turn);
                    insert(&mut response, CONTENT_RANGE, range);
                    response
                }
            }
        };
        response.headers_mut().extend(said);
        answer::with_encoding(response, packed)
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut say = |name: HeaderName, value: &str| {
            // Numbers, hex and words of ours.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        say(ETAG, &self.tag);
        say(ACCEPT_RANGES, "bytes");
        for name in SEQ {
            say(name, &self.kept.seq().to_string());
        }
        headers
    }

    fn send(self, status: StatusCode, from: u64, to: u64, turn: Turn) -> Response {
        let (sender, chunks): (Sender, Chunks) = channel();
        tokio::spawn(async move {
            if let Err(e) = self.stream(from, to, &sender).await {
                tracing::error!(cause = %e, "a snapshot broke off while it was sent");
                sender.cut(PATIENCE).await;
            }
            drop(turn);
        });
        let mut response = with_type(status, SQLITE, Body::new(chunks));
        insert(&mut response, CONTENT_LENGTH, (to - from).to_string());
        response
    }

    /// Reads on threads that are never kept waiting for the client. Holding `kept` keeps the file from being cleared
    /// away meanwhile.
    async fn stream(&self, from: u64, to: u64, sender: &Sender) -> io::Result<()> {
        let mut at = from;
        while at < to {
            let blob = Arc::clone(&self.blob);
            let length = usize::try_from(to - at).unwrap_or(CHUNK).min(CHUNK);
            let read = tokio::task::spawn_blocking(move || -> io::Result<Vec<u8>> {
                let mut chunk = vec![0; length];
                let read = blob.read_at(at, &mut chunk)?;
                chunk.truncate(read);
                Ok(chunk)
            });
            let chunk = read.await.map_err(io::Error::other)??;
            if chunk.is_empty() {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"));
            }
            at += chunk.len() as u64;
            if !sender.send_to(Bytes::from(chunk), PATIENCE).await {
                // The client is gone, or slower than we wait for; its half stays good for an attempt with Range.
                return Ok(());
            }
        }
        Ok(())
    }
}

fn status(code: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    response
}

fn insert(response: &mut Response, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
}
