//! Sockets: bound by us or handed over, accepted from until told to stop, then drained.
//!
//! Invariant: after the stop signal no connection is accepted, and every request that was begun is answered, within the
//! shutdown timeout. A handed-over socket stays open in whoever owns it, so a restart refuses nobody.

use crate::config::Listen;
use crate::http::{App, Peer, router};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower::ServiceExt;

/// A connection that sends no request head for so long is closed, also a kept one.
const IDLE: Duration = Duration::from_secs(60);

/// Sockets to accept from.
pub struct Listeners(Vec<std::net::TcpListener>);

impl Listeners {
    /// The sockets that were handed over (`LISTEN_FDS`), or one of our own.
    pub fn take(listen: Listen) -> io::Result<Self> {
        let mut handed = listenfd::ListenFd::from_env();
        let sockets: Result<Vec<_>, _> = (0..handed.len()).map(|i| handed.take_tcp_listener(i)).collect();
        let mut sockets: Vec<_> = sockets?.into_iter().flatten().collect();
        if sockets.is_empty() {
            sockets.push(bind(listen)?);
        }
        sockets.iter().try_for_each(|s| s.set_nonblocking(true))?;
        Ok(Self(sockets))
    }

    /// Where they listen.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.0.iter().map(std::net::TcpListener::local_addr).collect()
    }
}

fn bind(listen: Listen) -> io::Result<std::net::TcpListener> {
    match listen {
        Listen::At(address) => std::net::TcpListener::bind(address),
        // A socket for all of IPv6 takes IPv4 too, where the machine has IPv6 at all.
        Listen::Everywhere(port) => std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
            .or_else(|_| std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))),
    }
}

/// Serves until `stop` resolves, then drains. Returns whether everybody was answered in time.
pub async fn serve(listeners: Listeners, app: Arc<App>, stop: impl Future<Output = ()>) -> io::Result<bool> {
    let service = router(Arc::clone(&app));
    let connections = Arc::new(GracefulShutdown::new());
    let (halt, halted) = watch::channel(());
    let mut accepting = Vec::new();
    for listener in listeners.0 {
        let listener = TcpListener::from_std(listener)?;
        let (service, connections, halted) = (service.clone(), Arc::clone(&connections), halted.clone());
        accepting.push(tokio::spawn(accept(listener, service, connections, halted)));
    }
    stop.await;
    app.stopping.send_replace(true);
    drop((halt, halted));
    for task in accepting {
        // A panic while accepting must not keep the rest from draining.
        let _ = task.await;
    }
    let drained = match Arc::try_unwrap(connections) {
        Ok(connections) => {
            tokio::time::timeout(app.config.shutdown_timeout, connections.shutdown()).await.is_ok()
        }
        Err(_) => false,
    };
    Ok(drained)
}

async fn accept(
    listener: TcpListener,
    service: Router,
    connections: Arc<GracefulShutdown>,
    mut halted: watch::Receiver<()>,
) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = halted.changed() => return,
        };
        match stream {
            Ok((stream, peer)) => converse(stream, peer, service.clone(), &connections),
            Err(e) => {
                // Out of descriptors, mostly: closing connections will free some.
                tracing::warn!(cause = %e, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn converse(stream: TcpStream, peer: SocketAddr, service: Router, connections: &GracefulShutdown) {
    // Answers are written whole; waiting for more to send only delays them.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let service = service.clone();
        async move {
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer.ip()));
            service.oneshot(request).await
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service);
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        if let Err(e) = connection.await {
            tracing::debug!(cause = %e, "connection ended");
        }
    });
}
