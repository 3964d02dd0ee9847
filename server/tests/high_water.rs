//! What only something outside of the data directory can tell: that a log which is whole and
//! sound has signed more than it knows.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Publisher, Running, artifact, copy, init, program, publisher};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

struct Case {
    data: TempDir,
    away: TempDir,
    acme: Publisher,
    versions: std::ops::RangeFrom<u32>,
}

impl Case {
    fn new() -> Self {
        let (data, away) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        init(data.path());
        let acme = publisher("acme/tool", "pkg:generic/acme");
        Self {
            data,
            away,
            acme,
            versions: 0..,
        }
    }
    fn mark(&self) -> String {
        self.away.path().join("mark").to_str().unwrap().to_owned()
    }
    fn begin(&self) -> (bool, String) {
        let (data, mark) = (self.data.path().to_str().unwrap(), self.mark());
        let out = program(&["high-water", "--data", data, "--file", &mark]);
        let said = [out.stdout, out.stderr].concat();
        (out.status.success(), String::from_utf8(said).unwrap())
    }
    fn start(&self) -> Running {
        self.start_in(self.data.path())
    }
    fn start_in(&self, dir: &Path) -> Running {
        Running::start(dir, &["--admit", "open", "--high-water", &self.mark()])
    }
    /// Publishes so many releases, and stops.
    fn grow(&mut self, server: Running, releases: usize) {
        assert_eq!(server.submit(&self.acme.first).status, 200);
        let versions: Vec<u32> = self.versions.by_ref().take(releases).collect();
        for n in versions {
            let purl = format!("pkg:generic/acme/tool@{n}");
            let release = self.acme.envelope(&purl, &[artifact("tool", b"1")]);
            assert_eq!(server.submit(&release).status, 200);
            // The mark is the checkpoint that is shown.
            let shown = server.get("/checkpoint").body;
            assert_eq!(fs::read(self.mark()).unwrap(), shown);
        }
        assert!(server.stop());
    }
    /// Starts, and gives the reason for which nothing is signed.
    fn refused(&self, dir: &Path) -> String {
        let server = self.start_in(dir);
        let mark = fs::read(self.mark()).ok();
        let ready = server.get("/readyz");
        assert_eq!((ready.status, ready.kind().as_str()), (503, "read-only"));
        let release = self
            .acme
            .envelope("pkg:generic/acme/tool@new", &[artifact("tool", b"1")]);
        assert_eq!(server.submit(&release).kind(), "read-only");
        // It serves what it has, and the mark is not touched.
        assert_eq!(server.get("/checkpoint").status, 200);
        assert!(server.stop());
        assert_eq!(fs::read(self.mark()).ok(), mark);
        ready.json()["detail"].as_str().unwrap().to_owned()
    }
}

#[test]
fn an_old_backup_that_is_restored_signs_nothing_until_the_rest_is_imported() {
    let mut case = Case::new();
    assert!(case.begin().0);
    case.grow(case.start(), 3);
    let backup = tempfile::tempdir().unwrap();
    copy(case.data.path(), backup.path());
    case.grow(case.start(), 140);
    let tiles = case.away.path().join("tiles");
    let (data, tiles) = (case.data.path().to_str().unwrap(), tiles.to_str().unwrap());
    let out = program(&["export", "--data", data, "--out", tiles]);
    assert!(out.status.success(), "{out:?}");

    // Without the mark the backup starts, and would sign another history.
    let restored = tempfile::tempdir().unwrap();
    copy(backup.path(), restored.path());
    let server = Running::start(restored.path(), &["--admit", "open"]);
    assert_eq!(server.get("/readyz").status, 200);
    assert!(server.stop());

    let why = case.refused(backup.path());
    assert!(why.contains("import the rest from a mirror"), "{why}");
    let restored = backup.path().to_str().unwrap();
    let out = program(&["import", tiles, "--data", restored]);
    assert!(out.status.success(), "{out:?}");
    case.grow(case.start_in(backup.path()), 2);
}

#[test]
fn a_log_that_has_signed_otherwise_since_is_of_another_history() {
    let mut case = Case::new();
    assert!(case.begin().0);
    case.grow(case.start(), 3);
    let backup = tempfile::tempdir().unwrap();
    copy(case.data.path(), backup.path());
    case.grow(case.start(), 2);
    // The backup was started without the mark, and signed as much and more.
    let server = Running::start(backup.path(), &["--admit", "open"]);
    for n in 0..3 {
        let purl = format!("pkg:generic/acme/tool@other-{n}");
        let release = case.acme.envelope(&purl, &[artifact("tool", b"2")]);
        assert_eq!(server.submit(&release).status, 200);
    }
    assert!(server.stop());
    let why = case.refused(backup.path());
    assert!(why.contains("another history"), "{why}");
}

