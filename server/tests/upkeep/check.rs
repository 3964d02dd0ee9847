//! `check`, by its command line.

use crate::common::Running;
use crate::log::{check_json, copied, log, options, raw, run};
use countersign_server::check::{self, Verdict};
use countersign_server::{Config, Server};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

fn found(report: &Value) -> Vec<&str> {
    let list = report["findings"].as_array().unwrap().iter();
    list.map(|f| f["kind"].as_str().unwrap()).collect()
}

fn noted(report: &Value) -> Vec<&str> {
    let list = report["notes"].as_array().unwrap().iter();
    list.map(|f| f["kind"].as_str().unwrap()).collect()
}

#[test]
fn a_sound_log_is_sound_and_not_changed_by_the_check() {
    let dir = copied();
    let before = everything(dir.path());
    let (code, report) = check_json(dir.path(), &[]);
    assert_eq!((code, report["verdict"].as_str()), (Some(0), Some("sound")));
    assert_eq!(
        (found(&report).len(), noted(&report).len()),
        (0, 0),
        "{report}"
    );
    assert_eq!(report["live"], false);
    assert_eq!(report["counts"]["projects"], 2);
    assert_eq!(report["counts"]["releases"], 6);
    assert_eq!(report["counts"]["leaves"], report["size"]);
    assert_eq!(everything(dir.path()), before);
    let out = run(&["check", "--data", "DIR"], dir.path(), &[]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("\nsound: log.example.org, "), "{text}");
}

