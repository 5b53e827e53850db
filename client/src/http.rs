//! A server over HTTP.
//!
//! Duty: [`Transport`] and the few other calls a client makes, with one deadline each; every answer is either ours,
//! a refusal in the server's words, or named as foreign.
//! Invariant: a key goes to the host it was asked for and nowhere else: redirects are reported, never followed.
//! Danger: a captive portal answers anything with `200` and HTML; an answer counts only if it is the JSON we expect.

use crate::config::Secret;
use crate::server_url::ServerUrl;
use crate::transport::{
    PullPage, PushRequest, PushResponse, RemoteDigest, RemoteStatus, Transport, TransportError,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use td_engine::id::{Epoch, ProjectId, Seq};
use td_resolve::OurResolver;
use ureq::Agent;
use ureq::http::Response;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

/// How long one call may take, from the look-up of the name to the last byte.
pub const CALL_LIMIT: Duration = Duration::from_secs(30);
/// Header in which a server of ours names the history its answer is from.
const EPOCH_HEADER: &str = "x-td-epoch";
/// A page of 1,000 events of 10 MiB does not exist; a body beyond this is not from a server of ours.
const BODY_LIMIT: u64 = 512 * 1024 * 1024;

/// A server, with or without a key. Cheap to clone; clones share connections and the epoch last seen.
#[derive(Clone)]
pub struct Server {
    url: ServerUrl,
    agent: Agent,
    key: Option<Secret>,
    epoch: Arc<Mutex<Option<Epoch>>>,
}

/// What `GET /version` answers (DESIGN 6.1).
#[derive(Clone, Debug, Deserialize)]
pub struct Version {
    /// `td-sync`.
    pub product: String,
    /// Release.
    pub version: String,
    /// History of the server's data.
    #[serde(default)]
    pub epoch: Option<String>,
}

/// What `GET /v1/identity` answers.
#[derive(Clone, Debug, Deserialize)]
pub struct IdentityAnswer {
    /// Ed25519, base64.
    pub public_key: String,
    /// Over `td-sync identity 1\n` and the nonce, base64.
    pub signature: String,
}

/// A completed login (server-protocol 3.2), with the project the link named.
#[derive(Clone, Deserialize)]
pub struct Enrolled {
    /// The key.
    pub api_key: Secret,
    /// Whose.
    pub user_id: String,
    /// Their address.
    #[serde(default)]
    pub email: String,
    /// RFC 3339, if it ends.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// The project the link invites to.
    #[serde(default)]
    pub project_id: Option<String>,
}

/// A request for a token, made.
#[derive(Clone, Deserialize)]
pub struct AskedToken {
    /// What the agent polls with.
    pub poll_code: Secret,
    /// What a person types.
    pub user_code: String,
    /// Seconds until it is over.
    pub expires_in: u64,
    /// Seconds between two polls.
    pub interval: u64,
}

/// Text from a person inside a path: everything but letters, digits, `-` and `_` is escaped.
fn path_segment(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A project as the server lists it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RemoteProject {
    /// `p_…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is about.
    #[serde(default)]
    pub description: String,
    /// RFC 3339.
    #[serde(default)]
    pub created_at: String,
}

impl Server {
    /// A server at `url`. `ca_file` (PEM) replaces the bundled certificate authorities.
    pub fn new(url: ServerUrl, ca_file: Option<&Path>, key: Option<Secret>) -> Result<Self, TransportError> {
        Self::with_limit(url, ca_file, key, CALL_LIMIT)
    }

    /// As [`Server::new`] with another time limit per call.
    pub fn with_limit(
        url: ServerUrl,
        ca_file: Option<&Path>,
        key: Option<Secret>,
        limit: Duration,
    ) -> Result<Self, TransportError> {
        let roots = match ca_file {
            None => RootCerts::WebPki,
            Some(path) => ca_roots(path).map_err(|why| TransportError::Offline {
                url: url.to_string(),
                why: format!("certificate authorities in {}: {why}", path.display()),
            })?,
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // The environment's proxy variables are not ours to read (library), and a sync server is reached directly.
            .proxy(None)
            .timeout_global(Some(limit))
            .timeout_connect(Some(limit.min(Duration::from_secs(10))))
            .timeout_resolve(Some(limit.min(Duration::from_secs(10))))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .user_agent(concat!("td-sync/", env!("CARGO_PKG_VERSION")))
            .build();
        let connector = ureq::unversioned::transport::DefaultConnector::default();
        let agent = Agent::with_parts(config, connector, OurResolver);
        Ok(Self { url, agent, key, epoch: Arc::default() })
    }

    /// The same server with a key.
    pub fn with_key(&self, key: Secret) -> Self {
        Self { key: Some(key), ..self.clone() }
    }

    /// Its address.
    pub fn url(&self) -> &ServerUrl {
        &self.url
    }

    /// The history the latest answer was from; `None` before the first, and from servers that know no epochs.
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch.lock().ok().and_then(|e| e.clone())
    }

    /// Whether it answers at all.
    pub fn health(&self) -> Result<(), TransportError> {
        self.without_key().get::<Value>("/healthz").map(drop)
    }

    /// Which program it is. A reference server has no such route.
    pub fn version(&self) -> Result<Version, TransportError> {
        self.without_key().get("/version")
    }

    /// Its identity's answer to `nonce` (hex).
    pub fn identity(&self, nonce: &str) -> Result<IdentityAnswer, TransportError> {
        self.without_key().get(&format!("/v1/identity?nonce={nonce}"))
    }

    /// Uses up an enrolment link.
    pub fn enroll(&self, secret: &Secret, device_name: &str) -> Result<Enrolled, TransportError> {
        let body = serde_json::json!({"secret": secret.reveal(), "device_name": device_name});
        self.without_key().post("/v1/enroll", &body)
    }

    /// The projects this key may see.
    pub fn projects(&self) -> Result<Vec<RemoteProject>, TransportError> {
        self.get("/v1/projects")
    }

    /// A new project, owned by this key's user.
    pub fn create_project(&self, name: &str, description: &str) -> Result<RemoteProject, TransportError> {
        self.post("/v1/projects", &serde_json::json!({"name": name, "description": description}))
    }

    /// This person's devices and tokens.
    pub fn keys(&self) -> Result<Vec<Value>, TransportError> {
        self.get("/v1/keys")
    }

    /// A token under these terms, with its key.
    pub fn create_token(&self, terms: &Value) -> Result<Value, TransportError> {
        self.post("/v1/keys", terms)
    }

    /// Revokes a device or a token.
    pub fn revoke_key(&self, id: &str) -> Result<(), TransportError> {
        let url = format!("{}/v1/keys/{}", self.url, path_segment(id));
        let mut request = self.agent.delete(&url);
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {}", key.reveal()));
        }
        self.answer::<()>(&url, request.call())
    }

    /// Asks for a token, as an agent.
    pub fn ask_token(&self, name: &str) -> Result<AskedToken, TransportError> {
        self.without_key().post("/v1/keys/requests", &serde_json::json!({"name": name}))
    }

    /// The token, if a person approved; `{"status":"pending"}` before.
    pub fn collect_token(&self, poll_code: &Secret) -> Result<Value, TransportError> {
        self.without_key()
            .post("/v1/keys/requests/poll", &serde_json::json!({"poll_code": poll_code.reveal()}))
    }

    /// What an agent asked for.
    pub fn token_request(&self, code: &str) -> Result<Value, TransportError> {
        self.get(&format!("/v1/keys/requests/{}", path_segment(code)))
    }

    /// Approves it.
    pub fn approve_token(&self, code: &str, terms: &Value) -> Result<Value, TransportError> {
        self.post(&format!("/v1/keys/requests/{}", path_segment(code)), terms)
    }

    /// For questions that are asked before it is known who answers.
    fn without_key(&self) -> Self {
        Self { key: None, ..self.clone() }
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, TransportError> {
        let url = format!("{}{path}", self.url);
        let mut request = self.agent.get(&url);
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {}", key.reveal()));
        }
        // Without the query: errors name what was asked, and a nonce says nothing to a person.
        self.answer(url.split('?').next().unwrap_or(&url), request.call())
    }

    fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, TransportError> {
        let url = format!("{}{path}", self.url);
        let mut request = self.agent.post(&url);
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {}", key.reveal()));
        }
        self.answer(&url, request.send_json(body))
    }

    fn answer<T: DeserializeOwned>(
        &self,
        url: &str,
        result: Result<Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, TransportError> {
        let mut response = result.map_err(|e| unanswered(url, e))?;
        let status = response.status().as_u16();
        let header =
            |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_string);
        let retry_after = header("retry-after").and_then(|s| s.parse().ok()).map(Duration::from_secs);
        let (location, epoch) = (header("location"), header(EPOCH_HEADER));
        let text = response
            .body_mut()
            .with_config()
            .limit(BODY_LIMIT)
            .lossy_utf8(true)
            .read_to_string()
            .map_err(|e| unanswered(url, e))?;
        let foreign = |why: String| TransportError::Foreign { url: url.into(), why };
        match status {
            300..=399 => {
                let to = location.map(|l| format!(" to {l}")).unwrap_or_default();
                Err(foreign(format!("HTTP {status}: it redirects{to}; use the address it redirects to")))
            }
            400.. => Err(refused(status, &text, retry_after)),
            _ => {
                // 204 has no body, which is what `()` is read from.
                let text = if status == 204 { "null" } else { &text };
                let value = serde_json::from_str(text).map_err(|e| {
                    foreign(format!("HTTP {status} with a body that is not what was asked for: {e}"))
                })?;
                if let (Some(epoch), Ok(mut seen)) =
                    (epoch.and_then(|e| Epoch::parse(&e).ok()), self.epoch.lock())
                {
                    *seen = Some(epoch);
                }
                Ok(value)
            }
        }
    }
}

