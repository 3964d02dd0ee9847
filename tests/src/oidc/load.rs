//! How many certificates a second a log issues: all tokens and requests made beforehand, a closed
//! loop of some connections for the most, then an open loop at a quarter of it for the latency.

use super::{Provider, authority, body, config, github, issuer, now};
use crate::Process;
use crate::load::process::sample;
use crate::wire::{Connection, Place, post};
use keys::SecretKey;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What starts the server, before `init` or `serve` and their options.
    pub command: Vec<String>,
    /// Certificates of the first part; the second has as many.
    pub certificates: usize,
    /// Connections at once.
    pub connections: usize,
    /// Whether tokens are signed by ES256, not RS256.
    pub es256: bool,
}

/// One part.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Answers by kind; `good` for a certificate.
    pub answers: BTreeMap<String, u64>,
    /// Microseconds of each, from when it was due, in order.
    pub latencies: Vec<u64>,
    /// Cores of the server that were busy.
    pub cores: f64,
}

impl Part {
    /// Certificates a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let good = self.answers.get("good").copied().unwrap_or_default();
        good as f64 / self.seconds.max(1e-9)
    }

    fn percentile(&self, share: f64) -> f64 {
        let at = (self.latencies.len() as f64 * share) as usize;
        let value = self.latencies.get(at).or(self.latencies.last());
        value.copied().unwrap_or_default() as f64 / 1000.0
    }

    fn json(&self) -> Value {
        json!({
            "answers": self.answers, "cores": self.cores, "p50Ms": self.percentile(0.5),
            "p99Ms": self.percentile(0.99), "perSecond": self.rate(), "seconds": self.seconds,
        })
    }

    fn text(&self) -> String {
        format!(
            "{:.0} certificates a second of {:.2} cores ({:.0} a second and core); p50 {:.2} ms, p99 {:.2} ms; {:?}\n",
            self.rate(),
            self.cores,
            self.rate() / self.cores.max(1e-9),
            self.percentile(0.5),
            self.percentile(0.99),
            self.answers,
        )
    }
}

/// Both parts.
#[derive(Debug, Clone)]
pub struct Report {
    /// As many as there can be.
    pub most: Part,
    /// At a quarter of that.
    pub quarter: Part,
}

impl Report {
    /// Whether everybody got a certificate.
    #[must_use]
    pub fn good(&self) -> bool {
        let parts = [&self.most, &self.quarter];
        parts.iter().all(|p| p.answers.keys().all(|k| k == "good"))
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({ "most": self.most.json(), "quarter": self.quarter.json() })
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "most:    {}quarter: {}",
            self.most.text(),
            self.quarter.text()
        )
    }
}

fn made(provider: &Provider, count: usize, es256: bool) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let bodies = Mutex::new(Vec::with_capacity(count));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let key = if es256 { &provider.ec } else { &provider.rsa };
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    let mut claims = github(provider.url(), now());
                    claims["exp"] = (now() + 6000).into();
                    let own = SecretKey::generate().unwrap();
                    let made = body(&key.token(&claims), &own);
                    bodies.lock().unwrap().push(made);
                }
            });
        }
    });
    bodies.into_inner().unwrap()
}

/// Sends all, at `rate` a second where it is given.
fn part(url: &str, pid: u32, bodies: &[String], connections: usize, rate: Option<f64>) -> Part {
    let place = Place::parse(url).unwrap();
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Part::default());
    let before = sample(pid);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let mut connection = Connection::new(&place, PATIENCE);
                let (mut latencies, mut answers) = (Vec::new(), BTreeMap::<String, u64>::new());
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(body) = bodies.get(at) else { break };
                    let due = match rate {
                        Some(rate) => start + Duration::from_secs_f64(at as f64 / rate),
                        None => Instant::now(),
                    };
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let path = "/api/v1/certificates";
                    let request = post(&place.host, path, "application/json", body.as_bytes());
                    let kind = match connection.send(&request) {
                        Ok(answer) if answer.status == 200 => "good".to_owned(),
                        Ok(answer) => answer.kind(),
                        Err(why) => why,
                    };
                    *answers.entry(kind).or_default() += 1;
                    let took = due.elapsed().as_micros();
                    latencies.push(u64::try_from(took).unwrap_or(u64::MAX));
                }
                let mut found = found.lock().unwrap();
                found.latencies.extend(latencies);
                for (kind, count) in answers {
                    *found.answers.entry(kind).or_default() += count;
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap();
    found.seconds = start.elapsed().as_secs_f64();
    if let (Some(before), Some(after)) = (before, sample(pid)) {
        found.cores = (after.cpu - before.cpu).as_secs_f64() / found.seconds.max(1e-9);
    }
    found.latencies.sort_unstable();
    found
}

/// Measures, with all files in `dir`, and the authority's own beside the log.
///
/// # Errors
/// A sentence: the server does not start.
pub fn run(plan: &Plan, dir: &Path, progress: &dyn Fn(&str)) -> Result<Report, String> {
    let (program, first) = plan.command.split_first().ok_or("no server is named")?;
    let command = |more: &[&str]| {
        let mut command = Command::new(program);
        command.args(first).args(more).current_dir(dir);
        command
    };
    let provider = Provider::start();
    let _ = authority(dir);
    let _ = config(dir, &issuer(provider.url(), "github-actions", ""));
    let init = ["init", "--data", "log", "--origin", super::AUDIENCE];
    let said = crate::run(command(&init))?;
    if said.code != 0 {
        return Err(said.err);
    }
    progress("making tokens, keys and requests");
    let bodies = made(&provider, plan.certificates * 2, plan.es256);
    let serve = "serve --data log --listen 127.0.0.1:0 --oidc-config oidc.toml";
    let serve: Vec<&str> = serve.split(' ').collect();
    let server = Process::start(command(&serve))?;
    let (first, second) = bodies.split_at(plan.certificates);
    progress("as many as there can be");
    let most = part(&server.url, server.id(), first, plan.connections, None);
    progress("a quarter of that");
    let rate = Some(most.rate() / 4.0).filter(|rate| *rate > 0.0);
    let quarter = part(&server.url, server.id(), second, plan.connections, rate);
    Ok(Report { most, quarter })
}
