//! Look-ups: an artifact's releases, a project and its head. They answer from the index and
//! prove nothing, but for the head, which proves a project's state complete.

use super::entries::number;
use super::{Problem, Shared, blocking};
use crate::admit::App;
use crate::bundles::{self, ProjectHead};
use crate::store::ProjectHit;
use axum::Json;
use axum::extract::{Path, Query, State};
use ledger::fold::ProjectState;
use ledger::state::StateDocument;
use ledger::statement::Identity;
use ledger::{API_VERSION, Hash, b64, from_hex32, hex32};
use serde::Deserialize;
use serde_json::{Value, json};
use tlog::hash::leaf_hash;
use tlog::in_memory::InMemory;
use tlog::tree::prove_consistency;

/// Rows in one answer at most.
const ROWS: usize = 1000;

fn digest_of(text: &str) -> Result<Hash, Problem> {
    let detail = "want a SHA-256 as 64 lower-case hexadecimal digits";
    from_hex32(text).ok_or_else(|| Problem::new(400, "bad-digest", detail))
}

pub async fn digest(
    State(app): Shared,
    Path(sha256): Path<String>,
) -> Result<Json<Value>, Problem> {
    let digest = digest_of(&sha256)?;
    blocking(move || {
        let mut entries = app.log.index.by_digest(&digest, ROWS)?;
        // What awaits its witnesses is in the index, and not public yet.
        let size = app.log.view().size;
        entries.retain(|hit| hit.index < size);
        Ok(Json(
            json!({ "apiVersion": API_VERSION, "entries": entries }),
        ))
    })
    .await
}

/// Indexes in one answer at most.
const INDEXES: usize = 10_000;

#[derive(Deserialize)]
pub struct From {
    from: Option<String>,
}

/// Where everything that was accepted for a project stands. That none is left out shows the
/// `leaves` of its state document, which is the tree of these numbers.
pub async fn entries(
    State(app): Shared,
    Path(project): Path<String>,
    Query(q): Query<From>,
) -> Result<Json<Value>, Problem> {
    let from = number(q.from.as_deref().unwrap_or("0"), "from")?;
    blocking(move || {
        let id = id_of(&app, &project).ok_or_else(unknown)?;
        let size = app.log.view().size;
        let mut rows = app.log.index.by_project(&id, from, INDEXES)?;
        rows.retain(|row| row.index < size);
        // What was refused stands in the log, and was not accepted.
        if app.log.published().fold.project(&id).is_none() {
            return Err(unknown());
        }
        let indexes: Vec<u64> = rows.iter().map(|row| row.index).collect();
        let next = (rows.len() == INDEXES).then(|| indexes.last().map(|last| last + 1));
        let mut answer = json!({ "apiVersion": API_VERSION, "indexes": indexes });
        if let (Some(Some(next)), Some(fields)) = (next, answer.as_object_mut()) {
            fields.insert("next".into(), next.into());
        }
        Ok(Json(answer))
    })
    .await
}

fn unknown() -> Problem {
    Problem::new(
        404,
        "unknown-project",
        "no project of that id or name is in this log",
    )
}

fn id_of(app: &App, id_or_name: &str) -> Option<Hash> {
    from_hex32(id_or_name).or_else(|| app.log.published().fold.project_by_name(id_or_name))
}

fn standing(state: &ProjectState, rows: &[ProjectHit]) -> Value {
    let current = &state.current().project;
    let keys = |list: &[keys::PublicKey]| -> Vec<Value> {
        list.iter()
            .map(|k| json!({ "id": k.id().to_string(), "key": b64(k.spki_der()) }))
            .collect()
    };
    let releases: Vec<Value> = rows
        .iter()
        .filter(|row| row.what == "release")
        .map(|row| json!({ "index": row.index, "purl": row.purl, "statement": row.statement }))
        .collect();
    let of = |what: &str| -> Vec<Value> {
        rows.iter()
            .filter(|row| row.what == what)
            .map(|row| json!({ "index": row.index, "statement": row.statement }))
            .collect()
    };
    let operations: Vec<Value> = rows
        .iter()
        .filter(|row| row.statement.is_none() && row.what != "certificate")
        .map(|row| json!({ "action": row.what, "index": row.index }))
        .collect();
    let certificates: Vec<u64> = rows
        .iter()
        .filter(|row| row.what == "certificate")
        .map(|row| row.index)
        .collect();
    let authorities: Vec<Value> = current
        .authorities
        .iter()
        .map(|a| {
            let identities: Vec<Value> = a.identities.iter().map(Identity::to_json).collect();
            json!({ "certificate": b64(a.anchor.der()), "id": hex32(&a.hash()), "identities": identities })
        })
        .collect();
    json!({
        "apiVersion": API_VERSION, "authorities": authorities, "certificates": certificates, "contact": current.contact, "id": hex32(&state.id), "name": current.name,
        "operations": operations, "purlPrefixes": current.purl_prefixes, "releaseKeys": keys(&current.release_keys),
        "releaseThreshold": current.release_threshold, "releases": releases, "revocations": of("revocation"),
        "rootThreshold": current.root_threshold, "roots": keys(&current.roots),
        "statement": { "index": state.current().index, "statement": hex32(&state.current().statement) },
        "status": if state.frozen { "frozen" } else { "admitted" },
        "truncated": rows.len() >= ROWS, "version": current.version, "withdrawals": of("withdrawal"), "versions": of("project"), "keyNotes": of("key-note"),
    })
}

