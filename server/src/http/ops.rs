//! For operators: health, readiness, metrics, and the description of this interface.

use super::{METRICS_TYPE, Page, Problem, Shared, blocking};
use crate::admit::App;
use crate::guard::Cause;
use crate::log::unix_now;
use crate::oidc::issuer::Issuer;
use crate::publish::{Outcome, Standing};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Instant;

pub async fn healthz() -> &'static str {
    "ok\n"
}

/// Ready, and below it how each witness does, one a line, and whether keys are rotated.
pub async fn readyz(State(app): Shared) -> Result<String, Problem> {
    blocking(move || {
        app.log.may_sign()?;
        let mut text = "ready\n".to_owned();
        let standings = app.log.publisher().map(|p| p.standings());
        for (name, standing) in standings.unwrap_or_default() {
            let _ = match &standing.outcome {
                Outcome::Failed(kind, why) => writeln!(text, "witness {name}: {kind}: {why}"),
                other => writeln!(text, "witness {name}: {}", other.word()),
            };
        }
        if let Some(until) = app.log.retire_keys {
            let _ = match unix_now() < until {
                true => writeln!(
                    text,
                    "log keys: two pairs sign; the old one until {until} at least"
                ),
                false => writeln!(
                    text,
                    "log keys: two pairs sign; the old one is due to be retired"
                ),
            };
        }
        Ok(text)
    })
    .await
}

/// How each witness does. Names are the operator's own, from the policy.
fn witnesses(app: &App, page: &mut Page) {
    let Some(publisher) = app.log.publisher() else {
        return;
    };
    let each = publisher.standings();
    let label = |name: &str| name.replace('\\', "\\\\").replace('"', "\\\"");
    let mut rows = |name: &str, kind: &str, help: &str, of: &dyn Fn(&Standing) -> u64| {
        page.head(name, kind, help);
        for (witness, standing) in &each {
            let row = format!("{name}{{witness=\"{}\"}}", label(witness));
            page.row(&row, of(standing));
        }
    };
    rows(
        "countersign_witness_up",
        "gauge",
        "1 where the witness cosigned when it was last asked, else 0.",
        &|s| u64::from(s.outcome == Outcome::Cosigned),
    );
    rows(
        "countersign_witness_size",
        "gauge",
        "Leaves under the largest checkpoint that the witness cosigned since the start.",
        &|s| s.size.unwrap_or_default(),
    );
    rows(
        "countersign_witness_time_seconds",
        "gauge",
        "The time in the witness's last cosignature.",
        &|s| s.time,
    );
    rows(
        "countersign_witness_cosigned_total",
        "counter",
        "Cosignatures by the witness.",
        &|s| s.counts.0,
    );
    rows(
        "countersign_witness_failed_total",
        "counter",
        "Requests that the witness did not answer with a cosignature.",
        &|s| s.counts.1,
    );
    page.gauge(
        "countersign_witnessed",
        "1 where the checkpoint that is shown has the quorum's cosignatures, else 0.",
        u8::from(app.log.view().witnessed == Some(true)),
    );
    page.gauge(
        "countersign_staged_batches",
        "Batches that are durable and await their cosignatures.",
        publisher.staged(),
    );
}

/// How the issuer of certificates does. URLs are the operator's own, from the configuration.
fn issuer(app: &App, page: &mut Page) {
    let Some(oidc) = &app.oidc else { return };
    let now = Instant::now();
    page.counter(
        "countersign_certificates_total",
        "Certificates that were logged since the start.",
        &oidc.issued,
    );
    page.gauge(
        "countersign_certificate_tokens",
        "Tokens that were used and have not ended.",
        oidc.remembered(),
    );
    page.gauge(
        "countersign_certificate_authority_ends_seconds",
        "When the certificate of the authority ends, Unix seconds.",
        oidc.until(),
    );
    let mut rows = |name: &str, kind: &str, help: &str, of: &dyn Fn(&Issuer) -> Option<u64>| {
        page.head(name, kind, help);
        for issuer in oidc.issuers() {
            if let Some(value) = of(issuer) {
                page.row(
                    &format!("{name}{{issuer=\"{}\"}}", issuer.settings.url),
                    value,
                );
            }
        }
    };
    rows(
        "countersign_issuer_keys",
        "gauge",
        "Keys of the issuer that are known and good; 0 where its tokens are refused.",
        &|issuer| u64::try_from(issuer.standing(now).0).ok(),
    );
    rows(
        "countersign_issuer_keys_age_seconds",
        "gauge",
        "Time since the issuer's keys were fetched.",
        &|issuer| Some(issuer.standing(now).1?.as_secs()),
    );
    rows(
        "countersign_issuer_fetched_total",
        "counter",
        "How often the issuer's keys were fetched.",
        &|issuer| Some(issuer.fetched().0),
    );
    rows(
        "countersign_issuer_failed_total",
        "counter",
        "How often the issuer's keys could not be fetched.",
        &|issuer| Some(issuer.fetched().1),
    );
}

