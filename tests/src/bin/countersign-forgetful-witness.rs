//! `countersign-forgetful-witness`: a witness that answers before its last batch is durable, as
//! one would that forgot to flush. The kill test must find it out; nobody else has a use for it.
#![forbid(unsafe_code)]

use clap::Parser;
use countersign_server::store::StoreError;
use countersign_server::witness::Config;
use countersign_server::witness::server::start_with;
use countersign_server::witness::state::{Commit, State, Step};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

/// A weakened witness, for tests.
#[derive(Parser)]
#[command(name = "countersign-forgetful-witness", version)]
enum Cli {
    /// Serve until killed.
    Serve {
        /// The witness's directory.
        #[arg(long)]
        data: PathBuf,
        /// Address and port.
        #[arg(long)]
        listen: SocketAddr,
    },
}

/// Makes each batch durable when the next one comes.
struct Forgetful {
    state: State,
    last: Mutex<Vec<Step>>,
}

impl Commit for Forgetful {
    fn commit(&self, steps: &[Step]) -> Result<(), StoreError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if !last.is_empty() {
            self.state.commit(&last)?;
        }
        *last = steps.to_vec();
        Ok(())
    }
}

fn main() -> ExitCode {
    let Cli::Serve { data, listen } = Cli::parse();
    let config = Config {
        listen,
        ..Config::new(data)
    };
    let wrap = |state| Forgetful {
        state,
        last: Mutex::default(),
    };
    let handle = match start_with(&config, wrap, |e| eprintln!("{e}")) {
        Ok(handle) => handle,
        Err(e) => {
            eprintln!("countersign-forgetful-witness: {e}");
            return ExitCode::FAILURE;
        }
    };
    println!("listening on {}", handle.url());
    if let Ok(signals) = handle.signals() {
        signals.wait();
    }
    ExitCode::SUCCESS
}
