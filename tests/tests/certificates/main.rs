//! Paths of certificates, valid and not, judged by ours and by `openssl verify`: the two agree, or
//! a case says why they do not. Modelled on x509-limbo; every case is made here.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod cases;
mod mutations;
mod openssl;

use cases::{Case, Second, all};
use keys::certificate::{Anchor, CertificateChain};
use openssl::OpenSsl;
use std::collections::BTreeSet;
use std::path::Path;

const ON_PURPOSE: &str =
    "what it may be used for: before 3.2 OpenSSL has no purpose `codesign` to be asked about";

/// `valid`, or the kind of our error.
fn ours(chain: &[impl AsRef<[u8]>], anchor: &[u8], time: u64) -> &'static str {
    let judged = Anchor::parse(anchor)
        .and_then(|anchor| CertificateChain::parse(chain)?.verify(&anchor, time));
    judged.map_or_else(|e| e.kind(), |()| "valid")
}

#[test]
fn every_case_is_judged_as_it_should_be() {
    let mut names = BTreeSet::new();
    let mut wrong = Vec::new();
    for case in all() {
        assert!(names.insert(case.name), "{}: twice", case.name);
        let got = ours(&case.chain, &case.anchor, case.time);
        if got != case.want {
            wrong.push(format!("{}: {got}, want {}", case.name, case.want));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    println!("{} cases", names.len());
}

/// What is wrong with how the two judge a case, if anything is.
fn disagreement(openssl: &OpenSsl, case: &Case) -> Option<String> {
    let valid = case.want == "valid";
    let (end, above) = case.chain.split_first().unwrap();
    let ask = |purpose| {
        let judged = openssl.verify(&[end], above, &case.anchor, case.time, purpose);
        judged.into_iter().next().unwrap()
    };
    let any = ask("any");
    println!("{:70} {:32} {any:?}", case.name, case.want);
    let said = |what: &str| {
        Some(format!(
            "{}: {what}; ours {}, {any:?}",
            case.name, case.want
        ))
    };
    if openssl.codesign {
        let code = ask("codesign");
        match (case.second, code.is_ok()) {
            (Second::Agrees, ok) if ok != valid => return said(&format!("codesign: {code:?}")),
            (Second::AgreesOnPurpose, true) => return said("codesign: valid"),
            _ => {}
        }
    }
    match (case.second, any.is_ok()) {
        (Second::Agrees, ok) if ok != valid => said("they disagree"),
        // Later versions may have become as strict.
        (Second::Accepts(_) | Second::AgreesOnPurpose, false) if openssl.is_named() => {
            said("it refuses too: nothing to explain")
        }
        (Second::Refuses(_), true) if openssl.is_named() => said("it accepts too"),
        (Second::Refuses(_), _) if !valid => said("we refuse too"),
        (Second::Accepts(_) | Second::AgreesOnPurpose, _) if valid => said("we accept too"),
        _ => None,
    }
}

#[test]
fn openssl_agrees_or_the_case_says_why_not() {
    let Some(openssl) = OpenSsl::find() else {
        return;
    };
    let cases = all();
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| disagreement(&openssl, case))
        .collect();
    println!("OpenSSL {}: {} cases", openssl.version, cases.len());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The table in `tests/certificates.md`: the cases by the reason why the two differ.
fn table() -> String {
    let mut rows: Vec<(&str, &str, Vec<String>)> = Vec::new();
    for case in all() {
        let (says, why) = match case.second {
            Second::Agrees => continue,
            Second::AgreesOnPurpose => ("valid before 3.2", ON_PURPOSE),
            Second::Accepts(why) => ("valid", why),
            Second::Refuses(why) => ("invalid", why),
        };
        let cell = format!("{} (`{}`)", case.name, case.want);
        match rows.iter_mut().find(|r| r.0 == why) {
            Some((_, same, cells)) => {
                assert_eq!(*same, says, "{why}");
                cells.push(cell);
            }
            None => rows.push((why, says, vec![cell])),
        }
    }
    let mut out = String::from("| cases, and what we say | OpenSSL | why |\n|---|---|---|\n");
    for (why, says, cells) in rows {
        out += &format!("| {} | {says} | {why} |\n", cells.join("; "));
    }
    out
}

#[test]
fn the_table_of_differences_is_the_cases() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("certificates.md");
    let text = std::fs::read_to_string(path).unwrap();
    let table = table();
    assert!(
        text.contains(&table),
        "want in tests/certificates.md:\n{table}"
    );
    let rows = |t: &str| t.lines().filter(|l| l.starts_with("| ")).count();
    assert_eq!(rows(&text), rows(&table), "rows beside the table");
}

#[test]
fn the_fuzz_target_s_seeds_are_what_it_takes_for_genuine() {
    let world = countersign_tests::certificates::World::new(1);
    let (chain, anchor) = (world.chain(), world.anchor());
    let pem = |der: &Vec<u8>| keys::certificate::write_certificate(der).unwrap();
    let seeds = [
        ("end", chain[0].clone()),
        ("middle", chain[1].clone()),
        ("root", anchor),
        (
            "chain.pem",
            chain.iter().map(pem).collect::<String>().into(),
        ),
    ];
    for (name, want) in seeds {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/certificate");
        assert!(std::fs::read(path.join(name)).unwrap() == want, "{name}");
    }
}
