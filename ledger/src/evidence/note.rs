//! One of the two notes of fork evidence, read more strictly than notes are in general: one
//! spelling, and no line by a key that the file does not list.

use super::{EvidenceError, Which};
use crate::Hash;
use tlog::checkpoint::Checkpoint;
use tlog::note::Note;
use tlog::vkey::{Algorithm, VerifierKey};

/// A note that holds a checkpoint; nothing of it is verified yet.
pub(super) struct Noted {
    which: Which,
    note: Note,
    /// Whether the text is how such a note is written.
    own_spelling: bool,
    pub(super) checkpoint: Checkpoint,
}

impl Noted {
    pub(super) fn parse(which: Which, text: &str) -> Result<Self, EvidenceError> {
        let bad = |why: String| EvidenceError::Note { which, why };
        let note = Note::parse(text.as_bytes()).map_err(|e| bad(e.to_string()))?;
        let checkpoint = Checkpoint::parse(&note.text).map_err(|e| bad(e.to_string()))?;
        Ok(Self {
            which,
            own_spelling: note.to_bytes() == text.as_bytes(),
            note,
            checkpoint,
        })
    }

    /// Size and root.
    pub(super) fn at(&self) -> (u64, Hash) {
        (self.checkpoint.size, self.checkpoint.root)
    }

    /// How many lines name the key.
    fn lines(&self, key: &VerifierKey) -> usize {
        let by = |s: &&tlog::note::NoteSignature| s.name == key.name() && s.key_id == key.key_id();
        self.note.signatures.iter().filter(by).count()
    }

    /// Whether a line names the key.
    pub(super) fn has(&self, key: &VerifierKey) -> bool {
        self.lines(key) > 0
    }

    /// The note with the lines of `keys` alone, one a key, and of a witness's one a time: more of
    /// them say nothing more.
    pub(super) fn only(&self, keys: &[VerifierKey]) -> String {
        let mut note = self.note.clone();
        let mut said = Vec::new();
        note.signatures.retain(|s| {
            let by = keys
                .iter()
                .find(|k| k.name() == s.name && k.key_id() == s.key_id);
            let Some(key) = by else { return false };
            let time = match key.algorithm() {
                Algorithm::CosignatureV1 => s.signature.get(..8).map(<[u8]>::to_vec),
                _ => None,
            };
            let says = (s.name.clone(), s.key_id, time);
            let new = !said.contains(&says);
            said.push(says);
            new
        });
        String::from_utf8_lossy(&note.to_bytes()).into_owned()
    }

    /// Every line is by a listed key and verifies, and every key of the log's has signed; gives
    /// the witnesses' times.
    pub(super) fn verify(
        &self,
        keys: &[VerifierKey],
        witnesses: &[VerifierKey],
    ) -> Result<Vec<(String, u64)>, EvidenceError> {
        let bad = |why: String| EvidenceError::Note {
            which: self.which,
            why,
        };
        if !self.own_spelling {
            return Err(bad(
                "its signatures are not spelled as they are written".into()
            ));
        }
        let all: Vec<VerifierKey> = keys.iter().chain(witnesses).cloned().collect();
        let lines: usize = all.iter().map(|k| self.lines(k)).sum();
        if lines != self.note.signatures.len() {
            return Err(bad("a line is by a key that is not listed".into()));
        }
        if let Some(key) = keys.iter().find(|k| !self.has(k)) {
            return Err(bad(format!("{key} is listed and has not signed it")));
        }
        let verified = self.note.verify(&all).map_err(|e| bad(e.to_string()))?;
        if verified.len() != lines {
            return Err(bad("two lines are the same key's, and say the same".into()));
        }
        let time =
            |v: &tlog::note::Verified| Some((all.get(v.key)?.name().to_owned(), v.timestamp?));
        Ok(verified.iter().filter_map(time).collect())
    }
}
