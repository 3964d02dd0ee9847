//! `keys`: the log's keys, and how they are rotated.

use crate::say;
use clap::{Args, Subcommand};
use countersign_server::{Error, rotation};
use std::path::PathBuf;

/// What to do with the log's keys.
#[derive(Subcommand)]
pub enum KeysCommand {
    /// List the vkeys: of the pair to be listed by projects, of one to be retired, of those before.
    List(Whose),
    /// Make a new pair of keys, which signs beside the old one; no server may run.
    ///
    /// From the next start on every checkpoint is signed by both pairs. Tell projects and
    /// witnesses the new vkeys; projects point their clients to them. The old pair signs until
    /// `keys retire`, also where that is late.
    Rotate {
        #[command(flatten)]
        whose: Whose,
        /// Days until the old pair may be retired: as long as clients may need to follow.
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(0..=3650))]
        overlap_days: u64,
    },
    /// Retire the old pair and remove its files; no server may run.
    ///
    /// From then on a client whose policy lists the old keys refuses the log.
    Retire {
        #[command(flatten)]
        whose: Whose,
        /// Also before its time has come.
        #[arg(long)]
        now: bool,
    },
}

/// Whose keys, and how they are shown.
#[derive(Args)]
pub struct Whose {
    /// The log's directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl KeysCommand {
    /// Does it, and shows the keys as they are then.
    ///
    /// # Errors
    /// [`Error`].
    pub fn run(self) -> Result<(), Error> {
        let (keys, json) = match self {
            Self::List(whose) => (rotation::list(&whose.data)?, whose.json),
            Self::Rotate {
                whose,
                overlap_days,
            } => (rotation::rotate(&whose.data, overlap_days)?, whose.json),
            Self::Retire { whose, now } => (rotation::retire(&whose.data, now)?, whose.json),
        };
        say(&if json {
            format!("{}\n", keys.json())
        } else {
            keys.text()
        })
    }
}
