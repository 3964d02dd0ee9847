//! Grows a log to an exact size without HTTP: for tests of exact sizes and for benchmarks.
//!
//! [`genuine`] writes what a real log would hold: one project, its admission, and distinct
//! releases by its key, in batches that each end with their ledger head, so that every
//! checkpoint made on the way is one that a client and an auditor accept. A batch has two
//! leaves at least, the first one three; so a genuine log cannot stop everywhere.
//! [`raw`] stops anywhere, with leaves of a kind that says nothing.

use countersign_server::Handle;
use keys::{SecretKey, Signer as _};
use ledger::Hash;
use ledger::envelope::Envelope;
use ledger::fold::Fold;
use ledger::leaf::{Action, Leaf, OperationLeaf, StatementLeaf};
use ledger::statement::{Project, Statement, Subject, release_payload};
use std::num::NonZero;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Leaves in one batch at most: the server commits a fill of up to this many as one.
pub const MAX_BATCH: u64 = 4096;
/// Leaves in one genuine batch at least, so that a remainder of one can always be avoided.
pub const MIN_BATCH: u64 = 4;
/// A project statement, its admission, and the head.
const FOUNDING: u64 = 3;

/// What a fill did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// Leaves before.
    pub from: u64,
    /// Leaves now.
    pub to: u64,
    /// Time spent making and signing leaves, on all cores.
    pub signing: Duration,
    /// Time spent in the log: from handing a batch over to its signed checkpoint.
    pub appending: Duration,
}

/// The opaque leaf at `index`: a kind that no program knows, which counts and confers nothing.
#[must_use]
pub fn raw_leaf(index: u64) -> Vec<u8> {
    format!("{{\"apiVersion\":\"countersign/v1\",\"kind\":\"fill\",\"n\":{index}}}").into_bytes()
}

/// Grows the log to exactly `leaves` with [`raw_leaf`]s. No head ends them, so its last
/// checkpoint proves no project's state until the next genuine batch.
///
/// # Errors
/// A sentence: the log is larger already, or the server refused.
pub fn raw(server: &Handle, leaves: u64, progress: &mut dyn FnMut(u64)) -> Result<Filled, String> {
    let from = size_below(server, leaves)?;
    let (mut size, mut filled) = (from, Filled::none(from));
    while size < leaves {
        let next = leaves.min(size + MAX_BATCH);
        let batch = (size..next).map(raw_leaf).collect();
        size = append(server, batch, next, &mut filled)?;
        progress(size);
    }
    Ok(filled)
}

