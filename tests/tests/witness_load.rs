//! `countersign-witness-load` against the built witness: what it says it did is what the witness
//! has.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use countersign_tests::{Process, Said, binary, run};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tlog::note::Note;

/// Runs the tool with a witness whose data directory outlives it: what starts the witness moves
/// it away first, and then does `before`.
fn load(dir: &Path, before: &str, args: &[&str]) -> Said {
    let (script, kept) = (dir.join("witness.sh"), dir.join("kept"));
    let witness = binary("countersign-witness").unwrap();
    let text = format!(
        "#!/bin/sh\nset -e\nwitness='{}'\nif [ \"$1\" = serve ]; then\n  mv \"$3\" '{kept}'\n  ln -s '{kept}' \"$3\"\n  {before}\nfi\nexec \"$witness\" \"$@\"\n",
        witness.display(),
        kept = kept.display(),
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(binary("countersign-witness-load").unwrap());
    command.arg("--witness").arg(&script).args(args);
    run(command).unwrap()
}

fn get(url: &str) -> String {
    let mut answer = ureq::get(url).call().unwrap();
    answer.body_mut().read_to_string().unwrap()
}

/// What the witness has cosigned of each log, `(origin, size)`, and how many lines the notes have
/// besides the cosignature, as a witness that starts anew on its directory shows it.
fn has(data: &Path) -> Vec<(String, u64, usize)> {
    let mut serve = Command::new(binary("countersign-witness").unwrap());
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data"]);
    let running = Process::start({
        serve.arg(data);
        serve
    })
    .unwrap();
    let list: Value = serde_json::from_str(&get(&format!("{}/logs", running.url))).unwrap();
    let rows = list["logs"].as_array().unwrap().iter();
    rows.map(|row| {
        let origin = row["origin"].as_str().unwrap();
        let Some(size) = row["size"].as_u64() else {
            return (origin.to_owned(), 0, 0);
        };
        let hash = hex::encode(tlog::hash::sha256(origin.as_bytes()));
        let note = get(&format!("{}/{hash}/checkpoint", running.url));
        let note = Note::parse(note.as_bytes()).unwrap();
        (origin.to_owned(), size, note.signatures.len() - 1)
    })
    .collect()
}

fn kept(dir: &Path) -> PathBuf {
    dir.join("kept")
}

#[test]
fn what_it_says_was_cosigned_the_witness_has() {
    for both in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut args = vec![
            "--logs",
            "7",
            "--rounds",
            "5",
            "--connections",
            "3",
            "--json",
        ];
        if both {
            args.push("--both-keys");
        }
        let said = load(dir.path(), "", &args);
        assert_eq!(said.code, 0, "{}", said.err);
        let report: Value = serde_json::from_slice(&said.out).unwrap();
        assert_eq!(report["statuses"], serde_json::json!({"200": 35}));
        let told = ["logs", "rounds", "connections"].map(|name| report[name].as_u64().unwrap());
        assert_eq!((told, &report["bothKeys"]), ([7, 5, 3], &both.into()));
        let (seconds, rate) = (&report["seconds"], &report["perSecond"]);
        let sent = seconds.as_f64().unwrap() * rate.as_f64().unwrap();
        assert!((sent - 35.0).abs() < 0.01, "{report}");
        assert!(report["p50Ms"].as_f64() <= report["p99Ms"].as_f64());
        assert!(report["anonymousBytes"].as_u64() <= report["residentBytes"].as_u64());
        // It was killed at the end: what is there was durable before it was counted.
        let mut has = has(&kept(dir.path()));
        has.sort();
        let keys = if both { 2 } else { 1 };
        let want = (0..7).map(|n| (format!("log{n}.example"), 5, keys));
        assert_eq!(has, want.collect::<Vec<_>>());
    }
}

#[test]
fn what_was_not_cosigned_is_not_counted_as_such() {
    let dir = tempfile::tempdir().unwrap();
    // One of the logs is known no more.
    let before = "\"$witness\" remove-log --data \"$3\" log1.example >/dev/null";
    let args = ["--logs", "3", "--rounds", "4", "--connections", "2"];
    let said = load(dir.path(), before, &args);
    assert_eq!(said.code, 1, "{}", said.err);
    let text = String::from_utf8(said.out).unwrap();
    assert!(
        text.contains("answers by status {200: 8, 404: 4}"),
        "{text}"
    );
    let mut has = has(&kept(dir.path()));
    has.sort();
    let has: Vec<_> = has
        .iter()
        .map(|(log, size, _)| (log.as_str(), *size))
        .collect();
    assert_eq!(has, [("log0.example", 4), ("log2.example", 4)]);
}

#[test]
fn without_a_witness_it_says_so() {
    for (program, part) in [("/nowhere/witness", "/nowhere/witness"), ("false", "init")] {
        let mut command = Command::new(binary("countersign-witness-load").unwrap());
        command.args(["--logs", "1", "--rounds", "1", "--witness", program]);
        let said = run(command).unwrap();
        assert_eq!(said.code, 2, "{}", said.err);
        assert!(
            said.out.is_empty() && said.err.contains(part),
            "{}",
            said.err
        );
    }
}
