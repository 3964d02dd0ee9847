//! Releases with certificates, end to end, all real processes: an authority made by hand, a project
//! that lists it, a witness; what a thief of the issuer's key can do, who sees it, and what the
//! owner does about it. The issuer with platform tokens has tests of its own (`oidc.rs`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use countersign_tests::{Process, Said, binary, run};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const TOKENS: &str = "https://token.forge.example";
const OWN: &str = "https://forge.example/acme/tool/release.yml@refs/tags/1.0";
const REPOSITORY: &str = "1.3.6.1.4.1.57264.1.12=acme/tool";

struct Scene {
    dir: tempfile::TempDir,
    log: Option<Process>,
    _witness: Process,
    url: String,
}

impl Scene {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &str) -> Said {
        run(self.command("countersign", args)).unwrap()
    }

    fn command(&self, program: &str, args: &str) -> Command {
        command(self.dir.path(), program, args)
    }

    fn ok(&self, args: &str) -> String {
        let said = self.run(args);
        assert_eq!(said.code, 0, "{args}\n{}", said.err);
        String::from_utf8(said.out).unwrap()
    }

    fn refused(&self, code: i32, kind: &str, args: &str) -> String {
        let said = self.run(args);
        let err = said.err;
        assert!(
            err.contains(&format!("[{kind}]")),
            "{args}: want {kind}\n{err}"
        );
        assert_eq!(said.code, code, "{args}\n{err}");
        err
    }

    fn json(&self, args: &str) -> Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }

    /// A key with a certificate of the issuer in `ca`.
    fn certified(&self, key: &str, san: &str, more: &str) {
        let made = self.json(&format!("keys generate --unencrypted --out {key} --json"));
        let spki = made["spki"].as_str().unwrap();
        self.ok(&format!(
            "ca issue --san {san} --issuer {TOKENS} --key ca/issuer.key --public-key {spki} --out {key}.pem {more}"
        ));
    }

    fn publish(&self, version: &str, key: &str) -> String {
        let name = format!("tool-{version}");
        fs::write(self.path(&name), format!("the tool, {version}\n")).unwrap();
        format!(
            "publish {name} --project acme/tool --version {version} --key {key} --certificate {key}.pem"
        )
    }

    fn published(&self, version: &str) {
        let key = format!("key-{version}");
        self.certified(&key, OWN, &format!("--claim {REPOSITORY}"));
        self.ok(&self.publish(version, &key));
    }
}

fn command(dir: &std::path::Path, program: &str, args: &str) -> Command {
    let mut command = Command::new(binary(program).unwrap());
    command
        .args(args.split_whitespace().map(|a| a.replace('~', " ")))
        .env("COUNTERSIGN_STATE", dir.join("state.json"))
        .env("COUNTERSIGN_POLICY", dir.join("policy.toml"))
        .current_dir(dir);
    command
}

/// A log with a witness, an authority, and a project that lists it.
fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let at = |program: &str, args: &str| run(command(dir.path(), program, args)).unwrap();
    let ok = |program: &str, args: &str| {
        let said = at(program, args);
        assert_eq!(said.code, 0, "{args}\n{}", said.err);
        String::from_utf8(said.out).unwrap()
    };
    let vkeys = ok("countersign-server", "init --origin log.example --data log");
    let vkeys: Vec<&str> = vkeys.lines().collect();
    let witness = ok("countersign-witness", "init --data w --name w.example");
    ok(
        "countersign-witness",
        &format!("add-log --data w {}", vkeys.join(" ")),
    );
    let serve = "serve --data w --listen 127.0.0.1:0";
    let served = Process::start(command(dir.path(), "countersign-witness", serve)).unwrap();
    let policy = format!("witness W {} {}\nquorum W\n", witness.trim(), served.url);
    fs::write(dir.path().join("witnesses"), policy).unwrap();
    let serve = "serve --data log --listen 127.0.0.1:0 --admit open --witnesses witnesses";
    let log = Process::start(command(dir.path(), "countersign-server", serve)).unwrap();
    ok("countersign", "keys generate --unencrypted --out root");
    ok("countersign", "keys generate --unencrypted --out ca-root");
    ok(
        "countersign",
        "ca init --root-key ca-root --out ca --unencrypted --name acme~releases",
    );
    let authorities = format!(
        "[[authority]]\ncertificate = \"ca/root.pem\"\n[[authority.identity]]\nissuer = \"{TOKENS}\"\n\
         san = \"https://forge.example/acme/tool/*\"\nclaims = {{ \"1.3.6.1.4.1.57264.1.12\" = \"acme/tool\" }}\n"
    );
    fs::write(dir.path().join("authorities.toml"), authorities).unwrap();
    let vkeys: Vec<String> = vkeys.iter().map(|v| format!("--vkey {v}")).collect();
    ok(
        "countersign",
        &format!(
            "project init acme/tool --root-key root --authorities authorities.toml --purl-prefix pkg:generic/acme/tool \
             --contact mailto:security@acme.example --log {} --policy-out policy.toml --witnesses witnesses {}",
            log.url,
            vkeys.join(" ")
        ),
    );
    Scene {
        url: log.url.clone(),
        log: Some(log),
        _witness: served,
        dir,
    }
}

