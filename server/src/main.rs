//! `countersign-server`: the log, for operators.
#![forbid(unsafe_code)]

mod keys_args;
mod serve_args;
mod upkeep_args;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use countersign_server::datadir::Layout;
use countersign_server::operator::{self, Request};
use countersign_server::{Config, Error, Server};
use serde_json::Value;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What one thread allocates for a release another frees, which glibc's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A transparency log of software releases.
#[derive(Parser)]
#[command(name = "countersign-server", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, ValueEnum)]
enum Admit {
    /// Every project is admitted.
    Open,
    /// The operator decides about each project.
    Approve,
}

#[derive(Subcommand)]
enum Command {
    /// Make a new log; prints its vkeys, one a line.
    Init {
        /// Directory for the log; made if need be.
        #[arg(long)]
        data: PathBuf,
        /// The log's name, best a host name of yours. It can never be changed.
        #[arg(long)]
        origin: String,
    },
    /// Print the vkeys of a log that projects should list, one a line.
    Vkeys {
        /// The log's directory.
        #[arg(long)]
        data: PathBuf,
    },
    /// Serve a log until SIGINT or SIGTERM.
    Serve {
        /// The log's directory.
        #[arg(long)]
        data: PathBuf,
        /// Address and port; port 0 takes any.
        #[arg(long, default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
        /// Who decides about new projects.
        #[arg(long, value_enum, default_value = "approve")]
        admit: Admit,
        /// Listen with plain HTTP beyond loopback.
        #[arg(long)]
        public_http: bool,
        /// Entries waiting at most; more are answered 503.
        #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        queue: u32,
        /// Keep the newest signed checkpoint in this file, which should lie outside the data
        /// directory and its backups, and sign nothing where the log is behind it.
        #[arg(long, value_name = "FILE")]
        high_water: Option<PathBuf>,
        #[command(flatten)]
        limits: serve_args::LimitArgs,
        #[command(flatten)]
        guard: serve_args::GuardArgs,
        #[command(flatten)]
        witnesses: serve_args::WitnessArgs,
        /// Issue certificates to whoever shows a token of an OIDC issuer in this file
        /// (docs/oidc.md).
        #[arg(long, value_name = "FILE")]
        oidc_config: Option<PathBuf>,
    },
    /// List the log's keys, and rotate them.
    #[command(subcommand)]
    Keys(keys_args::KeysCommand),
    /// List projects, and decide about them, on a running server.
    #[command(subcommand)]
    Project(Project),
    /// Check everything in a data directory, or in a directory of tiles.
    ///
    /// Exit code 0: sound. 1: not sound; each finding is printed. 2: wrong usage, or no verdict,
    /// because something could not be read ("could not be checked", and why).
    Check(upkeep_args::CheckArgs),
    /// Write a log's portable form: a tlog-tiles directory, with what else is needed in state/.
    Export(upkeep_args::ExportArgs),
    /// Make a data directory of a log's portable form, or bring one up to it.
    Import(upkeep_args::ImportArgs),
    /// Write a log's portable form into one tar file.
    Backup(upkeep_args::BackupArgs),
    /// Read a copy of a database: for `check`, which starts this.
    #[command(hide = true)]
    ReadStore {
        /// Which database.
        part: upkeep_args::PartArg,
        /// The copy.
        dir: PathBuf,
    },
    /// Make or raise a log's high-water mark, for `serve --high-water`; no server may run.
    ///
    /// The mark is the newest checkpoint that the log has signed. `serve` compares it with the
    /// log before it signs, and raises it with each batch. It is never lowered: make it once,
    /// when the log has none yet.
    HighWater {
        /// The log's directory.
        #[arg(long)]
        data: PathBuf,
        /// The mark's file, outside the data directory and its backups.
        #[arg(long)]
        file: PathBuf,
    },
    /// Freeze a log for ever; no server may run.
    ///
    /// A frozen log takes no more entries: who submits is answered 410, with the reason. It is
    /// served as before, and with --witnesses its last checkpoint goes on being cosigned, so that
    /// everybody can see that nothing came after it. There is no command to undo this.
    Freeze {
        /// The log's directory.
        #[arg(long)]
        data: PathBuf,
        /// Why, and which log to use instead; 1 to 512 bytes.
        #[arg(long)]
        reason: String,
    },
    /// Print a completion script.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Subcommand)]
enum Project {
    /// List all projects.
    List {
        /// The log's directory.
        #[arg(long)]
        data: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Let a waiting project in.
    Admit {
        /// Its name or id.
        name: String,
        /// The log's directory.
        #[arg(long)]
        data: PathBuf,
    },
    /// Turn a waiting project away.
    Refuse {
        /// Its name or id.
        name: String,
        /// The log's directory.
        #[arg(long)]
        data: PathBuf,
        /// Why; logged in public.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Take no more statements of a project.
    Freeze {
        /// Its name or id.
        name: String,
        /// The log's directory.
        #[arg(long)]
        data: PathBuf,
        /// Why; logged in public.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Take a project's statements again.
    Thaw {
        /// Its name or id.
        name: String,
        /// The log's directory.
        #[arg(long)]
        data: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("countersign-server: {e}");
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

fn run(command: Command) -> Result<ExitCode, Error> {
    let done: Result<(), Error> = match command {
        Command::Check(args) => return args.run(),
        Command::Export(args) => args.run(),
        Command::Import(args) => args.run(),
        Command::Keys(keys) => keys.run(),
        Command::Backup(args) => args.run(),
        Command::ReadStore { part, dir } => {
            countersign_server::check::store::print(part.into(), &dir)
        }
        Command::Init { data, origin } => {
            let vkeys = countersign_server::init(&data, &origin)?;
            if !bare_host(&origin) {
                eprintln!(
                    "warning: the origin {origin:?} is not a bare host name; some verifiers (Sigstore's among \
                     them) compare origins with host names, without port or path"
                );
            }
            say(&format!("{}\n", vkeys.join("\n")))
        }
        Command::Vkeys { data } => say(&format!(
            "{}\n",
            countersign_server::vkeys(&data)?.join("\n")
        )),
        Command::Serve {
            data,
            listen,
            admit,
            public_http,
            queue,
            high_water,
            limits,
            guard,
            witnesses,
            oidc_config,
        } => {
            let config = Config {
                listen,
                open: matches!(admit, Admit::Open),
                public_http,
                queue: usize::try_from(queue).unwrap_or(1024),
                limits: limits.into(),
                guard: guard.into(),
                high_water,
                witnesses: witnesses.read()?,
                oidc: oidc_config,
                ..Config::new(data)
            };
            let handle = Server::start(&config)?;
            if let Some(why) = handle.log().read_only() {
                eprintln!("countersign-server: READ-ONLY, this log does not sign: {why}");
            }
            // Says so on standard error where something that may pass is in the way.
            let _ = handle.log().may_sign();
            let signals = handle.signals()?;
            say(&format!("listening on {}\n", handle.url()))?;
            signals.wait();
            eprintln!("countersign-server: stopping");
            handle.shutdown();
            Ok(())
        }
        Command::HighWater { data, file } => {
            let size = countersign_server::high_water::begin(&data, &file)?;
            say(&format!("{}: {size} leaves\n", file.display()))
        }
        Command::Freeze { data, reason } => {
            countersign_server::closed::freeze(&data, &reason)?;
            say("frozen: the log takes no more entries\n")
        }
        Command::Project(project) => decide(project),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "countersign-server",
                &mut std::io::stdout(),
            );
            Ok(())
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn decide(project: Project) -> Result<(), Error> {
    let (data, request) = match project {
        Project::List { data, json } => {
            let answer = call(&data, &Request::List)?;
            return say(&if json {
                format!("{answer}\n")
            } else {
                table(&answer)
            });
        }
        Project::Admit { name, data } => (data, Request::Admit { project: name }),
        Project::Refuse { name, data, reason } => (
            data,
            Request::Refuse {
                project: name,
                reason,
            },
        ),
        Project::Freeze { name, data, reason } => (
            data,
            Request::Freeze {
                project: name,
                reason,
            },
        ),
        Project::Thaw { name, data } => (data, Request::Thaw { project: name }),
    };
    let answer = call(&data, &request)?;
    say(&format!(
        "{} {} (log index {})\n",
        text(&answer, "status"),
        text(&answer, "id"),
        answer
            .get("index")
            .and_then(Value::as_u64)
            .unwrap_or_default()
    ))
}

fn call(data: &Path, request: &Request) -> Result<Value, Error> {
    let layout = Layout::new(data);
    layout.origin()?;
    operator::call(&layout.socket(), request)
}

fn text(value: &Value, name: &str) -> String {
    // From other people's statements: no control character reaches the terminal.
    let raw = value.get(name).and_then(Value::as_str).unwrap_or_default();
    raw.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn table(answer: &Value) -> String {
    let empty = Vec::new();
    let projects = answer
        .get("projects")
        .and_then(Value::as_array)
        .unwrap_or(&empty);
    if projects.is_empty() {
        return "no projects\n".to_owned();
    }
    projects
        .iter()
        .map(|p| {
            format!(
                "{:<9} {:<32} {} {}\n",
                text(p, "status"),
                text(p, "name"),
                text(p, "id"),
                text(p, "contact")
            )
        })
        .collect()
}

/// Whether an origin is a host name alone: no port, no path, nothing to resolve differently.
fn bare_host(origin: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    origin.contains('.') && origin.split('.').all(label)
}
