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
    assert!(!made && said.contains("is not lowered"), "{said}");
}
