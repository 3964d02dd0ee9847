//! A witness, spoken to over real sockets: what it cosigns, what it refuses and how it says so,
//! and what of it outlives the process.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../tests/src/witness/played.rs"]
#[allow(dead_code)]
mod played;

mod batch;
mod bench;
mod damage;
mod disk;
mod durable;
mod evidence;
mod limits;
mod model;
mod program;
mod protocol;
mod published;
