//! The kill -9 harness: the built server under load, killed at random moments and started
//! again on the same directory, over and over. What it has acknowledged must stand, and no
//! two checkpoints that it ever showed may contradict each other.
//!
//! SIGKILL takes the process and leaves the kernel: it finds what was acknowledged before it
//! was handed to the system, and every order of effects that a recovery cannot cope with. A
//! loss of power, which takes the kernel's caches too, is another test's.

pub mod audit;
pub mod publish;
pub mod seen;
pub mod victim;

use crate::load::stock::{Publisher, founding};
use crate::random::Random;
use crate::wire::{Connection, Place};
use audit::Audit;
use countersign::policy::Policy;
use keys::SecretKey;
use ledger::envelope::Envelope;
use ledger::trust::TrustDocument;
use publish::{Ack, Author, Promise, Stage};
use seen::Seen;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tlog::vkey::VerifierKey;
use victim::Victim;

const ORIGIN: &str = "log.example";
/// The server's further arguments.
const OPEN: &[&str] = &["--admit", "open"];
/// Those who publish at once.
const AUTHORS: u64 = 4;
/// Longest wait for an answer by whoever audits.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait for a tile's end.
const TILE_END: Duration = Duration::from_secs(3);

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server's program.
    pub server: PathBuf,
    /// A directory that does not exist yet.
    pub data: PathBuf,
    /// A program that grows the new log first, and to how many leaves.
    pub fill: Option<(PathBuf, u64)>,
    /// How often it is killed.
    pub kills: u64,
    /// Every choice follows from it; the moments of course do not.
    pub seed: u64,
    /// After so many kills all leaves are read again.
    pub again_every: u64,
    /// One bundle in so many also goes through the client's verifier, with all signatures.
    pub whole_every: u64,
}

/// What happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Kills, all of them.
    pub kills: u64,
    /// Kills before the server listened.
    pub in_start: u64,
    /// Kills when a tile was about to become full.
    pub at_tile_end: u64,
    /// Bundles received, repeated ones included.
    pub acknowledged: u64,
    /// Different checkpoints seen, each compared with the leaves.
    pub compared: u64,
    /// Leaves in the end.
    pub leaves: u64,
    /// The time that it took.
    pub took: Duration,
    /// The first thing that went wrong; nothing more was done after it.
    pub failure: Option<String>,
}

impl Outcome {
    /// Adds what happened to another log.
    pub fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.in_start += other.in_start;
        self.at_tile_end += other.at_tile_end;
        self.acknowledged += other.acknowledged;
        self.compared += other.compared;
        self.leaves += other.leaves;
        self.took += other.took;
        self.failure = self.failure.take().or(other.failure);
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = |what: &str| {
            let failure = self.failure.as_deref().unwrap_or_default();
            u8::from(failure.starts_with(what))
        };
        write!(
            f,
            "kills {} ({} in the start, {} at a tile's end), acknowledged {}, checkpoints compared {}, leaves {}, \
             lost {}, inconsistent {}, {:.1} s",
            self.kills,
            self.in_start,
            self.at_tile_end,
            self.acknowledged,
            self.compared,
            self.leaves,
            failed("lost"),
            failed("inconsistent"),
            self.took.as_secs_f64()
        )?;
        match &self.failure {
            Some(why) => write!(f, "; FAILED: {why}"),
            None => Ok(()),
        }
    }
}

/// When a server is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// In a share of the time that the last start took.
    InStart(f64),
    /// So long after it listens, without a look at it before.
    Early(Duration),
    /// So long after it listens, at least.
    Later(Duration),
    /// So long after all but so many leaves of a tile were acknowledged.
    TileEnd(u64, Duration),
}

impl Moment {
    fn choose(random: &mut Random) -> Self {
        let micros = |random: &mut Random, below| Duration::from_micros(random.below(below));
        match random.below(8) {
            0 | 1 => Self::InStart(random.below(1100) as f64 / 1000.0),
            2 => Self::Early(micros(random, 20_000)),
            3 | 4 => Self::TileEnd(random.below(16), micros(random, 4_000)),
            _ => Self::Later(micros(random, 300_000)),
        }
    }
}

struct Run<'a> {
    plan: &'a Plan,
    random: Random,
    publisher: Publisher,
    key: SecretKey,
    policy: Policy,
    seen: Seen,
    audit: Audit,
    authors: Vec<Author>,
    /// Promises that no audit has looked at yet.
    promises: Vec<Promise>,
    next: AtomicU64,
    top: AtomicU64,
    usual_start: Duration,
    bundles: u64,
    outcome: Outcome,
}

/// Kills and looks, to the end or to the first failure.
pub fn run(plan: &Plan, progress: &mut dyn FnMut(&Outcome)) -> Outcome {
    let started = Instant::now();
    let mut outcome = match Run::prepare(plan) {
        Ok(mut run) => {
            let failure = run.all(started, progress).err();
            Outcome {
                failure,
                ..run.state(started)
            }
        }
        Err(why) => Outcome {
            failure: Some(why),
            ..Outcome::default()
        },
    };
    outcome.took = started.elapsed();
    outcome
}

