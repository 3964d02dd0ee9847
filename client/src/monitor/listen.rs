//! Metrics over HTTP: `/metrics`, and `/healthz`, which is 200 as long as every task's last poll
//! is not older than three times its interval.

use super::service::Service;
use crate::fail::Fail;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

/// Takes the address; nothing is answered yet. Gives the one that was had, for port 0.
///
/// # Errors
/// Exit code 2.
pub fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Fail> {
    let bad = |e: std::io::Error| {
        Fail::usage("cannot-listen", format!("{address}: {e}"))
            .hint("choose another address for `listen`, or stop what has it")
    };
    let listener = TcpListener::bind(address).map_err(bad)?;
    listener.set_nonblocking(true).map_err(bad)?;
    let address = listener.local_addr().map_err(bad)?;
    Ok((listener, address))
}

/// Answers until the process ends.
///
/// # Errors
/// Exit code 2 where it cannot begin, or breaks off.
pub fn serve(listener: TcpListener, service: Arc<Service>) -> Result<(), Fail> {
    let bad = |e: std::io::Error| Fail::usage("cannot-listen", e.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(bad)?;
    let own = Arc::clone(&service);
    let metrics = move || {
        let own = Arc::clone(&own);
        async move {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], own.metrics()).into_response()
        }
    };
    let healthz = move || {
        let service = Arc::clone(&service);
        async move {
            match service.late() {
                late if late.is_empty() => (StatusCode::OK, "ok\n".to_owned()),
                late => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("not polled in time: {}\n", late.join("; ")),
                ),
            }
        }
    };
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz));
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(bad)?;
        axum::serve(listener, router).await.map_err(bad)
    })
}
