//! Submission, and conveniences over the tiles.

use super::door::{not_whole, read_body, too_large};
use super::{Arrived, Client, MAX_BODY, Problem, Shared, blocking};
use crate::admit::{Admitted, App};
use crate::bundles::{self, Said};
use crate::sequence::Logged;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use ledger::{API_VERSION, b64, hex32};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const ACCEPTED: [&str; 2] = ["application/json", "application/vnd.dsse.envelope.v1+json"];

/// Bytes of a submission that is read on the spot.
const SMALL: usize = 8 * 1024;

/// A body within the limit, of an accepted type.
pub(super) fn body(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
    accepted: &[&str],
) -> Result<Bytes, Problem> {
    let body = body.map_err(|e| {
        if e.status() == StatusCode::PAYLOAD_TOO_LARGE {
            too_large(MAX_BODY)
        } else {
            not_whole()
        }
    });
    checked(headers, accepted, body)
}

/// A body that was read, if it is of an accepted type.
pub(super) fn checked(
    headers: &HeaderMap,
    accepted: &[&str],
    body: Result<Bytes, Problem>,
) -> Result<Bytes, Problem> {
    let given = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let media = given.split(';').next().unwrap_or_default().trim();
    if accepted.iter().any(|a| a.eq_ignore_ascii_case(media)) {
        return body;
    }
    let media = media.to_ascii_lowercase();
    let detail = format!("Content-Type is {media:?}, want {}", accepted.join(" or "));
    Err(Problem::new(415, "unsupported-media-type", detail))
}

/// A submission, for whoever comes by the router.
pub async fn submit_routed(
    State(app): Shared,
    Extension(client): Extension<Client>,
    Extension(arrived): Extension<Arrived>,
    request: Request,
) -> Result<Response, Problem> {
    submit(app, client, &arrived, request).await
}

/// Takes a submission; sets `arrived` once it was read.
pub async fn submit(
    app: Arc<App>,
    client: Client,
    arrived: &Arrived,
    request: Request,
) -> Result<Response, Problem> {
    let (head, whole) = request.into_parts();
    let bytes = read_body(whole, MAX_BODY).await;
    arrived.0.store(true, Ordering::Relaxed);
    let shared = Arc::clone(&app);
    let answer = async move {
        let bytes = checked(&head.headers, &ACCEPTED, bytes)?;
        log(shared, client, patience(&head.uri)?, bytes).await
    };
    answer
        .await
        .inspect_err(|e| app.log.metrics.refuse(e.kind()))
}

/// Admits a submission where that is quickest. Handing it to another thread and back costs about
/// as much as one signature, so a small release is checked on the spot: what it keeps others
/// waiting for is a fraction of a millisecond.
async fn admit(app: &Arc<App>, client: Client, bytes: Bytes) -> Result<(Said, Admitted), Problem> {
    let small = (bytes.len() <= SMALL)
        .then(|| app.read(&bytes))
        .transpose()?;
    let rest = match small {
        Some(light) if light.is_light() => {
            return Ok((light.said(), app.admit(light, client.exempt)?));
        }
        rest => rest,
    };
    // Never closed, so this only waits.
    let _turn = app.limits.admitting.acquire().await;
    let app = Arc::clone(app);
    blocking(move || {
        let submission = match rest {
            Some(submission) => submission,
            None => app.read(&bytes)?,
        };
        Ok((submission.said(), app.admit(submission, client.exempt)?))
    })
    .await
}

/// Longest that a publisher may wait for the witnesses, in seconds.
const LONGEST_WAIT: u64 = 60;

#[derive(Deserialize)]
struct Wait {
    wait: Option<String>,
}

/// How long whoever submits waits for the witnesses' quorum, where they say so.
fn patience(uri: &Uri) -> Result<Option<Duration>, Problem> {
    let Ok(Query(Wait { wait })) = Query::try_from_uri(uri) else {
        return Err(Problem::new(400, "bad-query", "want ?wait=SECONDS"));
    };
    let seconds = wait.map(|text| number(&text, "wait")).transpose()?;
    match seconds {
        Some(seconds) if seconds > LONGEST_WAIT => Err(Problem::new(
            400,
            "bad-number",
            format!("wait must be at most {LONGEST_WAIT} seconds"),
        )),
        seconds => Ok(seconds.map(Duration::from_secs)),
    }
}

/// What whoever waits no longer gets: the entry is durable, under a checkpoint that only the log
/// has signed. It is not shown for that: others wait for the same checkpoint's quorum.
fn uncosigned(app: &App, index: u64) -> Response {
    let checkpoint = app.log.publisher().map(|publisher| publisher.signed());
    let body = json!({
        "apiVersion": API_VERSION, "checkpoint": checkpoint, "index": index, "status": "uncosigned",
    });
    let location = [(header::LOCATION, format!("/api/v1/entries/{index}"))];
    (StatusCode::ACCEPTED, location, Json(body)).into_response()
}

