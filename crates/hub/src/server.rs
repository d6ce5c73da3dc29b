//! The listening socket: connections, their limits, and how they end.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use axum::{Router, body::Body};
use backstay_api::{Endpoint as _, agent::CheckIn};
use http::{
    Request,
    header::{CONNECTION, HeaderValue},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::OwnedSemaphorePermit,
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::{HubError, room::Room};

/// How long a client may take to send its request's head; also the life of an idle connection.
const HEAD_TIME: Duration = Duration::from_secs(75);
/// How long requests that are under way may take when the hub stops.
const GRACE: Duration = Duration::from_secs(10);
/// How often it is said that all connections are taken.
const SAY_FULL: Duration = Duration::from_secs(60);

/// Where a request's connection came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Binds the address.
///
/// # Errors
/// When it is taken, or is not one of this machine's.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, HubError> {
    TcpListener::bind(address).await.map_err(|source| HubError::Listen { address, source })
}

/// Serves until `shutdown`, then lets what is under way finish.
pub(crate) async fn serve(listener: TcpListener, router: Router, room: Room, shutdown: CancellationToken) {
    let mut said: Option<Instant> = None;
    let graceful = GracefulShutdown::new();
    loop {
        if room.is_full() && said.is_none_or(|said| said.elapsed() > SAY_FULL) {
            tracing::warn!(
                "all connections are taken; others wait until one is closed (hub.max_connections)"
            );
            said = Some(Instant::now());
        }
        let accepted = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer, permit)) => {
                let watcher = graceful.watcher();
                let (router, room) = (router.clone(), room.clone());
                tokio::spawn(async move {
                    let connection = connection(stream, peer, router, room);
                    // A connection that breaks is the client's affair.
                    let _ = watcher.watch(connection).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time; their connections are closed");
    }
}

/// The next connection, once there is room for it. Until then clients wait in the system's queue.
async fn accept(listener: &TcpListener, room: &Room) -> io::Result<(TcpStream, Peer, OwnedSemaphorePermit)> {
    let permit = room.enter().await?;
    let (stream, address) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, Peer(address.ip()), permit))
}

fn connection(
    stream: TcpStream,
    peer: Peer,
    router: Router,
    room: Room,
) -> http1::Connection<
    TokioIo<TcpStream>,
    impl hyper::service::HttpService<Incoming, ResBody = Body, Error = Infallible, Future: Send> + Send,
> {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        // An agent's check-ins keep the one connection that it needs; what it sends beside them must not take a second.
        let keeps = request.uri().path() == CheckIn::PATH;
        let (router, room) = (router.clone(), room.clone());
        async move {
            let mut response = router.oneshot(request).await?;
            if !keeps && room.is_tight() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service)
}