pub async fn project(
    State(app): Shared,
    Path(project): Path<String>,
) -> Result<Json<Value>, Problem> {
    blocking(move || {
        if let Some(id) = id_of(&app, &project) {
            let size = app.log.view().size;
            let mut rows = app.log.index.by_project(&id, 0, ROWS)?;
            rows.retain(|row| row.index < size);
            if let Some(state) = app.log.published().fold.project(&id) {
                return Ok(Json(standing(state, &rows)));
            }
        }
        // The latest of that name that is undecided, else the latest that was refused.
        let waiting = app
            .pending
            .find(&project)
            .into_iter()
            .max_by_key(|w| (!w.refused, w.received));
        let waiting = waiting.ok_or_else(unknown)?;
        Ok(Json(json!({
            "apiVersion": API_VERSION, "id": hex32(&waiting.id), "name": waiting.name,
            "status": if waiting.refused { "refused" } else { "pending" },
        })))
    })
    .await
}

/// Entries of a project up to which the server itself proves that one `leaves` extends another.
const PROVEN: u64 = 100_000;

/// The consistency proof of a project's `leaves` from size `from` to what it is in `state`.
fn consistency(
    app: &App,
    id: &Hash,
    from: u64,
    state: &StateDocument,
) -> Result<Vec<String>, Problem> {
    let size = state.leaves.size;
    if from > size {
        return Err(Problem::new(
            404,
            "not-published",
            format!("`leaves` of this project has {size} entries"),
        ));
    }
    if size > PROVEN {
        return Err(Problem::new(
            422,
            "too-many-entries",
            format!(
                "this project has {size} entries; above {PROVEN} whoever wants the proof makes it from /entries"
            ),
        ));
    }
    let wanted = usize::try_from(size).unwrap_or(usize::MAX);
    let rows = app.log.index.by_project(id, 0, wanted)?;
    let hashes: Vec<Hash> = rows
        .iter()
        .map(|row| leaf_hash(&row.index.to_be_bytes()))
        .collect();
    let tree = InMemory::new(&hashes);
    if (tree.size(), tree.root()) != (size, state.leaves.root) {
        // The index follows the checkpoint by moments.
        let detail = "the index has not come to this checkpoint yet";
        return Err(Problem::new(503, "index-lags", detail).retry(1));
    }
    let proof = prove_consistency(from, size, &tree)
        .map_err(|e| Problem::new(500, "internal", e.to_string()))?;
    Ok(proof.iter().map(hex32).collect())
}

pub async fn head(
    State(app): Shared,
    Path(project): Path<String>,
    Query(q): Query<From>,
) -> Result<Json<Value>, Problem> {
    let from = q.from.as_deref().map(|text| number(text, "from"));
    let from = from.transpose()?;
    blocking(move || {
        let id = id_of(&app, &project).ok_or_else(unknown)?;
        let ProjectHead { view, head, .. } =
            bundles::project_head(&app.log, &id)?.ok_or_else(unknown)?;
        let consistency = from
            .map(|from| consistency(&app, &id, from, &head.state))
            .transpose()?;
        let failed = |_| Problem::new(500, "internal-encoding", "the head could not be encoded");
        let mut head = serde_json::to_value(head).map_err(failed)?;
        if let Some(fields) = head.as_object_mut() {
            // Proofs about withdrawals belong to one release; a bundle has them.
            fields.remove("withdrawn");
        }
        let mut answer =
            json!({ "apiVersion": API_VERSION, "checkpoint": view.note, "head": head });
        if let (Some(proof), Some(fields)) = (consistency, answer.as_object_mut()) {
            fields.insert("consistency".into(), proof.into());
        }
        Ok(Json(answer))
    })
    .await
}
