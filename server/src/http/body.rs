//! Request bodies: at most 10 MiB of them, and what happens to the rest.
//!
//! Invariant: a push sees the first [`CAP`] bytes, any other route the first [`SHORT`]; the connection stays usable if no more than [`DRAIN`] bytes remain
//! unread, and is closed otherwise (server-protocol 1.3).
//! Danger: answering without reading the rest makes the kernel reset the connection, and the client never sees the
//! answer.

use crate::http::error::ApiError;
use crate::http::json::{Fields, Invalid};
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
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
    async fn read(&self, most: usize, takes: Duration) -> Result<Vec<u8>, ApiError> {
        let (mut state, end) = (self.0.lock().await, Instant::now() + takes);
        let expected = state.body.size_hint().lower().min(most as u64);
        let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
        while bytes.len() < most {
            match state.next(end).await {
                Ok(Some(data)) => {
                    let room = most - bytes.len();
                    bytes.extend_from_slice(&data[..data.len().min(room)]);
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
    pub async fn read(inbox: &Inbox) -> Result<Self, ApiError> {
        inbox.read(CAP, LONG_TAKES).await.map(Self)
    }

    /// Reads any other body.
    pub async fn short(inbox: &Inbox) -> Result<Self, ApiError> {
        inbox.read(SHORT, SHORT_TAKES).await.map(Self)
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

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_falls_silent_is_refused_and_its_connection_not_kept() {
        let (_sender, chunks) = stream::channel();
        let inbox = Inbox::new(Body::new(chunks));
        let begun = tokio::time::Instant::now();
        assert!(inbox.read(CAP, LONG_TAKES).await.is_err());
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
        assert!(inbox.read(SHORT, SHORT_TAKES).await.is_err());
        assert_eq!(begun.elapsed(), SHORT_TAKES);
        assert!(!inbox.clear_up().await);
        drop(inbox);
        drips.await.expect("the sender sees the end");
    }

    #[tokio::test]
    async fn the_first_ten_mebibytes_are_read_and_a_little_more_is_cleared_up() {
        let inbox = Inbox::new(Body::from(vec![b'x'; CAP + 1]));
        assert_eq!(inbox.read(CAP, LONG_TAKES).await.map(|bytes| bytes.len()).ok(), Some(CAP));
        assert!(inbox.clear_up().await);
        let inbox = Inbox::new(Body::from(vec![b'x'; DRAIN + 1]));
        assert!(!inbox.clear_up().await, "too much was left unread");
    }
}
