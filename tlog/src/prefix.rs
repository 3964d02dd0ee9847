//! The prefix tree: proofs that a key has a value, or has none (`docs/formats.md`, "Ledger map").
//!
//! A binary tree over 32-byte keys, read from the most significant bit of the first byte. 0 goes
//! left, 1 goes right. Its hashes:
//!
//! - a subtree without keys is 32 zero bytes;
//! - a subtree with exactly one key is a leaf, `SHA-256(0x02 || key || value)`, which stands at the
//!   shallowest depth where the key is alone;
//! - any other subtree is `SHA-256(0x03 || left || right)`.
//!
//! So the tree, and its root, depend on the keys and values only, not on how it came about.
//!
//! A proof for key k at depth d is the d siblings along k's path, from the bottom up, and what
//! stands at the path's end: k's own leaf (present), nothing (absent), or the leaf of another key
//! that shares k's first d bits (absent, as k would have pushed it deeper). The verifier checks
//! those bits, d of at most 256, and the root. For one root there is one answer a key, whoever
//! built the tree: each hash opens to one kind of node, and k fixes the path. That the tree holds
//! the *right* values is for auditors, who recompute it.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::Hash;

/// Hash of a subtree without keys, and the root of the empty tree.
pub const EMPTY: Hash = [0; 32];

/// Bits in a key: no path is longer.
pub const MAX_DEPTH: usize = 256;

/// Hash of a leaf.
#[must_use]
pub fn leaf_hash(key: &Hash, value: &Hash) -> Hash {
    hash(0x02, key, value)
}

/// Hash of an inner node.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    hash(0x03, left, right)
}

fn hash(domain: u8, first: &Hash, second: &Hash) -> Hash {
    Sha256::new()
        .chain_update([domain])
        .chain_update(first)
        .chain_update(second)
        .finalize()
        .into()
}

/// Why a map proof was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrefixError {
    /// The proof has more siblings than a key has bits.
    #[error("map proof of {got} siblings is longer than {MAX_DEPTH}")]
    TooDeep {
        /// Siblings in the proof.
        got: usize,
    },
    /// The leaf at the path's end does not lie on the key's path.
    #[error(
        "map proof ends at another key's leaf that shares {got} bits with the key, expected {expected}"
    )]
    WrongPath {
        /// Bits that must be shared: the proof's depth.
        expected: usize,
        /// Bits that are shared.
        got: usize,
    },
    /// The proof computes another root.
    #[error("map root: expected {}, proof gives {}", hex::encode(.expected), hex::encode(.got))]
    RootMismatch {
        /// The root that was to be proven.
        expected: Hash,
        /// The root that the proof computes.
        got: Hash,
    },
}

impl PrefixError {
    /// Stable kebab-case name of the error.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TooDeep { .. } => "map-proof-too-deep",
            Self::WrongPath { .. } => "map-proof-wrong-path",
            Self::RootMismatch { .. } => "map-root-mismatch",
        }
    }
}

/// Proof of what one key has in a prefix tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MapProof {
    /// Key and value of the leaf at the end of the path; `None` where nothing stands there.
    pub found: Option<(Hash, Hash)>,
    /// The siblings along the path, from the bottom up.
    pub siblings: Vec<Hash>,
}

/// Verifies a proof for `key` against `root`: `Some` value where the key is present, `None` where
/// it is proven absent.
///
/// # Errors
/// Any [`PrefixError`]; then neither is proven.
pub fn verify(root: &Hash, key: &Hash, proof: &MapProof) -> Result<Option<Hash>, PrefixError> {
    let depth = proof.siblings.len();
    if depth > MAX_DEPTH {
        return Err(PrefixError::TooDeep { got: depth });
    }
    let (mut hash, value) = match &proof.found {
        None => (EMPTY, None),
        Some((found, value)) => {
            let shared = shared_bits(found, key);
            if shared < depth {
                return Err(PrefixError::WrongPath {
                    expected: depth,
                    got: shared,
                });
            }
            (leaf_hash(found, value), (found == key).then_some(*value))
        }
    };
    for (depth, sibling) in (0..depth).rev().zip(&proof.siblings) {
        hash = if bit(key, depth) {
            node_hash(sibling, &hash)
        } else {
            node_hash(&hash, sibling)
        };
    }
    if hash != *root {
        return Err(PrefixError::RootMismatch {
            expected: *root,
            got: hash,
        });
    }
    Ok(value)
}

