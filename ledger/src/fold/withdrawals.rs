//! What a project has withdrawn, and what of it stands (docs/formats.md, "withdrawal" and "Fold",
//! second pass).

use super::vouched::Targets;
use crate::Hash;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use tlog::prefix::PrefixTree;

/// A withdrawal that was accepted.
#[derive(Debug, Clone)]
pub(super) struct Accepted {
    pub(super) index: u64,
    pub(super) statement: Hash,
    /// What each signature needs so as to count.
    pub(super) signers: Box<[Targets]>,
    /// Of the role that signed, at its index.
    pub(super) threshold: u64,
    pub(super) what: What,
    /// Whether a compromise window has made it void.
    pub(super) void: bool,
}

/// What one withdrawal takes back.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// Keys in the tree of withdrawals.
    Keys(Box<[Hash]>),
    /// A purl prefix at its end of life.
    Prefix(String),
}

/// All withdrawals of a project. What becomes void is looked for only where a window newly
/// reaches, and each withdrawal becomes void once: so however many there are, the cost of the
/// windows stays in proportion to them.
#[derive(Debug, Clone, Default)]
pub(super) struct Withdrawals {
    /// In the order of the log.
    all: Vec<Accepted>,
    /// Key → places in `all` of the withdrawals that take it back, in order.
    keys: BTreeMap<Hash, Vec<usize>>,
    /// Prefix → the same.
    prefixes: BTreeMap<String, Vec<usize>>,
    /// Key → the first statement that takes it back and stands.
    tree: PrefixTree,
}

impl Withdrawals {
    /// Takes in one that follows all others in the log.
    pub(super) fn accept(&mut self, w: Accepted) {
        let place = self.all.len();
        match &w.what {
            What::Keys(keys) => {
                for key in keys {
                    self.keys.entry(*key).or_default().push(place);
                    // Of several the one of the lowest index stands.
                    if self.tree.get(key).is_none() {
                        self.tree.insert(*key, w.statement);
                    }
                }
            }
            What::Prefix(prefix) => {
                let places = self.prefixes.entry(prefix.clone()).or_default();
                places.push(place);
            }
        }
        self.all.push(w);
    }

    /// Asks of those at these log indexes whether they have become void.
    pub(super) fn review(&mut self, indexes: Range<u64>, is_void: impl Fn(&Accepted) -> bool) {
        let from = self.all.partition_point(|w| w.index < indexes.start);
        let until = self.all.partition_point(|w| w.index < indexes.end);
        let mut touched = BTreeSet::new();
        for w in self.all.iter_mut().take(until).skip(from) {
            if w.void || !is_void(w) {
                continue;
            }
            w.void = true;
            if let What::Keys(keys) = &w.what {
                touched.extend(keys.iter().copied());
            }
        }
        for key in touched {
            match self.keys.get(&key).and_then(|places| self.first(places)) {
                Some(statement) => self.tree.insert(key, statement),
                None => self.tree.remove(&key),
            };
        }
    }

    /// The first that stands of those at these places.
    fn first(&self, places: &[usize]) -> Option<Hash> {
        let mut those = places.iter().filter_map(|place| self.all.get(*place));
        those.find(|w| !w.void).map(|w| w.statement)
    }

    /// The tree of withdrawn releases and digests.
    pub(super) fn tree(&self) -> &PrefixTree {
        &self.tree
    }

    /// Prefixes at their end of life, and the statement that ended each.
    pub(super) fn ended(&self) -> impl Iterator<Item = (&String, Hash)> {
        let prefixes = self.prefixes.iter();
        prefixes.filter_map(|(prefix, places)| Some((prefix, self.first(places)?)))
    }
}
