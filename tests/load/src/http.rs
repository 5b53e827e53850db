//! One keep-alive connection.
//!
//! Danger: this reads only what these servers send: HTTP/1.1 with a length or in chunks.

use anyhow::{Context, Result, bail, ensure};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What the socket is asked for at once.
const READ: usize = 256 * 1024;

/// A connection to a server on loopback.
pub struct Connection {
    stream: TcpStream,
    addr: SocketAddr,
    /// What was read; up to `at` it was used.
    buffer: Vec<u8>,
    at: usize,
}

/// An answer; its memory is used again for the next.
#[derive(Default)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Status line and headers, in lower case.
    pub head: String,
    /// The body, as it was sent.
    pub body: Vec<u8>,
    /// When the first byte was there.
    pub first_byte: Option<Instant>,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    /// The body as JSON; an answer other than 200 or 201 is an error.
    pub fn json(&self) -> Result<serde_json::Value> {
        let said = String::from_utf8_lossy(&self.body[..self.body.len().min(300)]);
        ensure!((200..202).contains(&self.status), "unexpected: {} {said}", self.status);
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {said}"))
    }
}

impl Connection {
    /// Connects.
    pub async fn open(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, addr, buffer: Vec::with_capacity(READ), at: 0 })
    }

    /// A GET, with further header lines (each ending in CR LF).
    pub async fn get(&mut self, path: &str, key: &str, more: &str, answer: &mut Answer) -> Result<()> {
        let mut request = String::new();
        get(&mut request, self.addr, path, key, more);
        self.ask(request.as_bytes(), answer).await
    }

    /// A POST of JSON.
    pub async fn post(&mut self, path: &str, key: &str, body: &str, answer: &mut Answer) -> Result<()> {
        let mut request = String::new();
        post(&mut request, self.addr, path, key, body);
        self.ask(request.as_bytes(), answer).await
    }

    /// Sends a request and reads its answer.
    pub async fn ask(&mut self, request: &[u8], answer: &mut Answer) -> Result<()> {
        self.stream.write_all(request).await?;
        answer.first_byte = None;
        self.head(answer).await?;
        answer.body.clear();
        if let Some(length) = answer.header("content-length") {
            let length = length.parse()?;
            return self.take(length, &mut answer.body).await;
        }
        if answer.status == 204 || answer.status == 304 {
            return Ok(());
        }
        ensure!(
            answer.header("transfer-encoding") == Some("chunked"),
            "an answer without a length: {}",
            answer.head
        );
        loop {
            let end = self.through(b"\r\n").await?;
            let size = std::str::from_utf8(&self.buffer[self.at..end - 2])?;
            let size = usize::from_str_radix(size, 16)?;
            self.at = end;
            self.take(size, &mut answer.body).await?;
            self.at = self.through(b"\r\n").await?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    /// Sends a request and reads the beginning of its answer, whose body never ends.
    pub async fn follow(&mut self, path: &str, key: &str) -> Result<()> {
        let mut request = String::new();
        get(&mut request, self.addr, path, key, "Accept: text/event-stream\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        let mut answer = Answer::default();
        self.head(&mut answer).await?;
        ensure!(answer.status == 200, "a stream was refused: {}", answer.head);
        Ok(())
    }

    /// Reads what comes and forgets it. How much; 0 at the end.
    pub async fn drain(&mut self) -> Result<usize> {
        self.buffer.clear();
        self.at = 0;
        Ok(self.stream.read_buf(&mut self.buffer).await?)
    }

    async fn head(&mut self, answer: &mut Answer) -> Result<()> {
        if self.at == self.buffer.len() {
            self.more().await?;
        }
        answer.first_byte = Some(Instant::now());
        let end = self.through(b"\r\n\r\n").await?;
        answer.head.clear();
        answer.head.push_str(std::str::from_utf8(&self.buffer[self.at..end])?);
        answer.head.make_ascii_lowercase();
        self.at = end;
        answer.status = answer.head.get(9..12).and_then(|code| code.parse().ok()).context("no status")?;
        Ok(())
    }

    /// Where what is up to and with the mark ends.
    async fn through(&mut self, mark: &[u8]) -> Result<usize> {
        loop {
            let found = self.buffer[self.at..].windows(mark.len()).position(|window| window == mark);
            match found {
                Some(found) => return Ok(self.at + found + mark.len()),
                None => self.more().await?,
            }
        }
    }

    /// Moves so many bytes.
    async fn take(&mut self, bytes: usize, into: &mut Vec<u8>) -> Result<()> {
        let mut left = bytes;
        loop {
            let here = left.min(self.buffer.len() - self.at);
            into.extend_from_slice(&self.buffer[self.at..self.at + here]);
            (self.at, left) = (self.at + here, left - here);
            if left == 0 {
                return Ok(());
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<()> {
        if self.at > 0 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        self.buffer.reserve(READ);
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the server closed the connection");
        }
        Ok(())
    }
}

/// Writes a GET.
pub fn get(into: &mut String, addr: SocketAddr, path: &str, key: &str, more: &str) {
    // Writing to a String does not fail.
    let _ = write!(into, "GET {path} HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {key}\r\n{more}\r\n");
}

/// Writes a POST of JSON.
pub fn post(into: &mut String, addr: SocketAddr, path: &str, key: &str, body: &str) {
    // Writing to a String does not fail.
    let _ = write!(
        into,
        "POST {path} HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
}
