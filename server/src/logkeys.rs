//! The log's keys: a pair of P-256 and Ed25519, in `private/`; two pairs while they are
//! rotated. They sign checkpoints and nothing else (docs/formats.md, "Signed note and
//! checkpoint"). They are stored without a passphrase, since a server starts without a person:
//! the directory's mode protects them. `log.json` says which pairs sign.

use crate::datadir::Marker;
use crate::error::Error;
use keys::file::{AnySecret, Passphrase, read_secret, write_secret};
use keys::{Ed25519Secret, SecretKey, Signer as _};
use std::collections::BTreeSet;
use std::path::Path;
use tlog::Hash;
use tlog::checkpoint::Checkpoint;
use tlog::note::{Note, NoteSignature};
use tlog::vkey::VerifierKey;
use zeroize::Zeroizing;

/// How many keys sign together: one of each kind.
pub const PAIR: usize = 2;

/// One P-256 and one Ed25519 key.
struct Pair {
    p256: SecretKey,
    ed25519: Ed25519Secret,
    verifiers: [VerifierKey; PAIR],
}

/// The log's keys: one pair, or two while its keys are rotated (`rotation`).
pub struct LogKeys {
    origin: String,
    /// The current one first.
    pairs: Vec<Pair>,
    verifiers: Vec<VerifierKey>,
}

fn failed(e: impl std::fmt::Display) -> Error {
    Error::Keys(e.to_string())
}

/// The names of the files of the pair with this number, the first one being 1.
fn names(number: u64) -> [String; PAIR] {
    match number {
        0 | 1 => ["log-p256.pem".to_owned(), "log-ed25519.pem".to_owned()],
        n => [format!("log-p256-{n}.pem"), format!("log-ed25519-{n}.pem")],
    }
}

impl Pair {
    fn read(private: &Path, origin: &str, number: u64) -> Result<Self, Error> {
        let read = |name: &str| {
            let path = private.join(name);
            if !path.exists() {
                let dir = private.display().to_string();
                return Err(Error::HalfWritten {
                    dir,
                    what: format!("the log key {name} is missing"),
                });
            }
            read_secret(&path, &Passphrase::None).map_err(failed)
        };
        let [p256, ed25519] = names(number);
        let (AnySecret::P256(p256), AnySecret::Ed25519(ed25519)) = (read(&p256)?, read(&ed25519)?)
        else {
            return Err(failed("a key file holds a key of another kind"));
        };
        let verifiers = [
            VerifierKey::p256(origin, p256.public_key().spki_der()).map_err(failed)?,
            VerifierKey::ed25519(origin, &ed25519.public_bytes()).map_err(failed)?,
        ];
        Ok(Self {
            p256,
            ed25519,
            verifiers,
        })
    }
}

/// Makes what is missing of the pair with this number; what stands is never overwritten.
fn make(private: &Path, number: u64) -> Result<(), Error> {
    let [p256, ed25519] = names(number).map(|name| private.join(name));
    if !p256.exists() {
        let key = AnySecret::P256(SecretKey::generate().map_err(failed)?);
        write_secret(&p256, &key, &Passphrase::None).map_err(failed)?;
    }
    if !ed25519.exists() {
        let key = AnySecret::Ed25519(Ed25519Secret::generate().map_err(failed)?);
        write_secret(&ed25519, &key, &Passphrase::None).map_err(failed)?;
    }
    Ok(())
}

impl LogKeys {
    /// The names of the key files in `private/`.
    #[must_use]
    pub fn files(marker: &Marker) -> Vec<String> {
        marker.pairs().into_iter().flat_map(names).collect()
    }

    /// Makes the keys of a new log in `private`.
    ///
    /// # Errors
    /// [`Error::Keys`]; also where key files stand.
    pub fn generate(private: &Path, origin: &str) -> Result<Self, Error> {
        if let Some(name) = names(1).iter().find(|name| private.join(name).exists()) {
            return Err(failed(format!("{name} exists already")));
        }
        make(private, 1)?;
        Self::of(origin, vec![Pair::read(private, origin, 1)?])
    }

    /// The same keys, and a further pair with this number before them, in `private`. Of one
    /// whose making did not finish, what is whole is taken: nothing was ever signed with it.
    ///
    /// # Errors
    /// [`Error::Keys`], also where a file of it stands that is no key.
    pub(crate) fn and_a_new_pair(self, private: &Path, number: u64) -> Result<Self, Error> {
        make(private, number)?;
        let pair = Pair::read(private, &self.origin, number).map_err(|e| {
            failed(format!(
                "{e}; a rotation that did not finish left it: no log.json names it, so nothing was signed with it. Move private/{} and private/{} away, and rotate again",
                names(number)[0], names(number)[1]
            ))
        })?;
        let mut pairs = vec![pair];
        pairs.extend(self.pairs);
        Self::of(&self.origin, pairs)
    }

