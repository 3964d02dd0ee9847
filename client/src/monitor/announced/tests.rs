#![allow(clippy::unwrap_used)]
use super::*;
use keys::{SecretKey, Signer};
use ledger::envelope::Envelope;
use ledger::statement::{Statement, Subject, release_payload};
use std::path::Path;

/// A release of a version.
fn release(version: &str) -> StatementLeaf {
    let key = SecretKey::generate().unwrap();
    let subject = Subject {
        name: "tool".into(),
        sha256: [7; 32],
        size: Some(3),
        digests: std::collections::BTreeMap::new(),
        download_location: None,
    };
    let purl = format!("pkg:generic/acme/tool@{version}");
    let payload = release_payload(&[1; 32], &purl, &[subject], None).unwrap();
    let envelope = Envelope::sign(payload, &[&key as &dyn Signer]).unwrap();
    let statement = Statement::parse(&envelope.payload).unwrap();
    StatementLeaf {
        envelope,
        statement,
        time: 5,
    }
}

fn ask(announced: &mut Announced, leaf: &StatementLeaf) -> Answer {
    let (origin, project, id) = ("log.example", "acme/tool", &[1; 32]);
    announced.ask(&Said {
        origin,
        project,
        id,
        index: 9,
        leaf,
    })
}

fn from(config: &str) -> Announced {
    let text = format!(
        "api-version = \"countersign/v1\"\nstate = \"s\"\n[[log]]\npolicy = \"p\"\nexpected = {{ {config} }}\n"
    );
    let config = config::Config::parse(&text, Path::new("/")).unwrap();
    Announced::new(&config.logs.first().unwrap().expected)
}

#[test]
fn nothing_is_expected_where_nothing_announces() {
    let mut none = Announced::new(&config::Announced::default());
    assert!(none.begin().is_empty());
    assert_eq!(ask(&mut none, &release("1.0")), Answer::Unexpected(None));
}

#[test]
fn a_directory_announces_what_lies_in_it_and_no_link_leads_out() {
    let dir = tempfile::tempdir().unwrap();
    let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
    std::fs::create_dir(&inside).unwrap();
    std::fs::create_dir(&outside).unwrap();
    let mut announced = from(&format!("bundles = {:?}", inside.display().to_string()));
    let write = |path: &Path, leaf: &StatementLeaf, signed: bool| {
        let mut envelope = leaf.envelope.clone();
        if !signed {
            envelope.signatures.clear();
        }
        let bytes = ledger::json::to_canonical(&envelope.to_json()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let (one, two, three) = (release("1"), release("2"), release("3"));
    write(&inside.join("one.json"), &one, true);
    // Prepared, and signed by nobody yet.
    write(&inside.join("two.json"), &two, false);
    write(&outside.join("three.json"), &three, true);
    std::fs::write(inside.join("README"), "not of it").unwrap();
    #[cfg(unix)]
    {
        let link = |to: &Path, from: &Path| std::os::unix::fs::symlink(to, from);
        link(&outside.join("three.json"), &inside.join("three.json")).unwrap();
        link(Path::new("/dev/zero"), &inside.join("zero.json")).unwrap();
        let fifo = std::process::Command::new("mkfifo")
            .arg(inside.join("fifo.json"))
            .status();
        assert!(fifo.unwrap().success());
    }
    assert!(announced.begin().is_empty());
    for known in [&one, &two] {
        assert_eq!(ask(&mut announced, known), Answer::Expected("bundles"));
    }
    assert_eq!(ask(&mut announced, &three), Answer::Unexpected(None));

    // A broken file is said, as long as it is there, and stops nothing.
    std::fs::write(inside.join("broken.json"), "{").unwrap();
    write(&inside.join("new.json"), &three, true);
    std::fs::remove_file(inside.join("one.json")).unwrap();
    for _ in 0..2 {
        let said = announced.begin();
        let kinds: Vec<_> = said.iter().map(|f| (f.class, f.kind.as_str())).collect();
        assert_eq!(kinds, [(Class::Operational, "announcement-broken")]);
    }
    assert_eq!(ask(&mut announced, &three), Answer::Expected("bundles"));
    assert_eq!(ask(&mut announced, &one), Answer::Unexpected(None));
    // Without the directory what was announced stays so.
    std::fs::rename(&inside, dir.path().join("moved")).unwrap();
    let said = announced.begin();
    assert!(said.iter().any(|f| f.kind == "announcements-unreadable"));
    assert_eq!(ask(&mut announced, &two), Answer::Expected("bundles"));
}

#[test]
#[cfg(unix)]
fn a_command_is_asked_with_the_statement_and_anything_but_yes_and_no_is_neither() {
    let dir = tempfile::tempdir().unwrap();
    let seen = dir.path().join("seen").display().to_string();
    let shell = |script: &str| from(&format!("command = [\"sh\", \"-c\", {script:?}]"));
    let leaf = release("1.0");
    let mut yes = shell(&format!("cat > {seen}"));
    assert_eq!(ask(&mut yes, &leaf), Answer::Expected("command"));
    let text = std::fs::read_to_string(&seen).unwrap();
    let asked: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(asked.get("version").unwrap(), "1.0");
    let pae = hex32(&leaf.envelope.pae_hash());
    assert_eq!(asked.get("statement").unwrap(), &pae);
    assert_eq!(ask(&mut shell("exit 1"), &leaf), Answer::Unexpected(None));
    for script in ["exit 2", "kill -9 $$"] {
        let mut broken = shell(script);
        let Answer::Unclear(finding) = ask(&mut broken, &leaf) else {
            panic!("{script}");
        };
        assert_eq!(
            (finding.class, finding.kind.as_str()),
            (Class::Operational, "approval-command")
        );
    }
    let mut none = from("command = [\"/nowhere/at-all\"]");
    assert!(matches!(ask(&mut none, &leaf), Answer::Unclear(_)));
    // What fails is not asked again before the next poll.
    let count = dir.path().join("count").display().to_string();
    let mut failing = shell(&format!("echo x >> {count}; exit 3"));
    for _ in 0..3 {
        assert!(matches!(ask(&mut failing, &leaf), Answer::Unclear(_)));
    }
    failing.begin();
    ask(&mut failing, &leaf);
    assert_eq!(std::fs::read_to_string(&count).unwrap(), "x\nx\n");
    // Nor is one that takes its time asked about everything at once.
    let mut slow = shell("exit 0");
    slow.asked = IN_ALL;
    let Answer::Unclear(finding) = ask(&mut slow, &leaf) else {
        panic!("asked for ever");
    };
    assert!(finding.message.contains("later"));
    slow.begin();
    assert_eq!(ask(&mut slow, &leaf), Answer::Expected("command"));
}

/// A clone, a key that may sign, and one that may not.
#[cfg(unix)]
fn repository(dir: &Path) -> impl Fn(&[&str]) {
    let repo = dir.join("repo");
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(dir);
        for (name, value) in [("AUTHOR", "a"), ("COMMITTER", "c")] {
            command.env(format!("GIT_{name}_NAME"), value);
            command.env(format!("GIT_{name}_EMAIL"), "x@acme.example");
        }
        command.env("GIT_CONFIG_GLOBAL", "/dev/null");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?} {output:?}");
    };
    for key in ["good", "bad"] {
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", key]);
    }
    let public = std::fs::read_to_string(dir.join("good.pub")).unwrap();
    std::fs::write(dir.join("signers"), format!("x@acme.example {public}")).unwrap();
    run("git", &["init", "-q", "repo"]);
    let at = repo.display().to_string();
    move |arguments: &[&str]| {
        let mut all = vec!["-C", &at, "-c", "gpg.format=ssh"];
        all.extend(arguments);
        run_in(&all);
    }
}

