//! `countersign-witness-load`: how many checkpoints a second a witness cosigns, durably, and how
//! much memory it takes with many logs.
#![forbid(unsafe_code)]

use clap::Parser;
use countersign_tests::witness::load::{Plan, run};
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

const AFTER: &str = "\
A witness on one core, the load on another:
  taskset -c 1 countersign-witness-load --witness 'taskset -c 0 target/release/countersign-witness'

The tool makes a witness and its logs in a temporary directory (TMPDIR says where: a tmpfs is no
durable place), starts the witness, signs all checkpoints beforehand, and then sends them: each log
grows by one leaf at a time, each connection waits for its answer before it asks again.

Exit codes: 0 each checkpoint was cosigned; 1 some were not; 2 wrong usage, or no witness.";

/// Measure a witness.
#[derive(Parser)]
#[command(name = "countersign-witness-load", version, after_help = AFTER)]
struct Args {
    /// What starts the witness, before `serve`; split at spaces
    #[arg(long, value_name = "COMMAND")]
    witness: String,
    /// Logs
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    logs: u32,
    /// Checkpoints of each log
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    rounds: u64,
    /// Connections at once
    #[arg(long, default_value_t = 64, value_name = "C", value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Each log signs with a P-256 key too
    #[arg(long)]
    both_keys: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match measure(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("countersign-witness-load: {why}");
            ExitCode::from(2)
        }
    }
}

fn measure(args: &Args) -> Result<bool, String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let plan = Plan {
        command: args.witness.split_whitespace().map(str::to_owned).collect(),
        logs: usize::try_from(args.logs).map_err(|e| e.to_string())?,
        rounds: args.rounds,
        both: args.both_keys,
        connections: usize::from(args.connections),
    };
    let progress = |what: &str| {
        if std::io::stderr().is_terminal() {
            eprintln!("{what}");
        }
    };
    let report = run(&plan, &dir.path().join("witness"), &progress)?;
    let text = if args.json {
        format!("{}\n", report.json())
    } else {
        report.text()
    };
    // A reader that has gone away is no error: the exit code says what it has to say.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(report.good())
}
