//! Each tampering is found, by its name: bytes that were changed in storage, and what a log says
//! that has its keys.

use super::made::{Log, Place};
use std::path::Path;

fn change(path: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn what_was_changed_in_storage_is_found_and_stays_out_of_the_mirror() {
    let place = Place::new(600);
    let tiles = place.path("tiles");
    let (bundle, full) = ("tile/entries/001", "tile/0/001");
    for (path, kind) in [
        (bundle, "tile-mismatch"),
        ("tile/entries/002.p/88", "tile-mismatch"),
        (full, "tile-mismatch"),
        ("tile/0/002.p/88", "tile-mismatch"),
        ("tile/1/000.p/2", "tile-mismatch"),
    ] {
        let path = tiles.join(path);
        let flip = |bytes: &mut Vec<u8>| bytes[40] ^= 1;
        change(&path, flip);
        place.tiles(&["--mirror", "mirror"]).unsound(kind);
        assert!(!place.path("mirror/checkpoint").exists());
        change(&path, flip);
    }
    for (path, missing) in [(bundle, "bundle-missing"), (full, "tile-missing")] {
        let path = tiles.join(path);
        let whole = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        place.tiles(&["--mirror", "mirror"]).unsound(missing);
        for (bytes, kind) in [
            (
                whole[..whole.len() - 1].to_vec(),
                ["bundle-truncated", "tile-length"],
            ),
            (
                [&whole[..], &[0]].concat(),
                ["bundle-trailing-bytes", "tile-length"],
            ),
            (vec![0; 17 << 20], ["bundle-too-long", "tile-length"]),
            (Vec::new(), ["bundle-truncated", "tile-length"]),
        ] {
            std::fs::write(&path, bytes).unwrap();
            place
                .tiles(&[])
                .unsound(kind[usize::from(missing == "tile-missing")]);
        }
        std::fs::write(&path, whole).unwrap();
    }
    let state = ["--state", "state"];
    place
        .tiles(&[&["--mirror", "mirror"], &state[..]].concat())
        .sound();
    // A mirror that has another full tile is not written over, and not called good: not by the
    // next run either, which could go on behind it.
    for path in ["tile/entries/000", "tile/entries/001", "tile/0/001"] {
        let damaged = place.path("mirror").join(path);
        change(&damaged, |b| b[40] ^= 1);
        for _ in 0..3 {
            place
                .tiles(&["--mirror", "mirror", "--state", "other"])
                .unsound("mirror-differs");
        }
        change(&damaged, |b| b[40] ^= 1);
    }
}

#[test]
fn what_was_found_is_found_again_until_somebody_decides() {
    let place = Place::new(600);
    let state = ["--state", "state"];
    let path = place.path("tiles/tile/entries/001");
    change(&path, |b| b[40] ^= 1);
    let first = place.tiles(&state);
    first.unsound("tile-mismatch");
    change(&path, |b| b[40] ^= 1);
    let again = place.tiles(&state);
    again.unsound("tile-mismatch");
    assert_eq!(again.json["run"]["notes"][0]["kind"], "found-before");
    // Neither reading it otherwise nor into another mirror undoes it.
    for more in [&["--plain"][..], &[], &["--mirror", "mirror"], &[]] {
        place
            .tiles(&[&state[..], more].concat())
            .unsound("tile-mismatch");
    }
    // Nor where that could not read a single bundle: a link to itself cannot be read.
    #[cfg(unix)]
    for more in [&["--plain"][..], &[], &["--mirror", "another"]] {
        let first = place.path("tiles/tile/entries/000");
        let whole = std::fs::read(&first).unwrap();
        std::fs::remove_file(&first).unwrap();
        std::os::unix::fs::symlink("000", &first).unwrap();
        let said = place.tiles(&[&state[..], more].concat());
        said.unsound("tile-mismatch");
        assert!(said.json["run"]["unread"].is_string(), "{said:?}");
        std::fs::remove_file(&first).unwrap();
        std::fs::write(&first, whole).unwrap();
        place
            .tiles(&[&state[..], more].concat())
            .unsound("tile-mismatch");
    }
    // Nor does a log that is away, or that shows an old answer: both are said.
    let checkpoint = place.path("tiles/checkpoint");
    for shown in [Some(place.log.checkpoint(300)), None] {
        let now = std::fs::read(&checkpoint).unwrap();
        match shown {
            Some(note) => std::fs::write(&checkpoint, note).unwrap(),
            None => std::fs::remove_file(&checkpoint).unwrap(),
        }
        let said = place.tiles(&state);
        said.unsound("tile-mismatch");
        assert!(said.json["run"]["unread"].is_string(), "{said:?}");
        std::fs::write(&checkpoint, now).unwrap();
    }
    std::fs::rename(place.path("state"), place.path("before")).unwrap();
    place.tiles(&state).sound();
}

#[test]
fn entries_of_another_history_are_never_walked_on_top_of_those_before() {
    // Storage that has a part of another log, whole and in order.
    let mut log = Log::new();
    log.grow(520);
    let mut other = log.clone();
    other.filler("another");
    other.grow(900);
    log.grow(600);
    let mut place = Place::of(log);
    let state = ["--state", "state"];
    place.tiles(&state).sound();
    let tiles = place.path("tiles");
    other.write(&tiles, 900);
    place.log.grow(900);
    std::fs::write(tiles.join("checkpoint"), place.log.checkpoint(900)).unwrap();
    let said = place.tiles(&state);
    said.unsound("root-mismatch");
    assert_eq!(said.json["run"]["from"], 0, "it began again");
    place.log.write(&tiles, 900);
    place.tiles(&state).sound();
}

/// A log that has done something, and has gone on.
fn after(what: impl Fn(&mut Log)) -> Place {
    let mut log = Log::new();
    log.grow(300);
    what(&mut log);
    log.grow(620);
    Place::of(log)
}

#[test]
fn what_a_log_with_its_keys_may_not_say_is_found() {
    after(|_| {}).tiles(&[]).sound();
    for (what, kind) in [
        (Log::wrong_head as fn(&mut Log), "wrong-head"),
        (Log::forged_release, "bad-signature"),
        (Log::release_again, "purl-released-before"),
        (|log| log.raw(b"{}"), "fold-ended"),
        (|log| log.raw(b"\xff\x1b[2J"), "fold-ended"),
        (
            |log| {
                let head = log.fold.next_head(7).to_bytes().unwrap();
                log.raw(&head);
            },
            "time-went-back",
        ),
    ] {
        let place = after(what);
        // Its tree is as it must be: only who reads what is in it can find it.
        place.tiles(&["--plain"]).sound();
        let said = place.tiles(&["--mirror", "mirror"]);
        said.unsound(kind);
        assert!(!place.path("mirror/checkpoint").exists());
        assert_eq!(said.json["counts"]["leaves"], 620, "it goes on to the end");
    }
}

#[test]
fn what_a_log_says_after_an_audit_is_read_with_what_that_knew() {
    for (what, kind) in [
        (Log::wrong_head as fn(&mut Log), "wrong-head"),
        (Log::forged_release, "bad-signature"),
        (Log::release_again, "purl-released-before"),
        (|log| log.release(), ""),
    ] {
        let mut place = Place::new(600);
        let state = ["--state", "state"];
        place.tiles(&state).sound();
        place.log.grow(700);
        what(&mut place.log);
        place.log.grow(900);
        place.log.write(&place.path("tiles"), 900);
        let said = place.tiles(&state);
        assert_eq!(said.json["run"]["from"], 512);
        if kind.is_empty() {
            said.sound();
        } else {
            said.unsound(kind);
        }
    }
}

#[test]
fn a_checkpoint_that_commits_to_nothing_is_found() {
    let place = Place::new(20);
    let path = place.path("tiles/checkpoint");
    let good = std::fs::read_to_string(&path).unwrap();
    let of_other = Place::new(20).log.checkpoint(20);
    let lines: Vec<&str> = good.lines().collect();
    let [text, signatures] = [&lines[..4], &lines[4..]].map(|l| l.join("\n"));
    let cosigned = lines[5];
    for (note, kind) in [
        (String::new(), "checkpoint-invalid"),
        ("<html>".to_owned(), "checkpoint-invalid"),
        (of_other, "log-key-missing"),
        (format!("{text}\n{cosigned}\n"), "log-key-missing"),
        (good.replace("log.example", "log.other"), "other-log"),
        (good.replace("\n20\n", "\n21\n"), "checkpoint-invalid"),
        (format!("{text}\n{}\n", lines[4]), "quorum-not-met"),
    ] {
        std::fs::write(&path, note).unwrap();
        place.tiles(&["--mirror", "mirror"]).unsound(kind);
        assert!(!place.path("mirror/checkpoint").exists());
    }
    assert!(signatures.contains(cosigned));
    std::fs::write(&path, [0xff; 10]).unwrap();
    place.tiles(&[]).unsound("checkpoint-invalid");
    std::fs::write(&path, good).unwrap();
    place.tiles(&[]).sound();
}

#[test]
fn leaves_are_not_dated_later_than_they_were_seen() {
    let mut place = Place::new(600);
    let last = place.log.fold.last_time();
    for (seen, sound) in [(last, true), (last - 300, true), (last - 301, false)] {
        place.log.cosigned = Some(seen);
        place.log.write(&place.path("tiles"), 600);
        let said = place.tiles(&[]);
        if sound {
            said.sound();
        } else {
            said.unsound("time");
        }
    }
}

#[test]
fn what_a_log_says_does_not_steer_a_terminal() {
    let place = after(|log| {
        log.raw(
            "{\"apiVersion\":\"countersign/v1\",\"kind\":\"head\",\"\u{1b}[2J\u{202e}\":1}"
                .as_bytes(),
        );
    });
    let mut command = place.command(&["--tiles", "tiles"]);
    let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut human = std::process::Command::new(command.get_program());
    human.current_dir(place.dir.path());
    human.args(args.iter().filter(|a| *a != "--json"));
    command.env_clear();
    let said = countersign_tests::run(human).unwrap();
    assert_eq!(said.code, 1, "{}", said.err);
    let out = String::from_utf8(said.out).unwrap();
    assert!(out.contains("NOT SOUND: log.example"), "{out}");
    let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!out.contains(bad), "{out:?}");
}

