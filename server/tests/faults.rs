//! What happens to a disk, a clock, a machine and its operator's hands, against the real
//! program: it signs nothing that it must not, says why, goes on serving, and goes on
//! signing when the cause goes. docs/operations.md, "Faults", has a row for each.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::wire::{Wire, retry_after, within};
use common::{Publisher, Running, artifact, copy, init, program, publisher};
use countersign_server::datadir::Layout;
use countersign_server::guard::{Guard, Settings};
use countersign_server::log::unix_now;
use countersign_server::{Config, Server};
use ledger::bundle::Bundle;
use ledger::envelope::Envelope;
use ledger::leaf::Leaf;
use rustix::process::{Resource, Rlimit, prlimit};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn log() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    dir
}

fn acme() -> Publisher {
    publisher("acme/tool", "pkg:generic/acme")
}

fn release(p: &Publisher, version: impl std::fmt::Display) -> Envelope {
    let subject = artifact("tool", version.to_string().as_bytes());
    p.envelope(&format!("pkg:generic/acme/tool@{version}"), &[subject])
}

/// `serve` where it must end by itself: its exit code and what it said.
fn fails(dir: &Path, descriptors: Option<u32>) -> (Option<i32>, String) {
    let limit = descriptors.map_or(String::new(), |n| format!("ulimit -n {n}; "));
    let child = Command::new("timeout")
        .args(["-k", "1", "20", "sh", "-c"])
        .arg(format!("{limit}exec \"$@\""))
        .args(["sh", env!("CARGO_BIN_EXE_countersign-server")])
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(dir)
        .output()
        .unwrap();
    let said = String::from_utf8(child.stderr).unwrap();
    (child.status.code(), said)
}

