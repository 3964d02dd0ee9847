//! kill -9 on a witness, while logs that sign several histories ask it to cosign them all.
//!
//! Each log's every history goes on from what was cosigned last, or a little before that, so
//! that after each kill there are others than the one that was cosigned which the witness
//! could be made to follow, had it forgotten anything. All cosignatures are collected, those of
//! answers and those that it shows, and each two of a log must be consistent ([`Chain`]).

use super::chain::Chain;
use super::played::Played;
use crate::kills::victim::Victim;
use crate::random::Random;
use crate::wire::{Answer, Connection, Place, add_checkpoint};
use crate::{Said, run as run_command};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tlog::hash::sha256;
use tlog::note::{Note, NoteSignature, parse_signatures};
use tlog::vkey::VerifierKey;

/// Logs that play.
const LOGS: u64 = 3;
/// Those who ask for each log at once.
const ASKERS: u64 = 2;
/// Histories of each log beside the one that was cosigned.
const FORKS: u64 = 2;
/// Leaves that each history has ahead.
const AHEAD: u64 = 200;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The program that makes the witness.
    pub maker: PathBuf,
    /// The program that serves, and is killed.
    pub program: PathBuf,
    /// A directory that does not exist yet.
    pub data: PathBuf,
    /// How often it is killed.
    pub kills: u64,
    /// Every choice follows from it; the moments of course do not.
    pub seed: u64,
    /// Whether a witness that forgets what it has cosigned is asked on, until it contradicts
    /// itself.
    pub forgive: bool,
}

/// What happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Kills, all of them.
    pub kills: u64,
    /// Kills before the witness listened.
    pub in_start: u64,
    /// Cosignatures, each compared with all others of its log.
    pub cosigned: u64,
    /// Requests that contradicted what was cosigned (422).
    pub refused: u64,
    /// Requests from another size (409).
    pub stale: u64,
    /// The first thing that went wrong; nothing more was done after it.
    pub failure: Option<String>,
}

impl Outcome {
    /// Adds what happened to another witness.
    pub fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.in_start += other.in_start;
        self.cosigned += other.cosigned;
        self.refused += other.refused;
        self.stale += other.stale;
        self.failure = self.failure.take().or(other.failure);
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "kills {} ({} in the start), cosigned {}, refused {} and stale {}",
            self.kills, self.in_start, self.cosigned, self.refused, self.stale
        )?;
        match &self.failure {
            Some(why) => write!(f, "; FAILED: {why}"),
            None => Ok(()),
        }
    }
}

/// A log with its histories.
struct Liar {
    histories: Vec<Arc<Played>>,
    chain: Chain,
    /// The size that the witness said last, or that it cosigned last.
    size: AtomicU64,
}

/// A cosignature that came back.
struct Ack {
    history: usize,
    size: u64,
    lines: Vec<NoteSignature>,
}

#[derive(Default)]
struct Asked {
    acks: Vec<Ack>,
    refused: u64,
    stale: u64,
}

struct Run<'a> {
    plan: &'a Plan,
    random: Random,
    witness: VerifierKey,
    liars: Vec<Liar>,
    usual_start: Duration,
    outcome: Outcome,
}

/// Kills and looks, to the end or to the first failure.
#[must_use]
pub fn run(plan: &Plan) -> Outcome {
    match Run::prepare(plan) {
        Ok(mut run) => {
            let failure = run.all().err();
            Outcome {
                failure,
                cosigned: run.liars.iter().map(|l| l.chain.cosignatures()).sum(),
                ..run.outcome
            }
        }
        Err(why) => Outcome {
            failure: Some(why),
            ..Outcome::default()
        },
    }
}

fn say(program: &Path, data: &Path, command: &str, more: &[String]) -> Result<String, String> {
    let mut run = Command::new(program);
    run.arg(command).arg("--data").arg(data).args(more);
    let Said { code, out, err } = run_command(run)?;
    if code != 0 {
        return Err(format!("{command}: exit code {code}: {err}"));
    }
    String::from_utf8(out).map_err(|e| e.to_string())
}

impl<'a> Run<'a> {
    fn prepare(plan: &'a Plan) -> Result<Self, String> {
        let name = ["--name".to_owned(), "witness.example".to_owned()];
        let vkey = say(&plan.maker, &plan.data, "init", &name)?;
        let witness = VerifierKey::parse(vkey.trim()).map_err(|e| e.to_string())?;
        let mut liars = Vec::new();
        for number in 0..LOGS {
            let log = Played::new(&format!("log{number}.example"), number == 0)?;
            say(&plan.maker, &plan.data, "add-log", &log.vkeys())?;
            liars.push(Liar {
                histories: vec![Arc::new(log)],
                chain: Chain::default(),
                size: AtomicU64::new(0),
            });
        }
        Ok(Self {
            plan,
            random: Random::new(plan.seed),
            witness,
            liars,
            usual_start: Duration::from_millis(30),
            outcome: Outcome::default(),
        })
    }

    fn all(&mut self) -> Result<(), String> {
        for cycle in 1..=self.plan.kills {
            self.cycle().map_err(|e| format!("{e} (kill {cycle})"))?;
        }
        // What stands in the end is looked at once more.
        let mut victim = Victim::start(&self.plan.program, &self.plan.data, &[])?;
        let (place, _) = victim.listening()?;
        self.look(&place)?;
        victim.kill()
    }

