//! Where a verified file is put.

use crate::Script;
use crate::storage::{both, files, outcome, storage};
use countersign_tests::attacks::Outcome;
use countersign_tests::bench::Bench;
use countersign_tests::hostile::{Hostile, whole};
use countersign_tests::{Said, run};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;

/// The scripts here.
pub const SCRIPTS: &[(&str, Script)] = &[
    ("destination-is-a-link", through_a_link),
    ("destination-becomes-a-link", becomes_a_link),
    ("destination-is-a-pipe", through_a_pipe),
    ("destination-is-a-socket", in_place_of_a_socket),
    ("name-with-a-directory-in-it", name_with_a_directory),
];

fn victim(bench: &Bench) -> (PathBuf, PathBuf) {
    std::fs::write(bench.path("victim"), "what its owner wrote\n").unwrap();
    (bench.path("victim"), bench.path("taken"))
}

/// `get` put the release in the place of the link `taken`, or overwrote what it led to.
fn replaced(bench: &Bench, said: &Said) -> Outcome {
    let victim = std::fs::read_to_string(bench.path("victim")).unwrap();
    let link = std::fs::symlink_metadata(bench.path("taken"))
        .unwrap()
        .is_symlink();
    match (said.code, link) {
        _ if victim.starts_with("the tool") => {
            Outcome::Succeeded("the file that the link leads to is overwritten".into())
        }
        // The release stands there, and the link is gone.
        (0, false) => Outcome::Refused("link-replaced".into()),
        _ => Outcome::Odd(format!("exit code {}: {}", said.code, said.err)),
    }
}

fn through_a_link() -> Outcome {
    let (bench, storage) = storage();
    let (to, at) = victim(&bench);
    symlink(to, at).unwrap();
    let said = bench.client(&format!(
        "get {}/tool-1.0 --version 1.0 -o taken",
        storage.url
    ));
    replaced(&bench, &said)
}

fn becomes_a_link() -> Outcome {
    let (bench, _) = storage();
    let (tool, bundle) = files(&bench);
    let (to, at) = victim(&bench);
    let server = Hostile::new(move |path, out| {
        if path.ends_with(".bundle") {
            return whole(out, &bundle);
        }
        // The client looked before it asked.
        symlink(&to, &at)?;
        whole(out, &tool)
    });
    let said = bench.client(&format!(
        "get {}/tool-1.0 --version 1.0 -o taken",
        server.url
    ));
    replaced(&bench, &said)
}

fn through_a_pipe() -> Outcome {
    let (bench, _) = storage();
    let (_, bundle) = files(&bench);
    let mut mkfifo = Command::new("mkfifo");
    mkfifo.arg(bench.path("taken"));
    assert_eq!(run(mkfifo).unwrap().code, 0);
    let server = both(bundle, b"nc attacker\n\n\n".to_vec());
    // Open for both, so that neither side waits for the other.
    let mut pipe = File::options()
        .read(true)
        .write(true)
        .open(bench.path("taken"))
        .unwrap();
    let said = bench.client(&format!(
        "get {}/tool-1.0 --version 1.0 -o taken",
        server.url
    ));
    pipe.write_all(b"#").unwrap();
    let mut taken = [0; 100];
    let n = pipe.read(&mut taken).unwrap();
    let taken = String::from_utf8_lossy(&taken[..n]).into_owned();
    outcome(&said, taken.contains("attacker").then_some(taken))
}

fn in_place_of_a_socket() -> Outcome {
    let (bench, storage) = storage();
    let service = UnixListener::bind(bench.path("taken")).unwrap();
    let said = bench.client(&format!(
        "get {}/tool-1.0 --version 1.0 -o taken",
        storage.url
    ));
    let gone = UnixStream::connect(bench.path("taken")).is_err();
    drop(service);
    outcome(&said, gone.then(|| "nobody reaches the service".into()))
}

fn name_with_a_directory() -> Outcome {
    let (bench, _) = storage();
    std::fs::create_dir(bench.path("else")).unwrap();
    let (tool, bundle) = files(&bench);
    let server = both(bundle, tool);
    let said = bench.client(&format!("get {}/else%2Ftool --version 1.0", server.url));
    let there = bench.path("else/tool").exists();
    outcome(&said, there.then(|| "it lies in another directory".into()))
}
