//! A log that shows other histories than it did, or older ones.

use super::made::{Log, Place};
use super::network::{file, status};
use countersign_tests::hostile::Hostile;
use countersign_tests::run;
use std::process::Command;

const STATE: [&str; 2] = ["--state", "state"];

/// A place whose log was audited at 600 leaves, and a log that has another leaf at `at`.
fn forked(at: u64) -> (Place, Log) {
    let mut log = Log::new();
    log.grow(at);
    let mut other = log.clone();
    other.filler("another");
    log.filler("one");
    log.grow(600);
    let place = Place::of(log);
    place.tiles(&STATE).sound();
    (place, other)
}

fn proven(place: &Place, said: &super::made::Said) {
    said.unsound("fork");
    let evidence = said.json["evidence"][0].as_str().unwrap();
    let mut command = Command::new(countersign_tests::binary("countersign").unwrap());
    command.current_dir(place.dir.path());
    command.args(["evidence", "verify", evidence, "--policy", "policy.toml"]);
    let said = run(command).unwrap();
    assert_eq!(said.code, 0, "{}", said.err);
}

#[test]
fn another_history_is_found_and_proven_at_every_size() {
    // Smaller, the same, in the same bundle, and beyond it; from a leaf before and after the one
    // that the second audit begins at.
    for (at, size) in [
        (550, 560),
        (550, 600),
        (550, 601),
        (550, 900),
        (100, 120),
        (100, 601),
        (100, 900),
    ] {
        let (place, mut other) = forked(at);
        other.grow(size);
        let tiles = place.path("tiles");
        if size < 600 {
            // Both trees are served, else nobody could say that the smaller is no old answer.
            std::fs::write(tiles.join("checkpoint"), other.checkpoint(size)).unwrap();
        } else {
            std::fs::remove_dir_all(&tiles).unwrap();
            other.write(&tiles, size);
        }
        let said = place.tiles(&STATE);
        proven(&place, &said);
        // It is not forgotten, whatever is shown next.
        place.tiles(&STATE).unsound("fork-before");
        std::fs::remove_dir_all(&tiles).unwrap();
        place.log.write(&tiles, 600);
        let evidence = place.path("state/evidence");
        let forgotten = place.path("forgotten");
        if size <= 600 {
            place.tiles(&STATE).unsound("fork-before");
        }
        std::fs::rename(evidence, forgotten).unwrap();
        // The first history stays the one that counts.
        let said = place.tiles(&STATE);
        let want = if size > 600 { 3 } else { 0 };
        assert_eq!(said.code, want, "{at} {size}: {said:?}");
    }
}

#[test]
fn an_old_answer_is_no_finding() {
    let place = Place::new(600);
    place.tiles(&STATE).sound();
    for size in [599, 512, 300, 1, 0] {
        let checkpoint = place.log.checkpoint(size);
        std::fs::write(place.path("tiles/checkpoint"), checkpoint).unwrap();
        place.tiles(&STATE).failed(3, "stale");
    }
    // Also where the tiles that would tell are not there.
    let old = Log::clone(&place.log);
    std::fs::remove_dir_all(place.path("tiles")).unwrap();
    old.write(&place.path("tiles"), 300);
    place.tiles(&STATE).failed(3, "stale");
    old.write(&place.path("tiles"), 600);
    place.tiles(&STATE).sound();
}

#[test]
fn the_policys_floor_and_the_mirror_are_of_the_one_history() {
    let (place, mut other) = forked(550);
    place.tiles(&["--mirror", "mirror"]).sound();
    let policy = std::fs::read_to_string(place.path("policy.toml")).unwrap();
    let floor = |note: &str| {
        let text = format!("{policy}checkpoint-floor = \"\"\"\n{note}\"\"\"\n");
        std::fs::write(place.path("policy.toml"), text).unwrap();
    };
    // Below, and above, where the state begins.
    for size in [256, 300, 580] {
        floor(&place.log.checkpoint(size));
        place.tiles(&[]).sound();
        place.tiles(&STATE).sound();
    }
    other.grow(590);
    for size in [560, 590] {
        floor(&other.checkpoint(size));
        place.tiles(&[]).unsound("fork");
        place.tiles(&STATE).unsound("fork");
    }
    std::fs::write(place.path("policy.toml"), &policy).unwrap();
    std::fs::remove_dir_all(place.path("tiles")).unwrap();
    other.grow(900);
    other.write(&place.path("tiles"), 900);
    let before = super::made::files(&place.path("mirror"));
    let said = place.tiles(&["--mirror", "mirror"]);
    said.unsound("fork");
    assert!(said.kinds().contains(&"mirror-differs".to_owned()) || before.len() > 1);
    let after = super::made::files(&place.path("mirror"));
    for (path, bytes) in before {
        assert_eq!(after.get(&path), Some(&bytes), "{path} stays");
    }
}

#[test]
fn a_checkpoint_that_was_only_seen_binds_too() {
    for at in [300, 1100] {
        // The first audit is told of a tree, and never reads it to its end.
        let mut log = Log::new();
        log.grow(at);
        let mut other = log.clone();
        other.filler("another");
        log.grow(1200);
        let place = Place::of(log);
        let dir = place.path("tiles");
        let broken = Hostile::new(move |path, out| match path {
            "/tile/entries/003" => status(out, "503 Busy"),
            _ => file(&dir, path, out),
        });
        let args = ["--patience", "0", "--workers", "1", "--log", &broken.url];
        let said = place.audit(&[&STATE, &args[..]].concat());
        assert_eq!((said.code, &said.json["found"]), (3, &0.into()), "{said:?}");
        other.grow(1300);
        std::fs::remove_dir_all(place.path("tiles")).unwrap();
        other.write(&place.path("tiles"), 1300);
        proven(&place, &place.tiles(&STATE));
    }
}
