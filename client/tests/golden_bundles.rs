//! The golden log's bundles and their verdicts;
//! and each bundle's attacks, made from a genuine one by a single change.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use countersign::memory::{Memory, SeenCheckpoint, SeenHead, SeenRelease, release_key};
use countersign::policy::Policy;
use countersign::verify::{Artifact, Refused, Verdict, Wanted, verify};
use ledger::bundle::Bundle;
use ledger::trust::TrustDocument;
use ledger::{json, sha256};
use serde_json::{Value, json};

/// After the golden log's last leaf.
const NOW: u64 = 1_790_001_000;

fn golden() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/vectors/countersign/golden-log.json"
    );
    serde_json::from_slice(&std::fs::read(path).expect("the vectors are in the repository"))
        .unwrap()
}

fn policy(golden: &Value) -> Policy {
    let document =
        TrustDocument::parse(golden["trust"]["canonical"].as_str().unwrap().as_bytes()).unwrap();
    Policy::from_trust(&document, None).unwrap()
}

struct Case {
    value: Value,
    policy: Policy,
    bytes: Vec<u8>,
    name: String,
    memory: Memory,
    version: Option<&'static str>,
    no_rollback: bool,
    now: u64,
}

fn case(golden: &Value, i: usize) -> Case {
    let c = &golden["bundles"][i];
    Case {
        value: c["bundle"].clone(),
        policy: policy(golden),
        bytes: c["artifact"].as_str().unwrap().as_bytes().to_vec(),
        name: c["name"].as_str().unwrap().to_owned(),
        memory: Memory::default(),
        version: None,
        no_rollback: false,
        now: NOW,
    }
}

impl Case {
    fn run(&self) -> Result<Verdict, Refused> {
        let bundle = Bundle::parse(&json::to_canonical(&self.value).unwrap()).unwrap();
        let artifact = Artifact {
            name: &self.name,
            sha256: sha256(&self.bytes),
            size: self.bytes.len() as u64,
        };
        let project = &self.policy.projects[0];
        let wanted = Wanted {
            project,
            version: self.version,
            no_rollback: self.no_rollback,
        };
        verify(
            &artifact,
            &wanted,
            &bundle,
            &self.policy,
            &self.memory,
            self.now,
        )
    }
    fn kind(&self) -> &'static str {
        self.run().map_or_else(|e| e.kind(), |_| "verified")
    }
}

fn genuine() -> Case {
    case(&golden(), 0)
}

#[test]
fn every_bundle_gets_its_verdict() {
    let golden = golden();
    let bundles = golden["bundles"].as_array().unwrap();
    assert_eq!(bundles.len(), 7);
    for (i, bundle) in bundles.iter().enumerate() {
        let want = bundle["verdict"].as_str().unwrap();
        let want = want.strip_prefix("refused: ").unwrap_or(want);
        let case = case(&golden, i);
        assert_eq!(case.kind(), want, "bundle {i}: {}", bundle["why"]);
        if let Ok(verdict) = case.run() {
            assert!(verdict.first_public.is_some() && verdict.view_time.is_some());
        }
    }
    let one = genuine().run().unwrap();
    assert_eq!(
        (one.version.as_str(), one.index, one.authorised_by),
        ("1.0.0", 3, (1, 0))
    );
    // By version 2, which a client follows from its pin of the first statement.
    let again = case(&golden, 4).run().unwrap();
    assert_eq!(
        (again.version.as_str(), again.index, again.authorised_by),
        ("1.1.0", 19, (2, 9))
    );
}

#[test]
fn another_artifact_of_the_same_release_is_refused() {
    let mut c = genuine();
    c.name = "uploader-macos".into();
    assert_eq!(c.kind(), "digest-mismatch");
    c.name = "uploader-windows".into();
    assert_eq!(c.kind(), "other-artifact");
}

#[test]
fn altered_bytes_are_refused() {
    let mut c = genuine();
    c.bytes[0] ^= 1;
    assert_eq!(c.kind(), "digest-mismatch");
}

