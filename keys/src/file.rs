//! Key files: PKCS#8 PEM, encrypted by default (PBES2: scrypt, AES-256-CBC).
//!
//! A file is created anew with mode 0600 and never overwritten; one that others can read is
//! refused when it is read. Unencrypted files are written only on an explicit
//! [`Passphrase::None`].

use crate::{Ed25519Secret, KeyError, SecretKey, random};
use pkcs8::pkcs5::{EncryptionScheme, pbes2};
use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// scrypt's cost: N = 2^14, r = 8, p = 5: 16 MiB, about 0.2 s. More work comes from p and not
/// from N, because OpenSSL opens no file whose N and r need 32 MiB or more.
const SCRYPT: (u8, u32, u32) = (14, 8, 5);
/// The most that a file may ask for when it is opened, in bytes of memory (128·N·r) and in
/// work (the same times p).
const MAX_MEMORY: u64 = 1 << 30;
const MAX_WORK: u64 = 1 << 32;
/// The most PBKDF2 iterations that a file may ask for.
const MAX_ITERATIONS: u32 = 10_000_000;
/// Larger than any key file of ours, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// Where the passphrase comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passphrase {
    /// Asked for at the terminal.
    Prompt,
    /// The first line of a file.
    File(PathBuf),
    /// An environment variable, by name.
    Env(String),
    /// None: the file is not encrypted.
    None,
}

/// A private key of either kind.
#[derive(Debug)]
pub enum AnySecret {
    /// A P-256 key.
    P256(SecretKey),
    /// An Ed25519 key.
    Ed25519(Ed25519Secret),
}

/// Why a key file cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file stands already.
    #[error("{} exists already; a key file is never overwritten: choose another path", .0.display())]
    Exists(PathBuf),
    /// Others could read the file.
    #[error("{path} can be read by others (mode {mode:03o}); run: chmod 600 {path}", path = .path.display())]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system refused.
    #[error("{path}: {why}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// No passphrase could be had.
    #[error("no passphrase: {0}")]
    Passphrase(String),
    /// The passphrase does not open the file.
    #[error("{}: wrong passphrase, or a damaged file", .0.display())]
    WrongPassphrase(PathBuf),
    /// Not a key file.
    #[error("{path}: {why}", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The key could not be encoded.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl FileError {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Exists(_) => "key-file-exists",
            Self::Readable { .. } => "key-file-readable-by-others",
            Self::Io { .. } => "key-file-io",
            Self::Passphrase(_) => "no-passphrase",
            Self::WrongPassphrase(_) => "wrong-passphrase",
            Self::Malformed { .. } => "key-file-malformed",
            Self::Key(e) => e.kind(),
        }
    }
}

/// What the system said about `path`.
fn io(path: &Path, e: &std::io::Error) -> FileError {
    match e.kind() {
        std::io::ErrorKind::AlreadyExists => FileError::Exists(path.to_owned()),
        _ => FileError::Io {
            path: path.to_owned(),
            why: e.to_string(),
        },
    }
}

/// Whether opening a file of this scheme takes a bounded time and memory. The parameters are
/// outside data: unchecked, pkcs5 panics at N = 0 and tries to allocate what a large N asks.
fn affordable(scheme: &EncryptionScheme) -> bool {
    let EncryptionScheme::Pbes2(parameters) = scheme else {
        return false;
    };
    match &parameters.kdf {
        pbes2::Kdf::Scrypt(k) => {
            let n = k.cost_parameter;
            let memory = n
                .saturating_mul(128)
                .saturating_mul(u64::from(k.block_size));
            let work = memory.saturating_mul(u64::from(k.parallelization));
            n.is_power_of_two() && memory <= MAX_MEMORY && work <= MAX_WORK
        }
        pbes2::Kdf::Pbkdf2(k) => k.iteration_count <= MAX_ITERATIONS,
        _ => false,
    }
}

/// The secret from where it comes, asked for as `label` at a terminal.
pub(crate) fn ask(
    from: &Passphrase,
    label: &str,
    twice: bool,
) -> Result<Option<Zeroizing<String>>, FileError> {
    let bad = |e: String| FileError::Passphrase(e);
    let text = match from {
        Passphrase::None => return Ok(None),
        Passphrase::Env(name) => Zeroizing::new(
            std::env::var(name).map_err(|_| bad(format!("the variable {name} is not set")))?,
        ),
        Passphrase::File(path) => {
            let text = Zeroizing::new(
                std::fs::read_to_string(path)
                    .map_err(|e| bad(format!("{}: {e}", path.display())))?,
            );
            Zeroizing::new(text.lines().next().unwrap_or_default().to_owned())
        }
        Passphrase::Prompt => {
            let prompt = |label: &str| {
                rpassword::prompt_password(label)
                    .map(Zeroizing::new)
                    .map_err(|e| bad(e.to_string()))
            };
            let text = prompt(&format!("{label}: "))?;
            if twice && prompt("once more: ")? != text {
                return Err(bad("the two differ".into()));
            }
            text
        }
    };
    if text.is_empty() {
        Err(bad("it is empty".into()))
    } else {
        Ok(Some(text))
    }
}

