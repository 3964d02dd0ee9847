//! What somebody sends a log that has stood in one before.

use crate::Script;
use crate::storage::outcome;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_tests::attacks::Outcome;
use countersign_tests::bench::bench;
use countersign_tests::wire::{Answer, Connection, Place};
use countersign_tests::{Process, binary, run};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The scripts here.
pub const SCRIPTS: &[(&str, Script)] = &[
    ("subset-of-signatures-logged-again", subset),
    ("version-released-twice", twice),
    ("project-logged-in-another-log", in_another_log),
];

fn submit(url: &str, envelope: &Value) -> Answer {
    let mut connection = Connection::new(&Place::parse(url).unwrap(), Duration::from_secs(60));
    connection.submit(&envelope.to_string()).unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn subset() -> Outcome {
    let bench = bench();
    bench.published("1.0", "release1");
    bench.ok("withdraw --project acme/tool --version 1.0 --reason broken --prepare w.json");
    bench.ok("sign w.json --key root1 --key root2 --key root3");
    let mut envelope = json(&bench.path("w.json"));
    let first = submit(&bench.url, &envelope);
    assert_eq!(first.status, 200, "{}", first.kind());
    // Two of the three are as many as there must be.
    envelope["signatures"].as_array_mut().unwrap().pop();
    let again = submit(&bench.url, &envelope);
    match (again.status, again.index) {
        (200, index) if index == first.index => Outcome::Refused("same-entry".into()),
        (200, Some(index)) => Outcome::Succeeded(format!("it stands at {index}, too")),
        _ => Outcome::Odd(format!("{}: {}", again.status, again.kind())),
    }
}

fn twice() -> Outcome {
    let bench = bench();
    bench.published("1.0", "release1");
    std::fs::write(bench.path("tool-1.0"), "nc attacker\n").unwrap();
    let said = bench.client("publish tool-1.0 --project acme/tool --version 1.0 --key release1");
    outcome(
        &said,
        (said.code == 0).then(|| "1.0 stands for other bytes, too".into()),
    )
}

fn in_another_log() -> Outcome {
    let bench = bench();
    let mut log = Connection::new(&Place::parse(&bench.url).unwrap(), Duration::from_secs(60));
    let entry = log.get("/api/v1/entries/0").unwrap().json();
    let leaf = STANDARD.decode(entry["leaf"].as_str().unwrap()).unwrap();
    let leaf: Value = serde_json::from_slice(&leaf).unwrap();
    let other = bench.path("other").display().to_string();
    let server = |args: &[&str]| {
        let mut command = Command::new(binary("countersign-server").unwrap());
        command.args(args).args(["--data", &other]);
        command
    };
    let said = run(server(&["init", "--origin", "other.example"])).unwrap();
    assert_eq!(said.code, 0, "{}", said.err);
    let serve = ["serve", "--admit", "open", "--listen", "127.0.0.1:0"];
    let served = Process::start(server(&serve)).unwrap();
    let answer = submit(&served.url, &leaf["envelope"]);
    match answer.status {
        200 => Outcome::Succeeded("the project stands in the other log".into()),
        _ => Outcome::Refused(answer.kind()),
    }
}