impl<'a> Run<'a> {
    /// Makes a log with one project.
    fn prepare(plan: &'a Plan) -> Result<Self, String> {
        let vkeys = init(&plan.server, &plan.data)?;
        if let Some((program, leaves)) = &plan.fill {
            let mut command = Command::new(program);
            command.arg("--leaves").arg(leaves.to_string());
            said(command, &plan.data)?;
        }
        let root = SecretKey::generate().map_err(|e| e.to_string())?;
        let key = SecretKey::generate().map_err(|e| e.to_string())?;
        let (name, prefix) = ("acme/x", "pkg:generic/acme/x");
        let payload = founding(name, ORIGIN, &root, &key, prefix).to_payload();
        let payload = payload.map_err(|e| e.to_string())?;
        let envelope = Envelope::sign(payload, &[&root, &key]).map_err(|e| e.to_string())?;
        let id = envelope.pae_hash();
        let document = TrustDocument::new(ORIGIN, vkeys.clone(), id, name, "quorum none\n");
        let policy = Policy::from_trust(&document, None).map_err(|e| e.to_string())?;
        let keys = vkeys.iter().map(|v| VerifierKey::parse(v));
        let keys = keys.collect::<Result<Vec<_>, _>>();
        let seen = Seen::new(ORIGIN, keys.map_err(|e| e.to_string())?);
        let mut victim = Victim::start(&plan.server, &plan.data, OPEN)?;
        let (place, usual_start) = victim.listening()?;
        let mut log = Connection::new(&place, PATIENCE);
        let answer = log.submit(&envelope.to_json().to_string())?;
        if answer.status != 200 {
            return Err(format!("the project is refused: {}", answer.kind()));
        }
        let publisher = Publisher::look_up(&mut log, name)?;
        victim.kill()?;
        Ok(Self {
            plan,
            random: Random::new(plan.seed),
            publisher,
            key,
            policy,
            seen,
            audit: Audit::default(),
            authors: (1..=AUTHORS)
                .map(|n| Author::new(plan.seed ^ (n << 48)))
                .collect(),
            promises: Vec::new(),
            next: AtomicU64::new(0),
            top: AtomicU64::new(0),
            usual_start,
            bundles: 0,
            outcome: Outcome::default(),
        })
    }

    fn all(&mut self, started: Instant, progress: &mut dyn FnMut(&Outcome)) -> Result<(), String> {
        let step = (self.plan.kills / 20).max(5);
        for cycle in 1..=self.plan.kills {
            let moment = Moment::choose(&mut self.random);
            let again = cycle.is_multiple_of(self.plan.again_every);
            self.cycle(moment, again)
                .map_err(|e| format!("{e} (kill {cycle}, {moment:?})"))?;
            if cycle.is_multiple_of(step) {
                progress(&self.state(started));
            }
        }
        self.end()
    }

    fn state(&self, started: Instant) -> Outcome {
        Outcome {
            compared: self.audit.compared,
            leaves: self.audit.size(),
            took: started.elapsed(),
            ..self.outcome.clone()
        }
    }

    /// One start, and one kill.
    fn cycle(&mut self, moment: Moment, again: bool) -> Result<(), String> {
        let mut victim = Victim::start(&self.plan.server, &self.plan.data, OPEN)?;
        if let Moment::InStart(share) = moment {
            std::thread::sleep(self.usual_start.mul_f64(share));
            victim.kill()?;
            self.outcome.kills += 1;
            self.outcome.in_start += 1;
            return Ok(());
        }
        let (place, took) = victim.listening()?;
        let listening = Instant::now();
        self.usual_start = took;
        // Before anybody adds to it: all of this must be there again.
        let least = self.seen.largest().max(self.top.load(Ordering::Relaxed));
        let mut authors = std::mem::take(&mut self.authors);
        let stage = Stage {
            publisher: &self.publisher,
            key: &self.key,
            next: &self.next,
            top: &self.top,
        };
        let (audited, killed, acks) = std::thread::scope(|scope| {
            let (place, seen, stage) = (&place, &self.seen, &stage);
            let publishing: Vec<_> = authors
                .iter_mut()
                .map(|author| scope.spawn(move || author.publish(stage, place)))
                .collect();
            let reading = scope.spawn(move || watch(place, seen));
            let audited = match moment {
                Moment::Early(_) => Ok(()),
                _ => look(
                    &mut self.audit,
                    &mut self.promises,
                    &mut self.random,
                    place,
                    seen,
                    least,
                    again,
                ),
            };
            if audited.is_ok() {
                wait(moment, listening, &self.top);
            }
            let killed = victim.kill();
            let mut acks = Vec::new();
            for author in publishing {
                acks.push(author.join().unwrap_or(Err("an author panicked".into())));
            }
            let watched = reading.join().unwrap_or(Err("the reader panicked".into()));
            (audited.and(watched), killed, acks)
        });
        self.authors = authors;
        self.outcome.kills += 1;
        if matches!(moment, Moment::TileEnd(..)) {
            self.outcome.at_tile_end += 1;
        }
        audited?;
        killed?;
        for acks in acks {
            self.promised(acks?)?;
        }
        Ok(())
    }

