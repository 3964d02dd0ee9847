//! Key files: PKCS#8 PEM, encrypted by default (PBES2: scrypt, AES-256-CBC).
//!
//! A file is created anew with mode 0600 and never overwritten; one that others can read is
//! refused when it is read. Unencrypted files are written only on an explicit
//! [`Passphrase::None`].

use crate::{Ed25519Secret, KeyError, SecretKey, random};
use pkcs8::pkcs5::pbes2;
use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// scrypt's cost: N = 2^15, r = 8, p = 1; 32 MiB, under 0.2 s.
const SCRYPT_LOG_N: u8 = 15;
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
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file stands already.
    #[error("{0} exists already; a key file is never overwritten")]
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
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No passphrase could be had.
    #[error("no passphrase: {0}")]
    Passphrase(String),
    /// The passphrase does not open the file.
    #[error("{0}: wrong passphrase, or a damaged file")]
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

fn ask(from: &Passphrase, twice: bool) -> Result<Option<Zeroizing<String>>, FileError> {
    let bad = |e: String| FileError::Passphrase(e);
    let text = match from {
        Passphrase::None => return Ok(None),
        Passphrase::Env(name) => {
            std::env::var(name).map_err(|_| bad(format!("the variable {name} is not set")))?
        }
        Passphrase::File(path) => {
            let text = Zeroizing::new(
                std::fs::read_to_string(path)
                    .map_err(|e| bad(format!("{}: {e}", path.display())))?,
            );
            text.lines().next().unwrap_or_default().to_owned()
        }
        Passphrase::Prompt => {
            let text =
                rpassword::prompt_password("passphrase: ").map_err(|e| bad(e.to_string()))?;
            if twice
                && Zeroizing::new(
                    rpassword::prompt_password("once more: ").map_err(|e| bad(e.to_string()))?,
                )
                .as_str()
                    != text
            {
                return Err(bad("the two differ".into()));
            }
            text
        }
    };
    let text = Zeroizing::new(text);
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
    let (document, label) = match ask(passphrase, true)? {
        None => (
            SecretDocument::try_from(der.as_slice()).map_err(|e| malformed(e.to_string()))?,
            "PRIVATE KEY",
        ),
        Some(text) => {
            let (mut salt, mut iv) = ([0u8; 16], [0u8; 16]);
            random(&mut salt)?;
            random(&mut iv)?;
            let cost = pkcs8::pkcs5::scrypt::Params::new(SCRYPT_LOG_N, 8, 1)
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
    let io = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AlreadyExists => FileError::Exists(path.to_owned()),
        _ => FileError::Io {
            path: path.to_owned(),
            source,
        },
    };
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(io)?;
    file.write_all(pem.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|e| {
            let _ = std::fs::remove_file(path);
            io(e)
        })
}

/// Reads a key file.
///
/// # Errors
/// [`FileError`].
pub fn read_secret(path: &Path, passphrase: &Passphrase) -> Result<AnySecret, FileError> {
    let io = |source| FileError::Io {
        path: path.to_owned(),
        source,
    };
    let malformed = |why: String| FileError::Malformed {
        path: path.to_owned(),
        why,
    };
    let file = std::fs::File::open(path).map_err(io)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(FileError::Readable {
                path: path.to_owned(),
                mode,
            });
        }
    }
    let mut pem = Zeroizing::new(String::new());
    file.take(MAX_FILE).read_to_string(&mut pem).map_err(io)?;
    let (label, document) =
        SecretDocument::from_pem(&pem).map_err(|e| malformed(format!("not PEM: {e}")))?;
    let der = match label {
        "PRIVATE KEY" => Zeroizing::new(document.as_bytes().to_vec()),
        "ENCRYPTED PRIVATE KEY" => {
            let sealed = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
                .map_err(|e| malformed(e.to_string()))?;
            let text = ask(passphrase, false)?
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
    let io = |source| FileError::Io {
        path: path.to_owned(),
        source,
    };
    let mut head = String::new();
    std::fs::File::open(path)
        .map_err(io)?
        .take(MAX_FILE)
        .read_to_string(&mut head)
        .map_err(io)?;
    Ok(head.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"))
}
