//! Makes the bundle of an entry at the log's last checkpoint (docs/formats.md, "Bundle").

use crate::log::Log;
use crate::store::StoreError;
use crate::view::{Entry, ReadError, View};
use ledger::Hash;
use ledger::bundle::{Head, Included, Shared};
use ledger::leaf::Leaf;
use ledger::state::withdrawn_keys;
use ledger::statement::{Body, Statement};
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

/// What a statement says that its bundle proves something about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its envelope's PAE hash.
    pae: Hash,
    /// The project that it is about, where it says so.
    project: Hash,
    /// Of a project statement after the first the one before it, by which the project is found.
    previous: Option<Hash>,
    /// Its artifacts' SHA-256.
    digests: Vec<Hash>,
}

impl Said {
    /// What the statement in an envelope with this PAE hash says.
    #[must_use]
    pub fn new(pae: Hash, statement: &Statement) -> Self {
        let (project, previous) = match &statement.body {
            Body::Project(p) => (pae, p.previous),
            _ => (statement.project_id().unwrap_or(pae), None),
        };
        let digests = statement.subject.iter().map(|s| s.sha256).collect();
        Self {
            pae,
            project,
            previous,
            digests,
        }
    }
}

/// The bundle of the statement at `index`; `None` where no statement stands there.
///
/// # Errors
/// [`ReadError`].
pub fn make(log: &Log, index: u64) -> Result<Option<Vec<u8>>, ReadError> {
    let entry = log.reader(&log.view()).entry(index)?;
    let Ok(Leaf::Statement(leaf)) = Leaf::parse(&entry) else {
        return Ok(None);
    };
    let said = Said::new(leaf.envelope.pae_hash(), &leaf.statement);
    make_of(log, index, &said, Some(&entry))
}

/// The same, of a statement that is known to stand there and to say this. The `entry` is read
/// where it is not given.
///
/// # Errors
/// [`ReadError`].
pub fn make_of(
    log: &Log,
    index: u64,
    said: &Said,
    entry: Option<&Entry>,
) -> Result<Option<Vec<u8>>, ReadError> {
    let project = match &said.previous {
        None => said.project,
        Some(previous) => match log.published().fold.project_by_statement(previous) {
            Some(project) => project,
            None => return Ok(None),
        },
    };
    let digests = said.digests.iter().copied();
    let keys = withdrawn_keys(&said.pae, digests);
    let (view, shared, withdrawn) = loop {
        let Some((view, shared)) = shared(log, &project)? else {
            return Ok(None);
        };
        if *shared.withdrawn() == [0; 32] {
            let absent = |key| (key, MapProof::default());
            break (view, shared, keys.into_iter().map(absent).collect());
        }
        // Proofs of the same checkpoint as the rest; the next one may have come meanwhile.
        let published = log.published();
        if published.view.size == view.size {
            let prove = |key| Some((key, published.fold.prove_withdrawn(&project, &key)?));
            let withdrawn = keys.into_iter().filter_map(prove);
            break (view, shared, withdrawn.collect::<BTreeMap<_, _>>());
        }
    };
    let reader = log.reader(&view);
    let leaf = match entry {
        Some(entry) => entry.to_vec(),
        None => reader.entry(index)?.to_vec(),
    };
    let entry = Included {
        index,
        leaf,
        proof: reader.inclusion(index, view.size)?,
    };
    let bytes = shared.bundle(&entry, &withdrawn);
    Ok(Some(bytes.map_err(|e| damaged(&e.to_string()))?))
}

type AtView = (Arc<View>, Arc<Shared>);

/// What all bundles of a project at the last checkpoint share, and that checkpoint.
fn shared(log: &Log, project: &Hash) -> Result<Option<AtView>, ReadError> {
    let view = log.view();
    let kept = log.reader(&view).kept;
    if let Some(shared) = kept.shared(view.stamp, project) {
        return Ok(Some((view, shared)));
    }
    let Some(ProjectHead {
        view,
        head,
        versions,
    }) = project_head(log, project)?
    else {
        return Ok(None);
    };
    let reader = log.reader(&view);
    let projects: Vec<Included> = versions
        .into_iter()
        .map(|index| {
            Ok(Included {
                index,
                leaf: reader.entry_kept(index)?.to_vec(),
                proof: reader.inclusion(index, view.size)?,
            })
        })
        .collect::<Result<_, ReadError>>()?;
    let shared = Shared::new(&view.note, head, &projects).map_err(|e| damaged(&e.to_string()))?;
    let shared = Arc::new(shared);
    kept.share(view.stamp, *project, &shared);
    Ok(Some((view, shared)))
}
