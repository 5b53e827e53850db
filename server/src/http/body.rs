//! Request bodies: at most 10 MiB of them, and what happens to the rest.
//!
//! Invariants: what all pushes that are on their way hold in memory is bounded, and so is what one person's hold; a push sees the first [`CAP`] bytes, any other route the first [`SHORT`]; the connection stays usable if no more than [`DRAIN`] bytes remain
//! unread, and is closed otherwise (server-protocol 1.3).
//! Danger: answering without reading the rest makes the kernel reset the connection, and the client never sees the
//! answer.

use crate::auth::Principal;
use crate::http::error::ApiError;
use crate::http::json::{Fields, Invalid};
use crate::http::shares::Shares;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Bytes of a push that are read.
pub const CAP: usize = 10 * 1024 * 1024;
/// Bytes of any other body. The reference reads as much of those; but taken apart they are ten times as much in memory,
/// and most of these routes are for strangers.
pub const SHORT: usize = 64 * 1024;
/// Unread bytes up to which a connection is kept.
const DRAIN: usize = 256 * 1024;
/// Longest silence within a body. A slow upload that keeps moving is let through (server-protocol W46).
const SILENCE: Duration = Duration::from_secs(15);
/// How long a push may take in all: ten mebibytes over a bad line do not take as long, and a body has to end.
const LONG_TAKES: Duration = Duration::from_secs(3600);
/// How long any other body may take, and what is left of one.
const SHORT_TAKES: Duration = Duration::from_secs(60);

/// Memory is counted in pieces of so many bytes. The first one of a push is free: no single event waits.
const PIECE: usize = SHORT;
/// Most pieces of all pushes: half a gibibyte.
const PIECES: usize = 512 * 1024 * 1024 / PIECE;
/// Most pieces of one person's: three of the largest pushes, and more of those that people send.
const PIECES_EACH: usize = 32 * 1024 * 1024 / PIECE;
/// How long a push waits for memory that others hold.
const PATIENCE: Duration = Duration::from_secs(10);

/// The memory that pushes may hold before they are in the log. Held back, their last bytes kept hundreds of megabytes for
/// as long as their sender liked.
pub struct Uploads {
    all: Arc<Semaphore>,
    each: Shares<String>,
}

impl Default for Uploads {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(PIECES)), each: Shares::new(PIECES_EACH) }
    }
}

/// The memory of one push.
struct Held<'r> {
    uploads: &'r Uploads,
    who: &'r Principal,
    pieces: Vec<[OwnedSemaphorePermit; 2]>,
}

impl Held<'_> {
    /// Makes it enough for so many bytes.
    async fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        let end = Instant::now() + PATIENCE;
        while self.pieces.len() < bytes.saturating_sub(1) / PIECE {
            let mine = self.uploads.each.of(self.who.counts_as.clone());
            let mine = timeout_at(end, mine.acquire_owned()).await;
            // Neither is ever closed, so only time can be up.
            let Ok(Ok(mine)) = mine else { return Err(ApiError::rate_limited(PATIENCE)) };
            let all = timeout_at(end, Arc::clone(&self.uploads.all).acquire_owned()).await;
            let Ok(Ok(all)) = all else {
                return Err(ApiError::unavailable("too much is being pushed at once", PATIENCE));
            };
            self.pieces.push([mine, all]);
        }
        Ok(())
    }
}

/// A request's body, shared between its route and the layer that clears up behind it.
#[derive(Clone)]
pub struct Inbox(Arc<Mutex<State>>);

struct State {
    body: Body,
    /// The body broke or fell silent: nothing more can be read from this connection.
    broken: bool,
}

impl Inbox {
    /// Takes a body over.
    pub fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(State { body, broken: false })))
    }

    /// The first `most` bytes.
    async fn read(
        &self,
        most: usize,
        takes: Duration,
        mut held: Option<&mut Held<'_>>,
    ) -> Result<Vec<u8>, ApiError> {
        let (mut state, end) = (self.0.lock().await, Instant::now() + takes);
        let expected = state.body.size_hint().lower().min(most as u64);
        let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
        while bytes.len() < most {
            match state.next(end).await {
                Ok(Some(data)) => {
                    let data = &data[..data.len().min(most - bytes.len())];
                    if let Some(held) = &mut held {
                        held.grow(bytes.len() + data.len()).await?;
                    }
                    bytes.extend_from_slice(data);
                }
                Ok(None) => break,
                Err(Broken) => return Err(Invalid.into()),
            }
        }
        Ok(bytes)
    }

    /// Reads up to [`DRAIN`] bytes more. Whether the connection may be kept.
    pub async fn clear_up(&self) -> bool {
        let mut state = self.0.lock().await;
        if state.broken || state.body.size_hint().exact().is_some_and(|left| left > DRAIN as u64) {
            return false;
        }
        let (mut drained, end) = (0, Instant::now() + SHORT_TAKES);
        while drained <= DRAIN {
            match state.next(end).await {
                Ok(Some(data)) => drained += data.len(),
                Ok(None) => return true,
                Err(Broken) => return false,
            }
        }
        false
    }
}

