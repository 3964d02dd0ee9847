//! `countersign monitor`: what a project's owner lets run (docs/monitoring.md). It follows logs,
//! watches what is served, and tells people of what they did not expect.
//!
//! - A [`task::Task`] looks at one thing — a project in a log, a witness, an address — and says
//!   what it found as [`alert::Finding`]s.
//! - The [`book`] keeps what was found, durable before a task's progress is: an alert may be
//!   raised twice after a crash, which its id hides, and is never lost.
//! - [`sinks`] carry alerts to people, again and again until somebody acknowledges them, and
//!   prove once a day that they still do.
//! - The [`service`] runs all this on a few threads.

pub mod alert;
pub mod announced;
pub mod book;
pub mod config;
pub mod follow;
pub mod listen;
pub mod metrics;
mod run;
pub mod service;
pub mod sinks;
pub mod task;
pub mod watch;
