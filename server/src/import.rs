//! `import`: makes a data directory of the portable form, or brings one that is behind up to
//! it, byte for byte. The log's keys are there already. Everything is walked and verified
//! before anything is written; and what is written first is what a server without it refuses
//! to sign on, so that an import that was interrupted is only begun again.

mod copying;

use crate::check::{self, Options};
use crate::datadir::{DataDir, Layout};
use crate::error::Error;
use crate::logkeys::LogKeys;
use crate::store::{Blobs as _, FileBlobs, Head, Hot as _, HotBatch, SledHot};
use copying::Copying;
use ledger::Hash;
use ledger::walk::{Counts, Finding, Plan, walk};
use std::fs;
use std::path::Path;
use tlog::checkpoint::Checkpoint;
use tlog::tile::{EntryTile, TILE_WIDTH};

/// Why nothing was imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// There is no checkpoint, or not one that the keys of the data directory signed.
    #[error("the checkpoint to import is not this log's: {0}")]
    Checkpoint(String),
    /// The data directory is ahead.
    #[error(
        "the log has {has} leaves already, or had, what is to be imported {offered}: an import never goes back"
    )]
    Older {
        /// Leaves of the log.
        has: u64,
        /// Leaves offered.
        offered: u64,
    },
    /// What stands is not the beginning of what is to be imported.
    #[error("another history: {what}; keep both, and find out which was published")]
    OtherHistory {
        /// What differs.
        what: String,
    },
    /// What is to be imported is damaged.
    #[error("what is to be imported is not sound, {found} findings, first {}: {}", first.path, first.what)]
    NotSound {
        /// How many findings.
        found: u64,
        /// The first.
        first: Finding,
    },
    /// It could not be read to its end.
    #[error("what is to be imported cannot be read: {0}")]
    Unreadable(String),
    /// It is not what was verified a moment before.
    #[error("{0} changed while it was imported: import again")]
    Changed(String),
    /// The hot state that stands cannot be read.
    #[error("private/hot cannot be read ({0}): move it away, and import again")]
    HotDamaged(String),
    /// The log does not start with what was imported.
    #[error("the log was imported and does not start for signing: {0}")]
    DoesNotStart(String),
}

impl Refused {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Checkpoint(_) => "import-checkpoint",
            Self::Older { .. } => "import-older",
            Self::OtherHistory { .. } => "import-other-history",
            Self::NotSound { .. } => "import-not-sound",
            Self::Unreadable(_) => "import-unreadable",
            Self::Changed(_) => "import-changed",
            Self::HotDamaged(_) => "import-hot-damaged",
            Self::DoesNotStart(_) => "import-does-not-start",
        }
    }
}

/// What was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Leaves that the log has now.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// Leaves that it had before; `None` for a log that had no hot state.
    pub had: Option<u64>,
    /// What was verified.
    pub counts: Counts,
}

/// Imports `from`, an export or a mirror with its checkpoint, into the data directory `dir`,
/// on which no server may run.
///
/// # Errors
/// [`Refused`] as [`Error::Import`], with nothing changed; or what opening and writing says,
/// upon which the import can be begun again.
pub fn import(from: &Path, dir: &Path, options: &Options) -> Result<Imported, Error> {
    let data = DataDir::open(dir)?;
    let (layout, origin) = (&data.layout, &data.origin);
    let keys = layout.keys()?;
    let path = from.join("checkpoint");
    let note =
        fs::read(&path).map_err(|e| Refused::Checkpoint(format!("{}: {e}", path.display())))?;
    let note = String::from_utf8(note).map_err(|e| Refused::Checkpoint(e.to_string()))?;
    let checkpoint = keys
        .verify(&note)
        .map_err(|e| Refused::Checkpoint(e.to_string()))?;
    let head = standing(layout, options)?;
    let blobs = FileBlobs::new(&layout.public());
    // Also where the hot state is lost: a bundle that stands was committed, and signed.
    let next = checkpoint.size / u64::from(TILE_WIDTH);
    let bundle = EntryTile {
        index: next,
        width: TILE_WIDTH,
    };
    let stands = blobs.get(&bundle.path())?.is_some();
    let filed = if stands {
        (next + 1) * u64::from(TILE_WIDTH)
    } else {
        0
    };
    let has = head.as_ref().map_or(0, |h| h.size).max(filed);
    if has > checkpoint.size {
        return Err(Refused::Older {
            has,
            offered: checkpoint.size,
        }
        .into());
    }
    let mut copying = Copying::new(options.progress, checkpoint.size);
    let (fold, counts) = verified(
        from,
        origin,
        &checkpoint,
        head.as_ref(),
        options,
        &mut copying,
    )?;
    // Blobs that are ahead of the hot state forbid signing, so they come after what may still
    // be refused.
    copying::state(
        from,
        layout,
        head.is_none(),
        origin,
        &layout.read_marker()?.all_vkeys(),
    )?;
    copying.blobs(from, &blobs)?;
    if head.as_ref().is_none_or(|h| h.size < checkpoint.size) {
        commit(layout, head.as_ref(), &checkpoint, note, fold, copying)?;
    }
    starts(layout, origin, &keys, &checkpoint)?;
    Ok(Imported {
        size: checkpoint.size,
        root: checkpoint.root,
        had: head.map(|h| h.size),
        counts,
    })
}

