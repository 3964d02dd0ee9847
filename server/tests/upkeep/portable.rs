//! `export`, `import`, `backup`, and what is restored from them.

use crate::common::{Running, copy, init, program, publisher};
use crate::log::{check_json, copied, kinds, log, options, raw, release, run};
use countersign_server::check::{self, Options, Verdict};
use countersign_server::{Config, Server};
use ledger::bundle::Bundle;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

fn export(data: &Path, out: &Path) -> Output {
    program(&["export", "--data", text(data), "--out", text(out)])
}

fn import(from: &Path, data: &Path) -> Output {
    program(&["import", text(from), "--data", text(data)])
}

/// `check --tiles` under all of the log's keys.
fn tiles(dir: &Path) -> check::Report {
    let options = Options {
        vkeys: log().vkeys.clone(),
        ..options()
    };
    check::tiles(dir, &options)
}

fn exported(data: &Path) -> TempDir {
    let out = tempfile::tempdir().unwrap();
    let done = export(data, out.path());
    assert!(done.status.success(), "{}", said(&done));
    out
}

/// A data directory with the keys of the log and nothing else.
fn keys_only() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let private = dir.path().join("private");
    fs::create_dir(&private).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    fs::create_dir(dir.path().join("public")).unwrap();
    for file in [
        "log.json",
        "private/log-p256.pem",
        "private/log-ed25519.pem",
    ] {
        fs::copy(log().path().join(file), dir.path().join(file)).unwrap();
    }
    dir
}