fn everything(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for item in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = item.path();
        if path.is_dir() {
            all.extend(everything(&path));
        } else {
            all.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    all.sort();
    all
}

#[test]
fn damage_has_exit_code_1_and_the_file_is_named() {
    let dir = copied();
    let path = dir.path().join("public/tile/entries/000");
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (code, report) = check_json(dir.path(), &[]);
    assert_eq!(
        (code, report["verdict"].as_str()),
        (Some(1), Some("unsound"))
    );
    let first = &report["findings"][0];
    assert_eq!(first["path"], "tile/entries/000", "{report}");
    let out = run(&["check", "--data", "DIR"], dir.path(), &[]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(
        out.status.code() == Some(1) && text.contains("NOT SOUND: "),
        "{text}"
    );
}

#[test]
fn wrong_usage_and_no_verdict_have_exit_code_2() {
    let empty = tempfile::tempdir().unwrap();
    for args in [
        &["check"][..],
        &["check", "--tiles", "DIR"],
        &["check", "--data", "DIR", "--tiles", "DIR", "--vkey", "x"],
        &["check", "--data", "DIR", "--nonsense"],
        &["check", "--data", "DIR"],
        &["check", "--tiles", "DIR", "--vkey", "nonsense"],
        &[
            "check",
            "--tiles",
            "/nonexistent",
            "--vkey",
            &log().vkeys[0],
        ],
    ] {
        let out = run(args, empty.path(), &[]);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
    }
    let (code, report) = check_json(empty.path(), &[]);
    assert_eq!(
        (code, report["verdict"].as_str()),
        (Some(2), Some("unchecked"))
    );
    assert_eq!(report["unchecked"]["kind"], "data-no-log");
    let other = copied();
    let file = other.path().join("record");
    fs::write(&file, "{}").unwrap();
    let (code, report) = check_json(other.path(), &["--resume", file.to_str().unwrap()]);
    assert_eq!(
        (code, &report["unchecked"]["kind"]),
        (Some(2), &"resume".into())
    );
}

#[test]
fn vkeys_of_another_log_are_not_this_logs() {
    let other = tempfile::tempdir().unwrap();
    let vkeys = crate::common::init(other.path());
    let (code, report) = check_json(log().path(), &["--vkey", &vkeys[0]]);
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(found(&report), ["note-no-known-signature"]);
    let (code, _) = check_json(log().path(), &["--vkey", &log().vkeys[1]]);
    assert_eq!(code, Some(0));
}

#[test]
fn a_log_whose_server_runs_is_checked_as_far_as_it_is_public() {
    let dir = copied();
    let server = Running::start(dir.path(), &["--admit", "open"]);
    let (code, report) = check_json(dir.path(), &[]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(
        (&report["live"], noted(&report)),
        (&true.into(), vec!["live"])
    );
    assert_eq!(report["counts"]["leaves"], report["size"]);
    // While the log grows.
    let acme = crate::common::publisher("third/tool", "pkg:generic/third");
    assert_eq!(server.submit(&acme.first).status, 200);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                crate::log::release(&server, &acme, n);
                n += 1;
            }
        });
        for _ in 0..5 {
            let (code, report) = check_json(dir.path(), &[]);
            assert_eq!(code, Some(0), "{report}");
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let path = dir.path().join("public/tile/0/000");
    let mut bytes = fs::read(&path).unwrap();
    bytes[7] ^= 4;
    fs::write(&path, bytes).unwrap();
    let (code, report) = check_json(dir.path(), &[]);
    assert_eq!((code, found(&report)), (Some(1), vec!["tile-mismatch"]));
}

#[test]
fn no_server_starts_while_a_log_at_rest_is_being_checked() {
    let dir = copied();
    let layout = countersign_server::datadir::Layout::new(dir.path());
    let reading = countersign_server::datadir::Reading::begin(&layout).unwrap();
    let refused = Running::try_start(dir.path(), &[]);
    assert!(refused.is_err_and(|(code, said)| code == Some(1) && said.contains("in use")));
    // Two checks do not disturb each other.
    assert_eq!(check_json(dir.path(), &[]).0, Some(0));
    drop(reading);
}

#[test]
fn what_a_crash_may_leave_is_sound_and_said() {
    // Blobs that follow from the hot state, which the next start writes.
    let dir = copied();
    Server::start(&Config::new(dir.path())).unwrap().shutdown();
    for path in ["tile/0/000", "tile/entries/000"] {
        fs::write(dir.path().join("public").join(format!("{path}.tmp")), "x").unwrap();
    }
    let (code, report) = check_json(dir.path(), &[]);
    assert_eq!(
        (code, noted(&report)),
        (Some(0), vec!["unfinished"]),
        "{report}"
    );
    // An index that is missing or behind.
    fs::remove_dir_all(dir.path().join("private/index")).unwrap();
    assert_eq!(check_json(dir.path(), &[]).0, Some(0));
    let before = copied();
    let server = Server::start(&Config::new(dir.path())).unwrap();
    server.fill(raw(500..503)).unwrap();
    server.shutdown();
    fs::remove_dir_all(dir.path().join("private/index")).unwrap();
    crate::common::copy(
        &before.path().join("private/index"),
        &dir.path().join("private/index"),
    );
    let (code, report) = check_json(dir.path(), &[]);
    assert_eq!(code, Some(0), "{report}");
    assert!(noted(&report).contains(&"index-behind"), "{report}");
}

#[test]
fn blobs_that_a_crash_kept_from_being_written_are_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    crate::common::init(dir.path());
    let server = Server::start(&Config::new(dir.path())).unwrap();
    // One batch: the hot state drops none of it before the next one.
    server.fill(raw(0..300)).unwrap();
    server.shutdown();
    fs::remove_dir_all(dir.path().join("public/tile")).unwrap();
    let (code, report) = check_json(dir.path(), &[]);
    assert_eq!(
        (code, noted(&report)),
        (Some(0), vec!["not-written-yet"]),
        "{report}"
    );
    // A later batch has dropped them: now they are lost.
    let server = Server::start(&Config::new(dir.path())).unwrap();
    server.fill(raw(300..301)).unwrap();
    server.shutdown();
    fs::remove_dir_all(dir.path().join("public/tile")).unwrap();
    let (code, report) = check_json(dir.path(), &[]);
    assert_eq!(code, Some(1));
    assert!(found(&report).contains(&"bundle-missing"), "{report}");
}

