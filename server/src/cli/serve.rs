//! `td-sync serve`: settings, log, server, signals.

use super::Failure;
use anyhow::Context;
use td_server::config::Config;
use td_server::server::{Server, StartError};
use td_server::{descriptors, logging};
use tokio::signal::unix::{SignalKind, signal};

impl From<StartError> for Failure {
    fn from(e: StartError) -> Self {
        Self::Told { code: e.code().into(), message: e.to_string(), remedy: Some(e.remedy()) }
    }
}

/// Threads that may wait for a disk or for a client that takes a page. Half of them are for pages (`http::turns`), so that
/// slow clients leave as many for pushes. Tokio's own number, written down because `TasksMax=` of the unit counts with it
/// and with a writer for each open log.
const BLOCKING: usize = 512;

/// Serves until SIGTERM or SIGINT.
pub(super) fn serve() -> Result<(), Failure> {
    let config = Config::from_process()?;
    logging::start(&config);
    for note in &config.notes {
        tracing::warn!(note, "configuration");
    }
    if config.login.dev_inspect {
        tracing::warn!("SYNC_DEV_EMAIL_INSPECT is on: looking at a login's link approves it");
    }
    if config.tls.is_none() && !config.listen.is_loopback() {
        tracing::warn!(
            "listening beyond this machine without TLS; keys travel readable unless a proxy adds it"
        );
    }
    let files = descriptors::raise();
    if files < descriptors::NEEDED {
        tracing::warn!(
            files,
            needed = descriptors::NEEDED,
            "few files may be open at once: fewer projects are kept in use and fewer connections taken; raise \
             LimitNOFILE= of the unit, or ulimit -n"
        );
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().max_blocking_threads(BLOCKING).on_thread_park(logging::flush).build();
    let runtime = runtime.context("the async runtime cannot start")?;
    let served = runtime.block_on(async {
        let mut term = signal(SignalKind::terminate()).context("SIGTERM cannot be awaited")?;
        let mut int = signal(SignalKind::interrupt()).context("SIGINT cannot be awaited")?;
        let server = tokio::task::spawn_blocking(move || Server::start(config));
        let server = server.await.context("the start was abandoned")??;
        for (role, addr) in server.addresses().context("the sockets do not say where they are")? {
            tracing::info!(%addr, role = role.name(), "server started");
        }
        let stop = async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            tracing::info!("shutting down");
        };
        let in_time = server.run(stop).await.context("serving failed")?;
        if !in_time {
            tracing::warn!("some requests were still open when the shutdown timeout ran out");
        }
        Ok(())
    });
    // Everything is closed. A thread that still waits for a mail server must not keep the process.
    runtime.shutdown_background();
    logging::flush();
    served
}
