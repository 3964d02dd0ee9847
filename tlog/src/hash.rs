//! The Merkle tree's hash functions (RFC 9162 section 2.1.1, the same as RFC 6962 section 2.1).
//!
//! - A leaf is `SHA-256(0x00 || entry)`.
//! - An inner node is `SHA-256(0x01 || left || right)`.
//! - The root of an empty tree is `SHA-256("")`, [`EMPTY_ROOT`].
//!
//! The prefix bytes keep a leaf from being passed off as a node. The prefix tree
//! ([`crate::prefix`]) uses 0x02 and 0x03, so that no hash of one tree means anything in the other.
//!
//! `Rfc6962` teaches these rules to `rs_merkle`, which builds roots and proofs inside one
//! 256-wide tile. It is never asked to verify: its verifier accepts surplus hashes, so proofs are
//! checked in [`crate::proof`].

use sha2::{Digest, Sha256};

use crate::Hash;

/// Root of a tree without leaves: SHA-256 of the empty string.
pub const EMPTY_ROOT: Hash = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// SHA-256 of `data`, without any prefix.
#[must_use]
pub fn sha256(data: &[u8]) -> Hash {
    Sha256::digest(data).into()
}

/// Hash of a leaf, from the entry's bytes as they are logged.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Sha256::new()
        .chain_update([0x00])
        .chain_update(entry)
        .finalize()
        .into()
}

/// Hash of an inner node, from its two children.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new()
        .chain_update([0x01])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

/// RFC 6962 for `rs_merkle`: domain prefixes, and a lone left node is promoted unchanged.
#[derive(Clone)]
pub(crate) struct Rfc6962;

impl rs_merkle::Hasher for Rfc6962 {
    type Hash = Hash;

    fn hash(data: &[u8]) -> Hash {
        leaf_hash(data)
    }

    fn concat_and_hash(left: &Hash, right: Option<&Hash>) -> Hash {
        right.map_or(*left, |right| node_hash(left, right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_root_is_the_hash_of_nothing() {
        assert_eq!(EMPTY_ROOT, sha256(b""));
    }

    #[test]
    fn leaf_and_node_have_their_own_domains() {
        let (left, right) = ([1; 32], [2; 32]);
        let joined = [left, right].concat();
        assert_ne!(node_hash(&left, &right), leaf_hash(&joined));
        assert_ne!(node_hash(&left, &right), sha256(&joined));
        assert_ne!(node_hash(&left, &right), node_hash(&right, &left));
        assert_eq!(leaf_hash(b""), sha256(&[0]));
    }
}
