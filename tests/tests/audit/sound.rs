//! Sound logs of several sizes, that grow, and their mirrors.

use super::made::{Log, Place, files};
use countersign_tests::{binary, run};
use std::process::Command;

#[test]
fn a_sound_log_is_sound_and_so_is_its_mirror() {
    let place = Place::new(700);
    let said = place.tiles(&["--mirror", "mirror"]);
    said.sound();
    let counts = &said.json["counts"];
    assert_eq!(
        (&counts["leaves"], &counts["bundles"]),
        (&700.into(), &3.into())
    );
    assert_eq!(
        (&counts["projects"], &counts["withdrawals"]),
        (&1.into(), &3.into())
    );
    assert!(counts["heads"].as_u64().unwrap() > 40, "{counts}");
    // Whatever is not known is said.
    assert_eq!(said.json["run"]["notes"][0]["kind"], "unknown-kinds");
    assert!(counts["unknown"].as_u64().unwrap() > 500, "{counts}");
    assert_eq!(files(&place.path("mirror")), files(&place.path("tiles")));
    place.audit(&["--tiles", "mirror"]).sound();
    let mut check = Command::new(binary("countersign-server").unwrap());
    check.args(["check", "--tiles", "mirror", "--vkey", &place.log.vkey()]);
    let said = run({
        check.current_dir(place.dir.path());
        check
    });
    let said = said.unwrap();
    assert_eq!(
        said.code,
        0,
        "{}{}",
        said.err,
        String::from_utf8_lossy(&said.out)
    );
}

#[test]
fn a_log_that_grows_is_read_from_where_the_last_audit_was() {
    let mut place = Place::new(300);
    let kept = ["--state", "state", "--mirror", "mirror"];
    let first = place.tiles(&kept);
    first.sound();
    assert_eq!(first.json["run"]["from"], 0);
    for (size, from) in [(300, 256), (512, 256), (512, 512), (700, 512), (701, 512)] {
        place.log.grow(size);
        place.log.write(&place.path("tiles"), size);
        let said = place.tiles(&kept);
        said.sound();
        assert_eq!(said.json["run"]["from"], from, "{size}");
        let anew = place.tiles(&[]);
        for same in ["size", "root", "counts", "lastTime"] {
            assert_eq!(said.json[same], anew.json[same], "{size}: {same}");
        }
        assert_eq!(files(&place.path("mirror")), files(&place.path("tiles")));
    }
    // A mirror that lacks what was read before is not continued, but begun again.
    let other = place.tiles(&["--state", "state", "--mirror", "other"]);
    other.sound();
    assert_eq!(other.json["run"]["from"], 0);
    let (newest, mut older) = (files(&place.path("other")), files(&place.path("mirror")));
    older.retain(|path, _| newest.contains_key(path));
    assert_eq!(newest, older, "but for partial tiles of sizes before");
}

#[test]
fn an_empty_log_is_no_error() {
    let mut place = Place::of(Log::new());
    place.log.write(&place.path("empty"), 0);
    let kept = ["--state", "state", "--mirror", "mirror"];
    for _ in 0..2 {
        let said = place.audit(&[&["--tiles", "empty"], &kept[..]].concat());
        said.sound();
        assert_eq!(said.json["size"], 0);
    }
    assert_eq!(files(&place.path("mirror")).len(), 1, "its checkpoint");
    place.log.grow(20);
    place.log.write(&place.path("empty"), 20);
    let said = place.audit(&[&["--tiles", "empty"], &kept[..]].concat());
    said.sound();
    assert_eq!(said.json["size"], 20);
}

#[test]
fn a_log_of_others_is_hashed_and_not_read() {
    let mut log = Log::new();
    for n in 0..600_u32 {
        log.raw(&n.to_be_bytes());
    }
    let place = Place::of(log);
    place.tiles(&[]).unsound("fold-ended");
    let kept = ["--plain", "--state", "state", "--mirror", "mirror"];
    place.tiles(&kept).sound();
    assert_eq!(files(&place.path("mirror")), files(&place.path("tiles")));
    let again = place.tiles(&kept);
    again.sound();
    assert_eq!(again.json["run"]["from"], 512);
    assert_eq!(again.json["counts"]["releases"], 0);
    // What was not read then is read now.
    let read = place.tiles(&["--state", "state"]);
    read.unsound("fold-ended");
    assert_eq!(read.json["run"]["from"], 0);
    let path = place.path("tiles/tile/entries/001");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[5] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    place.tiles(&["--plain"]).unsound("tile-mismatch");
}

#[test]
fn what_is_asked_wrongly_is_2() {
    let place = Place::new(20);
    let refused = |args: &[&str], kind| place.tiles(args).failed(2, kind);
    refused(&["--mirror", "tiles"], "mirror-is-source");
    std::fs::create_dir(place.path("full")).unwrap();
    std::fs::write(place.path("full/file"), "mine").unwrap();
    refused(&["--state", "full"], "state-of-another");
    refused(&["--mirror", "full"], "mirror-of-another");
    assert_eq!(
        files(&place.path("full")).len(),
        1,
        "nothing was made there"
    );
    refused(&["--state", "policy.toml"], "unwritable");
    // The state and the mirror of another log.
    place
        .tiles(&["--state", "state", "--mirror", "mirror"])
        .sound();
    let other = Place::new(20);
    for (name, kind) in [
        ("state", "state-other-log"),
        ("mirror", "mirror-of-another"),
    ] {
        let theirs = place.path(name);
        let option = format!("--{name}");
        let said = other.tiles(&[&option, theirs.to_str().unwrap()]);
        said.failed(2, kind);
    }
    let lock = std::fs::File::open(place.path("state/lock")).unwrap();
    lock.lock().unwrap();
    refused(&["--state", "state"], "state-in-use");
}

#[test]
fn a_state_that_is_damaged_is_not_gone_on_from() {
    let place = Place::new(600);
    let kept = ["--state", "state"];
    place.tiles(&kept).sound();
    let seen = place.path("state/seen.json");
    let text = std::fs::read_to_string(&seen).unwrap();
    std::fs::write(&seen, text.replace("countersign/v1", "countersign/v2")).unwrap();
    place.tiles(&kept).failed(2, "state-damaged");
    std::fs::write(&seen, text).unwrap();
    place.tiles(&kept).sound();
    // Half a table is never taken for a whole one, nor for none.
    for path in files(&place.path("state/progress")).into_keys() {
        let path = place.path("state/progress").join(path);
        let bytes = std::fs::read(&path).unwrap();
        if bytes.len() < 100 {
            continue;
        }
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let said = place.tiles(&kept);
        let damaged = said.code == 2 && said.json["kind"] == "state-damaged";
        assert!(damaged || said.code == 0, "{said:?}");
        std::fs::write(&path, &bytes).unwrap();
    }
}
