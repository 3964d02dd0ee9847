//! Makes the bundle of an entry at the log's last checkpoint (docs/formats.md, "Bundle").

use crate::log::Log;
use crate::store::StoreError;
use crate::view::{Entry, ReadError, View};
use ledger::bundle::{Bundle, Head, Included};
use ledger::leaf::Leaf;
use ledger::state::withdrawn_keys;
use ledger::statement::Body;
use ledger::{API_VERSION, Hash};
use std::collections::BTreeMap;
use std::sync::Arc;
use tlog::prefix::MapProof;

fn damaged(what: &str) -> ReadError {
    StoreError::Damaged(what.to_owned()).into()
}

/// A project's head, at one checkpoint, with where its statements stand.
pub struct ProjectHead {
    /// The checkpoint.
    pub view: Arc<View>,
    /// What proves the project's state; no proofs about withdrawals yet.
    pub head: Head,
    /// Indexes of versions 1…V.
    pub versions: Vec<u64>,
}

/// The head of a project at the last checkpoint; `None` where the log has no such project.
///
/// # Errors
/// [`ReadError`]; also where the last leaf is no ledger head, as in a log that a fill made.
pub fn project_head(log: &Log, project: &Hash) -> Result<Option<ProjectHead>, ReadError> {
    let (view, state, map, versions) = {
        let published = log.published();
        let Some(stands) = published.fold.project(project) else {
            return Ok(None);
        };
        let Some(state) = published.fold.state(project) else {
            return Ok(None);
        };
        let versions: Vec<u64> = stands.versions().map(|v| v.index).collect();
        (
            Arc::clone(&published.view),
            state,
            published.fold.prove(project),
            versions,
        )
    };
    let leaf = view
        .last
        .clone()
        .ok_or_else(|| damaged("the log is empty"))?;
    if !matches!(Leaf::parse(&leaf), Ok(Leaf::Head(_))) {
        return Err(damaged("the last leaf is not a ledger head"));
    }
    let proof = log.reader(&view).inclusion(view.size - 1, view.size)?;
    let head = Head {
        leaf: leaf.to_vec(),
        map,
        proof,
        state,
        withdrawn: BTreeMap::new(),
    };
    Ok(Some(ProjectHead {
        view,
        head,
        versions,
    }))
}

/// The bundle of the statement at `index`; `None` where no statement stands there.
///
/// # Errors
/// [`ReadError`].
pub fn make(log: &Log, index: u64) -> Result<Option<Bundle>, ReadError> {
    let entry = log.reader(&log.view()).entry(index)?;
    let Ok(Leaf::Statement(statement)) = Leaf::parse(&entry) else {
        return Ok(None);
    };
    let pae = statement.envelope.pae_hash();
    let project = match &statement.statement.body {
        Body::Project(_) => pae,
        Body::Release(r) => r.package_id,
    };
    let Some(ProjectHead {
        view,
        mut head,
        versions,
    }) = project_head(log, &project)?
    else {
        return Ok(None);
    };
    let reader = log.reader(&view);
    let included = |index: u64, leaf: Entry| {
        let (leaf, proof) = (leaf.to_vec(), reader.inclusion(index, view.size)?);
        Ok::<_, ReadError>(Included { index, leaf, proof })
    };
    // Nothing can be withdrawn yet: the tree is empty, and so is every proof of absence.
    let digests = statement.statement.subject.iter().map(|s| s.sha256);
    let absent = || MapProof {
        found: None,
        siblings: Vec::new(),
    };
    head.withdrawn = withdrawn_keys(&pae, digests)
        .into_iter()
        .map(|key| (key, absent()))
        .collect();
    Ok(Some(Bundle {
        api_version: API_VERSION.to_owned(),
        entry: included(index, entry)?,
        first: view.note.clone(),
        head,
        latest: None,
        projects: versions
            .into_iter()
            .map(|version| included(version, reader.entry_kept(version)?))
            .collect::<Result<_, _>>()?,
    }))
}
