//! Connections: how many, how long, and how slowly. A stranger who opens them and says
//! nothing, or a byte a minute, must not take what the log needs: above all not the file
//! descriptors, since a batch whose files cannot be opened ends the process.

use super::door::{Answers, House};
use super::peer::{Connections, PEER};
use crate::error::Error;
use crate::metrics::Metrics;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustix::net::sockopt::set_tcp_user_timeout;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{sleep, timeout};

/// Connections at once at most, and never more than half of the descriptors.
const CONNECTIONS: u32 = 4096;
/// Largest head of a request in bytes, and the buffer that a connection may take.
const BUFFER: usize = 64 * 1024;

/// Descriptors without which no log is opened.
const LEAST: u64 = 128;

/// Asks for all the descriptors that we may have.
///
/// # Errors
/// [`Error::FewDescriptors`].
pub fn descriptors() -> Result<(), Error> {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Where this is refused, there are as many as before.
    let _ = setrlimit(Resource::Nofile, most);
    match getrlimit(Resource::Nofile).current {
        Some(found) if found < LEAST => Err(Error::FewDescriptors { found, want: LEAST }),
        _ => Ok(()),
    }
}

/// How many connections there may be.
fn connections() -> u32 {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    u32::try_from(files / 2).map_or(CONNECTIONS, |half| half.clamp(1, CONNECTIONS))
}

/// What an address gets that has as many connections as it may.
const ENOUGH: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 10\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Counts an open connection until it is dropped.
struct Open<H: House>(Arc<H>);

impl<H: House> Open<H> {
    fn new(house: Arc<H>) -> Self {
        Metrics::count(&house.traffic().connections);
        Self(house)
    }
}

impl<H: House> Drop for Open<H> {
    fn drop(&mut self) {
        let open = &self.0.traffic().connections;
        open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves until `stopped`, then finishes the requests in hand.
pub async fn serve<A: Answers>(listener: TcpListener, desk: A, mut stopped: oneshot::Receiver<()>) {
    let house = Arc::clone(desk.house());
    let most = connections();
    let slots = Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(1)));
    let addresses = Arc::new(Connections::default());
    let (stop, stopping) = watch::channel(());
    let settings = house.settings().clone();
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.head)
        .max_buf_size(BUFFER);
    let next = async || {
        // Never closed, so this only waits.
        let slot = Arc::clone(&slots).acquire_owned().await;
        loop {
            match listener.accept().await {
                Ok((stream, from)) => return (stream, from.ip(), slot),
                // Out of descriptors, most likely: later rather than in a hot loop.
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    };
    loop {
        let (stream, ip, slot) = tokio::select! {
            _ = &mut stopped => break,
            next = next() => next,
        };
        let Some(counted) = addresses.count(ip, &settings) else {
            Metrics::count(&house.traffic().connections_limited);
            // A courtesy: it has room in any new connection's buffer, or is left out.
            let _ = stream.try_write(ENOUGH);
            continue;
        };
        // Who reads nothing of an answer is cut off by the system.
        let _ = set_tcp_user_timeout(&stream, milliseconds(settings.stall));
        let open = Open::new(Arc::clone(&house));
        let desk = desk.clone();
        let service = service_fn(move |request| {
            let answer = desk.clone().answer(request);
            async { Ok::<_, Infallible>(answer.await) }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let (connection, mut stopping) = (connection.into_owned(), stopping.clone());
        let life = settings.life;
        let work = async move {
            let _held = (slot, counted, open);
            let mut connection = pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                () = sleep(life) => {}
                _ = stopping.changed() => {}
            }
            connection.as_mut().graceful_shutdown();
            let _ = timeout(life, connection).await;
        };
        tokio::spawn(PEER.scope(ip, work));
    }
    drop((listener, stop));
    // All slots are free once all connections are closed.
    let _ = slots.acquire_many(most).await;
}

fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
