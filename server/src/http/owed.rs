//! What a connection is still owed: answers to requests that were begun, and bytes of answers that it has not taken.
//!
//! Duty: let a stop close the connections that are owed nothing. hyper closes those between two requests and those whose
//! answer was written, but waits for the rest of a request's head: a stranger who sent half of one made every stop take
//! its whole time.
//! Invariant: whoever was asked completely is not cut off. A debt begins with the head of a request and ends when the
//! body of its answer has been handed to hyper (or dropped with the connection); from there on, bytes that the client
//! does not take count.

use axum::body::Body;
use hyper::body::{Bytes, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::sleep;

/// How long a stop waits for a request whose head is on its way, before it closes what is owed nothing.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The debts of one connection.
#[derive(Default)]
pub struct Owed {
    answers: AtomicUsize,
    /// The last write or flush found no room.
    is_stuck: AtomicBool,
}

/// One answer that is owed.
pub struct Debt(Arc<Owed>);

impl Owed {
    /// One more, from now until it is dropped.
    pub fn answer(self: &Arc<Self>) -> Debt {
        self.answers.fetch_add(1, Relaxed);
        Debt(Arc::clone(self))
    }

    /// Resolves when a stop has begun (`halted` has no sender any more) and nothing is owed. Is to be polled by the task
    /// that drives the connection, which alone changes the debts, so that it never looks between two of them.
    pub async fn nothing_after(&self, mut halted: watch::Receiver<()>) {
        while halted.changed().await.is_ok() {}
        loop {
            sleep(LAST_WORDS).await;
            if self.answers.load(Relaxed) == 0 && !self.is_stuck.load(Relaxed) {
                return;
            }
        }
    }
}

impl Debt {
    /// The body, with the debt on it.
    pub fn until_end_of(self, body: Body) -> Body {
        Body::new(Owing { body, _debt: self })
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        self.0.answers.fetch_sub(1, Relaxed);
    }
}

struct Owing {
    body: Body,
    _debt: Debt,
}

impl hyper::body::Body for Owing {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection that notes whether its client takes what it is sent.
pub struct Watched<S> {
    stream: S,
    owed: Arc<Owed>,
}

impl<S> Watched<S> {
    /// Notes it there.
    pub fn new(stream: S, owed: Arc<Owed>) -> Self {
        Self { stream, owed }
    }

    fn noted<T>(&self, written: Poll<T>) -> Poll<T> {
        self.owed.is_stuck.store(written.is_pending(), Relaxed);
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.noted(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::body::Body as _;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    /// Whether a stop a minute ago would have closed the connection by now.
    async fn is_closed(owed: &Owed) -> bool {
        let (halt, halted) = watch::channel(());
        drop(halt);
        timeout(Duration::from_secs(60), owed.nothing_after(halted)).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_owed_until_its_body_is_gone() {
        let owed = Arc::new(Owed::default());
        assert!(is_closed(&owed).await, "nothing was asked");
        let debt = owed.answer();
        assert!(!is_closed(&owed).await, "asked");
        let body = debt.until_end_of(Body::from("an answer"));
        assert!(!is_closed(&owed).await, "the body is not sent");
        assert_eq!(body.size_hint().exact(), Some(9), "its length is still known");
        drop(body);
        assert!(is_closed(&owed).await);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_are_not_taken_are_owed() {
        let owed = Arc::new(Owed::default());
        let (ours, mut theirs) = tokio::io::duplex(4);
        let mut ours = Watched::new(ours, Arc::clone(&owed));
        ours.write_all(b"1234").await.expect("room");
        assert!(is_closed(&owed).await, "what the system has taken is on its way");
        assert!(timeout(Duration::from_secs(1), ours.write_all(b"5678")).await.is_err());
        assert!(!is_closed(&owed).await);
        theirs.read_exact(&mut [0; 4]).await.expect("four bytes");
        ours.write_all(b"5678").await.expect("room");
        assert!(is_closed(&owed).await);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_stop_nothing_is_closed() {
        let (_halt, halted) = watch::channel(());
        let closed = timeout(Duration::from_secs(3600), Owed::default().nothing_after(halted)).await;
        assert!(closed.is_err());
    }
}
