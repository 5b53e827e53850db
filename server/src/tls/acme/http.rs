//! The HTTP client that speaks to a directory: blocking, on threads that may block, with our own name look-up and with
//! bundled authorities unless a file says otherwise.
//!
//! It also remembers what the ACME library drops: the status of the newest answer and its `Retry-After`.

use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use td_resolve::OurResolver;
use ureq::Agent;
use ureq::http::{HeaderValue, Request, Response, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

/// Longest wait for one answer.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// A chain is some KiB; what is longer is no answer of a directory.
const LARGEST_ANSWER: u64 = 1 << 20;

/// What the newest answer said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Its status; `None` if there was no answer.
    pub status: Option<u16>,
    /// Its `Retry-After`, from the moment it came.
    pub retry_after: Option<Duration>,
}

/// A client for one attempt.
#[derive(Clone)]
pub struct Http {
    agent: Agent,
    heard: Arc<Mutex<Heard>>,
}

impl Http {
    /// With the bundled authorities, or with those of a PEM file.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        let roots = match ca_file {
            None => RootCerts::WebPki,
            Some(path) => {
                roots(path).map_err(|why| format!("SYNC_ACME_CA_FILE {}: {why}", path.display()))?
            }
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(true)
            .max_redirects(3)
            .proxy(None)
            .timeout_global(Some(CALL_LIMIT))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build();
        let connector = ureq::unversioned::transport::DefaultConnector::default();
        Ok(Self { agent: Agent::with_parts(config, connector, OurResolver), heard: Arc::default() })
    }

    /// What the newest answer said.
    pub fn heard(&self) -> Heard {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, heard: Heard) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = heard;
    }

    /// Blocks.
    fn call(&self, request: Request<Bytes>) -> Result<Response<Full<Bytes>>, Error> {
        self.hear(Heard::default());
        let (mut parts, body) = request.into_parts();
        let agent = HeaderValue::from_static(concat!("td-sync/", env!("CARGO_PKG_VERSION"), " instant-acme"));
        parts.headers.insert(header::USER_AGENT, agent);
        let answer = if body.is_empty() {
            self.agent.run(Request::from_parts(parts, ()))
        } else {
            self.agent.run(Request::from_parts(parts, &body[..]))
        };
        let (parts, mut body) = answer.map_err(|e| Error::Other(Box::new(e)))?.into_parts();
        let retry_after = parts.headers.get(header::RETRY_AFTER).and_then(|v| v.to_str().ok());
        let retry_after = retry_after.and_then(seconds_from_now);
        self.hear(Heard { status: Some(parts.status.as_u16()), retry_after });
        let body = body.with_config().limit(LARGEST_ANSWER).read_to_vec();
        let body = body.map_err(|e| Error::Other(Box::new(e)))?;
        Ok(Response::from_parts(parts, Full::new(body.into())))
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let http = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            // The body is bytes in memory: collecting them cannot fail.
            let Ok(body) = body.collect().await;
            let request = Request::from_parts(parts, body.to_bytes());
            let answer = tokio::task::spawn_blocking(move || http.call(request)).await;
            Ok(answer.map_err(|e| Error::Other(Box::new(e)))??.into())
        })
    }
}

/// `Retry-After` as seconds, or as the date that HTTP writes.
fn seconds_from_now(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let format = time::macros::format_description!(
        version = 2,
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let at = time::PrimitiveDateTime::parse(text.trim(), format).ok()?.assume_utc();
    let now = crate::clock::system()().unix_nanos();
    let left = at.unix_timestamp_nanos().saturating_sub(now);
    Some(Duration::from_nanos(u64::try_from(left.max(0)).ok()?))
}

fn roots(path: &Path) -> Result<RootCerts, String> {
    let pem = std::fs::read(path).map_err(|e| e.to_string())?;
    let mut found: Vec<Certificate<'static>> = Vec::new();
    for item in ureq::tls::parse_pem(&pem) {
        if let PemItem::Certificate(c) = item.map_err(|e| e.to_string())? {
            found.push(c);
        }
    }
    if found.is_empty() { Err("no certificate in it".into()) } else { Ok(RootCerts::new_with_certs(&found)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_spellings() {
        assert_eq!(seconds_from_now("120"), Some(Duration::from_secs(120)));
        assert_eq!(seconds_from_now("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert!(
            seconds_from_now("Fri, 31 Dec 2100 23:59:59 GMT").expect("date") > Duration::from_secs(86_400)
        );
        assert_eq!(seconds_from_now("soon"), None);
    }

    #[test]
    fn an_authority_file_without_one_is_refused_with_its_name() {
        let dir = tempfile::tempdir().expect("dir");
        let file = dir.path().join("ca.pem");
        std::fs::write(&file, "nothing\n").expect("write");
        let why = Http::new(Some(&file)).err().expect("refused");
        assert!(why.contains("ca.pem") && why.contains("no certificate in it"), "{why}");
    }
}
