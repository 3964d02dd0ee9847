//! The log's two keys: P-256 and Ed25519, side by side in `private/`. They sign checkpoints
//! and nothing else (docs/formats.md, "Signed note and checkpoint"). They are stored without
//! a passphrase, since a server starts without a person: the directory's mode protects them.

use crate::error::Error;
use keys::file::{AnySecret, Passphrase, read_secret, write_secret};
use keys::{Ed25519Secret, SecretKey, Signer as _};
use std::path::Path;
use tlog::Hash;
use tlog::checkpoint::Checkpoint;
use tlog::note::{Note, NoteSignature};
use tlog::vkey::VerifierKey;
use zeroize::Zeroizing;

const P256: &str = "log-p256.pem";
const ED25519: &str = "log-ed25519.pem";

/// The log's keys.
pub struct LogKeys {
    origin: String,
    p256: SecretKey,
    ed25519: Ed25519Secret,
    verifiers: [VerifierKey; 2],
}

fn failed(e: impl std::fmt::Display) -> Error {
    Error::Keys(e.to_string())
}

impl LogKeys {
    /// The names of the key files in `private/`.
    pub const FILES: [&str; 2] = [P256, ED25519];

    /// Makes new keys in `private`.
    ///
    /// # Errors
    /// [`Error::Keys`]; key files that stand are never overwritten.
    pub fn generate(private: &Path, origin: &str) -> Result<Self, Error> {
        let p256 = AnySecret::P256(SecretKey::generate().map_err(failed)?);
        let ed25519 = AnySecret::Ed25519(Ed25519Secret::generate().map_err(failed)?);
        write_secret(&private.join(P256), &p256, &Passphrase::None).map_err(failed)?;
        write_secret(&private.join(ED25519), &ed25519, &Passphrase::None).map_err(failed)?;
        Self::load(private, origin)
    }

    /// Reads the keys in `private`.
    ///
    /// # Errors
    /// [`Error::Keys`], also where somebody else could read a key.
    pub fn load(private: &Path, origin: &str) -> Result<Self, Error> {
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
        let (AnySecret::P256(p256), AnySecret::Ed25519(ed25519)) = (read(P256)?, read(ED25519)?)
        else {
            return Err(failed("a key file holds a key of another kind"));
        };
        let verifiers = [
            VerifierKey::p256(origin, p256.public_key().spki_der()).map_err(failed)?,
            VerifierKey::ed25519(origin, &ed25519.public_bytes()).map_err(failed)?,
        ];
        Ok(Self {
            origin: origin.to_owned(),
            p256,
            ed25519,
            verifiers,
        })
    }

    /// Whether each key file in `private` is exactly as it was written: bytes of it that say
    /// nothing when it is read could be flipped, and nobody would see.
    #[must_use]
    pub fn as_written(private: &Path) -> Vec<(&'static str, bool)> {
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
        let both = Self::FILES.into_iter();
        both.map(|name| (name, written(name).is_some())).collect()
    }

    /// The verifier keys.
    #[must_use]
    pub fn verifiers(&self) -> &[VerifierKey] {
        &self.verifiers
    }

    /// The vkeys as text.
    #[must_use]
    pub fn vkeys(&self) -> Vec<String> {
        self.verifiers.iter().map(ToString::to_string).collect()
    }

    /// Signs the checkpoint of a tree with both keys.
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
        let [p256, ed25519] = &self.verifiers;
        let signatures = vec![
            NoteSignature::by(p256, self.p256.sign(text.as_bytes()).map_err(failed)?),
            NoteSignature::by(ed25519, self.ed25519.sign(text.as_bytes()).to_vec()),
        ];
        String::from_utf8(Note { text, signatures }.to_bytes()).map_err(failed)
    }

    /// Reads a checkpoint that this log signed: both keys, this origin.
    ///
    /// # Errors
    /// [`Error::Keys`] saying what differs.
    pub fn verify(&self, note: &str) -> Result<Checkpoint, Error> {
        let note = Note::parse(note.as_bytes()).map_err(failed)?;
        let verified = note.verify(&self.verifiers).map_err(failed)?;
        if verified.len() != self.verifiers.len() {
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
