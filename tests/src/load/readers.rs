//! Readers beside the load: what an auditor and a mirror do, at random places.

use super::tally::Latencies;
use crate::random::Random;
use crate::wire::{Connection, Place};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tlog::checkpoint::Checkpoint;
use tlog::tile::{EntryTile, TILE_WIDTH, Tile};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// One in so many reads is a checkpoint, and as many are entry bundles; the others are tiles
/// of hashes.
const EIGHTH: u64 = 8;

/// What readers did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reads {
    /// Full tiles of leaf hashes.
    pub tiles: u64,
    /// Full entry bundles.
    pub entries: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Errors by kind.
    pub errors: BTreeMap<String, u64>,
    /// Microseconds that each took.
    pub micros: Vec<u32>,
    /// From the first read to the last.
    pub elapsed: Duration,
}

impl Reads {
    /// All reads that were answered.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.tiles + self.entries + self.checkpoints
    }

    /// Reads a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.count() as f64 / self.elapsed.as_secs_f64().max(1e-6)
    }

    /// Their latencies.
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        Latencies::new(self.micros.clone())
    }

    /// Takes another reader's in.
    pub fn join(&mut self, other: Self) {
        self.tiles += other.tiles;
        self.entries += other.entries;
        self.checkpoints += other.checkpoints;
        for (kind, count) in other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
        self.micros.extend(other.micros);
        self.elapsed = self.elapsed.max(other.elapsed);
    }
}

/// Reads until `stop`, at most `rate` times a second if that is given. A log without a full
/// tile is asked for checkpoints only.
#[must_use]
pub fn read(place: &Place, seed: u64, rate: Option<f64>, stop: &AtomicBool) -> Reads {
    let mut log = Connection::new(place, PATIENCE);
    let (mut random, mut reads) = (Random::new(seed), Reads::default());
    let (started, mut full) = (Instant::now(), 0);
    for n in 0_u64.. {
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64(n as f64 / rate);
            std::thread::sleep(due.saturating_sub(started.elapsed()));
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let asked = Instant::now();
        let what = if full == 0 { 0 } else { n % EIGHTH };
        let index = random.below(full);
        let outcome = match what {
            0 => checkpoint(&mut log).map(|size| {
                reads.checkpoints += 1;
                full = size / u64::from(TILE_WIDTH);
            }),
            1 => entries(&mut log, index).map(|()| reads.entries += 1),
            _ => hashes(&mut log, index).map(|()| reads.tiles += 1),
        };
        match outcome {
            Ok(()) => {
                let micros = asked.elapsed().as_micros();
                reads.micros.push(u32::try_from(micros).unwrap_or(u32::MAX));
            }
            Err(kind) => *reads.errors.entry(kind).or_default() += 1,
        }
    }
    reads.elapsed = started.elapsed();
    reads
}

fn body(log: &mut Connection, path: &str) -> Result<Vec<u8>, String> {
    let answer = log.get(path).map_err(|_| "no-answer".to_owned())?;
    match answer.status {
        200 => Ok(answer.body),
        _ => Err(answer.kind()),
    }
}

fn checkpoint(log: &mut Connection) -> Result<u64, String> {
    let note = String::from_utf8(body(log, "/checkpoint")?).unwrap_or_default();
    // The text ends where the empty line before the signatures stands.
    let text = note.split_inclusive("\n\n").next().unwrap_or_default();
    let text = text.strip_suffix('\n').unwrap_or_default();
    let parsed = Checkpoint::parse(text).map_err(|_| "not-a-checkpoint")?;
    Ok(parsed.size)
}

fn hashes(log: &mut Connection, index: u64) -> Result<(), String> {
    let tile = Tile {
        level: 0,
        index,
        width: TILE_WIDTH,
    };
    match body(log, &format!("/{}", tile.path()))?.len() {
        8192 => Ok(()),
        _ => Err("tile-length".into()),
    }
}

fn entries(log: &mut Connection, index: u64) -> Result<(), String> {
    let width = TILE_WIDTH;
    let path = format!("/{}", EntryTile { index, width }.path());
    match body(log, &path)?.len() {
        0..512 => Err("entry-bundle-length".into()),
        _ => Ok(()),
    }
}
