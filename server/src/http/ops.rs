//! For operators: health, readiness, metrics, and the description of this interface.

use super::{Problem, Shared};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use std::sync::atomic::Ordering;

pub async fn healthz() -> &'static str {
    "ok\n"
}

pub async fn readyz(State(app): Shared) -> Result<&'static str, Problem> {
    match app.log.read_only() {
        None => Ok("ready\n"),
        Some(why) => Err(Problem::new(
            503,
            "read-only",
            format!("this log does not sign: {why}"),
        )),
    }
}

pub async fn metrics(State(app): Shared) -> Response {
    let m = &app.log.metrics;
    let rows = [
        (
            "countersign_log_size",
            "gauge",
            "Leaves under the last checkpoint.",
            app.log.view().size,
        ),
        (
            "countersign_read_only",
            "gauge",
            "1 where the log does not sign.",
            u64::from(app.log.read_only().is_some()),
        ),
        (
            "countersign_submitted_total",
            "counter",
            "Submissions.",
            m.submitted.load(Ordering::Relaxed),
        ),
        (
            "countersign_refused_total",
            "counter",
            "Submissions refused by admission.",
            m.refused.load(Ordering::Relaxed),
        ),
        (
            "countersign_turned_away_total",
            "counter",
            "Submissions while the queue was full.",
            m.turned_away.load(Ordering::Relaxed),
        ),
        (
            "countersign_batches_total",
            "counter",
            "Batches committed since the start.",
            m.batches.load(Ordering::Relaxed),
        ),
    ];
    let text: String = rows
        .iter()
        .map(|(name, kind, help, value)| {
            format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n")
        })
        .collect();
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
        .into_response()
}

pub async fn openapi() -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        include_str!("openapi.json"),
    )
        .into_response()
}
