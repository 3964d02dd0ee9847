//! A state file that can be read and not be written, and one that cannot be made.
#![allow(clippy::unwrap_used, missing_docs)]

use countersign_tests::Storage;
use countersign_tests::bench::{Bench, ROOTS, bench};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

/// Runs it, and it says once that nothing is remembered.
fn warned(bench: &Bench, args: &str) {
    let said = bench.client(args);
    assert_eq!(said.code, 0, "{args}: {}", said.err);
    let times = said.err.matches("warning: not remembered").count();
    assert_eq!(times, 1, "{args}: {}", said.err);
    assert_eq!(said.err.matches("warning").count(), 1, "{}", said.err);
}

#[test]
fn a_state_that_cannot_be_written_binds_and_is_a_warning() {
    let mut bench = bench();
    fs::create_dir(bench.path("store")).unwrap();
    let storage = Storage::serve(&bench.path("store")).unwrap();
    let publish = |bench: &Bench, version: &str| {
        fs::write(bench.path("tool"), format!("echo {version}\n")).unwrap();
        bench.ok(&format!(
            "publish tool --project acme/tool --version {version} --key release1 --download-base {}",
            storage.url
        ));
        for name in ["tool", "tool.bundle"] {
            fs::copy(bench.path(name), bench.path("store").join(name)).unwrap();
        }
    };
    publish(&bench, "1.0");
    fs::copy(bench.path("tool.bundle"), bench.path("old.bundle")).unwrap();
    fs::copy(bench.path("tool"), bench.path("old")).unwrap();
    fs::create_dir(bench.path("ci")).unwrap();
    bench.state = "ci/state.json";
    bench.ok("verify tool");
    bench.state = "state.json";
    publish(&bench, "2.0");

    // Permissions do not bind root: its lock cannot be taken, and the file is as read-only as on a
    // file system that is.
    bench.state = "ci/state.json";
    let mode = |mode| fs::set_permissions(bench.path("ci"), fs::Permissions::from_mode(mode));
    fs::remove_file(bench.path("ci/state.json.lock")).unwrap();
    fs::create_dir(bench.path("ci/state.json.lock")).unwrap();
    mode(0o555).unwrap();
    let before = fs::read(bench.path("ci/state.json")).unwrap();
    let get = format!("get {}/tool -o got", storage.url);
    warned(&bench, "verify tool tool --no-cache");
    warned(&bench, "verify tool --online --no-cache");
    warned(&bench, &format!("{get} --no-cache"));
    warned(&bench, "get acme/tool/tool -o got --no-cache");
    let run = format!("run {}/tool --with sh --no-cache", storage.url);
    // The verdict goes to standard error too; there is one warning all the same.
    warned(&bench, &run);
    // What is not cached has the same cause, and is not said again.
    warned(&bench, "get acme/tool@2.0 -o got");

    // What it has binds: an older release, and what it cannot know is asked.
    mode(0o755).unwrap();
    fs::remove_dir(bench.path("ci/state.json.lock")).unwrap();
    bench.ok(&get);
    fs::remove_file(bench.path("ci/state.json.lock")).unwrap();
    fs::create_dir(bench.path("ci/state.json.lock")).unwrap();
    assert_ne!(fs::read(bench.path("ci/state.json")).unwrap(), before);
    let before = fs::read(bench.path("ci/state.json")).unwrap();
    for (from, to) in [("old", "tool"), ("old.bundle", "tool.bundle")] {
        fs::copy(bench.path(from), bench.path("store").join(to)).unwrap();
    }
    bench.refused(1, "rollback", &get);
    bench.state = "state.json";
    bench.ok(&format!("withdraw --version 1.0 --reason broken {ROOTS}"));
    bench.state = "ci/state.json";
    bench.refused(1, "withdrawn", &format!("{get} --version 1.0"));
    assert_eq!(fs::read(bench.path("ci/state.json")).unwrap(), before);

    // What is there and is no memory is still an error, not a read-only one.
    fs::write(bench.path("ci/state.json"), "{}").unwrap();
    bench.refused(2, "state-unreadable", "verify tool");
}

#[test]
fn a_state_that_cannot_be_made_warns_verify_and_stops_get_and_run() {
    let bench = bench();
    bench.published("1.0", "release1");
    fs::create_dir(bench.path("store")).unwrap();
    let storage = Storage::serve(&bench.path("store")).unwrap();
    for name in ["tool-1.0", "tool-1.0.bundle"] {
        fs::copy(bench.path(name), bench.path("store").join(name)).unwrap();
    }
    // Nobody makes a directory there, root neither.
    let state = "--state /proc/countersign/state.json";
    warned(&bench, &format!("verify tool-1.0 tool-1.0 {state}"));
    warned(&bench, &format!("verify tool-1.0 --online {state}"));
    let of = format!("{}/tool-1.0 --version 1.0 {state}", storage.url);
    bench.refused(2, "state-unwritable", &format!("get {of} -o got"));
    assert!(!bench.path("got").exists());
    let said = bench.client(&format!("run {of} --with cat"));
    assert_eq!((said.code, said.out), (122, Vec::new()), "{}", said.err);
    let by_name = format!("get acme/tool@1.0 -o got {state}");
    bench.refused(2, "state-unwritable", &by_name);
    assert!(!bench.path("got").exists());
}
