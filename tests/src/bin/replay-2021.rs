//! `cargo replay-2021`: the breach of 2021 replayed against this project's programs.
#![forbid(unsafe_code)]

use clap::{Parser, ValueEnum};
use countersign_tests::replay::{Scene, VARIANTS, Variant, replay};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};

const AFTER: &str = "\
In 2021 an attacker found a storage key in a layer of a public image, added one line to the uploader
script that a company served from cloud storage, and received the secrets of everybody's CI jobs for two
months. This replays it on loopback, with a real S3-compatible storage, a log, three witnesses, a monitor and
CI jobs, and then what a stronger attacker would do:

  storage            they can write to the storage, as in 2021
  release-key        they have the project's release key, too
  log                they run the log, and hold its keys
  hidden-revocation  they hide from clients that a key was revoked

Each line `shown` is an assertion: the exit code is 1 where one does not hold. Days pass one after the
other, and no clock is changed. `cargo replay-2021` builds the programs that are run; this program alone
does so with --build. It needs `curl` and `sh`, which are the old way.";

/// Whether anything failed, in whichever thread.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Replay the breach of 2021 and its harder variants.
#[derive(Parser)]
#[command(name = "replay-2021", version, after_help = AFTER)]
struct Args {
    /// Only this variant
    #[arg(long, value_enum)]
    variant: Option<Name>,
    /// Six days of the two months
    #[arg(long)]
    short: bool,
    /// First build the programs that are run
    #[arg(long)]
    build: bool,
}

/// Builds what is run, so that it is never an older state of it; nothing where all is built.
fn build() -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let line = "build --quiet --locked --package countersign --package countersign-server --bins";
    match Command::new(cargo).args(line.split(' ')).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the programs could not be built ({status})")),
        Err(e) => Err(format!("cargo: {e}")),
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    Storage,
    ReleaseKey,
    Log,
    HiddenRevocation,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let variants = match args.variant {
        None => VARIANTS.to_vec(),
        Some(Name::Storage) => vec![Variant::Storage],
        Some(Name::ReleaseKey) => vec![Variant::ReleaseKey],
        Some(Name::Log) => vec![Variant::Log],
        Some(Name::HiddenRevocation) => vec![Variant::HiddenRevocation],
    };
    if args.build
        && let Err(why) = build()
    {
        eprintln!("replay-2021: {why}");
        return ExitCode::FAILURE;
    }
    let days = if args.short { 6 } else { 61 };
    // What failed is said in one piece, and where. In another thread, too: what the storage or the
    // attacker does there is part of what is shown.
    std::panic::set_hook(Box::new(|info| {
        FAILED.store(true, Ordering::SeqCst);
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        let place = info
            .location()
            .map_or_else(String::new, |l| format!(" ({l})"));
        eprintln!("\nfailed: {}{place}", text.unwrap_or("unknown"));
    }));
    let mut scene = Scene::new(false);
    let all = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for variant in variants {
            replay(variant, days, &mut scene);
        }
        scene.end()
    }));
    let Ok((shown, took)) = all else {
        return ExitCode::FAILURE;
    };
    if FAILED.load(Ordering::SeqCst) {
        eprintln!("\nreplay-2021: something failed beside the scene: see above");
        return ExitCode::FAILURE;
    }
    println!("\n{shown} things shown in {:.0} s", took.as_secs_f64());
    ExitCode::SUCCESS
}