#[test]
fn a_release_with_a_certificate_is_verified_offline_and_others_are_refused() {
    let mut scene = scene();
    scene.published("1.0");
    // Somebody else's repository, another claim, no certificate, one that has ended.
    let others = OWN.replace("/tool/", "/other/");
    scene.certified("other", &others, &format!("--claim {REPOSITORY}"));
    let said = scene.refused(1, "other-identity", &scene.publish("1.1", "other"));
    assert!(
        said.contains("acme/other") && said.contains("acme/tool/*"),
        "{said}"
    );
    scene.certified("claimless", OWN, "");
    scene.refused(1, "other-identity", &scene.publish("1.1", "claimless"));
    scene.ok("keys generate --unencrypted --out bare");
    let bare = "publish tool-1.1 --project acme/tool --version 1.1 --key bare";
    scene.refused(1, "unauthorised-key", bare);
    scene.certified("short", OWN, &format!("--claim {REPOSITORY} --valid 1s"));
    std::thread::sleep(std::time::Duration::from_millis(2100));
    scene.refused(1, "certificate-time", &scene.publish("1.1", "short"));
    // The certificate of another key.
    let swapped =
        "publish tool-1.1 --project acme/tool --version 1.1 --key bare --certificate other.pem";
    scene.refused(2, "chain-of-another-key", swapped);
    // A root without the authority, and an authority without the log's witnesses.
    let no_witnesses = fs::read_to_string(scene.path("policy.toml")).unwrap();
    let from = no_witnesses.find("witness W").unwrap();
    let to = no_witnesses[from..].find("quorum W").unwrap() + from + "quorum W".len();
    let weak = format!(
        "{}quorum none{}",
        &no_witnesses[..from],
        &no_witnesses[to..]
    );
    fs::write(scene.path("weak.toml"), weak).unwrap();
    let weak = format!("{} --policy weak.toml", scene.publish("1.1", "key-1.0"));
    scene.refused(2, "no-witnesses", &weak);

    // Offline, with a memory of its own; and no other file.
    scene.log.take().unwrap().stop().unwrap();
    let verdict = scene.json("verify tool-1.0 --state fresh.json --json");
    assert_eq!(verdict["certified"]["san"], OWN, "{verdict}");
    assert_eq!(verdict["certified"]["issuer"], TOKENS);
    let said = scene.ok("verify tool-1.0 --state fresh.json");
    let who = format!("certified for {OWN}, attested by {TOKENS}");
    assert!(said.contains(&who), "{said}");
    fs::write(scene.path("tool-1.0"), "another\n").unwrap();
    scene.refused(1, "digest-mismatch", "verify tool-1.0 --state fresh.json");
}

#[test]
fn what_a_thief_of_the_issuer_s_key_releases_is_told_and_revoking_the_issuer_voids_it() {
    let scene = scene();
    fs::create_dir(scene.path("announced")).unwrap();
    let config = "api-version = \"countersign/v1\"\nstate = \"monitor\"\n[[sink]]\nname = \"lines\"\nfile = \"alerts.jsonl\"\n\
        [[log]]\npolicy = \"policy.toml\"\nevery = 1\nexpected = { bundles = \"announced\" }\n";
    fs::write(scene.path("monitor.toml"), config).unwrap();
    let once = || scene.run("monitor --once --config monitor.toml");
    scene.published("1.0");
    fs::copy(
        scene.path("tool-1.0.bundle"),
        scene.path("announced/tool-1.0.bundle"),
    )
    .unwrap();
    let said = once();
    assert_eq!(
        said.code,
        0,
        "{}\n{}",
        String::from_utf8_lossy(&said.out),
        said.err
    );

    // The thief has ca/issuer.key, and so any certificate that he likes.
    scene.certified("thief", OWN, &format!("--claim {REPOSITORY}"));
    scene.ok(&scene.publish("6.6.6", "thief"));
    let said = once();
    let out = String::from_utf8_lossy(&said.out).into_owned();
    assert_ne!(said.code, 0, "{out}");
    let lines = fs::read_to_string(scene.path("alerts.jsonl")).unwrap();
    assert!(
        lines.contains("unexpected-release") && lines.contains("6.6.6"),
        "{lines}"
    );
    assert!(
        lines.contains(OWN) && lines.contains(TOKENS),
        "whom it was certified for: {lines}"
    );

    // The inventory names the issuer that the project never listed, since it was used.
    let listed = scene.json("keys list --project acme/tool --json");
    let rows = listed["authorities"].as_array().unwrap();
    let of = |purpose: &str, state: &str| {
        let mut found = rows
            .iter()
            .filter(|r| r["purpose"] == purpose && r["state"] == state);
        let one = found.next().unwrap();
        assert!(found.next().is_none());
        one["id"].as_str().unwrap().to_owned()
    };
    let (anchor, issuer) = (of("authority", "in force"), of("authority", "below"));
    let identity = of("identity", "in force");
    scene.ok(&format!("keys show {identity} --project acme/tool"));

    // The release before the theft stays, the thief's is void; a new issuer goes on.
    let thief = scene.json("releases acme/tool --json");
    let index = &thief["releases"][1]["index"];
    let revoke = format!(
        "keys revoke {issuer} --project acme/tool --compromised-since {index} --reason stolen --key root --yes"
    );
    scene.ok(&revoke);
    let releases = scene.json("releases acme/tool --json");
    let standing = |i: usize| releases["releases"][i]["standing"].clone();
    assert_eq!((standing(0), standing(1)), ("stands".into(), "void".into()));
    assert_eq!(releases["releases"][1]["by"], issuer.as_str());
    scene.ok("verify tool-1.0 --online");
    scene.refused(1, "void", "verify tool-6.6.6 --online");
    scene.refused(1, "authority-revoked", &scene.publish("6.6.7", "thief"));
    scene.ok("ca rotate --root-key ca-root --ca ca --unencrypted");
    scene.published("1.1");
    scene.ok("verify tool-1.1 --state fresh.json");

    // And what the owner's whole history says is what an auditor reads too.
    let audit = format!(
        "audit --log {} --policy policy.toml --state audit --json",
        scene.url
    );
    let audit = scene.json(&audit);
    assert_eq!(audit["verdict"], "sound", "{audit}");

    // The root itself: then nothing under it counts any more.
    let all = format!(
        "keys revoke {anchor} --project acme/tool --compromised-since 1 --reason stolen --key root --yes"
    );
    scene.ok(&all);
    scene.refused(1, "void", "verify tool-1.1 --online");
    let found = scene.run("keys audit --project acme/tool");
    assert!(String::from_utf8_lossy(&found.out).contains("revoked-and-listed"));
}

