//! Mail that the server sends: what stands in it, and the ways it leaves.
//!
//! Duty: [`Post::hand_over`] takes a mail and returns at once; sending happens behind the request, so that a known and an
//! unknown address take the same time (server-protocol W32), and a mail server that hangs holds nobody up (W36).
//! Invariant: at most [`MOST_UNDER_WAY`] mails wait; each meets one [`Fate`].
//! Danger: a mail holds a secret link. It goes to its addressee and nowhere else: never to the log (law 15).

mod cloudflare;
mod smtp;
mod text;

pub use cloudflare::Cloudflare;
pub use smtp::Smtp;
pub use text::{Mail, Purpose, escaped};

use crate::config::MailSettings;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Mails that may be on their way at the same time.
const MOST_UNDER_WAY: u32 = 64;
/// Waits before a mail that could not leave for a passing reason is tried again. The link in it lives a quarter of an hour.
const AGAIN_AFTER: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];

/// Why a mail did not leave.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct MailError {
    why: String,
    passes: bool,
}

impl MailError {
    /// It would happen again.
    pub fn lasting(why: impl Into<String>) -> Self {
        Self { why: why.into(), passes: false }
    }

    /// A later try may get through.
    pub fn passing(why: impl Into<String>) -> Self {
        Self { why: why.into(), passes: true }
    }
}

/// A way for mail to leave. Blocks, for at most a minute or two.
pub trait Carrier: Send + Sync {
    /// Sends, or says why not. The error must not hold the mail's link or our key.
    fn send(&self, mail: &Mail) -> Result<(), MailError>;
}

/// What became of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Somebody else took it over.
    Left,
    /// Nobody carries mail here.
    Stays,
    /// It will not leave.
    Lost,
}

/// A mail that was handed over.
pub enum Handed {
    /// Its fate is known.
    Known(Fate),
    /// Its fate will be. Nobody has to wait: the mail goes its way all the same.
    UnderWay(JoinHandle<Fate>),
}

/// The server's post office.
#[derive(Clone)]
pub struct Post {
    way: Way,
    under_way: Arc<Semaphore>,
    again_after: &'static [Duration],
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
    /// As configured. `base_url` is how the server names itself to a mail server.
    pub fn new(settings: &MailSettings, base_url: &str) -> Result<Self, MailError> {
        Ok(Self::by(match settings {
            MailSettings::Log => Way::Nowhere,
            MailSettings::Memory => Way::Memory(Arc::default()),
            MailSettings::Smtp(smtp) => Way::Out(Arc::new(Smtp::new(smtp, base_url)?)),
            MailSettings::Cloudflare(account) => Way::Out(Arc::new(Cloudflare::new(account))),
        }))
    }

    fn by(way: Way) -> Self {
        let under_way = Arc::new(Semaphore::new(MOST_UNDER_WAY as usize));
        Self { way, under_way, again_after: &AGAIN_AFTER }
    }

    /// Whether an addressee will get anything.
    pub fn delivers(&self) -> bool {
        !matches!(self.way, Way::Nowhere)
    }

    /// Takes a mail. Never waits.
    pub fn hand_over(&self, mail: Mail) -> Handed {
        let Way::Out(carrier) = &self.way else { return Handed::Known(self.keep(mail)) };
        let Ok(permit) = Arc::clone(&self.under_way).try_acquire_owned() else {
            lost(&mail, "too many mails are under way");
            return Handed::Known(Fate::Lost);
        };
        let (carrier, again_after) = (Arc::clone(carrier), self.again_after);
        Handed::UnderWay(tokio::spawn(async move {
            let fate = carry(carrier, Arc::new(mail), again_after).await;
            drop(permit);
            fate
        }))
    }

    /// Sends while the caller waits. Blocks.
    pub fn send_now(&self, mail: Mail) -> Result<Fate, MailError> {
        match &self.way {
            Way::Out(carrier) => carrier.send(&mail).map(|()| Fate::Left),
            Way::Nowhere | Way::Memory(_) => Ok(self.keep(mail)),
        }
    }

    fn keep(&self, mail: Mail) -> Fate {
        if let Way::Memory(last) = &self.way {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(mail);
            return Fate::Left;
        }
        let (to, purpose) = (&mail.to, mail.purpose.as_str());
        tracing::info!(
            to,
            purpose,
            trace_id = mail.trace_id,
            "no mail leaves here; td-sync admin logins list"
        );
        Fate::Stays
    }

    /// Waits until nothing is under way, but no longer than that.
    pub async fn settle(&self, limit: Duration) {
        if tokio::time::timeout(limit, self.under_way.acquire_many(MOST_UNDER_WAY)).await.is_err() {
            let unsent = MOST_UNDER_WAY as usize - self.under_way.available_permits();
            tracing::warn!(unsent, "the server ends with mails under way");
        }
    }