impl Transport for Server {
    fn push(&self, project: &ProjectId, request: &PushRequest) -> Result<PushResponse, TransportError> {
        self.post(&format!("/v1/projects/{project}/sync/push"), request)
    }

    fn pull(&self, project: &ProjectId, after: Seq, limit: u32) -> Result<PullPage, TransportError> {
        self.get(&format!("/v1/projects/{project}/sync/pull?after_server_seq={after}&limit={limit}"))
    }

    fn status(&self, project: &ProjectId) -> Result<RemoteStatus, TransportError> {
        self.get(&format!("/v1/projects/{project}/sync/status"))
    }

    fn digest(&self, project: &ProjectId) -> Result<RemoteDigest, TransportError> {
        self.get(&format!("/v1/projects/{project}/sync/digest"))
    }

    fn epoch(&self) -> Option<Epoch> {
        Server::epoch(self)
    }
}

/// A refusal in the server's own words: nested `{"error":{…}}`, or `{"code","message"}` at the top (client-engine 11.4).
fn refused(status: u16, text: &str, retry_after: Option<Duration>) -> TransportError {
    #[derive(Deserialize, Default)]
    struct Words {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    #[derive(Deserialize)]
    struct Nested {
        error: Words,
    }
    let words = serde_json::from_str::<Nested>(text)
        .map(|n| n.error)
        .or_else(|_| serde_json::from_str::<Words>(text))
        .unwrap_or_default();
    TransportError::Refused { status, code: words.code, message: words.message, retry_after }
}

/// No answer: which phase failed, in words.
fn unanswered(url: &str, error: ureq::Error) -> TransportError {
    use ureq::Error as E;
    let why = match &error {
        E::HostNotFound => "the name has no address".into(),
        E::Timeout(phase) => format!("time ran out ({phase})"),
        E::Io(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
            "connection refused: nothing listens there".into()
        }
        E::Protocol(_) => {
            return TransportError::Foreign { url: url.into(), why: format!("it is not HTTP: {error}") };
        }
        E::BodyExceedsLimit(_) => {
            return TransportError::Foreign { url: url.into(), why: error.to_string() };
        }
        other => other.to_string(),
    };
    TransportError::Offline { url: url.into(), why }
}

fn ca_roots(path: &Path) -> Result<RootCerts, String> {
    let pem = std::fs::read(path).map_err(|e| e.to_string())?;
    let mut found: Vec<Certificate<'static>> = Vec::new();
    for item in ureq::tls::parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(c)) => found.push(c),
            Ok(_) => {}
            Err(e) => return Err(e.to_string()),
        }
    }
    if found.is_empty() { Err("no certificate in it".into()) } else { Ok(RootCerts::new_with_certs(&found)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// Answers one request with `answer` and returns what was asked.
    fn once(answer: &'static str) -> (ServerUrl, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port");
        let url =
            ServerUrl::parse(&format!("http://{}", listener.local_addr().expect("address"))).expect("url");
        let handle = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().expect("peer");
            let mut asked = Vec::new();
            let mut chunk = [0_u8; 4096];
            while !asked.windows(4).any(|w| w == b"\r\n\r\n") {
                let n = peer.read(&mut chunk).expect("read");
                asked.extend_from_slice(&chunk[..n]);
            }
            peer.write_all(answer.as_bytes()).expect("write");
            String::from_utf8_lossy(&asked).into_owned()
        });
        (url, handle)
    }

    fn ask(answer: &'static str) -> (Result<Vec<RemoteProject>, TransportError>, String) {
        let (url, handle) = once(answer);
        let server = Server::new(url, None, Some(Secret::new("td_live_x"))).expect("server");
        (server.projects(), handle.join().expect("thread"))
    }

    #[test]
    fn both_error_shapes_keep_status_code_and_message() {
        for body in [
            "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nConnection: close\r\n\r\n{\"error\":{\"code\":\"rate_limited\",\"message\":\"slow down\"}}",
            "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nConnection: close\r\n\r\n{\"code\":\"rate_limited\",\"message\":\"slow down\"}",
        ] {
            let (result, asked) = ask(body);
            let error = result.expect_err("refused");
            assert_eq!(error.to_string(), "HTTP 429: rate_limited slow down");
            assert!(
                matches!(error, TransportError::Refused { retry_after: Some(t), .. } if t.as_secs() == 7)
            );
            assert!(asked.to_ascii_lowercase().contains("authorization: bearer td_live_x"), "{asked}");
        }
    }

    #[test]
    fn a_portal_that_answers_html_is_foreign() {
        let (result, _) = ask(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>Please log in</html>",
        );
        assert!(matches!(result, Err(TransportError::Foreign { .. })), "{result:?}");
    }

    #[test]
    fn a_redirect_is_named_and_the_key_stays_here() {
        let (result, _) = ask(
            "HTTP/1.1 302 Found\r\nLocation: http://elsewhere.invalid/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
        let error = result.expect_err("redirect");
        assert!(error.to_string().contains("http://elsewhere.invalid/"), "{error}");
        assert!(matches!(error, TransportError::Foreign { .. }));
    }

    #[test]
    fn a_cable_that_is_cut_half_way_is_offline() {
        for cut in [
            "",
            "HTTP/1.1 200 OK\r\nContent-Le",
            "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n[{",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n[{",
        ] {
            let (result, _) = ask(cut);
            assert!(matches!(result, Err(TransportError::Offline { .. })), "{cut:?}: {result:?}");
        }
    }

    #[test]
    fn nobody_there_is_offline() {
        let free = TcpListener::bind("127.0.0.1:0").expect("port");
        let url = ServerUrl::parse(&format!("http://{}", free.local_addr().expect("address"))).expect("url");
        drop(free);
        let error = Server::new(url, None, None).expect("server").health().expect_err("nobody");
        assert!(matches!(&error, TransportError::Offline { why, .. } if why.contains("refused")), "{error}");
    }
}
