//! A witness's data directory.
//!
//! ```text
//! DIR/witness.json   which witness this is; written last, so that without it the making did not finish
//! DIR/logs.json      whose checkpoints it cosigns (`add-log`, `remove-log`)
//! DIR/evidence/      what logs signed that contradicts what was cosigned
//! DIR/private/       its key, its state; mode 0700
//! ```

use super::logs::Logs;
use super::state::State;
use crate::datadir::locked;
use crate::error::Error;
use crate::store::{Disk, make_dir, sync_dir, write_durably};
use keys::Ed25519Secret;
use keys::file::{AnySecret, Passphrase, read_secret, write_secret};
use ledger::json;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use tlog::vkey::VerifierKey;

/// The format that this program writes, and the newest that it reads.
const FORMAT: u64 = 1;
/// Longest name in bytes.
const MAX_NAME: usize = 200;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Marker {
    api_version: String,
    format: u64,
    kind: String,
    name: String,
    vkey: String,
}

/// Where things lie.
#[derive(Debug, Clone)]
pub struct Layout(PathBuf);

impl Layout {
    /// Below `dir`.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }
    fn marker(&self) -> PathBuf {
        self.0.join("witness.json")
    }
    /// Whose checkpoints are cosigned.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs.json")
    }
    /// What was refused and is kept.
    #[must_use]
    pub fn evidence(&self) -> PathBuf {
        self.0.join("evidence")
    }
    fn private(&self) -> PathBuf {
        self.0.join("private")
    }
    fn key(&self) -> PathBuf {
        self.private().join("witness-ed25519.pem")
    }
    /// What was cosigned last.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.private().join("state")
    }

    /// Locks one of the files that say who works here; made if need be.
    fn lock(&self, name: &str) -> Result<File, Error> {
        let path = self.private().join(name);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(&path).map_err(|e| Error::io(&path, &e))?;
        locked(&file).map_err(|_| {
            let dir = self.0.display();
            Error::witness(
                "witness-in-use",
                format!("{dir} is in use by another countersign-witness"),
            )
        })?;
        Ok(file)
    }

    /// Reads the logs, and holds them until what is returned last is dropped: nobody else
    /// changes them meanwhile. A running witness reads them anew by itself.
    ///
    /// # Errors
    /// [`Error`].
    pub fn edit_logs(&self) -> Result<(Logs, File), Error> {
        self.names()?;
        let lock = self.lock("logs.lock")?;
        Ok((Logs::load(&self.logs())?, lock))
    }

    fn names(&self) -> Result<Marker, Error> {
        let path = self.marker();
        let dir = self.0.display();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(if self.private().exists() {
                    Error::witness(
                        "witness-half-written",
                        format!(
                            "{dir} is half written: witness.json is missing, so its init did not finish; if it never served, remove it and init again"
                        ),
                    )
                } else {
                    Error::witness(
                        "witness-none",
                        format!(
                            "{dir} holds no witness: run `countersign-witness init --data {dir} --name NAME`"
                        ),
                    )
                });
            }
            Err(e) => return Err(Error::io(&path, &e)),
        };
        let bad = |why: String| {
            Error::witness(
                "witness-half-written",
                format!(
                    "{}: {why}: put back the file that init wrote",
                    path.display()
                ),
            )
        };
        let value = json::parse(&bytes).map_err(|e| bad(e.to_string()))?;
        let format = value.get("format").and_then(serde_json::Value::as_u64);
        if format.is_some_and(|f| f > FORMAT) {
            let what = format!(
                "{dir} has format {}, this program knows format {FORMAT}: use a newer countersign-witness",
                format.unwrap_or_default()
            );
            return Err(Error::witness("witness-newer-format", what));
        }
        let marker: Marker = json::typed(value).map_err(|e| bad(e.to_string()))?;
        if marker.api_version != ledger::API_VERSION || marker.kind != "witness" {
            return Err(bad("it is of another kind or apiVersion".into()));
        }
        Ok(marker)
    }
}

fn failed(e: impl std::fmt::Display) -> Error {
    Error::witness("witness-key", format!("the witness's key: {e}"))
}

