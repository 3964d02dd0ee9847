//! The witness's addresses (c2sp.org/tlog-witness):
//!
//! - `POST /add-checkpoint`;
//! - `GET /<SHA-256 of the origin in hex>/checkpoint`: what was cosigned last of a log, with its
//!   signatures and the cosignature;
//! - `GET /logs`, `/healthz`, `/metrics`.
//!
//! The submission prefix and the monitoring prefix are both the server's root.

use super::check::{self, Admitted, Refusal};
use super::config::Clock;
use super::cosigner::{Answer, Job, Queue};
use super::evidence::{Evidence, Kept};
use super::logs::Logs;
use super::metrics::Metrics;
use super::state::Standing;
use crate::http::{
    Answers, Arrived, Client, Door, House, METRICS_TYPE, Page, Problem, blocking, read_body,
};
use crate::limits::{Buckets, Network, Settings};
use crate::metrics::Traffic;
use crate::reject::whole_seconds;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use ledger::hex32;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tlog::Hash;
use tlog::witness::{AddCheckpoint, SIZE_MEDIA_TYPE};
use tokio::sync::{Semaphore, oneshot};

/// Largest body in bytes: 63 hashes, and a checkpoint with the sixteen signatures that any
/// reader of notes must accept, were each an ML-DSA-44 cosignature of 3.3 KB. Deployed
/// witnesses take 16 KiB and more.
pub const MAX_BODY: usize = 64 * 1024;
/// Signatures, of up to 0.3 ms each, that are verified on the spot. Handing them to another
/// thread costs as much as one.
const LIGHT_SIGNATURES: usize = 4;
/// Checkpoints with more signatures that are verified at once at most; more wait.
pub const HEAVY: usize = 32;
/// How long a list of logs is given out before it is made anew.
const LIST_AGE: Duration = Duration::from_secs(1);

const PLAIN: &str = "text/plain; charset=utf-8";

/// What the routes work with.
pub struct App {
    /// Whose checkpoints are cosigned.
    pub logs: RwLock<Arc<Logs>>,
    /// What was cosigned last.
    pub standing: Arc<Standing>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What contradicts what was cosigned.
    pub evidence: Evidence,
    /// What time it is.
    pub clock: Clock,
    /// The operator's limits.
    pub settings: Settings,
    /// Requests by address.
    pub addresses: Buckets<Network>,
    /// Steps forward, by log.
    pub by_log: Buckets<Hash>,
    /// All other requests about a log, by who sends them.
    pub repeats: Buckets<(Hash, Network)>,
    /// Places for what takes long to verify.
    pub heavy: Semaphore,
    /// Where checkpoints wait.
    pub queue: Queue,
    /// The list of logs, and since when.
    pub list: Mutex<Option<(Instant, Bytes)>>,
}