/// Bit `depth` of a key, from the most significant one of its first byte.
fn bit(key: &Hash, depth: usize) -> bool {
    let byte = key.get(depth / 8).copied().unwrap_or(0);
    byte & (0x80 >> (depth % 8)) != 0
}

/// Leading bits that two keys share: 0 to 256.
fn shared_bits(a: &Hash, b: &Hash) -> usize {
    for (position, (a, b)) in a.iter().zip(b).enumerate() {
        let differing = a ^ b;
        if differing != 0 {
            return position * 8 + differing.leading_zeros() as usize;
        }
    }
    MAX_DEPTH
}

type Link = Option<Arc<Node>>;

#[derive(Debug, Clone)]
enum Node {
    Leaf {
        key: Hash,
        value: Hash,
        hash: Hash,
    },
    /// Two keys or more; one side may be empty where they share further bits.
    Branch {
        left: Link,
        right: Link,
        hash: Hash,
    },
}

impl Node {
    fn leaf(key: Hash, value: Hash) -> Self {
        let hash = leaf_hash(&key, &value);
        Self::Leaf { key, value, hash }
    }

    fn branch(left: Link, right: Link) -> Self {
        let hash = node_hash(&link_hash(&left), &link_hash(&right));
        Self::Branch { left, right, hash }
    }

    /// A branch with `link` on the right where its next bit is 1, and `beside` on the other side.
    fn fork(one: bool, link: Link, beside: Link) -> Self {
        if one {
            Self::branch(beside, link)
        } else {
            Self::branch(link, beside)
        }
    }

    fn hash(&self) -> Hash {
        match self {
            Self::Leaf { hash, .. } | Self::Branch { hash, .. } => *hash,
        }
    }
}

fn link_hash(link: &Link) -> Hash {
    link.as_ref().map_or(EMPTY, |node| node.hash())
}

/// A prefix tree in memory. Changing one key costs the hashes along its path, about log2 of the
/// number of keys; a clone costs nothing and shares what neither side changes.
#[derive(Debug, Clone, Default)]
pub struct PrefixTree {
    top: Link,
    len: usize,
}

impl PrefixTree {
    /// The empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The root hash; 32 zero bytes for the empty tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        link_hash(&self.top)
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &Hash) -> Option<Hash> {
        let found = self.walk(key, |_| ());
        found
            .filter(|(found, _)| found == key)
            .map(|(_, value)| value)
    }

    /// Proves what `key` has: its value, or that it has none.
    #[must_use]
    pub fn prove(&self, key: &Hash) -> MapProof {
        let mut siblings = Vec::new();
        let found = self.walk(key, |sibling| siblings.push(sibling));
        siblings.reverse();
        MapProof { found, siblings }
    }

    /// Sets the value of `key` and returns the one that it had.
    pub fn insert(&mut self, key: Hash, value: Hash) -> Option<Hash> {
        let old = insert(&mut self.top, 0, key, value);
        self.len += usize::from(old.is_none());
        old
    }

    /// Sets the values of many keys: as [`PrefixTree::insert`] of each, at the cost of hashing
    /// what their paths share only once.
    pub fn extend(&mut self, values: impl IntoIterator<Item = (Hash, Hash)>) {
        let mut values: Vec<(Hash, Hash)> = values.into_iter().collect();
        // Of a key that comes twice the last value counts: the sort keeps their order, and what
        // is dropped is the earlier.
        values.sort_by_key(|(key, _)| *key);
        values.reverse();
        values.dedup_by_key(|(key, _)| *key);
        values.reverse();
        self.top = merge(self.top.take(), 0, &values, &mut self.len);
    }

    /// Removes `key` and returns the value that it had. The tree is then as if the key had never
    /// been there.
    pub fn remove(&mut self, key: &Hash) -> Option<Hash> {
        // Looked up first, so that an absent key rebuilds nothing.
        let old = self.get(key)?;
        self.top = remove(self.top.take(), 0, key);
        self.len -= 1;
        Some(old)
    }

    /// Goes down the path of `key`, telling each sibling, to the leaf at its end.
    fn walk(&self, key: &Hash, mut sibling: impl FnMut(Hash)) -> Option<(Hash, Hash)> {
        let mut link = &self.top;
        let mut depth = 0;
        loop {
            match link.as_deref() {
                None => return None,
                Some(Node::Leaf { key, value, .. }) => return Some((*key, *value)),
                Some(Node::Branch { left, right, .. }) => {
                    let (next, other) = if bit(key, depth) {
                        (right, left)
                    } else {
                        (left, right)
                    };
                    sibling(link_hash(other));
                    link = next;
                    depth += 1;
                }
            }
        }
    }
}

