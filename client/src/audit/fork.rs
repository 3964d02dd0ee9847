//! Two signed checkpoints of one log that are not of one history: what proves it to anybody, from
//! the log's own tiles.

use super::seen::Point;
use super::source::{Log, Served};
use crate::cmd::history::Against;
use ledger::Hash;
use ledger::evidence::{Between, Evidence};
use tlog::proof::verify_consistency;
use tlog::tree::{prove_consistency, root_from_tiles};

/// What two checkpoints are to each other.
pub(crate) enum Pair {
    /// The newer goes on from the older.
    OneHistory,
    /// Both were signed, and it does not.
    Fork(Box<Evidence>),
    /// The tiles that would tell were not to be had, or are not the newer's.
    Unknown,
}

/// Compares `older` with `newer`, by the tiles of the newer.
pub(crate) fn compare(
    log: &Log<'_>,
    ours: Against<'_>,
    older: &Point,
    newer: &Point,
    root: Option<Hash>,
) -> Pair {
    let (old, new) = (&older.checkpoint, &newer.checkpoint);
    if old.size == new.size {
        if old.root == new.root {
            return Pair::OneHistory;
        }
        return evidence(ours, older, newer, None);
    }
    let tiles = Served {
        log,
        size: new.size,
    };
    let root = root.or_else(|| root_from_tiles(old.size, &tiles).ok());
    let consistency = prove_consistency(old.size, new.size, &tiles).ok();
    let (Some(root), Some(consistency)) = (root, consistency) else {
        return Pair::Unknown;
    };
    let proven = verify_consistency(old.size, &old.root, new.size, &new.root, &consistency);
    if proven.is_ok() {
        return Pair::OneHistory;
    }
    evidence(ours, older, newer, Some(Between { consistency, root }))
}

fn evidence(ours: Against<'_>, older: &Point, newer: &Point, between: Option<Between>) -> Pair {
    let evidence = ours.make((&older.note, &newer.note), between);
    evidence.map_or(Pair::Unknown, |e| Pair::Fork(Box::new(e)))
}
