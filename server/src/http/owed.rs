//! What a connection is still owed: answers to requests that were begun, and bytes of answers that it has not taken.
//!
//! Duty: let a stop close the connections that are owed nothing. hyper closes those between two requests and those whose
//! answer was written, but waits for the rest of a request's head: a stranger who sent half of one made every stop take
//! its whole time.
//! And close those whose client takes nothing of what it asked for, stop or not.
//! Invariant: whoever was asked completely, and takes the answer, is not cut off. A debt begins with the head of a request and ends when the
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
use tokio::time::{Sleep, sleep};

/// How long a stop waits for a request whose head is on its way, before it closes what is owed nothing.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How many times as long it waits for a client that takes nothing.
const PATIENCE: usize = 5;
/// How long a client may take nothing at other times. What it is sent fits into the system's buffers mostly, so one that
/// is slow, or reads a live stream in which little happens, is never waited for as long.
const STUCK: Duration = Duration::from_secs(60);

/// The debts of one connection.
#[derive(Default)]
pub struct Owed {
    answers: AtomicUsize,
    /// The last write or flush found no room.
    is_stuck: AtomicBool,
    /// Writes that found some.
    writes: AtomicUsize,
}

/// One answer that is owed.
pub struct Debt(Arc<Owed>);

impl Owed {
    /// One more, from now until it is dropped.
    pub fn answer(self: &Arc<Self>) -> Debt {
        self.answers.fetch_add(1, Relaxed);
        Debt(Arc::clone(self))
    }

    /// Resolves when a stop has begun (`halted` has no sender any more) and nothing is owed, or what is owed is not taken.
    /// Is to be polled by the task that drives the connection, which alone changes the debts, so that it never looks
    /// between two of them.
    pub async fn nothing_after(&self, mut halted: watch::Receiver<()>) {
        while halted.changed().await.is_ok() {}
        let (mut looks, mut writes) = (0, self.writes.load(Relaxed));
        loop {
            sleep(LAST_WORDS).await;
            let (is_stuck, before) = (self.is_stuck.load(Relaxed), writes);
            writes = self.writes.load(Relaxed);
            looks = if is_stuck && writes == before { looks + 1 } else { 0 };
            if looks >= PATIENCE || (self.answers.load(Relaxed) == 0 && !is_stuck) {
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

/// A connection that notes whether its client takes what it is sent, and ends if it does not.
pub struct Watched<S> {
    stream: S,
    owed: Arc<Owed>,
    /// Since nothing was taken.
    limit: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    /// Notes it there.
    pub fn new(stream: S, owed: Arc<Owed>) -> Self {
        Self { stream, owed, limit: None }
    }

    fn noted<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.owed.is_stuck.store(written.is_pending(), Relaxed);
        if written.is_ready() {
            self.limit = None;
            self.owed.writes.fetch_add(1, Relaxed);
            return written;
        }
        let limit = self.limit.get_or_insert_with(|| Box::pin(sleep(STUCK)));
        match limit.as_mut().poll(context) {
            Poll::Ready(()) => {
                let why = "the client took nothing of its answer for too long";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)))
            }
            Poll::Pending => Poll::Pending,
        }
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
        self.noted(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.noted(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.noted(flushed, context)
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

    /// Whether a stop would have closed the connection after so many seconds.
    async fn closed_after(owed: &Owed, seconds: u64) -> bool {
        let (halt, halted) = watch::channel(());
        drop(halt);
        timeout(Duration::from_secs(seconds), owed.nothing_after(halted)).await.is_ok()
    }

    /// Whether it has nothing to wait for.
    async fn is_closed(owed: &Owed) -> bool {
        closed_after(owed, 3).await
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_owed_until_its_body_is_gone() {
        let owed = Arc::new(Owed::default());
        assert!(is_closed(&owed).await, "nothing was asked");
        let debt = owed.answer();
        assert!(!closed_after(&owed, 3600).await, "asked, and the answer is being made");
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
        assert!(closed_after(&owed, 7).await, "whoever takes nothing is not waited for");
        theirs.read_exact(&mut [0; 4]).await.expect("four bytes");
        ours.write_all(b"5678").await.expect("room");
        assert!(is_closed(&owed).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_something_now_and_then_is_served_and_one_that_takes_nothing_is_not() {
        let owed = Arc::new(Owed::default());
        let (ours, mut theirs) = tokio::io::duplex(4);
        let mut ours = Watched::new(ours, Arc::clone(&owed));
        let slow = tokio::spawn(async move {
            for _ in 0..10 {
                sleep(STUCK - Duration::from_secs(1)).await;
                theirs.read_exact(&mut [0; 4]).await.expect("four bytes");
            }
            theirs
        });
        ours.write_all(&[0; 44]).await.expect("taken in the end");
        let _theirs = slow.await.expect("the task");
        let begun = tokio::time::Instant::now();
        let ended = ours.write_all(b"5").await.expect_err("nobody reads");
        assert_eq!((ended.kind(), begun.elapsed().as_secs()), (io::ErrorKind::TimedOut, STUCK.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_stop_nothing_is_closed() {
        let (_halt, halted) = watch::channel(());
        let closed = timeout(Duration::from_secs(3600), Owed::default().nothing_after(halted)).await;
        assert!(closed.is_err());
    }
}
