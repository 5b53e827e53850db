//! Mail by a mail server, as RFC 5321 has it.
//!
//! Invariant: nothing but the greeting crosses the wire before it is encrypted, and only to a certificate that fits the
//! configured name; `Off` is refused by the settings beyond this machine.
//! Danger: names. The library would look its server up through libc, which a static program must not (DESIGN 2). It is
//! given an address that we looked up, and the name apart, for TLS.

use super::{Carrier, Mail, MailError};
use crate::config::{Security, SmtpSettings};
use crate::secret;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Message, SmtpTransport, Transport};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Longest look-up of the mail server's name.
const LOOK_UP: Duration = Duration::from_secs(10);
/// Longest wait for a connection, and for one answer on it.
const ANSWER: Duration = Duration::from_secs(20);
/// Most addresses of one name that are tried.
const MOST_ADDRESSES: usize = 3;

/// A way through a mail server.
pub struct Smtp {
    settings: SmtpSettings,
    tls: Option<TlsParameters>,
    hello: ClientId,
}

impl Smtp {
    /// Reads the authorities. Connects to nobody.
    pub fn new(settings: &SmtpSettings, base_url: &str) -> Result<Self, MailError> {
        let tls = match settings.security {
            Security::Off => None,
            Security::Tls | Security::StartTls => Some(parameters(settings)?),
        };
        Ok(Self { settings: settings.clone(), tls, hello: hello(base_url) })
    }

    fn transport(&self, at: SocketAddr) -> SmtpTransport {
        let tls = match (&self.tls, self.settings.security) {
            (Some(tls), Security::Tls) => Tls::Wrapper(tls.clone()),
            // A server that does not offer it is left.
            (Some(tls), _) => Tls::Required(tls.clone()),
            (None, _) => Tls::None,
        };
        let mut builder = SmtpTransport::builder_dangerous(at.ip().to_string())
            .port(at.port())
            .tls(tls)
            .timeout(Some(ANSWER))
            .hello_name(self.hello.clone());
        if let Some((user, password)) = &self.settings.login {
            builder = builder
                .credentials(Credentials::new(user.clone(), password.expose().to_string()))
                .authentication(vec![Mechanism::Plain, Mechanism::Login]);
        }
        builder.build()
    }
}

impl Carrier for Smtp {
    fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let message = compose(mail, &self.settings.from)?;
        let found = td_resolve::addresses(&self.settings.host, self.settings.port, LOOK_UP);
        let found = found.map_err(|e| MailError::passing(e.to_string()))?;
        let mut unreached = Vec::new();
        for at in found.into_iter().take(MOST_ADDRESSES) {
            match self.transport(at).send(&message) {
                Ok(_) => return Ok(()),
                Err(e) => {
                    let why = format!("{} ({at}): {}", self.settings.host, said(&e));
                    // The server has answered: its other addresses would say the same.
                    if e.status().is_some() || e.is_client() || e.is_response() {
                        let passes = e.is_transient();
                        return Err(if passes { MailError::passing(why) } else { MailError::lasting(why) });
                    }
                    unreached.push(why);
                }
            }
        }
        Err(MailError::passing(unreached.join("; ")))
    }
}

fn compose(mail: &Mail, from: &Mailbox) -> Result<Message, MailError> {
    let failed = |e: &dyn std::fmt::Display| MailError::lasting(format!("no mail can be made of this: {e}"));
    let to: Mailbox = mail.to.parse().map_err(|e| failed(&e))?;
    let id = secret::bytes::<16>().map_err(|e| failed(&e))?;
    let id = format!("<{}@{}>", secret::hex(&id), from.email.domain());
    // RFC 3834: holiday notices and the like do not answer a program.
    let automatic =
        HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), String::from("auto-generated"));
    Message::builder()
        .from(from.clone())
        .to(to)
        .subject(&mail.subject)
        .message_id(Some(id))
        .raw_header(automatic)
        .multipart(
            MultiPart::alternative()
                .singlepart(plain(&mail.text))
                .singlepart(SinglePart::html(mail.html.clone())),
        )
        .map_err(|e| failed(&e))
}

