//! P-256 keys of an ssh-agent (draft-ietf-sshm-ssh-agent): they are listed, and they sign; the
//! private half stays where it is.
//!
//! What an agent answers is outside data: its socket may be forwarded from another machine. So
//! it has a size, a time and one form, and no signature is handed on that does not verify.

mod answer;

pub use answer::{Identity, parse_identities, parse_signature, public_key};

use crate::{PublicKey, SignError, Signer};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest message of the protocol, as OpenSSH's agent has it.
pub const MAX_MESSAGE: usize = 256 * 1024;
/// How long a list may take.
const LISTING: Duration = Duration::from_secs(10);
/// How long a signature may take: a person may have to touch something, or type a PIN.
const SIGNING: Duration = Duration::from_secs(120);

const REQUEST_IDENTITIES: u8 = 11;
const SIGN_REQUEST: u8 = 13;

/// Why an agent's key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// Not a fingerprint.
    #[error("{0:?} is no fingerprint: want ssh-agent:SHA256:…, as `ssh-add -l` shows it")]
    Fingerprint(String),
    /// None can be reached.
    #[error("no ssh-agent: {0}; start one, and add the key with `ssh-add`")]
    None(String),
    /// It did not answer in time.
    #[error("the ssh-agent did not answer within {0} s; does it wait for a touch or a PIN?")]
    TimedOut(u64),
    /// It refused.
    #[error(
        "the ssh-agent refused to {0}; it may be locked, or a question of its was answered with no"
    )]
    Refused(&'static str),
    /// It has no such key.
    #[error("the ssh-agent has no key {wanted}; it has: {has}")]
    NotFound {
        /// The key that was asked for.
        wanted: Fingerprint,
        /// What it has, by fingerprint.
        has: String,
    },
    /// Of another algorithm.
    #[error("the key is of type {0}: statements are signed by P-256 keys, ecdsa-sha2-nistp256")]
    WrongType(String),
    /// A FIDO key.
    #[error(
        "the key is of type {0}: a FIDO security key signs a structure of its own, with a counter, and not the statement; use the device's PIV application through pkcs11:"
    )]
    SecurityKey(String),
    /// More than the protocol carries.
    #[error("{0} bytes are more than an ssh-agent takes; sign with a key file or through pkcs11:")]
    TooLong(usize),
    /// Not an answer of the protocol.
    #[error("the ssh-agent's answer is malformed: {0}")]
    Malformed(String),
    /// By another key, or over something else.
    #[error(
        "the ssh-agent's signature is not by the key that was asked for over what it was given"
    )]
    OtherSignature,
}

impl AgentError {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Fingerprint(_) => "bad-fingerprint",
            Self::None(_) => "no-agent",
            Self::TimedOut(_) => "agent-timed-out",
            Self::Refused(_) => "agent-refused",
            Self::NotFound { .. } => "key-not-found",
            Self::WrongType(_) => "wrong-key-type",
            Self::SecurityKey(_) => "security-key",
            Self::TooLong(_) => "too-long-for-agent",
            Self::Malformed(_) => "agent-bad-answer",
            Self::OtherSignature => "agent-other-signature",
        }
    }
}

/// SHA-256 of a key as SSH writes it; shown as `ssh-add -l` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Reads `SHA256:` and 43 digits of base64 without padding.
    ///
    /// # Errors
    /// [`AgentError::Fingerprint`].
    pub fn parse(text: &str) -> Result<Self, AgentError> {
        let bytes = text
            .strip_prefix("SHA256:")
            .and_then(|digits| STANDARD_NO_PAD.decode(digits).ok())
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        // Cut, since it is shown again.
        let bad = || AgentError::Fingerprint(text.chars().take(80).collect());
        bytes.map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA256:{}", STANDARD_NO_PAD.encode(self.0))
    }
}

/// An agent, by its socket.
#[derive(Debug, Clone)]
pub struct Agent {
    socket: PathBuf,
    listing: Duration,
    signing: Duration,
}

impl Agent {
    /// The agent at `SSH_AUTH_SOCK`.
    ///
    /// # Errors
    /// [`AgentError::None`].
    pub fn from_env() -> Result<Self, AgentError> {
        match std::env::var_os("SSH_AUTH_SOCK") {
            Some(socket) if !socket.is_empty() => Ok(Self::at(Path::new(&socket))),
            _ => Err(AgentError::None("SSH_AUTH_SOCK is not set".to_owned())),
        }
    }

