//! Which core the server gets and which the load.

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A child inherits the affinity of the thread that starts it; this program starts all from its only one.
pub struct Cores {
    server: usize,
    load: usize,
}

impl Cores {
    /// The first two cores that this process may use; the same one twice if there is no other.
    pub fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("which cores there are")?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let server = usable.next();
        ensure!(server.is_some(), "no core may be used");
        let server = server.unwrap_or_default();
        Ok(Self { server, load: usable.next().unwrap_or(server) })
    }

    /// Whether there are two.
    pub fn are_separate(&self) -> bool {
        self.server != self.load
    }

    /// Puts this thread where the load runs.
    pub fn load(&self) -> Result<()> {
        pin(self.load)
    }

    /// Runs `start` where the server runs, so that what it starts stays there.
    pub fn on_server<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        pin(self.server)?;
        let started = start();
        pin(self.load)?;
        started
    }
}

fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on core {core}"))
}
