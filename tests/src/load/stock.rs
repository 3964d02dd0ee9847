//! What a load sends: a project, and distinct releases of it signed beforehand.

use crate::wire::{Connection, submission};
use keys::{PublicKey, SecretKey, Signer as _};
use ledger::envelope::Envelope;
use ledger::statement::{Project, Subject, release_payload};
use ledger::{Hash, from_hex32};
use serde_json::Value;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Signatures that the floor is taken over, each another.
const FLOOR_SIGNATURES: u64 = 64;
/// How long each of the floor's rounds takes at least.
const FLOOR_ROUND: Duration = Duration::from_millis(25);

/// A project whose releases are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publisher {
    /// The project's id.
    pub id: Hash,
    /// Its name.
    pub name: String,
    /// What the purls of this run begin with: below one of the project's prefixes, and of
    /// no other run.
    pub purl: String,
}

impl Publisher {
    /// The project of that name (or id), as the log has it.
    ///
    /// # Errors
    /// A sentence: the log does not have it, or cannot be asked.
    pub fn look_up(log: &mut Connection, name: &str) -> Result<Self, String> {
        ledger::names::check_project_name(name).map_err(|e| e.to_string())?;
        // What a name may hold needs no other escape in a path.
        let segment = name.replace('/', "%2F");
        let answer = log.get(&format!("/api/v1/projects/{segment}"))?;
        let value = answer.json();
        if answer.status != 200 {
            let kind = answer.kind();
            return Err(format!(
                "project {name}: the log answers {kind}; found it with `countersign project init`, or use --new-project \
                 on a log that runs with --admit open"
            ));
        }
        let text = |v: Option<&Value>| v.and_then(Value::as_str).map(str::to_owned);
        let status = text(value.get("status")).unwrap_or_default();
        if status != "admitted" {
            return Err(format!(
                "project {name} is {status}; releases need an admitted one"
            ));
        }
        let id = text(value.get("id")).and_then(|id| from_hex32(&id));
        let prefix = text(value.get("purlPrefixes").and_then(|p| p.get(0)));
        match (id, prefix) {
            (Some(id), Some(prefix)) => Ok(Self::new(id, name, &prefix)),
            _ => Err(format!(
                "project {name}: the log's answer has no id or no purl prefix"
            )),
        }
    }

    /// Founds a project with new keys, on a log that admits every project. Its name is
    /// `PREFIX/load-TIME`; gives its release key.
    ///
    /// # Errors
    /// A sentence: the log refuses, or leaves it to its operator.
    pub fn found(log: &mut Connection, prefix: &str) -> Result<(Self, SecretKey), String> {
        let checkpoint = log.body("/checkpoint")?;
        let text = String::from_utf8_lossy(&checkpoint);
        let origin = text.lines().next().unwrap_or_default();
        let root = SecretKey::generate().map_err(|e| e.to_string())?;
        let release = SecretKey::generate().map_err(|e| e.to_string())?;
        let name = format!("{}/load-{}", prefix.trim_end_matches('/'), stamp());
        let purl = format!("pkg:generic/{name}");
        let project = founding(&name, origin, &root, &release, &purl);
        let payload = project.to_payload().map_err(|e| e.to_string())?;
        let envelope = Envelope::sign(payload, &[&root, &release]).map_err(|e| e.to_string())?;
        let answer = log.submit(&envelope.to_json().to_string())?;
        match answer.status {
            200 => Ok((Self::new(envelope.pae_hash(), &name, &purl), release)),
            202 => Err(format!(
                "project {name} waits for the log's operator: --new-project needs a log that runs with --admit open"
            )),
            _ => Err(format!("project {name}: the log answers {}", answer.kind())),
        }
    }

    fn new(id: Hash, name: &str, prefix: &str) -> Self {
        let purl = format!("{}/load-{}", prefix.trim_end_matches('/'), stamp());
        Self {
            id,
            name: name.to_owned(),
            purl,
        }
    }

