//! kill -9 on a witness at random moments, while logs ask it to cosign several histories: it
//! never cosigns two that contradict each other. Twenty kills in an ordinary run; for more,
//! `COUNTERSIGN_KILLS=1000 cargo test --release -p countersign-tests --test witness_kills -- --nocapture`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use countersign_tests::binary;
use countersign_tests::witness::kills::{Outcome, Plan, run};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// A number in the environment.
fn given(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

fn seed() -> u64 {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = given("COUNTERSIGN_SEED").unwrap_or(clock.as_nanos() as u64);
    println!("COUNTERSIGN_SEED={seed}");
    seed
}

/// Kills of one witness at most: long histories would be a test of the harness.
const OF_ONE: u64 = 40;

#[test]
fn nothing_contradictory_is_cosigned_when_the_witness_is_killed() {
    let kills = given("COUNTERSIGN_KILLS").unwrap_or(20);
    let seed = seed();
    let mut total = Outcome::default();
    while total.kills < kills {
        let dir = tempfile::tempdir().unwrap();
        let witness = binary("countersign-witness").unwrap();
        let plan = Plan {
            maker: witness.clone(),
            program: witness,
            data: dir.path().join("witness"),
            kills: (kills - total.kills).min(OF_ONE),
            seed: seed.wrapping_add(total.kills),
            forgive: false,
        };
        let outcome = run(&plan);
        if outcome.failure.is_some() {
            // What the witness left is evidence.
            println!("kept: {}", dir.keep().display());
        }
        total.add(outcome);
        println!("in all: {total}");
        assert_eq!(total.failure, None, "COUNTERSIGN_SEED={seed}");
    }
    assert_eq!(total.kills, kills);
    assert!(
        total.cosigned > kills,
        "hardly anything was cosigned: {total}"
    );
    assert!(
        total.refused > kills,
        "hardly anything was refused: {total}"
    );
}

/// The same harness on a witness that answers before its last batch is durable.
fn forgetful(forgive: bool) -> String {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan {
        maker: binary("countersign-witness").unwrap(),
        program: PathBuf::from(env!("CARGO_BIN_EXE_countersign-forgetful-witness")),
        data: dir.path().join("witness"),
        kills: 200,
        seed: seed(),
        forgive,
    };
    let outcome = run(&plan);
    println!("{outcome}");
    outcome.failure.expect("nobody noticed")
}

#[test]
fn a_witness_that_answers_too_early_is_found_to_have_forgotten() {
    let found = forgetful(false);
    assert!(found.starts_with("lost: "), "{found}");
}

#[test]
fn a_witness_that_forgets_is_found_to_contradict_itself() {
    let found = forgetful(true);
    assert!(found.starts_with("inconsistent: "), "{found}");
}