#[test]
fn a_log_that_does_not_end_in_a_head_is_not_sound() {
    // At the end of a bundle, and within one; also when there is nothing new to read.
    for size in [512, 600] {
        let mut log = Log::new();
        log.grow(size - 1);
        log.release();
        assert_eq!(log.size(), size);
        let place = Place::of(log);
        for _ in 0..2 {
            place.tiles(&["--state", "state"]).unsound("head-missing");
        }
        place.tiles(&["--plain"]).sound();
    }
}

#[test]
fn a_mirror_that_lost_its_files_is_made_again() {
    let place = Place::new(600);
    let args = ["--state", "state", "--mirror", "mirror"];
    place.tiles(&args).sound();
    let whole = super::made::files(&place.path("mirror"));
    for path in ["", "tile/entries/001", "tile/0/000"] {
        let lost = place.path("mirror").join(path);
        match path {
            "" => std::fs::remove_dir_all(&lost).unwrap(),
            _ => std::fs::remove_file(&lost).unwrap(),
        }
        place.tiles(&args).sound();
        assert_eq!(super::made::files(&place.path("mirror")), whole, "{path}");
    }
}

#[test]
fn a_checkpoint_of_more_leaves_than_can_be_asked_for_comes_to_a_verdict() {
    let place = Place::new(600);
    let far = 1 << 50;
    let note = place
        .log
        .checkpoint(600)
        .replacen("\n600\n", &format!("\n{far}\n"), 1);
    // Not signed so: nothing is walked to.
    std::fs::write(place.path("tiles/checkpoint"), note).unwrap();
    place.tiles(&[]).unsound("checkpoint-invalid");
    std::fs::write(
        place.path("tiles/checkpoint"),
        place.log.claimed(far, [7; 32]),
    )
    .unwrap();
    place.tiles(&["--state", "state"]).unsound("walk-ended");
}
