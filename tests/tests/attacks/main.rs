//! The attack corpus, `tests/attacks`: every folder is read strictly, and those that a bundle
//! alone cannot show are carried out by a script here, against the built programs. The others
//! are verified in `client/tests/attacks`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod destination;
mod network;
mod run;
mod storage;
mod submissions;
mod terminal;
mod witness;

use countersign_tests::attacks::{self, Attack, FAMILIES, Outcome, Weaken};
use std::collections::BTreeSet;
use std::path::Path;

/// A script carries one attack out.
type Script = fn() -> Outcome;

/// Every script, by its folder's name.
fn scripts() -> Vec<(&'static str, Script)> {
    [
        storage::SCRIPTS,
        network::SCRIPTS,
        destination::SCRIPTS,
        run::SCRIPTS,
        submissions::SCRIPTS,
        terminal::SCRIPTS,
        witness::SCRIPTS,
    ]
    .concat()
}

#[test]
fn every_attack_is_refused() {
    let attacks = attacks::read().unwrap();
    let scripts = scripts();
    let tried = attacks::judge(&attacks, |name: &str, attack: &Attack| {
        let script = scripts.iter().find(|(n, _)| *n == name);
        attack.script.then(|| match script {
            Some((_, script)) => script(),
            None => Outcome::Odd("there is no script of this name".into()),
        })
    });
    let tried = tried.unwrap_or_else(|e| panic!("{e}"));
    println!("{tried} scripts");
}

#[test]
fn the_corpus_is_whole() {
    let attacks = attacks::read().unwrap();
    let families: BTreeSet<&str> = attacks.values().map(|a| a.family.as_str()).collect();
    let missing: Vec<&&str> = FAMILIES.iter().filter(|f| !families.contains(*f)).collect();
    assert!(missing.is_empty(), "no attack of {missing:?}");
    assert!(attacks.len() >= 60, "{} attacks", attacks.len());
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/attacks.md");
    let page = std::fs::read_to_string(page).unwrap();
    for name in attacks.keys() {
        assert!(
            page.contains(&format!("[{name}]")),
            "docs/attacks.md has no {name}"
        );
    }
    for (name, _) in scripts() {
        assert!(
            attacks.get(name).is_some_and(|a| a.script),
            "{name} has no folder"
        );
    }
}

#[test]
fn what_is_taken_out_stands_in_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read = |file: &str| std::fs::read_to_string(root.join(file)).expect(file);
    let verifier = ["verify", "view", "signed"].map(|f| read(&format!("client/src/{f}.rs")));
    let verifier = verifier.concat().split_whitespace().collect::<String>();
    for (name, attack) in attacks::read().unwrap() {
        for weaken in &attack.weaken {
            match weaken {
                Weaken::Step { without } => {
                    let step = format!("step!(\"{without}\"");
                    let flag = format!("without=\"{without}\"");
                    assert!(
                        verifier.contains(&step) || verifier.contains(&flag),
                        "{name}: {without}"
                    );
                }
                Weaken::Text {
                    file,
                    find,
                    replace,
                } => {
                    assert_eq!(
                        read(file).matches(find).count(),
                        1,
                        "{name}: {find:?} in {file}"
                    );
                    assert_ne!(find, replace, "{name}");
                }
            }
        }
    }
}