/// Not ready, and everything that an operator and a publisher see says why.
fn does_not_sign(server: &Running, kind: &str, refused: &Envelope) {
    let ready = server.get("/readyz");
    assert_eq!((ready.status, ready.kind().as_str()), (503, kind));
    let answer = server.submit(refused);
    assert_eq!((answer.status, answer.kind().as_str()), (503, kind));
    assert_eq!(retry_after(&answer), Some(30));
    assert!(answer.json()["hint"].as_str().unwrap().len() > 10);
    assert_eq!(server.metric("countersign_ready"), 0.0);
    let reason = format!("countersign_read_only{{reason=\"{kind}\"}}");
    assert_eq!(server.metric(&reason), 1.0);
    // Reads go on.
    for path in ["/checkpoint", "/healthz", "/api/v1/projects/acme%2Ftool"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
}

fn signs_again(server: &Running, envelope: &Envelope) {
    assert!(within(10, || server.get("/readyz").status == 200));
    assert_eq!(server.submit(envelope).status, 200);
    assert_eq!(server.metric("countersign_ready"), 1.0);
}

/// A small file system of its own, unmounted when dropped.
struct Small(tempfile::TempDir);

impl Small {
    /// `None`, and says so, where this user may not mount.
    fn mount(mib: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|s| s.success()) {
            return Some(Self(dir));
        }
        println!("skipped: this user may not mount a file system");
        None
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn remount(&self, how: &str) {
        let options = format!("remount,{how}");
        let mut mount = Command::new("mount");
        mount.args(["-o", &options]).arg(self.0.path());
        assert!(mount.status().unwrap().success());
    }

    /// Leaves so many bytes free.
    fn fill_up(&self, leave: u64) {
        let found = rustix::fs::statvfs(self.0.path()).unwrap();
        let free = found.f_bavail * found.f_frsize;
        let bytes = vec![1; usize::try_from(free - leave).unwrap()];
        fs::write(self.path("ballast"), bytes).unwrap();
    }

    fn make_room(&self) {
        fs::remove_file(self.path("ballast")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        let _ = umount.arg("-l").arg(self.0.path()).status();
    }
}

/// Whether all that was on disk at the start has been read again.
fn rechecked(server: &Running) -> bool {
    let page = server.get("/metrics").body;
    String::from_utf8_lossy(&page).contains("\ncountersign_start_check_done 1\n")
}

#[test]
fn a_disk_that_is_nearly_full_takes_no_entry_and_the_log_goes_on_when_there_is_room() {
    let Some(disk) = Small::mount(200) else {
        return;
    };
    let dir = disk.path("log");
    init(&dir);
    let server = Running::start(&dir, &["--admit", "open"]);
    let acme = acme();
    assert_eq!(server.submit(&acme.first).status, 200);
    let checkpoint = server.get("/checkpoint").body;
    disk.fill_up(40 << 20);
    // Admission's own look is a moment old at most; the sequencer's never.
    assert!(within(5, || server.get("/readyz").status == 503));
    does_not_sign(&server, "disk-full", &release(&acme, 1));
    let free = server.metric("countersign_free_bytes");
    assert!(free > 0.0 && free <= f64::from(40 << 20));
    assert_eq!(
        server.get("/checkpoint").body,
        checkpoint,
        "nothing written"
    );
    // What stands is still answered, and the operator's acts wait too.
    assert_eq!(server.submit(&acme.first).status, 200);
    let data = dir.to_str().unwrap();
    let frozen = program(&["project", "freeze", "acme/tool", "--data", data]);
    assert_eq!(frozen.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&frozen.stderr).contains("MiB free"));
    disk.make_room();
    signs_again(&server, &release(&acme, 1));
    assert!(server.stop());
}

#[test]
fn a_flush_that_fails_ends_the_process_and_the_next_start_has_all_that_was_acknowledged() {
    let Some(disk) = Small::mount(200) else {
        return;
    };
    let dir = disk.path("log");
    init(&dir);
    let server = Running::start(&dir, &["--admit", "open", "--reserve-mib", "0"]);
    let acme = acme();
    assert_eq!(server.submit(&acme.first).status, 200);
    disk.fill_up(0);
    let mut acknowledged = Vec::new();
    let lost =
        (0..2000)
            .map(|i| release(&acme, i))
            .find(|envelope| match server.try_submit(envelope) {
                Some(answer) if answer.status == 200 => {
                    let bundle = Bundle::parse(&answer.body).unwrap();
                    acknowledged.push((envelope.clone(), bundle.entry.index));
                    false
                }
                _ => true,
            });
    let lost = lost.expect("the disk never became full");
    assert_eq!(server.ended(), Some(70));
    // On the full disk it does not start, or it starts and does not sign; nothing is lost.
    disk.make_room();
    let server = Running::start(&dir, &["--admit", "open"]);
    assert_eq!(server.get("/readyz").status, 200);
    for (envelope, index) in &acknowledged {
        let bundle = Bundle::parse(&server.submit(envelope).body).unwrap();
        assert_eq!(bundle.entry.index, *index);
    }
    assert_eq!(server.submit(&lost).status, 200);
}

/// The hot state alone on a file system that is full, so that its own flush is what fails.
#[test]
fn a_hot_state_that_cannot_be_flushed_loses_nothing_that_was_acknowledged() {
    let Some(disk) = Small::mount(24) else {
        return;
    };
    let (dir, hot) = (log(), disk.path("hot"));
    let place = dir.path().join("private/hot");
    copy(&place, &hot);
    fs::remove_dir_all(&place).unwrap();
    std::os::unix::fs::symlink(&hot, &place).unwrap();
    let options = ["--admit", "open", "--reserve-mib", "0"];
    let server = Running::start(dir.path(), &options);
    let acme = acme();
    assert_eq!(server.submit(&acme.first).status, 200);
    disk.fill_up(0);
    let (mut taken, mut lost) = (0, None);
    // The database's file grows by half a MiB at a time.
    for i in 0..2000 {
        match server.try_submit(&release(&acme, i)) {
            Some(answer) if answer.status == 200 => taken += 1,
            _ => {
                lost = Some(i);
                break;
            }
        }
    }
    let lost = lost.expect("the disk never became full");
    assert_eq!(server.ended(), Some(70));
    println!("{taken} taken before the disk was full");
    disk.make_room();
    let server = Running::start(dir.path(), &options);
    assert_eq!(server.get("/readyz").status, 200);
    assert!(stands(&server).0 >= 3 + 2 * taken);
    assert_eq!(server.submit(&release(&acme, lost)).status, 200);
}

#[test]
fn on_a_full_disk_a_log_starts_and_does_not_sign_or_says_why_it_does_not_start() {
    let Some(disk) = Small::mount(200) else {
        return;
    };
    let dir = disk.path("log");
    init(&dir);
    let server = Running::start(&dir, &["--admit", "open"]);
    let acme = acme();
    assert_eq!(server.submit(&acme.first).status, 200);
    assert!(server.stop());
    disk.fill_up(32 << 20);
    let server = Running::start(&dir, &["--admit", "open"]);
    does_not_sign(&server, "disk-full", &release(&acme, 1));
    assert!(server.stop());
    disk.make_room();
    disk.fill_up(0);
    let (code, said) = fails(&dir, None);
    println!("{code:?} {said}");
    assert_eq!(code, Some(1));
    assert!(said.contains("0 MiB free"), "{said}");
    disk.make_room();
    let server = Running::start(&dir, &["--admit", "open"]);
    signs_again(&server, &release(&acme, 1));
}

#[test]
fn a_read_only_file_system_is_named_at_the_start() {
    let Some(disk) = Small::mount(200) else {
        return;
    };
    let dir = disk.path("log");
    init(&dir);
    disk.remount("ro");
    let (code, said) = fails(&dir, None);
    assert_eq!(code, Some(1));
    assert!(said.contains("mounted read-only"), "{said}");
    disk.remount("rw");
    let server = Running::start(&dir, &["--admit", "open"]);
    signs_again(&server, &acme().first);
}

/// A mount that has writers cannot be made read-only from outside, as a failing disk makes it:
/// so the guard is asked without a server.
#[test]
fn a_file_system_that_turns_read_only_or_has_no_room_for_files_stops_signing() {
    let Some(disk) = Small::mount(200) else {
        return;
    };
    let dir = disk.path("log");
    init(&dir);
    let guard = Guard::unwatched(None).watching(&Layout::new(&dir), &Settings::default());
    let kind = || guard.may_sign(0, 0).err().map(|cause| cause.kind());
    assert_eq!(kind(), None);
    disk.remount("ro");
    assert_eq!(kind(), Some("file-system-read-only"));
    disk.remount("rw,nr_inodes=60");
    assert_eq!(kind(), Some("disk-full"));
    disk.remount("nr_inodes=10000");
    assert_eq!(kind(), None);
    // A batch that would eat into the reserve is not begun.
    assert_eq!(guard.may_sign(0, 10 << 20), Ok(()));
    assert!(guard.may_sign(0, 100 << 20).is_err());
}

#[test]
fn too_few_descriptors_are_named_at_the_start() {
    let dir = log();
    let (code, said) = fails(dir.path(), Some(100));
    assert_eq!(code, Some(1));
    assert!(said.contains("100 file descriptors are too few"), "{said}");
}

#[test]
fn out_of_descriptors_it_takes_no_entry_and_does_not_end() {
    let dir = log();
    let server = Running::start_limited(dir.path(), 1024, &["--admit", "open"]);
    let acme = acme();
    let mut wire = Wire::new(1, &server.addr);
    assert_eq!(wire.submit(&acme.first).unwrap().status, 200);
    let open = format!("/proc/{}/fd", server.pid().as_raw_nonzero());
    let limit = |current| {
        let rlimit = Rlimit {
            current: Some(current),
            maximum: Some(1024),
        };
        prlimit(Some(server.pid()), Resource::Nofile, rlimit).unwrap();
    };
    // Files of the store may close meanwhile.
    let short = |wire: &mut Wire| {
        limit(u64::try_from(fs::read_dir(&open).unwrap().count()).unwrap() + 4);
        wire.get("/readyz").unwrap().status == 503
    };
    assert!(within(10, || short(&mut wire)));
    for i in 0..3 {
        let answer = wire.submit(&release(&acme, i)).unwrap();
        assert_eq!(answer.kind(), "out-of-descriptors");
        assert_eq!(retry_after(&answer), Some(30));
    }
    assert_eq!(wire.get("/readyz").unwrap().kind(), "out-of-descriptors");
    assert_eq!(wire.get("/checkpoint").unwrap().status, 200);
    limit(1024);
    signs_again(&server, &release(&acme, 1));
}

#[test]
fn a_clock_behind_the_last_leaf_stops_signing_until_it_has_caught_up() {
    let dir = log();
    let acme = acme();
    let server = Server::start(&Config::new(dir.path()).open()).unwrap();
    // The project, then a head by a clock that was ahead.
    let time = unix_now();
    let body = acme.first.to_json().to_string();
    let mut wire = Wire::new(1, &server.addr().to_string());
    assert_eq!(wire.post(&body, "").unwrap().status, 200);
    let ahead = time + 300 + 4;
    let head = server.log().published().fold.next_head(ahead);
    let size = server.fill(vec![head.to_bytes().unwrap()]).unwrap();
    server.shutdown();
    let server = Running::start(dir.path(), &["--admit", "open"]);
    does_not_sign(&server, "clock-behind", &release(&acme, 1));
    signs_again(&server, &release(&acme, 1));
    let leaf = server.get(&format!("/api/v1/entries/{size}")).json();
    let leaf = ledger::from_b64(leaf["leaf"].as_str().unwrap()).unwrap();
    match Leaf::parse(&leaf).unwrap() {
        Leaf::Statement(s) => assert_eq!(s.time, ahead, "no time goes back"),
        other => panic!("{other:?}"),
    }
    assert!(server.stop());
    // Far ahead: the operator's way out, said by name.
    let server = Server::start(&Config::new(dir.path()).open()).unwrap();
    let head = server.log().published().fold.next_head(time + 10_000_000);
    server.fill(vec![head.to_bytes().unwrap()]).unwrap();
    server.shutdown();
    let server = Running::start(dir.path(), &["--admit", "open"]);
    does_not_sign(&server, "clock-behind", &release(&acme, 2));
    assert!(server.stop());
    let more = ["--admit", "open", "--max-clock-lag", "20000000"];
    let server = Running::start(dir.path(), &more);
    signs_again(&server, &release(&acme, 2));
}

#[test]
fn a_clock_far_after_the_last_leaf_needs_the_operators_word() {
    let dir = log();
    let acme = acme();
    let server = Server::start(&Config::new(dir.path()).open()).unwrap();
    let old = server
        .log()
        .published()
        .fold
        .next_head(unix_now() - 400 * 86_400);
    server.fill(vec![old.to_bytes().unwrap()]).unwrap();
    server.shutdown();
    let server = Running::start(dir.path(), &["--admit", "open"]);
    let ready = server.get("/readyz");
    assert_eq!((ready.status, ready.kind().as_str()), (503, "clock-ahead"));
    assert_eq!(server.submit(&acme.first).kind(), "clock-ahead");
    assert!(server.stop());
    let server = Running::start(dir.path(), &["--admit", "open", "--max-quiet-days", "500"]);
    signs_again(&server, &acme.first);
}

#[test]
fn a_second_server_on_the_directory_is_refused_and_the_first_goes_on() {
    let dir = log();
    let server = Running::start(dir.path(), &["--admit", "open"]);
    let (code, said) = fails(dir.path(), None);
    assert_eq!(code, Some(1));
    assert!(said.contains("in use by another"), "{said}");
    assert_eq!(server.submit(&acme().first).status, 200);
}

/// Size and root of a checkpoint.
fn stands(server: &Running) -> (u64, String) {
    let note = String::from_utf8(server.get("/checkpoint").body).unwrap();
    let mut lines = note.lines().skip(1).map(str::to_owned);
    (
        lines.next().unwrap().parse().unwrap(),
        lines.next().unwrap(),
    )
}

/// Not a defence, but what docs/operations.md warns of: the lock cannot see a copy, and both
/// servers have the log's keys. What sees it is outside of both.
#[test]
fn two_servers_on_copies_of_a_log_sign_two_histories() {
    let (dir, second) = (log(), tempfile::tempdir().unwrap());
    let acme = acme();
    let server = Running::start(dir.path(), &["--admit", "open"]);
    assert_eq!(server.submit(&acme.first).status, 200);
    assert!(server.stop());
    copy(dir.path(), second.path());
    let one = Running::start(dir.path(), &["--admit", "open"]);
    let two = Running::start(second.path(), &["--admit", "open"]);
    assert_eq!(stands(&one), stands(&two));
    assert_eq!(one.submit(&release(&acme, 1)).status, 200);
    assert_eq!(two.submit(&release(&acme, 2)).status, 200);
    let (one, two) = (stands(&one), stands(&two));
    assert_eq!(one.0, two.0);
    assert_ne!(one.1, two.1, "two trees of one size under one name");
}

/// Every file below `dir`, but the lock and the socket.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    let mut items: Vec<_> = fs::read_dir(dir).unwrap().map(Result::unwrap).collect();
    items.sort_by_key(fs::DirEntry::path);
    for item in items {
        let (path, kind) = (item.path(), item.file_type().unwrap());
        if kind.is_dir() {
            files(&path, found);
        } else if kind.is_file() && item.metadata().unwrap().len() > 0 {
            found.push(path);
        }
    }
}

