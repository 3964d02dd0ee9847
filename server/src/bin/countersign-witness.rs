//! `countersign-witness`: cosigns the checkpoints of other people's transparency logs.
#![forbid(unsafe_code)]

use clap::{CommandFactory as _, Parser, Subcommand};
use countersign_server::Error;
use countersign_server::limit_args::AddressArgs;
use countersign_server::limits::Rate;
use countersign_server::witness::dir::Layout;
use countersign_server::witness::logs::{Logs, log_key};
use countersign_server::witness::{self, Config};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What one thread allocates another frees, which glibc's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const AFTER: &str = "\
A witness from nothing:
  countersign-witness init --data DIR --name witness.example.org/w1    prints its vkey, for policies
  countersign-witness add-log --data DIR VKEY...                       a log's vkeys; no restart is needed
  countersign-witness serve --data DIR --listen 127.0.0.1:8090 --trusted-proxy 127.0.0.1
                                                                       behind a proxy with TLS on this machine

Logs then send their checkpoints to POST /add-checkpoint; anybody reads at GET /logs what was cosigned.
DIR is not to be copied, and never to be restored from a backup: a witness that forgot what it cosigned
cosigns another history. If its state is lost, make a new witness with a new key (docs/witness.md).

Exit codes: 0 done; 1 failed; 2 wrong usage; 70 the state could not be made durable (start it again).";

/// Cosign the checkpoints of transparency logs (c2sp.org/tlog-witness).
///
/// A witness cosigns a checkpoint only where it extends the last one that it cosigned of the
/// same log: whoever demands its cosignature cannot be shown another history.
#[derive(Parser)]
#[command(name = "countersign-witness", version, after_help = AFTER)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a new witness; prints its vkey.
    Init {
        /// Directory for the witness; made if need be.
        #[arg(long)]
        data: PathBuf,
        /// The witness's name, best a host name of yours, with a path if need be. It can never
        /// be changed.
        #[arg(long)]
        name: String,
    },
    /// Print the witness's vkey, for logs and policies.
    Vkey {
        /// The witness's directory.
        #[arg(long)]
        data: PathBuf,
    },
    /// Cosign a log's checkpoints from now on; a running witness needs no restart.
    ///
    /// A log's vkeys come from its operator, by a way that is not the log itself. Several keys
    /// of one origin are keys of one log: one of them must have signed, and none wrongly.
    AddLog {
        /// The witness's directory.
        #[arg(long)]
        data: PathBuf,
        /// Keys of logs, `NAME+ID+BASE64`: Ed25519 (0x01) or P-256 (0x02).
        #[arg(required = true)]
        vkey: Vec<String>,
    },
    /// Cosign a log's checkpoints no more.
    ///
    /// What was cosigned of it is kept: a log that is added again goes on from there.
    RemoveLog {
        /// The witness's directory.
        #[arg(long)]
        data: PathBuf,
        /// The log's origin.
        origin: String,
    },
    /// List the logs whose checkpoints are cosigned.
    ///
    /// What was cosigned last of each, the running witness shows at GET /logs.
    Logs {
        /// The witness's directory.
        #[arg(long)]
        data: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Serve until SIGINT or SIGTERM.
    Serve {
        /// The witness's directory.
        #[arg(long)]
        data: PathBuf,
        /// Address and port; port 0 takes any.
        #[arg(long, default_value = "127.0.0.1:8090")]
        listen: SocketAddr,
        /// Listen with plain HTTP beyond loopback.
        #[arg(long)]
        public_http: bool,
        /// Checkpoints waiting at most; more are answered 503.
        #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        queue: u32,
        /// Checkpoints of one log: N/s, N/min or N/h, with :BURST; 0 is no limit.
        #[arg(
            long,
            default_value = "50/s:500",
            value_name = "RATE",
            help_heading = "Limits"
        )]
        log_rate: Rate,
        #[command(flatten)]
        addresses: AddressArgs,
    },
    /// Print a completion script.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("countersign-witness: {e}");
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) -> Result<(), Error> {
    let written = std::io::stdout()
        .write_all(text.as_bytes())
        .and_then(|()| std::io::stdout().flush());
    written.map_err(|e| Error::Io {
        path: "standard output".into(),
        why: e.to_string(),
    })
}

fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Init { data, name } => say(&format!("{}\n", witness::init(&data, &name)?)),
        Command::Vkey { data } => say(&format!("{}\n", witness::vkey(&data)?)),
        Command::AddLog { data, vkey } => add(&data, &vkey),
        Command::RemoveLog { data, origin } => remove(&data, &origin),
        Command::Logs { data, json } => list(&data, json),
        Command::Serve {
            data,
            listen,
            public_http,
            queue,
            log_rate,
            addresses,
        } => {
            let config = Config {
                listen,
                public_http,
                queue: usize::try_from(queue).unwrap_or(4096),
                log_rate,
                limits: addresses.into(),
                ..Config::new(data)
            };
            let handle = witness::start(&config)?;
            let signals = handle.signals()?;
            say(&format!("listening on {}\n", handle.url()))?;
            signals.wait();
            eprintln!("countersign-witness: stopping");
            handle.shutdown();
            Ok(())
        }
        Command::Completions { shell } => {
            let mut out = std::io::stdout();
            clap_complete::generate(shell, &mut Cli::command(), "countersign-witness", &mut out);
            Ok(())
        }
    }
}

/// All keys, or none where one is refused.
fn add(data: &Path, vkeys: &[String]) -> Result<(), Error> {
    let layout = Layout::new(data);
    let (mut logs, _lock) = layout.edit_logs()?;
    let mut new = Vec::new();
    for vkey in vkeys {
        let key = log_key(vkey)?;
        let origin = key.name().to_owned();
        let before = logs.find(&origin);
        if logs.add(key)? {
            let what = if before.is_some() {
                "another key of"
            } else {
                "added"
            };
            new.push(format!("{what} {origin}\n"));
        } else {
            new.push(format!("known already: {origin}\n"));
        }
    }
    logs.save(&layout.logs())?;
    say(&new.concat())
}

fn remove(data: &Path, origin: &str) -> Result<(), Error> {
    let layout = Layout::new(data);
    let (mut logs, _lock) = layout.edit_logs()?;
    if !logs.remove(origin) {
        let known: Vec<&str> = logs.iter().map(|l| l.origin.as_str()).take(20).collect();
        return Err(Error::Witness {
            kind: "witness-unknown-log",
            what: format!("{origin:?} is no log of this witness; it knows {known:?}"),
        });
    }
    logs.save(&layout.logs())?;
    say(&format!("removed {origin}\n"))
}

fn list(data: &Path, json: bool) -> Result<(), Error> {
    let layout = Layout::new(data);
    let (logs, _lock) = layout.edit_logs()?;
    if json {
        let value = witness::http::listed(&logs, &witness::state::Standing::default());
        return say(&format!("{value}\n"));
    }
    say(&table(&logs))
}

fn table(logs: &Logs) -> String {
    if logs.is_empty() {
        return "no logs: add-log adds one\n".to_owned();
    }
    let mut text = String::new();
    for log in logs.iter() {
        text.push_str(&format!("{} ({})\n", log.origin, hex(&log.hash)));
        for key in &log.keys {
            text.push_str(&format!("  {key}\n"));
        }
    }
    text
}

fn hex(hash: &[u8; 32]) -> String {
    ledger::hex32(hash)
}