fn page(app: &App) -> String {
    let (log, m, mut page) = (&app.log, &app.log.metrics, Page::default());
    let cause = log.may_sign().err();
    page.gauge(
        "countersign_log_size",
        "Leaves under the last checkpoint.",
        log.view().size,
    );
    page.gauge(
        "countersign_ready",
        "1 where the log takes entries and signs, else 0.",
        u8::from(cause.is_none()),
    );
    let name = "countersign_read_only";
    page.head(
        name,
        "gauge",
        "1 for the reason for which the log does not sign now.",
    );
    for kind in Cause::KINDS {
        let now = cause.as_ref().is_some_and(|c| c.kind() == kind);
        page.row(&format!("{name}{{reason=\"{kind}\"}}"), u8::from(now));
    }
    page.gauge(
        "countersign_start_check_done",
        "1 once everything that was on disk at the start has been read again, else 0.",
        u8::from(m.recheck.ended()),
    );
    page.gauge(
        "countersign_start_check_left",
        "Leaves that are still to be read again.",
        m.recheck.left(),
    );
    witnesses(app, &mut page);
    issuer(app, &mut page);
    if let Some(until) = log.retire_keys {
        let help = "From when on the old pair of log keys may be retired, Unix seconds.";
        page.gauge("countersign_log_keys_retire_at_seconds", help, until);
    }
    if let Some(free) = log.guard().free_bytes() {
        let help = "Bytes free on the fuller of the file systems of the data directory.";
        page.gauge("countersign_free_bytes", help, free);
    }
    page.gauge(
        "countersign_waiting",
        "Statements between admission and answer.",
        app.limits.places.taken(),
    );
    page.gauge(
        "countersign_connections",
        "Connections open.",
        m.traffic.connections.load(Ordering::Relaxed),
    );
    page.counter(
        "countersign_submitted_total",
        "Submissions that were read.",
        &m.submitted,
    );
    let name = "countersign_refused_total";
    page.head(
        name,
        "counter",
        "Submissions that were read and refused, by kind of problem.",
    );
    for (kind, count) in m.refused() {
        page.row(&format!("{name}{{kind=\"{kind}\"}}"), count);
    }
    page.counter(
        "countersign_turned_away_total",
        "Submissions while the queue, or the project's share of it, was full.",
        &m.turned_away,
    );
    let name = "countersign_limited_total";
    page.head(
        name,
        "counter",
        "What was turned away by a limit an address or a project.",
    );
    for (limit, count) in [
        ("address-rate", &m.traffic.address_limited),
        ("address-connections", &m.traffic.connections_limited),
        ("project-rate", &m.project_limited),
    ] {
        let count = count.load(Ordering::Relaxed);
        page.row(&format!("{name}{{limit=\"{limit}\"}}"), count);
    }
    page.counter(
        "countersign_batches_total",
        "Batches committed since the start.",
        &m.batches,
    );
    page.histogram(
        "countersign_batch_leaves",
        "Leaves in a batch.",
        &m.batch_size,
        1.0,
    );
    page.histogram(
        "countersign_commit_seconds",
        "Time from a batch's first effect until it is public and indexed.",
        &m.commit_time,
        1e6,
    );
    page.text()
}

pub async fn metrics(State(app): Shared) -> Result<Response, Problem> {
    let text = blocking(move || Ok(page(&app))).await?;
    Ok(([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response())
}

pub async fn openapi() -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        include_str!("openapi.json"),
    )
        .into_response()
}
