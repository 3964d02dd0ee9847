//! Strict verification of Merkle proofs (RFC 9162 sections 2.1.3.2 and 2.1.4.2).
//!
//! Both proofs are lists of node hashes, the one nearest the leaves first.
//!
//! - An *inclusion proof* shows that a leaf hash stands at `index` in the tree of `size` leaves
//!   with this root. Walking up from the leaf, each hash is the sibling on the left or the right
//!   as the index's bits say; nodes without a sibling at the ragged right edge are passed over.
//! - A *consistency proof* shows that the tree of `old_size` leaves is a prefix of the tree of
//!   `new_size` leaves. One walk computes both roots. When `old_size` is a power of two the old
//!   root is itself the first hash, and the proof leaves it out.
//!
//! Strict means that a proof is exactly as long as the algorithm consumes: a surplus or missing
//! hash fails even when the roots would match, so one statement has one proof. Two cases that RFC
//! 9162 leaves to the caller are fixed here: equal sizes need equal roots and an empty proof, and
//! `old_size` 0 needs the empty tree's root and an empty proof (as c2sp.org/tlog-witness asks).

use crate::Hash;
use crate::hash::{EMPTY_ROOT, node_hash};

/// Why a Merkle proof was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The leaf index is not below the tree size.
    #[error("leaf index {index} is not in a tree of {size} leaves")]
    IndexOutOfRange {
        /// The index asked for.
        index: u64,
        /// The tree's size in leaves.
        size: u64,
    },
    /// The older tree is larger than the newer one.
    #[error("old size {old} is larger than new size {new}")]
    SizesReversed {
        /// The older tree's size in leaves.
        old: u64,
        /// The newer tree's size in leaves.
        new: u64,
    },
    /// The proof has fewer hashes than these sizes need.
    #[error("proof of {got} hashes is too short")]
    TooShort {
        /// Hashes in the proof.
        got: usize,
    },
    /// The proof has more hashes than these sizes need.
    #[error("proof of {got} hashes is too long")]
    TooLong {
        /// Hashes in the proof.
        got: usize,
    },
    /// The walk ended at another root.
    #[error("root: expected {}, proof gives {}", hex::encode(.expected), hex::encode(.got))]
    RootMismatch {
        /// The root that was to be proven.
        expected: Hash,
        /// The root that the proof computes.
        got: Hash,
    },
    /// The walk of a consistency proof ended at another old root.
    #[error("old root: expected {}, proof gives {}", hex::encode(.expected), hex::encode(.got))]
    OldRootMismatch {
        /// The old root that was to be proven.
        expected: Hash,
        /// The old root that the proof computes.
        got: Hash,
    },
}

impl ProofError {
    /// Stable kebab-case name of the error.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::IndexOutOfRange { .. } => "index-out-of-range",
            Self::SizesReversed { .. } => "sizes-reversed",
            Self::TooShort { .. } => "proof-too-short",
            Self::TooLong { .. } => "proof-too-long",
            Self::RootMismatch { .. } => "root-mismatch",
            Self::OldRootMismatch { .. } => "old-root-mismatch",
        }
    }
}

/// Verifies that `leaf_hash` is leaf `index` of the tree of `size` leaves with root `root`
/// (RFC 9162 section 2.1.3.2).
///
/// # Errors
/// Any [`ProofError`] but those about old trees; nothing is verified unless this returns `Ok`.
pub fn verify_inclusion(
    leaf_hash: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::IndexOutOfRange { index, size });
    }
    // `node` is the walk's position in its level, `last` the level's last position.
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf_hash;
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::TooLong { got: proof.len() });
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            skip_lone(&mut node, &mut last);
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::TooShort { got: proof.len() });
    }
    expect_root(root, hash)
}

