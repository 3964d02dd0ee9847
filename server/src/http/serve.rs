//! Connections: how many, how long, and how slowly. A stranger who opens them and says
//! nothing, or a byte a minute, must not take what the log needs: above all not the file
//! descriptors, since a batch whose files cannot be opened ends the process.

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{sleep, timeout};

/// Connections at once at most, and never more than half of the descriptors.
const CONNECTIONS: u32 = 4096;
/// Longest wait for a request's head, on a new connection or between two requests.
const HEAD: Duration = Duration::from_secs(30);
/// After this a connection takes no further request, and after as long again it is cut.
const LIFE: Duration = Duration::from_secs(300);
/// Largest head of a request in bytes, and the buffer that a connection may take.
const BUFFER: usize = 64 * 1024;

/// How many connections there may be, having asked for all the descriptors that we may have.
fn connections() -> u32 {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Where this is refused, there are as many as before.
    let _ = setrlimit(Resource::Nofile, most);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    u32::try_from(files / 2).map_or(CONNECTIONS, |half| half.clamp(1, CONNECTIONS))
}

/// Serves until `stopped`, then finishes the requests in hand.
pub async fn serve(listener: TcpListener, router: Router, mut stopped: oneshot::Receiver<()>) {
    let most = connections();
    let slots = Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(1)));
    let (stop, stopping) = watch::channel(());
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER);
    let next = async || {
        // Never closed, so this only waits.
        let slot = Arc::clone(&slots).acquire_owned().await;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return (stream, slot),
                // Out of descriptors, most likely: later rather than in a hot loop.
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    };
    loop {
        let (stream, slot) = tokio::select! {
            _ = &mut stopped => break,
            next = next() => next,
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let (connection, mut stopping) = (connection.into_owned(), stopping.clone());
        tokio::spawn(async move {
            let _slot = slot;
            let mut connection = pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                () = sleep(LIFE) => {}
                _ = stopping.changed() => {}
            }
            connection.as_mut().graceful_shutdown();
            let _ = timeout(LIFE, connection).await;
        });
    }
    drop((listener, stop));
    // All slots are free once all connections are closed.
    let _ = slots.acquire_many(most).await;
}
