//! `countersign audit`, the built program, against logs in directories and on loopback: sound ones,
//! and each that is tampered with, lies, answers badly, or is read by a program that is killed.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod histories;
mod kills;
mod made;
mod network;
mod sound;
mod tampered;
