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
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Size of what is handed to the socket at once; a body below it has a Content-Length.
pub const CHUNK: usize = 64 * 1024;
/// A packed piece goes on at this size: it stands for several plain ones.
const PACKED_CHUNK: usize = 16 * 1024;
/// How long a client may take for one chunk.
const PATIENCE: Duration = Duration::from_secs(30);

/// The beginning of an answer.
pub type First = Result<(Body, Option<Encoding>), ApiError>;

/// Takes a body piece by piece.
pub struct Outlet {
    wish: Option<Encoding>,
    packer: Option<Packer<Vec<u8>>>,
    first: Option<oneshot::Sender<First>>,
    more: Option<Sender>,
    handle: Handle,
}

impl Outlet {
    /// Into the answer that waits for `first`, packed as `wish`ed if it becomes large enough.
    pub fn new(wish: Option<Encoding>, first: oneshot::Sender<First>) -> Self {
        Self { wish, packer: None, first: Some(first), more: None, handle: Handle::current() }
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
            (Ok(bytes), None) => {
                self.send(bytes);
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
        self.more.as_ref().is_some_and(|more| more.send(&self.handle, piece.into(), PATIENCE))
    }
}
