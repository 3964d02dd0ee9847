//! The program on a disk that fails: it ends with 70, and what it acknowledged stands.

use crate::bench::{NAME, ask_maybe, log};
use crate::program::{Running, said};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The exit code and what it said, once the process ends by itself.
fn end(mut child: Child) -> (Option<i32>, String) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("it did not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut text = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    (child.wait().unwrap().code(), text)
}

/// A witness none of whose files grows beyond so many KiB: a write beyond fails, as on a disk
/// that is full.
fn on_a_small_disk(dir: &Path, kib: u32) -> (Child, SocketAddr) {
    // `ulimit -f` counts 512 bytes, or 1024 in some shells. Without the trap a signal would end it.
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", kib * 2);
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            &script,
            "sh",
            env!("CARGO_BIN_EXE_countersign-witness"),
        ])
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--log-rate",
            "0",
            "--data",
        ])
        .arg(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let out = child.stdout.take().unwrap();
    BufReader::new(out).read_line(&mut line).unwrap();
    let addr = line.trim().strip_prefix("listening on http://").unwrap();
    (child, addr.parse().unwrap())
}

#[test]
fn a_witness_that_cannot_write_ends_with_70_and_forgets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    said(&["init", "--data", data, "--name", NAME]);
    let log = log("log.example", 600);
    let mut add = vec!["add-log".to_owned(), "--data".into(), data.into()];
    add.extend(log.vkeys());
    said(&add.iter().map(String::as_str).collect::<Vec<_>>());

    let (child, addr) = on_a_small_disk(dir.path(), 768);
    // Long checkpoints fill it soon.
    let long: Vec<String> = (0..15).map(|n| format!("{n}").repeat(500)).collect();
    let lines: Vec<&str> = long.iter().map(String::as_str).collect();
    let body = |old: u64, size: u64| {
        let note = log.signed(size, log.root(size), &lines);
        tlog::witness::AddCheckpoint::body(old, &log.proof(old, size), &note)
    };
    let mut stands = 0;
    let refused = loop {
        assert!(stands < 600, "its disk was never full");
        match ask_maybe(addr, &body(stands, stands + 1)) {
            Some(answer) if answer.status == 200 => stands += 1,
            other => break other,
        }
    };
    assert!(stands > 0);
    // Whoever asked then was told to ask again, or nothing at all.
    if let Some(answer) = refused {
        assert_eq!(answer.said(), (503, "stopping".into()));
    }
    let (code, text) = end(child);
    assert_eq!(code, Some(70), "{text}");
    assert!(text.contains("nothing was acknowledged"), "{text}");

    // With room again: all that was acknowledged is there, and it goes on from it.
    let running = Running::start(dir.path(), &[]);
    let answer = crate::bench::ask(running.addr, "POST", "/add-checkpoint", &body(0, 600));
    assert_eq!(answer.status, 409);
    let size: u64 = answer.body.trim().parse().unwrap();
    assert!(size == stands || size == stands + 1, "{size}, not {stands}");
    let fork = log.fork(0, 1);
    let other = crate::bench::ask(
        running.addr,
        "POST",
        "/add-checkpoint",
        &fork.body(size, size),
    );
    assert_eq!(other.status, 422);
    let answer = crate::bench::ask(running.addr, "POST", "/add-checkpoint", &body(size, 600));
    assert_eq!(answer.status, 200);
}
