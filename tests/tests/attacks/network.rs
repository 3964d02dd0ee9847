//! Whoever answers in the place of the storage: redirects, bodies without end or cut short.

use crate::Script;
use crate::storage::{files, outcome};
use countersign_tests::attacks::Outcome;
use countersign_tests::bench::{Bench, bench};
use countersign_tests::hostile::{Hostile, redirect, whole};
use std::io::Write;
use std::sync::atomic::Ordering::Relaxed;

/// The scripts here.
pub const SCRIPTS: &[(&str, Script)] = &[
    ("redirect-to-other-bytes", redirect_to_other_bytes),
    ("endless-bundle", endless_bundle),
    ("endless-artifact", endless_artifact),
    ("download-cut-short", cut_short),
];

/// More than anything that is asked for here is long, by a hundred thousand times.
const MUCH: u64 = 200 * 1024 * 1024;

/// Serves the genuine bundle of `tool-1.0`, and for the rest what `artifact` says.
fn serving(
    bench: &Bench,
    artifact: impl Fn(&mut dyn Write) -> std::io::Result<()> + Send + Sync + 'static,
) -> Hostile {
    let (_, bundle) = files(bench);
    Hostile::new(move |path, out| {
        if path.ends_with(".bundle") {
            whole(out, &bundle)
        } else {
            artifact(out)
        }
    })
}

fn published() -> Bench {
    let bench = bench();
    bench.published("1.0", "release1");
    bench
}

fn get(bench: &Bench, url: &str) -> countersign_tests::Said {
    bench.client(&format!("get {url}/tool-1.0 --version 1.0 -o taken"))
}

fn redirect_to_other_bytes() -> Outcome {
    let bench = published();
    let evil = Hostile::new(|_, out| whole(out, b"nc attacker\n\n\n"));
    let to = format!("{}/else", evil.url);
    let server = serving(&bench, move |out| redirect(out, &to));
    let said = get(&bench, &server.url);
    let taken = std::fs::read_to_string(bench.path("taken")).ok();
    outcome(&said, taken.filter(|t| t.contains("attacker")))
}

/// Blanks, and an end for the sake of a client that would go on for ever.
fn much(out: &mut dyn Write) -> std::io::Result<()> {
    out.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
    let blanks = [b' '; 0x10000];
    (0..MUCH / 0x10000).try_for_each(|_| out.write_all(&blanks))
}

/// What was taken of it, where that is much.
fn flood(server: &Hostile) -> Option<String> {
    let sent = server.sent.load(Relaxed);
    (sent > MUCH / 2).then(|| format!("{sent} bytes were taken"))
}

fn endless_bundle() -> Outcome {
    let bench = published();
    let server = Hostile::new(|_, out| much(out));
    let said = get(&bench, &server.url);
    outcome(&said, flood(&server))
}

fn endless_artifact() -> Outcome {
    let bench = published();
    let server = serving(&bench, much);
    let said = get(&bench, &server.url);
    outcome(&said, flood(&server))
}

fn cut_short() -> Outcome {
    let bench = published();
    let (tool, _) = files(&bench);
    let half = tool[..tool.len() / 2].to_vec();
    // No length is given, so that the end of the connection looks like the end of the file.
    let part = half.clone();
    let server = serving(&bench, move |out| {
        out.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        out.write_all(&part)
    });
    let said = get(&bench, &server.url);
    let taken = std::fs::read(bench.path("taken")).ok();
    outcome(
        &said,
        taken
            .filter(|t| *t == half)
            .map(|_| "half of it lies there".into()),
    )
}
