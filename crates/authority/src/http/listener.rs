//! The accept loop: TLS, connection bound, deadlines, orderly end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 512;
/// Time for the TLS handshake.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Time for the head of a request, the pause before it included.
const HEAD_DEADLINE: Duration = Duration::from_secs(15);
/// Time that one connection may last, however many requests it carries.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(600);
/// Time that requests have to finish once the server is told to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// Octets that a connection may buffer, which bounds the head of a request.
const HEAD_OCTETS: usize = 16 * 1024;
/// Header fields in one request.
const HEADER_FIELDS: usize = 64;
/// Pause after an accept that failed, for instance for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound socket with its TLS configuration and its routes.
pub(crate) struct Listener {
    socket: TcpListener,
    tls: TlsAcceptor,
    router: Router,
}

/// Tells a running listener to stop; dropping it does the same.
#[derive(Debug)]
pub(crate) struct StopHandle(watch::Sender<bool>);

impl StopHandle {
    pub(crate) fn stop(&self) {
        // No receiver means that the loop has ended already.
        let _ended = self.0.send(true);
    }
}

impl Listener {
    pub(crate) async fn bind(
        address: SocketAddr,
        tls: Arc<rustls::ServerConfig>,
        router: Router,
    ) -> std::io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        Ok(Self { socket, tls: TlsAcceptor::from(tls), router })
    }

    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The accept loop and the handle that ends it.
    pub(crate) fn run(self) -> (StopHandle, impl Future<Output = ()> + Send + 'static) {
        let (stop, stopped) = watch::channel(false);
        (StopHandle(stop), self.accept(stopped))
    }

    async fn accept(self, mut stopped: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = next(&self.socket, &places) => accepted,
                // Either value or a dropped handle means the end.
                _ = stopped.changed() => break,
            };
            while connections.try_join_next().is_some() {}
            let Some((stream, place)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let connection = serve(stream, self.tls.clone(), self.router.clone(), stopped.clone());
            connections.spawn(async move {
                connection.await;
                drop(place);
            });
        }
        drop(self.socket);
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_DEADLINE, all).await.is_err() {
            tracing::warn!("some requests were cut off");
        }
    }
}

/// Waits for a free place first, so that connections beyond the bound are not accepted at all.
async fn next(socket: &TcpListener, places: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match socket.accept().await {
        Ok((stream, _peer)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(%error, "accept failed");
            None
        }
    }
}

async fn serve(stream: TcpStream, tls: TlsAcceptor, router: Router, mut stopped: watch::Receiver<bool>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let stream = match tokio::time::timeout(HANDSHAKE_DEADLINE, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake"),
        Err(_) => return tracing::debug!("TLS handshake timed out"),
    };
    let service =
        router.map_request(|request: hyper::Request<hyper::body::Incoming>| request.map(axum::body::Body::new));
    let service = service.map_err(|never: Infallible| match never {});
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(HEAD_OCTETS)
        .max_headers(HEADER_FIELDS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    let deadline = tokio::time::sleep(CONNECTION_DEADLINE);
    tokio::select! {
        result = connection.as_mut() => return report(result),
        () = deadline => {}
        _ = stopped.changed() => {}
    }
    // The request in flight is answered, then the connection closes.
    connection.as_mut().graceful_shutdown();
    match tokio::time::timeout(STOP_DEADLINE, connection).await {
        Ok(result) => report(result),
        Err(_) => tracing::debug!("connection cut off"),
    }
}

fn report(result: Result<(), hyper::Error>) {
    if let Err(error) = result {
        tracing::debug!(%error, "connection");
    }
}
