//! Where a verified file is put.

use crate::Script;
use crate::storage::{files, outcome, storage};
use countersign_tests::attacks::Outcome;
use countersign_tests::hostile::{Hostile, whole};

/// The scripts here.
pub const SCRIPTS: &[(&str, Script)] = &[
    ("destination-is-a-link", through_a_link),
    ("name-with-a-directory-in-it", name_with_a_directory),
];

fn through_a_link() -> Outcome {
    let (bench, storage) = storage();
    std::fs::write(bench.path("victim"), "what its owner wrote\n").unwrap();
    std::os::unix::fs::symlink(bench.path("victim"), bench.path("taken")).unwrap();
    let said = bench.client(&format!(
        "get {}/tool-1.0 --version 1.0 -o taken",
        storage.url
    ));
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

fn name_with_a_directory() -> Outcome {
    let (bench, _) = storage();
    std::fs::create_dir(bench.path("else")).unwrap();
    let (tool, bundle) = files(&bench);
    let server = Hostile::new(move |path, out| {
        let body = if path.ends_with(".bundle") {
            &bundle
        } else {
            &tool
        };
        whole(out, body)
    });
    let said = bench.client(&format!("get {}/else%2Ftool --version 1.0", server.url));
    let there = bench.path("else/tool").exists();
    outcome(&said, there.then(|| "it lies in another directory".into()))
}
