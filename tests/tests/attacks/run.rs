//! Between the check and the start: what `run` holds in memory is written over by others.

use crate::Script;
use crate::storage::{files, outcome, storage};
use countersign_tests::attacks::Outcome;
use countersign_tests::bench::Bench;
use countersign_tests::hostile::{Hostile, announced, whole};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The scripts here.
pub const SCRIPTS: &[(&str, Script)] = &[
    ("program-changed-before-it-is-judged", before),
    ("program-changed-after-it-was-judged", after),
];

/// One byte shorter than what was released, whose line end stays.
const EVIL: &[u8] = b"touch ran #..";

/// `found` within a time in which anything here is done.
fn wait<T>(mut found: impl FnMut() -> Option<T>) -> std::io::Result<T> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        if let Some(found) = found() {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(ErrorKind::TimedOut.into())
}

/// What the client that works in `dir` holds in memory, open for writing, once it has `size` bytes.
fn held(dir: &Path, size: u64) -> Option<File> {
    let inside = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten();
    let clients = inside("/proc".into())
        .map(|process| process.path())
        .filter(|process| std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == dir));
    let held = clients
        .flat_map(|process| inside(process.join("fd")))
        .map(|fd| fd.path())
        .filter(|fd| {
            std::fs::read_link(fd).is_ok_and(|to| to.starts_with("/memfd:countersign (deleted)"))
        });
    held.filter_map(|fd| File::options().write(true).open(fd).ok())
        .find(|file| file.metadata().is_ok_and(|m| m.len() == size))
}

/// Serves the release, and does something with what the client holds when all but its last byte
/// have come.
fn serving(bench: &Bench, then: impl Fn(File) + Send + Sync + 'static) -> Hostile {
    let (tool, bundle) = files(bench);
    let dir = bench.dir.path().canonicalize().unwrap();
    Hostile::new(move |path, out| {
        if path.ends_with(".bundle") {
            return whole(out, &bundle);
        }
        let (last, most) = tool.split_last().unwrap();
        announced(out, tool.len() as u64, most)?;
        out.flush()?;
        then(wait(|| held(&dir, most.len() as u64))?);
        out.write_all(&[*last])
    })
}

/// Elsewhere `run` holds it in a directory that only its owner can enter.
fn elsewhere() -> Option<Outcome> {
    let linux = cfg!(target_os = "linux");
    (!linux).then(|| Outcome::Untried("Linux, whose files in memory this is about".into()))
}

fn before() -> Outcome {
    if let Some(untried) = elsewhere() {
        return untried;
    }
    let (bench, _) = storage();
    let server = serving(&bench, |file| file.write_all_at(EVIL, 0).unwrap());
    let said = bench.client(&format!(
        "run {}/tool-1.0 --version 1.0 --with sh",
        server.url
    ));
    outcome(
        &said,
        bench.path("ran").exists().then(|| "the program ran".into()),
    )
}

fn after() -> Outcome {
    if let Some(untried) = elsewhere() {
        return untried;
    }
    let (bench, _) = storage();
    let opened = Arc::new(Mutex::new(None));
    let kept = opened.clone();
    let server = serving(&bench, move |file| *kept.lock().unwrap() = Some(file));
    // What the release runs with takes its time, in which it can be written over.
    let slow = "#!/bin/sh\ntouch started\nwhile [ ! -e go ]; do sleep 0.02; done\nsh \"$1\"\n";
    std::fs::write(bench.path("slow"), slow).unwrap();
    std::fs::set_permissions(bench.path("slow"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (started, go) = (bench.path("started"), bench.path("go"));
    let attacker = std::thread::spawn(move || {
        let verified = wait(|| started.exists().then_some(()));
        let file = opened.lock().unwrap().take();
        let written = verified.and_then(|()| file.unwrap().write_all_at(EVIL, 0));
        std::fs::write(go, "").unwrap();
        written
    });
    let said = bench.client(&format!(
        "run {}/tool-1.0 --version 1.0 --with ./slow",
        server.url
    ));
    let written = attacker.join().unwrap();
    match written.map_err(|e| e.kind()) {
        _ if bench.path("ran").exists() => Outcome::Succeeded("their program ran".into()),
        // The release is no script: the shell finds no such program as it names.
        Err(ErrorKind::PermissionDenied) if said.code == 127 => Outcome::Refused("sealed".into()),
        other => Outcome::Odd(format!("{other:?}, exit code {}: {}", said.code, said.err)),
    }
}