    /// The agent at a socket.
    #[must_use]
    pub fn at(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            listing: LISTING,
            signing: SIGNING,
        }
    }

    /// The same, with other times for a list and for a signature.
    #[must_use]
    pub fn patience(self, listing: Duration, signing: Duration) -> Self {
        Self {
            listing,
            signing,
            ..self
        }
    }

    /// The keys that it has, of every type.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn identities(&self) -> Result<Vec<Identity>, AgentError> {
        parse_identities(&self.exchange(&[REQUEST_IDENTITIES], self.listing)?)
    }

    /// The key of this fingerprint, ready to sign.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn signer(&self, wanted: &Fingerprint) -> Result<AgentSigner, AgentError> {
        let identities = self.identities()?;
        let found = identities.iter().find(|i| i.fingerprint() == *wanted);
        let identity = found.ok_or_else(|| AgentError::NotFound {
            wanted: *wanted,
            has: listed(&identities),
        })?;
        Ok(AgentSigner {
            agent: self.clone(),
            public: public_key(&identity.blob)?,
            blob: identity.blob.clone(),
        })
    }

    /// Sends one message, and waits for one, in one connection.
    #[cfg(unix)]
    fn exchange(&self, message: &[u8], patience: Duration) -> Result<Vec<u8>, AgentError> {
        use std::io::{Read as _, Write as _};
        use std::time::Instant;
        let deadline = Instant::now() + patience;
        let late = || AgentError::TimedOut(patience.as_secs());
        let failed = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => late(),
            std::io::ErrorKind::UnexpectedEof => {
                AgentError::Malformed("it ends in the middle".to_owned())
            }
            _ => AgentError::None(format!("{}: {e}", self.socket.display())),
        };
        // For one answer as a whole: a byte a second is no answer either.
        let remaining = || match deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(late()),
            left => Ok(left),
        };
        let mut stream = connect(&self.socket, remaining()?)
            .ok_or_else(late)?
            .map_err(failed)?;
        let length =
            u32::try_from(message.len()).map_err(|_| AgentError::TooLong(message.len()))?;
        let framed = [&length.to_be_bytes()[..], message].concat();
        stream
            .set_write_timeout(Some(remaining()?))
            .and_then(|()| stream.write_all(&framed))
            .map_err(failed)?;
        let mut read = |buffer: &mut [u8]| -> Result<(), AgentError> {
            let mut rest = buffer;
            while !rest.is_empty() {
                stream
                    .set_read_timeout(Some(remaining()?))
                    .map_err(failed)?;
                match stream.read(rest) {
                    Ok(0) => return Err(failed(std::io::ErrorKind::UnexpectedEof.into())),
                    Ok(n) => rest = rest.get_mut(n..).unwrap_or_default(),
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => (),
                    Err(e) => return Err(failed(e)),
                }
            }
            Ok(())
        };
        let mut head = [0; 4];
        read(&mut head)?;
        let length = u32::from_be_bytes(head) as usize;
        if length > MAX_MESSAGE {
            let why = format!("{length} bytes, at most {MAX_MESSAGE}");
            return Err(AgentError::Malformed(why));
        }
        let mut body = vec![0; length];
        read(&mut body)?;
        Ok(body)
    }

    #[cfg(not(unix))]
    fn exchange(&self, _message: &[u8], _patience: Duration) -> Result<Vec<u8>, AgentError> {
        let _ = (&self.socket, self.listing, self.signing);
        let why = "agents are asked at Unix sockets, which this system has none of";
        Err(AgentError::None(why.to_owned()))
    }
}

/// Connects in a thread of its own: it takes for ever where nobody takes connections in, and no
/// time-out can be set for it.
#[cfg(unix)]
fn connect(
    socket: &Path,
    patience: Duration,
) -> Option<std::io::Result<std::os::unix::net::UnixStream>> {
    let (done, wait) = std::sync::mpsc::channel();
    let socket = socket.to_owned();
    std::thread::spawn(move || done.send(std::os::unix::net::UnixStream::connect(socket)));
    wait.recv_timeout(patience).ok()
}

/// What an agent has, for whoever asked for something else.
fn listed(identities: &[Identity]) -> String {
    if identities.is_empty() {
        return "none at all".to_owned();
    }
    let shown = identities.iter().take(20).map(|i| {
        let comment: String = i.comment.chars().take(60).collect();
        format!("{} ({}) {comment}", i.fingerprint(), i.key_type())
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// A key of an agent.
#[derive(Debug, Clone)]
pub struct AgentSigner {
    agent: Agent,
    blob: Vec<u8>,
    public: PublicKey,
}

impl Signer for AgentSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        // No flags: they are for RSA. The agent hashes for itself, with the curve's SHA-256.
        let request = answer::sign_request(SIGN_REQUEST, &self.blob, message);
        if request.len() > MAX_MESSAGE {
            return Err(AgentError::TooLong(message.len()).into());
        }
        let answer = self.agent.exchange(&request, self.agent.signing)?;
        let signature = parse_signature(&answer)?;
        // An agent that answers for another key is found here, and not by the log.
        match self.public.verify(message, &signature) {
            Ok(()) => Ok(signature),
            Err(_) => Err(AgentError::OtherSignature.into()),
        }
    }
}