#[test]
fn an_older_hot_state_beside_newer_files_is_not_sound() {
    let (old, dir) = (copied(), copied());
    let server = Server::start(&Config::new(dir.path())).unwrap();
    server.fill(raw(1000..1300)).unwrap();
    server.shutdown();
    let hot = dir.path().join("private/hot");
    fs::remove_dir_all(&hot).unwrap();
    crate::common::copy(&old.path().join("private/hot"), &hot);
    let (code, report) = check_json(dir.path(), &[]);
    assert_eq!(code, Some(1));
    let found = found(&report);
    assert!(
        found.contains(&"index-ahead") && found.contains(&"beyond-checkpoint"),
        "{report}"
    );
}

#[test]
fn a_log_that_does_not_go_on_from_its_high_water_mark_is_not_sound() {
    let (old, dir, away) = (copied(), copied(), tempfile::tempdir().unwrap());
    let path = away.path().join("mark");
    let mark = path.to_str().unwrap();
    let raised = |data: &Path| {
        countersign_server::high_water::begin(data, &path).unwrap();
    };
    let judged = |data: &Path| check_json(data, &["--high-water", mark]);
    let (code, report) = judged(dir.path());
    assert_eq!(
        (code, found(&report)),
        (Some(1), vec!["high-water"]),
        "{report}"
    );
    raised(dir.path());
    assert_eq!(judged(dir.path()).0, Some(0));
    // The log went on, and its old copy, and a copy that went on otherwise, are not it.
    let fork = tempfile::tempdir().unwrap();
    crate::common::copy(old.path(), fork.path());
    for (data, leaves) in [(dir.path(), 1000..1300), (fork.path(), 5000..5400)] {
        let server = Server::start(&Config::new(data)).unwrap();
        server.fill(raw(leaves)).unwrap();
        server.shutdown();
    }
    assert_eq!(
        judged(dir.path()).0,
        Some(0),
        "an older mark is one that it goes on from"
    );
    raised(dir.path());
    assert_eq!(judged(dir.path()).0, Some(0));
    for data in [old.path(), fork.path()] {
        let (code, report) = judged(data);
        assert_eq!(
            (code, found(&report)),
            (Some(1), vec!["high-water"]),
            "{report}"
        );
    }
    std::fs::write(&path, "no checkpoint").unwrap();
    assert_eq!(judged(dir.path()).0, Some(1));
}

#[test]
fn files_that_are_missing_or_that_no_log_writes_are_found() {
    for (change, want) in [
        ("remove public/tile/0/000", "tile-missing"),
        ("remove public/tile/entries/000", "bundle-missing"),
        ("remove private/log-p256.pem", "log-keys"),
        ("remove private/hot/db", "hot-damaged"),
        ("remove log.json", "log-json"),
        ("add public/tile/0/999", "beyond-checkpoint"),
        ("add public/tile/0/000.p/3", "unknown-file"),
        ("add public/tile/1/nonsense", "unknown-file"),
    ] {
        let dir = copied();
        let (what, path) = change.split_once(' ').unwrap();
        let path = dir.path().join(path);
        if what == "remove" {
            fs::remove_file(&path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "x").unwrap();
        }
        let (code, report) = check_json(dir.path(), &[]);
        assert_eq!(code, Some(1), "{change}: {report}");
        assert!(found(&report).contains(&want), "{change}: {report}");
    }
}

#[test]
fn rows_that_the_log_does_not_give_are_found_in_the_index() {
    use countersign_server::store::{FjallIndex, Index as _, IndexBatch};
    let dir = copied();
    let index = FjallIndex::open(&dir.path().join("private/index")).unwrap();
    let more = IndexBatch {
        size: index.size().unwrap(),
        last_time: index.state().unwrap().last_time,
        paes: vec![([9; 32], 3)],
        ..IndexBatch::default()
    };
    index.apply(&more).unwrap();
    drop(index);
    let (code, report) = check_json(dir.path(), &[]);
    assert_eq!(
        (code, found(&report)),
        (Some(1), vec!["index-differs"]),
        "{report}"
    );
}

