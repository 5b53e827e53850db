//! A very small HTTP server before a [`FakeServer`]: enough of td-sync's routes for connecting, syncing and a canary.

use crate::fake::{Cable, FakeServer};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use td_client::transport::Transport;
use td_engine::id::{ProjectId, Seq};

pub const SECRET: &str = "abcdefghijklmnopqrstuvwxyz";
pub const KEY: &str = "td_live_0123456789";

/// A listening server. It ends with the process.
pub struct Door {
    pub url: String,
    /// `METHOD path` of every request, with ` +key` if it carried the right key.
    pub asked: Arc<Mutex<Vec<String>>>,
    /// Of the identity the links name.
    pub fingerprint: String,
}

/// Who answers at the door.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The server itself.
    Rightful,
    /// Another one, with a key of its own.
    Impostor,
    /// The server itself, but what it takes is gone.
    Forgetful,
}

impl Door {
    pub fn open(owner: Owner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let rightful = SigningKey::from_bytes(&[1; 32]);
        let signing =
            if owner == Owner::Impostor { SigningKey::from_bytes(&[2; 32]) } else { rightful.clone() };
        let digest = Sha256::digest(rightful.verifying_key().as_bytes());
        let fingerprint = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
        let record = asked.clone();
        std::thread::spawn(move || {
            let mut inside =
                Inside { fake: FakeServer::new(1000), owner, signing, projects: Vec::new(), enrolled: false };
            for peer in listener.incoming().map_while(Result::ok) {
                let _peer_may_be_gone = inside.serve(peer, &record);
            }
        });
        Self { url, asked, fingerprint }
    }

    pub fn link(&self) -> String {
        format!("{}/connect#{SECRET}.{}", self.url, self.fingerprint)
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("lock").clone()
    }
}

struct Inside {
    fake: FakeServer,
    owner: Owner,
    signing: SigningKey,
    projects: Vec<Value>,
    enrolled: bool,
}

impl Inside {
    fn serve(&mut self, mut peer: TcpStream, record: &Mutex<Vec<String>>) -> std::io::Result<()> {
        let mut reader = BufReader::new(peer.try_clone()?);
        let (mut head, mut length, mut has_key) = (String::new(), 0, false);
        reader.read_line(&mut head)?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let lower = line.trim().to_ascii_lowercase();
            if lower.is_empty() {
                break;
            }
            if let Some(n) = lower.strip_prefix("content-length:") {
                length = n.trim().parse().unwrap_or(0);
            }
            has_key |= lower == format!("authorization: bearer {KEY}");
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let words: Vec<&str> = head.split_whitespace().collect();
        let [method, target, ..] = words.as_slice() else { return Ok(()) };
        let note = format!(
            "{method} {}{}",
            target.split('?').next().unwrap_or(""),
            if has_key { " +key" } else { "" }
        );
        record.lock().expect("lock").push(note);
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let (status, answer) = self.answer(method, target, &body, has_key);
        let text = answer.to_string();
        let epoch = "e".repeat(32);
        write!(
            peer,
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nX-Td-Epoch: {epoch}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        )
    }

    fn answer(&mut self, method: &str, target: &str, body: &Value, has_key: bool) -> (u16, Value) {
        let refusal = |status, code: &str| (status, json!({"error": {"code": code, "message": "no"}}));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let param =
            |name: &str| query.split('&').find_map(|p| p.strip_prefix(name)?.strip_prefix('=')).unwrap_or("");
        match (method, path) {
            ("GET", "/healthz") => return (200, json!({"status": "ok"})),
            ("GET", "/v1/identity") => {
                let message = format!("td-sync identity 1\n{}", param("nonce"));
                let signature = STANDARD.encode(self.signing.sign(message.as_bytes()).to_bytes());
                let public_key = STANDARD.encode(self.signing.verifying_key().as_bytes());
                return (200, json!({"public_key": public_key, "signature": signature}));
            }
            ("POST", "/v1/enroll") if body["secret"] != SECRET => return refusal(404, "not_found"),
            ("POST", "/v1/enroll") if std::mem::replace(&mut self.enrolled, true) => {
                return refusal(410, "already_used");
            }
            ("POST", "/v1/enroll") => {
                return (
                    200,
                    json!({"status": "complete", "api_key": KEY, "user_id": "u_1",
                    "email": "ana@example.org", "expires_at": "2099-01-01T00:00:00Z"}),
                );
            }
            _ if !has_key => return refusal(401, "unauthorized"),
            ("GET", "/v1/projects") => return (200, json!(self.projects)),
            ("POST", "/v1/projects") => {
                let project = json!({"id": crate::fake::PROJECT, "name": body["name"], "description": "",
                    "created_at": "2026-01-01T00:00:00Z"});
                self.projects.push(project.clone());
                return (201, project);
            }
            _ => {}
        }
        let project = ProjectId::parse(crate::fake::PROJECT).expect("id");
        assert_eq!(self.fake.cable.get(), Cable::Whole);
        let answer = match path.rsplit('/').next().unwrap_or("") {
            "push" => self
                .fake
                .push(&project, &serde_json::from_value(body.clone()).expect("a push"))
                .map(|a| json!(a)),
            "pull" => {
                let after = Seq(param("after_server_seq").parse().expect("a number"));
                self.fake.pull(&project, after, 1000).map(|a| json!(a))
            }
            "status" => self.fake.status(&project).map(|a| json!(a)),
            "digest" => self.fake.digest(&project).map(|a| json!(a)),
            _ => return refusal(404, "not_found"),
        };
        if self.owner == Owner::Forgetful {
            self.fake.events.borrow_mut().clear();
        }
        (200, answer.expect("the cable is whole"))
    }
}
