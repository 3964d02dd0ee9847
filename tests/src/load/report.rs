//! What a load measured, for people and for programs.

use super::drive::Loop;
use super::process::Sample;
use super::readers::Reads;
use super::tally::{Latencies, Tally};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// The server's process over the measured time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Its id.
    pub pid: u32,
    /// At the beginning of the measured time.
    pub first: Sample,
    /// At its end.
    pub last: Sample,
    /// Largest resident memory that was seen, in bytes.
    pub peak: u64,
}

impl Used {
    fn cpu(&self) -> Duration {
        self.last.cpu.saturating_sub(self.first.cpu)
    }

    fn cores(&self) -> f64 {
        let over = (self.last.at - self.first.at).as_secs_f64();
        self.cpu().as_secs_f64() / over.max(1e-6)
    }
}

/// A load and everything measured beside it.
#[derive(Debug)]
pub struct Report {
    /// The project.
    pub project: String,
    /// How releases were offered.
    pub how: Loop,
    /// Releases that were signed for it.
    pub releases: usize,
    /// How long signing took, on all cores.
    pub signing: Duration,
    /// One verification, before the load and after it.
    pub floor: (Duration, Duration),
    /// What came back.
    pub tally: Tally,
    /// The server's process, where it could be looked at.
    pub server: Option<Used>,
    /// Readers beside it.
    pub reads: Option<Reads>,
    /// Bundles that were verified after it.
    pub verified: Option<u64>,
}

impl Report {
    /// Accepted releases a second, as a share of the verifications that one core makes.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.tally.rate() * self.floor.0.as_secs_f64()
    }

    /// The same, where the server used more or less than one core: accepted releases a
    /// second of its CPU time.
    #[must_use]
    pub fn ratio_of_cpu(&self) -> Option<f64> {
        let cpu = self.server.map(|s| s.cpu().as_secs_f64())?;
        let each = self.tally.measured() as f64 / cpu;
        (cpu > 0.0).then_some(each * self.floor.0.as_secs_f64())
    }

    /// The measured time in seconds.
    fn seconds(&self) -> f64 {
        let (from, to) = self.tally.window();
        (to - from).as_secs_f64()
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let (mode, connections, rate) = match self.how {
            Loop::Closed { connections } => ("closed", connections, None),
            Loop::Open { rate, connections } => ("open", connections, Some(rate)),
        };
        let tally = &self.tally;
        let server = self.server.map(|s| {
            json!({
                "anonymousBytes": s.last.anonymous, "cores": s.cores(), "cpuSeconds": s.cpu().as_secs_f64(),
                "peakResidentBytes": s.peak, "pid": s.pid, "residentBytes": s.last.resident,
                "residentBytesBefore": s.first.resident,
            })
        });
        let reads = self.reads.as_ref().map(|r| {
            json!({
                "checkpoints": r.checkpoints, "entryBundles": r.entries, "errors": r.errors,
                "latencyMs": quantiles(&r.latencies()), "perSecond": r.rate(), "tiles": r.tiles,
            })
        });
        json!({
            "accepted": tally.accepted, "acceptedPerSecond": tally.rate(), "connections": connections,
            "duplicates": tally.duplicates, "errors": tally.errors,
            "floor": { "afterMicros": micros(self.floor.1), "micros": micros(self.floor.0) },
            "latencyMs": quantiles(&tally.latencies()), "measured": tally.measured(), "mode": mode,
            "notSent": tally.not_sent, "offered": tally.offered, "project": self.project, "rate": rate,
            "ratio": self.ratio(), "ratioOfCpu": self.ratio_of_cpu(), "readers": reads, "releases": self.releases,
            "seconds": self.seconds(), "server": server, "signingSeconds": self.signing.as_secs_f64(),
            "turnedAway": tally.turned_away, "verified": self.verified,
        })
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string never fails.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let tally = &self.tally;
        let how = match self.how {
            Loop::Closed { connections } => format!("closed loop, {connections} connections"),
            Loop::Open { rate, connections } => {
                format!("open loop, {rate} a second, {connections} connections at most")
            }
        };
        writeln!(out, "project      {}; {how}", self.project)?;
        writeln!(
            out,
            "signed       {} releases in {:.2} s, before the load",
            self.releases,
            self.signing.as_secs_f64()
        )?;
        writeln!(
            out,
            "accepted     {} of {} sent; {:.1} a second over {:.2} s",
            tally.accepted,
            tally.offered - tally.not_sent,
            tally.rate(),
            self.seconds()
        )?;
        if tally.duplicates > 0 {
            writeln!(
                out,
                "repeated     {}, each answered with the entry that stands",
                tally.duplicates
            )?;
        }
        if tally.not_sent > 0 {
            writeln!(
                out,
                "not sent     {}: every connection waited for an answer",
                tally.not_sent
            )?;
        }
        writeln!(out, "latency      {}", latency(&tally.latencies()))?;
        writeln!(
            out,
            "floor        one P-256 verification {:.1} µs before the load, {:.1} µs after it",
            micros(self.floor.0),
            micros(self.floor.1)
        )?;
        write!(
            out,
            "ratio        {:.3} of one core's verifications",
            self.ratio()
        )?;
        match self.ratio_of_cpu() {
            Some(ratio) => writeln!(out, "; {ratio:.3} by the server's CPU time")?,
            None => writeln!(out)?,
        }
        match &self.server {
            Some(s) => writeln!(
                out,
                "server       pid {}: {:.2} s CPU ({:.2} cores); resident {} MB, at most {} MB, {} MB without files",
                s.pid,
                s.cpu().as_secs_f64(),
                s.cores(),
                s.last.resident >> 20,
                s.peak >> 20,
                s.last.anonymous >> 20
            )?,
            None => writeln!(
                out,
                "server       not found on this machine: no CPU time, no memory (--server-pid PID)"
            )?,
        }
        if let Some(r) = &self.reads {
            writeln!(
                out,
                "reads        {:.0} a second ({} tiles, {} entry bundles, {} checkpoints); {}",
                r.rate(),
                r.tiles,
                r.entries,
                r.checkpoints,
                latency(&r.latencies())
            )?;
            for (kind, count) in &r.errors {
                writeln!(out, "read error   {kind}: {count}")?;
            }
        }
        if let Some(count) = self.verified {
            writeln!(out, "verified     {count} bundles, all good")?;
        }
        for (kind, count) in &tally.errors {
            writeln!(out, "error        {kind}: {count}")?;
        }
        Ok(())
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn quantiles(latencies: &Latencies) -> Value {
    let ms = |of: usize| latencies.at(of).as_secs_f64() * 1e3;
    json!({ "max": ms(1000), "p50": ms(500), "p99": ms(990), "p99.9": ms(999) })
}

fn latency(latencies: &Latencies) -> String {
    let ms = |of: usize| latencies.at(of).as_secs_f64() * 1e3;
    format!(
        "p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms",
        ms(500),
        ms(990),
        ms(999),
        ms(1000)
    )
}
