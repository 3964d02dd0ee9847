//! A log that is played: it signs what it is told to, two histories if need be.

use keys::{Ed25519Secret, SecretKey, Signer as _};
use std::sync::Arc;
use tlog::Hash;
use tlog::checkpoint::Checkpoint;
use tlog::hash::{EMPTY_ROOT, leaf_hash};
use tlog::in_memory::InMemory;
use tlog::note::{Note, NoteSignature};
use tlog::tree::{Compact, prove_consistency};
use tlog::vkey::VerifierKey;
use tlog::witness::AddCheckpoint;

/// A log's keys.
pub struct Keys {
    ed25519: Ed25519Secret,
    p256: Option<SecretKey>,
    verifiers: Vec<VerifierKey>,
}

/// A log, or one of its histories.
#[derive(Clone)]
pub struct Played {
    /// Its origin.
    pub origin: String,
    keys: Arc<Keys>,
    leaves: Vec<Hash>,
    /// The roots at sizes from 0 to that of all leaves.
    roots: Vec<Hash>,
}

impl Played {
    /// A new log without leaves, with an Ed25519 key and perhaps a P-256 key.
    ///
    /// # Errors
    /// A sentence.
    pub fn new(origin: &str, both: bool) -> Result<Self, String> {
        let ed25519 = Ed25519Secret::generate().map_err(|e| e.to_string())?;
        let p256 = both.then(SecretKey::generate).transpose();
        let p256 = p256.map_err(|e| e.to_string())?;
        let mut verifiers = vec![VerifierKey::ed25519(origin, &ed25519.public_bytes())];
        verifiers.extend(p256.iter().map(|key| {
            let spki = key.public_key();
            VerifierKey::p256(origin, spki.spki_der())
        }));
        let verifiers = verifiers.into_iter().collect::<Result<_, _>>();
        let keys = Keys {
            ed25519,
            p256,
            verifiers: verifiers.map_err(|e| e.to_string())?,
        };
        Ok(Self {
            origin: origin.to_owned(),
            keys: Arc::new(keys),
            leaves: Vec::new(),
            roots: vec![EMPTY_ROOT],
        })
    }

    /// Its vkeys.
    #[must_use]
    pub fn vkeys(&self) -> Vec<String> {
        self.keys
            .verifiers
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// How many leaves it has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// Adds leaves that say `history`, up to `size`.
    pub fn grow(&mut self, size: u64, history: u64) {
        let mut tree = Compact::new();
        self.leaves.iter().for_each(|leaf| tree.push(*leaf));
        for index in self.size()..size {
            let leaf = leaf_hash(&[index.to_be_bytes(), history.to_be_bytes()].concat());
            tree.push(leaf);
            self.leaves.push(leaf);
            self.roots.push(tree.root());
        }
    }

    /// The same log with another history from `at` on, up to its size.
    #[must_use]
    pub fn fork(&self, at: u64, history: u64) -> Self {
        let mut other = self.clone();
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        other.leaves.truncate(at);
        other.roots.truncate(at.saturating_add(1));
        other.grow(self.size(), history);
        other
    }

    fn tree(&self, size: u64) -> InMemory {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        InMemory::new(self.leaves.get(..size).unwrap_or(&self.leaves))
    }

    /// The root of its first `size` leaves; of all where there are fewer.
    #[must_use]
    pub fn root(&self, size: u64) -> Hash {
        let at = usize::try_from(size).ok().and_then(|at| self.roots.get(at));
        at.or(self.roots.last()).copied().unwrap_or(EMPTY_ROOT)
    }

    /// The consistency proof between two of its sizes.
    #[must_use]
    pub fn proof(&self, old: u64, new: u64) -> Vec<Hash> {
        prove_consistency(old, new, &self.tree(new)).unwrap_or_default()
    }

    /// A checkpoint of any root, signed.
    #[must_use]
    pub fn signed(&self, size: u64, root: Hash, extensions: &[&str]) -> Note {
        let text = Checkpoint {
            origin: self.origin.clone(),
            size,
            root,
            extensions: extensions.iter().map(|&line| line.to_owned()).collect(),
        }
        .to_text();
        let keys = &self.keys;
        let mut signatures = Vec::new();
        let mut verifiers = keys.verifiers.iter();
        if let Some(key) = verifiers.next() {
            let signature = keys.ed25519.sign(text.as_bytes()).to_vec();
            signatures.push(NoteSignature::by(key, signature));
        }
        if let (Some(key), Some(secret)) = (verifiers.next(), &keys.p256) {
            let signature = secret.sign(text.as_bytes()).unwrap_or_default();
            signatures.push(NoteSignature::by(key, signature));
        }
        Note { text, signatures }
    }

    /// Its checkpoint at `size`.
    #[must_use]
    pub fn note(&self, size: u64) -> Note {
        self.signed(size, self.root(size), &[])
    }

    /// What it asks a witness that last cosigned `old`.
    #[must_use]
    pub fn body(&self, old: u64, size: u64) -> Vec<u8> {
        AddCheckpoint::body(old, &self.proof(old, size), &self.note(size))
    }
}
