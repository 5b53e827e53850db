//! Events as a JSON list that is written while it is read.
//!
//! Invariant: the answer says where the page ended and whether the log goes on behind it, which is known only at its end;
//! so both stand behind the list.

use crate::http::error::ApiError;
use crate::http::outlet::{CHUNK, Outlet};
use crate::log::{LogError, RawEvent};
use std::io::{self, Write};
use std::ops::ControlFlow;
use td_engine::id::Seq;

/// A page ends behind the event that passes this size.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// What most events have room in.
const ROOM: usize = 4 * 1024;

/// A page that is being written.
pub struct Page {
    after: Seq,
    limit: usize,
    buffer: Vec<u8>,
    written: usize,
    count: usize,
    last: Seq,
    has_more: bool,
    outlet: Outlet,
}

impl Page {
    /// Begins an object whose last opened member is the list of events, at most `limit` of them.
    pub fn new(opening: &str, after: Seq, limit: usize, outlet: Outlet) -> Self {
        let (buffer, last) = (opening.into(), after);
        Self { after, limit, buffer, written: 0, count: 0, last, has_more: false, outlet }
    }

    /// Writes what `read` hands over, which is given the number to read: one more than the page shows, so that the page
    /// can say whether there is more (the reference sends every client around once more for nothing, W15). Blocks.
    /// Returns the last sequence, or the one that was asked from.
    pub fn write(
        mut self,
        read: impl FnOnce(usize, &mut dyn FnMut(&RawEvent<'_>) -> ControlFlow<()>) -> Result<usize, LogError>,
    ) -> Seq {
        let mut broken = None;
        let result = read(self.limit + 1, &mut |event| match self.put(event) {
            Ok(flow) => flow,
            Err(e) => {
                broken = Some(e);
                ControlFlow::Break(())
            }
        });
        let last = self.last;
        match (broken, result) {
            (Some(e), _) => self.outlet.fail(ApiError::internal("failed to query events", e)),
            (None, Err(e)) => self.outlet.fail(e.into()),
            (None, Ok(_)) => self.end(),
        }
        last
    }

    fn put(&mut self, event: &RawEvent<'_>) -> io::Result<ControlFlow<()>> {
        if self.count == self.limit || self.written >= PAGE_BYTES {
            self.has_more = true;
            return Ok(ControlFlow::Break(()));
        }
        if self.last > self.after {
            self.buffer.push(b',');
        }
        let before = self.buffer.len();
        event.write(&mut self.buffer);
        self.written += self.buffer.len() - before;
        self.count += 1;
        self.last = event.seq;
        if self.buffer.len() < CHUNK {
            return Ok(ControlFlow::Continue(()));
        }
        let is_wanted = self.outlet.take(&mut self.buffer)?;
        // At once as large as it will become, or every piece is moved about while it grows.
        self.buffer.reserve(CHUNK + ROOM);
        Ok(if is_wanted { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    }

    fn end(mut self) {
        close(&mut self.buffer, self.last, self.has_more);
        self.outlet.end(self.buffer);
    }
}

/// The page behind the last event, whole.
pub fn empty(opening: &str, after: Seq) -> Vec<u8> {
    let mut page = opening.into();
    close(&mut page, after, false);
    page
}

fn close(page: &mut Vec<u8>, last: Seq, has_more: bool) {
    // Writing into a vector does not fail.
    let _ = writeln!(page, r#"],"last_server_seq":{last},"has_more":{has_more}}}"#);
}
