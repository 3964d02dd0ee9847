//! `countersign-affected-load`: what `countersign affected` takes with many receipts.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use clap::Parser;
use countersign_tests::bench::{Bench, ROOTS, bench};
use countersign_tests::peak_kb;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

const AFTER: &str = "\
Founds a project, publishes releases, writes receipts of them as so many CI jobs would, revokes the key
with a window, and asks which of the jobs are affected. What it counts must be what was written.

  COUNTERSIGN_BIN_DIR=target/release target/release/countersign-affected-load";

/// Measure `countersign affected`.
#[derive(Parser)]
#[command(name = "countersign-affected-load", version, after_help = AFTER)]
struct Args {
    /// Receipts
    #[arg(long, default_value_t = 1_000_000)]
    receipts: u64,
    /// Files that they are in
    #[arg(long, default_value_t = 1)]
    files: u64,
    /// Releases of the project, the last tenth of them in the window
    #[arg(long, default_value_t = 100)]
    releases: u64,
}

fn main() {
    let args = Args::parse();
    let bench = bench();
    let old = bench.id("release1");
    let mut made = Vec::new();
    for version in 0..args.releases {
        bench.published(&version.to_string(), "release1");
        let verify = format!("verify tool-{version} --receipts made.jsonl");
        bench.ok(&verify);
    }
    let text = std::fs::read_to_string(bench.path("made.jsonl")).unwrap();
    for line in text.lines() {
        let receipt: Value = serde_json::from_str(line).unwrap();
        made.push(receipt);
    }
    let from = args.releases - args.releases / 10;
    let since = made[usize::try_from(from).unwrap()]["index"]
        .as_u64()
        .unwrap();
    bench.key("release2");
    bench.ok(&format!("keys rotate --old {old} --new release2 {ROOTS}"));
    bench.ok(&format!(
        "keys revoke {old} --reason stolen --compromised-since {since} {ROOTS}"
    ));
    let (bytes, bad) = write(&bench, &args, &made, since);
    ask(&bench, &args, bytes, bad);
}

/// Writes the receipts of runs; gives their bytes, and how many are of void releases.
fn write(bench: &Bench, args: &Args, made: &[Value], since: u64) -> (u64, u64) {
    std::fs::create_dir(bench.path("receipts")).unwrap();
    let (mut bytes, mut bad) = (0, 0);
    for file in 0..args.files {
        let path = bench.path(&format!("receipts/{file}.jsonl"));
        let mut out = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
        let mut n = file;
        while n < args.receipts {
            let mut receipt = made[usize::try_from(n % args.releases).unwrap()].clone();
            receipt["command"] = "run".into();
            receipt["environment"] = vec!["CI", "DEPLOY_TOKEN", "HOME", "PATH"].into();
            receipt["remotes"] = vec!["https://git.example/acme/app"].into();
            receipt["host"] = format!("ci-{n}").into();
            let time = receipt["time"].as_u64().unwrap() + n;
            receipt["time"] = time.into();
            bad += u64::from(receipt["index"].as_u64().unwrap() >= since);
            let line = ledger::json::canonical_of(&receipt).unwrap();
            bytes += line.len() as u64 + 1;
            out.write_all(&line)
                .and_then(|()| out.write_all(b"\n"))
                .unwrap();
            n += args.files;
        }
        out.flush().unwrap();
    }
    (bytes, bad)
}

fn ask(bench: &Bench, args: &Args, bytes: u64, bad: u64) {
    let mut command = "affected --json --receipts".to_owned();
    for file in 0..args.files {
        write!(command, " receipts/{file}.jsonl").unwrap();
    }
    let out = bench.path("answer.json");
    let mut command = bench.command(&command);
    command.stdout(std::fs::File::create(&out).unwrap());
    command.stderr(Stdio::null());
    let began = Instant::now();
    let mut child = command.spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        peak = peak.max(peak_kb(child.id()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(2));
    };
    let took = began.elapsed();
    assert_eq!(status.code(), Some(i32::from(bad > 0)));
    let answer: Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    assert_eq!(answer["receipts"], args.receipts);
    assert_eq!(answer["affectedRuns"], bad);
    println!(
        "{} receipts in {} files, {bytes} bytes; {bad} affected",
        args.receipts, args.files
    );
    println!("took {:.2} s, memory at most {peak} kB", took.as_secs_f64());
}
