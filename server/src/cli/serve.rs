//! `td-sync serve`: settings, log, server, signals.

use super::Failure;
use anyhow::Context;
use td_server::config::Config;
use td_server::logging;
use td_server::server::{Server, StartError};
use tokio::signal::unix::{SignalKind, signal};

impl From<StartError> for Failure {
    fn from(e: StartError) -> Self {
        Self::Told { code: e.code().into(), message: e.to_string(), remedy: Some(e.remedy()) }
    }
}

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
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
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
    served
}