impl App {
    fn logs(&self) -> Arc<Logs> {
        Arc::clone(&self.logs.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on these logs' checkpoints are cosigned.
    pub fn set_logs(&self, logs: Logs) {
        *self.logs.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(logs);
    }
}

impl House for App {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn addresses(&self) -> &Buckets<Network> {
        &self.addresses
    }

    fn traffic(&self) -> &Traffic {
        &self.metrics.traffic
    }
}

/// Answers requests.
#[derive(Clone)]
pub struct Desk(Door<App>);

impl Desk {
    /// For the witness of `app`.
    #[must_use]
    pub fn new(app: Arc<App>) -> Self {
        let afterwards = "it may be cosigned all the same: send it again";
        Self(Door::new(app, afterwards))
    }
}

impl Answers for Desk {
    type House = App;

    fn house(&self) -> &Arc<App> {
        self.0.house()
    }

    async fn answer(self, request: Request<Incoming>) -> Response {
        self.0.pass(request, route).await
    }
}

async fn route(
    app: Arc<App>,
    client: Client,
    arrived: Arrived,
    request: Request<Incoming>,
) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let reading = matches!(head.method, Method::GET | Method::HEAD);
    match path {
        "/add-checkpoint" if head.method == Method::POST => {
            add_checkpoint(app, client, arrived, Body::new(body)).await
        }
        "/healthz" if reading => match app.metrics.clock_wrong.load(Ordering::Relaxed) {
            false => "ok\n".into_response(),
            true => (StatusCode::SERVICE_UNAVAILABLE, "clock\n").into_response(),
        },
        "/metrics" if reading => {
            ([(header::CONTENT_TYPE, METRICS_TYPE)], page(&app)).into_response()
        }
        "/logs" if reading => list(app).await,
        "/add-checkpoint" | "/healthz" | "/metrics" | "/logs" => Problem::new(
            405,
            "method-not-allowed",
            "this address does not take that method",
        )
        .into_response(),
        _ if reading => latest(&app, path),
        _ => nothing().into_response(),
    }
}

fn nothing() -> Problem {
    Problem::new(404, "not-found", "there is nothing at this address")
}

async fn add_checkpoint(app: Arc<App>, client: Client, arrived: Arrived, body: Body) -> Response {
    let bytes = match read_body(body, MAX_BODY).await {
        Ok(bytes) => bytes,
        Err(problem) => {
            app.metrics.answered(problem.status(), problem.kind());
            return problem.into_response();
        }
    };
    arrived.0.store(true, Ordering::Relaxed);
    match cosigned(&app, client, bytes).await {
        Ok(line) => {
            app.metrics.answered(200, "cosigned");
            ([(header::CONTENT_TYPE, PLAIN)], line).into_response()
        }
        Err(refusal) => {
            app.metrics.answered(refusal.status(), refusal.kind());
            refused(&refusal)
        }
    }
}

fn refused(refusal: &Refusal) -> Response {
    if let Refusal::Stale { size, .. } = refusal {
        let headers = [(header::CONTENT_TYPE, SIZE_MEDIA_TYPE)];
        return (StatusCode::CONFLICT, headers, format!("{size}\n")).into_response();
    }
    let problem = Problem::new(refusal.status(), refusal.kind(), refusal.to_string());
    let problem = match refusal {
        Refusal::Rate { wait } => problem.retry(*wait),
        Refusal::Busy | Refusal::Stopping => problem.retry(1),
        Refusal::Clock(_) => problem.retry(60),
        _ => problem,
    };
    problem.into_response()
}

/// Verifies, waits for the cosigner, and keeps what contradicts what was cosigned.
async fn cosigned(app: &Arc<App>, client: Client, bytes: Bytes) -> Answer {
    let request = admit(app, &bytes).await?;
    if !client.exempt {
        let log = request.log.hash;
        let latest = app.standing.latest(&log);
        // A log's checkpoints are public, and anybody can send one again: only a step forward,
        // which takes the log's keys each time, is the log's own to spend.
        let forward = latest
            .as_ref()
            .is_none_or(|l| request.checkpoint.size > l.size)
            && check::extends(latest.as_ref(), &request).is_ok();
        let spent = match forward {
            true => app.by_log.spend(log),
            false => app.repeats.spend((log, client.network)),
        };
        if let Err(wait) = spent {
            let wait = whole_seconds(wait);
            return Err(Refusal::Rate { wait });
        }
    }
    let (reply, answer) = oneshot::channel();
    let kept = request.clone();
    app.queue.push(Job { request, reply })?;
    let answer = answer.await.unwrap_or(Err(Refusal::Stopping));
    if let Err(refusal) = &answer
        && refusal.fork().is_some()
    {
        keep(app, kept, refusal.clone()).await;
    }
    answer
}

async fn admit(app: &Arc<App>, bytes: &Bytes) -> Result<Admitted, Refusal> {
    let logs = app.logs();
    let request = AddCheckpoint::parse(bytes)?;
    if request.note.signatures.len() <= LIGHT_SIGNATURES {
        return check::admit(request, |origin| logs.find(origin));
    }
    // Never closed, so this only waits.
    let _turn = app.heavy.acquire().await;
    let admitted = blocking(move || Ok(check::admit(request, |origin| logs.find(origin)))).await;
    admitted.unwrap_or(Err(Refusal::Stopping))
}

async fn keep(app: &Arc<App>, request: Admitted, refusal: Refusal) {
    let shared = Arc::clone(app);
    let done = blocking(move || {
        let kept = shared.evidence.keep(&request, &refusal, (shared.clock)());
        match kept {
            Ok(Some(Kept::New)) => eprintln!(
                "countersign-witness: {:?}: {refusal}; kept under evidence/",
                request.checkpoint.origin
            ),
            Ok(Some(Kept::Full)) if refusal.fork().is_some_and(|f| f.other_root.is_some()) => {
                eprintln!(
                    "countersign-witness: {:?}: {refusal}; NOT kept, evidence/ is full: move its files elsewhere",
                    request.checkpoint.origin
                );
            }
            Ok(_) => {}
            // The checkpoint is refused all the same.
            Err(e) => eprintln!("countersign-witness: evidence is not kept: {e}"),
        }
        Ok(())
    });
    let _ = done.await;
}

/// What was cosigned last of the log that a path names.
fn latest(app: &App, path: &str) -> Response {
    let name = path
        .strip_prefix('/')
        .and_then(|p| p.strip_suffix("/checkpoint"));
    let lower = |n: &&str| n.len() == 64 && !n.bytes().any(|b| b.is_ascii_uppercase());
    let mut log = Hash::default();
    let named = name
        .filter(lower)
        .map(|n| hex::decode_to_slice(n, &mut log));
    let Some(Ok(())) = named else {
        return nothing().into_response();
    };
    match app.standing.latest(&log) {
        Some(latest) => ([(header::CONTENT_TYPE, PLAIN)], latest.note.clone()).into_response(),
        None => Problem::new(
            404,
            "never-cosigned",
            "this witness has never cosigned a checkpoint of that log",
        )
        .into_response(),
    }
}

/// The logs whose checkpoints are cosigned. One list is made in a second, and given to all.
async fn list(app: Arc<App>) -> Response {
    let made = blocking(move || {
        let mut list = app.list.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, bytes)) = &*list
            && since.elapsed() < LIST_AGE
        {
            return Ok(bytes.clone());
        }
        let bytes = Bytes::from(listed(&app.logs(), &app.standing).to_string());
        *list = Some((Instant::now(), bytes.clone()));
        Ok(bytes)
    });
    match made.await {
        Ok(bytes) => ([(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// Logs with their keys, and what was cosigned last of each, as JSON.
#[must_use]
pub fn listed(logs: &Logs, standing: &Standing) -> Value {
    let rows = logs.iter().map(|log| {
        let vkeys: Vec<String> = log.keys.iter().map(ToString::to_string).collect();
        let mut row = json!({ "hash": hex32(&log.hash), "origin": log.origin, "vkeys": vkeys });
        if let (Some(latest), Some(fields)) = (standing.latest(&log.hash), row.as_object_mut()) {
            fields.insert("root".into(), ledger::b64(&latest.root).into());
            fields.insert("size".into(), latest.size.into());
            fields.insert("time".into(), latest.time.into());
        }
        row
    });
    let rows: Vec<Value> = rows.collect();
    json!({ "apiVersion": ledger::API_VERSION, "logs": rows })
}

fn page(app: &App) -> String {
    let (m, mut page) = (&app.metrics, Page::default());
    page.gauge(
        "countersign_witness_logs",
        "Logs whose checkpoints are cosigned.",
        app.logs().len(),
    );
    page.gauge(
        "countersign_witness_origins",
        "Logs of which a checkpoint was ever cosigned.",
        app.standing.len(),
    );
    page.gauge(
        "countersign_witness_last_cosigned_seconds",
        "Time of the last cosignature since the start in Unix seconds; 0 for none.",
        m.last_cosigned.load(Ordering::Relaxed),
    );
    let name = "countersign_witness_add_checkpoint_total";
    page.head(
        name,
        "counter",
        "Answers to add-checkpoint, by status and kind.",
    );
    for ((status, kind), count) in m.answers() {
        page.row(
            &format!("{name}{{kind=\"{kind}\",status=\"{status}\"}}"),
            count,
        );
    }
    let (counts, dropped) = app.evidence.counts();
    let name = "countersign_witness_evidence";
    page.head(name, "gauge", "Files under evidence/, by finding.");
    for (finding, count) in counts {
        page.row(&format!("{name}{{finding=\"{finding}\"}}"), count);
    }
    let name = "countersign_witness_evidence_dropped_total";
    page.head(name, "counter", "Findings for which there was no room.");
    page.row(name, dropped);
    page.counter(
        "countersign_witness_batches_total",
        "Batches committed since the start.",
        &m.batches,
    );
    page.histogram(
        "countersign_witness_batch_checkpoints",
        "Checkpoints cosigned in a batch.",
        &m.batch_size,
        1.0,
    );
    page.histogram(
        "countersign_witness_commit_seconds",
        "Time from a batch's beginning until it is durable.",
        &m.commit_time,
        1e6,
    );
    let name = "countersign_witness_limited_total";
    page.head(
        name,
        "counter",
        "What was turned away by a limit an address.",
    );
    for (limit, count) in [
        ("address-rate", &m.traffic.address_limited),
        ("address-connections", &m.traffic.connections_limited),
    ] {
        let count = count.load(Ordering::Relaxed);
        page.row(&format!("{name}{{limit=\"{limit}\"}}"), count);
    }
    page.gauge(
        "countersign_witness_connections",
        "Connections open.",
        m.traffic.connections.load(Ordering::Relaxed),
    );
    page.text()
}
