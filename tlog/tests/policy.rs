//! Policies: the specification's example, policies in use, each rule with a policy that breaks
//! it, and the quorum's times against their definition.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod notes_support;

use std::collections::BTreeMap;

use notes_support::*;
use proptest::prelude::*;
use tlog::policy::{Policy, PolicyError};
use tlog::vkey::VerifierKey;

/// `witness` lines for these names, each with a key of its own.
fn witnesses(names: &[&str]) -> String {
    let line = |(seed, name): (u8, &&str)| {
        let key = witness(&format!("{name}.example"), seed);
        format!("witness {name} {key}\n")
    };
    (1..).zip(names).map(line).collect()
}

fn kind(policy: &str) -> &'static str {
    Policy::parse(policy).unwrap_err().kind()
}

fn met(policy: &Policy, cosigned: &[&str]) -> bool {
    policy.met(&|name| cosigned.contains(&name))
}

#[test]
fn the_specifications_example() {
    let text = format!(
        "log {}\n\n{}group X-witnesses 2 X1 X2 X3\n\n\
         group Y-witnesses any Y1 Y2 Y3\n\n\
         group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n",
        ed25519("log.example", 9),
        witnesses(&["X1", "X2", "X3", "Y1", "Y2", "Y3"]),
    );
    let policy = Policy::parse(&text).unwrap();
    assert_eq!(policy.logs().len(), 1);
    assert_eq!(policy.logs()[0].key.name(), "log.example");
    assert_eq!(policy.witnesses().len(), 6);
    assert!(!policy.quorum_none());
    assert!(met(&policy, &["X1", "X3", "Y2"]));
    assert!(met(&policy, &["X1", "X2", "X3", "Y1", "Y2", "Y3"]));
    assert!(!met(&policy, &["X1", "X2", "X3"]));
    assert!(!met(&policy, &["X1", "Y1", "Y2", "Y3"]));
    assert!(!met(&policy, &[]));
    assert!(!met(&policy, &["X-witnesses", "Y-witnesses", "X-and-Y"]));
}

#[test]
fn unmet_quorum_has_no_time() {
    let text = witnesses(&["a", "b", "c"]) + "group g 2 a b c\nquorum g\n";
    let policy = Policy::parse(&text).unwrap();
    let only_b = |name: &str| (name == "b").then_some(5);
    assert!(!policy.met(&|name| only_b(name).is_some()));
    assert_eq!(policy.kth_smallest(&only_b), None);
    assert_eq!(policy.kth_largest(&only_b), None);
    let two = |name: &str| match name {
        "a" => Some(7),
        "c" => Some(3),
        _ => None,
    };
    assert_eq!(policy.kth_smallest(&two), Some(7));
    assert_eq!(policy.kth_largest(&two), Some(3));
    let three = |name: &str| two(name).or(Some(4));
    assert_eq!(policy.kth_smallest(&three), Some(4));
    assert_eq!(policy.kth_largest(&three), Some(4));
}

#[test]
fn a_single_witness_may_be_the_quorum() {
    let policy = Policy::parse(&(witnesses(&["a", "b"]) + "quorum b\n")).unwrap();
    assert!(met(&policy, &["b"]));
    assert!(!met(&policy, &["a"]));
    assert_eq!(
        policy.kth_largest(&|name| (name == "b").then_some(6)),
        Some(6)
    );
}

#[test]
fn quorum_none_is_met_by_nobody_and_has_no_time() {
    let policy = Policy::parse("quorum none\n").unwrap();
    assert!(policy.quorum_none());
    assert!(met(&policy, &[]));
    assert_eq!(policy.kth_smallest(&|_| Some(1)), None);
    assert_eq!(policy.kth_largest(&|_| Some(1)), None);
}

#[test]
fn layout_comments_and_urls() {
    let key = witness("w.example", 1);
    let log = p256("log.example", 2);
    let text = format!(
        "# a comment\n \t # another\n\t\nlog\t{log}  https://log.example/ \n\
         \twitness \t w {key}\thttps://w.example/ws \n group g 1  w\t\nquorum g # \n"
    );
    // A comment is a line of its own, never the end of one.
    assert_eq!(kind(&text), "policy-items");
    let text = text.replace("g # ", "g");
    let policy = Policy::parse(&text).unwrap();
    assert_eq!(
        policy.logs()[0].url.as_deref(),
        Some("https://log.example/")
    );
    let [witness] = policy.witnesses() else {
        panic!("{policy:?}");
    };
    assert_eq!(witness.name, "w");
    assert_eq!(witness.key, key);
    assert_eq!(witness.url.as_deref(), Some("https://w.example/ws"));
    assert_eq!(Policy::parse(text.trim_end()), Ok(policy));
}

