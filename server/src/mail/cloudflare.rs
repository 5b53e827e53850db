//! Mail by Cloudflare's Email Sending (server-protocol 3.7).
//!
//! Invariant: the whole call has a time limit (W36), and no error holds the key.
//! Danger: a 2xx alone is no success; the envelope says so too.

use super::{Carrier, Mail, MailError};
use crate::config::CloudflareSettings;
use serde_json::{Value, json};
use std::time::Duration;
use td_resolve::OurResolver;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;

/// Never the address of the server itself: that mix-up once made every mail a 404.
const API: &str = "https://api.cloudflare.com";
/// Longest call.
const LIMIT: Duration = Duration::from_secs(30);
/// Longest answer that is read.
const LARGEST_ANSWER: u64 = 64 * 1024;

/// A way through Cloudflare.
pub struct Cloudflare {
    settings: CloudflareSettings,
    api: String,
    agent: Agent,
}

impl Cloudflare {
    /// Connects to nobody yet.
    pub fn new(settings: &CloudflareSettings) -> Self {
        Self::at(API, settings, LIMIT)
    }

    fn at(api: &str, settings: &CloudflareSettings, limit: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(limit))
            .tls_config(TlsConfig::builder().root_certs(RootCerts::WebPki).build())
            .build();
        let agent = Agent::with_parts(config, DefaultConnector::default(), OurResolver);
        Self { settings: settings.clone(), api: api.into(), agent }
    }

    fn body(&self, mail: &Mail) -> Value {
        let mut body = json!({
            "from": {"address": self.settings.from},
            "to": [mail.to],
            "subject": mail.subject,
            "html": mail.html,
            "text": mail.text,
        });
        if let Some(name) = &self.settings.from_name {
            body["from"]["name"] = name.as_str().into();
        }
        // A plain text, not an object like `from`: with one, every mail is refused.
        if let Some(reply_to) = &self.settings.reply_to {
            body["reply_to"] = reply_to.as_str().into();
        }
        body
    }
}

impl Carrier for Cloudflare {
    fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let url = format!("{}/client/v4/accounts/{}/email/sending/send", self.api, self.settings.account);
        let bearer = format!("Bearer {}", self.settings.token.expose());
        let answer = self.agent.post(&url).header("Authorization", &bearer).send_json(self.body(mail));
        // The library's errors name the address and what happened, no headers.
        let mut answer = answer.map_err(|e| MailError::passing(format!("Cloudflare: {e}")))?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().with_config().limit(LARGEST_ANSWER).read_to_string();
        let envelope: Value = text.ok().and_then(|t| serde_json::from_str(&t).ok()).unwrap_or_default();
        if (200..300).contains(&status) && envelope["success"] == true {
            return Ok(());
        }
        let said = envelope["errors"][0]["message"].as_str().unwrap_or("no reason given");
        let said: String = said.replace(self.settings.token.expose(), "…").chars().take(300).collect();
        let why = format!("Cloudflare answered {status}: {said}");
        Err(if status == 429 || status >= 500 { MailError::passing(why) } else { MailError::lasting(why) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    fn settings() -> CloudflareSettings {
        CloudflareSettings {
            account: "0a1b".into(),
            token: Secret::new("hush".into()),
            from: "sync@example.org".into(),
            from_name: None,
            reply_to: Some("ops@example.org".into()),
        }
    }

    /// Answers one request and gives back what it was: head and body.
    fn answering(status: &'static str, answer: &'static str) -> (String, JoinHandle<(String, Value)>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = format!("http://{}", listener.local_addr().expect("address"));
        let served = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("accept");
            let mut reader = BufReader::new(stream);
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).expect("line");
                if let Some(n) = line.to_lowercase().strip_prefix("content-length: ") {
                    length = n.trim().parse().expect("length");
                }
                if line == "\r\n" {
                    break;
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("body");
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
            reader.get_mut().write_all(answer.as_bytes()).expect("answer");
            (head, serde_json::from_slice(&body).expect("json"))
        });
        (address, served)
    }

    fn send(status: &'static str, answer: &'static str) -> (Result<(), MailError>, String, Value) {
        let (api, served) = answering(status, answer);
        let sent =
            Cloudflare::at(&api, &settings(), LIMIT).send(&Mail::test("ana@example.org", "123456", "id"));
        let (head, body) = served.join().expect("served");
        (sent, head, body)
    }

    #[test]
    fn the_call_is_the_one_that_cloudflare_takes() {
        let (sent, head, body) = send("200 OK", "{\"success\":true}");
        sent.expect("taken");
        assert!(head.starts_with("POST /client/v4/accounts/0a1b/email/sending/send HTTP/1.1\r\n"), "{head}");
        assert!(head.to_lowercase().contains("authorization: bearer hush\r\n"), "{head}");
        assert_eq!(body["from"], json!({"address": "sync@example.org"}), "no name, no member");
        assert_eq!(
            (&body["to"], &body["reply_to"]),
            (&json!(["ana@example.org"]), &json!("ops@example.org"))
        );
        assert!(body["text"].as_str().expect("text").contains("123456"));
    }

    #[test]
    fn a_200_that_says_it_failed_is_a_failure_and_the_key_stays_out_of_it() {
        let (sent, ..) =
            send("200 OK", "{\"success\":false,\"errors\":[{\"message\":\"key hush is no good\"}]}");
        let error = sent.expect_err("refused");
        assert_eq!(error.to_string(), "Cloudflare answered 200: key … is no good");
        assert!(!error.passes);
        let (sent, ..) = send("503 Service Unavailable", "");
        assert!(sent.expect_err("down").passes, "a server that is down may come back");
    }

    #[test]
    fn a_server_that_never_answers_is_left_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let api = format!("http://{}", listener.local_addr().expect("address"));
        let silent = Cloudflare::at(&api, &settings(), Duration::from_millis(200));
        assert!(silent.send(&Mail::test("ana@example.org", "1", "id")).expect_err("silence").passes);
    }
}
