//! Whose request a line is about.
//!
//! Invariant: the ids are set once, where they are proven: a line never names a user whose key was not checked.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use tokio::task::JoinHandle;

tokio::task_local! {
    static CURRENT: Trail;
}

/// The ids of a request. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trail(Arc<Ids>);

#[derive(Debug)]
struct Ids {
    request: String,
    user: OnceLock<String>,
    project: OnceLock<String>,
}

impl Trail {
    /// Of a new request.
    pub fn begin() -> Self {
        Self(Arc::new(Ids { request: unheard_of(), user: OnceLock::new(), project: OnceLock::new() }))
    }

    /// The request's id, as its answer carries it too: 32 hex digits.
    pub fn request(&self) -> &str {
        &self.0.request
    }

    /// Lines that `speak` logs are about this request.
    pub fn within<T>(&self, speak: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), speak)
    }

    /// Lines that `work` logs are about this request. Not an `async fn`: that would hold `work` twice, and it is copied.
    pub fn around<T>(self, work: impl Future<Output = T>) -> impl Future<Output = T> {
        CURRENT.scope(self, work)
    }

    /// Notes whose request the current one is. Nothing happens outside of a request.
    pub fn user(id: &str) {
        let _ = CURRENT.try_with(|trail| trail.0.user.set(id.into()));
    }

    /// Notes which project the current request is about.
    pub fn project(id: &str) {
        let _ = CURRENT.try_with(|trail| trail.0.project.set(id.into()));
    }

    /// Hands every known id of the current request to `tell`, under the name it has in a line.
    pub(super) fn each(mut tell: impl FnMut(&'static str, &str)) {
        let _ = CURRENT.try_with(|trail| {
            tell("rid", &trail.0.request);
            for (name, id) in [("uid", &trail.0.user), ("pid", &trail.0.project)] {
                if let Some(id) = id.get() {
                    tell(name, id);
                }
            }
        });
    }
}

/// An id that no other request has. It is no secret, but must not tell how many there were: a count under two random keys
/// of this process. Asking the system for random bytes each time was a fiftieth of what an empty pull costs.
fn unheard_of() -> String {
    static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let [high, low] = KEYS.each_ref().map(|key| key.hash_one(count));
    format!("{high:016x}{low:016x}")
}

/// Does blocking work of the current request on a thread for it, and keeps the request's ids on its lines.
pub fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    match CURRENT.try_with(Trail::clone) {
        Ok(trail) => tokio::task::spawn_blocking(move || trail.within(work)),
        Err(_) => tokio::task::spawn_blocking(work),
    }
}
