//! A response body that a blocking thread fills, two chunks ahead of the socket.
//!
//! Invariant: the body ends well only if its sender ended well: dropping the sender ends it, [`Sender::fail`] cuts it.

use axum::body::Bytes;
use hyper::body::{Body, Frame};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Fills a body.
pub struct Sender(mpsc::Sender<Result<Bytes, io::Error>>);

/// Is filled.
pub struct Chunks(mpsc::Receiver<Result<Bytes, io::Error>>);

/// Both ends.
pub fn channel() -> (Sender, Chunks) {
    let (sender, receiver) = mpsc::channel(2);
    (Sender(sender), Chunks(receiver))
}

impl Sender {
    /// Blocks until there is room; `false` if the client is gone or took longer than `patience`.
    pub fn send(&self, handle: &Handle, chunk: Bytes, patience: Duration) -> bool {
        self.put(handle, Ok(chunk), patience)
    }

    /// Cuts the body: the client sees a broken connection instead of a complete answer.
    pub fn fail(&self, handle: &Handle, patience: Duration) -> bool {
        self.put(handle, Err(broke_off()), patience)
    }

    /// [`Sender::send`] for tasks.
    pub async fn send_to(&self, chunk: Bytes, patience: Duration) -> bool {
        timeout(patience, self.0.send(Ok(chunk))).await.is_ok_and(|sent| sent.is_ok())
    }

    /// [`Sender::fail`] for tasks.
    pub async fn cut(&self, patience: Duration) {
        // A client that is gone, or takes nothing any more, does not need to be told.
        let _ = timeout(patience, self.0.send(Err(broke_off()))).await;
    }

    fn put(&self, handle: &Handle, chunk: Result<Bytes, io::Error>, patience: Duration) -> bool {
        // The common case needs no timer.
        match self.0.try_send(chunk) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(chunk)) => handle.block_on(async {
                timeout(patience, self.0.send(chunk)).await.is_ok_and(|sent| sent.is_ok())
            }),
        }
    }
}

fn broke_off() -> io::Error {
    io::Error::other("the body broke off")
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|c| c.map(Frame::data)))
    }
}