/// Makes a new witness; returns its vkey.
///
/// # Errors
/// [`Error`] where there is a witness, or half of one, and where the name is none.
pub fn init(dir: &Path, name: &str) -> Result<VerifierKey, Error> {
    let bad_name = name.chars().any(char::is_control) || name.len() > MAX_NAME;
    if bad_name || !tlog::note::check_name(name) {
        let shown: String = name.chars().take(MAX_NAME).collect();
        return Err(Error::witness(
            "witness-name",
            format!(
                "name {shown:?}: want one without spaces, control characters and '+', of at most {MAX_NAME} bytes; best a host name of yours, with a path if need be"
            ),
        ));
    }
    let layout = Layout::new(dir);
    match layout.names() {
        Ok(found) => {
            return Err(Error::witness(
                "witness-already-there",
                format!(
                    "{} already holds the witness {:?}; init makes a new one only where there is none",
                    dir.display(),
                    found.name
                ),
            ));
        }
        Err(e) if e.kind() == "witness-none" => {}
        Err(e) => return Err(e),
    }
    fs::create_dir_all(dir).map_err(|e| Error::io(dir, &e))?;
    if let Some(parent) = dir.canonicalize().ok().as_deref().and_then(Path::parent) {
        sync_dir(parent)?;
    }
    let private = layout.private();
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
        .create(&private)
        .map_err(|e| Error::io(&private, &e))?;
    make_dir(&Disk, &layout.evidence())?;
    let key = Ed25519Secret::generate().map_err(failed)?;
    let vkey = VerifierKey::cosignature(name, &key.public_bytes()).map_err(failed)?;
    let key = AnySecret::Ed25519(key);
    write_secret(&layout.key(), &key, &Passphrase::None).map_err(failed)?;
    State::create(&layout.state(), &vkey)?;
    sync_dir(&private)?;
    Logs::default().save(&layout.logs())?;
    let marker = Marker {
        api_version: ledger::API_VERSION.into(),
        format: FORMAT,
        kind: "witness".into(),
        name: name.into(),
        vkey: vkey.to_string(),
    };
    let bytes = json::canonical_of(&marker).map_err(failed)?;
    write_durably(&Disk, &layout.marker(), &bytes)?;
    Ok(vkey)
}

/// The vkey of the witness in `dir`, as its key gives it.
///
/// # Errors
/// [`Error`].
pub fn vkey(dir: &Path) -> Result<VerifierKey, Error> {
    load_key(&Layout::new(dir)).map(|(_, vkey)| vkey)
}

fn load_key(layout: &Layout) -> Result<(Ed25519Secret, VerifierKey), Error> {
    let marker = layout.names()?;
    let read = read_secret(&layout.key(), &Passphrase::None).map_err(failed)?;
    let AnySecret::Ed25519(key) = read else {
        return Err(failed("its file holds a key of another kind"));
    };
    let vkey = VerifierKey::cosignature(&marker.name, &key.public_bytes()).map_err(failed)?;
    if vkey.to_string() != marker.vkey {
        return Err(failed(format!(
            "it gives {vkey}, and witness.json says {}",
            marker.vkey
        )));
    }
    Ok((key, vkey))
}

/// A witness's directory held by this process: nobody else opens it until this is dropped.
pub struct WitnessDir {
    /// Where things lie.
    pub layout: Layout,
    /// The witness's public key.
    pub vkey: VerifierKey,
    // The system releases the lock with the file, also when the process is killed.
    _lock: File,
}

impl WitnessDir {
    /// Opens and locks `dir`.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let layout = Layout::new(dir);
        let (_, vkey) = load_key(&layout)?;
        let lock = layout.lock("lock")?;
        Ok(Self {
            layout,
            vkey,
            _lock: lock,
        })
    }

    /// What cosigns, and its public half.
    ///
    /// # Errors
    /// [`Error`].
    pub fn signer(&self) -> Result<(Ed25519Secret, VerifierKey), Error> {
        load_key(&self.layout)
    }
}
