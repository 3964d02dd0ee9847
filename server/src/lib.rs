//! The log: HTTP → admit → sequence → store → publish (docs/architecture.md, "The way of an
//! entry"). The program is `countersign-server`; this library lets tests and the quickstart
//! run the same server inside a process of their own. [`witness`] is the other program,
//! `countersign-witness`, which shares the door, the limits and the store.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod admit;
pub mod backup;
pub mod bundles;
pub mod check;
pub mod clock;
pub mod closed;
pub mod datadir;
pub mod error;
pub mod export;
pub mod guard;
pub mod high_water;
pub mod http;
pub mod import;
pub mod kept;
pub mod limit_args;
pub mod limits;
pub mod log;
pub mod logkeys;
pub mod metrics;
pub mod oidc;
pub mod operator;
pub mod pending;
pub mod publish;
pub mod reject;
pub mod rotation;
pub mod sequence;
pub mod server;
pub mod source;
pub mod store;
pub mod trust;
pub mod view;
pub mod witness;

mod agent;
mod frozen;
mod recheck;
mod recover;

pub use datadir::{init, vkeys};
pub use error::Error;
#[doc(hidden)]
pub use server::Stores;
pub use server::{Config, Handle, Server};
