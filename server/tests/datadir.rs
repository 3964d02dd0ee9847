//! Data directories: permissions, and each one that must be refused.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{ORIGIN, init, program};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

fn refused(args: &[&str], dir: &Path, says: &str) {
    let out = program(&[args, &["--data", dir.to_str().unwrap()]].concat());
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(
        !out.status.success() && text.contains(says),
        "{args:?}: {text}"
    );
    assert!(!text.contains("panicked"), "{text}");
}

const SERVE: &[&str] = &["serve", "--listen", "127.0.0.1:0"];

#[test]
fn init_prints_both_vkeys_and_keeps_keys_private() {
    let dir = tempfile::tempdir().unwrap();
    let vkeys = init(dir.path());
    assert_eq!(vkeys.len(), 2);
    assert!(vkeys.iter().all(|v| v.starts_with("log.example.org+")));
    let mode = |path: &str| {
        fs::metadata(dir.path().join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode("private"), 0o700);
    assert_eq!(
        (
            mode("private/log-p256.pem"),
            mode("private/log-ed25519.pem")
        ),
        (0o600, 0o600)
    );
    assert_eq!(fs::read_dir(dir.path().join("public")).unwrap().count(), 0);
    let server = common::Running::start(dir.path(), &[]);
    assert_eq!(mode("private/operator.sock"), 0o600);
    drop(server);
}

#[test]
fn init_warns_of_an_origin_that_is_no_bare_host_name() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("new");
    let out = program(&[
        "init",
        "--data",
        data.to_str().unwrap(),
        "--origin",
        "log.example.org/path",
    ]);
    assert!(out.status.success());
    assert!(String::from_utf8_lossy(&out.stderr).contains("not a bare host name"));
    for bad in ["", "two words", "a+b", "a\nb"] {
        let out = program(&[
            "init",
            "--data",
            dir.path().to_str().unwrap(),
            "--origin",
            bad,
        ]);
        assert!(!out.status.success(), "{bad:?}");
    }
}

#[test]
fn directories_that_are_not_this_log_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    refused(SERVE, dir.path(), "holds no log");
    init(dir.path());
    refused(&["init", "--origin", ORIGIN], dir.path(), "already holds");
    refused(
        &["init", "--origin", "other.example"],
        dir.path(),
        "not \"other.example\"",
    );

    let marker = dir.path().join("log.json");
    let text = fs::read_to_string(&marker).unwrap();
    fs::write(&marker, text.replace("\"format\":1", "\"format\":2")).unwrap();
    refused(SERVE, dir.path(), "use a newer countersign-server");
    fs::write(&marker, "{").unwrap();
    refused(SERVE, dir.path(), "half written");
    fs::remove_file(&marker).unwrap();
    refused(SERVE, dir.path(), "half written");
    refused(&["init", "--origin", ORIGIN], dir.path(), "half written");
    fs::write(&marker, &text).unwrap();
    let key = dir.path().join("private/log-ed25519.pem");
    fs::rename(&key, key.with_extension("away")).unwrap();
    refused(SERVE, dir.path(), "log-ed25519.pem is missing");
    fs::rename(key.with_extension("away"), &key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    refused(SERVE, dir.path(), "can be read by others");
}

#[test]
fn the_marker_lists_the_vkeys_and_one_without_them_still_reads() {
    let dir = tempfile::tempdir().unwrap();
    let vkeys = init(dir.path());
    let layout = countersign_server::datadir::Layout::new(dir.path());
    // Also where the keys are not at hand.
    let keys = dir.path().join("private");
    fs::rename(&keys, dir.path().join("away")).unwrap();
    assert_eq!(layout.vkeys().unwrap(), vkeys);
    fs::rename(dir.path().join("away"), &keys).unwrap();
    let marker = dir.path().join("log.json");
    let text = fs::read_to_string(&marker).unwrap();
    let (old, _) = text.split_once(",\"vkeys\"").unwrap();
    fs::write(&marker, format!("{old}}}")).unwrap();
    assert_eq!(layout.vkeys().unwrap(), vkeys);
    drop(common::Running::start(dir.path(), &[]));
    fs::write(&marker, text.replace("countersign/v1", "countersign/v9")).unwrap();
    refused(SERVE, dir.path(), "another apiVersion");
}

#[test]
fn another_origin_in_the_marker_is_not_signed_for() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    drop(common::Running::start(dir.path(), &[]));
    let marker = dir.path().join("log.json");
    let text = fs::read_to_string(&marker).unwrap();
    fs::write(&marker, text.replace(ORIGIN, "other.example")).unwrap();
    let server = common::Running::start(dir.path(), &[]);
    assert_eq!(server.get("/readyz").kind(), "read-only");
}

#[test]
fn a_store_that_lost_its_hot_state_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    fs::remove_dir_all(dir.path().join("private/hot")).unwrap();
    refused(SERVE, dir.path(), "hot state");
}

#[test]
fn plain_http_beyond_loopback_must_be_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    refused(
        &["serve", "--listen", "0.0.0.0:0"],
        dir.path(),
        "--public-http",
    );
}