    /// Only the current pair.
    ///
    /// # Errors
    /// [`Error::Keys`].
    pub(crate) fn current_only(mut self) -> Result<Self, Error> {
        self.pairs.truncate(1);
        Self::of(&self.origin, self.pairs)
    }

    fn of(origin: &str, pairs: Vec<Pair>) -> Result<Self, Error> {
        let verifiers: Vec<VerifierKey> = pairs.iter().flat_map(|p| p.verifiers.clone()).collect();
        if verifiers.is_empty() {
            return Err(failed("there is none"));
        }
        Ok(Self {
            origin: origin.to_owned(),
            pairs,
            verifiers,
        })
    }

    /// Reads the keys in `private` that sign by what `marker` says.
    ///
    /// # Errors
    /// [`Error::Keys`], also where somebody else could read a key, or where keys that were
    /// rotated are others than the marker lists: they may not have signed anything yet, so no
    /// checkpoint would tell.
    pub fn load(private: &Path, marker: &Marker) -> Result<Self, Error> {
        let origin = &marker.origin;
        let pairs = marker.pairs().into_iter();
        let pairs = pairs.map(|number| Pair::read(private, origin, number));
        let keys = Self::of(origin, pairs.collect::<Result<_, _>>()?)?;
        if marker.rotation.is_some() && marker.vkeys.as_ref() != Some(&keys.vkeys()) {
            return Err(failed(
                "the keys in private/ are others than the vkeys that log.json lists: put the right files back",
            ));
        }
        Ok(keys)
    }

    /// Whether each key file in `private` is exactly as it was written: bytes of it that say
    /// nothing when it is read could be flipped, and nobody would see.
    #[must_use]
    pub fn as_written(private: &Path, marker: &Marker) -> Vec<(String, bool)> {
        let written = |name: &str| {
            let path = private.join(name);
            let file = Zeroizing::new(std::fs::read_to_string(&path).ok()?);
            let der = match read_secret(&path, &Passphrase::None).ok()? {
                AnySecret::P256(key) => key.to_pkcs8_der().ok()?,
                AnySecret::Ed25519(key) => key.to_pkcs8_der(),
            };
            let text = Zeroizing::new(ledger::b64(&der));
            // Room for all of it at once: a string that grew would leave copies behind.
            let mut pem = Zeroizing::new(String::with_capacity(file.len() + 128));
            pem.push_str("-----BEGIN PRIVATE KEY-----\n");
            let mut rest = text.as_str();
            while !rest.is_empty() {
                let (line, more) = rest.split_at(rest.len().min(64));
                pem.push_str(line);
                pem.push('\n');
                rest = more;
            }
            pem.push_str("-----END PRIVATE KEY-----\n");
            (*pem == *file).then_some(())
        };
        let all = Self::files(marker).into_iter();
        all.map(|name| {
            let sound = written(&name).is_some();
            (name, sound)
        })
        .collect()
    }

    /// The verifier keys.
    #[must_use]
    pub fn verifiers(&self) -> &[VerifierKey] {
        &self.verifiers
    }

    /// The vkeys as text, pair by pair, the current one first.
    #[must_use]
    pub fn vkeys(&self) -> Vec<String> {
        self.verifiers.iter().map(ToString::to_string).collect()
    }

    /// Signs the checkpoint of a tree with both keys of every pair.
    ///
    /// # Errors
    /// [`Error::Keys`].
    pub fn sign(&self, size: u64, root: Hash) -> Result<String, Error> {
        let text = Checkpoint {
            origin: self.origin.clone(),
            size,
            root,
            extensions: Vec::new(),
        }
        .to_text();
        let mut signatures = Vec::new();
        for pair in &self.pairs {
            let [p256, ed25519] = &pair.verifiers;
            let by_p256 = pair.p256.sign(text.as_bytes()).map_err(failed)?;
            let by_ed25519 = pair.ed25519.sign(text.as_bytes()).to_vec();
            signatures.push(NoteSignature::by(p256, by_p256));
            signatures.push(NoteSignature::by(ed25519, by_ed25519));
        }
        String::from_utf8(Note { text, signatures }.to_bytes()).map_err(failed)
    }

