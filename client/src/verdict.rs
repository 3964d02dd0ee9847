//! What the verifier is asked, and what it answers.

use crate::memory::{SeenCheckpoint, SeenHead, SeenRelease};
use crate::policy::ProjectPolicy;
use ledger::Hash;

/// What was downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Artifact<'a> {
    /// The name that it must have been released under.
    pub name: &'a str,
    /// SHA-256 of its bytes.
    pub sha256: Hash,
    /// Its size in bytes.
    pub size: u64,
}

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The project, pinned by the policy.
    pub project: &'a ProjectPolicy,
    /// The version, where one was named.
    pub version: Option<&'a str>,
    /// Whether, without a version, an older release than remembered or floored is refused.
    pub no_rollback: bool,
}

/// What a successful verification proved, for the memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The project's id.
    pub project: Hash,
    /// The artifact's name.
    pub artifact: String,
    /// The head's checkpoint.
    pub checkpoint: SeenCheckpoint,
    /// The project's head.
    pub head: SeenHead,
    /// The release.
    pub release: SeenRelease,
}

/// For whom the key that signed a release was certified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certified {
    /// The name in the certificate: a URI or an e-mail address, printable ASCII.
    pub san: String,
    /// Who attests it, printable ASCII.
    pub issuer: String,
    /// The certificate's last second, Unix time.
    pub not_after: u64,
}

/// A successful verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The release's purl.
    pub purl: String,
    /// The release's version.
    pub version: String,
    /// Its log index.
    pub index: u64,
    /// Its PAE hash.
    pub pae_hash: Hash,
    /// The release keys that signed it.
    pub keys: Vec<ledger::KeyId>,
    /// For whom that key was certified, where it was.
    pub certified: Option<Certified>,
    /// Version of the project statement that authorised them, and its log index.
    pub authorised_by: (u64, u64),
    /// Unix seconds from which the quorum's cosignatures show it to be public.
    pub first_public: Option<u64>,
    /// Unix seconds of the view, by the quorum's cosignatures.
    pub view_time: Option<u64>,
    /// What the memory should take up.
    pub proven: Proven,
}
