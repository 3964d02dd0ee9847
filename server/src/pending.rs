//! Projects that await the operator's decision. They are kept in `private/pending`, not in
//! the log: the log never holds what was not admitted. A refused one stays on file, so that
//! submitting it again does not put it back before the operator.

use crate::error::Error;
use crate::reject::Rejection;
use crate::store::{Disk, StoreError, make_dir, write_durably};
use ledger::envelope::Envelope;
use ledger::statement::{Body, Statement};
use ledger::{Hash, from_hex32, hex32};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A project statement that is not in the log.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The project's id.
    pub id: Hash,
    /// Its name; others may wait under the same one.
    pub name: String,
    /// Its contact.
    pub contact: String,
    /// The purl prefixes that it asks for.
    pub prefixes: Vec<String>,
    /// When it came in, in Unix seconds.
    pub received: u64,
    /// Whether the operator refused it.
    pub refused: bool,
    /// The envelope.
    pub envelope: Envelope,
    /// What it says.
    pub statement: Statement,
}

/// All that wait.
pub struct Pending {
    dir: PathBuf,
    cap: usize,
    waiting: Mutex<BTreeMap<Hash, Arc<Waiting>>>,
}

impl Waiting {
    fn new(envelope: Envelope, received: u64, refused: bool) -> Result<Self, Rejection> {
        let statement = Statement::parse(&envelope.payload)?;
        let id = envelope.pae_hash();
        let Body::Project(p) = &statement.body else {
            return Err(Rejection::ProjectPending(hex32(&id)));
        };
        let (name, contact, prefixes) =
            (p.name.clone(), p.contact.clone(), p.purl_prefixes.clone());
        Ok(Self {
            id,
            name,
            contact,
            prefixes,
            received,
            refused,
            envelope,
            statement,
        })
    }

    /// Reads a file of `private/pending`, which is exactly as it was written. One of an older
    /// version has no sum.
    #[must_use]
    pub fn read(id: Hash, bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let envelope = Envelope::from_leaf(value.get("envelope")?).ok()?;
        let (received, refused) = (
            value.get("received")?.as_u64()?,
            value.get("refused")?.as_bool()?,
        );
        let one = Self::new(envelope, received, refused).ok()?;
        let same = bytes == one.summed() || bytes == one.fields().to_string().as_bytes();
        (one.id == id && same).then_some(one)
    }

    fn fields(&self) -> Value {
        json!({ "envelope": self.envelope.to_json(), "received": self.received, "refused": self.refused })
    }

    /// The bytes of its file: its fields, and a sum over them, since no signature covers
    /// when it came in.
    fn summed(&self) -> Vec<u8> {
        let mut value = self.fields();
        let sum = hex32(&ledger::sha256(value.to_string().as_bytes()));
        if let Some(fields) = value.as_object_mut() {
            fields.insert("sum".into(), sum.into());
        }
        value.to_string().into_bytes()
    }
}

impl Pending {
    /// Reads what waits in `dir`, which is made if need be. At most `cap` are kept undecided.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::HalfWritten`] for a file that is none of ours.
    pub fn open(dir: PathBuf, cap: usize) -> Result<Self, Error> {
        make_dir(&Disk, &dir)?;
        let mut waiting = BTreeMap::new();
        for item in fs::read_dir(&dir).map_err(|e| Error::io(&dir, &e))? {
            let path = item.map_err(|e| Error::io(&dir, &e))?.path();
            let name = path
                .file_name()
                .and_then(|n| n.to_str())
                .unwrap_or_default();
            let Some(id) = name.strip_suffix(".json").and_then(from_hex32) else {
                continue;
            };
            let bytes = fs::read(&path).map_err(|e| Error::io(&path, &e))?;
            let one = Waiting::read(id, &bytes).ok_or_else(|| Error::HalfWritten {
                dir: dir.display().to_string(),
                what: format!("{name} is not a pending project; move it away"),
            })?;
            waiting.insert(id, Arc::new(one));
        }
        Ok(Self {
            dir,
            cap,
            waiting: Mutex::new(waiting),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Hash, Arc<Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, id: &Hash) -> PathBuf {
        self.dir.join(format!("{}.json", hex32(id)))
    }

    fn write(&self, one: &Waiting) -> Result<(), StoreError> {
        write_durably(&Disk, &self.path(&one.id), &one.summed())
    }

    /// Keeps a project statement for the operator.
    ///
    /// # Errors
    /// [`Rejection::TooManyPending`], [`Rejection::Store`].
    pub fn add(&self, envelope: Envelope, now: u64) -> Result<Hash, Rejection> {
        let one = Waiting::new(envelope, now, false)?;
        let mut waiting = self.lock();
        if waiting.contains_key(&one.id) {
            return Ok(one.id);
        }
        let undecided = waiting.values().filter(|w| !w.refused).count();
        if undecided >= self.cap {
            return Err(Rejection::TooManyPending(undecided));
        }
        self.write(&one)?;
        let id = one.id;
        waiting.insert(id, Arc::new(one));
        Ok(id)
    }

    /// One that waits, or was refused.
    #[must_use]
    pub fn get(&self, id: &Hash) -> Option<Arc<Waiting>> {
        self.lock().get(id).cloned()
    }

    /// All, by id.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Waiting>> {
        self.lock().values().cloned().collect()
    }

    /// Those of that id or name.
    #[must_use]
    pub fn find(&self, id_or_name: &str) -> Vec<Arc<Waiting>> {
        let id = from_hex32(id_or_name);
        self.lock()
            .values()
            .filter(|w| Some(w.id) == id || w.name == id_or_name)
            .cloned()
            .collect()
    }

    /// Notes the operator's refusal.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn refuse(&self, id: &Hash) -> Result<(), StoreError> {
        let mut waiting = self.lock();
        if let Some(one) = waiting.get_mut(id) {
            let one = Arc::make_mut(one);
            one.refused = true;
            self.write(one)?;
        }
        Ok(())
    }

    /// Forgets one that is in the log now.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove(&self, id: &Hash) -> Result<(), StoreError> {
        let path = self.path(id);
        if self.lock().remove(id).is_some() {
            fs::remove_file(&path).map_err(|e| StoreError::io(&path, &e))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use keys::{SecretKey, Signer as _};
    use ledger::statement::Project;

    #[test]
    fn a_file_is_read_as_it_was_written_and_no_other_way() {
        let (key, release) = (
            SecretKey::generate().unwrap(),
            SecretKey::generate().unwrap(),
        );
        let project = Project {
            name: "acme/tool".into(),
            log: "log.example.org".into(),
            version: 1,
            previous: None,
            roots: vec![key.public_key().clone()],
            root_threshold: 1,
            release_keys: vec![release.public_key().clone()],
            release_threshold: 1,
            authorities: Vec::new(),
            purl_prefixes: vec!["pkg:generic/acme".into()],
            contact: "security@example.org".into(),
            max_key_age: None,
            policy: None,
        };
        let envelope = Envelope::sign(project.to_payload().unwrap(), &[&key, &release]).unwrap();
        let one = Waiting::new(envelope, 1_700_000_000, false).unwrap();
        let written = one.summed();
        let read = Waiting::read(one.id, &written).unwrap();
        assert_eq!((read.received, read.refused), (one.received, one.refused));
        for at in 0..written.len() {
            let mut flipped = written.clone();
            flipped[at] ^= 1;
            assert!(Waiting::read(one.id, &flipped).is_none(), "byte {at}");
        }
        let older = one.fields().to_string();
        assert!(Waiting::read(one.id, older.as_bytes()).is_some());
        assert!(Waiting::read([0; 32], &written).is_none());
    }
}
