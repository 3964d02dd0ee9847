//! Rotations of the log's keys that stop half-way, and what looks after a log while it has two
//! pairs.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Running, artifact, copy, init, program, publisher};
use std::fs;
use std::path::Path;

/// Runs the program on the directory; whether it succeeded, and all that it said.
fn run(args: &[&str], dir: &Path) -> (bool, String) {
    let out = program(&[args, &["--data", dir.to_str().unwrap()]].concat());
    let said = String::from_utf8([out.stdout, out.stderr].concat()).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    (out.status.success(), said)
}

fn ok(args: &[&str], dir: &Path) -> String {
    let (done, said) = run(args, dir);
    assert!(done, "{args:?}: {said}");
    said
}

fn refused(args: &[&str], dir: &Path, says: &str) {
    let (done, said) = run(args, dir);
    assert!(!done && said.contains(says), "{args:?}: {said}");
}

const ROTATE: &[&str] = &["keys", "rotate", "--overlap-days", "0"];
const RETIRE: &[&str] = &["keys", "retire"];
const LIST: &[&str] = &["keys", "list"];
const CHECK: &[&str] = &["check", "--quiet"];
const SERVE: &[&str] = &["serve", "--listen", "127.0.0.1:0"];
const NEW: [&str; 2] = ["private/log-p256-2.pem", "private/log-ed25519-2.pem"];
const OLD: [&str; 2] = ["private/log-p256.pem", "private/log-ed25519.pem"];

/// Serves and stops; gives how many keys have signed what is shown.
fn served(dir: &Path) -> usize {
    let server = Running::start(dir, &[]);
    assert_eq!(server.get("/readyz").status, 200);
    let shown = String::from_utf8(server.get("/checkpoint").body).unwrap();
    assert!(server.stop());
    shown.matches("\u{2014} log.example.org ").count()
}

#[test]
fn a_rotation_that_stopped_half_way_counts_for_nothing_and_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path();
    let marker = log.join("log.json");
    init(log);
    let (list, before) = (ok(LIST, log), fs::read(&marker).unwrap());
    let rotated = ok(ROTATE, log);
    let after = fs::read(&marker).unwrap();
    let stopped = |gone: &[&str]| {
        fs::write(&marker, &before).unwrap();
        for name in gone {
            fs::remove_file(log.join(name)).unwrap();
        }
    };

    // Both new files are there, and log.json does not name them: the old pair signs alone.
    stopped(&[]);
    assert_eq!((ok(LIST, log), served(log)), (list.clone(), 2));
    ok(CHECK, log);
    let pairs = |said: &str| -> Vec<String> {
        let keys = said.lines().filter(|l| l.starts_with("  "));
        keys.map(str::to_owned).collect()
    };
    assert_eq!(
        pairs(&ok(ROTATE, log)),
        pairs(&rotated),
        "the same new keys"
    );
    // Only one of them is there.
    stopped(&[NEW[1]]);
    assert_eq!(served(log), 2);
    let again = ok(ROTATE, log);
    assert_eq!(pairs(&again)[0], pairs(&rotated)[0]);
    assert_ne!(pairs(&again)[1], pairs(&rotated)[1]);
    // One was torn: nothing is overwritten.
    stopped(&[]);
    let file = fs::read(log.join(NEW[0])).unwrap();
    fs::write(log.join(NEW[0]), &file[..file.len() / 2]).unwrap();
    refused(ROTATE, log, "Move private/log-p256-2.pem");
    assert_eq!((ok(LIST, log), served(log)), (list, 2));
    fs::write(log.join(NEW[0]), &file).unwrap();
    ok(ROTATE, log);

    // log.json names files that are not there, or others.
    let whole = fs::read(log.join(NEW[1])).unwrap();
    fs::rename(log.join(NEW[1]), log.join("away")).unwrap();
    for args in [SERVE, LIST, RETIRE] {
        refused(args, log, "log-ed25519-2.pem is missing");
    }
    fs::copy(log.join(OLD[1]), log.join(NEW[1])).unwrap();
    for args in [SERVE, LIST, RETIRE] {
        refused(args, log, "others than the vkeys");
    }
    fs::write(log.join(NEW[1]), whole).unwrap();
    assert_ne!(fs::read(&marker).unwrap(), after, "one key was made anew");
    assert_eq!(served(log), 4);
    ok(CHECK, log);
}

