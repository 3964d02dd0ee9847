//! Every fuzz target over its seeds, over a fixed set of mutations of each of them, and over what
//! fuzzing has found (`tests/found`). The same seed gives the same inputs on every machine;
//! `fuzz/README.md` says how to search further.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use countersign_tests::fuzz::{TARGETS, Target};
use std::io::Read as _;
use std::path::Path;

/// Bytes that a target sees per corpus in all, about: long files get fewer mutations.
const BYTES: usize = 6_000_000;
/// Mutations of one target at most, and of one file at least.
const MOST: usize = 6_000;
const LEAST: usize = 60;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % (n.max(1) as u64)) as usize
    }
}

fn mutate(random: &mut Random, seed: &[u8], other: &[u8]) -> Vec<u8> {
    let mut out = seed.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(out.len());
        match random.below(8) {
            0 | 1 if !out.is_empty() => out[at] ^= 1 << random.below(8),
            // Another byte of the same file: stays in the file's alphabet, so more of them parse.
            2 | 3 if !out.is_empty() => out[at] = out[random.below(out.len())],
            4 => out.truncate(at),
            5 if !other.is_empty() => {
                let from = random.below(other.len());
                let to = from + random.below(other.len() - from + 1);
                let end = at + random.below(out.len() - at + 1);
                out.splice(at..end, other[from..to].iter().copied());
            }
            6 => {
                let end = at + random.below((out.len() - at).min(40) + 1);
                let piece = out[at..end].to_vec();
                out.splice(at..at, piece);
            }
            _ => {
                let end = at + random.below((out.len() - at).min(8) + 1);
                out.drain(at..end);
            }
        }
    }
    out
}

fn run(name: &str, target: Target, input: &[u8], origin: &str) {
    if std::panic::catch_unwind(|| target(input)).is_err() {
        panic!(
            "target {name} failed on {origin}: {:?} (hex {})",
            String::from_utf8_lossy(input),
            hex::encode(input)
        );
    }
}

fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(&directory)
        .unwrap_or_else(|e| panic!("{}: {e}", directory.display()))
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{name} has no corpus");
    files
}

/// What libFuzzer found and `fuzz/run` kept.
fn found(name: &str) -> Vec<(String, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("found/{name}.tar.gz"));
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut inputs = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.header().entry_type().is_file() {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            inputs.push((entry.path().unwrap().display().to_string(), bytes));
        }
    }
    assert!(!inputs.is_empty(), "{}: holds nothing", path.display());
    inputs
}

/// Runs every fourth target from `share` on, so that the test runner's threads share the work.
fn all(share: usize) {
    for (name, target) in TARGETS.iter().skip(share).step_by(4) {
        let start = std::time::Instant::now();
        let files = corpus(name);
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ name.len() as u64);
        let each = MOST / files.len();
        for (file, bytes) in &files {
            run(name, *target, bytes, file);
            let count = each
                .min(BYTES / files.len() / bytes.len().max(1))
                .max(LEAST);
            for number in 0..count {
                let other = &files[random.below(files.len())].1;
                let input = mutate(&mut random, bytes, other);
                run(
                    name,
                    *target,
                    &input,
                    &format!("mutation {number} of {file}"),
                );
            }
        }
        let found = found(name);
        for (file, bytes) in &found {
            run(name, *target, bytes, &format!("found/{name}.tar.gz {file}"));
        }
        println!(
            "{name}: {} seeds, {} found, {:?}",
            files.len(),
            found.len(),
            start.elapsed()
        );
    }
}

#[test]
fn corpora_and_their_mutations_first_quarter() {
    all(0);
}

#[test]
fn corpora_and_their_mutations_second_quarter() {
    all(1);
}

#[test]
fn corpora_and_their_mutations_third_quarter() {
    all(2);
}

#[test]
fn corpora_and_their_mutations_fourth_quarter() {
    all(3);
}

#[test]
fn every_target_has_a_libfuzzer_wrapper_and_every_corpus_a_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(root.join("../fuzz/Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name}");
        let wrapper = root.join(format!("../fuzz/fuzz_targets/{name}.rs"));
        assert!(wrapper.is_file(), "{name}");
    }
    for (directory, ending) in [("corpus", ""), ("found", ".tar.gz")] {
        for entry in std::fs::read_dir(root.join(directory)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let name = name.strip_suffix(ending).unwrap();
            assert!(
                TARGETS.iter().any(|(n, _)| *n == name),
                "{directory}: {name}"
            );
        }
    }
}