    /// Checks bundles and takes up what they promise.
    fn promised(&mut self, acks: Vec<Ack>) -> Result<(), String> {
        for ack in acks {
            self.bundles += 1;
            let whole = self
                .bundles
                .is_multiple_of(self.plan.whole_every)
                .then_some(&self.policy);
            let promise = Promise::of(&ack, &self.publisher, &self.seen, whole)?;
            self.promises.push(promise);
            self.outcome.acknowledged += 1;
        }
        Ok(())
    }

    /// After the last kill: what never got an answer is sent again, and everything is read.
    fn end(&mut self) -> Result<(), String> {
        let mut victim = Victim::start(&self.plan.server, &self.plan.data, OPEN)?;
        let (place, _) = victim.listening()?;
        let mut log = Connection::new(&place, PATIENCE);
        let ready = log.get("/readyz")?;
        if ready.status != 200 {
            return Err(format!("the log does not sign: {}", ready.kind()));
        }
        let mut authors = std::mem::take(&mut self.authors);
        for author in &mut authors {
            let stage = Stage {
                publisher: &self.publisher,
                key: &self.key,
                next: &self.next,
                top: &self.top,
            };
            let acks = author.settle(&stage, &mut log)?;
            self.promised(acks)?;
        }
        let least = self.seen.largest();
        look(
            &mut self.audit,
            &mut self.promises,
            &mut self.random,
            &place,
            &self.seen,
            least,
            true,
        )?;
        if self.audit.compared != self.seen.count() {
            return Err(format!(
                "{} checkpoints were seen and {} compared",
                self.seen.count(),
                self.audit.compared
            ));
        }
        victim.kill()
    }
}

fn init(server: &Path, data: &Path) -> Result<Vec<String>, String> {
    let mut command = Command::new(server);
    command.args(["init", "--origin", ORIGIN]);
    let out = said(command, data)?;
    Ok(out.lines().map(str::to_owned).collect())
}

/// What a program says that works on the log in `data`.
fn said(mut command: Command, data: &Path) -> Result<String, String> {
    command.arg("--data").arg(data);
    let said = crate::run(command)?;
    if said.code != 0 {
        return Err(said.err);
    }
    String::from_utf8(said.out).map_err(|e| e.to_string())
}

/// Audits what is new, all promises that wait, and a proof between two checkpoints.
fn look(
    audit: &mut Audit,
    promises: &mut Vec<Promise>,
    random: &mut Random,
    place: &Place,
    seen: &Seen,
    least: u64,
    again: bool,
) -> Result<(), String> {
    let mut log = Connection::new(place, PATIENCE);
    audit.catch_up(&mut log, seen, least)?;
    for promise in promises.iter() {
        promise.kept(audit)?;
    }
    promises.clear();
    let old = seen.from(random.below(audit.size()));
    if let Some((old, root)) = old.filter(|(size, _)| *size <= audit.size()) {
        audit.proves(&mut log, old, &root)?;
    }
    if again { audit.again(&mut log) } else { Ok(()) }
}

/// Takes in checkpoints until the server is gone. They never go back.
fn watch(place: &Place, seen: &Seen) -> Result<(), String> {
    let mut log = Connection::new(place, PATIENCE);
    let mut last = 0;
    while let Ok(answer) = log.get("/checkpoint") {
        if answer.status != 200 {
            return Err(format!("no checkpoint: {}", answer.kind()));
        }
        let (size, _) = seen.take(&answer.body)?;
        if size < last {
            return Err(format!(
                "inconsistent: a checkpoint of {last}, then one of {size}"
            ));
        }
        last = size;
        // Others want to be served too.
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Until the moment has come.
fn wait(moment: Moment, listening: Instant, top: &AtomicU64) {
    match moment {
        Moment::InStart(_) => {}
        Moment::Early(time) | Moment::Later(time) => {
            std::thread::sleep(time.saturating_sub(listening.elapsed()));
        }
        Moment::TileEnd(before, then) => {
            let now = top.load(Ordering::Relaxed) + before;
            let end = now.next_multiple_of(256).max(256) - before;
            let late = Instant::now() + TILE_END;
            while top.load(Ordering::Relaxed) < end && Instant::now() < late {
                std::thread::sleep(Duration::from_micros(200));
            }
            std::thread::sleep(then);
        }
    }
}