/// A start that may fail: the server, or its exit code and what it said.
fn start(dir: &Path) -> Result<Running, (Option<i32>, String)> {
    Running::try_start(dir, &["--admit", "open"])
}

#[test]
fn a_flipped_byte_in_any_file_never_makes_another_history() {
    let original = log();
    let acme = acme();
    let server = Server::start(&Config::new(original.path()).open()).unwrap();
    let mut wire = Wire::new(1, &server.addr().to_string());
    assert_eq!(wire.submit(&acme.first).unwrap().status, 200);
    let leaf = |i| format!(r#"{{"apiVersion":"countersign/v1","kind":"test","n":{i}}}"#);
    let leaves = |r: std::ops::Range<u64>| r.map(|i| leaf(i).into_bytes()).collect();
    server.fill(leaves(0..300)).unwrap();
    server.fill(leaves(300..310)).unwrap();
    let view = server.log().view();
    server.shutdown();
    let mut all = Vec::new();
    files(original.path(), &mut all);
    let (mut not_started, mut read_only, mut harmless) = (0, 0, 0);
    for file in &all {
        let name = file.strip_prefix(original.path()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        copy(original.path(), dir.path());
        let path = dir.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        // Where something is written: files of a fixed size end with zeros.
        let used = bytes.iter().rposition(|b| *b != 0).unwrap_or(0);
        bytes[used / 2] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let name = name.display().to_string();
        let server = match start(dir.path()) {
            Ok(server) => server,
            Err((code, said)) => {
                println!("{name}: exit code {code:?}: {}", said.trim());
                assert_eq!(code, Some(1), "{name}");
                assert!(said.starts_with("countersign-server: "), "{name}: {said}");
                let part = [
                    "log.json",
                    "private/hot",
                    "private/index",
                    "private/log-ed25519.pem",
                    "private/log-p256.pem",
                ];
                let part = part.iter().find(|p| name.starts_with(*p));
                assert!(said.contains(part.expect(&name)), "{name}: {said}");
                if name.ends_with("index/version") {
                    // What it says to do helps.
                    let index = dir.path().join("private/index");
                    fs::rename(&index, dir.path().join("private/away")).unwrap();
                    let server = start(dir.path()).ok().unwrap();
                    assert_eq!(stands(&server).0, view.size);
                    signs_again(&server, &release(&acme, 1));
                }
                not_started += 1;
                continue;
            }
        };
        assert!(within(30, || rechecked(&server)), "{name}");
        let ready = server.get("/readyz");
        if ready.status == 503 {
            let why = ready.json()["detail"].as_str().unwrap().to_owned();
            println!("{name}: read-only: {why}");
            assert_eq!(ready.kind(), "read-only");
            assert_eq!(server.submit(&release(&acme, 1)).kind(), "read-only");
            if let Some(tile) = name.strip_prefix("public/") {
                let index = tile.rsplit('/').next().unwrap();
                // Where the edge depends on the file, the start sees that something is wrong.
                let edge = why.contains("another tree");
                assert!(
                    edge || why.contains(tile) || why.contains(index),
                    "{name}: {why}"
                );
            }
            read_only += 1;
            continue;
        }
        // What was signed before, and what is signed now, are one history.
        println!("{name}: ready");
        assert_eq!(stands(&server).0, view.size, "{name}");
        assert_eq!(server.submit(&release(&acme, 1)).status, 200, "{name}");
        let size = stands(&server).0;
        let query = format!("/api/v1/proofs/consistency?from={}&to={size}", view.size);
        let proof = server.get(&query).json();
        let hash = |h: &serde_json::Value| ledger::from_hex32(h.as_str().unwrap()).unwrap();
        let proof: Vec<_> = proof["proof"]
            .as_array()
            .unwrap()
            .iter()
            .map(hash)
            .collect();
        let root = ledger::from_b64(&stands(&server).1)
            .unwrap()
            .try_into()
            .unwrap();
        tlog::proof::verify_consistency(view.size, &view.root, size, &root, &proof).unwrap();
        harmless += 1;
    }
    println!("{not_started} not started, {read_only} read-only, {harmless} ready");
    assert!(not_started > 0 && read_only > 0);
}
