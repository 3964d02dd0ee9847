//! `countersign-fill`: grows a log that no server is serving to an exact number of leaves,
//! without HTTP. For tests and benchmarks; a log that people rely on has no use for it.
#![forbid(unsafe_code)]

use clap::Parser;
use countersign_server::{Config, Server};
use countersign_tests::fill::{self, Filled};
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Grow a log to an exact number of leaves, without HTTP.
///
/// Leaves are genuine: one project and its distinct, signed releases, in batches that each
/// end with their ledger head. A genuine log of 1 or 2 leaves does not exist; --raw makes
/// any size.
#[derive(Parser)]
#[command(name = "countersign-fill", version)]
struct Args {
    /// The log's directory, made by `countersign-server init`; no server may run on it
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Leaves that the log has in the end
    #[arg(long, value_name = "N")]
    leaves: u64,
    /// Leaves in a batch, its ledger head included
    #[arg(long, default_value_t = 1024, value_name = "N", value_parser = clap::value_parser!(u64).range(fill::MIN_BATCH..=fill::MAX_BATCH))]
    batch: u64,
    /// Fill with opaque leaves of an unknown kind and no ledger heads: any size, but a log
    /// of which no release verifies
    #[arg(long, conflicts_with = "batch")]
    raw: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("countersign-fill: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), String> {
    let config = Config::new(&args.data);
    let server = Server::start(&config).map_err(|e| e.to_string())?;
    if let Some(why) = server.log().read_only() {
        return Err(format!("the log is read-only: {why}"));
    }
    let terminal = std::io::stderr().is_terminal();
    let mut shown = Instant::now();
    let mut progress = |size: u64| {
        if terminal && (size == args.leaves || shown.elapsed() >= Duration::from_millis(200)) {
            shown = Instant::now();
            let percent = size.saturating_mul(100) / args.leaves.max(1);
            eprint!("\r{size} of {} leaves, {percent} %", args.leaves);
        }
    };
    let filled = if args.raw {
        fill::raw(&server, args.leaves, &mut progress)
    } else {
        fill::genuine(&server, args.leaves, args.batch, &mut progress)
    };
    if terminal {
        eprintln!();
    }
    let filled = filled?;
    server.shutdown();
    println!("{}", summary(&filled));
    Ok(())
}

fn summary(filled: &Filled) -> String {
    let added = filled.to - filled.from;
    let rate = |time: Duration| added as f64 / time.as_secs_f64().max(1e-9);
    let appended = format!(
        "{} leaves, {added} new: appended in {:.2} s, {:.0} leaves/s",
        filled.to,
        filled.appending.as_secs_f64(),
        rate(filled.appending)
    );
    if filled.signing.is_zero() {
        return appended;
    }
    let (signing, all) = (filled.signing, filled.signing + filled.appending);
    format!(
        "{appended}; signed before that in {:.2} s; together {:.0} leaves/s",
        signing.as_secs_f64(),
        rate(all)
    )
}