    /// The last mail, where it is kept.
    pub fn last(&self) -> Option<Mail> {
        match &self.way {
            Way::Memory(last) => last.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            Way::Nowhere | Way::Out(_) => None,
        }
    }
}

async fn carry(carrier: Arc<dyn Carrier>, mail: Arc<Mail>, again_after: &[Duration]) -> Fate {
    let mut waits = again_after.iter();
    loop {
        let (by, what) = (Arc::clone(&carrier), Arc::clone(&mail));
        let sent = tokio::task::spawn_blocking(move || by.send(&what)).await;
        let error = match sent.unwrap_or_else(|e| Err(MailError::lasting(e.to_string()))) {
            Ok(()) => {
                let (to, purpose) = (&mail.to, mail.purpose.as_str());
                tracing::info!(to, purpose, trace_id = mail.trace_id, "a mail left");
                return Fate::Left;
            }
            Err(error) => error,
        };
        match waits.next().filter(|_| error.passes) {
            Some(wait) => {
                tracing::warn!(trace_id = mail.trace_id, cause = %error, "a mail did not leave; it is tried again");
                tokio::time::sleep(*wait).await;
            }
            None => {
                lost(&mail, &error.why);
                return Fate::Lost;
            }
        }
    }
}

fn lost(mail: &Mail, cause: &str) {
    let (to, purpose) = (&mail.to, mail.purpose.as_str());
    tracing::error!(
        to,
        purpose,
        trace_id = mail.trace_id,
        cause,
        "a mail did not leave; td-sync admin mail test"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Refuses so many times before it takes one.
    struct Moody {
        refusals: usize,
        passes: bool,
        tries: AtomicUsize,
    }

    impl Carrier for Moody {
        fn send(&self, _: &Mail) -> Result<(), MailError> {
            if self.tries.fetch_add(1, Ordering::SeqCst) < self.refusals {
                return Err(MailError { why: "not now".into(), passes: self.passes });
            }
            Ok(())
        }
    }

    async fn fate(refusals: usize, passes: bool) -> (Fate, usize) {
        let carrier = Arc::new(Moody { refusals, passes, tries: AtomicUsize::new(0) });
        let mut post = Post::by(Way::Out(Arc::clone(&carrier) as Arc<dyn Carrier>));
        post.again_after = &[Duration::ZERO, Duration::ZERO];
        let Handed::UnderWay(fate) = post.hand_over(Mail::test("ana@example.org", "1", "id")) else {
            panic!("it leaves the house")
        };
        let fate = fate.await.expect("told");
        post.settle(Duration::from_secs(10)).await;
        (fate, carrier.tries.load(Ordering::SeqCst))
    }

    #[tokio::test]
    async fn what_passes_is_tried_again_and_what_lasts_is_not() {
        assert_eq!(fate(0, true).await, (Fate::Left, 1));
        assert_eq!(fate(2, true).await, (Fate::Left, 3));
        assert_eq!(fate(9, true).await, (Fate::Lost, 3));
        assert_eq!(fate(9, false).await, (Fate::Lost, 1));
    }

    /// Takes nothing before it is let.
    struct Stuck(Mutex<std::sync::mpsc::Receiver<()>>);

    impl Carrier for Stuck {
        fn send(&self, _: &Mail) -> Result<(), MailError> {
            // An error means that the test is over.
            let _ = self.0.lock().expect("lock").recv();
            Ok(())
        }
    }

    #[tokio::test]
    async fn mails_that_wait_are_bounded() {
        let (let_go, gate) = std::sync::mpsc::channel();
        let post = Post::by(Way::Out(Arc::new(Stuck(Mutex::new(gate)))));
        let handed: Vec<Handed> =
            (0..=MOST_UNDER_WAY).map(|_| post.hand_over(Mail::test("ana@example.org", "1", "id"))).collect();
        let known = handed.iter().filter(|h| matches!(h, Handed::Known(Fate::Lost))).count();
        assert_eq!(known, 1, "one too many is told at once");
        drop(let_go);
        post.settle(Duration::from_secs(30)).await;
        for handed in handed {
            if let Handed::UnderWay(fate) = handed {
                assert_eq!(fate.await.expect("told"), Fate::Left);
            }
        }
    }

    #[test]
    fn where_no_mail_leaves_nobody_is_told_that_it_did() {
        let post = Post::new(&MailSettings::Log, "http://localhost").expect("post");
        let mail = Mail::test("ana@example.org", "1", "id");
        assert_eq!(post.send_now(mail).expect("kept"), Fate::Stays);
        assert!(!post.delivers() && post.last().is_none());
    }
}
