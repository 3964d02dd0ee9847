#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn kind(uri: &str) -> &'static str {
    TokenUri::parse(uri).unwrap_err().kind()
}

#[test]
fn a_uri_as_p11tool_lists_it_is_read() {
    let uri = TokenUri::parse("pkcs11:model=SoftHSM%20v2;manufacturer=SoftHSM%20project;serial=8a1b;token=acme;id=%A1%00;object=root%201;type=private?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:///run/pin").unwrap();
    assert_eq!(uri.model.as_deref(), Some("SoftHSM v2"));
    assert_eq!(uri.manufacturer.as_deref(), Some("SoftHSM project"));
    assert_eq!(uri.serial.as_deref(), Some("8a1b"));
    assert_eq!(uri.token.as_deref(), Some("acme"));
    assert_eq!(uri.object.as_deref(), Some("root 1"));
    assert_eq!(uri.id, Some(vec![0xa1, 0]));
    assert_eq!(uri.module, Some("/usr/lib/softhsm/libsofthsm2.so".into()));
    assert_eq!(uri.pin_source, Some("/run/pin".into()));
    // The shortest says nothing: whatever key there is, if it is the only one.
    assert_eq!(TokenUri::parse("pkcs11:").unwrap(), TokenUri::default());
}

#[test]
fn what_is_not_understood_is_refused() {
    for bad in [
        "pkcs11:token",
        "pkcs11:token=",
        "pkcs11:token=a;",
        "pkcs11:;token=a",
        "pkcs11:token=a;token=a",
        "pkcs11:type=private;type=private",
        "pkcs11:type=public",
        "pkcs11:slot-id=0",
        "pkcs11:Token=a",
        "pkcs11:token=a b",
        "pkcs11:token=a/b",
        "pkcs11:token=%",
        "pkcs11:token=%4",
        "pkcs11:token=%+4",
        "pkcs11:token=%zz",
        "pkcs11:token=%FF",
        "pkcs11:token=a%00",
        "pkcs11:token=a%0A",
        "pkcs11:id=\u{e4}",
        "pkcs11:token=a?",
        "pkcs11:token=a?module-path=libx.so",
        "pkcs11:token=a?module-path=/x&module-path=/x",
        "pkcs11:token=a?module-name=x",
        "pkcs11:token=a?pin-source=/x",
        "pkcs11:token=a?pin-source=|cat%20x",
        "pkcs11:token=a?pin-source=file:x",
        "pkcs11:token=a?pin-source=file://host/x",
        "pkcs11:token=a?x?y",
        "PKCS11:token=a",
        "token=a",
    ] {
        assert_eq!(kind(bad), "bad-pkcs11-uri", "{bad}");
    }
    assert_eq!(
        kind(&format!("pkcs11:token={}", "a".repeat(5000))),
        "bad-pkcs11-uri"
    );
    assert_eq!(
        kind(&format!("pkcs11:id={}", "%00".repeat(256))),
        "bad-pkcs11-uri"
    );
}

#[test]
fn a_pin_is_refused_and_never_repeated() {
    for uri in ["pkcs11:token=a?pin-value=123456", "pkcs11:pin-value=123456"] {
        let refused = TokenUri::parse(uri).unwrap_err();
        assert_eq!(refused.kind(), "pin-on-command-line");
        assert!(!refused.to_string().contains("123456"));
    }
    // Nor where something else is wrong.
    for uri in [
        "pkcs11:token=a?pin-valu=123456",
        "pkcs11:token=a?pin-value123456=",
        "pkcs11:token=a?123456",
        "pkcs11:id=%123456;id=1",
    ] {
        let refused = TokenUri::parse(uri).unwrap_err();
        assert!(!refused.to_string().contains("123456"), "{refused}");
    }
}

#[test]
fn a_file_has_one_slash_or_three() {
    let pin = |uri: &str| TokenUri::parse(uri).map(|u| u.pin_source);
    for uri in [
        "pkcs11:object=a?pin-source=file:/run/pin",
        "pkcs11:object=a?pin-source=file:///run/pin",
    ] {
        assert_eq!(pin(uri).unwrap(), Some("/run/pin".into()));
    }
    for uri in [
        "file:run/pin",
        "file://run/pin",
        "file:////run/pin",
        "file://///run",
    ] {
        let refused = pin(&format!("pkcs11:object=a?pin-source={uri}")).unwrap_err();
        assert!(
            refused.to_string().contains("no whole path"),
            "{uri}: {refused}"
        );
    }
}

#[test]
fn what_would_be_too_long_with_all_its_escapes_is_refused() {
    // Each `=` is written as three bytes.
    let uri = |equals: usize| format!("pkcs11:object={}", "=".repeat(equals));
    let fits = (4096 - "pkcs11:object=".len()) / 3;
    let read = TokenUri::parse(&uri(fits)).unwrap();
    assert_eq!(TokenUri::parse(&read.to_string()), Ok(read));
    let refused = TokenUri::parse(&uri(fits + 1)).unwrap_err();
    assert!(refused.to_string().contains("with all escapes"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(pkcs11:)?.{0,60}") {
        if let Ok(uri) = TokenUri::parse(&text) {
            prop_assert_eq!(TokenUri::parse(&uri.to_string()), Ok(uri));
        }
    }

    #[test]
    fn what_is_written_is_read_back(
        token in proptest::option::of("\\PC{1,32}"),
        object in proptest::option::of("\\PC{1,40}"),
        id in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..40)),
        module in proptest::option::of("/\\PC{0,40}"),
        private: bool,
    ) {
        let uri = TokenUri { token, object, id, module: module.map(Into::into), private, ..TokenUri::default() };
        prop_assert_eq!(TokenUri::parse(&uri.to_string()), Ok(uri));
    }
}
