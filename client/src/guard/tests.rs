#![allow(clippy::unwrap_used)]

use super::*;

fn finding(offset: u64) -> Finding {
    let place = Place::of(Path::new("tool"))
        .within("blobs/sha256/ab")
        .within("\u{1b}[2Jkey");
    let what = "a private key (PEM)".to_owned();
    Finding::new(("tool", &[7; 32]), &place, "pem-private-key", what, offset)
}

#[test]
fn an_id_is_of_one_finding_in_one_artifact() {
    let one = finding(1);
    assert_eq!(one, finding(1));
    assert_ne!(one.id, finding(2).id);
    let other = Finding::new(
        ("tool", &[8; 32]),
        &one.place,
        &one.rule,
        one.what.clone(),
        1,
    );
    assert_ne!(one.id, other.id);
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