/// What happened. A time that ran out reads `Resource temporarily unavailable` where the system says it.
fn said(e: &lettre::transport::smtp::Error) -> String {
    let io = std::error::Error::source(e).and_then(|s| s.downcast_ref::<io::Error>());
    match io.map(io::Error::kind) {
        Some(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            format!("no answer within {} s", ANSWER.as_secs())
        }
        _ => e.to_string(),
    }
}

/// The plain part as it is, where that is allowed. Left to itself the library folds lines at 76, and whoever looks at the
/// source of a mail would copy half a link.
fn plain(text: &str) -> SinglePart {
    const LONGEST_LINE: usize = 998; // RFC 5322, 2.1.1
    if !text.is_ascii() || text.lines().any(|l| l.len() > LONGEST_LINE) {
        return SinglePart::plain(text.to_string());
    }
    let crlf = text.lines().flat_map(|l| [l, "\r\n"]).collect::<String>();
    let body = Body::dangerous_pre_encoded(crlf.into_bytes(), ContentTransferEncoding::SevenBit);
    SinglePart::builder().header(ContentType::TEXT_PLAIN).body(body)
}

fn parameters(settings: &SmtpSettings) -> Result<TlsParameters, MailError> {
    let mut builder = TlsParameters::builder(settings.host.clone());
    if let Some(file) = &settings.ca_file {
        let authorities = authorities(file);
        let authorities = authorities
            .map_err(|why| MailError::lasting(format!("SYNC_SMTP_CA_FILE {}: {why}", file.display())))?;
        builder = builder.certificate_store(CertificateStore::None);
        builder = authorities.into_iter().fold(builder, |b, c| b.add_root_certificate(c));
    }
    builder.build().map_err(|e| MailError::lasting(e.to_string()))
}

fn authorities(file: &Path) -> Result<Vec<Certificate>, String> {
    let pem = std::fs::read(file).map_err(|e| e.to_string())?;
    let mut found = Vec::new();
    for item in ureq::tls::parse_pem(&pem) {
        if let ureq::tls::PemItem::Certificate(c) = item.map_err(|e| e.to_string())? {
            found.push(Certificate::from_der(c.der().to_vec()).map_err(|e| e.to_string())?);
        }
    }
    if found.is_empty() { Err("no certificate in it".into()) } else { Ok(found) }
}

/// What the server calls itself: the host of its address if that is a name, else what stands for "no name".
fn hello(base_url: &str) -> ClientId {
    let host = base_url.split("://").nth(1).unwrap_or_default();
    let host = host.split(['/', ':']).next().unwrap_or_default();
    let is_name = host.contains('.') && host.bytes().any(|b| b.is_ascii_alphabetic());
    if is_name { ClientId::Domain(host.into()) } else { ClientId::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_says_hello_with_its_name_if_it_has_one() {
        assert_eq!(hello("https://sync.example.org:8443/x").to_string(), "sync.example.org");
        for none in ["http://localhost:8080", "http://10.0.0.1:8080", "http://[::1]:80"] {
            assert_eq!(hello(none).to_string(), ClientId::default().to_string(), "{none}");
        }
    }

    #[test]
    fn an_address_cannot_add_headers_or_recipients() {
        let from = "sync@example.org".parse().expect("mailbox");
        for bad in ["ana@example.org\r\nBcc: eve@example.org", "ana@example.org, eve@example.org", ""] {
            let mail = Mail::test(bad, "1", "id");
            assert!(compose(&mail, &from).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_link_is_on_one_line_of_the_plain_part() {
        let link =
            format!("https://sync.example.org/auth/device/approve?token={}", "0123456789abcdef.".repeat(6));
        let mail = Mail::device_login("ana@example.org", &link, "id");
        let message = compose(&mail, &"Sync <sync@example.org>".parse().expect("mailbox")).expect("message");
        let text = String::from_utf8(message.formatted()).expect("text");
        assert!(text.lines().any(|l| l.ends_with(&link)), "{text}");
        assert!(text.contains("Auto-Submitted: auto-generated\r\n"), "{text}");
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "every line ends as mail wants it");
    }
}