/// Where the log stands that is in the data directory, if one does.
fn standing(layout: &Layout, options: &Options) -> Result<Option<Head>, Error> {
    let dir = layout.private().join("hot");
    if !dir.exists() {
        return Ok(None);
    }
    match check::head_of(&dir, options) {
        Ok(head) => Ok(head),
        Err(check::store::Unread::Failed(e)) => Err(e),
        Err(check::store::Unread::Other(_)) => Ok(None),
        Err(check::store::Unread::Damaged(why)) => Err(Refused::HotDamaged(why).into()),
    }
}

/// Walks all of what is to be imported. The digest of the folded state at its end.
fn verified(
    from: &Path,
    origin: &str,
    checkpoint: &Checkpoint,
    head: Option<&Head>,
    options: &Options,
    copying: &mut Copying,
) -> Result<(Hash, Counts), Error> {
    let plan = Plan {
        origin: origin.to_owned(),
        size: checkpoint.size,
        signed_below: 0,
        marks: head.iter().map(|h| h.size).collect(),
        workers: options.workers,
        unreadable_counts: false,
        released: None,
        plain: false,
    };
    let source = check::TileDir::new(from);
    let walked = walk(&source, &plan, copying).map_err(|e| Refused::Unreadable(e.to_string()))?;
    copying.ended();
    if let Some(first) = copying.heard.findings.first() {
        return Err(Refused::NotSound {
            found: copying.heard.found,
            first: first.clone(),
        }
        .into());
    }
    if !walked.whole || !walked.folded || walked.edge.root() != checkpoint.root {
        let what = "its entries do not give the root in its checkpoint";
        return Err(Refused::Checkpoint(what.into()).into());
    }
    if let Some(head) = head {
        let same = |m: &ledger::walk::Mark| m.root == head.root && m.fold == head.fold;
        let mark = walked.marks.iter().find(|m| m.size == head.size);
        if !mark.is_some_and(same) {
            let what = format!(
                "at {} leaves, where this log stands, its tree or its ledger state is another",
                head.size
            );
            return Err(Refused::OtherHistory { what }.into());
        }
    }
    Ok((walked.fold.digest(), walked.counts))
}

/// The step that decides: from here on the log stands where the import does.
fn commit(
    layout: &Layout,
    head: Option<&Head>,
    checkpoint: &Checkpoint,
    note: String,
    fold: Hash,
    copying: Copying,
) -> Result<(), Error> {
    let first = checkpoint.size - checkpoint.size % u64::from(TILE_WIDTH);
    let batch = HotBatch {
        head: Head {
            epoch: head.map_or(0, |h| h.epoch),
            size: checkpoint.size,
            root: checkpoint.root,
            fold,
            checkpoint: note,
        },
        entries: (first..).zip(copying.tail()?).collect(),
        drop_below: first,
    };
    let hot = SledHot::open(&layout.private().join("hot"))?;
    Ok(hot.commit(head, &batch)?)
}

/// The recovery that every start begins with, so that it is known to pass. The index catches
/// up in it.
fn starts(
    layout: &Layout,
    origin: &str,
    keys: &LogKeys,
    checkpoint: &Checkpoint,
) -> Result<(), Error> {
    let recovered = crate::recover::recover(layout, origin, keys, None).map_err(Error::at_start)?;
    if let Some(why) = recovered.read_only {
        return Err(Refused::DoesNotStart(why).into());
    }
    if recovered.head.size != checkpoint.size {
        let what = format!("it stands at {} leaves", recovered.head.size);
        return Err(Refused::DoesNotStart(what).into());
    }
    Ok(())
}
