//! `countersign-oidc-load`: how many certificates a second a log issues, each a leaf before it is
//! handed out.
#![forbid(unsafe_code)]

use clap::Parser;
use countersign_tests::oidc::load::{Plan, run};
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

const AFTER: &str = "\
A server on one core, the load and the provider on another:
  taskset -c 1 countersign-oidc-load --server 'taskset -c 0 target/release/countersign-server'

The tool runs an OIDC provider, makes an authority and a log in a temporary directory (TMPDIR says
where: a tmpfs is no durable place), makes all tokens and requests beforehand, and then sends them: first
as fast as they are answered, then others at a quarter of that rate, whose latency counts from when
each was due.

Exit codes: 0 each request got its certificate; 1 some did not; 2 wrong usage, or no server.";

/// Measure a log that issues certificates.
#[derive(Parser)]
#[command(name = "countersign-oidc-load", version, after_help = AFTER)]
struct Args {
    /// What starts the server, before `serve`; split at spaces
    #[arg(long, value_name = "COMMAND")]
    server: String,
    /// Certificates in each of the two parts
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=150_000))]
    certificates: u32,
    /// Connections at once
    #[arg(long, default_value_t = 64, value_name = "C", value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
    /// Tokens signed by ES256, not RS256
    #[arg(long)]
    es256: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match measure(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("countersign-oidc-load: {why}");
            ExitCode::from(2)
        }
    }
}

fn measure(args: &Args) -> Result<bool, String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let mut command: Vec<String> = args.server.split_whitespace().map(str::to_owned).collect();
    // The server runs in the directory; the program's path is relative to this one.
    for word in &mut command {
        if let Ok(path) = std::fs::canonicalize(&*word)
            && path.is_file()
        {
            *word = path.display().to_string();
        }
    }
    let plan = Plan {
        command,
        certificates: usize::try_from(args.certificates).map_err(|e| e.to_string())?,
        connections: usize::from(args.connections),
        es256: args.es256,
    };
    let progress = |what: &str| {
        if std::io::stderr().is_terminal() {
            eprintln!("{what}");
        }
    };
    let report = run(&plan, dir.path(), &progress)?;
    let text = if args.json {
        format!("{}\n", report.json())
    } else {
        report.text()
    };
    // A reader that has gone away is no error: the exit code says what it has to say.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(report.good())
}
