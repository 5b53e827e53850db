//! HTTP/1.1 by hand: what a test wants to send may be nothing that a client library would.

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A request.
#[derive(Clone)]
pub struct Ask {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
}

impl Ask {
    pub fn new(method: &str, path: &str) -> Self {
        Self { method: method.into(), path: path.into(), headers: Vec::new(), body: None }
    }

    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub fn post(path: &str) -> Self {
        Self::new("POST", path)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn key(self, key: &str) -> Self {
        self.header("Authorization", &format!("Bearer {key}"))
    }

    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: Some(body.into()), ..self }
    }

    pub fn json(self, value: &Value) -> Self {
        self.body(value.to_string())
    }

    /// As bytes, with Host and Content-Length.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\nHost: test\r\n", self.method, self.path).into_bytes();
        for (name, value) in &self.headers {
            out.extend(format!("{name}: {value}\r\n").bytes());
        }
        if let Some(body) = &self.body {
            out.extend(format!("Content-Length: {}\r\n", body.len()).bytes());
        }
        out.extend(b"\r\n");
        out.extend(self.body.as_deref().unwrap_or_default());
        out
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// `code message` of an error body.
    pub fn error(&self) -> String {
        let error = &self.json()["error"];
        format!("{} {}", error["code"].as_str().unwrap_or("?"), error["message"].as_str().unwrap_or("?"))
    }
}

/// A connection that is kept.
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("timeout");
        Self(BufReader::new(stream))
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).expect("write");
    }

    pub fn ask(&mut self, ask: &Ask) -> Answer {
        self.write(&ask.bytes());
        self.answer(ask.method == "HEAD").expect("an answer")
    }

    /// Reads an answer; `None` if the connection ends before one.
    pub fn answer(&mut self, head: bool) -> Option<Answer> {
        read_answer(&mut self.0, head)
    }
}

fn read_head(from: &mut impl BufRead) -> Option<Answer> {
    let status_line = line(from)?;
    let status = status_line.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    let mut headers = Vec::new();
    loop {
        let line = line(from)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_string(), value.trim().to_string()));
    }
    Some(Answer { status, headers, body: Vec::new() })
}

/// Reads an answer; `None` if the connection ends before one.
pub fn read_answer(from: &mut impl BufRead, head: bool) -> Option<Answer> {
    let mut answer = read_head(from)?;
    let status = answer.status;
    if head || status == 204 || status == 304 {
        return Some(answer);
    }
    if answer.header("transfer-encoding") == Some("chunked") {
        answer.body = chunks(from);
    } else if let Some(length) = answer.header("content-length") {
        answer.body = bytes(from, length.parse().expect("a length"));
    } else {
        from.read_to_end(&mut answer.body).expect("body");
    }
    Some(answer)
}

fn line(from: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    let read = from.read_line(&mut line).unwrap_or(0);
    (read > 0).then(|| line.trim_end().to_string())
}

fn bytes(from: &mut impl BufRead, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).expect("body");
    bytes
}

fn chunks(from: &mut impl BufRead) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let length = line(from).expect("a chunk");
        let length = usize::from_str_radix(&length, 16).expect("a chunk length");
        all.extend(bytes(from, length));
        line(from).expect("the end of a chunk");
        if length == 0 {
            return all;
        }
    }
}

/// What a stream sends before it is silent for so long.
pub fn listen(address: SocketAddr, ask: &Ask, silence: Duration) -> Answer {
    let mut connection = Connection::open(address);
    connection.0.get_mut().set_read_timeout(Some(silence)).expect("timeout");
    connection.write(&ask.bytes());
    let mut answer = read_head(&mut connection.0).expect("an answer");
    while let Some(length) = line(&mut connection.0) {
        let length = usize::from_str_radix(&length, 16).expect("a chunk length");
        answer.body.extend(bytes(&mut connection.0, length));
        line(&mut connection.0);
    }
    answer
}

/// One request, one connection.
pub fn send(address: SocketAddr, ask: &Ask) -> Answer {
    Connection::open(address).ask(ask)
}