#[test]
fn another_version_or_an_older_one_is_refused() {
    let golden = golden();
    let mut c = case(&golden, 0);
    c.version = Some("1.1.0");
    assert_eq!(c.kind(), "other-version");
    c.version = Some("1.0.0");
    assert_eq!(c.kind(), "verified");
    // 1.1.0 was seen; then a thief serves 1.0.0 with its genuine bundle.
    let newer = case(&golden, 2).run().unwrap();
    c.memory.learn("log.example", &newer.proven);
    c.version = None;
    c.no_rollback = true;
    assert_eq!(c.kind(), "rollback");
    c.version = Some("1.0.0");
    assert_eq!(c.kind(), "verified", "asked for by name");
    c.version = None;
    c.memory = Memory::default();
    c.policy.projects[0].min_index = Some(4);
    assert_eq!(
        c.kind(),
        "rollback",
        "a policy's floor binds a machine without memory"
    );
}

#[test]
fn surplus_missing_or_swapped_hashes_are_refused() {
    let zero = json!("0".repeat(64));
    for (path, kind) in [
        ("/entry/proof", "not-included"),
        ("/head/proof", "bad-ledger-head"),
        ("/projects/0/proof", "not-included"),
    ] {
        let mut c = genuine();
        c.value
            .pointer_mut(path)
            .unwrap()
            .as_array_mut()
            .unwrap()
            .push(zero.clone());
        assert_eq!(c.kind(), kind, "surplus at {path}");
        let mut c = genuine();
        c.value
            .pointer_mut(path)
            .unwrap()
            .as_array_mut()
            .unwrap()
            .pop();
        assert_eq!(c.kind(), kind, "missing at {path}");
        let mut c = genuine();
        c.value.pointer_mut(path).unwrap()[0] = zero.clone();
        assert_eq!(c.kind(), kind, "changed at {path}");
    }
}

#[test]
fn another_index_or_another_files_proof_is_refused() {
    let mut c = genuine();
    c.value["entry"]["index"] = json!(2);
    assert_eq!(c.kind(), "not-included");
    let mut c = genuine();
    c.value["entry"]["index"] = json!(5);
    assert_eq!(c.kind(), "not-included");
    let other = case(&golden(), 2);
    let mut c = genuine();
    c.value["entry"]["proof"] = other.value["entry"]["proof"].clone();
    assert_eq!(c.kind(), "not-included");
    // Another tree size under the same signatures.
    let mut c = genuine();
    c.value["first"] = json!(
        c.value["first"]
            .as_str()
            .unwrap()
            .replacen("\n5\n", "\n6\n", 1)
    );
    assert_eq!(c.kind(), "checkpoint-invalid");
}

#[test]
fn a_head_that_is_not_the_last_leaf_is_refused() {
    // The ledger head of an earlier batch, with its own genuine inclusion proof, would hide
    // what came since. Here: the entry's own leaf in its place.
    let mut c = genuine();
    c.value["head"]["leaf"] = c.value["entry"]["leaf"].clone();
    c.value["head"]["proof"] = c.value["entry"]["proof"].clone();
    assert_eq!(c.kind(), "bad-ledger-head");
}

#[test]
fn another_state_document_or_a_swapped_sibling_is_refused() {
    let mut c = case(&golden(), 2);
    c.value["head"]["state"]["leaves"]["size"] = json!(99);
    assert_eq!(c.kind(), "bad-map-proof");
    let mut c = case(&golden(), 2);
    c.value["head"]["map"]["siblings"][0] = json!("0".repeat(64));
    assert_eq!(c.kind(), "bad-map-proof");
    let mut c = case(&golden(), 2);
    c.value["head"]["map"]["siblings"]
        .as_array_mut()
        .unwrap()
        .push(json!("0".repeat(64)));
    assert_eq!(c.kind(), "bad-map-proof");
    let mut c = genuine();
    c.value["head"]["withdrawn"] = json!({});
    assert_eq!(c.kind(), "bad-withdrawal-proof");
}