    /// Whether exactly these keys have signed, of all that have this log's name. One that
    /// was signed before its keys changed is signed anew at the next start.
    #[must_use]
    pub fn signed_by_all(&self, note: &str) -> bool {
        let Ok(note) = Note::parse(note.as_bytes()) else {
            return false;
        };
        let signed: BTreeSet<[u8; 4]> = (note.signatures.iter())
            .filter(|s| s.name == self.origin)
            .map(|s| s.key_id)
            .collect();
        signed == self.verifiers.iter().map(VerifierKey::key_id).collect()
    }

    /// Reads a checkpoint that this log signed: both keys of one pair at least, no key
    /// wrongly, this origin. While keys are rotated the old pair alone may have signed it.
    ///
    /// # Errors
    /// [`Error::Keys`] saying what differs.
    pub fn verify(&self, note: &str) -> Result<Checkpoint, Error> {
        let note = Note::parse(note.as_bytes()).map_err(failed)?;
        let verified = note.verify(&self.verifiers).map_err(failed)?;
        let signed = |at: usize| verified.iter().any(|v| v.key == at);
        let whole = |pair: usize| (0..PAIR).all(|key| signed(pair * PAIR + key));
        if !(0..self.pairs.len()).any(whole) {
            return Err(failed("the last checkpoint is not signed by both log keys"));
        }
        let checkpoint = Checkpoint::parse(&note.text).map_err(failed)?;
        if checkpoint.origin != self.origin {
            return Err(failed(format!(
                "the last checkpoint is of {:?}, not {:?}",
                checkpoint.origin, self.origin
            )));
        }
        Ok(checkpoint)
    }
}

/// Removes the files of all pairs before the one with this number, durably. Gives whether there
/// were any.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn remove_before(private: &Path, number: u64) -> Result<bool, Error> {
    let mut any = false;
    for name in (1..number).flat_map(names) {
        let path = private.join(name);
        match std::fs::remove_file(&path) {
            Ok(()) => any = true,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io(&path, &e)),
        }
    }
    crate::store::sync_dir(private)?;
    Ok(any)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    /// The keys of a new log in a directory of its own, and a second pair beside them.
    fn rotated() -> (tempfile::TempDir, LogKeys, LogKeys) {
        let dir = tempfile::tempdir().unwrap();
        let old = LogKeys::generate(dir.path(), "log.test").unwrap();
        let again = Pair::read(dir.path(), "log.test", 1).unwrap();
        let both = LogKeys::of("log.test", vec![again]).unwrap();
        let both = both.and_a_new_pair(dir.path(), 2).unwrap();
        (dir, old, both)
    }

    #[test]
    fn one_whole_pair_must_have_signed_and_no_key_wrongly() {
        let (_dir, old, both) = rotated();
        assert_eq!(both.vkeys()[PAIR..], old.vkeys());
        let by_old = old.sign(7, [1; 32]).unwrap();
        let by_both = both.sign(7, [1; 32]).unwrap();
        assert_eq!(both.verify(&by_old).unwrap().size, 7);
        assert_eq!(both.verify(&by_both).unwrap().size, 7);
        assert_eq!(old.verify(&by_both).unwrap().size, 7);
        assert!(!both.signed_by_all(&by_old) && both.signed_by_all(&by_both));
        assert!(old.signed_by_all(&by_old) && !old.signed_by_all(&by_both));

        // The P-256 key of one pair and the Ed25519 key of the other are no pair.
        let note = Note::parse(by_both.as_bytes()).unwrap();
        let with = |picks: &[usize]| {
            let picked = picks.iter().map(|at| note.signatures[*at].clone());
            let signatures = picked.collect();
            let text = note.text.clone();
            String::from_utf8(Note { text, signatures }.to_bytes()).unwrap()
        };
        for picks in [&[0, 3][..], &[2, 1], &[0], &[3]] {
            assert!(both.verify(&with(picks)).is_err(), "{picks:?}");
        }
        for picks in [&[0, 1][..], &[2, 3], &[0, 1, 2]] {
            assert!(both.verify(&with(picks)).is_ok(), "{picks:?}");
        }
        // Strange keys, and a signature over another tree.
        let (_other, strange, _) = rotated();
        assert!(both.verify(&strange.sign(7, [1; 32]).unwrap()).is_err());
        let mut wrong = Note::parse(by_old.as_bytes()).unwrap();
        let other = Note::parse(both.sign(8, [1; 32]).unwrap().as_bytes()).unwrap();
        wrong.signatures.push(other.signatures[0].clone());
        let wrong = String::from_utf8(wrong.to_bytes()).unwrap();
        assert!(both.verify(&wrong).is_err());
        assert!(both.current_only().unwrap().verify(&by_old).is_err());
    }
}