/// Nobody knows what became of it.
pub(super) fn stopped() -> Problem {
    let detail = "the server stopped before it knew whether this is durable: send it again";
    Problem::new(503, "stopping", detail).retry(1)
}

/// Whether the log's own quorum of witnesses has cosigned what an answer is about.
const WITNESSED: HeaderName = HeaderName::from_static("countersign-witnessed");

async fn log(
    app: Arc<App>,
    client: Client,
    wait: Option<Duration>,
    bytes: Bytes,
) -> Result<Response, Problem> {
    let (said, admitted) = admit(&app, client, bytes).await?;
    let Logged { index, entry } = match admitted {
        Admitted::Stands(index) => index.into(),
        Admitted::Pending(id) => {
            let body =
                json!({ "apiVersion": API_VERSION, "project": hex32(&id), "status": "pending" });
            return Ok((StatusCode::ACCEPTED, Json(body)).into_response());
        }
        // The place is held until the answer is here, and by the queue if the client goes.
        Admitted::Queued(answer, _place) => match answer.await {
            Ok(answer) => answer?,
            Err(_) => return Err(stopped()),
        },
    };
    if !app.log.shows(index, wait).await {
        return Ok(uncosigned(&app, index));
    }
    // What was just logged is in memory: another thread would cost more than it saves.
    let at_hand = entry.is_some();
    let witnessed = app.log.view().witnessed;
    let make = move || {
        if app.open && app.settle().is_err() {
            eprintln!(
                "store: the trust documents of an admitted project could not be moved; the next start tries again"
            );
        }
        let bundle = bundles::make_of(&app.log, index, &said, entry.as_ref())?;
        bundle.ok_or_else(no_statement)
    };
    let bytes = if at_hand {
        make()?
    } else {
        blocking(make).await?
    };
    let headers = [
        (header::CONTENT_TYPE, ledger::bundle::MEDIA_TYPE.to_owned()),
        (header::LOCATION, format!("/api/v1/entries/{index}")),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    let mut response = (headers, bytes).into_response();
    if let Some(witnessed) = witnessed {
        let word = if witnessed { "quorum" } else { "no-quorum" };
        let word = HeaderValue::from_static(word);
        response.headers_mut().insert(WITNESSED, word);
    }
    Ok(response)
}

pub(super) fn number(text: &str, what: &str) -> Result<u64, Problem> {
    let plain = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    let value = if plain { text.parse().ok() } else { None };
    value.ok_or_else(|| {
        Problem::new(
            400,
            "bad-number",
            format!("{what} must be a decimal number"),
        )
    })
}

pub async fn entry(State(app): Shared, Path(index): Path<String>) -> Result<Json<Value>, Problem> {
    let index = number(&index, "the index")?;
    blocking(move || {
        let view = app.log.view();
        let leaf = app.log.reader(&view).entry(index)?;
        Ok(Json(
            json!({ "apiVersion": API_VERSION, "index": index, "leaf": b64(&leaf) }),
        ))
    })
    .await
}

/// The bundle of a statement at the last checkpoint: a newer view for whoever has an older one.
pub async fn bundle(
    State(app): Shared,
    Path(index): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let index = number(&index, "the index")?;
    let bytes = blocking(move || {
        let bundle = bundles::make(&app.log, index)?;
        bundle.ok_or_else(no_statement)
    })
    .await?;
    Ok(([(header::CONTENT_TYPE, ledger::bundle::MEDIA_TYPE)], bytes))
}

fn no_statement() -> Problem {
    Problem::new(404, "no-statement", "no statement stands at that index")
}

fn hashes(proof: &[ledger::Hash]) -> Vec<String> {
    proof.iter().map(hex32).collect()
}

#[derive(Deserialize)]
pub struct Inclusion {
    index: Option<String>,
    size: Option<String>,
}

pub async fn inclusion(
    State(app): Shared,
    Query(q): Query<Inclusion>,
) -> Result<Json<Value>, Problem> {
    let index = number(&q.index.unwrap_or_default(), "index")?;
    let size = number(&q.size.unwrap_or_default(), "size")?;
    blocking(move || {
        let view = app.log.view();
        let proof = app.log.reader(&view).inclusion(index, size)?;
        Ok(Json(
            json!({ "apiVersion": API_VERSION, "proof": hashes(&proof) }),
        ))
    })
    .await
}

#[derive(Deserialize)]
pub struct Consistency {
    from: Option<String>,
    to: Option<String>,
}

pub async fn consistency(
    State(app): Shared,
    Query(q): Query<Consistency>,
) -> Result<Json<Value>, Problem> {
    let from = number(&q.from.unwrap_or_default(), "from")?;
    let to = number(&q.to.unwrap_or_default(), "to")?;
    blocking(move || {
        let view = app.log.view();
        let proof = app.log.reader(&view).consistency(from, to)?;
        Ok(Json(
            json!({ "apiVersion": API_VERSION, "proof": hashes(&proof) }),
        ))
    })
    .await
}
