//! Connections: accepted until told to stop, put into TLS where the socket is for it, then drained.
//!
//! Invariant: after the stop signal no connection is accepted, and every request that was begun is answered, within the
//! shutdown timeout. A connection to which nothing is owed does not keep it waiting. A handed-over socket stays open in
//! whoever owns it, so a restart refuses nobody.

use crate::http::connections::{Seat, Seldom};
use crate::http::owed::{Owed, Watched};
use crate::http::redirect::{HEALTH, redirects};
use crate::http::sockets::{Listeners, Role};
use crate::http::{App, Peer, router};
use crate::tls::ACME_TLS;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::STRICT_TRANSPORT_SECURITY;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower::ServiceExt;

/// A connection that sends no request head for so long is closed, also a kept one. The reference's two minutes: stock
/// clients keep a connection for 90 s, and one that we close first can be the one they send their next push on.
const IDLE: Duration = Duration::from_secs(120);
/// A handshake that takes longer is given up, as is one whose turn does not come.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How a connection fails that its client has given up before it was accepted.
const GONE: [io::ErrorKind; 2] = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset];
/// Before accepting is tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// Thirty days, this name only: long enough to be worth something, short enough that a server without TLS is reachable
/// again in a month (docs/decisions/0009-tls.md).
const HSTS: HeaderValue = HeaderValue::from_static("max-age=2592000");

/// Serves until `stop` resolves, then drains. Returns whether everybody was answered in time.
pub async fn serve(listeners: Listeners, app: Arc<App>, stop: impl Future<Output = ()>) -> io::Result<bool> {
    let connections = Arc::new(GracefulShutdown::new());
    let (halt, halted) = watch::channel(());
    let (service, redirects) = (router(Arc::clone(&app)), redirects(Arc::clone(&app)));
    let mut accepting = Vec::new();
    for (role, listener) in listeners.0 {
        let listener = TcpListener::from_std(listener)?;
        let (app, service, redirects) = (Arc::clone(&app), service.clone(), redirects.clone());
        let door = Door { role, app, service, redirects, halted: halted.clone() };
        accepting.push(tokio::spawn(accept(listener, door, Arc::clone(&connections))));
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

/// What a connection needs to know of the socket it came through.
#[derive(Clone)]
struct Door {
    role: Role,
    app: Arc<App>,
    service: Router,
    redirects: Router,
    halted: watch::Receiver<()>,
}

async fn accept(listener: TcpListener, mut door: Door, connections: Arc<GracefulShutdown>) {
    let failed = Seldom::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = door.halted.changed() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(seat) = door.app.connections.enter(peer.ip()) else { continue };
                let watcher = connections.watcher();
                let door = door.clone();
                tokio::spawn(async move { door.converse(stream, peer, &seat, watcher).await });
            }
            // The client's own doing; the next one waits already.
            Err(e) if GONE.contains(&e.kind()) => {}
            Err(e) => {
                // The kernel's tables are full, or files took more descriptors than their share: something has to be
                // closed first, and the connection waits in the socket's queue until then.
                if let Some(times) = failed.again(Instant::now()) {
                    tracing::warn!(cause = %e, times, "connections could not be accepted");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl Door {
    async fn converse(self, stream: TcpStream, peer: SocketAddr, seat: &Seat, watcher: Watcher) {
        // Answers are written whole; waiting for more to send only delays them.
        let _ = stream.set_nodelay(true);
        match (self.role, self.app.tls.clone()) {
            (Role::Https, Some(tls)) => {
                let mut halted = self.halted.clone();
                let shaking = async {
                    let _turn = seat.handshake().await;
                    tls.acceptor().accept(stream).await
                };
                let shaken = tokio::select! {
                    shaken = tokio::time::timeout(HANDSHAKE, shaking) => shaken,
                    // Nothing was asked yet, so nothing is owed.
                    _ = halted.changed() => return,
                };
                match shaken {
                    // A validation is over with its handshake; there is no HTTP in it (RFC 8737).
                    Ok(Ok(mut stream)) if stream.get_ref().1.alpn_protocol() == Some(ACME_TLS) => {
                        let _ = stream.shutdown().await;
                    }
                    Ok(Ok(stream)) => self.http(stream, peer, watcher).await,
                    Ok(Err(e)) => tracing::debug!(cause = %e, "handshake failed"),
                    Err(_) => tracing::debug!("handshake took too long"),
                }
            }
            // The sockets' roles come from the same settings; without TLS there is no such socket.
            (Role::Https, None) => {}
            (Role::Plain | Role::Redirect, _) => self.http(stream, peer, watcher).await,
        }
    }

    async fn http<S>(self, stream: S, peer: SocketAddr, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (owed, halted) = (Arc::new(Owed::default()), self.halted.clone());
        let stream = Watched::new(stream, Arc::clone(&owed));
        let asked = Arc::clone(&owed);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let (door, debt) = (self.clone(), asked.answer());
            async move {
                let mut request: Request = request.map(Body::new);
                request.extensions_mut().insert(Peer(peer.ip()));
                let mut answer = door.service_for(&request, peer).oneshot(request).await?;
                if door.role == Role::Https {
                    answer.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HSTS);
                }
                Ok::<_, std::convert::Infallible>(answer.map(|body| debt.until_end_of(body)))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            ended = watcher.watch(connection) => if let Err(e) = ended {
                tracing::debug!(cause = %e, "connection ended");
            },
            () = owed.nothing_after(halted) => tracing::debug!("a connection was closed by the stop"),
        }
    }

    fn service_for(&self, request: &Request, peer: SocketAddr) -> Router {
        let health = || peer.ip().to_canonical().is_loopback() && HEALTH.contains(&request.uri().path());
        if self.role == Role::Redirect && !health() { self.redirects.clone() } else { self.service.clone() }
    }
}
