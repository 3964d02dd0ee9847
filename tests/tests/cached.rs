//! Bundles that are kept by digest: what they verify, and what lies in their place and does not.
#![allow(clippy::unwrap_used, missing_docs)]

use countersign::policy::Policy;
use countersign_tests::Storage;
use countersign_tests::bench::{Bench, ROOTS, bench};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use tlog::vkey::VerifierKey;

/// Where the bundle of a file is kept.
fn kept(bench: &Bench, file: &str) -> PathBuf {
    let digest = ledger::sha256(&fs::read(bench.path(file)).unwrap());
    let digest = ledger::hex32(&digest);
    bench.path(&format!("bundles/{digest}.bundle"))
}

/// A log with one release, `tool-1.0`; the bundle is aside as `aside`, and not beside the file.
fn released() -> Bench {
    let bench = bench();
    bench.published("1.0", "release1");
    fs::rename(bench.path("tool-1.0.bundle"), bench.path("aside")).unwrap();
    bench
}

const ASIDE: &str = "verify tool-1.0 --bundle aside";

#[test]
fn a_renamed_file_verifies_by_the_bundle_that_was_kept_of_it() {
    let bench = released();
    let said = bench.refused(3, "no-bundle", "verify tool-1.0");
    assert!(said.contains("whatever its name is now"), "{said}");
    bench.ok(&format!("{ASIDE} --no-cache"));
    assert!(!bench.path("bundles").exists());
    bench.ok(ASIDE);
    let kept = kept(&bench, "tool-1.0");
    assert_eq!(kept.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    fs::create_dir(bench.path("bin")).unwrap();
    fs::rename(bench.path("tool-1.0"), bench.path("bin/t")).unwrap();
    let said = bench.ok("verify bin/t --project acme/tool");
    assert!(said.contains("released as tool-1.0\n"), "{said}");
    assert!(said.contains(kept.to_str().unwrap()), "{said}");
    let json = bench.json("verify bin/t --json");
    assert_eq!(json["bundle"], kept.to_str().unwrap());
    assert_eq!(json["artifact"], "tool-1.0");
    let said = bench.ok("verify bin/t --name tool-1.0 --version 1.0");
    assert!(!said.contains("released as"), "{said}");

    // All of it is verified: the name that is asked for, the version, the bytes.
    bench.refused(1, "other-artifact", "verify bin/t --name tool-2.0");
    bench.refused(1, "other-version", "verify bin/t --version 2.0");
    bench.refused(3, "no-bundle", "verify bin/t --no-cache");
    bench.refused(3, "no-bundle", "verify bin/t --bundle nowhere");
    fs::write(bench.path("bin/other"), "the tool, 6.6.6\n").unwrap();
    bench.refused(3, "no-bundle", "verify bin/other");
    // A bundle beside the file goes before, whatever it is.
    fs::write(bench.path("bin/t.bundle"), "{}").unwrap();
    bench.refused(1, "bundle-malformed", "verify bin/t");
    fs::remove_file(bench.path("bin/t.bundle")).unwrap();

    // What became of the release counts, as it is remembered and as the log says it.
    bench.ok(&format!("withdraw --version 1.0 --reason broken {ROOTS}"));
    bench.refused(3, "needs-refresh", "verify bin/t");
    bench.refused(1, "withdrawn", "verify bin/t --online");
}

#[test]
fn what_lies_in_the_place_of_a_cached_bundle_is_not_taken_for_it() {
    let bench = released();
    bench.published("2.0", "release1");
    bench.ok(ASIDE);
    let kept = kept(&bench, "tool-1.0");
    let good = fs::read(&kept).unwrap();
    let plain = |bytes: Vec<u8>| {
        let _ = fs::remove_file(&kept);
        fs::write(&kept, bytes).unwrap();
    };
    let ignored = || {
        let said = bench.refused(3, "no-bundle", "verify tool-1.0");
        assert!(said.contains("[cached-bundle]"), "{said}");
        // Whatever it is, the next verification puts a good one there.
        bench.ok(ASIDE);
        assert_eq!(fs::read(&kept).unwrap(), good);
        assert!(kept.symlink_metadata().unwrap().is_file());
    };
    plain(b"{}".to_vec());
    ignored();
    plain(good[..good.len() - 1].to_vec());
    ignored();
    plain(vec![b' '; 5 * 1024 * 1024]);
    ignored();
    // A genuine one of another release.
    plain(fs::read(bench.path("tool-2.0.bundle")).unwrap());
    ignored();
    // A good one, where the policy is of another project or log.
    plain(good.clone());
    let policy = fs::read_to_string(bench.path("policy.toml")).unwrap();
    let policy = Policy::parse_toml(&policy).unwrap();
    let (mut project, mut log) = (policy.clone(), policy);
    project.projects[0].id = [7; 32];
    let key = keys::Ed25519Secret::generate().unwrap().public_bytes();
    log.log.origin = "log.test".into();
    log.log.vkeys = vec![VerifierKey::ed25519("log.test", &key).unwrap()];
    for other in [project, log] {
        fs::write(bench.path("other.toml"), other.to_toml().unwrap()).unwrap();
        let said = bench.refused(3, "no-bundle", "verify tool-1.0 --policy other.toml");
        assert!(said.contains("[cached-bundle]"), "{said}");
    }
    // A link is neither followed nor written through.
    fs::write(bench.path("target"), &good).unwrap();
    fs::remove_file(&kept).unwrap();
    symlink(bench.path("target"), &kept).unwrap();
    ignored();
    fs::write(bench.path("target"), "mine").unwrap();
    fs::remove_file(&kept).unwrap();
    symlink(bench.path("target"), &kept).unwrap();
    ignored();
    assert_eq!(fs::read(bench.path("target")).unwrap(), b"mine");

    // Of the digest, and altered: it is verified as any other, and what is said is why it fails.
    let text = String::from_utf8(good.clone()).unwrap();
    let at = text.find("\"proof\":[\"").unwrap() + 10;
    let other = if text.as_bytes()[at] == b'0' {
        "1"
    } else {
        "0"
    };
    let altered = format!("{}{other}{}", &text[..at], &text[at + 1..]);
    plain(altered.into_bytes());
    let said = bench.refused(1, "not-included", "verify tool-1.0");
    assert!(said.contains(kept.to_str().unwrap()), "{said}");
    bench.ok(ASIDE);
    assert_eq!(fs::read(&kept).unwrap(), good);
}

#[test]
fn a_newer_view_takes_the_place_of_an_older_and_never_the_other_way() {
    let bench = released();
    bench.ok(ASIDE);
    let kept = kept(&bench, "tool-1.0");
    let old = fs::read(&kept).unwrap();
    bench.published("2.0", "release1");
    let newer = "new/tool-1.0.bundle";
    fs::create_dir(bench.path("new")).unwrap();
    fs::copy(bench.path("aside"), bench.path(newer)).unwrap();
    bench.ok(&format!("refresh {newer}"));
    let verify = |file: &str| format!("verify {file} --bundle {newer}");
    bench.refused(1, "other-artifact", &verify("tool-2.0"));
    assert_eq!(fs::read(&kept).unwrap(), old);
    bench.ok(&verify("tool-1.0"));
    let new = fs::read(&kept).unwrap();
    assert_eq!(new, fs::read(bench.path(newer)).unwrap());
    assert_ne!(new, old);
    bench.ok(ASIDE);
    assert_eq!(fs::read(&kept).unwrap(), new);
    // What the log says now is kept too.
    bench.published("3.0", "release1");
    bench.ok("verify tool-1.0 --online");
    assert_ne!(fs::read(&kept).unwrap(), new);
}

#[test]
fn get_and_run_keep_bundles_and_what_cannot_be_kept_is_said_once() {
    let bench = released();
    fs::create_dir(bench.path("store")).unwrap();
    let storage = Storage::serve(&bench.path("store")).unwrap();
    fs::copy(bench.path("aside"), bench.path("store/tool-1.0.bundle")).unwrap();
    fs::copy(bench.path("tool-1.0"), bench.path("store/tool-1.0")).unwrap();
    let of = format!("{}/tool-1.0 --version 1.0", storage.url);
    let kept = kept(&bench, "tool-1.0");
    bench.ok(&format!("get {of} --output t --no-cache"));
    assert!(!kept.exists());
    bench.ok(&format!("get {of} --output t"));
    assert!(kept.exists());
    assert!(bench.ok("verify t").contains("released as tool-1.0\n"));
    fs::remove_file(&kept).unwrap();
    bench.ok(&format!("run {of} --with cat --no-cache"));
    assert!(!kept.exists());
    bench.ok(&format!("run {of} --with cat"));
    assert!(kept.exists());

    // A file is where the directory should be.
    fs::remove_dir_all(bench.path("bundles")).unwrap();
    fs::write(bench.path("bundles"), "").unwrap();
    fs::copy(bench.path("aside"), bench.path("tool-1.0.bundle")).unwrap();
    let all = [
        "verify tool-1.0 tool-1.0".to_owned(),
        format!("get {of} --output t"),
        format!("run {of} --with cat"),
    ];
    for args in &all {
        let said = bench.client(args);
        assert_eq!(said.code, 0, "{args}: {}", said.err);
        let times = said
            .err
            .matches("warning: the bundle is not cached")
            .count();
        assert_eq!(times, 1, "{args}: {}", said.err);
    }
    let said = bench.client("verify tool-1.0 --no-cache");
    assert!(!said.err.contains("warning"), "{}", said.err);
}
