//! What every request passes first, whatever program it came to: the rate of its address, a
//! place among the requests in hand, and the time that it may take.

use super::Problem;
use super::peer::{Client, PEER};
use super::problem::MEDIA_TYPE;
use crate::limits::{Buckets, Network, Settings};
use crate::metrics::{Metrics, Traffic};
use crate::reject::whole_seconds;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::{HeaderValue, Method, Request, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tlog::witness::SIZE_MEDIA_TYPE;
use tokio::sync::Semaphore;

/// Requests in hand at most; more are turned away at once. Those with a body have places of
/// their own, so that bodies that trickle in keep nobody from reading.
const READS: usize = 1024;
const WRITES: usize = 1024;

/// What stands behind a door: a log, or a witness.
pub trait House: Send + Sync + 'static {
    /// The operator's limits.
    fn settings(&self) -> &Settings;
    /// How much each address has sent.
    fn addresses(&self) -> &Buckets<Network>;
    /// Where those who come are counted.
    fn traffic(&self) -> &Traffic;
}

/// Whoever answers the requests of a connection.
pub trait Answers: Clone + Send + Sync + 'static {
    /// For whom.
    type House: House;
    /// For whom.
    fn house(&self) -> &Arc<Self::House>;
    /// Answers one.
    fn answer(self, request: Request<Incoming>) -> impl Future<Output = Response> + Send;
}

/// Whether a submission has been read whole. From then on it may take effect, whatever
/// becomes of the answer.
#[derive(Clone, Default)]
pub struct Arrived(pub Arc<AtomicBool>);

/// The door.
pub struct Door<H> {
    house: Arc<H>,
    slots: Arc<[Semaphore; 2]>,
    /// What is said of a request that took too long but had arrived.
    afterwards: &'static str,
}

impl<H> Clone for Door<H> {
    fn clone(&self) -> Self {
        Self {
            house: Arc::clone(&self.house),
            slots: Arc::clone(&self.slots),
            afterwards: self.afterwards,
        }
    }
}

impl<H: House> Door<H> {
    /// The door of `house`.
    pub fn new(house: Arc<H>, afterwards: &'static str) -> Self {
        let slots = Arc::new([Semaphore::new(READS), Semaphore::new(WRITES)]);
        Self {
            house,
            slots,
            afterwards,
        }
    }

    /// What stands behind it.
    pub fn house(&self) -> &Arc<H> {
        &self.house
    }

    /// Lets a request through to `inside` within its limits.
    pub async fn pass<F>(
        self,
        request: Request<Incoming>,
        inside: impl FnOnce(Arc<H>, Client, Arrived, Request<Incoming>) -> F,
    ) -> Response
    where
        F: Future<Output = Response>,
    {
        let [reads, writes] = &*self.slots;
        let reading = matches!(*request.method(), Method::GET | Method::HEAD);
        let settings = self.house.settings();
        // Requests are handled in the task of their connection.
        let nobody = IpAddr::from([0, 0, 0, 0]);
        let peer = PEER.try_with(|ip| *ip).unwrap_or(nobody);
        let client = Client::find(peer, request.headers(), settings);
        // Before the body is read, let alone understood.
        if !reading
            && !client.exempt
            && let Err(wait) = self.house.addresses().spend(client.network)
        {
            Metrics::count(&self.house.traffic().address_limited);
            let detail = "this address sends more than is taken from one address";
            let problem = Problem::new(429, "address-rate", detail);
            return problem.retry(whole_seconds(wait)).into_response();
        }
        let arrived = Arrived::default();
        let Ok(_slot) = if reading { reads } else { writes }.try_acquire() else {
            return Problem::new(
                503,
                "busy",
                "the server has as many requests in hand as it takes",
            )
            .retry(1)
            .into_response();
        };
        let answer = inside(Arc::clone(&self.house), client, arrived.clone(), request);
        let Ok(mut response) = tokio::time::timeout(settings.request, answer).await else {
            let detail = format!("the request took more than {:?}", settings.request);
            return if arrived.0.load(Ordering::Relaxed) {
                let detail = format!("{detail}; {}", self.afterwards);
                let problem = Problem::new(503, "timeout", detail).retry(1);
                problem.into_response()
            } else {
                Problem::new(408, "timeout", detail).into_response()
            };
        };
        let status = response.status();
        let understood = response.headers().get(header::CONTENT_TYPE);
        let understood = understood.is_some_and(|v| v == MEDIA_TYPE || v == SIZE_MEDIA_TYPE);
        if (status.is_client_error() || status.is_server_error()) && !understood {
            // The framework's own refusals, such as a path that is not UTF-8.
            return Problem::new(
                status.as_u16(),
                "bad-request",
                "the request could not be read",
            )
            .into_response();
        }
        // What says nothing else may change at any time.
        response
            .headers_mut()
            .entry(header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-cache"));
        response
    }
}

/// A body over the limit.
pub fn too_large(most: usize) -> Problem {
    Problem::new(
        413,
        "body-too-large",
        format!("the body is over {most} bytes"),
    )
}

/// A body that ended early.
pub fn not_whole() -> Problem {
    Problem::new(400, "body-unreadable", "the body did not arrive whole")
}

/// Reads a body of at most `most` bytes.
pub async fn read_body(mut body: Body, most: usize) -> Result<Bytes, Problem> {
    let mut first = Bytes::new();
    let mut all = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|_| not_whole())?;
        // What is no data is trailers, which say nothing to us.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len().max(all.len()) + data.len() > most {
            return Err(too_large(most));
        }
        // A small body comes in one piece, which need not be copied.
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.into() })
}