/// Grows the log to exactly `leaves` with a project of its own and its releases, in batches
/// of `batch` leaves ([`MIN_BATCH`] to [`MAX_BATCH`]), each ending with its ledger head.
///
/// # Errors
/// A sentence: the log is larger already, no genuine log of that size can follow this one,
/// `batch` is out of bounds, or the server refused.
pub fn genuine(
    server: &Handle,
    leaves: u64,
    batch: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<Filled, String> {
    if !(MIN_BATCH..=MAX_BATCH).contains(&batch) {
        return Err(format!(
            "a batch is {MIN_BATCH} to {MAX_BATCH} leaves, not {batch}"
        ));
    }
    let from = size_below(server, leaves)?;
    let mut filled = Filled::none(from);
    if leaves == from {
        return Ok(filled);
    }
    if leaves - from < FOUNDING {
        return Err(format!(
            "a genuine log cannot go from {from} to {leaves} leaves: the first batch has a project, its admission \
             and a ledger head, so {} is the least; --raw fills with opaque leaves to any size",
            from + FOUNDING
        ));
    }
    // A copy of the ledger's state that runs ahead of the server's, to know each head.
    let fold = server.log().published().fold.clone();
    let mut writer = Writer::new(fold, server.log().origin.clone())?;
    let mut size = from;
    while size < leaves {
        let started = Instant::now();
        let next = size + batch_size(leaves - size, batch);
        let bytes = writer.batch(next - size)?;
        filled.signing += started.elapsed();
        size = append(server, bytes, next, &mut filled)?;
        progress(size);
    }
    Ok(filled)
}

/// Leaves of the next batch where `left` are wanted: never so that one leaf is left over,
/// as a ledger head alone is no batch.
fn batch_size(left: u64, batch: u64) -> u64 {
    let size = left.min(batch);
    if left - size == 1 { size - 1 } else { size }
}

impl Filled {
    fn none(size: u64) -> Self {
        Self {
            from: size,
            to: size,
            signing: Duration::ZERO,
            appending: Duration::ZERO,
        }
    }
}

fn size_below(server: &Handle, leaves: u64) -> Result<u64, String> {
    let size = server.log().view().size;
    if size > leaves {
        return Err(format!(
            "the log has {size} leaves already, more than {leaves}; a log never shrinks"
        ));
    }
    Ok(size)
}

/// Hands one batch over; the server commits it as one, with one checkpoint at its end.
fn append(
    server: &Handle,
    batch: Vec<Vec<u8>>,
    want: u64,
    filled: &mut Filled,
) -> Result<u64, String> {
    let started = Instant::now();
    let got = server.fill(batch).map_err(|e| e.to_string())?;
    filled.appending += started.elapsed();
    filled.to = got;
    if got == want {
        Ok(got)
    } else {
        Err(format!("the log has {got} leaves, want {want}"))
    }
}

/// Makes genuine leaves.
struct Writer {
    fold: Fold,
    release: SecretKey,
    project: Envelope,
    id: Hash,
    prefix: String,
    released: u64,
}

impl Writer {
    /// A project named after the size at which it begins, so that every fill of a log founds
    /// its own and no key has to be kept.
    fn new(fold: Fold, log: String) -> Result<Self, String> {
        let root = SecretKey::generate().map_err(|e| e.to_string())?;
        let release = SecretKey::generate().map_err(|e| e.to_string())?;
        let name = format!("fill/at-{}", fold.size());
        let prefix = format!("pkg:generic/{name}");
        let project = Project {
            name,
            log,
            version: 1,
            previous: None,
            roots: vec![root.public_key().clone()],
            root_threshold: 1,
            release_keys: vec![release.public_key().clone()],
            release_threshold: 1,
            authorities: Vec::new(),
            purl_prefixes: vec![prefix.clone()],
            contact: "nobody@example.org".into(),
            max_key_age: None,
            policy: None,
        };
        let payload = project.to_payload().map_err(|e| e.to_string())?;
        let project = Envelope::sign(payload, &[&root, &release]).map_err(|e| e.to_string())?;
        let id = project.pae_hash();
        Ok(Self {
            fold,
            release,
            project,
            id,
            prefix,
            released: 0,
        })
    }

    /// The next `size` leaves: statements, then their head.
    fn batch(&mut self, size: u64) -> Result<Vec<Vec<u8>>, String> {
        let time = unix_now().max(self.fold.last_time());
        let mut leaves = Vec::new();
        if self.fold.project(&self.id).is_none() {
            let envelope = self.project.clone();
            leaves.push(self.add(&statement(envelope, time)?)?);
            let admitted = OperationLeaf {
                action: Action::Admitted,
                by: "operator".into(),
                project: self.id,
                reason: None,
                time,
            };
            leaves.push(self.add(&Leaf::Operation(admitted))?);
        }
        let releases = size - 1 - leaves.len() as u64;
        for envelope in self.sign(releases)? {
            leaves.push(self.add(&statement(envelope, time)?)?);
        }
        let head = self.fold.next_head(time);
        leaves.push(self.add(&head)?);
        Ok(leaves)
    }

    /// Applies a leaf: one that a reader would ignore is an error here.
    fn add(&mut self, leaf: &Leaf) -> Result<Vec<u8>, String> {
        let bytes = leaf.to_bytes().map_err(|e| e.to_string())?;
        self.fold.apply(leaf).map_err(|e| e.to_string())?;
        Ok(bytes)
    }

    /// Signs that many further releases, on all cores.
    fn sign(&mut self, releases: u64) -> Result<Vec<Envelope>, String> {
        let (first, end) = (self.released, self.released + releases);
        self.released = end;
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get) as u64;
        let share = releases.div_ceil(cores).max(1);
        let this: &Self = self;
        std::thread::scope(|scope| {
            let workers: Vec<_> = (first..end)
                .step_by(usize::try_from(share).unwrap_or(usize::MAX))
                .map(|from| scope.spawn(move || this.sign_range(from, end.min(from + share))))
                .collect();
            let mut envelopes = Vec::new();
            for worker in workers {
                let part = worker.join().map_err(|_| "a signing thread panicked")?;
                envelopes.extend(part?);
            }
            Ok(envelopes)
        })
    }

    fn sign_range(&self, from: u64, end: u64) -> Result<Vec<Envelope>, String> {
        let sign = |n: u64| {
            let artifact = Subject {
                name: format!("artifact-{n}"),
                sha256: ledger::sha256(&n.to_be_bytes()),
                size: Some(8),
                digests: Default::default(),
                download_location: None,
            };
            let purl = format!("{}/artifact@{n}", self.prefix);
            let payload =
                release_payload(&self.id, &purl, &[artifact], None).map_err(|e| e.to_string())?;
            Envelope::sign(payload, &[&self.release]).map_err(|e| e.to_string())
        };
        (from..end).map(sign).collect()
    }
}

fn statement(envelope: Envelope, time: u64) -> Result<Leaf, String> {
    let statement = Statement::parse(&envelope.payload).map_err(|e| e.to_string())?;
    Ok(Leaf::Statement(Box::new(StatementLeaf {
        envelope,
        statement,
        time,
    })))
}

fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_land_on_every_size_that_a_genuine_log_can_have() {
        for batch in MIN_BATCH..20 {
            for left in FOUNDING..200 {
                let (mut rest, mut first) = (left, true);
                while rest > 0 {
                    let size = batch_size(rest, batch);
                    assert!(size <= batch, "{left} in batches of {batch}");
                    assert!(size >= if first { FOUNDING } else { 2 });
                    (rest, first) = (rest - size, false);
                }
            }
        }
    }
}
