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

/// Kills of one log at most: a log that grows for hours would be a test of its start.
const OF_ONE_LOG: u64 = 200;

#[test]
fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    let kills = given("COUNTERSIGN_KILLS").unwrap_or(30);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = given("COUNTERSIGN_SEED").unwrap_or(clock.as_nanos() as u64);
    println!("COUNTERSIGN_SEED={seed}");
    let mut total = Outcome::default();
    while total.kills < kills {
        // Of several logs, the last grows past the first full tile of level 1.
        let left = kills - total.kills;
        let fill = (total.kills > 0 && left <= OF_ONE_LOG).then(|| {
            (
                env!("CARGO_BIN_EXE_countersign-fill").into(),
                65_536 - 2_000,
            )
        });
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan {
            server: binary("countersign-server").unwrap(),
            data: dir.path().join("log"),
            fill,
            kills: left.min(OF_ONE_LOG),
            seed: seed.wrapping_add(total.kills),
            again_every: 50,
            whole_every: 8,
        };
        let outcome = run(&plan, &mut |o: &Outcome| println!("{o}"));
        if outcome.failure.is_some() {
            // What the server left is evidence.
            println!("kept: {}", dir.keep().display());
        }
        total.add(outcome);
        println!("in all: {total}");
        assert_eq!(total.failure, None, "COUNTERSIGN_SEED={seed}");
    }
    assert_eq!(total.kills, kills);
    assert!(
        total.acknowledged > kills,
        "hardly anything was published: {total}"
    );
    assert!(
        total.compared > kills,
        "hardly any checkpoint was seen: {total}"
    );
}