#[test]
fn a_retirement_that_stopped_half_way_has_taken_effect() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path();
    init(log);
    ok(ROTATE, log);
    refused(RETIRE, log, "start the server once");
    assert_eq!(served(log), 4);
    let kept = OLD.map(|name| (name, fs::read(log.join(name)).unwrap()));
    ok(RETIRE, log);
    refused(RETIRE, log, "no pair is to be retired");
    // Before the files were removed.
    for (name, bytes) in kept {
        fs::write(log.join(name), &bytes).unwrap();
    }
    assert_eq!(served(log), 2);
    assert!(ok(CHECK, log).contains("not looked at"));
    ok(RETIRE, log);
    assert!(OLD.iter().all(|name| !log.join(name).exists()));
    // And again, later: numbers go on.
    ok(ROTATE, log);
    assert!(log.join("private/log-p256-3.pem").exists());
    assert_eq!(served(log), 4);
    ok(RETIRE, log);
    assert_eq!(served(log), 2);
    ok(CHECK, log);
    assert!(ok(LIST, log).contains("retired, sign no more"));
}

#[test]
fn while_two_pairs_sign_all_is_checked_backed_up_and_exported() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let log = log.as_path();
    init(log);
    let acme = publisher("acme/tool", "pkg:generic/acme");
    let publish = |n: u32| {
        let server = Running::start(log, &["--admit", "open"]);
        assert_eq!(server.submit(&acme.first).status, 200);
        let purl = format!("pkg:generic/acme/tool@{n}");
        let release = acme.envelope(&purl, &[artifact("tool", b"1")]);
        assert_eq!(server.submit(&release).status, 200);
        assert!(server.stop());
    };
    let out = dir.path().join("out");
    let export = ["export", "--out", out.to_str().unwrap()];
    publish(1);
    ok(&export, log);
    ok(ROTATE, log);
    // What was signed last was signed by the old pair alone.
    ok(CHECK, log);
    ok(&export, log);
    publish(2);
    ok(&export, log);
    let new = ok(&["vkeys"], log);
    let vkeys: Vec<&str> = new.lines().flat_map(|v| ["--vkey", v]).collect();
    assert_eq!(vkeys.len(), 4, "those that projects should list");
    let tiles = ["check", "--quiet", "--tiles", out.to_str().unwrap()];
    let checked = program(&[&tiles[..], &vkeys].concat());
    assert!(checked.status.success(), "{checked:?}");

    // A flipped byte in any of the key files, or in log.json, is found.
    for name in OLD.iter().chain(&NEW).chain(&["log.json"]) {
        let path = log.join(name);
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 12) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            let (sound, said) = run(CHECK, log);
            assert!(!sound, "{name}: byte {at}: {said}");
        }
        fs::write(&path, &whole).unwrap();
    }
    ok(CHECK, log);

    // A backup with the private keys has all that a restore needs.
    let tar = dir.path().join("log.tar");
    ok(
        &[
            "backup",
            "--with-private-keys",
            "--out",
            tar.to_str().unwrap(),
        ],
        log,
    );
    let restored = dir.path().join("restored");
    let unpacked = dir.path().join("unpacked");
    tar::Archive::new(fs::File::open(&tar).unwrap())
        .unpack(&unpacked)
        .unwrap();
    fs::create_dir_all(restored.join("public")).unwrap();
    copy(&unpacked.join("private"), &restored.join("private"));
    fs::copy(unpacked.join("state/log.json"), restored.join("log.json")).unwrap();
    ok(&["import", unpacked.to_str().unwrap()], &restored);
    ok(CHECK, &restored);
    assert_eq!(ok(LIST, &restored), ok(LIST, log));
    assert_eq!(served(&restored), 4);

    // After the overlap the earlier export is still this log's.
    ok(RETIRE, log);
    publish(3);
    ok(&export, log);
    let checked = program(&[&tiles[..], &vkeys].concat());
    assert!(checked.status.success(), "{checked:?}");
}
