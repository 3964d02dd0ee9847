//! Errors as RFC 9457 problem+json with a stable `type`.

use crate::guard::Cause;
use crate::oidc::error::OidcError;
use crate::reject::Rejection;
use crate::store::StoreError;
use crate::trust::TrustRejection;
use crate::view::ReadError;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// RFC 9457.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: u16,
    kind: &'static str,
    detail: String,
    hint: Option<&'static str>,
    retry_after: Option<u64>,
}

impl Problem {
    /// A problem of type `urn:countersign:error:<kind>`.
    pub fn new(status: u16, kind: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            detail: detail.into(),
            hint: None,
            retry_after: None,
        }
    }

    /// The stable word.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Asks the client to come back after some seconds.
    #[must_use]
    pub fn retry(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

/// A failure of the store names files of this machine: it goes to our log, not to the client.
fn hidden(e: &StoreError) -> Problem {
    eprintln!("store: {e}");
    Problem::new(
        500,
        e.kind(),
        "the server's store failed; the operator finds the reason in its log",
    )
}

impl From<Cause> for Problem {
    fn from(e: Cause) -> Self {
        Rejection::CannotSign(e).into()
    }
}

impl From<Rejection> for Problem {
    fn from(e: Rejection) -> Self {
        if let Rejection::Store(e) = &e {
            return hidden(e);
        }
        Self {
            status: e.status(),
            kind: e.kind(),
            detail: e.to_string(),
            hint: e.hint(),
            retry_after: e.retry_after(),
        }
    }
}

impl From<OidcError> for Problem {
    fn from(e: OidcError) -> Self {
        Self {
            status: e.status(),
            kind: e.kind(),
            detail: e.to_string(),
            hint: e.hint(),
            retry_after: e.retry_after(),
        }
    }
}

impl From<TrustRejection> for Problem {
    fn from(e: TrustRejection) -> Self {
        match &e {
            TrustRejection::Store(e) => hidden(e),
            _ => Self::new(e.status(), e.kind(), e.to_string()),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(e: ReadError) -> Self {
        match e {
            ReadError::NotPublished(_) => Self::new(404, "not-published", e.to_string()),
            ReadError::Store(e) => hidden(&e),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(e: StoreError) -> Self {
        hidden(&e)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut body = json!({
            "detail": self.detail, "status": self.status, "title": self.kind.replace('-', " "),
            "type": format!("urn:countersign:error:{}", self.kind),
        });
        if let (Some(hint), Some(fields)) = (self.hint, body.as_object_mut()) {
            fields.insert("hint".into(), hint.into());
        }
        let headers = [
            (header::CONTENT_TYPE, MEDIA_TYPE),
            (header::CACHE_CONTROL, "no-store"),
        ];
        let mut response = (status, headers, body.to_string()).into_response();
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