/// Writes a key to a new file, durable before it returns.
///
/// # Errors
/// [`FileError`]; nothing is left behind.
pub fn write_secret(
    path: &Path,
    key: &AnySecret,
    passphrase: &Passphrase,
) -> Result<(), FileError> {
    if path.exists() {
        return Err(FileError::Exists(path.to_owned()));
    }
    let malformed = |why: String| FileError::Malformed {
        path: path.to_owned(),
        why,
    };
    let der = match key {
        AnySecret::P256(k) => k.to_pkcs8_der()?,
        AnySecret::Ed25519(k) => k.to_pkcs8_der(),
    };
    let (document, label) = match ask(passphrase, "passphrase", true)? {
        None => (
            SecretDocument::try_from(der.as_slice()).map_err(|e| malformed(e.to_string()))?,
            "PRIVATE KEY",
        ),
        Some(text) => {
            let (mut salt, mut iv) = ([0u8; 16], [0u8; 16]);
            random(&mut salt)?;
            random(&mut iv)?;
            let (log_n, r, p) = SCRYPT;
            let cost = pkcs8::pkcs5::scrypt::Params::new(log_n, r, p)
                .map_err(|e| malformed(e.to_string()))?;
            let scheme = pbes2::Parameters::generate_scrypt_aes256cbc(cost, &salt, iv)
                .map_err(|e| malformed(e.to_string()))?;
            let info = PrivateKeyInfoRef::try_from(der.as_slice())
                .map_err(|e| malformed(e.to_string()))?;
            let sealed = info
                .encrypt_with_params(scheme, text.as_bytes())
                .map_err(|e| malformed(e.to_string()))?;
            (sealed, "ENCRYPTED PRIVATE KEY")
        }
    };
    let pem = document
        .to_pem(label, LineEnding::LF)
        .map_err(|e| malformed(e.to_string()))?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(|e| io(path, &e))?;
    file.write_all(pem.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| sync_directory(path))
        .map_err(|e| {
            let _ = std::fs::remove_file(path);
            io(path, &e)
        })
}

/// Makes the new name durable: a file's fsync alone does not. Elsewhere than on unix a
/// directory cannot be opened for this.
fn sync_directory(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        std::fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Reads a key file.
///
/// # Errors
/// [`FileError`].
pub fn read_secret(path: &Path, passphrase: &Passphrase) -> Result<AnySecret, FileError> {
    let malformed = |why: String| FileError::Malformed {
        path: path.to_owned(),
        why,
    };
    let file = std::fs::File::open(path).map_err(|e| io(path, &e))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let metadata = file.metadata().map_err(|e| io(path, &e))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(FileError::Readable {
                path: path.to_owned(),
                mode,
            });
        }
    }
    // Room for the whole file at once: a string that grew would leave copies behind unwiped.
    let mut pem = Zeroizing::new(String::with_capacity(MAX_FILE as usize + 1));
    file.take(MAX_FILE)
        .read_to_string(&mut pem)
        .map_err(|e| io(path, &e))?;
    let (label, document) =
        SecretDocument::from_pem(&pem).map_err(|e| malformed(format!("not PEM: {e}")))?;
    let der = match label {
        "PRIVATE KEY" => Zeroizing::new(document.as_bytes().to_vec()),
        "ENCRYPTED PRIVATE KEY" => {
            let sealed = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
                .map_err(|e| malformed(e.to_string()))?;
            if !affordable(&sealed.encryption_algorithm) {
                return Err(malformed(
                    "encrypted in a way that is not supported, or at a cost out of bounds".into(),
                ));
            }
            let text = ask(passphrase, "passphrase", false)?
                .ok_or_else(|| FileError::Passphrase(format!("{} is encrypted", path.display())))?;
            let open = sealed
                .decrypt(text.as_bytes())
                .map_err(|_| FileError::WrongPassphrase(path.to_owned()))?;
            Zeroizing::new(open.as_bytes().to_vec())
        }
        other => {
            return Err(malformed(format!(
                "PEM label {other:?}, want \"PRIVATE KEY\" or \"ENCRYPTED PRIVATE KEY\""
            )));
        }
    };
    if let Ok(key) = SecretKey::from_pkcs8_der(&der) {
        return Ok(AnySecret::P256(key));
    }
    Ed25519Secret::from_pkcs8_der(&der)
        .map(AnySecret::Ed25519)
        .map_err(|_| malformed("neither a P-256 nor an Ed25519 private key".into()))
}

/// Whether a key file is encrypted, so that a passphrase is asked for only where needed.
///
/// # Errors
/// [`FileError::Io`].
pub fn is_encrypted(path: &Path) -> Result<bool, FileError> {
    const LABEL: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
    // No more than the label is read, so that nothing secret comes into this buffer.
    let mut head = Vec::with_capacity(LABEL.len());
    std::fs::File::open(path)
        .and_then(|f| f.take(LABEL.len() as u64).read_to_end(&mut head))
        .map_err(|e| io(path, &e))?;
    Ok(head == LABEL)
}
