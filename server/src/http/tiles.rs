//! c2sp.org/tlog-tiles: the checkpoint, tiles of hashes and bundles of entries. Read from
//! the store and the public view: an auditor's load never touches the sequencer.

use super::{Problem, Shared, blocking};
use axum::extract::State;
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use tlog::tile::{EntryTile, Tile};

/// A tile, full or partial, never has other bytes.
const FOREVER: &str = "public, max-age=31536000, immutable";

pub async fn checkpoint(State(app): Shared) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=1"),
    ];
    (headers, app.log.view().note.clone()).into_response()
}

pub async fn tile(State(app): Shared, uri: Uri) -> Result<Response, Problem> {
    // The path as it was sent: a percent-encoded spelling is not the specification's.
    let path = uri.path().trim_start_matches('/').to_owned();
    // What a damaged log serves must not stay in caches after its repair.
    let keep = app.log.read_only().map_or(FOREVER, |_| "no-store");
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
        if path.starts_with("tile/entries/") {
            Ok(reader.bundle(&EntryTile::parse_path(&path).map_err(no)?)?)
        } else {
            Ok(reader.hashes(&Tile::parse_path(&path).map_err(no)?)?)
        }
    })
    .await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, keep),
    ];
    Ok((headers, bytes).into_response())
}