#[test]
fn a_project_goes_from_keys_to_certificates_and_back() {
    let scene = scene();
    scene.published("1.0");
    let key = scene.json("keys generate --unencrypted --out release --json");
    let said = scene.run("project update acme/tool --add-release-key release --key root --yes");
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("- authority"), "{}", said.err);
    assert!(
        said.err.contains(key["id"].as_str().unwrap()),
        "{}",
        said.err
    );
    scene.certified("late", OWN, &format!("--claim {REPOSITORY}"));
    scene.refused(1, "unwanted-certificate", &scene.publish("1.1", "late"));
    scene.ok("publish tool-1.1 --project acme/tool --version 1.1 --key release");
    scene.ok("project update acme/tool --authorities authorities.toml --key root --yes");
    scene.refused(
        1,
        "unauthorised-key",
        "publish tool-1.1 --project acme/tool --version 1.2 --key release",
    );
    scene.published("1.2");
    for version in ["1.0", "1.1", "1.2"] {
        scene.ok(&format!(
            "verify tool-{version} --online --state fresh.json"
        ));
    }
}

#[test]
fn an_authority_is_founded_once_shown_and_rotated() {
    let scene = scene();
    scene.refused(
        2,
        "exists",
        "ca init --root-key ca-root --out ca --unencrypted",
    );
    scene.refused(
        2,
        "other-root",
        "ca rotate --root-key root --ca ca --unencrypted",
    );
    scene.certified("one", OWN, "");
    let shown = scene.json("ca show one.pem --authority ca/root.pem --json");
    assert_eq!(shown["certificates"][0]["san"], OWN);
    let path = scene.json("ca show ca --json");
    let before = path["certificates"][1]["id"].as_str().unwrap().to_owned();
    scene.ok("ca rotate --root-key ca-root --ca ca --unencrypted");
    let after = scene.json("ca show ca --json");
    assert_ne!(after["certificates"][1]["id"], before.as_str());
    assert_eq!(after["certificates"][0], path["certificates"][0]);
    let kept = format!("ca/issuer-{before:.16}");
    for end in ["pem", "key"] {
        assert!(scene.path(&format!("{kept}.{end}")).exists());
    }
    // What the old one issued is as valid as before; after its end it is not.
    scene.ok("ca show one.pem --authority ca/root.pem");
    scene.refused(
        1,
        "certificate-time",
        "ca show one.pem --authority ca/root.pem --at 2099-01-01T00:00:00Z",
    );
    scene.ok("keys generate --unencrypted --out other-root");
    scene.ok("ca init --root-key other-root --out other --unencrypted");
    let said = scene.run("ca show one.pem --authority other/root.pem");
    assert_eq!(said.code, 1, "{}", said.err);
    // Names that are none of the profile are refused, and nothing is written.
    let made = scene.json("keys generate --unencrypted --out two --json");
    let spki = made["spki"].as_str().unwrap();
    for (san, issuer, kind) in [
        ("no-name", TOKENS, "certificate-name"),
        ("https://a.example/x~y", TOKENS, "certificate-name"),
        ("https://a.example/x", "token~x", "certificate-claim"),
    ] {
        let args = format!(
            "ca issue --san {san} --issuer {issuer} --key ca/issuer.key --public-key {spki} --out two.pem"
        );
        scene.refused(2, kind, &args);
        assert!(!scene.path("two.pem").exists());
    }
}
