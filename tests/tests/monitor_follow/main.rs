//! What `countersign monitor` finds where it follows a log: real servers, and the tasks as the
//! service runs them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

mod desk;
mod heads;
mod leaves;
#[path = "../lying_log/liar.rs"]
mod liar;
mod lies;
#[path = "../lying_log/stub.rs"]
mod stub;
mod witnesses;
