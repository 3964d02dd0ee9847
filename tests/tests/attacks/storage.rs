//! Whoever writes to the storage: the attack of 2021.

use crate::Script;
use countersign_tests::attacks::Outcome;
use countersign_tests::bench::{Bench, bench};
use countersign_tests::hostile::{Hostile, whole};
use countersign_tests::{Said, Storage};

/// The scripts here.
pub const SCRIPTS: &[(&str, Script)] = &[
    ("storage-changed-script-get", changed_script_get),
    ("storage-changed-script-run", changed_script_run),
];

/// A project that publishes `tool-1.0`, a script, from a storage that somebody else writes to.
pub fn storage() -> (Bench, Storage) {
    let bench = bench();
    bench.published("1.0", "release1");
    std::fs::create_dir(bench.path("storage")).unwrap();
    for file in ["tool-1.0", "tool-1.0.bundle"] {
        std::fs::copy(bench.path(file), bench.path("storage").join(file)).unwrap();
    }
    let storage = Storage::serve(&bench.path("storage")).unwrap();
    (bench, storage)
}

/// The kind in the client's `[kind]`; the attacker gained what `gained` says.
pub fn outcome(said: &Said, gained: Option<String>) -> Outcome {
    let word = |w: &&str| w.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    let brackets = said.err.split('[').skip(1);
    let kind = brackets
        .filter_map(|b| Some(b.split_once(']')?.0))
        .find(word);
    match (gained, kind) {
        (Some(gained), _) => Outcome::Succeeded(gained),
        (None, Some(kind)) if said.code != 0 => Outcome::Refused(kind.to_owned()),
        _ => Outcome::Odd(format!("exit code {}: {}", said.code, said.err)),
    }
}

fn changed_script_get() -> Outcome {
    let (bench, storage) = storage();
    // As long as what was released: a length alone tells nothing.
    std::fs::write(bench.path("storage/tool-1.0"), "nc attacker\n\n\n").unwrap();
    let said = bench.client(&format!(
        "get {}/tool-1.0 --version 1.0 -o taken",
        storage.url
    ));
    let taken = std::fs::read_to_string(bench.path("taken")).ok();
    outcome(&said, taken.filter(|t| t.contains("attacker")))
}

fn changed_script_run() -> Outcome {
    let (bench, storage) = storage();
    std::fs::write(bench.path("storage/tool-1.0"), "touch ran #..\n").unwrap();
    let said = bench.client(&format!(
        "run {}/tool-1.0 --version 1.0 --with sh",
        storage.url
    ));
    outcome(
        &said,
        bench.path("ran").exists().then(|| "the script ran".into()),
    )
}

/// What was published: the tool, and its bundle.
pub fn files(bench: &Bench) -> (Vec<u8>, Vec<u8>) {
    let read = |name: &str| std::fs::read(bench.path(name)).unwrap();
    (read("tool-1.0"), read("tool-1.0.bundle"))
}

/// A server that answers with this bundle, and with this for the rest.
pub fn both(bundle: Vec<u8>, artifact: Vec<u8>) -> Hostile {
    Hostile::new(move |path, out| match path.ends_with(".bundle") {
        true => whole(out, &bundle),
        false => whole(out, &artifact),
    })
}
