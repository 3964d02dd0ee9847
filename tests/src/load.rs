//! The load tool's library part: signs releases beforehand, sends them over keep-alive
//! connections, and measures (docs/benchmarks.md, "Load").

pub mod drive;
pub mod process;
pub mod readers;
pub mod report;
pub mod stock;
pub mod tally;

use drive::{Drive, drive};
use keys::SecretKey;
use process::{Sample, sample};
use readers::Reads;
use report::{Report, Used};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use stock::{Publisher, floor};
use tally::Tally;

/// How often the server's process is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What is measured beside the load.
#[derive(Debug, Clone, Copy)]
pub struct Beside {
    /// The server's process.
    pub server: Option<u32>,
    /// Reading threads.
    pub readers: usize,
    /// Reads a second of all of them together; as many as they can if it is not given.
    pub reads: Option<f64>,
}

/// Sends and measures. The floor is taken on the cores that the caller runs on, before the
/// load and again after it.
///
/// # Errors
/// A sentence. Refused and failed submissions are no errors here: they are counted.
pub fn run(
    publisher: &Publisher,
    key: &SecretKey,
    signing: Duration,
    load: Drive,
    beside: Beside,
    progress: &mut dyn FnMut(&Tally),
) -> Result<Report, String> {
    let before = floor(publisher, key)?;
    let (how, releases) = (load.how, load.requests.len());
    let place = load.place.clone();
    let stop = AtomicBool::new(false);
    let (tally, samples, reads) = std::thread::scope(|scope| {
        let (stop, place) = (&stop, &place);
        let looks = beside
            .server
            .map(|pid| scope.spawn(move || look(pid, stop)));
        let share = beside.reads.map(|rate| rate / beside.readers.max(1) as f64);
        let readers: Vec<_> = (0..beside.readers)
            .map(|n| scope.spawn(move || readers::read(place, n as u64, share, stop)))
            .collect();
        let tally = drive(load, progress);
        stop.store(true, Ordering::Relaxed);
        let samples = looks.and_then(|l| l.join().ok()).unwrap_or_default();
        let mut reads = Reads::default();
        for reader in readers {
            reads.join(reader.join().unwrap_or_default());
        }
        (tally, samples, reads)
    });
    let tally = tally?;
    Ok(Report {
        project: publisher.name.clone(),
        how,
        releases,
        signing,
        floor: (before, floor(publisher, key)?),
        server: beside.server.and_then(|pid| used(pid, &samples, &tally)),
        tally,
        reads: (beside.readers > 0).then_some(reads),
        verified: None,
    })
}

fn look(pid: u32, stop: &AtomicBool) -> Vec<Sample> {
    let mut samples = Vec::new();
    loop {
        let last = stop.load(Ordering::Relaxed);
        samples.extend(sample(pid));
        if last {
            return samples;
        }
        std::thread::sleep(LOOK);
    }
}

/// What the process used from the last sample before the measured time to the first after it.
fn used(pid: u32, samples: &[Sample], tally: &Tally) -> Option<Used> {
    let (from, to) = tally.window();
    let first = samples.iter().rfind(|s| s.at <= from);
    let last = samples.iter().find(|s| s.at >= to);
    Some(Used {
        pid,
        first: *first.or(samples.first())?,
        last: *last.or(samples.last())?,
        peak: samples.iter().map(|s| s.resident).max()?,
    })
}