#[test]
fn space_is_space_and_tab_only() {
    let text = witnesses(&["a"]);
    assert_eq!(
        kind(&format!("{text}quorum\u{a0}a\n")),
        "policy-unknown-keyword"
    );
    assert_eq!(
        kind(&format!("{text}quorum a\u{a0}\n")),
        "policy-undefined-name"
    );
    // The Kelvin sign is no K.
    let kelvin = witnesses(&["K"]) + "quorum \u{212a}\n";
    assert_eq!(kind(&kelvin), "policy-undefined-name");
    assert!(Policy::parse(&(witnesses(&["\u{212a}"]) + "quorum \u{212a}\n")).is_ok());
}

#[test]
fn control_characters_are_refused() {
    for bad in ["\r", "\u{0}", "\u{b}", "\u{1f}", "\u{7f}"] {
        let text = format!("# {bad}\nquorum none\n");
        assert_eq!(kind(&text), "policy-control-character", "{bad:?}");
    }
    assert_eq!(kind("quorum none\r\n"), "policy-control-character");
    assert!(Policy::parse("# \u{85}\nquorum none\n").is_ok());
}

#[test]
fn forward_reference_is_refused() {
    let text = format!("group g any a\n{}quorum g\n", witnesses(&["a"]));
    assert_eq!(
        Policy::parse(&text),
        Err(PolicyError::UndefinedName {
            line: 1,
            name: "a".to_owned()
        })
    );
    let text = format!("quorum a\n{}", witnesses(&["a"]));
    assert_eq!(kind(&text), "policy-undefined-name");
    assert_eq!(kind("group g any g\nquorum g\n"), "policy-undefined-name");
    assert_eq!(
        kind("group g any none\nquorum g\n"),
        "policy-undefined-name"
    );
}

#[test]
fn unknown_keyword_is_refused() {
    for bad in [
        "Quorum none\n",
        "quorums none\n",
        "monitor x\n",
        "quorum none\nx\n",
        "log# x\n",
    ] {
        assert_eq!(kind(bad), "policy-unknown-keyword", "{bad:?}");
    }
}

#[test]
fn repeated_keys_are_refused_whatever_their_names() {
    let (a, b) = (witness("a.example", 1), witness("b.example", 1));
    let text = format!("witness a {a}\nwitness b {b}\nquorum a\n");
    assert_eq!(
        Policy::parse(&text),
        Err(PolicyError::DuplicateKey { line: 2, first: 1 })
    );
    // As an Ed25519 key and as a cosignature key it is the same public key.
    let text = format!(
        "log {}\nlog {}\nquorum none\n",
        ed25519("log.example", 1),
        witness("log.example", 1)
    );
    assert_eq!(kind(&text), "policy-duplicate-key");
    // Two keys of one log are two lines.
    let text = format!(
        "log {}\nlog {}\nquorum none\n",
        ed25519("log.example", 1),
        p256("log.example", 1)
    );
    assert_eq!(Policy::parse(&text).unwrap().logs().len(), 2);
}

#[test]
fn repeated_names_and_members_are_refused() {
    let base = witnesses(&["a", "b", "c"]);
    let repeated = format!("witness a {}\nquorum a\n", witness("z", 9));
    for (rest, expected) in [
        (repeated.as_str(), "policy-duplicate-name"),
        ("group a any b\nquorum a\n", "policy-duplicate-name"),
        ("group none any b\nquorum none\n", "policy-duplicate-name"),
        (
            "group g any a\ngroup g any b\nquorum g\n",
            "policy-duplicate-name",
        ),
        ("group g 2 a a\nquorum g\n", "policy-duplicate-member"),
        (
            "group g any a b\ngroup h any b c\nquorum g\n",
            "policy-duplicate-member",
        ),
        (
            "group g any a\ngroup h all g a\nquorum h\n",
            "policy-duplicate-member",
        ),
        (
            "group g any a\ngroup h all g g\nquorum h\n",
            "policy-duplicate-member",
        ),
        ("quorum a\nquorum a\n", "policy-duplicate-quorum"),
        ("quorum none\nquorum a\n", "policy-duplicate-quorum"),
        ("", "policy-no-quorum"),
    ] {
        assert_eq!(kind(&format!("{base}{rest}")), expected, "{rest}");
    }
    // A group's member may still be the quorum.
    assert!(Policy::parse(&(base + "group g any a\nquorum a\n")).is_ok());
}

