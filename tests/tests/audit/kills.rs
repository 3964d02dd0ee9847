//! An audit that is killed at any moment goes on, and comes to what an undisturbed one does.
//! `COUNTERSIGN_AUDIT_LEAVES` makes the log larger, `COUNTERSIGN_AUDIT_PAUSE` changes the
//! milliseconds that its server takes, and `COUNTERSIGN_SEED` makes the same choices again.

use super::made::{Log, Place, files};
use super::network::file;
use countersign_tests::hostile::Hostile;
use countersign_tests::random::Random;
use serde_json::Value;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const KILLS: u32 = 10;

fn given(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|n| n.parse().unwrap())
}

fn leaves() -> u64 {
    given("COUNTERSIGN_AUDIT_LEAVES").unwrap_or(8_000)
}

/// What two runs must agree on.
fn verdict(mut json: Value) -> Value {
    json.as_object_mut().unwrap().remove("run");
    json
}

fn killed(place: &Place) {
    let dir = place.path("tiles");
    // Each answer takes so long that there are many moments to be killed at.
    let pause = Duration::from_millis(given("COUNTERSIGN_AUDIT_PAUSE").unwrap_or(100));
    let server = Hostile::new(move |path, out| {
        std::thread::sleep(pause);
        file(&dir, path, out)
    });
    let args = |state: &'static str, mirror: &'static str| {
        let url = server.url.clone();
        let fixed = ["--workers", "2", "--state", state, "--mirror", mirror];
        let fixed = fixed.map(str::to_owned);
        [vec!["--log".to_owned(), url], fixed.to_vec()].concat()
    };
    let began = Instant::now();
    let all = args("undisturbed", "mirror");
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let undisturbed = place.audit(&all);
    let whole = began.elapsed();
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = given("COUNTERSIGN_SEED").unwrap_or(clock.as_secs());
    println!("COUNTERSIGN_SEED={seed}");
    let mut random = Random::new(seed);
    let disturbed = args("killed", "killed-mirror");
    let disturbed: Vec<&str> = disturbed.iter().map(String::as_str).collect();
    for kill in 0..KILLS {
        let mut command = place.command(&disturbed);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let most = u64::try_from(whole.as_millis()).unwrap() * 2 / 3;
        // The first comes late, so that there is something to go on from.
        let after = if kill == 0 {
            most
        } else {
            random.below(most.max(2))
        };
        std::thread::sleep(Duration::from_millis(after));
        // SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let at_last = place.audit(&disturbed);
    assert!(
        at_last.json["run"]["from"].as_u64().unwrap() > 0,
        "{at_last:?}"
    );
    assert_eq!(at_last.code, undisturbed.code);
    assert_eq!(verdict(at_last.json), verdict(undisturbed.json));
    assert_eq!(
        files(&place.path("killed-mirror")),
        files(&place.path("mirror"))
    );
}

#[test]
fn ten_kills_change_nothing_of_a_sound_log() {
    let place = Place::new(leaves());
    killed(&place);
    place.audit(&["--tiles", "killed-mirror"]).sound();
}

#[test]
fn ten_kills_change_nothing_of_what_was_found() {
    let mut log = Log::new();
    log.grow(700);
    log.wrong_head();
    log.grow(leaves() / 2);
    log.release_again();
    log.grow(leaves());
    let place = Place::of(log);
    killed(&place);
    // And of what was changed in storage, so that nothing connects any more.
    for name in ["undisturbed", "killed", "mirror", "killed-mirror"] {
        std::fs::remove_dir_all(place.path(name)).unwrap();
    }
    let path = place.path("tiles/tile/entries/001");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    killed(&place);
}

#[test]
fn at_most_a_second_of_work_is_lost() {
    let place = Place::new(8_000);
    let dir = place.path("tiles");
    let server = Hostile::new(move |path, out| {
        std::thread::sleep(Duration::from_millis(100));
        file(&dir, path, out)
    });
    let args = ["--state", "state", "--mirror", "mirror", "--workers", "2"];
    let args = [&["--log", &server.url], &args[..]].concat();
    let mut command = place.command(&args);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // Each bundle is in the mirror as soon as it is walked.
    let entries = place.path("mirror/tile/entries");
    let walked = || std::fs::read_dir(&entries).map_or(0, |list| list.count() as u64);
    while walked() < 20 {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let walked = walked();
    let said = place.audit(&args);
    said.sound();
    let kept = said.json["run"]["from"].as_u64().unwrap() / 256;
    // Two threads ask for a bundle and its tile, a tenth of a second each: ten bundles a second.
    assert!(kept + 10 >= walked, "{kept} of {walked} bundles");
}

#[test]
fn an_audit_that_is_killed_as_it_begins_can_begin() {
    let place = Place::new(600);
    let seed = given("COUNTERSIGN_SEED").unwrap_or(u64::from(std::process::id()));
    println!("COUNTERSIGN_SEED={seed}");
    let mut random = Random::new(seed);
    let args = ["--tiles", "tiles", "--state", "state", "--mirror", "mirror"];
    for _ in 0..given("COUNTERSIGN_AUDIT_KILLS").unwrap_or(40) {
        for name in ["state", "mirror"] {
            let _ = std::fs::remove_dir_all(place.path(name));
        }
        for _ in 0..2 {
            let mut command = place.command(&args);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().unwrap();
            // In the moments in which its tables are made.
            let made = || place.path("state/progress").exists();
            let begun = || made() || place.path("state/progress.new").exists();
            while !begun() && child.try_wait().unwrap().is_none() {
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_micros(random.below(8_000)));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        place.tiles(&args[2..]).sound();
    }
}
