//! HTTPS by the server itself.
//!
//! Duty: have a certificate in service, renew or reload it without a restart, and say when that does not work.
//! Shape: [`served`] is what handshakes look at; [`files`] and [`acme`] are the two ways to fill it; [`on_disk`] is what
//! doctor and admin see, also without a running server. `http/` does the sockets, the redirect and the headers.
//! Invariant: trouble with certificates never stops the server and never takes a usable certificate out of service.
//! Danger: everything here is asked by strangers before they have a key; nothing is looked up on disk for them.

pub mod acme;
mod certificate;
mod files;
mod on_disk;
mod served;

pub use certificate::{Alarm, BadCertificate, Certificate, DAY, Validity};
pub use files::FilesError;
pub use on_disk::{Standing, standing_on_disk};
pub use served::ACME_TLS;

use crate::clock;
use crate::config::{CertificateSource, TlsConfig};
use crate::datadir::{DataDir, DataDirError};
use files::{Files, Look};
use served::Served;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::{JoinSet, block_in_place};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::version::{TLS12, TLS13};

/// How often certificate files are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// How long after a panic the work is taken up again.
const AFTER_PANIC: Duration = Duration::from_secs(60);

/// Why TLS cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The operator's files. At a start they must be good: nobody would notice a server without them.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Our own folder.
    #[error(transparent)]
    Dir(#[from] DataDirError),
    /// The file of authorities for the directory.
    #[error("{0}")]
    Authorities(String),
    /// The TLS library.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] tokio_rustls::rustls::Error),
}

/// Folder of certificates, account keys and the record of attempts in a data directory.
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("tls")
}

/// Seconds since 1970.
pub fn now() -> i64 {
    i64::try_from(clock::system()().unix_nanos() / 1_000_000_000).unwrap_or(i64::MAX)
}

/// For people.
pub fn date(seconds: i64) -> String {
    clock::at(i128::from(seconds) * 1_000_000_000).rfc3339s_utc()
}

/// HTTPS of a running server.
pub struct Tls {
    config: TlsConfig,
    dir: PathBuf,
    served: Arc<Served>,
    acceptor: TlsAcceptor,
    /// Whether a socket answers HTTP-01.
    answers_http: bool,
    wake: Notify,
    forced: AtomicBool,
    notes: Mutex<Notes>,
}

/// What the keeper of certificates says of itself.
#[derive(Clone, Debug, Default)]
struct Notes {
    trouble: Option<String>,
    next: Option<(i64, Option<String>)>,
}

impl Tls {
    /// Puts into service what is there. With ACME that may be nothing yet: then handshakes are refused until there is.
    pub fn start(config: &TlsConfig, data: &DataDir, answers_http: bool) -> Result<Self, TlsError> {
        let dir = folder(data.path());
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(|source| DataDirError::Io { what: "create", path: dir.clone(), source })?;
        let served = Arc::new(Served::default());
        let found = match &config.source {
            CertificateSource::Files { certificate, key } => Some(files::load(certificate, key)?),
            CertificateSource::Acme(acme) => {
                acme::check(acme).map_err(TlsError::Authorities)?;
                acme::stored(&dir).unwrap_or_else(|why| {
                    tracing::error!(why, "the stored certificate cannot be used; another one is asked for");
                    None
                })
            }
        };
        if let Some(certificate) = found {
            served.replace(certificate);
        }
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(&[&TLS13, &TLS12])?.with_no_client_auth();
        let mut server = builder.with_cert_resolver(Arc::clone(&served) as _);
        server.alpn_protocols = vec![b"http/1.1".to_vec(), ACME_TLS.to_vec()];
        let (config, acceptor) = (config.clone(), TlsAcceptor::from(Arc::new(server)));
        let (wake, forced, notes) = (Notify::new(), AtomicBool::new(false), Mutex::default());
        Ok(Self { config, dir, served, acceptor, answers_http, wake, forced, notes })
    }

    /// For handshakes.
    pub fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// What HTTP-01 answers for a token, while an order is under way.
    pub fn key_authorization(&self, token: &str) -> Option<String> {
        self.served.key_authorization(token)
    }

    /// Whether the name is one of ours.
    pub fn is_name(&self, name: &str) -> bool {
        let configured = self.config.names.iter().any(|n| n.eq_ignore_ascii_case(name));
        configured || (self.config.names.is_empty() && self.served.present().is_some_and(|c| c.covers(name)))
    }

    /// Days until the certificate ends, negative after that; `None` without one. A figure for the metrics.
    pub fn days_left(&self) -> Option<f64> {
        #[allow(clippy::cast_precision_loss, reason = "seconds of centuries fit")]
        self.served.present().map(|c| (c.validity.not_after - now()) as f64 / DAY as f64)
    }

    /// Why no client can connect, if none can.
    pub fn unready(&self) -> Option<String> {
        let Some(present) = self.served.present() else {
            let why = self.notes().trouble.map(|t| format!(": {t}")).unwrap_or_default();
            return Some(format!("there is no certificate yet{why}"));
        };
        match present.validity.alarm(now()) {
            Alarm::Expired => Some(format!("the certificate ended on {}", date(present.validity.not_after))),
            Alarm::NotYet => Some(format!(
                "the certificate begins on {}; this machine's clock may be wrong",
                date(present.validity.not_before)
            )),
            _ => None,
        }
    }

    /// What is in service and what comes next.
    pub fn standing(&self) -> Standing {
        let Notes { trouble, next } = self.notes();
        Standing::new(&self.config, self.served.present().as_deref(), trouble, next)
    }

    /// Asks for a new certificate at once, or looks at the files at once.
    pub fn renew(&self) {
        self.forced.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Keeps the certificate current; ends only when it is dropped. A panic in here is a minute without renewals, never
    /// the end of them.
    pub async fn keep(self: Arc<Self>) {
        loop {
            // A set ends its task when it is dropped; a bare handle would let it go on.
            let mut work = JoinSet::new();
            let tls = Arc::clone(&self);
            work.spawn(async move {
                match &tls.config.source {
                    CertificateSource::Files { certificate, key } => tls.watch(certificate, key).await,
                    CertificateSource::Acme(acme) => acme::keep(&tls, acme).await,
                }
            });
            if let Some(Err(e)) = work.join_next().await {
                tracing::error!(cause = %e, "the keeper of certificates failed; it begins again");
            }
            tokio::time::sleep(AFTER_PANIC).await;
        }
    }

    async fn watch(&self, certificate: &Path, key: &Path) {
        let mut files = Files::new(certificate, key);
        loop {
            match block_in_place(|| files.look()) {
                Look::Same => {}
                Look::New(new) => {
                    let news = self.served.present().is_none_or(|p| p.fingerprint != new.fingerprint);
                    if news {
                        let (names, until) = (new.names.join(","), date(new.validity.not_after));
                        tracing::info!(names, until, "new certificate in service");
                    }
                    self.served.replace(new);
                    self.note(None, None);
                }
                Look::Worse(e) => {
                    tracing::error!(cause = %e, "the new certificate cannot be used; the old one stays in service");
                    self.note(Some(&e.to_string()), None);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    fn notes(&self) -> Notes {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, trouble: Option<&str>, next: Option<(i64, Option<String>)>) {
        let notes = Notes { trouble: trouble.map(str::to_string), next };
        *self.notes.lock().unwrap_or_else(PoisonError::into_inner) = notes;
    }

    /// Sleeps until then, or until an operator asks.
    async fn sleep_until(&self, until: i64) {
        let seconds = u64::try_from(until - now()).unwrap_or(0).max(1);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
            () = self.wake.notified() => {}
        }
    }
}