#[test]
fn thresholds() {
    let base = witnesses(&["a", "b"]);
    for bad in [
        "0",
        "3",
        "01",
        "+1",
        "-1",
        "1.0",
        "All",
        "most",
        "18446744073709551617",
    ] {
        let text = format!("{base}group g {bad} a b\nquorum g\n");
        assert_eq!(kind(&text), "policy-threshold", "{bad}");
    }
    for (good, one_is_enough) in [("any", true), ("1", true), ("all", false), ("2", false)] {
        let text = format!("{base}group g {good} a b\nquorum g\n");
        let policy = Policy::parse(&text).unwrap();
        assert_eq!(met(&policy, &["b"]), one_is_enough, "{good}");
        assert!(met(&policy, &["a", "b"]));
        assert!(!met(&policy, &[]));
    }
}

#[test]
fn lines_with_too_few_or_too_many_items_are_refused() {
    let key = witness("w", 1);
    for bad in [
        "log".to_owned(),
        format!("log {} u v", ed25519("l", 2)),
        "witness".to_owned(),
        "witness w".to_owned(),
        format!("witness w {key} u v"),
        "group".to_owned(),
        "group g".to_owned(),
        "group g any".to_owned(),
        "quorum".to_owned(),
        "quorum none none".to_owned(),
    ] {
        assert_eq!(
            kind(&format!("{bad}\nquorum none\n")),
            "policy-items",
            "{bad}"
        );
    }
}

#[test]
fn unsupported_key_type_makes_the_policy_unusable() {
    let vectors = vector_json("extracted/vkeys.json");
    let of_type = |byte: u8| {
        list(&vectors["vkeys"])
            .iter()
            .filter_map(|case| VerifierKey::parse(text(&case["vkey"])).ok())
            .find(|key| key.algorithm().byte() == byte)
            .unwrap()
    };
    let base = witnesses(&["a"]);
    for (byte, key) in [
        (0x06, of_type(0x06)),
        (0x05, of_type(0x05)),
        (0x01, of_type(0x01)),
        (0x02, p256("w", 2)),
    ] {
        // The quorum does not even need this witness.
        let text = format!("{base}witness b {key}\nquorum a\n");
        let error = Policy::parse(&text).unwrap_err();
        let PolicyError::UnsupportedKeyType { line, got, .. } = error else {
            panic!("{error}");
        };
        assert_eq!((line, got), (2, byte));
    }
    for byte in [0x05, 0x06] {
        let text = format!("log {}\nquorum none\n", of_type(byte));
        assert_eq!(kind(&text), "policy-unsupported-key-type");
    }
    for byte in [0x01, 0x04] {
        let text = format!("log {}\nquorum none\n", of_type(byte));
        assert!(Policy::parse(&text).is_ok());
    }
}

#[test]
fn a_bad_key_names_its_line_and_cause() {
    let key = witness("w", 1).to_string();
    let error = Policy::parse(&format!("\nwitness w {key}A\nquorum w\n")).unwrap_err();
    assert_eq!(error.kind(), "policy-key");
    assert_eq!(error.to_string(), "policy line 2: expected a verifier key");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("base64"), "{source}");
}

/// Sigsum's own policy files have bare hexadecimal keys; this writes their keys as vkeys.
fn sigsum_to_c2sp(policy: &str) -> String {
    use std::fmt::Write as _;
    let mut converted = String::new();
    for line in policy.lines() {
        let items: Vec<&str> = line.split_whitespace().collect();
        let public = |hex: &str| -> [u8; 32] { hex::decode(hex).unwrap().try_into().unwrap() };
        match items.as_slice() {
            ["log", key, url] => {
                let id = hex::encode(tlog::hash::sha256(&public(key)));
                let origin = format!("sigsum.org/v1/tree/{id}");
                let key = VerifierKey::ed25519(&origin, &public(key)).unwrap();
                writeln!(converted, "log {key} {url}").unwrap();
            }
            ["witness", name, key] => {
                let key = VerifierKey::cosignature(name, &public(key)).unwrap();
                writeln!(converted, "witness {name} {key}").unwrap();
            }
            _ => writeln!(converted, "{line}").unwrap(),
        }
    }
    converted
}

#[test]
fn sigsum_policies_in_use() {
    let folder = "sigsum-go/pkg/policy/builtin";
    for (name, logs, count) in [
        ("sigsum-generic-2025-1", 2, 3),
        ("sigsum-test-2025-3", 2, 8),
        ("sigsum-test1-2025", 1, 3),
        ("sigsum-test2-2025", 1, 7),
    ] {
        let text = vector_text(&format!("{folder}/{name}.builtin-policy"));
        assert_eq!(kind(&text), "policy-key", "{name}: bare keys are no vkeys");
        let policy = Policy::parse(&sigsum_to_c2sp(&text)).unwrap();
        assert_eq!(policy.logs().len(), logs, "{name}");
        assert_eq!(policy.witnesses().len(), count, "{name}");
        assert!(policy.met(&|_| true));
        assert!(!policy.met(&|name| name == "poc.sigsum.org/nisse"));
    }
    let text = vector_text(&format!("{folder}/sigsum-test-2025-3.builtin-policy"));
    let policy = Policy::parse(&sigsum_to_c2sp(&text)).unwrap();
    // One Glasklar group and three others are four of six; one Glasklar witness is no group.
    let others = [
        "remora.n621.de",
        "witness.stagemole.eu",
        "tillitis.se/test-witness-1",
    ];
    let glasklar = ["poc.sigsum.org/nisse", "rgdd.se/poc-witness"];
    assert!(met(&policy, &[&others[..], &glasklar[..]].concat()));
    assert!(!met(&policy, &[&others[..], &glasklar[..1]].concat()));
    // A witness's key there, and the vkey published elsewhere, are one.
    let published = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2";
    assert!(
        policy
            .witnesses()
            .iter()
            .any(|w| w.key.to_string() == published)
    );
}

