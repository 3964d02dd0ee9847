#![allow(clippy::unwrap_used)]

use super::*;

fn finding(offset: u64) -> Finding {
    let place = Place::of(Path::new("tool"))
        .within("blobs/sha256/ab")
        .within("\u{1b}[2Jkey");
    let what = "a private key (PEM)".to_owned();
    Finding::new(
        ("tool", &[7; 32]),
        (&place, 3),
        "pem-private-key",
        what,
        offset,
    )
}

#[test]
fn an_id_is_of_one_finding_in_one_artifact() {
    let one = finding(1);
    assert_eq!(one, finding(1));
    assert_ne!(one.id, finding(2).id);
    let other = Finding::new(
        ("tool", &[8; 32]),
        (&one.place, 3),
        &one.rule,
        one.what.clone(),
        1,
    );
    assert_ne!(one.id, other.id);
    // A name may be there twice.
    let what = one.what.clone();
    let twin = Finding::new(("tool", &[7; 32]), (&one.place, 4), &one.rule, what, 1);
    assert_ne!(one.id, twin.id);
    assert!(one.line().contains("layer sha256:ab") && !one.line().contains('\u{1b}'));
}

#[test]
fn each_finding_is_allowed_by_itself_or_refused() {
    let both = [finding(1), finding(2)];
    let fail = decide(&both, &[]).unwrap_err();
    assert_eq!((fail.code, fail.kind.as_str()), (2, "key-material"));
    assert_eq!(fail.details.len(), 2);
    let allow = |f: &Finding| parse_allowed(&format!("{}=a test key", f.id)).unwrap();
    let one = [allow(&both[0])];
    let fail = decide(&both, &one).unwrap_err();
    assert_eq!(fail.details.len(), 1);
    let exceptions = decide(&both, &[allow(&both[0]), allow(&both[1])]).unwrap();
    assert_eq!(exceptions[0].reason, "a test key");
    assert_eq!(
        decide(&both[1..], &one).unwrap_err().kind,
        "unknown-finding"
    );
    assert_eq!(decide(&[], &[]).unwrap(), []);
}

#[test]
fn an_exception_has_an_id_and_a_reason() {
    for text in [
        "",
        "0123456789abcdef",
        "0123456789abcdef=",
        "0123456789abcdef=  ",
        "0123=x",
        "0123456789ABCDEF=x",
        "0123456789abcdef=a\nb",
    ] {
        assert!(parse_allowed(text).is_err(), "{text:?}");
    }
    assert!(parse_allowed("0123456789abcdef=why not = ever").is_ok());
}

#[test]
fn where_not_all_is_listed_nothing_stands() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let key = |n: u64| {
        let hex = ledger::hex32(&ledger::sha256(&n.to_be_bytes()));
        format!("npm{}{}\n", "_", &hex[..36])
    };
    let text: String = (0..60).map(key).collect();
    std::fs::write(file.path(), &text).unwrap();
    let digest = ledger::sha256(text.as_bytes());
    let findings = look(file.path(), "tool", &digest, &|_| {}).unwrap();
    let allow: Vec<Allowed> = findings
        .iter()
        .map(|f| parse_allowed(&format!("{}=x", f.id)).unwrap())
        .collect();
    assert_eq!(
        decide(&findings, &allow).unwrap_err().kind,
        "too-many-findings"
    );
    // What is there by now is not what was hashed.
    let fail = look(file.path(), "tool", &[7; 32], &|_| {}).unwrap_err();
    assert_eq!(fail.kind, "changed-meanwhile");
}

#[test]
fn key_material_in_a_name_is_found_and_not_shown() {
    let secret = format!(
        "npm{}{}",
        "_",
        &ledger::hex32(&[0x5b; 32].map(|b: u8| b ^ 7))[..36]
    );
    let hex = ledger::hex32(&ledger::sha256(b"x"));
    let secret = if found_in(&secret).is_empty() {
        format!("npm{}{}", "_", &hex[..36])
    } else {
        secret
    };
    assert!(!found_in(&secret).is_empty());
    let place = Place::of(Path::new("tool")).within(secret.as_str());
    assert!(!without_secrets(&place).to_string().contains(&secret));
}
