//! A log over HTTP that is away, answers late, partly, wrongly, or otherwise each time.

use super::made::{Place, files};
use countersign_tests::hostile::{Hostile, announced, endless, whole};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub fn status(out: &mut dyn Write, status: &str) -> std::io::Result<()> {
    write!(
        out,
        "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
}

/// Serves a directory, as any web server does.
pub fn file(dir: &Path, path: &str, out: &mut dyn Write) -> std::io::Result<()> {
    match std::fs::read(dir.join(path.trim_start_matches('/'))) {
        Ok(bytes) => whole(out, &bytes),
        Err(_) => status(out, "404 Not Found"),
    }
}

/// Serves the place's tiles, but one path as `answer` does; it is told how often it was asked.
fn but(
    place: &Place,
    path: &'static str,
    answer: impl Fn(u64, &mut dyn Write) -> std::io::Result<()> + Send + Sync + 'static,
) -> Hostile {
    let (dir, asked) = (place.path("tiles"), AtomicU64::new(0));
    Hostile::new(move |asks, out| {
        if asks.trim_start_matches('/') == path {
            return answer(asked.fetch_add(1, Relaxed), out);
        }
        file(&dir, asks, out)
    })
}

const BUNDLE: &str = "tile/entries/001";

#[test]
fn a_log_is_read_and_mirrored_over_http_and_the_mirror_is_served() {
    let place = Place::new(700);
    let dir = place.path("tiles");
    let server = Hostile::new(move |path, out| file(&dir, path, out));
    let kept = ["--state", "state", "--mirror", "mirror"];
    let said = place.audit(&[&["--log", &server.url], &kept[..]].concat());
    said.sound();
    assert_eq!(files(&place.path("mirror")), files(&place.path("tiles")));
    let dir = place.path("mirror");
    let server = Hostile::new(move |path, out| file(&dir, path, out));
    place.audit(&["--log", &server.url]).sound();
}

#[test]
fn a_full_tile_stands_in_for_a_partial_one_that_is_gone() {
    let mut place = Place::new(300);
    let old = place.log.checkpoint(300);
    place.log.grow(600);
    std::fs::remove_dir_all(place.path("tiles")).unwrap();
    place.log.write(&place.path("tiles"), 600);
    std::fs::write(place.path("tiles/checkpoint"), old).unwrap();
    // Only the top has no full tile yet.
    let top = place.path("tiles/tile/1/000.p/1");
    let row = std::fs::read(place.path("tiles/tile/1/000.p/2")).unwrap();
    std::fs::write(top, &row[..32]).unwrap();
    place.tiles(&["--mirror", "mirror"]).sound();
    place.audit(&["--tiles", "mirror"]).sound();
    assert!(place.path("mirror/tile/entries/001.p/44").exists());
}

#[test]
fn a_server_that_is_away_is_no_finding() {
    let place = Place::new(600);
    let patience = ["--patience", "1"];
    // A port that nobody listens at.
    let url = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let said = place.audit(&[&["--log", &url], &patience[..]].concat());
    said.failed(3, "log-unreadable");
    assert!(said.err.contains("asked again"), "{}", said.err);
    let server = but(&place, "checkpoint", |_, out| status(out, "404 Not Found"));
    place
        .audit(&["--log", &server.url])
        .failed(3, "no-checkpoint");
    for answer in ["500 No", "503 Busy", "429 Slow down", "403 Not you"] {
        let server = but(&place, BUNDLE, move |_, out| status(out, answer));
        let said = place.audit(&[&["--log", &server.url], &patience[..]].concat());
        assert_eq!(
            (said.code, &said.json["verdict"]),
            (3, &"unread".into()),
            "{said:?}"
        );
    }
    // An answer that stops half-way.
    let server = but(&place, BUNDLE, |_, out| announced(out, 9000, b"half"));
    let said = place.audit(&[&["--log", &server.url], &patience[..]].concat());
    assert_eq!(
        (said.code, &said.json["verdict"]),
        (3, &"unread".into()),
        "{said:?}"
    );
}

#[test]
fn a_failure_that_passes_is_asked_again_and_what_was_read_is_not() {
    let place = Place::new(600);
    let bundle = Arc::new(std::fs::read(place.path("tiles").join(BUNDLE)).unwrap());
    let good = bundle.clone();
    let server = but(&place, BUNDLE, move |asked, out| match asked {
        0 => status(out, "503 Busy"),
        1 => announced(out, 9000, b"half"),
        _ => whole(out, &good),
    });
    place.audit(&["--log", &server.url]).sound();
    // Where it does not pass, the next audit goes on.
    let server = but(&place, BUNDLE, |_, out| status(out, "503 Busy"));
    let args = ["--state", "state", "--patience", "1", "--workers", "1"];
    let said = place.audit(&[&["--log", &server.url], &args[..]].concat());
    assert_eq!(said.code, 3);
    place.tiles(&["--state", "state"]).sound();
}

#[test]
fn a_log_that_does_not_serve_what_it_committed_to_is_a_finding() {
    let place = Place::new(600);
    let missing = but(&place, BUNDLE, |_, out| status(out, "404 Not Found"));
    place
        .audit(&["--log", &missing.url])
        .unsound("bundle-missing");
    let endlessly = but(&place, BUNDLE, |_, out| {
        endless(out, countersign_tests::hostile::ENDLESS[0])
    });
    place
        .audit(&["--log", &endlessly.url])
        .unsound("bundle-too-long");
    let tile = but(&place, "tile/0/001", |_, out| {
        endless(out, countersign_tests::hostile::ENDLESS[2])
    });
    place.audit(&["--log", &tile.url]).unsound("tile-length");
    let page = but(&place, BUNDLE, |_, out| whole(out, b"<html>"));
    let said = place.audit(&["--log", &page.url]);
    assert_eq!(said.code, 1, "{said:?}");
}

#[test]
fn what_is_another_when_it_is_read_again_decides_nothing() {
    // The withdrawals at 273 and 529 are about the release at 16.
    let place = Place::new(600);
    let good = std::fs::read(place.path("tiles/tile/entries/000")).unwrap();
    let mut other = tlog::tile::parse_bundle(&good, 256).unwrap();
    other[16] = other[32].clone();
    let other = tlog::tile::encode_bundle(&other).unwrap();
    let server = but(&place, "tile/entries/000", move |asked, out| {
        whole(out, if asked == 0 { &good } else { &other })
    });
    place
        .audit(&["--log", &server.url])
        .unsound("look-up-failed");
}

#[test]
fn a_log_that_shows_nothing_new_is_no_verdict_where_the_policy_says_how_old_it_may_be() {
    let place = Place::new(40);
    let policy = std::fs::read_to_string(place.path("policy.toml")).unwrap();
    let policy = policy.replace("[log]", "max-age = 1000\n[log]");
    std::fs::write(place.path("policy.toml"), policy).unwrap();
    let dir = place.path("tiles");
    let server = Hostile::new(move |path, out| file(&dir, path, out));
    let said = place.audit(&["--log", &server.url]);
    assert_eq!(
        (said.code, &said.json["verdict"]),
        (3, &"unread".into()),
        "{said:?}"
    );
    // A directory is as old as it is.
    place.tiles(&[]).sound();
    for nowhere in ["nowhere", "ftp://log.example", "http://", "/tmp"] {
        place.audit(&["--log", nowhere]).failed(2, "bad-url");
    }
}
