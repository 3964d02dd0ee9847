//! `countersign-floor`: how long one P-256 verification takes on this machine now, on all
//! cores at once. What the log and its check are measured against (docs/benchmarks.md).
#![forbid(unsafe_code)]

use clap::Parser;
use countersign_tests::load::process::sample;
use keys::{SecretKey, Signer as _};
use std::num::NonZero;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Signatures that each core verifies, each another.
const SIGNATURES: u64 = 256;

/// Measure one P-256 verification, on all cores at once.
#[derive(Parser)]
#[command(name = "countersign-floor", version)]
struct Args {
    /// Seconds to measure
    #[arg(long, default_value_t = 3, value_name = "S")]
    seconds: u64,
    /// Threads (else one a core)
    #[arg(long, value_name = "N")]
    threads: Option<NonZero<usize>>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("countersign-floor: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<String, String> {
    let cores = std::thread::available_parallelism().map_err(|e| e.to_string())?;
    let threads = args.threads.unwrap_or(cores).get();
    let key = SecretKey::generate().map_err(|e| e.to_string())?;
    let mut signed = Vec::new();
    for n in 0..SIGNATURES {
        // About as long as what is signed of a release.
        let message = n.to_be_bytes().repeat(64);
        let signature = key.sign(&message).map_err(|e| e.to_string())?;
        signed.push((message, signature));
    }
    let cpu = || sample(std::process::id()).map_or(Duration::ZERO, |s| s.cpu);
    let (before, started) = (cpu(), Instant::now());
    let end = started + Duration::from_secs(args.seconds);
    let one = || {
        let mut done = 0u64;
        while Instant::now() < end {
            for (message, signature) in &signed {
                let verified = key.public_key().verify(message, signature);
                verified.map_err(|e| e.to_string())?;
                done += 1;
            }
        }
        Ok::<u64, String>(done)
    };
    let done = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        let mut done = 0;
        for thread in all {
            done += thread.join().map_err(|_| "a thread panicked")??;
        }
        Ok::<u64, String>(done)
    })?;
    let (took, cpu) = (started.elapsed(), cpu() - before);
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / done as f64;
    Ok(format!(
        "one P-256 verification: {:.1} µs of a core's time; on {threads} threads one each {:.1} µs",
        micros(cpu),
        micros(took)
    ))
}
