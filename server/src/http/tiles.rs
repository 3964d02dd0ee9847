//! c2sp.org/tlog-tiles: the checkpoint, tiles of hashes and bundles of entries. Read from
//! the store and the public view: an auditor's load never touches the sequencer.

use super::{Problem, Shared, blocking};
use crate::log::Log;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use tlog::tile::{EntryTile, Tile};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A tile, full or partial, never has other bytes.
const FOREVER: &str = "public, max-age=31536000, immutable";
/// But what is on disk may turn out to be damaged.
const A_MINUTE: &str = "public, max-age=60";

/// How long caches may keep a tile: what a damaged log serves must not stay in them after its
/// repair.
fn keep(log: &Log) -> &'static str {
    match log.read_only() {
        Some(_) => "no-store",
        None if log.metrics.recheck.ended() => FOREVER,
        None => A_MINUTE,
    }
}

pub async fn checkpoint(State(app): Shared) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=1"),
    ];
    (headers, app.log.view().note.clone()).into_response()
}

/// An answer with the permits for its bytes.
struct Held {
    bytes: Vec<u8>,
    _permits: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Counts a bundle against what may be on its way at once, until it has been sent: clients
/// that ask for large ones and read nothing must not fill the memory.
fn held(bytes: Vec<u8>, answers: &Arc<Semaphore>) -> Result<Bytes, Problem> {
    let kib = u32::try_from(bytes.len().div_ceil(1024)).unwrap_or(u32::MAX);
    let permits = Arc::clone(answers).try_acquire_many_owned(kib);
    let _permits = permits.map_err(|_| {
        let detail = "as many large answers are on their way as the server keeps at once";
        Problem::new(503, "busy", detail).retry(1)
    })?;
    Ok(Bytes::from_owner(Held { bytes, _permits }))
}

pub async fn tile(State(app): Shared, uri: Uri) -> Result<Response, Problem> {
    // The path as it was sent: a percent-encoded spelling is not the specification's.
    let path = uri.path().trim_start_matches('/').to_owned();
    let keep = keep(&app.log);
    let (entries, reading) = (path.starts_with("tile/entries/"), Arc::clone(&app));
    let _turn = match entries {
        // Never closed, so this only waits, as long as a request may.
        true => reading.limits.reading.acquire().await.ok(),
        false => None,
    };
    let bytes = blocking(move || {
        let no = |_| {
            Problem::new(
                404,
                "bad-tile-path",
                "this is not a tile's path (c2sp.org/tlog-tiles)",
            )
        };
        let view = Arc::clone(&app.log.published().view);
        let reader = app.log.reader(&view);
        if entries {
            let bytes = reader.bundle(&EntryTile::parse_path(&path).map_err(no)?)?;
            held(bytes, &app.limits.answers)
        } else {
            Ok(reader.hashes(&Tile::parse_path(&path).map_err(no)?)?.into())
        }
    })
    .await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, keep),
    ];
    Ok((headers, bytes).into_response())
}