#[test]
fn every_log_key_and_the_quorum_must_have_signed() {
    let without = |c: &mut Case, nth: usize| {
        let note = c.value["first"].as_str().unwrap();
        let mut lines: Vec<&str> = note.split_inclusive('\n').collect();
        lines.remove(4 + nth);
        c.value["first"] = json!(lines.concat());
    };
    for (nth, kind) in [
        (0, "log-key-missing"),
        (1, "log-key-missing"),
        (2, "quorum-not-met"),
        (3, "quorum-not-met"),
    ] {
        let mut c = genuine();
        without(&mut c, nth);
        assert_eq!(c.kind(), kind, "signature line {nth} left out");
        let said = c.run().unwrap_err().to_string();
        match nth {
            2 => assert!(said.contains("cosigned by W2, not by W1"), "{said}"),
            3 => assert!(said.contains("cosigned by W1, not by W2"), "{said}"),
            _ => {}
        }
    }
}

#[test]
fn cosignatures_from_the_future_do_not_count() {
    let public = genuine().run().unwrap().first_public.unwrap();
    let mut c = genuine();
    c.now = public - 301;
    assert_eq!(c.kind(), "quorum-not-met");
    let said = c.run().unwrap_err().to_string();
    assert!(said.contains("cosigned by W1, not by W2"), "{said}");
    c.now = public - 300;
    assert_eq!(c.kind(), "verified");
}

#[test]
fn min_age_and_max_age_bind() {
    let verdict = genuine().run().unwrap();
    let (public, view) = (verdict.first_public.unwrap(), verdict.view_time.unwrap());
    assert!(public >= view);
    let mut c = genuine();
    c.policy.min_age = Some(86_400);
    c.now = public + 86_399;
    assert_eq!(c.kind(), "time");
    c.now = public + 86_400;
    assert_eq!(c.kind(), "verified");
    let mut c = genuine();
    c.policy.max_age = Some(3600);
    c.now = view + 3600;
    assert_eq!(c.kind(), "verified");
    c.now = view + 3601;
    assert_eq!(c.kind(), "time");
    // A project's own ages stand in the place of the policy's.
    let mut own = genuine();
    (own.policy.min_age, own.policy.max_age) = (Some(86_400), Some(3600));
    own.policy.projects[0].min_age = Some(100);
    own.policy.projects[0].max_age = Some(7200);
    for (now, kind) in [
        (public + 99, "time"),
        (public + 100, "verified"),
        (view + 7200, "verified"),
        (view + 7201, "time"),
    ] {
        own.now = now;
        assert_eq!(own.kind(), kind, "at {now}");
    }
    // A clock that was set back: what witnesses proved before is the time at least.
    c.now = view + 10;
    let seen = SeenCheckpoint {
        checkpoint: String::new(),
        size: 99,
        root: "0".repeat(64),
        view_time: view + 7200,
    };
    c.memory.logs.insert("log.example".into(), seen);
    assert_eq!(c.kind(), "time");
}

#[test]
fn a_fork_is_named() {
    let mut c = genuine();
    let seen = SeenCheckpoint {
        checkpoint: String::new(),
        size: 5,
        root: "0".repeat(64),
        view_time: 0,
    };
    c.memory.logs.insert("log.example".into(), seen);
    assert_eq!(c.kind(), "fork");
}

#[test]
fn remembered_revocations_ends_of_life_and_withdrawals_bind_an_older_view() {
    let base = genuine().run().unwrap();
    let id = hex::encode(base.proven.project);
    let remember = |change: &dyn Fn(&mut ledger::state::StateDocument)| {
        let mut c = genuine();
        let mut state = base.proven.head.state.clone();
        change(&mut state);
        c.memory
            .projects
            .insert(id.clone(), SeenHead { size: 25, state });
        c.kind()
    };
    assert_eq!(remember(&|_| {}), "verified");
    let key = base.keys[0];
    let revoked = |index, since| {
        move |s: &mut ledger::state::StateDocument| {
            s.revoked.push(ledger::state::Revoked {
                index,
                since,
                statement: [1; 32],
                target: format!("key:{key}"),
            });
        }
    };
    assert_eq!(
        remember(&revoked(15, None)),
        "verified",
        "the good past stays valid"
    );
    assert_eq!(remember(&revoked(15, Some(3))), "void");
    assert_eq!(remember(&revoked(3, None)), "void");
    let end = |s: &mut ledger::state::StateDocument| {
        let prefix = "pkg:generic/acme/uploader".to_owned();
        s.end_of_life.push(ledger::state::EndOfLife {
            prefix,
            statement: [1; 32],
        });
    };
    assert_eq!(remember(&end), "withdrawn");
    // An end of life may turn out void, and then a newer head does not have it.
    let mut c = genuine();
    let mut state = base.proven.head.state.clone();
    end(&mut state);
    c.memory
        .projects
        .insert(id.clone(), SeenHead { size: 4, state });
    assert_eq!(c.kind(), "verified");
    assert_eq!(remember(&|s| s.withdrawn = [1; 32]), "needs-refresh");
}

