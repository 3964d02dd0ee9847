//! How many checkpoints a second a witness cosigns, and what it takes: logs that each grow by a
//! leaf at a time, all requests signed beforehand, a closed loop of some connections.

use super::played::Played;
use crate::load::process::{Sample, sample};
use crate::wire::{Connection, Place, add_checkpoint};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Keys given to one `add-log`: a command line has an end.
const AT_ONCE: usize = 500;

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What starts the witness, before `serve` and its options: `taskset -c 0 PROGRAM`, say.
    pub command: Vec<String>,
    /// Logs.
    pub logs: usize,
    /// Checkpoints of each.
    pub rounds: u64,
    /// Whether each log has a P-256 key too.
    pub both: bool,
    /// Connections at once.
    pub connections: usize,
}

/// What was measured.
#[derive(Debug, Clone)]
pub struct Report {
    /// The plan.
    pub plan: Plan,
    /// Seconds from the first request to the last answer.
    pub seconds: f64,
    /// Answers by status; `0` for none.
    pub statuses: BTreeMap<u16, u64>,
    /// Microseconds of the answers of status 200, in order.
    pub latencies: Vec<u64>,
    /// Cores used meanwhile.
    pub cores: f64,
    /// Largest resident memory, and of it what is no file's, in bytes.
    pub resident: u64,
    /// The part of it that is no file's.
    pub anonymous: u64,
}

impl Report {
    /// Cosigned a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.seconds.max(1e-9)
    }

    /// Whether each request was cosigned.
    #[must_use]
    pub fn good(&self) -> bool {
        self.statuses.keys().all(|status| *status == 200)
    }

    fn percentile(&self, share: f64) -> f64 {
        let at = (self.latencies.len() as f64 * share) as usize;
        let value = self.latencies.get(at).or(self.latencies.last());
        value.copied().unwrap_or_default() as f64 / 1000.0
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let statuses: BTreeMap<String, u64> = self
            .statuses
            .iter()
            .map(|(s, n)| (s.to_string(), *n))
            .collect();
        json!({
            "anonymousBytes": self.anonymous, "bothKeys": self.plan.both,
            "connections": self.plan.connections, "cores": self.cores, "logs": self.plan.logs,
            "p50Ms": self.percentile(0.5), "p99Ms": self.percentile(0.99), "perSecond": self.rate(),
            "residentBytes": self.resident, "rounds": self.plan.rounds, "seconds": self.seconds,
            "statuses": statuses,
        })
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let keys = if self.plan.both {
            "Ed25519 and P-256"
        } else {
            "Ed25519"
        };
        let mib = |bytes: u64| bytes as f64 / (1 << 20) as f64;
        format!(
            "{} logs with {} keys, {} checkpoints each, {} connections: {:.1} s\n\
             cosigned {} a second of {:.2} cores ({:.0} a second and core); p50 {:.2} ms, p99 {:.2} ms\n\
             memory {:.1} MiB at most, {:.1} MiB of it its own; answers by status {:?}\n",
            self.plan.logs,
            keys,
            self.plan.rounds,
            self.plan.connections,
            self.seconds,
            self.rate().round(),
            self.cores,
            self.rate() / self.cores.max(1e-9),
            self.percentile(0.5),
            self.percentile(0.99),
            mib(self.resident),
            mib(self.anonymous),
            self.statuses,
        )
    }
}

/// The witness's process; killed when dropped.
struct Witness(Child);

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn told(plan: &Plan, args: &[&str]) -> Result<Command, String> {
    let (program, first) = plan.command.split_first().ok_or("no program")?;
    let mut command = Command::new(program);
    command.args(first).args(args);
    Ok(command)
}

fn done(plan: &Plan, args: &[&str]) -> Result<(), String> {
    let said = crate::run(told(plan, args)?)?;
    if said.code == 0 {
        return Ok(());
    }
    Err(format!("{}: {}", args.first().unwrap_or(&""), said.err))
}

