//! What `report.json` holds.

use ledger::API_VERSION;
use serde::{Deserialize, Serialize};

/// The `kind` of `report.json`.
pub(crate) const KIND: &str = "incident-report";

/// The form of a report: raised whenever another would be made of the same proofs and question, in
/// its fields, its files or its words. Who verifies one of another form cannot tell whether its
/// words are what the proofs give; facts it can compare.
pub(crate) const FORMAT: u64 = 1;

/// Which program writes. A report says so, and nothing follows from it.
pub(crate) const MADE_BY: &str = concat!("countersign ", env!("CARGO_PKG_VERSION"));

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum Question {
    /// A key of the project, by its whole id.
    Key(String),
    /// Bytes, by their SHA-256.
    Digest(String),
    /// All releases of a version.
    Version(String),
    /// All that was logged then; both ends count.
    Window {
        /// Unix seconds.
        since: u64,
        /// Unix seconds.
        until: u64,
    },
}

/// What the maker of a report says, and nobody can prove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Asked {
    /// The question.
    pub(crate) question: Question,
    /// From which log index on the key in question is not to count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compromised_since: Option<u64>,
    /// The reason in what is to be signed next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// When the report was made, Unix seconds.
    pub(crate) made: u64,
    /// By which program.
    pub(crate) made_by: String,
    /// Where the log was asked.
    pub(crate) log_url: String,
}

/// The report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Document {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    /// [`FORMAT`].
    pub(crate) report_format: u64,
    pub(crate) asked: Asked,
    pub(crate) project: Project,
    pub(crate) as_of: AsOf,
    /// How many entries the log has accepted for the project; all are in the proven history.
    pub(crate) entries: u64,
    pub(crate) releases: Vec<Release>,
    pub(crate) withdrawals: Vec<Withdrawal>,
    pub(crate) revocations: Vec<Revocation>,
    pub(crate) keys: Vec<Key>,
    /// What the log has of all this, oldest first, each with its proof.
    pub(crate) timeline: Vec<Row>,
    /// Bytes that were served: observations, not proofs.
    pub(crate) samples: Vec<Sample>,
    /// What is to be signed.
    pub(crate) next: Vec<Next>,
    /// What is to be done, in this order, by whoever has the project's keys.
    pub(crate) steps: Vec<String>,
    /// Of each package in question the newest release that stands and is not in question itself,
    /// where there is one: what to use meanwhile.
    pub(crate) good: Vec<Good>,
}

impl Document {
    /// What every report begins with.
    pub(crate) fn api() -> (String, String) {
        (API_VERSION.to_owned(), KIND.to_owned())
    }

    /// Its one encoding.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, ledger::json::JsonError> {
        let value = serde_json::to_value(self);
        let value = value.map_err(|e| ledger::json::JsonError::Shape(e.to_string()))?;
        ledger::json::to_canonical(&value)
    }
}

/// The project, as its newest version says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Project {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) version: u64,
    pub(crate) contact: String,
}

/// As of which checkpoint the history is complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AsOf {
    pub(crate) log: String,
    pub(crate) size: u64,
    pub(crate) root: String,
    /// When the policy's witnesses saw it, where it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) view_time: Option<u64>,
}

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct At {
    pub(crate) index: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) time: Option<u64>,
}

/// An artifact of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Artifact {
    pub(crate) name: String,
    pub(crate) sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<u64>,
}

/// A release that the question concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Release {
    pub(crate) index: u64,
    pub(crate) time: u64,
    pub(crate) purl: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    pub(crate) statement: String,
    pub(crate) artifacts: Vec<Artifact>,
    pub(crate) keys: Vec<String>,
    /// `stands`, `void` or `withdrawn`.
    pub(crate) standing: String,
    /// What is said against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) against: Option<Against>,
    /// The same bytes, stated again by keys that count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) restated: Option<At>,
    /// The release that this one states again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) restates: Option<String>,
}

/// Why a release does not stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Against {
    /// The statement that says so.
    pub(crate) statement: String,
    pub(crate) by: At,
    /// Since when that which it says is so.
    pub(crate) from: At,
    /// The key that was compromised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) successor: Option<String>,
}

/// A withdrawal in the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Withdrawal {
    pub(crate) index: u64,
    pub(crate) statement: String,
    /// The statement that it takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) release: Option<String>,
    /// Or the purl prefix whose life it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) prefix: Option<String>,
    pub(crate) reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) successor: Option<String>,
}

/// A revocation in the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Revocation {
    pub(crate) index: u64,
    pub(crate) statement: String,
    pub(crate) target: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compromised_since: Option<u64>,
    pub(crate) reason: String,
}

/// A key that is asked about, or that signed what is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Key {
    pub(crate) id: String,
    /// `root` or `release`.
    pub(crate) purpose: String,
    /// `in force`, `retired` or `revoked`.
    pub(crate) state: String,
    pub(crate) listed: At,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) left_out: Option<At>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) successor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) revoked: Option<At>,
    /// Nothing that it signed from this entry on counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<u64>,
    /// How many statements it signed.
    pub(crate) statements: u64,
}

/// A line of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) index: u64,
    pub(crate) time: u64,
    /// What kind of statement it is.
    pub(crate) kind: String,
    /// What it says, in a line.
    pub(crate) says: String,
    /// Its PAE hash.
    pub(crate) statement: String,
    /// The keys that signed it.
    pub(crate) keys: Vec<String>,
    /// `stands`, `void`, `withdrawn` or `replaced`.
    pub(crate) standing: String,
    /// The key, the statement or the version for whose sake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) because: Option<String>,
    /// The file that proves it, and its SHA-256.
    pub(crate) proof: String,
    pub(crate) sha256: String,
}

/// Bytes that a storage watch kept. Its word alone says where they came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Sample {
    /// The digest of the bytes.
    pub(crate) sha256: String,
    /// The bytes, where they were kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<u64>,
    /// Log indexes of the project's releases that have such an artifact.
    pub(crate) released: Vec<u64>,
    pub(crate) accounts: Vec<Account>,
}

/// How bytes came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Account {
    pub(crate) file: String,
    /// The file's own SHA-256.
    pub(crate) sha256: String,
    /// The address.
    pub(crate) subject: String,
    /// Why they were kept.
    pub(crate) why: String,
    pub(crate) user_agent: String,
    pub(crate) began: String,
    pub(crate) ended: String,
    /// Whether these are all bytes that were sent.
    pub(crate) whole: bool,
}

/// A prepared statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Next {
    pub(crate) file: String,
    /// What it says, in a line.
    pub(crate) says: String,
    /// Its PAE hash, which the signatures will be of.
    pub(crate) statement: String,
}

/// A release to use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Good {
    pub(crate) index: u64,
    pub(crate) purl: String,
}
