//! Where a streamed body goes: packed or plain, in one piece as long as it is small, then in chunks.
//!
//! Duty: what a blocking thread writes reaches the socket in bounded memory, and a small answer has a Content-Length.
//! Invariant: the status line leaves with the first piece, and says how the body is packed. Until then a failure is an
//! answer of its own; after it, a failing body can only be cut.

use crate::http::error::ApiError;
use crate::http::stream::{Sender, channel};
use crate::packing::{Effort, Encoding, LEAST, Packer};
use axum::body::Body;
use std::io::{self, Write};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Size of what is handed to the socket at once; a body below it has a Content-Length.
pub const CHUNK: usize = 64 * 1024;
/// A packed piece goes on at this size: it stands for several plain ones.
const PACKED_CHUNK: usize = 16 * 1024;
/// How long a client may take for one chunk.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a broken body waits for room to say so. Ended without that, its text stops in the middle.
const CUT: Duration = Duration::from_secs(1);

/// The beginning of an answer.
pub type First = Result<(Body, Option<Encoding>), ApiError>;

/// Takes a body piece by piece.
pub struct Outlet {
    wish: Option<Encoding>,
    packer: Option<Packer<Vec<u8>>>,
    first: Option<oneshot::Sender<First>>,
    more: Option<Sender>,
    handle: Handle,
    waited: Duration,
    patience: Duration,
    /// A piece did not reach the client: what comes behind it must not look like the rest.
    is_lost: bool,
}

impl Outlet {
    /// Into the answer that waits for `first`, packed as `wish`ed if it becomes large enough.
    pub fn new(wish: Option<Encoding>, first: oneshot::Sender<First>) -> Self {
        Self {
            wish,
            packer: None,
            first: Some(first),
            more: None,
            handle: Handle::current(),
            waited: Duration::ZERO,
            patience: PATIENCE,
            is_lost: false,
        }
    }

    /// How long the client has kept us waiting so far.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Takes what is in the buffer, which should be about a [`CHUNK`]. `false` if nobody wants more of it.
    pub fn take(&mut self, buffer: &mut Vec<u8>) -> io::Result<bool> {
        let Some(encoding) = self.wish else { return Ok(self.send(std::mem::take(buffer))) };
        let packer = match &mut self.packer {
            Some(packer) => packer,
            none => none.insert(Packer::new(encoding, Effort::Little, Vec::new())?),
        };
        packer.write_all(buffer)?;
        buffer.clear();
        if packer.get_mut().len() < PACKED_CHUNK {
            return Ok(true);
        }
        let piece = std::mem::take(packer.get_mut());
        Ok(self.send(piece))
    }

    /// The end of the body, with what is left of it.
    pub fn end(mut self, mut rest: Vec<u8>) {
        if self.packer.is_none() && (rest.len() as u64) < LEAST {
            self.wish = None;
        }
        let packed = match self.wish {
            None => Ok(rest),
            Some(_) => self.take(&mut rest).and_then(|_| match self.packer.take() {
                Some(packer) => packer.finish(),
                None => Ok(rest),
            }),
        };
        match (packed, self.first.take()) {
            (Ok(bytes), Some(first)) => {
                // A client that is gone needs no answer.
                let _ = first.send(Ok((Body::from(bytes), self.wish)));
            }
            (Ok(_), None) if self.is_lost => self.cut(),
            (Ok(bytes), None) => {
                if !self.send(bytes) {
                    self.cut();
                }
            }
            (Err(e), first) => {
                self.first = first;
                self.fail(ApiError::internal("failed to pack the answer", e));
            }
        }
    }

    /// The body cannot be finished.
    pub fn fail(mut self, error: ApiError) {
        match self.first.take() {
            Some(first) => drop(first.send(Err(error))),
            None => {
                tracing::error!(cause = ?error, "an answer broke off in the middle");
                if let Some(more) = &self.more {
                    more.fail(&self.handle, PATIENCE);
                }
            }
        }
    }

    fn send(&mut self, piece: Vec<u8>) -> bool {
        if let Some(first) = self.first.take() {
            let (sender, body) = channel();
            if first.send(Ok((Body::new(body), self.wish))).is_err() {
                return false;
            }
            self.more = Some(sender);
        }
        let begun = Instant::now();
        let sent = !self.is_lost
            && self.more.as_ref().is_some_and(|more| more.send(&self.handle, piece.into(), self.patience));
        self.waited += begun.elapsed();
        self.is_lost |= !sent;
        sent
    }

    /// The client sees a broken answer and asks again. Without this it would see the end of a list that lacks a piece in
    /// the middle, and take its last sequence for where it is.
    fn cut(&self) {
        if let Some(more) = &self.more {
            more.fail(&self.handle, CUT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_client_that_was_away_for_too_long_gets_no_list_that_lacks_its_middle() {
        let (first, answer) = oneshot::channel();
        let mut outlet = Outlet { patience: Duration::from_millis(20), ..Outlet::new(None, first) };
        let writing = std::thread::spawn(move || {
            let wanted: Vec<bool> =
                (0..6).map(|n| outlet.take(&mut vec![b'0' + n; CHUNK]).expect("takes")).collect();
            (wanted, outlet)
        });
        let (body, _) = answer.await.expect("an answer").expect("a body");
        // Asleep until a piece was lost; then it reads on.
        let joined = tokio::task::spawn_blocking(|| writing.join().expect("thread"));
        let (wanted, outlet) = joined.await.expect("joined");
        assert_eq!(wanted, [true, true, false, false, false, false], "two pieces wait, the third was lost");
        assert!(outlet.waited() >= Duration::from_millis(20));
        let ending = tokio::task::spawn_blocking(|| outlet.end(b"the end".to_vec()));
        assert!(body.collect().await.is_err(), "cut, not ended");
        ending.await.expect("joined");
    }
}