    /// One start, and one kill.
    fn cycle(&mut self) -> Result<(), String> {
        let mut victim = Victim::start(&self.plan.program, &self.plan.data, &[])?;
        if self.random.below(6) == 0 {
            let share = self.random.below(1100) as f64 / 1000.0;
            std::thread::sleep(self.usual_start.mul_f64(share));
            self.outcome.in_start += 1;
            self.outcome.kills += 1;
            return victim.kill();
        }
        let (place, took) = victim.listening()?;
        self.usual_start = took;
        self.look(&place)?;
        self.lie();
        let after = Duration::from_micros(self.random.below(120_000));
        let seeds: Vec<u64> = (0..LOGS * ASKERS).map(|_| self.random.bits()).collect();
        let killed = AtomicBool::new(false);
        let (asked, done) = std::thread::scope(|scope| {
            let mut seeds = seeds.into_iter();
            let mut threads = Vec::new();
            for liar in &self.liars {
                for seed in seeds.by_ref().take(ASKERS as usize) {
                    let (place, killed) = (&place, &killed);
                    threads.push(scope.spawn(move || ask(liar, place, seed, killed)));
                }
            }
            std::thread::sleep(after);
            let done = victim.kill();
            killed.store(true, Ordering::Relaxed);
            let asked = threads.into_iter().map(|thread| thread.join());
            let asked: Vec<_> = asked
                .map(|a| a.unwrap_or(Err("an asker panicked".into())))
                .collect();
            (asked, done)
        });
        done?;
        self.outcome.kills += 1;
        let mut threads = asked.into_iter();
        for liar in &mut self.liars {
            for asked in threads.by_ref().take(ASKERS as usize) {
                let asked = asked?;
                self.outcome.refused += asked.refused;
                self.outcome.stale += asked.stale;
                for ack in asked.acks {
                    let history = liar.histories.get(ack.history);
                    let history = history.ok_or("no such history")?;
                    liar.chain
                        .take(&self.witness, history, ack.size, ack.lines)?;
                }
            }
        }
        Ok(())
    }

    /// What the witness shows must be of what it has cosigned, and not older.
    fn look(&mut self, place: &Place) -> Result<(), String> {
        let mut connection = Connection::new(place, PATIENCE);
        for liar in &mut self.liars {
            let origin = liar.histories.first().map(|h| h.origin.clone());
            let origin = origin.unwrap_or_default();
            let hash = hex::encode(sha256(origin.as_bytes()));
            let answer = connection.get(&format!("/{hash}/checkpoint"))?;
            let least = liar.chain.size();
            let size = match answer.status {
                404 => 0,
                200 => liar.shown(&self.witness, &answer)?,
                other => return Err(format!("GET checkpoint: {other}")),
            };
            if size < least && !self.plan.forgive {
                return Err(format!(
                    "lost: {origin}: it cosigned {least} and shows {size}"
                ));
            }
            liar.size.store(size, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Gives each log new histories: one goes on from what was cosigned, the others leave it
    /// there or a little before.
    fn lie(&mut self) {
        for liar in &mut self.liars {
            let base = liar.chain.history();
            let base = base.or_else(|| liar.histories.first().cloned());
            let Some(base) = base else { continue };
            let size = liar.size.load(Ordering::Relaxed);
            let mut straight = (*base).clone();
            straight.grow(liar.chain.size().max(size) + AHEAD, self.random.bits());
            let mut histories = vec![Arc::new(straight.clone())];
            for _ in 0..FORKS {
                let at = size.saturating_sub(self.random.below(4));
                histories.push(Arc::new(straight.fork(at, self.random.bits())));
            }
            liar.histories = histories;
        }
    }
}

impl Liar {
    /// Takes in a checkpoint that is shown; gives its size. It may be one whose answer was
    /// cut off by the kill, of any of the histories.
    fn shown(&mut self, witness: &VerifierKey, answer: &Answer) -> Result<u64, String> {
        let note = Note::parse(&answer.body).map_err(|e| e.to_string())?;
        let checkpoint = tlog::checkpoint::Checkpoint::parse(&note.text);
        let checkpoint = checkpoint.map_err(|e| e.to_string())?;
        let size = checkpoint.size;
        let mut histories = self.histories.iter();
        let history = histories.find(|h| h.size() >= size && h.root(size) == checkpoint.root);
        let history = history.ok_or("inconsistent: it shows what nobody asked for")?;
        let history = Arc::clone(history);
        self.chain.take(witness, &history, size, note.signatures)?;
        Ok(size)
    }
}

/// Asks for one log until the witness is gone.
fn ask(liar: &Liar, place: &Place, seed: u64, killed: &AtomicBool) -> Result<Asked, String> {
    let mut random = Random::new(seed);
    let mut connection = Connection::new(place, PATIENCE);
    let mut asked = Asked::default();
    let began = Instant::now();
    while !killed.load(Ordering::Relaxed) && began.elapsed() < PATIENCE {
        let choice = random.below(liar.histories.len() as u64);
        let history = usize::try_from(choice).unwrap_or(0);
        let Some(log) = liar.histories.get(history) else {
            break;
        };
        let old = liar.size.load(Ordering::Relaxed);
        let size = (old + random.below(4)).min(log.size());
        let request = add_checkpoint(&place.host, &log.body(old.min(size), size));
        // Nothing came back: the kill.
        let Ok(answer) = connection.send(&request) else {
            break;
        };
        match answer.status {
            200 => {
                let text = String::from_utf8(answer.body).map_err(|e| e.to_string())?;
                let lines = parse_signatures(&text).map_err(|e| e.to_string())?;
                asked.acks.push(Ack {
                    history,
                    size,
                    lines,
                });
                liar.size.fetch_max(size, Ordering::Relaxed);
            }
            409 => {
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                let said = text.trim_end().parse();
                let said = said.map_err(|_| format!("409 with {text:?}"))?;
                liar.size.store(said, Ordering::Relaxed);
                asked.stale += 1;
            }
            422 => asked.refused += 1,
            other => return Err(format!("status {other}: {}", answer.kind())),
        }
    }
    Ok(asked)
}
