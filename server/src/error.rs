//! Why the server does not start, or a data directory is refused.

use crate::store::StoreError;

/// A failure outside any request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log cannot be frozen, or its mark cannot be read.
    #[error("frozen log: {0}")]
    Frozen(String),
    /// The witnesses cannot be asked as configured.
    #[error("witnesses: {0}")]
    Witnesses(String),
    /// The OIDC issuer cannot run as configured.
    #[error("OIDC: {0}")]
    Oidc(String),
    /// `init` on a directory that holds a log.
    #[error(
        "{dir} already holds the log {origin:?}; init makes a new one only where there is none"
    )]
    AlreadyThere {
        /// The directory.
        dir: String,
        /// The log's origin.
        origin: String,
    },
    /// No log here.
    #[error("{0} holds no log: run `countersign-server init --data {0} --origin NAME`")]
    NoLog(String),
    /// An `init` that did not finish, or a copy that lost something.
    #[error("{dir} is half written: {what}")]
    HalfWritten {
        /// The directory.
        dir: String,
        /// What is missing.
        what: String,
    },
    /// Written by a later program.
    #[error(
        "{dir} has format {found}, this program knows format {known}: use a newer countersign-server"
    )]
    NewerFormat {
        /// The directory.
        dir: String,
        /// The format found.
        found: u64,
        /// The newest format known.
        known: u64,
    },
    /// Another log's directory.
    #[error("{dir} holds the log {found:?}, not {want:?}")]
    OtherOrigin {
        /// The directory.
        dir: String,
        /// The origin that was asked for.
        want: String,
        /// The origin found.
        found: String,
    },
    /// Another server holds the directory.
    #[error("{0} is in use by another countersign-server")]
    InUse(String),
    /// The directory cannot be written, so neither locked nor recovered.
    #[error(
        "{0} is on a file system that is mounted read-only: the log cannot be opened there. Remount it for writing (look first why it is not); meanwhile any web server can serve {0}/public"
    )]
    ReadOnlyFileSystem(String),
    /// Not even the store can be opened.
    #[error("the log is not opened: {0}; make room and start again")]
    NoRoom(crate::guard::Cause),
    /// A part of the store that cannot be opened, so that not even reads can be served.
    #[error("{part} cannot be opened ({why}): {hint}")]
    NotOpened {
        /// Which part of the data directory.
        part: &'static str,
        /// What its database said.
        why: String,
        /// What to do.
        hint: &'static str,
    },
    /// Fewer file descriptors than a log needs.
    #[error(
        "{found} file descriptors are too few, want {want}: raise the limit (ulimit -n, LimitNOFILE)"
    )]
    FewDescriptors {
        /// How many there may be.
        found: u64,
        /// How many are needed.
        want: u64,
    },
    /// Not a name that a note's key can have.
    #[error(
        "origin {0:?}: want a name without spaces, control characters and '+', of at most 200 bytes"
    )]
    BadOrigin(String),
    /// The log's own keys cannot be made, read or used.
    #[error("log keys: {0}")]
    Keys(String),
    /// The operating system refused.
    #[error("{path}: {why}")]
    Io {
        /// The file or directory.
        path: String,
        /// What the system said.
        why: String,
    },
    /// Plain HTTP towards the network was not asked for.
    #[error(
        "{0} is not a loopback address: put a TLS proxy before a loopback address, or say --public-http"
    )]
    NotLoopback(std::net::SocketAddr),
    /// The operator's command was refused, or no server answers.
    #[error("{0}")]
    Operator(String),
    /// The high-water mark does not agree with the log, or cannot be used.
    #[error("{0}")]
    HighWater(String),
    /// The record of an earlier check cannot be used.
    #[error("{path} {what}: name another file, or remove it")]
    Resume {
        /// The file.
        path: String,
        /// What it is.
        what: String,
    },
    /// The log cannot be exported, or not there.
    #[error("{0}")]
    Export(String),
    /// What is to be imported is refused.
    #[error(transparent)]
    Import(#[from] crate::import::Refused),
    /// A witness's directory, key, state or logs cannot be made or used.
    #[error("{what}")]
    Witness {
        /// A stable word for the reason.
        kind: &'static str,
        /// What, why, and what to do.
        what: String,
    },
    /// A batch that was handed in as it stands was refused.
    #[error("fill: {0}")]
    Fill(String),
}

impl Error {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Frozen(_) => "frozen-log",
            Self::Witnesses(_) => "witnesses",
            Self::Oidc(_) => "oidc-config",
            Self::Store(e) => e.kind(),
            Self::AlreadyThere { .. } => "data-already-there",
            Self::NoLog(_) => "data-no-log",
            Self::HalfWritten { .. } => "data-half-written",
            Self::NewerFormat { .. } => "data-newer-format",
            Self::OtherOrigin { .. } => "data-other-origin",
            Self::InUse(_) => "data-in-use",
            Self::ReadOnlyFileSystem(_) => "file-system-read-only",
            Self::NotOpened { .. } => "data-not-opened",
            Self::NoRoom(cause) => cause.kind(),
            Self::FewDescriptors { .. } => "few-descriptors",
            Self::BadOrigin(_) => "bad-origin",
            Self::Keys(_) => "log-keys",
            Self::Io { .. } => "io",
            Self::NotLoopback(_) => "not-loopback",
            Self::Operator(_) => "operator",
            Self::HighWater(_) => "high-water",
            Self::Resume { .. } => "resume",
            Self::Export(_) => "export",
            Self::Import(e) => e.kind(),
            Self::Witness { kind, .. } => kind,
            Self::Fill(_) => "fill",
        }
    }

    /// Says of a failure at the start which part of the directory it concerns.
    pub(crate) fn at_start(self) -> Self {
        match self {
            Self::Store(StoreError::Hot(why)) => Self::NotOpened {
                part: "private/hot",
                why,
                hint: "keep the directory as it is, copy it and find out why; any web server can serve public/ meanwhile",
            },
            Self::Store(StoreError::Index(why)) => Self::NotOpened {
                part: "private/index",
                why,
                hint: "it follows from the rest: move it away and start again, which rebuilds it",
            },
            other => other,
        }
    }

    pub(crate) fn witness(kind: &'static str, what: impl Into<String>) -> Self {
        let what = what.into();
        Self::Witness { kind, what }
    }

    pub(crate) fn io(path: &std::path::Path, e: &std::io::Error) -> Self {
        Self::Io {
            path: path.display().to_string(),
            why: e.to_string(),
        }
    }
}
