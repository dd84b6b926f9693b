//! The accept loop: TLS where there is any, connection bound, deadlines, orderly end.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::peer::Peer;
use super::places::{Place, Places};
use crate::limits::Limits;

/// Time that one connection may last, however many requests it carries.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(600);
/// Time that requests have to finish once the server is told to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// Octets that a connection may buffer, which bounds the head of a request.
const HEAD_OCTETS: usize = 16 * 1024;
/// Header fields in one request.
const HEADER_FIELDS: usize = 64;
/// Time that a connection has to end when its place is wanted.
const EVICTION_DEADLINE: Duration = Duration::from_millis(50);
/// Pause after an accept that failed, for instance for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What connections are made of.
#[derive(Clone)]
pub(crate) enum Channel {
    /// TLS over TCP.
    Tls(TlsAcceptor),
    /// TCP alone, for what certificates name.
    Plain,
}

/// A bound socket with its routes.
pub(crate) struct Listener {
    socket: TcpListener,
    channel: Channel,
    router: Router,
    limits: Limits,
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
        channel: Channel,
        router: Router,
        limits: Limits,
    ) -> std::io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        Ok(Self { socket, channel, router, limits })
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
        let places = Places::new(self.limits.connections);
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = next(&self.socket, &places) => accepted,
                // Either value or a dropped handle means the end.
                _ = stopped.changed() => break,
            };
            while connections.try_join_next().is_some() {}
            let Some((stream, address, place)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let connection = Connection { address, place, limits: self.limits, stopped: stopped.clone() };
            connections.spawn(connection.serve(stream, self.channel.clone(), self.router.clone()));
        }
        drop(self.socket);
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_DEADLINE, all).await.is_err() {
            tracing::warn!("some requests were cut off");
        }
    }
}

/// The next connection with its place; while everybody is at work, further ones stay in the kernel's queue.
async fn next(socket: &TcpListener, places: &Arc<Places>) -> Option<(TcpStream, IpAddr, Arc<Place>)> {
    match socket.accept().await {
        Ok((stream, peer)) => Some((stream, peer.ip(), places.take().await?)),
        Err(error) => {
            tracing::warn!(%error, "accept failed");
            None
        }
    }
}

/// One connection, from its handshake to its end.
struct Connection {
    address: IpAddr,
    place: Arc<Place>,
    limits: Limits,
    stopped: watch::Receiver<bool>,
}

impl Connection {
    async fn serve(self, stream: TcpStream, channel: Channel, router: Router) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let address = self.address;
        let tls = match channel {
            Channel::Tls(tls) => tls,
            Channel::Plain => return self.answer(stream, Peer::unknown(address), router).await,
        };
        let handshake = tokio::time::timeout(self.limits.handshake, tls.accept(stream));
        let handshaken = tokio::select! {
            handshaken = handshake => handshaken,
            () = self.place.evicted() => return tracing::debug!("handshake gave way to another client"),
        };
        match handshaken {
            Ok(Ok(stream)) => {
                let peer = Peer::of(address, stream.get_ref().1);
                self.answer(stream, peer, router).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake"),
            Err(_) => tracing::debug!("TLS handshake timed out"),
        }
    }

    async fn answer(mut self, stream: impl AsyncRead + AsyncWrite + Unpin, peer: Peer, router: Router) {
        let place = Arc::clone(&self.place);
        let peer = Arc::new(peer);
        let service = router.map_request(move |request: hyper::Request<hyper::body::Incoming>| {
            let mut request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(Arc::clone(&place));
            request.extensions_mut().insert(Arc::clone(&peer));
            request
        });
        let service = service.map_err(|never: Infallible| match never {});
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head)
            .max_buf_size(HEAD_OCTETS)
            .max_headers(HEADER_FIELDS)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let mut connection = std::pin::pin!(connection);
        let deadline = tokio::time::sleep(CONNECTION_DEADLINE);
        let patience = tokio::select! {
            result = connection.as_mut() => return report(result),
            () = deadline => STOP_DEADLINE,
            () = self.place.evicted() => EVICTION_DEADLINE,
            _ = self.stopped.changed() => STOP_DEADLINE,
        };
        // An answer on its way is sent, then the connection closes.
        connection.as_mut().graceful_shutdown();
        match tokio::time::timeout(patience, connection).await {
            Ok(result) => report(result),
            Err(_) => tracing::debug!("connection cut off"),
        }
    }
}

fn report(result: Result<(), hyper::Error>) {
    if let Err(error) = result {
        tracing::debug!(%error, "connection");
    }
}
