//! Incident reports, by the built programs: what is asked is answered, a stranger verifies it
//! offline, what was changed is found, and what is prepared can be signed and sent.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

mod answers;
mod changed;
mod judged;
mod published;
mod scene;
