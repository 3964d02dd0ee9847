//! One byte flipped, anywhere: `check` finds it. The databases have dead space (sled's
//! segments, fjall's journal): there a flip that is not found must not have changed anything
//! that they hold.

use crate::common::copy;
use crate::log::{copied, kinds, log, options};
use countersign_server::check::store;
use countersign_server::check::{self, Options, Report, Verdict};
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};

/// What became of the flips in one file.
#[derive(Default, Debug)]
struct Tally {
    found: u32,
    said: u32,
    same: u32,
}

fn files(dir: &Path, below: &Path, all: &mut Vec<PathBuf>) {
    for item in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = item.path();
        if path.is_dir() {
            files(&path, below, all);
        } else if fs::metadata(&path).unwrap().len() > 0 {
            all.push(path.strip_prefix(below).unwrap().to_owned());
        }
    }
    all.sort();
}

/// A small generator, so that each run flips the same bytes.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Places to flip in `bytes`: all, if no more than `most`; else the ends and a sample of what
/// is written (files of a fixed size end with zeros, and there a few places do).
fn places(bytes: &[u8], most: usize, seed: &mut Seeded) -> Vec<usize> {
    if bytes.len() <= most {
        return (0..bytes.len()).collect();
    }
    let used = bytes.iter().rposition(|b| *b != 0).unwrap_or(0) + 1;
    let mut places = vec![0, used - 1, bytes.len() - 1];
    while places.len() < most {
        places.push(usize::try_from(seed.next()).unwrap() % used);
    }
    places
}

/// Flips one bit at a time in `dir/file` and asks `check` of each.
fn flip(dir: &Path, file: &Path, most: usize, mut check: impl FnMut(usize)) {
    let path = dir.join(file);
    let original = fs::read(&path).unwrap();
    let mut seed = Seeded(0x9e37_79b9_7f4a_7c15 ^ original.len() as u64);
    for place in places(&original, most, &mut seed) {
        let mut bytes = original.clone();
        bytes[place] ^= 1 << (seed.next() % 8);
        fs::write(&path, bytes).unwrap();
        check(place);
    }
    fs::write(&path, original).unwrap();
}

fn one_worker() -> Options {
    Options {
        workers: NonZero::new(1),
        ..options()
    }
}

/// Whether both databases of two directories hold the same.
fn same_content(a: &Path, b: &Path) -> bool {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_countersign-server"));
    let held = |dir: &Path| {
        let to = tempfile::tempdir().unwrap();
        copy(&dir.join("private"), to.path());
        let hot = store::hot(&program, &to.path().join("hot")).ok()?;
        let mut size = 0;
        let rows = store::index(&program, &to.path().join("index"), |n| size = n).ok()?;
        Some((hot.head, hot.entries, size, rows))
    };
    held(a) == held(b)
}

fn notes(report: &Report) -> usize {
    report.heard.notes.len()
}

/// Flips in every file of a data directory, at most so many a file.
fn data_directory(most: impl Fn(&str) -> usize) {
    let dir = copied();
    let mut all = Vec::new();
    files(dir.path(), dir.path(), &mut all);
    assert!(all.len() > 12, "{all:?}");
    for file in all {
        let (name, mut tally) = (file.display().to_string(), Tally::default());
        flip(dir.path(), &file, most(&name), |place| {
            let report = check::data(dir.path(), &one_worker());
            if report.verdict() != Verdict::Sound {
                tally.found += 1;
                return;
            }
            if notes(&report) > 0 {
                tally.said += 1;
                return;
            }
            let store = name.starts_with("private/hot") || name.starts_with("private/index");
            assert!(
                store,
                "{name}: byte {place} is flipped, and nothing is found"
            );
            let same = same_content(dir.path(), log().path());
            assert!(
                same,
                "{name}: byte {place} changes what is held, and nothing is found"
            );
            tally.same += 1;
        });
        println!("{name}: {tally:?}");
        if !name.starts_with("private/hot") && !name.starts_with("private/index") {
            assert_eq!((tally.said, tally.same), (0, 0), "{name}");
        }
    }
    let report = check::data(dir.path(), &one_worker());
    assert_eq!(
        (report.verdict(), kinds(&report).len()),
        (Verdict::Sound, 0)
    );
}

#[test]
fn a_flipped_byte_in_any_file_of_a_data_directory_is_found() {
    // The index's tables are alike, and each has a few files of its own.
    data_directory(|name| if name.contains("/keyspaces/") { 3 } else { 20 });
}

/// Flips in every file of an export; there is no dead space.
fn export(most: impl Fn(&str) -> usize) {
    let out = tempfile::tempdir().unwrap();
    countersign_server::export::export(log().path(), out.path(), &options()).unwrap();
    let mut all = Vec::new();
    files(out.path(), out.path(), &mut all);
    let under_all_keys = Options {
        vkeys: log().vkeys.clone(),
        ..one_worker()
    };
    let mut flipped = 0;
    for file in all {
        let name = file.display().to_string();
        flip(out.path(), &file, most(&name), |place| {
            let report = check::tiles(out.path(), &under_all_keys);
            assert_eq!(report.verdict(), Verdict::Unsound, "{name}: byte {place}");
            flipped += 1;
        });
    }
    println!("{flipped} bytes flipped, each found");
    let report = check::tiles(out.path(), &under_all_keys);
    assert_eq!(report.verdict(), Verdict::Sound);
}

#[test]
fn a_flipped_byte_in_any_file_of_an_export_is_found() {
    export(|name| if name == "checkpoint" { 1000 } else { 200 });
}

#[test]
#[ignore = "minutes: every byte"]
fn every_flipped_byte_of_an_export_is_found() {
    export(|_| usize::MAX);
}

/// Minutes: `cargo test -p countersign-server --test upkeep -- --ignored`.
#[test]
#[ignore = "minutes: every byte of most files, thousands of the others"]
fn many_flipped_bytes_of_a_data_directory_are_found() {
    data_directory(|name| match name {
        _ if name.starts_with("private/hot") || name.starts_with("private/index") => 500,
        _ => 2000,
    });
}
