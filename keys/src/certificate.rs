//! Certificates for keys that live for minutes (docs/formats.md, "Certificates"): what we accept,
//! whether a path to an authority is valid, and how an authority issues them.
//!
//! The profile is that of a code-signing certificate with one name, as Sigstore's Fulcio has it.
//! `x509-cert` reads and writes; the path is validated by `rustls-webpki`, which rustls uses and
//! keeps. It looks at neither key usage, nor what must be critical, nor the anchor's own limits
//! and time: those the profile here is strict about. Pure: the time is an argument.

mod claims;
mod issue;
mod path;
mod pem;
mod profile;

pub use claims::CLAIMS_ARC;
pub use issue::{
    Authority, Identity, Life, make_intermediate, make_request, make_root, request_key,
};
pub use path::{Anchor, CertificateChain};
pub use pem::{read_certificates, read_request, write_certificate};
pub use profile::{EndCertificate, is_plain};

/// Largest certificate in bytes.
pub const MAX_CERTIFICATE_BYTES: usize = 4096;
/// Longest that an end certificate is valid, in seconds: 25 hours, a day and what clocks differ.
pub const MAX_LIFE: u64 = 90_000;
/// Most certificates in a chain, without the anchor.
pub const MAX_CHAIN: usize = 4;

/// Why a certificate or a chain of them is refused, or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// More bytes than a certificate of this profile can have.
    #[error("a certificate of {0} bytes, want at most {MAX_CERTIFICATE_BYTES}")]
    TooLarge(usize),
    /// No certificate, or too many.
    #[error("a chain of {0} certificates, want 1 to {MAX_CHAIN}")]
    Count(usize),
    /// Not strict DER of an X.509 certificate.
    #[error("not an X.509 certificate in strict DER: {0}")]
    Encoding(String),
    /// Not X.509 version 3, or with what only version 2 has.
    #[error("not an X.509 certificate of version 3")]
    Version,
    /// Not signed by ECDSA over SHA-256, or the two places that say so differ.
    #[error("the signature algorithm must be ecdsa-with-SHA256, in both places")]
    Algorithm,
    /// Not a P-256 key.
    #[error("{0}")]
    Key(String),
    /// A serial number that is 0, negative or longer than 20 bytes.
    #[error("the serial number must be positive and at most 20 bytes")]
    Serial,
    /// An end certificate that is valid for longer than a key should live that was made for one job.
    #[error("valid for {0} s, and an end certificate is for at most {MAX_LIFE} s")]
    Life(u64),
    /// It ends before it begins.
    #[error("its validity ends before it begins")]
    Validity,
    /// A subject where there must be none, or none where there must be one.
    #[error("the subject {0}")]
    Subject(&'static str),
    /// An extension given twice.
    #[error("extension {0} is there twice")]
    RepeatedExtension(String),
    /// A critical extension that is not known here.
    #[error("unknown critical extension {0}")]
    UnknownCritical(String),
    /// An extension that must be there is not, or not as the profile has it.
    #[error("{what}: {why}")]
    Extension {
        /// Which extension.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The name in it is not the one name that it must have.
    #[error("subject alternative name: {0}")]
    Name(String),
    /// A claim that is no text, or no issuer claim.
    #[error("claims: {0}")]
    Claim(String),
    /// An end certificate where an authority's must stand.
    #[error("it is no authority's certificate")]
    NotAuthority,
    /// An authority's certificate where an end certificate must stand.
    #[error("it is an authority's certificate, which signs no release")]
    IsAuthority,
    /// The chain does not lead to this authority.
    #[error("it was issued by another authority ({got}), want {want}")]
    OtherIssuer {
        /// The authority's subject.
        want: String,
        /// The issuer that the chain ends in.
        got: String,
    },
    /// The certificates in the chain were not issued by one another, in order.
    #[error("certificate {0} of the chain was not issued by the next")]
    Order(usize),
    /// More authorities below one than it allows.
    #[error("{below} authorities below {subject:?}, which allows {allowed}")]
    PathLength {
        /// Which authority.
        subject: String,
        /// How many it allows.
        allowed: u8,
        /// How many there are.
        below: usize,
    },
    /// Not valid at the time that is asked about.
    #[error("certificate of {subject:?} is valid from {not_before} to {not_after}, not at {time}")]
    Time {
        /// Which certificate, by its subject or name.
        subject: String,
        /// Unix seconds.
        not_before: u64,
        /// Unix seconds.
        not_after: u64,
        /// The time that is asked about, Unix seconds.
        time: u64,
    },
    /// The path is not valid: a signature, a name constraint, a usage.
    #[error("the path is not valid: {0}")]
    Path(String),
    /// Not a certificate request of the profile.
    #[error("certificate request: {0}")]
    Request(String),
    /// Its signature is not by the key in it: nothing shows that the sender holds that key.
    #[error("certificate request: its signature is not by its key: {0}")]
    Possession(String),
    /// It could not be made.
    #[error("the certificate could not be made: {0}")]
    Issue(String),
}

impl CertificateError {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "certificate-too-large",
            Self::Count(_) => "certificate-count",
            Self::Encoding(_) => "certificate-not-der",
            Self::Version => "certificate-version",
            Self::Algorithm => "certificate-algorithm",
            Self::Key(_) => "certificate-key",
            Self::Serial => "certificate-serial",
            Self::Life(_) => "certificate-life",
            Self::Validity => "certificate-validity",
            Self::Subject(_) => "certificate-subject",
            Self::RepeatedExtension(_) => "certificate-repeated-extension",
            Self::UnknownCritical(_) => "certificate-unknown-critical",
            Self::Extension { .. } => "certificate-extension",
            Self::Name(_) => "certificate-name",
            Self::Claim(_) => "certificate-claim",
            Self::NotAuthority => "certificate-not-authority",
            Self::IsAuthority => "certificate-is-authority",
            Self::OtherIssuer { .. } => "certificate-other-issuer",
            Self::Order(_) => "certificate-order",
            Self::PathLength { .. } => "certificate-path-length",
            Self::Time { .. } => "certificate-time",
            Self::Path(_) => "certificate-path",
            Self::Request(_) => "certificate-request",
            Self::Possession(_) => "certificate-possession",
            Self::Issue(_) => "certificate-not-made",
        }
    }
}

#[cfg(test)]
mod tests;
