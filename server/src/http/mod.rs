//! Routes, sizes, content types and time limits; nothing else. Work that touches the store
//! or checks signatures runs on the blocking pool, so that the network side never waits.

mod certificates;
mod door;
mod entries;
mod lookups;
mod ops;
mod page;
mod peer;
mod problem;
mod serve;
mod tiles;
mod trust;

pub use door::{Answers, House};
pub(crate) use door::{Arrived, Door, read_body};
pub(crate) use page::{METRICS_TYPE, Page};
pub(crate) use peer::Client;
pub use problem::Problem;
pub use serve::{descriptors, serve};

use crate::admit::App;
use crate::limits::{Buckets, Network, Settings};
use crate::metrics::Traffic;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, Request};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;

/// Where submissions go.
const ENTRIES: &str = "/api/v1/entries";
/// Largest submission in bytes: a full leaf in base64, and room.
pub const MAX_BODY: usize = 128 * 1024;
type Shared = State<Arc<App>>;

/// Answers requests.
#[derive(Clone)]
pub struct Desk {
    door: Door<App>,
    router: TowerToHyperService<Router>,
}

impl Desk {
    /// For the log of `app`.
    #[must_use]
    pub fn new(app: Arc<App>) -> Self {
        let router = TowerToHyperService::new(router(Arc::clone(&app)));
        let door = Door::new(app, "it may be logged all the same: send it again");
        Self { door, router }
    }
}

impl House for App {
    fn settings(&self) -> &Settings {
        &self.limits.settings
    }

    fn addresses(&self) -> &Buckets<Network> {
        &self.limits.addresses
    }

    fn traffic(&self) -> &Traffic {
        &self.log.metrics.traffic
    }
}

impl Answers for Desk {
    type House = App;

    fn house(&self) -> &Arc<App> {
        self.door.house()
    }

    /// What a router, its layers and its extractors cost is a fifth of a signature: submissions,
    /// most of a busy log's work, go around it.
    async fn answer(self, request: Request<Incoming>) -> Response {
        let Self { door, router } = self;
        let submission = request.method() == Method::POST && request.uri().path() == ENTRIES;
        door.pass(request, async move |app, client, arrived, request| {
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
        .route("/api/v1/certificates", post(certificates::issue))
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

/// Runs `work` on the blocking pool.
pub(crate) async fn blocking<T: Send + 'static>(
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