#[cfg(unix)]
fn run_in(arguments: &[&str]) {
    let mut command = Command::new("git");
    command
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    for name in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{name}_NAME"), "a");
        command.env(format!("GIT_{name}_EMAIL"), "x@acme.example");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?} {output:?}");
}

#[test]
#[cfg(unix)]
fn a_signed_tag_announces_its_version_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let git = repository(dir.path());
    let key = |name: &str| format!("user.signingKey={}", dir.path().join(name).display());
    let (good, bad) = (key("good"), key("bad"));
    git(&["commit", "-q", "--allow-empty", "-m", "x"]);
    git(&["-c", &good, "tag", "-s", "-m", "one", "v1.0"]);
    git(&["-c", &bad, "tag", "-s", "-m", "by another", "v1.1"]);
    git(&["tag", "-a", "-m", "unsigned", "v1.2"]);
    git(&["tag", "v1.3"]);
    // The signed tag of 1.0, under the name of another version.
    git(&["update-ref", "refs/tags/v1.4", "refs/tags/v1.0"]);
    // What the repository's own configuration would have run.
    let evil = dir.path().join("evil");
    let ran = dir.path().join("ran");
    std::fs::write(
        &evil,
        format!("#!/bin/sh\ntouch {}\nexit 0\n", ran.display()),
    )
    .unwrap();
    std::fs::set_permissions(&evil, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for name in [
        "gpg.ssh.program",
        "gpg.program",
        "core.fsmonitor",
        "core.pager",
        "gpg.ssh.defaultKeyCommand",
    ] {
        git(&["config", name, &evil.display().to_string()]);
    }
    let repo = dir.path().join("repo").display().to_string();
    let signers = dir.path().join("signers").display().to_string();
    let mut announced = from(&format!(
        "tags = {{ repository = {repo:?}, allowed-signers = {signers:?} }}"
    ));
    assert_eq!(
        ask(&mut announced, &release("1.0")),
        Answer::Expected("tags")
    );
    for version in [
        "1.1", "1.2", "1.3", "1.4", "9.9", "1.0.lock", "..", "1~1", "1%2F1",
    ] {
        let said = ask(&mut announced, &release(version));
        assert!(
            matches!(said, Answer::Unexpected(Some(_))),
            "{version}: {said:?}"
        );
    }
    assert!(!ran.exists());
    let nowhere = dir.path().display().to_string();
    let mut none = from(&format!("tags = {{ repository = {nowhere:?} }}"));
    let Answer::Unclear(finding) = ask(&mut none, &release("1.0")) else {
        panic!("no repository");
    };
    assert_eq!(finding.kind, "tags-unreadable");
}
