//! Everything that a witness ever cosigned of one log: one history, or it has failed.

use super::played::Played;
use std::collections::BTreeMap;
use std::sync::Arc;
use tlog::Hash;
use tlog::note::{Note, NoteSignature};
use tlog::vkey::VerifierKey;

/// A checkpoint that was cosigned.
#[derive(Clone)]
struct Link {
    root: Hash,
    /// A history of the log that has this root.
    history: Arc<Played>,
    first: u64,
    last: u64,
}

/// What was cosigned, by size. Each two are consistent if each is with its neighbours: what
/// the smaller is a prefix of, is a prefix of what the larger is one of.
#[derive(Clone, Default)]
pub struct Chain {
    links: BTreeMap<u64, Link>,
    cosignatures: u64,
}

impl Chain {
    /// The largest size.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.links.keys().next_back().copied().unwrap_or(0)
    }

    /// A history that has all of it.
    #[must_use]
    pub fn history(&self) -> Option<Arc<Played>> {
        let last = self.links.values().next_back()?;
        Some(Arc::clone(&last.history))
    }

    /// How many cosignatures there were.
    #[must_use]
    pub fn cosignatures(&self) -> u64 {
        self.cosignatures
    }

    /// Takes in that the checkpoint of `history` at `size` was cosigned by `lines`.
    ///
    /// # Errors
    /// A sentence: it is not cosigned; or, beginning with `inconsistent`, what else was cosigned
    /// contradicts it.
    pub fn take(
        &mut self,
        witness: &VerifierKey,
        history: &Arc<Played>,
        size: u64,
        lines: Vec<NoteSignature>,
    ) -> Result<(), String> {
        let note = Note {
            text: history.note(size).text,
            signatures: lines,
        };
        let signed = note.verify(std::slice::from_ref(witness));
        let signed = signed.map_err(|e| format!("no cosignature at {size}: {e}"))?;
        let time = signed.first().and_then(|s| s.timestamp);
        let time = time
            .filter(|t| *t > 0)
            .ok_or("a cosignature without a time")?;
        self.cosignatures += 1;
        let root = history.root(size);
        let bad = |what: String| Err(format!("inconsistent: {}: {what}", history.origin));
        if let Some((below, link)) = self.links.range(..size).next_back() {
            if history.root(*below) != link.root {
                return bad(format!("{size} does not extend {below}, cosigned before"));
            }
            if time < link.last {
                return bad(format!(
                    "{size} is cosigned at {time}, {below} at {}",
                    link.last
                ));
            }
        }
        if let Some((above, link)) = self.links.range(size + 1..).next() {
            if link.history.root(size) != root {
                return bad(format!("{above} does not extend {size}"));
            }
            if time > link.first {
                return bad(format!(
                    "{size} is cosigned at {time}, {above} at {}",
                    link.first
                ));
            }
        }
        match self.links.get_mut(&size) {
            Some(link) if link.root != root => bad(format!("two roots of size {size}")),
            Some(link) => {
                link.first = link.first.min(time);
                link.last = link.last.max(time);
                Ok(())
            }
            None => {
                let link = Link {
                    root,
                    history: Arc::clone(history),
                    first: time,
                    last: time,
                };
                self.links.insert(size, link);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keys::Ed25519Secret;
    use tlog::cosignature::{encode, message};

    #[test]
    fn what_contradicts_is_found_whichever_came_first() {
        let failed = |e: String| -> Chain { panic!("{e}") };
        let key = Ed25519Secret::generate().unwrap_or_else(|e| panic!("{e}"));
        let witness = VerifierKey::cosignature("w", &key.public_bytes());
        let witness = witness.unwrap_or_else(|e| panic!("{e}"));
        let mut log = Played::new("log.example", false).unwrap_or_else(|e| panic!("{e}"));
        log.grow(20, 0);
        let (log, fork) = (Arc::new(log.clone()), Arc::new(log.fork(7, 1)));
        let take = |mut chain: Chain, history: &Arc<Played>, size, time| {
            let text = history.note(size).text;
            let signature = encode(time, &key.sign(&message(time, &text)));
            let line = NoteSignature::by(&witness, signature);
            let taken = chain.take(&witness, history, size, vec![line]);
            taken.map(|()| chain)
        };
        let base = take(Chain::default(), &log, 5, 10).unwrap_or_else(failed);
        let base = take(base, &log, 9, 12).unwrap_or_else(failed);
        for (history, size, time, good) in [
            (&log, 9, 13, true),
            (&log, 7, 11, true),
            (&fork, 7, 11, true),
            (&log, 20, 12, true),
            (&fork, 9, 12, false),
            (&fork, 8, 12, false),
            (&fork, 20, 12, false),
            (&log, 20, 11, false),
            (&log, 7, 13, false),
            (&log, 3, 11, false),
            (&log, 3, 0, false),
        ] {
            let taken = take(base.clone(), history, size, time);
            assert_eq!(taken.is_ok(), good, "{size} at {time}");
        }
    }
}
