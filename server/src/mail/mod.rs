//! Mail that the server sends: what stands in it, and the ways it leaves.
//!
//! Duty: [`Post::hand_over`] takes a mail and returns at once; sending happens behind the request, so that a known and an
//! unknown address take the same time (server-protocol W32).
//! Invariant: the queue is bounded; what cannot be sent is logged without its link.
//! Danger: a mail holds a secret link. It goes to its addressee and nowhere else: never to the log (law 15).

mod text;

pub use text::{Mail, Purpose, escaped};

use crate::config::MailSettings;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Mails that may be on their way at the same time.
const MOST_UNDER_WAY: usize = 64;

/// Why a mail did not leave.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct MailError(pub String);

/// A way for mail to leave. Blocks.
pub trait Carrier: Send + Sync {
    /// Sends, or says why not. The error must not hold the mail's link or our key.
    fn send(&self, mail: &Mail) -> Result<(), MailError>;
}

/// The server's post office.
#[derive(Clone)]
pub struct Post {
    way: Way,
    under_way: Arc<Semaphore>,
}

#[derive(Clone)]
enum Way {
    /// Nothing leaves. A person with access to the server approves instead (`td-sync admin logins`).
    Nowhere,
    /// Kept, for tests that look into the mailbox. Only the last one: a mailbox must not grow (W43).
    Memory(Arc<Mutex<Option<Mail>>>),
    /// Out.
    Out(Arc<dyn Carrier>),
}

impl Post {
    /// As configured.
    pub fn new(settings: &MailSettings) -> Self {
        let way = match settings {
            MailSettings::Log => Way::Nowhere,
            MailSettings::Memory => Way::Memory(Arc::default()),
        };
        Self::by(way)
    }

    /// With a carrier of one's own.
    pub fn with(carrier: Arc<dyn Carrier>) -> Self {
        Self::by(Way::Out(carrier))
    }

    fn by(way: Way) -> Self {
        Self { way, under_way: Arc::new(Semaphore::new(MOST_UNDER_WAY)) }
    }

    /// Whether an addressee will get anything.
    pub fn delivers(&self) -> bool {
        !matches!(self.way, Way::Nowhere)
    }

    /// Takes a mail; whether it can leave. `Err` only if too many are under way.
    pub fn hand_over(&self, mail: Mail) -> Result<(), MailError> {
        match &self.way {
            Way::Nowhere => {
                let (to, purpose) = (&mail.to, mail.purpose.as_str());
                tracing::info!(
                    to,
                    purpose,
                    trace_id = mail.trace_id,
                    "no mail leaves here; td-sync admin logins list"
                );
            }
            Way::Memory(last) => *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(mail),
            Way::Out(carrier) => {
                let permit = Arc::clone(&self.under_way).try_acquire_owned();
                let permit = permit.map_err(|_| MailError("too many mails are under way".into()))?;
                let carrier = Arc::clone(carrier);
                tokio::task::spawn_blocking(move || {
                    let (to, purpose) = (&mail.to, mail.purpose.as_str());
                    match carrier.send(&mail) {
                        Ok(()) => tracing::info!(to, purpose, trace_id = mail.trace_id, "a mail left"),
                        Err(e) => {
                            tracing::error!(to, purpose, trace_id = mail.trace_id, cause = %e, "a mail did not leave")
                        }
                    }
                    drop(permit);
                });
            }
        }
        Ok(())
    }

    /// The last mail, where it is kept.
    pub fn last(&self) -> Option<Mail> {
        match &self.way {
            Way::Memory(last) => last.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            Way::Nowhere | Way::Out(_) => None,
        }
    }
}
