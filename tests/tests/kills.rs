//! kill -9 at random moments: nothing that was acknowledged is lost, and no two checkpoints
//! contradict each other. Thirty kills in an ordinary run; for more,
//! `COUNTERSIGN_KILLS=1000 cargo test --release -p countersign-tests --test kills -- --nocapture`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use countersign_tests::binary;
use countersign_tests::kills::{Outcome, Plan, run};
use std::time::{SystemTime, UNIX_EPOCH};

/// A number in the environment.
fn given(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

#[test]
fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    let kills = given("COUNTERSIGN_KILLS").unwrap_or(30);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = given("COUNTERSIGN_SEED").unwrap_or(clock.as_nanos() as u64);
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan {
        server: binary("countersign-server").unwrap(),
        data: dir.path().join("log"),
        kills,
        seed,
        again_every: (kills / 10).max(10),
        whole_every: 8,
    };
    println!("COUNTERSIGN_SEED={seed}");
    let outcome = run(&plan, &mut |o: &Outcome| println!("{o}"));
    println!("{outcome}");
    if outcome.failure.is_some() {
        // What the server left is evidence.
        println!("kept: {}", dir.keep().display());
    }
    assert_eq!(outcome.failure, None, "COUNTERSIGN_SEED={seed}");
    assert_eq!(outcome.kills, kills);
    assert!(
        outcome.acknowledged > kills,
        "hardly anything was published: {outcome}"
    );
    assert!(
        outcome.compared > kills,
        "hardly any checkpoint was seen: {outcome}"
    );
}
