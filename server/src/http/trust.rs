//! Trust documents by hash.

use super::{Problem, Shared, blocking, entries};
use crate::trust::{Standing, TrustDocuments, TrustRejection};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ledger::{from_hex32, hex32};

pub async fn upload(
    State(app): Shared,
    Path(hash): Path<String>,
    headers: HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Problem> {
    let detail = "want the document's SHA-256 as 64 lower-case hexadecimal digits";
    let hash = from_hex32(&hash).ok_or_else(|| Problem::new(400, "bad-digest", detail))?;
    let bytes = entries::body(&headers, bytes, &["application/json"])?;
    blocking(move || {
        let document = TrustDocuments::check(&hash, &bytes, &app.log.origin, &app.log.vkeys)?;
        let project = document.project.id;
        let admitted = app.log.published().fold.project(&project).map(|p| {
            let named = p.versions().any(|v| v.project.policy == Some(hash));
            (p.current().project.name.clone(), named)
        });
        let (standing, name, named) = match admitted {
            Some((name, named)) => (Standing::Admitted, name, named),
            None => match app.pending.get(&project) {
                Some(w) if !w.refused => (Standing::Pending, w.name.clone(), false),
                _ => return Err(TrustRejection::UnknownProject(hex32(&project)).into()),
            },
        };
        if name != document.project.name {
            return Err(TrustRejection::UnknownProject(hex32(&project)).into());
        }
        app.log.may_sign()?;
        app.trust.keep(hash, &bytes, project, standing, named)?;
        // Admitted between the two looks: what was kept as pending is public now.
        if standing == Standing::Pending && app.log.published().fold.project(&project).is_some() {
            let failed = |_| Problem::new(500, "store-io", "the document could not be published");
            app.trust.publish(&project).map_err(failed)?;
        }
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

pub async fn fetch(State(app): Shared, Path(prefix): Path<String>) -> Result<Response, Problem> {
    let plain = (16..=64).contains(&prefix.len())
        && prefix
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !plain {
        let detail = "want 16 to 64 lower-case hexadecimal digits of the document's SHA-256";
        return Err(Problem::new(400, "bad-digest", detail));
    }
    let found = blocking(move || Ok(app.trust.find(&prefix)?)).await?;
    let bytes = found.ok_or_else(|| {
        Problem::new(
            404,
            "unknown-trust-document",
            "no such trust document is here",
        )
    })?;
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "public, max-age=300"),
    ];
    Ok((headers, bytes).into_response())
}
