//! Accepting connections and serving each of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::admission::{Admission, Ticket};
use super::descriptors;
use super::dispatch::Service;
use super::frame::{self, FrameFault, FrameReader, Response};
use super::listener::SocketFile;
use super::peer::{OverflowUid, Peer};
use crate::wire::{MAX_BODY_OCTETS, Status};

/// How long requests that are being answered may take when the agent stops.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// How long accepting pauses when the system has no more file descriptors and no connection ends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long the rest of a refused request is read and thrown away, so that its sender sees the refusal
/// instead of a broken connection.
const LINGER: Duration = Duration::from_millis(500);

/// What each connection shares with the others.
struct Shared {
    service: Arc<Service>,
    frames: FrameReader,
}

/// Accepts until told to stop, then lets the requests that are being answered finish.
pub(super) async fn accept(
    listener: UnixListener,
    file: SocketFile,
    service: Arc<Service>,
    admission: Admission,
    mut shutdown: watch::Receiver<bool>,
) {
    let overflow = OverflowUid::of_kernel();
    let frames = FrameReader::new(service.shared.authenticators);
    let shared = Arc::new(Shared { service, frames });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // An error means that the sender is gone, which is a stop as well.
            _ = shutdown.changed() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let Some((peer, ticket)) = admit(&stream, overflow, &admission) else {
                        connections.spawn(turn_away(stream));
                        continue;
                    };
                    connections.spawn(serve(Arc::clone(&shared), stream, peer, ticket, shutdown.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    // Who waits to be accepted cannot be told from others yet: the greediest user makes room.
                    if descriptors::are_exhausted(&error) {
                        admission.make_room();
                    }
                    tokio::select! {
                        _ = shutdown.changed() => break,
                        Some(_) = connections.join_next() => {}
                        () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                    }
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    file.remove();
    let finished = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    if finished.is_err() {
        tracing::warn!("requests that take longer are given up");
        connections.shutdown().await;
    }
}

/// Who is at the other end, and a place for the connection.
fn admit(stream: &UnixStream, overflow: OverflowUid, admission: &Admission) -> Option<(Peer, Ticket)> {
    let peer = Peer::of(stream).ok()?;
    if overflow.is(peer.uid) {
        tracing::info!(target: "audit", uid = peer.uid, "a user without a uid of its own was refused");
        return None;
    }
    let ticket = admission.admit(peer.uid)?;
    Some((peer, ticket))
}

/// Tells a client that it is not served.
async fn turn_away(mut stream: UnixStream) {
    let response = Response::refusing(Status::ConnectionError);
    // Whoever does not read it learns it from the closed connection.
    let _ = timeout(LINGER, frame::write(&mut stream, &response)).await;
}

/// Serves one connection until it ends, fails, is idle too long or has to go.
async fn serve(
    shared: Arc<Shared>,
    mut stream: UnixStream,
    peer: Peer,
    ticket: Ticket,
    mut shutdown: watch::Receiver<bool>,
) {
    let limits = shared.service.limits();
    loop {
        let beginning = tokio::select! {
            _ = shutdown.changed() => return,
            () = ticket.closing() => return,
            begun = timeout(limits.idle, frame::begin(&mut stream)) => match begun {
                Ok(Ok(Some(beginning))) => beginning,
                Ok(Ok(None) | Err(_)) | Err(_) => return,
            },
        };
        let request = tokio::select! {
            () = ticket.closing() => return,
            read = timeout(limits.frame, shared.frames.read(&mut stream, peer.uid, beginning)) => match read {
                Ok(Ok(request)) => request,
                Ok(Err(FrameFault::Refused(refusal))) => {
                    tracing::debug!(uid = peer.uid, %refusal, "frame refused");
                    refuse(stream, refusal.status(), limits.frame).await;
                    return;
                }
                Ok(Err(FrameFault::Connection)) | Err(_) => return,
            },
        };
        if !ticket.work() {
            return;
        }
        let response = shared.service.answer(peer, request).await;
        match timeout(limits.frame, frame::write(&mut stream, &response)).await {
            Ok(Ok(())) => ticket.wait(),
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// Answers a header behind which no request can be found, and ends the connection.
async fn refuse(mut stream: UnixStream, status: Status, write_limit: Duration) {
    let response = Response::refusing(status);
    if !matches!(timeout(write_limit, frame::write(&mut stream, &response)).await, Ok(Ok(()))) {
        return;
    }
    let mut scratch = [0; 4096];
    let mut left = MAX_BODY_OCTETS;
    let drain = async {
        while left > 0 {
            match stream.read(&mut scratch).await {
                Ok(0) | Err(_) => return,
                Ok(octets) => left = left.saturating_sub(octets),
            }
        }
    };
    // What is still coming after that is the sender's concern.
    let _ = timeout(LINGER, drain).await;
}