struct Broken;

impl State {
    async fn next(&mut self, end: Instant) -> Result<Option<axum::body::Bytes>, Broken> {
        loop {
            if self.body.is_end_stream() {
                return Ok(None);
            }
            match timeout_at(end.min(Instant::now() + SILENCE), self.body.frame()).await {
                Ok(None) => return Ok(None),
                // Trailers carry nothing for us.
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    Err(_) => continue,
                },
                Ok(Some(Err(_))) | Err(_) => {
                    self.broken = true;
                    return Err(Broken);
                }
            }
        }
    }
}

/// The text of a request body. Bytes that are no UTF-8 are U+FFFD, as in the reference (payloads included, unlike there:
/// an answer has to be JSON).
pub struct Text(Vec<u8>);

impl Text {
    /// Reads a push, after the caller was let through: strangers cannot make us hold megabytes.
    pub async fn push<T>(
        inbox: &Inbox,
        uploads: &Uploads,
        who: &Principal,
        read: impl FnOnce(&str) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut held = Held { uploads, who, pieces: Vec::new() };
        let bytes = inbox.read(CAP, LONG_TAKES, Some(&mut held)).await?;
        read(&Self(bytes).as_str())
    }

    /// Reads any other body.
    pub async fn short(inbox: &Inbox) -> Result<Self, ApiError> {
        inbox.read(SHORT, SHORT_TAKES, None).await.map(Self)
    }

    /// The text.
    pub fn as_str(&self) -> Cow<'_, str> {
        // The first look is the faster one, and nearly always the last.
        std::str::from_utf8(&self.0).map_or_else(|_| String::from_utf8_lossy(&self.0), Cow::Borrowed)
    }
}

/// Reads a short body and looks at the members of its object.
pub async fn read_object<T>(
    inbox: &Inbox,
    look: impl FnOnce(Fields<'_>) -> Result<T, Invalid>,
) -> Result<T, ApiError> {
    let body = Text::short(inbox).await?;
    Ok(look(Fields::of_body(&body.as_str())?)?)
}

impl From<Invalid> for ApiError {
    fn from(_: Invalid) -> Self {
        ApiError::bad_request("invalid json body")
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Inbox {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // The layer puts it there for every request; without one there is no body to read.
        Ok(parts.extensions.get::<Inbox>().cloned().unwrap_or_else(|| Inbox::new(Body::empty())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::stream;
    use axum::http::StatusCode;
    use axum::response::IntoResponse;

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_falls_silent_is_refused_and_its_connection_not_kept() {
        let (_sender, chunks) = stream::channel();
        let inbox = Inbox::new(Body::new(chunks));
        let begun = tokio::time::Instant::now();
        assert!(inbox.read(CAP, LONG_TAKES, None).await.is_err());
        assert_eq!(begun.elapsed(), SILENCE);
        assert!(!inbox.clear_up().await);
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_moves_for_ever_ends_too() {
        let (sender, chunks) = stream::channel();
        let drips = tokio::spawn(async move {
            while sender.send_to(axum::body::Bytes::from_static(b" "), SILENCE).await {
                tokio::time::sleep(SILENCE / 2).await;
            }
        });
        let inbox = Inbox::new(Body::new(chunks));
        let begun = tokio::time::Instant::now();
        assert!(inbox.read(SHORT, SHORT_TAKES, None).await.is_err());
        assert_eq!(begun.elapsed(), SHORT_TAKES);
        assert!(!inbox.clear_up().await);
        drop(inbox);
        drips.await.expect("the sender sees the end");
    }

    #[tokio::test]
    async fn the_first_ten_mebibytes_are_read_and_a_little_more_is_cleared_up() {
        let inbox = Inbox::new(Body::from(vec![b'x'; CAP + 1]));
        assert_eq!(inbox.read(CAP, LONG_TAKES, None).await.map(|bytes| bytes.len()).ok(), Some(CAP));
        assert!(inbox.clear_up().await);
        let inbox = Inbox::new(Body::from(vec![b'x'; DRAIN + 1]));
        assert!(!inbox.clear_up().await, "too much was left unread");
    }

    #[tokio::test(start_paused = true)]
    async fn what_pushes_hold_before_they_are_stored_is_bounded() {
        let (uploads, ana, ben) = (Uploads::default(), Principal::of("ana"), Principal::of("ben"));
        let upload = |who| Held { uploads: &uploads, who, pieces: Vec::new() };
        let mut held = Vec::new();
        for _ in 0..PIECES_EACH / (CAP / PIECE) {
            let mut one = upload(&ana);
            one.grow(CAP).await.expect("memory");
            held.push(one);
        }
        let mut more = upload(&ana);
        more.grow(PIECE).await.expect("the first piece is free");
        let refused = more.grow(CAP).await.expect_err("hers is used up").into_response().status();
        assert_eq!(refused, StatusCode::TOO_MANY_REQUESTS);
        upload(&ben).grow(CAP).await.expect("his is not");
        drop((more, held.pop()));
        upload(&ana).grow(CAP).await.expect("given back");
    }
}