#[test]
fn limits() {
    assert_eq!(kind(&"#".repeat(1_000_001)), "policy-too-large");
    // 32 of each sort is what every implementation should take; nesting is no recursion.
    let names: Vec<String> = (0..32).map(|n| format!("w{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut text = witnesses(&names) + "group g0 any w0\n";
    for n in 1..1000 {
        text.push_str(&format!("group g{n} any g{}\n", n - 1));
    }
    let policy = Policy::parse(&format!("{text}quorum g999\n")).unwrap();
    assert!(met(&policy, &["w0"]));
    assert!(!met(&policy, &["w1"]));
    let over = format!("{text}group more any g999\nquorum more\n");
    assert_eq!(kind(&over), "policy-too-many-lines");
}

/// A random tree of groups over witnesses `w0`, `w1`, …: the policy's text. Each step takes some
/// of the nodes that are in no group yet, and makes a group of them.
fn any_policy() -> impl Strategy<Value = (String, usize)> {
    let steps = prop::collection::vec((1..4usize, any::<u8>(), any::<u8>()), 0..5);
    (1..7usize, steps).prop_map(|(count, steps)| {
        let names: Vec<String> = (0..count).map(|n| format!("w{n}")).collect();
        let mut text = witnesses(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let mut free = names;
        for (number, (take, threshold, start)) in steps.into_iter().enumerate() {
            let start = usize::from(start) % free.len();
            free.rotate_left(start);
            let members: Vec<String> = free.drain(..take.min(free.len())).collect();
            let threshold = usize::from(threshold) % members.len() + 1;
            text.push_str(&format!(
                "group g{number} {threshold} {}\n",
                members.join(" ")
            ));
            free.push(format!("g{number}"));
        }
        let quorum = free.last().cloned().unwrap();
        (format!("{text}quorum {quorum}\n"), count)
    })
}

proptest! {
    #[test]
    fn parsing_arbitrary_text_never_panics(text in any::<String>()) {
        let _ = Policy::parse(&text);
    }

    #[test]
    fn parsing_almost_policies_never_panics(
        items in prop::collection::vec(
            prop_oneof![
                Just("log"), Just("witness"), Just("group"), Just("quorum"), Just("none"),
                Just("any"), Just("all"), Just("1"), Just("a"), Just("b"), Just("\n"), Just("#"),
                Just("remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"),
            ],
            0..40,
        )
    ) {
        let _ = Policy::parse(&items.join(" "));
    }

    #[test]
    fn times_are_what_their_definition_says(
        (text, count) in any_policy(),
        times in prop::collection::vec(prop::option::of(0..6u64), 6),
    ) {
        let policy = Policy::parse(&text).unwrap();
        let times: BTreeMap<String, u64> = times
            .iter()
            .take(count)
            .enumerate()
            .filter_map(|(n, time)| Some((format!("w{n}"), (*time)?)))
            .collect();
        let time = |name: &str| times.get(name).copied();
        let up_to = |t: u64| policy.met(&|name| time(name).is_some_and(|at| at <= t));
        let from = |t: u64| policy.met(&|name| time(name).is_some_and(|at| at >= t));
        prop_assert_eq!(policy.kth_smallest(&time), (0..6).find(|t| up_to(*t)));
        prop_assert_eq!(policy.kth_largest(&time), (0..6).rev().find(|t| from(*t)));
    }

    #[test]
    fn more_cosignatures_never_unmeet_a_quorum(
        (text, _) in any_policy(),
        cosigned in prop::collection::vec(any::<bool>(), 6),
        more in 0..6usize,
    ) {
        let policy = Policy::parse(&text).unwrap();
        let has = |set: &[bool], name: &str| set[name[1..].parse::<usize>().unwrap()];
        let mut larger = cosigned.clone();
        larger[more] = true;
        if policy.met(&|name| has(&cosigned, name)) {
            prop_assert!(policy.met(&|name| has(&larger, name)));
        }
    }
}
