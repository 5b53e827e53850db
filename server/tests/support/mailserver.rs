//! A mail server that speaks as much SMTP as it takes to receive a mail, and writes down what crossed the wire readable.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// How it behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Offers encryption.
    StartTls,
    /// Is encrypted from the first byte.
    Tls,
    /// Offers none.
    Plain,
    /// Takes the connection and says nothing.
    Silent,
}

/// A mail as it was received.
#[derive(Clone, Debug)]
pub struct Received {
    pub from: String,
    pub to: String,
    pub login: Option<String>,
    pub text: String,
}

#[derive(Default)]
struct Seen {
    mails: Mutex<Vec<Received>>,
    readable: Mutex<String>,
    connections: AtomicUsize,
    /// Answers to give instead of taking a recipient.
    refusals: Mutex<Vec<&'static str>>,
}

/// The server; its thread ends with the test.
pub struct MailServer {
    pub port: u16,
    seen: Arc<Seen>,
}

impl MailServer {
    /// With a certificate and its key, as PEM files.
    pub fn start(manner: Manner, certificate: Option<(&Path, &Path)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("address").port();
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let tls = certificate.map(|(chain, key)| tls(chain, key));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, seen, tls) = (stream.expect("stream"), Arc::clone(&shared), tls.clone());
                seen.connections.fetch_add(1, Ordering::SeqCst);
                // A client that goes away in the middle is what some tests are about.
                std::thread::spawn(move || drop(serve(stream, manner, tls, &seen)));
            }
        });
        Self { port, seen }
    }

    /// Gives these answers, one per mail, before it takes one.
    pub fn refuse(&self, answers: &[&'static str]) {
        *self.seen.refusals.lock().expect("lock") = answers.iter().rev().copied().collect();
    }

    pub fn mails(&self) -> Vec<Received> {
        self.seen.mails.lock().expect("lock").clone()
    }

    /// What the client said before anything was encrypted.
    pub fn readable(&self) -> String {
        self.seen.readable.lock().expect("lock").clone()
    }

    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }
}

fn tls(chain: &Path, key: &Path) -> Arc<ServerConfig> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(chain).expect("chain").map(|c| c.expect("certificate")).collect();
    let key = PrivateKeyDer::from_pem_file(key).expect("key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key);
    Arc::new(config.expect("certificate and key"))
}

fn serve(
    mut stream: TcpStream,
    manner: Manner,
    tls: Option<Arc<ServerConfig>>,
    seen: &Seen,
) -> std::io::Result<()> {
    let secure = |stream| {
        let tls = tls.clone().expect("a certificate");
        BufReader::new(StreamOwned::new(ServerConnection::new(tls).expect("session"), stream))
    };
    match manner {
        Manner::Silent => stream.read_to_end(&mut Vec::new()).map(drop),
        Manner::Tls => {
            let mut session = secure(stream);
            session.get_mut().write_all(b"220 test ESMTP\r\n")?;
            talk(&mut session, seen, false, false).map(drop)
        }
        Manner::Plain | Manner::StartTls => {
            stream.write_all(b"220 test ESMTP\r\n")?;
            let mut session = BufReader::new(stream);
            if talk(&mut session, seen, true, manner == Manner::StartTls)? {
                talk(&mut secure(session.into_inner()), seen, false, false)?;
            }
            Ok(())
        }
    }
}

/// One conversation; whether it ended with the wish to be encrypted.
fn talk<S: Read + Write>(
    session: &mut BufReader<S>,
    seen: &Seen,
    is_readable: bool,
    offers: bool,
) -> std::io::Result<bool> {
    let (mut from, mut to, mut login) = (String::new(), String::new(), None);
    let mut line = String::new();
    loop {
        line.clear();
        if session.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        if is_readable {
            seen.readable.lock().expect("lock").push_str(&line);
        }
        let command = line.trim_end();
        let answer = match command.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" if offers => "250-test\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN",
            "EHLO" => "250-test\r\n250 AUTH PLAIN LOGIN",
            "STARTTLS" => {
                session.get_mut().write_all(b"220 go ahead\r\n")?;
                return Ok(true);
            }
            "AUTH" => {
                login = command.strip_prefix("AUTH PLAIN ").map(String::from);
                "235 welcome"
            }
            "MAIL" => {
                from = command.into();
                "250 ok"
            }
            "RCPT" => {
                to = command.into();
                seen.refusals.lock().expect("lock").pop().unwrap_or("250 ok")
            }
            "DATA" => {
                session.get_mut().write_all(b"354 go ahead\r\n")?;
                let text = data(session)?;
                let mail = Received { from: from.clone(), to: to.clone(), login: login.clone(), text };
                seen.mails.lock().expect("lock").push(mail);
                "250 taken"
            }
            "QUIT" => return Ok(false),
            _ => "250 ok",
        };
        session.get_mut().write_all(format!("{answer}\r\n").as_bytes())?;
    }
}

fn data(session: &mut impl BufRead) -> std::io::Result<String> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        if session.read_line(&mut line)? == 0 || line == ".\r\n" {
            return Ok(text);
        }
        text.push_str(&line);
    }
}
