//! A log that would have a witness cosign two histories.

use crate::Script;
use countersign_tests::attacks::Outcome;
use countersign_tests::wire::{Connection, Place, add_checkpoint};
use countersign_tests::witness::played::Played;
use countersign_tests::{Process, binary, run};
use std::process::Command;
use std::time::Duration;

/// The scripts here.
pub const SCRIPTS: &[(&str, Script)] = &[
    ("witness-two-trees-of-one-size", two_trees),
    ("witness-fork-at-an-old-size", fork_at_an_old_size),
    ("witness-taken-back", taken_back),
    ("witness-checkpoint-of-a-strange-key", strange_key),
];

/// A witness that has cosigned a log at size 5.
struct Bench {
    _dir: tempfile::TempDir,
    _witness: Process,
    connection: Connection,
    log: Played,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Played::new("log.example", false).unwrap();
    log.grow(9, 0);
    let data = dir.path().join("witness");
    let witness = |args: &[&str]| {
        let mut command = Command::new(binary("countersign-witness").unwrap());
        command.args(args).arg("--data").arg(&data);
        command
    };
    let vkey = log.vkeys().remove(0);
    for args in [&["init", "--name", "w.example"][..], &["add-log", &vkey]] {
        let said = run(witness(args)).unwrap();
        assert_eq!(said.code, 0, "{}", said.err);
    }
    let served = Process::start(witness(&["serve", "--listen", "127.0.0.1:0"])).unwrap();
    let place = Place::parse(&served.url).unwrap();
    let mut bench = Bench {
        _dir: dir,
        _witness: served,
        connection: Connection::new(&place, Duration::from_secs(20)),
        log,
    };
    let body = bench.log.body(0, 5);
    assert_eq!(bench.ask(&body), Outcome::Succeeded("cosigned".into()));
    bench
}

impl Bench {
    fn ask(&mut self, body: &[u8]) -> Outcome {
        let request = add_checkpoint("witness", body);
        let answer = self.connection.send(&request).unwrap();
        match answer.status {
            200 => Outcome::Succeeded("cosigned".into()),
            status => Outcome::Refused(status.to_string()),
        }
    }
}

fn two_trees() -> Outcome {
    let mut bench = bench();
    let body = bench.log.fork(4, 1).body(5, 5);
    bench.ask(&body)
}

fn fork_at_an_old_size() -> Outcome {
    let mut bench = bench();
    let body = bench.log.fork(4, 1).body(5, 9);
    bench.ask(&body)
}

fn taken_back() -> Outcome {
    let mut bench = bench();
    let body = bench.log.body(0, 3);
    bench.ask(&body)
}

fn strange_key() -> Outcome {
    let mut bench = bench();
    let mut thief = Played::new("log.example", false).unwrap();
    thief.grow(9, 0);
    let body = thief.body(5, 9);
    bench.ask(&body)
}