/// Verifies that the tree of `old_size` leaves with root `old_root` is a prefix of the tree of
/// `new_size` leaves with root `new_root` (RFC 9162 section 2.1.4.2).
///
/// # Errors
/// Any [`ProofError`] but [`ProofError::IndexOutOfRange`]. An old root that differs is reported
/// before a new root that differs.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old_size > new_size {
        return Err(ProofError::SizesReversed {
            old: old_size,
            new: new_size,
        });
    }
    if old_size == 0 || old_size == new_size {
        if !proof.is_empty() {
            return Err(ProofError::TooLong { got: proof.len() });
        }
        if old_size == 0 {
            expect_old_root(old_root, EMPTY_ROOT)?;
        }
        return if old_size == new_size {
            expect_root(new_root, *old_root)
        } else {
            Ok(())
        };
    }

    let (mut node, mut last) = (old_size - 1, new_size - 1);
    // Up to the largest complete subtree that ends the old tree; below it nothing is proven.
    let shift = node.trailing_ones();
    node = node.checked_shr(shift).unwrap_or(0);
    last = last.checked_shr(shift).unwrap_or(0);

    let (start, rest) = if old_size.is_power_of_two() {
        if proof.is_empty() {
            return Err(ProofError::TooShort { got: 0 });
        }
        (*old_root, proof)
    } else {
        let (first, rest) = proof.split_first().ok_or(ProofError::TooShort { got: 0 })?;
        (*first, rest)
    };
    let (mut old_hash, mut new_hash) = (start, start);
    for sibling in rest {
        if last == 0 {
            return Err(ProofError::TooLong { got: proof.len() });
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            skip_lone(&mut node, &mut last);
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::TooShort { got: proof.len() });
    }
    expect_old_root(old_root, old_hash)?;
    expect_root(new_root, new_hash)
}

/// After joining a left sibling: while the node is a left child at the right edge it has no
/// sibling, so it stands for its parent too and no hash is consumed for it.
fn skip_lone(node: &mut u64, last: &mut u64) {
    while *node & 1 == 0 && *node != 0 {
        *node >>= 1;
        *last >>= 1;
    }
}

fn expect_root(expected: &Hash, got: Hash) -> Result<(), ProofError> {
    if *expected == got {
        return Ok(());
    }
    Err(ProofError::RootMismatch {
        expected: *expected,
        got,
    })
}

fn expect_old_root(expected: &Hash, got: Hash) -> Result<(), ProofError> {
    if *expected == got {
        return Ok(());
    }
    Err(ProofError::OldRootMismatch {
        expected: *expected,
        got,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;

    #[test]
    fn single_leaf_needs_no_hashes() {
        let leaf = leaf_hash(b"x");
        assert_eq!(verify_inclusion(&leaf, 0, 1, &[], &leaf), Ok(()));
        assert_eq!(
            verify_inclusion(&leaf, 0, 1, &[leaf], &leaf),
            Err(ProofError::TooLong { got: 1 })
        );
        assert_eq!(
            verify_inclusion(&leaf, 0, 2, &[], &leaf),
            Err(ProofError::TooShort { got: 0 })
        );
        assert_eq!(
            verify_inclusion(&leaf, 0, 0, &[], &EMPTY_ROOT),
            Err(ProofError::IndexOutOfRange { index: 0, size: 0 })
        );
    }

    #[test]
    fn old_size_zero_needs_the_empty_root_and_no_hashes() {
        let root = leaf_hash(b"x");
        assert_eq!(verify_consistency(0, &EMPTY_ROOT, 1, &root, &[]), Ok(()));
        assert_eq!(
            verify_consistency(0, &EMPTY_ROOT, 0, &EMPTY_ROOT, &[]),
            Ok(())
        );
        for (old, new, new_size, proof, kind) in [
            (root, root, 1, vec![], "old-root-mismatch"),
            (root, root, 0, vec![], "old-root-mismatch"),
            (EMPTY_ROOT, root, 0, vec![], "root-mismatch"),
            (EMPTY_ROOT, root, 1, vec![root], "proof-too-long"),
        ] {
            let error = verify_consistency(0, &old, new_size, &new, &proof);
            assert_eq!(error.map_err(|e| e.kind()), Err(kind));
        }
    }

    #[test]
    fn equal_sizes_need_equal_roots() {
        let (a, b) = (leaf_hash(b"a"), leaf_hash(b"b"));
        assert_eq!(verify_consistency(3, &a, 3, &a, &[]), Ok(()));
        assert_eq!(
            verify_consistency(3, &a, 3, &b, &[]),
            Err(ProofError::RootMismatch {
                expected: b,
                got: a
            })
        );
        assert_eq!(
            verify_consistency(4, &a, 3, &a, &[]),
            Err(ProofError::SizesReversed { old: 4, new: 3 })
        );
    }

    #[test]
    fn largest_sizes_do_not_overflow() {
        let a = leaf_hash(b"a");
        assert!(verify_inclusion(&a, u64::MAX - 1, u64::MAX, &[a; 64], &a).is_err());
        assert!(verify_consistency(u64::MAX - 1, &a, u64::MAX, &a, &[a; 64]).is_err());
        assert!(verify_consistency(1 << 63, &a, u64::MAX, &a, &[a; 64]).is_err());
    }
}
