//! Secrets that sign nothing here (a storage key, a CI token), tracked by key-notes: under an id
//! that says nothing to others. The id is SHA-256 of `countersign/external/v1`, a newline, a salt
//! of 32 bytes, and the name; salt and names stay in a file of the project's owners.

use crate::cmd::common::{PolicyArgs, policy_path, write_private};
use crate::fail::Fail;
use ledger::{Hash, from_hex32, hex32, sha256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What is before such a name on the command line.
pub(super) const EXTERNAL: &str = "external:";

/// The names that we know.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    api_version: String,
    names: BTreeSet<String>,
    salt: String,
}

/// The file of names.
pub(super) struct Names {
    path: PathBuf,
    document: Option<Document>,
}

fn id(salt: &Hash, name: &str) -> Hash {
    let mut bytes = b"countersign/external/v1\n".to_vec();
    bytes.extend_from_slice(salt);
    bytes.extend_from_slice(name.as_bytes());
    sha256(&bytes)
}

/// Reads the file; `None` where there is none.
fn read(path: &Path) -> Result<Option<Document>, Fail> {
    let bad = |why: String| {
        Fail::usage(
            "names-unreadable",
            format!("names {}: {why}", path.display()),
        )
        .hint("mend the file: its salt is what ties the ids in the log to names")
    };
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(bad(e.to_string())),
    };
    let value = ledger::json::parse_own(&bytes).map_err(|e| bad(e.to_string()))?;
    let document: Document = ledger::json::typed(value).map_err(|e| bad(e.to_string()))?;
    if document.api_version != ledger::API_VERSION || from_hex32(&document.salt).is_none() {
        return Err(bad("it is of another version".into()));
    }
    Ok(Some(document))
}

/// Holds `<path>.lock` until it is dropped: two that make the file at once would make two salts,
/// and the id of one would stand in the log with nothing to tell its name.
fn lock(path: &Path) -> Result<std::fs::File, Fail> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let bad = |e: std::io::Error| {
        Fail::usage("unwritable", format!("{}: {e}", name.display()))
            .hint("choose a place that can be written, with --names FILE")
    };
    let mut options = std::fs::File::options();
    let file = options.create(true).truncate(false).write(true).open(&name);
    let file = file.map_err(bad)?;
    file.lock().map_err(bad)?;
    Ok(file)
}

impl Names {
    /// Reads the file at `given`, else beside the policy as `<policy>.names`; one that is not
    /// there knows no name.
    pub(super) fn open(given: Option<&Path>, policy: &PolicyArgs) -> Result<Self, Fail> {
        let path = match given {
            Some(path) => path.to_owned(),
            None => {
                let mut name = policy_path(policy)?.into_os_string();
                name.push(".names");
                name.into()
            }
        };
        let document = read(&path)?;
        Ok(Self { path, document })
    }

    /// The name behind an id.
    pub(super) fn name(&self, of: &Hash) -> Option<String> {
        let document = self.document.as_ref()?;
        let salt = from_hex32(&document.salt)?;
        let mut names = document.names.iter();
        names.find(|name| id(&salt, name) == *of).cloned()
    }

    /// The id of a name that is known already.
    pub(super) fn id(&self, name: &str) -> Option<Hash> {
        let document = self.document.as_ref()?;
        let salt = from_hex32(&document.salt)?;
        document.names.contains(name).then(|| id(&salt, name))
    }

    /// The id of a name, which is written down first where it is new.
    pub(super) fn id_of(&mut self, name: &str) -> Result<Hash, Fail> {
        if name.is_empty() || name.len() > 256 || name.chars().any(char::is_control) {
            return Err(Fail::usage("bad-name", format!("{name:?} is no name"))
                .hint("give it as external:NAME, such as external:storage-uploader"));
        }
        let _lock = lock(&self.path)?;
        // What another process wrote since this file was read is kept.
        let mut document = match read(&self.path)? {
            Some(document) => document,
            None => {
                // A key's id is as good a source of random bytes as any that is linked here.
                let key = ::keys::SecretKey::generate();
                let key = key.map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
                use ::keys::Signer as _;
                Document {
                    api_version: ledger::API_VERSION.to_owned(),
                    names: BTreeSet::new(),
                    salt: hex32(&key.public_key().id().0),
                }
            }
        };
        let salt = from_hex32(&document.salt).unwrap_or_default();
        if document.names.insert(name.to_owned()) {
            let bytes = ledger::json::canonical_of(&document);
            let bytes = bytes.map_err(|e| Fail::usage("encoding", e.to_string()))?;
            write_private(&self.path, &bytes)?;
            eprintln!(
                "wrote {}: keep it, since only its salt ties the ids in the log to names",
                self.path.display()
            );
        }
        self.document = Some(document);
        Ok(id(&salt, name))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_keep_their_ids_and_say_nothing_without_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let args = PolicyArgs {
            policy: Some(dir.path().join("policy.toml")),
            state: None,
        };
        let mut names = Names::open(None, &args).unwrap();
        let one = names.id_of("bucket").unwrap();
        let other = names.id_of("token").unwrap();
        assert_ne!(one, other);
        let again = Names::open(None, &args).unwrap();
        assert_eq!(again.name(&one).as_deref(), Some("bucket"));
        assert_eq!((again.id("token"), again.id("else")), (Some(other), None));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
            let path = dir.path().join("policy.toml.names");
            assert_eq!(mode(&path) & 0o777, 0o600, "the salt is a secret");
        }
        let elsewhere = dir.path().join("other.names");
        let mut others = Names::open(Some(&elsewhere), &args).unwrap();
        assert_eq!(others.name(&one), None);
        assert_ne!(others.id_of("bucket").unwrap(), one, "the salt is another");
        std::fs::write(&elsewhere, "{}").unwrap();
        assert_eq!(Names::open(Some(&elsewhere), &args).err().unwrap().code, 2);
    }

    #[test]
    fn two_that_begin_at_once_make_one_salt() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("names");
        let args = PolicyArgs {
            policy: None,
            state: None,
        };
        // Both read the file before either has written it.
        let mut one = Names::open(Some(&path), &args).unwrap();
        let mut two = Names::open(Some(&path), &args).unwrap();
        let first = one.id_of("bucket").unwrap();
        let second = two.id_of("token").unwrap();
        let after = Names::open(Some(&path), &args).unwrap();
        assert_eq!(after.name(&first).as_deref(), Some("bucket"));
        assert_eq!(after.name(&second).as_deref(), Some("token"));
    }
}