/// Sets `key` in the subtree at `depth`, and returns the value that it replaces. Nodes that no
/// other tree shares are changed where they are.
fn insert(link: &mut Link, depth: usize, key: Hash, value: Hash) -> Option<Hash> {
    let Some(node) = link else {
        *link = Some(Arc::new(Node::leaf(key, value)));
        return None;
    };
    let node = Arc::make_mut(node);
    match node {
        Node::Leaf {
            key: other,
            value: old,
            ..
        } => {
            let (other, old) = (*other, *old);
            let leaf = Node::leaf(key, value);
            if other == key {
                *node = leaf;
                return Some(old);
            }
            // Both leaves go just below the last bit that they share, under a chain of branches.
            let fork = shared_bits(&other, &key);
            let beside = Some(Arc::new(Node::leaf(other, old)));
            let mut top = Node::fork(bit(&key, fork), Some(Arc::new(leaf)), beside);
            for depth in (depth..fork).rev() {
                top = Node::fork(bit(&key, depth), Some(Arc::new(top)), None);
            }
            *node = top;
            None
        }
        Node::Branch { left, right, hash } => {
            let side = if bit(&key, depth) {
                &mut *right
            } else {
                &mut *left
            };
            let old = insert(side, depth + 1, key, value);
            *hash = node_hash(&link_hash(left), &link_hash(right));
            old
        }
    }
}

/// The subtree at `depth` with these values set, whose keys are sorted, each there once; `len`
/// grows by those that are new.
fn merge(mut link: Link, depth: usize, values: &[(Hash, Hash)], len: &mut usize) -> Link {
    let (left, right) = match values {
        [] => return link,
        [(key, value)] => {
            let old = insert(&mut link, depth, *key, *value);
            *len += usize::from(old.is_none());
            return link;
        }
        _ => match link.map(Arc::unwrap_or_clone) {
            None => (None, None),
            Some(Node::Branch { left, right, .. }) => (left, right),
            // The two or more below push it deeper, on its own side.
            Some(leaf @ Node::Leaf { key, .. }) => {
                let leaf = Some(Arc::new(leaf));
                if bit(&key, depth) {
                    (None, leaf)
                } else {
                    (leaf, None)
                }
            }
        },
    };
    let (zeros, ones) = values.split_at(values.partition_point(|(key, _)| !bit(key, depth)));
    let left = merge(left, depth + 1, zeros, len);
    let right = merge(right, depth + 1, ones, len);
    Some(Arc::new(Node::branch(left, right)))
}

/// The subtree at `depth` without `key`, which it holds.
fn remove(link: Link, depth: usize, key: &Hash) -> Link {
    let node = link?;
    match Arc::unwrap_or_clone(node) {
        Node::Leaf { .. } => None,
        Node::Branch { left, right, .. } => {
            let (left, right) = if bit(key, depth) {
                (left, remove(right, depth + 1, key))
            } else {
                (remove(left, depth + 1, key), right)
            };
            match (left.as_deref(), right.as_deref()) {
                // A leaf left alone rises; a branch holds two keys and stays.
                (Some(Node::Leaf { .. }), None) => left,
                (None, Some(Node::Leaf { .. })) => right,
                _ => Some(Arc::new(Node::branch(left, right))),
            }
        }
    }
}