#[test]
fn a_policy_pins_the_log_and_the_project() {
    let mut c = genuine();
    c.policy.projects[0].id = [7; 32];
    assert_eq!(c.kind(), "bad-map-proof");
    let mut c = genuine();
    c.policy.log.origin = "other.example".into();
    assert_eq!(c.kind(), "other-log");
}

#[test]
fn bad_policies_are_errors_not_weaker_policies() {
    let good = genuine().policy.to_toml().unwrap();
    assert!(Policy::parse_toml(&good).is_ok());
    let kind = |text: &str| Policy::parse_toml(text).map_or_else(|e| e.kind(), |_| "good");
    assert_eq!(
        kind(&good.replace("countersign/v1", "countersign/v2")),
        "policy-version"
    );
    assert_eq!(
        kind(&good.replace("log.example+745ecd96", "log.example+745ecd97")),
        "policy-log-key"
    );
    assert_eq!(
        kind(&good.replace("w1.example+fc3197ab", "w1.example+fc3197ac")),
        "policy-witnesses"
    );
    assert_eq!(
        kind(&good.replace("quorum both", "quorum nobody")),
        "policy-witnesses"
    );
    assert_eq!(
        kind(&format!(
            "min-age = 5\n{}",
            good.replace("quorum both", "quorum none")
        )),
        "policy-age-without-quorum"
    );
    assert_eq!(kind(&format!("verify = false\n{good}")), "policy-malformed");
    let vkeys = &genuine().policy.log.vkeys;
    let twice = good.replace(&vkeys[1].to_string(), &vkeys[0].to_string());
    assert_eq!(kind(&twice), "policy-repeated-key");
}

#[test]
fn memory_never_goes_back() {
    let golden = golden();
    let (old, new) = (
        case(&golden, 0).run().unwrap(),
        case(&golden, 2).run().unwrap(),
    );
    let mut memory = Memory::default();
    memory.learn("log.example", &new.proven);
    let before = memory.clone();
    memory.learn("log.example", &old.proven);
    assert_eq!(memory, before);
    let key = release_key(&old.proven.project, "uploader-linux");
    assert_eq!(
        memory.releases[&key],
        SeenRelease {
            index: 7,
            version: "1.1.0".into()
        }
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b/state.json");
    memory.save(&path).unwrap();
    let loaded = Memory::load(&path).unwrap();
    assert_eq!(
        (&loaded.logs, &loaded.projects, &loaded.releases),
        (&memory.logs, &memory.projects, &memory.releases)
    );
    std::fs::write(&path, b"{}").unwrap();
    assert!(
        Memory::load(&path).is_err(),
        "a broken memory is an error, never an empty one"
    );
}

#[test]
fn two_processes_do_not_set_the_memory_back() {
    let golden = golden();
    let (old, new) = (
        case(&golden, 0).run().unwrap(),
        case(&golden, 2).run().unwrap(),
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/state.json");
    // Both load before either saves; the one that saw less is the later to save.
    let (mut slow, mut fast) = (Memory::load(&path).unwrap(), Memory::load(&path).unwrap());
    assert!(
        fast.learn_judged(&path, "log.example", &new.proven)
            .unwrap()
    );
    let both = Memory::load(&path).unwrap();
    assert!(
        !slow
            .learn_judged(&path, "log.example", &old.proven)
            .unwrap()
    );
    assert!(
        slow.learn_judged(&path, "log.example", &old.proven)
            .unwrap()
    );
    let after = Memory::load(&path).unwrap();
    assert_eq!(
        after.logs["log.example"].size,
        both.logs["log.example"].size
    );
    assert_eq!(after.projects, both.projects);
    assert_eq!(slow, after);
}
