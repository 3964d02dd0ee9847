//! Certificates: judged, made, logged, and only then handed out.

use super::door::read_body;
use super::entries::{checked, stopped};
use super::{Arrived, Client, Problem, Shared, blocking};
use crate::admit::{App, full};
use crate::limits::Place;
use crate::oidc::error::OidcError;
use crate::oidc::{MAX_BODY, Oidc, Outcome};
use crate::sequence::{Answer, Job};
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use ledger::envelope::write_chain;
use ledger::leaf::Leaf;
use ledger::{API_VERSION, Hash};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::oneshot;

/// All certificates have one share of the queue.
const SHARE: Hash = [1; 32];

pub async fn issue(
    State(app): Shared,
    Extension(client): Extension<Client>,
    Extension(arrived): Extension<Arrived>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, whole) = request.into_parts();
    let bytes = read_body(whole, MAX_BODY).await;
    arrived.0.store(true, Ordering::Relaxed);
    let shared = Arc::clone(&app);
    let answer = async move {
        let Some(oidc) = shared.oidc.clone() else {
            let detail = "this log issues no certificates";
            return Err(Problem::new(404, "no-issuer", detail));
        };
        let bytes = checked(&head.headers, &["application/json"], bytes)?;
        log(shared, oidc, client, bytes).await
    };
    answer
        .await
        .inspect_err(|e| app.log.metrics.refuse(e.kind()))
}

/// What becomes of a request before it is logged.
enum Step {
    /// The same was asked for before.
    Again(u64),
    /// On its way, with its place in the queue.
    Queued(Vec<String>, Hash, oneshot::Receiver<Answer>, Arc<Place>),
}

async fn log(
    app: Arc<App>,
    oidc: Arc<Oidc>,
    client: Client,
    bytes: Bytes,
) -> Result<Response, Problem> {
    let step = {
        // Never closed, so this only waits.
        let _turn = app.limits.admitting.acquire().await;
        let (app, oidc) = (Arc::clone(&app), Arc::clone(&oidc));
        blocking(move || admit(&app, &oidc, client, &bytes)).await?
    };
    let (chain, index) = match step {
        Step::Again(index) => (None, index),
        Step::Queued(chain, token, answer, place) => {
            // In a task of its own: whoever asked may go, and what becomes of the token is
            // remembered all the same.
            let settled = tokio::spawn(async move {
                let _place = place;
                let index = match answer.await {
                    Ok(Ok(logged)) => logged.index,
                    Ok(Err(e)) => {
                        oidc.give_back(&token);
                        return Err(e.into());
                    }
                    Err(_) => return Err(stopped()),
                };
                oidc.logged(&token, index);
                Ok(index)
            });
            (Some(chain), settled.await.map_err(|_| stopped())??)
        }
    };
    // Shown before it is handed out: whoever watches for certificates can see it by now.
    if !app.log.shows(index, None).await {
        return Err(stopped());
    }
    let chain = match chain {
        Some(chain) => chain,
        None => blocking(move || known(&app, index)).await?,
    };
    let body = json!({ "apiVersion": API_VERSION, "chain": chain, "index": index });
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

fn admit(app: &App, oidc: &Oidc, client: Client, bytes: &[u8]) -> Result<Step, Problem> {
    let (now, last) = (app.log.now(), app.log.published().fold.last_time());
    app.log.guard().may_sign_soon(last)?;
    let place = app.limits.places.take(SHARE).map_err(full)?;
    let wanted = oidc.judge(bytes, now, Instant::now())?;
    if !client.exempt {
        let who = format!("{}\0{}", wanted.identity.issuer, wanted.identity.san);
        let spent = app.limits.projects.spend(ledger::sha256(who.as_bytes()));
        spent.map_err(OidcError::Rate)?;
    }
    let (chain, token) = match oidc.issue(&wanted, now)? {
        Outcome::Again(index) => return Ok(Step::Again(index)),
        Outcome::New(chain, token) => (chain, token),
    };
    let certificates = write_chain(&chain);
    let (reply, answer) = oneshot::channel();
    let job = Job::Certificate {
        chain,
        place: Some(Arc::clone(&place)),
        reply,
    };
    match app.push(job) {
        Ok(()) => Ok(Step::Queued(certificates, token, answer, place)),
        Err(e) => {
            oidc.give_back(&token);
            Err(e.into())
        }
    }
}

/// The certificate that was logged for the same request before.
fn known(app: &App, index: u64) -> Result<Vec<String>, Problem> {
    let entry = app.log.published_entry(index)?;
    match Leaf::parse(&entry) {
        Ok(Leaf::Certificate(leaf)) => Ok(write_chain(&leaf.chain)),
        _ => Err(OidcError::Replayed.into()),
    }
}