fn all(dir: &Path, below: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let Ok(items) = fs::read_dir(dir) else {
        return files;
    };
    for item in items.map(Result::unwrap) {
        let path = item.path();
        if path.is_dir() {
            files.extend(all(&path, below));
        } else if path.is_file() {
            let name = path.strip_prefix(below).unwrap().to_owned();
            files.push((name, fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}

/// How many files there are, while somebody else writes them.
fn count(dir: &Path) -> usize {
    let Ok(items) = fs::read_dir(dir) else {
        return 0;
    };
    let paths = items.filter_map(|item| Some(item.ok()?.path()));
    paths.map(|p| if p.is_dir() { count(&p) } else { 1 }).sum()
}

fn under(dir: &Path, part: &str) -> Vec<(PathBuf, Vec<u8>)> {
    all(&dir.join(part), dir)
}

#[test]
fn an_export_is_sound_and_holds_no_key() {
    let out = exported(log().path());
    let report = tiles(out.path());
    assert_eq!(report.verdict(), Verdict::Sound, "{}", report.text());
    assert_eq!((report.heard.notes.len(), report.counts.releases), (0, 6));
    let names: Vec<String> = all(out.path(), out.path())
        .into_iter()
        .map(|(name, _)| name.display().to_string())
        .collect();
    let count = |part: &str| names.iter().filter(|n| n.starts_with(part)).count();
    // A full tile and bundle, three partial ones.
    assert_eq!(count("tile/"), 5, "{names:?}");
    assert_eq!((count("state/trust/"), count("state/pending/")), (1, 2));
    assert_eq!((count("state/pending-trust/"), count("checkpoint")), (1, 1));
    assert!(!names.iter().any(|n| n.contains("pem")), "{names:?}");
    let mode = fs::metadata(out.path().join("state"))
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o700);
    // Only one of the keys: what is not checked is said.
    let options = Options {
        vkeys: vec![log().vkeys[0].clone()],
        ..options()
    };
    let report = check::tiles(out.path(), &options);
    assert_eq!(
        (report.verdict(), report.heard.notes[0].kind),
        (Verdict::Sound, "vkeys")
    );
}

#[test]
fn an_export_grows_with_its_log_also_while_it_is_served() {
    let dir = copied();
    let out = exported(dir.path());
    let before = all(out.path(), out.path()).len();
    let server = Running::start(dir.path(), &["--admit", "open"]);
    let third = publisher("third/tool", "pkg:generic/third");
    assert_eq!(server.submit(&third.first).status, 200);
    (0..3).for_each(|n| release(&server, &third, n));
    let done = export(dir.path(), out.path());
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(tiles(out.path()).verdict(), Verdict::Sound);
    // The partial tiles of before have made room for those of now.
    assert_eq!(all(out.path(), out.path()).len(), before);
    assert!(server.stop());
    let server = Server::start(&Config::new(dir.path())).unwrap();
    server.fill(raw(5000..5600)).unwrap();
    server.shutdown();
    // As after an interruption: some of what is new is there, and the old checkpoint.
    fs::create_dir_all(out.path().join("tile/entries")).unwrap();
    fs::copy(
        dir.path().join("public/tile/entries/002"),
        out.path().join("tile/entries/002"),
    )
    .unwrap();
    let report = tiles(out.path());
    assert_eq!(
        (report.verdict(), report.heard.notes.len()),
        (Verdict::Sound, 1)
    );
    assert!(export(dir.path(), out.path()).status.success());
    let report = tiles(out.path());
    assert_eq!(
        (report.verdict(), report.heard.notes.len()),
        (Verdict::Sound, 0)
    );
    // Nothing new: nothing is written.
    let done = export(dir.path(), out.path());
    let words = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(words.contains(" 0 new, 0 files"), "{words}");
}

#[test]
fn partial_tiles_of_earlier_sizes_may_stand_beside_and_are_the_beginning_of_what_does() {
    let out = exported(log().path());
    let size = tiles(out.path()).size;
    let width = size % 256;
    for dir in ["tile/0/001.p", "tile/entries/001.p"] {
        let dir = out.path().join(dir);
        let whole = fs::read(dir.join(width.to_string())).unwrap();
        // Three rows; three entries, each behind its length.
        let length = if dir.ends_with("0/001.p") {
            96
        } else {
            (0..3).fold(0, |at, _| {
                at + 2 + usize::from(u16::from_be_bytes([whole[at], whole[at + 1]]))
            })
        };
        let part = whole[..length].to_vec();
        fs::write(dir.join("3"), &part).unwrap();
        assert_eq!(tiles(out.path()).verdict(), Verdict::Sound);
        for bad in [&part[..length - 1], &whole[1..=length], &whole] {
            fs::write(dir.join("3"), bad).unwrap();
            assert_eq!(kinds(&tiles(out.path())), ["tile-mismatch"]);
        }
        fs::write(dir.join("3"), &part).unwrap();
        // Of the full tile too.
        fs::create_dir(out.path().join("tile/0/000.p")).unwrap_or_default();
        fs::write(out.path().join("tile/0/000.p/1"), &whole[..32]).unwrap();
        assert_eq!(kinds(&tiles(out.path())), ["tile-mismatch"]);
        fs::remove_file(out.path().join("tile/0/000.p/1")).unwrap();
    }
}

#[test]
fn an_export_goes_only_where_it_belongs() {
    let (dir, out) = (copied(), exported(log().path()));
    let refuses = |data: &Path, out: &Path, says: &str| {
        let before = all(out, out);
        let done = export(data, out);
        assert_eq!(done.status.code(), Some(1));
        assert!(said(&done).contains(says), "{}", said(&done));
        assert_eq!(all(out, out), before);
    };
    let strange = tempfile::tempdir().unwrap();
    fs::write(strange.path().join("file"), "mine").unwrap();
    refuses(dir.path(), strange.path(), "neither empty nor an export");
    let other = tempfile::tempdir().unwrap();
    init(other.path());
    refuses(other.path(), out.path(), "an export of another log");
    // A log that went back behind what was exported.
    let server = Server::start(&Config::new(dir.path())).unwrap();
    server.fill(raw(5000..5003)).unwrap();
    server.shutdown();
    let newer = exported(dir.path());
    refuses(log().path(), newer.path(), "the log went back");
    // Or that went on from there to another history.
    let fork = copied();
    let server = Server::start(&Config::new(fork.path())).unwrap();
    server.fill(raw(6000..6010)).unwrap();
    server.shutdown();
    refuses(fork.path(), newer.path(), "of another history");
    // A damaged right edge is not exported.
    let tile = dir.path().join("public/tile/0/000");
    let mut bytes = fs::read(&tile).unwrap();
    bytes[0] ^= 1;
    fs::write(&tile, bytes).unwrap();
    let empty = tempfile::tempdir().unwrap();
    refuses(dir.path(), empty.path(), "run `countersign-server check`");
}

#[test]
fn an_export_imported_into_a_fresh_directory_is_the_log() {
    let (out, dir) = (exported(log().path()), keys_only());
    let done = import(out.path(), dir.path());
    assert!(done.status.success(), "{}", said(&done));
    assert!(
        said(&done).contains("sign another history"),
        "{}",
        said(&done)
    );
    assert_eq!(check_json(dir.path(), &[]).0, Some(0));
    for part in ["public", "private/pending", "private/pending-trust"] {
        assert_eq!(under(dir.path(), part), under(log().path(), part), "{part}");
    }
    // Both answer the same, byte for byte, and the new one goes on.
    let old = copied();
    let (old, new) = (
        Running::start(old.path(), &["--admit", "open"]),
        Running::start(dir.path(), &["--admit", "open"]),
    );
    let size = check::data(log().path(), &options()).size;
    let last = size - size % 256;
    for path in [
        "/checkpoint".to_owned(),
        "/tile/entries/000".into(),
        "/tile/0/000".into(),
        format!("/tile/entries/001.p/{}", size - last),
        format!("/tile/0/001.p/{}", size - last),
        "/tile/1/000.p/1".into(),
        "/api/v1/projects/acme%2Ftool".into(),
        "/api/v1/projects/waits%2Ftool".into(),
        "/api/v1/projects/refused%2Ftool".into(),
    ] {
        let (a, b) = (old.get(&path), new.get(&path));
        assert_eq!((a.status, &a.body), (b.status, &b.body), "{path}");
    }
    let third = publisher("third/tool", "pkg:generic/third");
    let answer = new.submit(&third.first);
    assert_eq!(answer.status, 200);
    assert!(Bundle::parse(&answer.body).is_ok());
    release(&new, &third, 1);
    assert!(new.stop());
    assert_eq!(check_json(dir.path(), &[]).0, Some(0));
    // The same again changes nothing, and an older one is refused.
    let done = import(out.path(), dir.path());
    assert!(said(&done).contains("never goes back"), "{}", said(&done));
}

#[test]
fn a_lost_tail_comes_back_from_a_mirror_byte_for_byte() {
    // The log went on after the backup, across the end of a bundle or not, and then was lost.
    for more in [3, 600] {
        let (dir, old) = (copied(), copied());
        let server = Server::start(&Config::new(dir.path())).unwrap();
        server.fill(raw(5000..5000 + more)).unwrap();
        server.shutdown();
        let mirror = exported(dir.path());
        // A mirror has tiles and a checkpoint, and nothing else.
        fs::remove_dir_all(mirror.path().join("state")).unwrap();
        let done = import(mirror.path(), old.path());
        assert!(done.status.success(), "{}", said(&done));
        let words = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(words.contains(&format!(", {more} new, ")), "{words}");
        assert_eq!(under(old.path(), "public"), under(dir.path(), "public"));
        assert_eq!(check_json(old.path(), &[]).0, Some(0));
        let (restored, was) = (exported(old.path()), exported(dir.path()));
        assert_eq!(
            all(restored.path(), restored.path()),
            all(was.path(), was.path())
        );
    }
}

/// What is refused leaves the data directory as it is.
fn refuses(from: &Path, data: &Path, says: &str) {
    let parts = |d: &Path| (under(d, "public"), under(d, "private/hot"));
    let before = parts(data);
    let done = import(from, data);
    assert_eq!(done.status.code(), Some(1), "{says}");
    assert!(said(&done).contains(says), "want {says:?}: {}", said(&done));
    assert_eq!(parts(data), before, "{says}");
}

#[test]
fn what_is_not_this_logs_or_not_whole_is_refused_and_nothing_is_touched() {
    let out = exported(log().path());
    // Another log's keys.
    let other = tempfile::tempdir().unwrap();
    init(other.path());
    refuses(out.path(), other.path(), "not this log's");
    // This log's keys on another history.
    let (fork, ahead) = (copied(), copied());
    for (dir, from) in [(&fork, 6000), (&ahead, 7000)] {
        let server = Server::start(&Config::new(dir.path())).unwrap();
        server.fill(raw(from..from + 5 + from / 7000)).unwrap();
        server.shutdown();
    }
    let ahead = exported(ahead.path());
    refuses(ahead.path(), fork.path(), "another history");
    // An older one, where only public/ is left of what was signed.
    let (longer, left) = (copied(), keys_only());
    let server = Server::start(&Config::new(longer.path())).unwrap();
    server.fill(raw(8000..8300)).unwrap();
    server.shutdown();
    copy(&longer.path().join("public"), &left.path().join("public"));
    refuses(out.path(), left.path(), "never goes back");
    // A byte flipped in any part that is read.
    let (trust, _) = under(out.path(), "state/trust").remove(0);
    for path in [
        "checkpoint",
        "tile/entries/000",
        "tile/0/000",
        "tile/1/000.p/1",
        trust.to_str().unwrap(),
    ] {
        let dir = keys_only();
        let path = out.path().join(path);
        let original = fs::read(&path).unwrap();
        let mut bytes = original.clone();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        let says = if path.ends_with("checkpoint") {
            "not this log's"
        } else {
            "not sound"
        };
        refuses(out.path(), dir.path(), says);
        fs::write(&path, original).unwrap();
    }
    // Signed by the log, but not the tree that is there.
    let older = copied();
    let server = Server::start(&Config::new(older.path())).unwrap();
    server.fill(raw(5000..5002)).unwrap();
    server.shutdown();
    let newer = exported(older.path());
    let dir = keys_only();
    fs::copy(
        newer.path().join("checkpoint"),
        out.path().join("checkpoint"),
    )
    .unwrap();
    refuses(out.path(), dir.path(), "not sound");
    // A running server's directory; one whose hot state is damaged.
    let server = Running::start(fork.path(), &[]);
    let done = import(newer.path(), fork.path());
    assert!(said(&done).contains("in use"), "{}", said(&done));
    drop(server);
    let db = older.path().join("private/hot/db");
    fs::write(&db, "nonsense").unwrap();
    refuses(newer.path(), older.path(), "private/hot cannot be read");
}

#[test]
fn an_interrupted_import_is_refused_by_a_start_or_done_and_begun_again_completes() {
    let source = copied();
    let server = Server::start(&Config::new(source.path())).unwrap();
    // Enough files that a kill falls between two of them.
    server.fill(raw(10_000..40_000)).unwrap();
    server.shutdown();
    let out = exported(source.path());
    let (mut between, blobs) = (0, under(source.path(), "public/tile").len());
    for wanted in [1, 20, 65, 130, blobs - 1] {
        // An old backup, so that there is a hot state to go wrong.
        let dir = copied();
        let mut child = Command::new(env!("CARGO_BIN_EXE_countersign-server"))
            .args(["import", text(out.path()), "--data", text(dir.path())])
            .spawn()
            .unwrap();
        let written = || count(&dir.path().join("public/tile"));
        while written() < wanted && child.try_wait().unwrap().is_none() {}
        child.kill().unwrap();
        child.wait().unwrap();
        let now = written();
        if now > 2 && now < blobs {
            between += 1;
            let server = Running::start(dir.path(), &[]);
            assert_eq!(server.get("/readyz").kind(), "read-only");
            drop(server);
        }
        let done = import(out.path(), dir.path());
        assert!(done.status.success(), "{}", said(&done));
        assert_eq!(under(dir.path(), "public"), under(source.path(), "public"));
        assert_eq!(check_json(dir.path(), &[]).0, Some(0));
    }
    assert!(between > 0, "no kill fell between two files");
}

/// The commands of docs/operations.md, "Backups", as they stand there.
#[test]
fn a_backup_is_restored_by_the_commands_in_the_documentation() {
    let page = include_str!("../../../docs/operations.md");
    let (_, part) = page.split_once("### Restore").unwrap();
    let (_, commands) = part.split_once("```sh\n").unwrap();
    let (commands, _) = commands.split_once("```").unwrap();
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&place.path().join(name)).to_owned();
    let source = copied();
    let served = Running::start(source.path(), &[]);
    let made = program(&[
        "backup",
        "--data",
        text(source.path()),
        "--out",
        &at("log.tar"),
    ]);
    assert!(made.status.success(), "{}", said(&made));
    drop(served);
    fs::create_dir(at("KEYS")).unwrap();
    for key in ["log-p256.pem", "log-ed25519.pem"] {
        let to = Path::new(&at("KEYS")).join(key);
        fs::copy(log().path().join("private").join(key), to).unwrap();
    }
    let program = env!("CARGO_BIN_EXE_countersign-server");
    let commands = commands
        .lines()
        .filter(|l| !l.contains(" serve "))
        .collect::<Vec<_>>()
        .join("\n")
        .replace("countersign-server", program)
        .replace("log.example.org+…", &log().vkeys[0]);
    let script = format!("set -e\numask 022\n{commands}\n");
    let done = Command::new("sh")
        .args(["-c", &script])
        .current_dir(place.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{script}{}", said(&done));
    let restored = place.path().join("DIR");
    assert_eq!(check_json(&restored, &[]).0, Some(0));
    assert_eq!(under(&restored, "public"), under(log().path(), "public"));
    let server = Running::start(&restored, &[]);
    assert_eq!(server.get("/readyz").status, 200);
}

#[test]
fn a_backup_holds_no_key_unless_asked_and_is_never_half_there() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("log.tar");
    let backup = |more: &[&str]| {
        run(
            &["backup", "--data", "DIR", "--out", text(&file)],
            log().path(),
            more,
        )
    };
    let list = || {
        let out = Command::new("tar").arg("-tf").arg(&file).output().unwrap();
        assert!(out.status.success(), "{}", said(&out));
        String::from_utf8(out.stdout).unwrap()
    };
    assert!(backup(&[]).status.success());
    let names = list();
    assert!(
        !names.contains("pem") && names.ends_with("checkpoint\n"),
        "{names}"
    );
    assert!(!String::from_utf8_lossy(&fs::read(&file).unwrap()).contains("PRIVATE KEY"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    // Another one is not overwritten.
    let before = fs::read(&file).unwrap();
    let again = backup(&["--with-private-keys"]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(fs::read(&file).unwrap(), before);
    fs::remove_file(&file).unwrap();
    let asked = backup(&["--with-private-keys"]);
    assert!(asked.status.success() && said(&asked).contains("private keys, unencrypted"));
    assert_eq!(mode(&file), 0o600);
    assert!(list().contains("private/log-p256.pem\nprivate/log-ed25519.pem\n"));
    let to = tempfile::tempdir().unwrap();
    let out = Command::new("tar")
        .arg("-xf")
        .arg(&file)
        .arg("-C")
        .arg(to.path())
        .output()
        .unwrap();
    assert!(out.status.success());
    assert_eq!(mode(&to.path().join("private/log-p256.pem")), 0o600);
    assert_eq!(tiles(to.path()).verdict(), Verdict::Sound);
    fs::remove_file(&file).unwrap();
    // A damaged log is not backed up, and leaves nothing behind.
    let dir = copied();
    fs::remove_file(dir.path().join("public/tile/entries/000")).unwrap();
    let failed = program(&["backup", "--data", text(dir.path()), "--out", text(&file)]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(
        said(&failed).contains("tile/entries/000"),
        "{}",
        said(&failed)
    );
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}
