//! The incident report: from a key, a digest, a version or a time window to everything in the log
//! that it concerns, each line with its proof, and to what is to be signed next and published
//! (docs/answering.md, "Incident report").
//!
//! A report is a pure function of what it holds: the maker's question ([`document::Asked`]), the
//! project's whole history with its proofs ([`proven`]), and samples from a quarantine
//! ([`samples`]). So whoever has the directory and a policy makes it again, offline, and compares.

pub(crate) mod build;
mod concern;
mod difference;
pub(crate) mod document;
pub(crate) mod folder;
mod html;
mod markdown;
pub(crate) mod next;
mod osv;
mod owner;
pub(crate) mod proven;
mod said;
pub(crate) mod samples;
mod story;
#[cfg(test)]
mod tests;
pub(crate) mod there;
pub(crate) mod verify;
