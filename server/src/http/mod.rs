//! Routes, sizes, content types and time limits; nothing else. Work that touches the store
//! or checks signatures runs on the blocking pool, so that the network side never waits.

mod entries;
mod lookups;
mod ops;
mod peer;
mod problem;
mod serve;
mod tiles;
mod trust;

pub use problem::Problem;
pub use serve::{descriptors, serve};

use self::peer::{Client, PEER};
use crate::admit::App;
use crate::log::Metrics;
use crate::reject::whole_seconds;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, Method, Request, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Semaphore;

/// Where submissions go.
const ENTRIES: &str = "/api/v1/entries";
/// Largest submission in bytes: a full leaf in base64, and room.
pub const MAX_BODY: usize = 128 * 1024;
/// Requests in hand at most; more are turned away at once. Those with a body have places of
/// their own, so that bodies that trickle in keep nobody from reading.
const READS: usize = 1024;
const WRITES: usize = 1024;

type Shared = State<Arc<App>>;

/// Whether a submission has been read whole. From then on it may be logged, whatever becomes
/// of the answer.
#[derive(Clone, Default)]
struct Arrived(Arc<AtomicBool>);

/// What every request passes first.
#[derive(Clone)]
struct Door {
    app: Arc<App>,
    slots: Arc<[Semaphore; 2]>,
}

/// Answers requests.
#[derive(Clone)]
pub struct Desk {
    door: Door,
    router: TowerToHyperService<Router>,
}

impl Desk {
    /// For the log of `app`.
    #[must_use]
    pub fn new(app: Arc<App>) -> Self {
        let slots = Arc::new([Semaphore::new(READS), Semaphore::new(WRITES)]);
        let router = TowerToHyperService::new(router(Arc::clone(&app)));
        let door = Door { app, slots };
        Self { door, router }
    }

    /// Answers one. What a router, its layers and its extractors cost is a fifth of a signature:
    /// submissions, most of a busy log's work, go around it.
    pub async fn answer(self, request: Request<Incoming>) -> Response {
        let Self { door, router } = self;
        let submission = request.method() == Method::POST && request.uri().path() == ENTRIES;
        limits(door, request, async move |app, client, arrived, request| {
            let mut request = request.map(Body::new);
            if submission {
                let answer = entries::submit(app, client, &arrived, request).await;
                return answer.into_response();
            }
            request.extensions_mut().insert(client);
            request.extensions_mut().insert(arrived);
            match router.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        })
        .await
    }
}

/// All routes.
fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/checkpoint", get(tiles::checkpoint))
        .route("/tile/{*path}", get(tiles::tile))
        .route(ENTRIES, post(entries::submit_routed))
        .route("/api/v1/entries/{index}", get(entries::entry))
        .route("/api/v1/entries/{index}/bundle", get(entries::bundle))
        .route("/api/v1/proofs/inclusion", get(entries::inclusion))
        .route("/api/v1/proofs/consistency", get(entries::consistency))
        .route("/api/v1/digests/{sha256}", get(lookups::digest))
        .route("/api/v1/projects/{project}", get(lookups::project))
        .route("/api/v1/projects/{project}/head", get(lookups::head))
        .route("/api/v1/projects/{project}/entries", get(lookups::entries))
        .route("/api/v1/trust/{hash}", put(trust::upload).get(trust::fetch))
        .route("/healthz", get(ops::healthz))
        .route("/readyz", get(ops::readyz))
        .route("/metrics", get(ops::metrics))
        .route("/openapi.json", get(ops::openapi))
        .fallback(|| async { Problem::new(404, "not-found", "there is nothing at this address") })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                405,
                "method-not-allowed",
                "this address does not take that method",
            )
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(app)
}

/// Lets a request through to `inside` within its limits.
async fn limits<F>(
    Door { app, slots }: Door,
    request: Request<Incoming>,
    inside: impl FnOnce(Arc<App>, Client, Arrived, Request<Incoming>) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let [reads, writes] = &*slots;
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    let (settings, metrics) = (&app.limits.settings, &app.log.metrics);
    // Requests are handled in the task of their connection.
    let nobody = IpAddr::from([0, 0, 0, 0]);
    let peer = PEER.try_with(|ip| *ip).unwrap_or(nobody);
    let client = Client::find(peer, request.headers(), settings);
    // Before the body is read, let alone understood.
    if !reading
        && !client.exempt
        && let Err(wait) = app.limits.addresses.spend(client.network)
    {
        Metrics::count(&metrics.address_limited);
        let detail = "this address sends more than the log takes from one address";
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
    let answer = inside(Arc::clone(&app), client, arrived.clone(), request);
    let Ok(mut response) = tokio::time::timeout(settings.request, answer).await else {
        let detail = format!("the request took more than {:?}", settings.request);
        return if arrived.0.load(Ordering::Relaxed) {
            let detail = format!("{detail}; it may be logged all the same: send it again");
            let problem = Problem::new(503, "timeout", detail).retry(1);
            problem.into_response()
        } else {
            Problem::new(408, "timeout", detail).into_response()
        };
    };
    let status = response.status();
    let is_problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|v| v == problem::MEDIA_TYPE);
    if (status.is_client_error() || status.is_server_error()) && !is_problem {
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

/// Runs `work` on the blocking pool.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        // What went wrong inside is for our own log, never for the answer.
        Err(_) => Err(Problem::new(
            500,
            "internal",
            "the server failed at this request",
        )),
    }
}