#[test]
fn a_mark_that_is_missing_or_not_of_this_log_signs_nothing() {
    let mut case = Case::new();
    let why = case.refused(case.data.path());
    assert!(why.contains("countersign-server high-water"), "{why}");
    let (made, said) = case.begin();
    assert!(made && said.contains("0 leaves"), "{said}");
    case.grow(case.start(), 1);
    let good = fs::read(case.mark()).unwrap();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let other = Case::new();
    assert!(other.begin().0);
    let bad = [
        Vec::new(),
        vec![0xff; 10],
        flipped(0),
        flipped(good.len() / 2),
        flipped(good.len() - 10),
        good[..good.len() - 30].to_vec(),
        [&good[..], b"x"].concat(),
        fs::read(other.mark()).unwrap(),
    ];
    for bytes in bad {
        fs::write(case.mark(), bytes).unwrap();
        let why = case.refused(case.data.path());
        assert!(why.contains("the high-water mark"), "{why}");
    }
    fs::write(case.mark(), good).unwrap();
    case.grow(case.start(), 1);
}

#[test]
fn a_mark_is_never_lowered() {
    let mut case = Case::new();
    assert!(case.begin().0);
    let old = tempfile::tempdir().unwrap();
    copy(case.data.path(), old.path());
    case.grow(case.start(), 1);
    assert!(case.begin().0, "the same size again is no harm");
    let now = case.data.path().to_owned();
    for part in ["private/hot", "private/index", "public"] {
        fs::remove_dir_all(now.join(part)).unwrap();
    }
    for part in ["private/hot", "public"] {
        copy(&old.path().join(part), &now.join(part));
    }
    let (made, said) = case.begin();
    let beyond = "this log has signed a checkpoint of";
    assert!(!made && said.contains(beyond), "{said}");
}

#[test]
fn a_mark_of_another_history_is_not_raised_over() {
    let mut case = Case::new();
    assert!(case.begin().0);
    case.grow(case.start(), 1);
    let fork = tempfile::tempdir().unwrap();
    copy(case.data.path(), fork.path());
    case.grow(case.start(), 1);
    // The copy signs otherwise, and more, without the mark.
    let server = Running::start(fork.path(), &["--admit", "open"]);
    for n in 0..3 {
        let purl = format!("pkg:generic/acme/tool@fork-{n}");
        let release = case.acme.envelope(&purl, &[artifact("tool", b"2")]);
        assert_eq!(server.submit(&release).status, 200);
    }
    assert!(server.stop());
    let before = fs::read(case.mark()).unwrap();
    let (data, mark) = (fork.path().to_str().unwrap(), case.mark());
    let out = program(&["high-water", "--data", data, "--file", &mark]);
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(
        !out.status.success() && said.contains("another history"),
        "{said}"
    );
    assert_eq!(fs::read(case.mark()).unwrap(), before);
}

#[test]
fn two_servers_on_copies_of_a_log_cannot_share_a_mark() {
    let mut case = Case::new();
    assert!(case.begin().0);
    case.grow(case.start(), 1);
    let twin = tempfile::tempdir().unwrap();
    copy(case.data.path(), twin.path());
    let first = case.start();
    let with = ["--admit", "open", "--high-water", &case.mark()];
    let (code, said) = Running::try_start(twin.path(), &with).err().unwrap();
    assert_eq!(code, Some(1));
    assert!(said.contains("another server"), "{said}");
    // A way around the lock, such as a mark on a file system of another machine: the mark is
    // changed behind the server's back. It signs nothing upon that, and ends.
    let lock = format!("{}.lock", case.mark());
    fs::remove_file(lock).unwrap();
    let second = Running::start(twin.path(), &with);
    let release = |n: &str| {
        let purl = format!("pkg:generic/acme/tool@{n}");
        case.acme.envelope(&purl, &[artifact("tool", b"1")])
    };
    assert_eq!(second.submit(&release("second")).status, 200);
    let mark = fs::read(case.mark()).unwrap();
    assert_eq!(mark, second.get("/checkpoint").body);
    let answer = first.try_submit(&release("first"));
    assert!(
        answer.is_none_or(|a| a.status != 200),
        "what was not marked is not shown"
    );
    assert_eq!(first.ended(), Some(70));
    assert_eq!(fs::read(case.mark()).unwrap(), mark);
    assert!(second.stop());
}

#[test]
fn a_mark_without_a_directory_lies_in_the_working_directory() {
    let case = Case::new();
    let at = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_countersign-server"));
        command.args(args).current_dir(case.away.path());
        command
    };
    let data = case.data.path().to_str().unwrap();
    let out = at(&["high-water", "--data", data, "--file", "mark"]).output();
    assert!(out.unwrap().status.success());
    let serve = at(&[]);
    let server = Running::begin(
        serve,
        case.data.path(),
        &["--admit", "open", "--high-water", "mark"],
    );
    assert_eq!(server.submit(&case.acme.first).status, 200);
    assert_eq!(
        fs::read(case.mark()).unwrap(),
        server.get("/checkpoint").body
    );
    assert!(server.stop());
}

#[test]
fn a_mark_that_cannot_be_written_is_found_at_the_start() {
    let case = Case::new();
    assert!(case.begin().0);
    fs::remove_file(case.mark()).unwrap();
    fs::create_dir(case.mark()).unwrap();
    let with = ["--admit", "open", "--high-water", &case.mark()];
    let (code, said) = Running::try_start(case.data.path(), &with).err().unwrap();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("mark"), "{said}");
}