/// Makes a witness and its logs in `data`, which must not exist, and measures.
///
/// # Errors
/// A sentence. Answers other than 200 are no errors here: they are counted.
pub fn run(plan: &Plan, data: &Path, progress: &dyn Fn(&str)) -> Result<Report, String> {
    let dir = data.to_str().ok_or("the directory's name is no text")?;
    done(plan, &["init", "--data", dir, "--name", "witness.example"])?;
    progress("making logs");
    let mut logs = Vec::with_capacity(plan.logs);
    for number in 0..plan.logs {
        let mut log = Played::new(&format!("log{number}.example"), plan.both)?;
        log.grow(plan.rounds, 0);
        logs.push(log);
    }
    for some in logs.chunks(AT_ONCE) {
        let vkeys: Vec<String> = some.iter().flat_map(Played::vkeys).collect();
        let mut args = vec!["add-log", "--data", dir];
        args.extend(vkeys.iter().map(String::as_str));
        done(plan, &args)?;
    }
    let mut serve = told(plan, &["serve", "--data", dir, "--listen", "127.0.0.1:0"])?;
    serve.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = serve.spawn().map_err(|e| e.to_string())?;
    let out = child.stdout.take();
    let witness = Witness(child);
    let mut line = String::new();
    let out = out.ok_or("no output")?;
    BufReader::new(out)
        .read_line(&mut line)
        .map_err(|e| e.to_string())?;
    let url = line.trim().strip_prefix("listening on ");
    let place = Place::parse(url.ok_or("the witness did not start")?)?;
    progress("signing checkpoints");
    let requests = signed(plan, &logs, &place);
    drop(logs);
    progress("measuring");
    // `taskset` and its like become the program, so this is its process.
    measure(plan, &place, requests, witness.0.id())
}

/// For each connection the requests of its logs, round by round.
fn signed(plan: &Plan, logs: &[Played], place: &Place) -> Vec<Vec<Vec<u8>>> {
    let of = |connection: usize| {
        let own = || logs.iter().skip(connection).step_by(plan.connections);
        let rounds = (1..=plan.rounds).flat_map(|size| own().map(move |log| (log, size)));
        rounds
            .map(|(log, size)| add_checkpoint(&place.host, &log.body(size - 1, size)))
            .collect()
    };
    std::thread::scope(|scope| {
        let of = &of;
        let all: Vec<_> = (0..plan.connections)
            .map(|connection| scope.spawn(move || of(connection)))
            .collect();
        all.into_iter()
            .map(|thread| thread.join().unwrap_or_default())
            .collect()
    })
}

fn measure(
    plan: &Plan,
    place: &Place,
    requests: Vec<Vec<Vec<u8>>>,
    pid: u32,
) -> Result<Report, String> {
    let first = sample(pid).ok_or("the witness is gone")?;
    let (began, stop) = (Instant::now(), AtomicBool::new(false));
    let (answers, samples) = std::thread::scope(|scope| {
        let stop = &stop;
        let looking = scope.spawn(move || {
            let mut samples: Vec<Sample> = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                samples.extend(sample(pid));
                std::thread::sleep(Duration::from_millis(50));
            }
            samples
        });
        let all: Vec<_> = requests
            .iter()
            .map(|own| scope.spawn(move || send(place, own)))
            .collect();
        let answers: Vec<_> = all
            .into_iter()
            .map(|thread| thread.join().unwrap_or_default())
            .collect();
        stop.store(true, Ordering::Relaxed);
        (answers, looking.join().unwrap_or_default())
    });
    let seconds = began.elapsed().as_secs_f64();
    let last = sample(pid).ok_or("the witness ended")?;
    let mut statuses = BTreeMap::new();
    let mut latencies = Vec::new();
    for (status, micros) in answers.into_iter().flatten() {
        *statuses.entry(status).or_default() += 1;
        if status == 200 {
            latencies.push(micros);
        }
    }
    latencies.sort_unstable();
    let over = (last.at - first.at).as_secs_f64().max(1e-6);
    let most = |of: fn(&Sample) -> u64| samples.iter().chain([&last]).map(of).max();
    Ok(Report {
        plan: plan.clone(),
        seconds,
        statuses,
        latencies,
        cores: last.cpu.saturating_sub(first.cpu).as_secs_f64() / over,
        resident: most(|s| s.resident).unwrap_or_default(),
        anonymous: most(|s| s.anonymous).unwrap_or_default(),
    })
}

fn send(place: &Place, requests: &[Vec<u8>]) -> Vec<(u16, u64)> {
    let mut connection = Connection::new(place, PATIENCE);
    let each = requests.iter().map(|request| {
        let began = Instant::now();
        let status = connection.send(request).map_or(0, |answer| answer.status);
        let micros = began.elapsed().as_micros();
        (status, u64::try_from(micros).unwrap_or(u64::MAX))
    });
    each.collect()
}
