//! What the server does without being asked: writing behind, tidying, forgetting what is too old.
//!
//! Duty: run every line of [`JOBS`] again and again, the first time soon after the start (W50).
//! Invariant: a job that fails or panics is run again at its next time; how each went last is kept for the doctor.
//! Danger: a job that never ends keeps the process from stopping; long ones look at [`App::is_stopping`].
//! Adding a job: a line in [`JOBS`] and a function that blocks, is short or resumable, and says what it did.

mod forget;
mod measure;
mod purge;

use crate::http::App;
use crate::live::IDLE;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use td_engine::time::ClientTime;
use tokio::task::JoinSet;

/// How a job reports a failure: for the log and the doctor.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One line of work.
pub struct Job {
    /// Stable word.
    pub name: &'static str,
    /// When it runs first, after the start.
    pub first: Duration,
    /// Pause between two runs.
    pub every: Duration,
    work: fn(&App) -> Result<(), Failure>,
}

const fn job(name: &'static str, first: u64, every: u64, work: fn(&App) -> Result<(), Failure>) -> Job {
    Job { name, first: Duration::from_secs(first), every: Duration::from_secs(every), work }
}

/// All of them, with seconds to the first run and between runs.
pub const JOBS: &[Job] = &[
    job("write-behind", 0, 30, |app| Ok(app.control.flush()?)),
    job("close-idle", 30, 30, |app| {
        app.projects.close_idle(IDLE);
        app.logs.close_idle(IDLE);
        Ok(())
    }),
    job("sizes", 5, 300, measure::sizes),
    job("sweep", 5, 30, forget::sweep),
    job("forget", 20, 3600, forget::forget),
    job("purge", 10, 3600, purge::purge),
];

/// How a job went last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// When.
    pub at: ClientTime,
    /// Why it failed, if it did.
    pub failed: Option<String>,
}

/// How every job went last.
#[derive(Default)]
pub struct Jobs(Mutex<BTreeMap<&'static str, Ended>>);

impl Jobs {
    /// By name; a job that did not end yet is not there.
    pub fn ended(&self) -> BTreeMap<&'static str, Ended> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, name: &'static str, ended: Ended) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, ended);
    }
}

/// Runs all jobs until dropped.
pub async fn run(app: Arc<App>) {
    let mut all = JoinSet::new();
    for job in JOBS {
        let (app, work) = (Arc::clone(&app), job.work);
        let worker = Arc::clone(&app);
        let once = move || work(&worker);
        all.spawn(async move { keep_at(job, &app.jobs, &|| app.control.now(), Arc::new(once)).await });
    }
    while all.join_next().await.is_some() {}
}

async fn keep_at(
    job: &Job,
    jobs: &Jobs,
    now: &(dyn Fn() -> ClientTime + Sync),
    work: Arc<dyn Fn() -> Result<(), Failure> + Send + Sync>,
) {
    tokio::time::sleep(job.first).await;
    loop {
        let begun = Instant::now();
        let work = Arc::clone(&work);
        // A panic in a job is a failure like another: the next run starts afresh.
        let failed = match tokio::task::spawn_blocking(move || work()).await {
            Ok(Ok(())) => None,
            Ok(Err(e)) => Some(e.to_string()),
            Err(e) => Some(e.to_string()),
        };
        match &failed {
            None => tracing::debug!(job = job.name, dur = ?begun.elapsed(), "job"),
            Some(cause) => tracing::error!(job = job.name, cause, "job failed; it is tried again"),
        }
        jobs.note(job.name, Ended { at: now(), failed });
        tokio::time::sleep(job.every).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_job_that_panics_runs_again_and_the_first_run_comes_before_the_first_pause() {
        let (jobs, runs) = (Arc::new(Jobs::default()), Arc::new(AtomicU32::new(0)));
        let line = job("odd", 1, 3600, |_| Ok(()));
        let counted = Arc::clone(&runs);
        let work: Arc<dyn Fn() -> Result<(), Failure> + Send + Sync> =
            Arc::new(move || match counted.fetch_add(1, Ordering::SeqCst) {
                0 => panic!("a fault in a job"),
                1 => Err("no room".into()),
                _ => Ok(()),
            });
        let noted = Arc::clone(&jobs);
        let running =
            tokio::spawn(async move { keep_at(&line, &noted, &|| crate::clock::at(0), work).await });
        for (after, run, failed) in [(60, 1, Some("panic")), (3600, 2, Some("no room")), (3600, 3, None)] {
            tokio::time::sleep(Duration::from_secs(after)).await;
            assert_eq!(runs.load(Ordering::SeqCst), run);
            let ended = jobs.ended()["odd"].clone();
            assert_eq!(ended.failed.is_some(), failed.is_some(), "{ended:?}");
            assert!(failed.is_none_or(|word| ended.failed.expect("a cause").contains(word)));
        }
        running.abort();
    }

    #[test]
    fn every_job_has_a_name_of_its_own_and_begins_within_a_minute() {
        for (n, job) in JOBS.iter().enumerate() {
            assert!(JOBS[..n].iter().all(|other| other.name != job.name), "{}", job.name);
            assert!(job.first <= Duration::from_secs(60), "{}", job.name);
        }
    }
}