    /// Release `n` of this run, signed.
    ///
    /// # Errors
    /// A sentence, where the log would not take such a release.
    pub fn release(&self, n: u64, key: &SecretKey) -> Result<Envelope, String> {
        let payload = self.payload(n)?;
        Envelope::sign(payload, &[key]).map_err(|e| e.to_string())
    }

    /// What release `n` of this run says: always the same bytes.
    ///
    /// # Errors
    /// As [`Publisher::release`].
    pub fn payload(&self, n: u64) -> Result<Vec<u8>, String> {
        let artifact = Subject {
            name: format!("artifact-{n}"),
            sha256: ledger::sha256(format!("{} {n}", self.purl).as_bytes()),
            size: Some(8),
            digests: Default::default(),
            download_location: None,
        };
        let purl = format!("{}@{n}", self.purl);
        release_payload(&self.id, &purl, &[artifact], None).map_err(|e| e.to_string())
    }

    /// Releases `0..count`, signed on all cores, as requests to `host`; about 1 KB each.
    ///
    /// # Errors
    /// As [`Publisher::release`].
    pub fn requests(
        &self,
        count: u64,
        key: &SecretKey,
        host: &str,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Vec<Box<[u8]>>, String> {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get) as u64;
        let share = count.div_ceil(cores).max(1);
        let done = AtomicUsize::new(0);
        let range = |from: u64, end: u64| {
            (from..end)
                .map(|n| {
                    let envelope = self.release(n, key)?.to_json().to_string();
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1);
                    Ok(submission(host, &envelope).into_boxed_slice())
                })
                .collect::<Result<Vec<_>, String>>()
        };
        let range = &range;
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..count)
                .step_by(usize::try_from(share).unwrap_or(usize::MAX))
                .map(|from| scope.spawn(move || range(from, count.min(from + share))))
                .collect();
            let mut requests = Vec::new();
            for worker in workers {
                requests.extend(worker.join().map_err(|_| "a signing thread panicked")??);
            }
            Ok(requests)
        })
    }
}

/// The first statement of a project with one key of each sort.
#[must_use]
pub fn founding(
    name: &str,
    origin: &str,
    root: &SecretKey,
    release: &SecretKey,
    prefix: &str,
) -> Project {
    Project {
        name: name.to_owned(),
        log: origin.to_owned(),
        version: 1,
        previous: None,
        roots: vec![root.public_key().clone()],
        root_threshold: 1,
        release_keys: vec![release.public_key().clone()],
        release_threshold: 1,
        authorities: Vec::new(),
        purl_prefixes: vec![prefix.to_owned()],
        contact: "nobody@example.org".into(),
        max_key_age: None,
        policy: None,
    }
}

/// A name for this moment.
fn stamp() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    format!("{:x}", now.map_or(0, |d| d.as_nanos()))
}

/// How long one P-256 verification takes on the core that asks: the median of eleven rounds,
/// each over [`FLOOR_SIGNATURES`] different signatures as often as they fit.
///
/// # Errors
/// A sentence, where a signature does not verify.
pub fn floor(publisher: &Publisher, key: &SecretKey) -> Result<Duration, String> {
    let public: &PublicKey = key.public_key();
    let mut signed = Vec::new();
    for n in 0..FLOOR_SIGNATURES {
        let envelope = publisher.release(n, key)?;
        let pae = envelope.pae();
        let sig = envelope.signatures.into_iter().next();
        signed.push((pae, sig.ok_or("an envelope without a signature")?.sig));
    }
    let mut rounds = Vec::new();
    for _ in 0..11 {
        let (started, mut done) = (Instant::now(), 0_u32);
        while started.elapsed() < FLOOR_ROUND {
            for (pae, sig) in &signed {
                public.verify(pae, sig).map_err(|e| e.to_string())?;
                done += 1;
            }
        }
        rounds.push(started.elapsed() / done);
    }
    rounds.sort();
    rounds
        .get(rounds.len() / 2)
        .copied()
        .ok_or_else(|| "no round".into())
}