#[test]
fn a_check_that_is_killed_goes_on_where_it_was() {
    let (dir, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    crate::common::init(dir.path());
    let server = Server::start(&Config::new(dir.path())).unwrap();
    server.fill(raw(0..50_000)).unwrap();
    server.shutdown();
    let record = files.path().join("record");
    let resume = ["--resume", record.to_str().unwrap()];
    let mut child = Command::new(env!("CARGO_BIN_EXE_countersign-server"))
        .args(["check", "--data", dir.path().to_str().unwrap()])
        .args(resume)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !record.exists() && child.try_wait().unwrap().is_none() {}
    child.kill().unwrap();
    child.wait().unwrap();
    let (code, report) = check_json(dir.path(), &resume);
    assert_eq!(code, Some(0), "{report}");
    assert!(
        report["signedBelow"].as_u64().unwrap() >= 16_384,
        "{report}"
    );
    assert_eq!(report["counts"]["leaves"], 50_000);
    // Nothing is vouched for behind a finding.
    fs::remove_file(&record).unwrap();
    let path = dir.path().join("public/tile/0/001");
    let mut bytes = fs::read(&path).unwrap();
    bytes[0] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(check_json(dir.path(), &resume).0, Some(1));
    assert!(!record.exists());
}

#[test]
fn an_interrupted_check_goes_on_and_another_tree_is_not_believed() {
    let (dir, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    crate::common::init(dir.path());
    let server = Server::start(&Config::new(dir.path())).unwrap();
    server.fill(raw(0..300)).unwrap();
    let record = files.path().join("record");
    let options = check::Options {
        resume: Some(record.clone()),
        ..options()
    };
    server.shutdown();
    let report = check::data(dir.path(), &options);
    assert_eq!((report.verdict(), report.signed_below), (Verdict::Sound, 0));
    let saved = fs::read(&record).unwrap();
    let server = Server::start(&Config::new(dir.path())).unwrap();
    server.fill(raw(300..900)).unwrap();
    server.shutdown();
    let report = check::data(dir.path(), &options);
    assert_eq!(
        (report.verdict(), report.signed_below),
        (Verdict::Sound, 300)
    );
    // A record that names another root: every signature is verified again, and it is said.
    let text = String::from_utf8(saved).unwrap();
    let at = text.find("\"root\":\"").unwrap() + 8;
    let mut other = text.into_bytes();
    other[at] = if other[at] == b'0' { b'1' } else { b'0' };
    fs::write(&record, other).unwrap();
    let report = check::data(dir.path(), &options);
    assert_eq!((report.verdict(), report.signed_below), (Verdict::Sound, 0));
    assert_eq!(report.heard.notes[0].kind, "resume-other-tree");
    // Another log's.
    let report = check::data(log().path(), &options);
    assert_eq!(report.unchecked.unwrap().kind, "resume");
}

/// Bytes that say nothing when they are read: nobody but a check would ever see them change.
#[test]
fn what_reads_the_same_and_is_not_as_it_was_written_is_found() {
    // PEM allows text before its first line.
    let dir = copied();
    let key = dir.path().join("private/log-ed25519.pem");
    let pem = fs::read_to_string(&key).unwrap();
    fs::write(&key, format!("note\n{pem}")).unwrap();
    let (code, report) = check_json(dir.path(), &[]);
    assert_eq!(
        (code, found(&report)),
        (Some(1), vec!["log-keys"]),
        "{report}"
    );
    // A signature line's last digit has bits that belong to no byte.
    let out = tempfile::tempdir().unwrap();
    countersign_server::export::export(log().path(), out.path(), &options()).unwrap();
    let path = out.path().join("checkpoint");
    let note = fs::read_to_string(&path).unwrap();
    let (before, _) = note.rsplit_once("=\n").unwrap();
    let (before, digit) = before.split_at(before.len() - 1);
    // 68 bytes of signature and key id leave two bits of the last digit, which are zero.
    let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let next = digits.find(digit).unwrap() + 1;
    let other = format!("{before}{}=\n", &digits[next..=next]);
    fs::write(&path, other).unwrap();
    let options = check::Options {
        vkeys: log().vkeys.clone(),
        ..options()
    };
    let report = check::tiles(out.path(), &options);
    assert_eq!(crate::log::kinds(&report), ["checkpoint-encoding"]);
}
