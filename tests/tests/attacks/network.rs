//! Whoever answers in the place of the storage: redirects, bodies without end or cut short.

use crate::Script;
use crate::storage::{both, files, outcome};
use countersign_tests::attacks::Outcome;
use countersign_tests::bench::{Bench, bench};
use countersign_tests::hostile::{Hostile, certificate, redirect, whole};
use countersign_tests::run;
use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The scripts here.
pub const SCRIPTS: &[(&str, Script)] = &[
    ("redirect-to-other-bytes", redirect_to_other_bytes),
    ("endless-bundle", endless_bundle),
    ("endless-artifact", endless_artifact),
    ("download-cut-short", cut_short),
    ("compressed-bomb", compressed),
    ("redirect-from-https-to-http", to_plain_http),
];

/// More than anything that is asked for here is long, by a hundred thousand times.
const MUCH: u64 = 200 * 1024 * 1024;

/// What little is unpacked to: twice [`MEMORY`].
const UNPACKED: u64 = 512 * 1024 * 1024;
/// KiB of address space that the client has then, several times what it needs.
const MEMORY: u64 = 256 * 1024;

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

/// Zeros, packed into a thousandth.
fn packed() -> Option<Vec<u8>> {
    let mut gzip = Command::new("sh");
    gzip.args(["-c", &format!("head -c {UNPACKED} /dev/zero | gzip -9")]);
    let said = run(gzip).ok()?;
    Some(said.out).filter(|packed| packed.starts_with(&[0x1f, 0x8b]))
}

fn compressed() -> Outcome {
    let bench = published();
    let Some(body) = packed() else {
        return Outcome::Untried("the gzip command".into());
    };
    let server = Hostile::new(move |_, out| {
        write!(
            out,
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            body.len()
        )?;
        out.write_all(&body)
    });
    let client = bench.command(&format!(
        "get {}/tool-1.0 --version 1.0 -o taken",
        server.url
    ));
    let mut bounded = Command::new("sh");
    bounded
        .args(["-c", &format!("ulimit -v {MEMORY} && exec \"$0\" \"$@\"")])
        .arg(client.get_program())
        .args(client.get_args())
        .current_dir(bench.dir.path());
    for (name, value) in client.get_envs() {
        bounded.env(name, value.unwrap_or_default());
    }
    let said = run(bounded).unwrap();
    let starved = said.err.contains("memory allocation") || said.err.contains("out of memory");
    outcome(&said, starved.then(|| said.err.clone()))
}

fn to_plain_http() -> Outcome {
    let bench = published();
    let (tool, bundle) = files(&bench);
    let Some(tls) = certificate(bench.dir.path()) else {
        return Outcome::Untried("the openssl command".into());
    };
    // With the genuine bytes: nothing else is wrong with them.
    let plain = both(bundle, tool);
    let to = plain.url.clone();
    let leave = move |path: &str, out: &mut dyn Write| redirect(out, &format!("{to}{path}"));
    let server = Hostile::with(Some(tls), Arc::new(leave));
    let said = bench.client(&format!(
        "get {}/tool-1.0 --version 1.0 -o taken --ca-file tls.pem",
        server.url
    ));
    let asked = plain.requests.load(Relaxed);
    outcome(
        &said,
        (asked > 0).then(|| format!("{asked} requests in the clear")),
    )
}
