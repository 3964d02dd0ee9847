//! What a certificate may be used for, key identifiers, and extensions that are unknown, critical
//! where they must not be, or not critical where they must be.

use super::{Accepts, Agrees, AgreesOnPurpose, Case, Second, end, middle, root, world};
use countersign_tests::certificates::der::{name, object, objects, oid, sequence, tag, tlv};
use countersign_tests::certificates::{Key, key_identifier};

const ONE_USE: &str = "a key that signs releases signs nothing else";
const NOT_ASKED: &str = "OpenSSL asks the intermediate for it only where a purpose is asked for, and of some purposes not even then";
const POLICIES: &str =
    "policies are not processed here: what is critical and not processed is refused";
const ANCHOR: &str = "an anchor is of the profile too";

pub fn cases() -> Vec<Case> {
    let mut all = usages();
    all.extend(purposes());
    all.extend(identifiers());
    all.extend(unknown());
    all
}

/// The bits of a key usage, and how many of the last byte are unused.
fn used(unused: u8, byte: u8) -> Vec<u8> {
    tlv(tag::BITS, &[unused, byte])
}

fn usages() -> Vec<Case> {
    let bad = "certificate-extension";
    let on = |name, second: Second, value: Vec<u8>| {
        end(name, bad, second, |c| c.set(oid::KEY_USAGE, true, value))
    };
    vec![
        on(
            "an end certificate that signs certificates",
            Agrees,
            used(2, 0x84),
        ),
        on(
            "an end certificate that only signs certificates",
            Agrees,
            used(2, 0x04),
        ),
        on(
            "an end certificate that signs revocation lists too",
            Agrees,
            used(1, 0x82),
        ),
        on(
            "an end certificate whose key agrees on keys",
            AgreesOnPurpose,
            used(3, 0x08),
        ),
        on(
            "an end certificate that signs and agrees on keys",
            Accepts(ONE_USE),
            used(3, 0x88),
        ),
        on(
            "an end certificate that cannot be repudiated",
            Accepts(ONE_USE),
            used(6, 0xc0),
        ),
        on(
            "an end certificate that is used for nothing",
            Agrees,
            tlv(tag::BITS, &[0]),
        ),
        end(
            "a key usage with a byte that says nothing",
            "valid",
            Agrees,
            |c| {
                c.set(oid::KEY_USAGE, true, tlv(tag::BITS, &[0, 0x80, 0]));
            },
        ),
        end(
            "a key usage whose unused bits are written",
            "valid",
            Agrees,
            |c| {
                c.set(oid::KEY_USAGE, true, used(0, 0x80));
            },
        ),
        end("no key usage", bad, AgreesOnPurpose, |c| {
            c.remove(oid::KEY_USAGE)
        }),
        end(
            "a key usage that is not critical",
            bad,
            AgreesOnPurpose,
            |c| c.set(oid::KEY_USAGE, false, used(7, 0x80)),
        ),
        middle(
            "an intermediate that signs no certificates",
            bad,
            Agrees,
            |c| c.set(oid::KEY_USAGE, true, used(7, 0x80)),
        ),
        middle(
            "an intermediate that signs revocation lists only",
            bad,
            Agrees,
            |c| c.set(oid::KEY_USAGE, true, used(1, 0x02)),
        ),
        middle(
            "an intermediate that signs certificates and else",
            bad,
            Accepts(ONE_USE),
            |c| c.set(oid::KEY_USAGE, true, used(2, 0x84)),
        ),
        middle(
            "an intermediate that signs certificates alone",
            "valid",
            Agrees,
            |c| c.set(oid::KEY_USAGE, true, used(2, 0x04)),
        ),
        middle("an intermediate without key usage", bad, Agrees, |c| {
            c.remove(oid::KEY_USAGE)
        }),
        middle(
            "an intermediate's key usage that is not critical",
            bad,
            Accepts("RFC 5280 §4.2.1.3: it should be, and here it must"),
            |c| {
                c.set(oid::KEY_USAGE, false, used(1, 0x06));
            },
        ),
        root("an anchor that signs no certificates", bad, Agrees, |c| {
            c.set(oid::KEY_USAGE, true, used(7, 0x80))
        }),
        root("an anchor without key usage", bad, Agrees, |c| {
            c.remove(oid::KEY_USAGE)
        }),
    ]
}

fn purposes() -> Vec<Case> {
    let bad = "certificate-extension";
    let id = oid::EXT_KEY_USAGE;
    let on = |name, list: &[&str]| {
        let value = objects(list);
        end(name, bad, AgreesOnPurpose, |c| c.set(id, false, value))
    };
    vec![
        on("a certificate for servers", &[oid::SERVER_AUTH]),
        on(
            "a certificate for code and servers",
            &[oid::CODE_SIGNING, oid::SERVER_AUTH],
        ),
        on("a certificate for any purpose", &[oid::ANY_USAGE]),
        on(
            "a certificate for code and any purpose",
            &[oid::CODE_SIGNING, oid::ANY_USAGE],
        ),
        on("a certificate for mail", &["1.3.6.1.5.5.7.3.4"]),
        on("a certificate for time stamps", &["1.3.6.1.5.5.7.3.8"]),
        end(
            "a certificate for code, twice",
            bad,
            Accepts("the list is the one purpose, once"),
            |c| {
                c.set(id, false, objects(&[oid::CODE_SIGNING, oid::CODE_SIGNING]));
            },
        ),
        end(
            "a certificate for code and something else",
            bad,
            Accepts(ONE_USE),
            |c| {
                c.set(id, false, objects(&[oid::CODE_SIGNING, "1.2.3.4"]));
            },
        ),
        end("a list of no purposes", bad, AgreesOnPurpose, |c| {
            c.set(id, false, objects(&[]))
        }),
        end("no purpose", bad, AgreesOnPurpose, |c| c.remove(id)),
        end("the one purpose, critical", "valid", Agrees, |c| {
            c.set(id, true, objects(&[oid::CODE_SIGNING]))
        }),
        middle(
            "an intermediate for servers",
            bad,
            Accepts(NOT_ASKED),
            |c| c.set(id, false, objects(&[oid::SERVER_AUTH])),
        ),
        middle(
            "an intermediate for any purpose",
            bad,
            Accepts(NOT_ASKED),
            |c| c.set(id, false, objects(&[oid::ANY_USAGE])),
        ),
        middle(
            "an intermediate for code and servers",
            bad,
            Accepts(ONE_USE),
            |c| {
                c.set(id, false, objects(&[oid::CODE_SIGNING, oid::SERVER_AUTH]));
            },
        ),
        middle(
            "an intermediate without a purpose",
            "certificate-path",
            Accepts("an intermediate signs for this purpose alone, and says so"),
            |c| c.remove(id),
        ),
        root("an anchor for servers", bad, Accepts(ANCHOR), |c| {
            c.set(id, false, objects(&[oid::SERVER_AUTH]))
        }),
        root("an anchor without a purpose", "valid", Agrees, |c| {
            c.remove(id)
        }),
    ]
}

fn identifiers() -> Vec<Case> {
    let bad = "certificate-extension";
    let (own, above) = (oid::SUBJECT_KEY_IDENTIFIER, oid::AUTHORITY_KEY_IDENTIFIER);
    let id = |n: u8| tlv(tag::OCTETS, &Key::p256(n).identifier());
    // Authority key identifier with the issuer's issuer and serial number: right, and wrong.
    let whole = |serial: &[u8]| {
        let key = tlv(0x80, &Key::p256(8 + 2).identifier());
        let issuer = tlv(0xa1, &tlv(0xa4, &name("acme root")));
        sequence(&[&key, &issuer, &tlv(0x82, serial)])
    };
    let must = Accepts("RFC 5280 §4.2.1.2: by it a path is found");
    vec![
        end("no subject key identifier", bad, must, |c| c.remove(own)),
        middle(
            "an intermediate without subject key identifier",
            bad,
            Agrees,
            |c| c.remove(own),
        ),
        end(
            "a subject key identifier that is not the key's",
            "valid",
            Agrees,
            |c| c.set(own, false, id(99)),
        ),
        end("an empty subject key identifier", "valid", Agrees, |c| {
            c.set(own, false, tlv(tag::OCTETS, &[]))
        }),
        end("a critical subject key identifier", bad, Agrees, |c| {
            c.extension(own).critical = tlv(tag::BOOLEAN, &[0xff])
        }),
        end("no authority key identifier", bad, Agrees, |c| {
            c.remove(above)
        }),
        middle(
            "an intermediate without authority key identifier",
            "certificate-other-issuer",
            Agrees,
            |c| c.remove(above),
        ),
        root(
            "an anchor without authority key identifier",
            "valid",
            Agrees,
            |c| c.remove(above),
        ),
        end(
            "an authority key identifier of another key",
            "certificate-order",
            Agrees,
            |c| {
                c.set(above, false, key_identifier(&Key::p256(99)));
            },
        ),
        middle(
            "an intermediate's authority key identifier of another key",
            "certificate-other-issuer",
            Agrees,
            |c| {
                c.set(above, false, key_identifier(&Key::p256(99)));
            },
        ),
        world(
            "another key identifier, the same in both certificates",
            "valid",
            Agrees,
            |w| {
                w.middle.set(own, false, id(99));
                w.end.set(above, false, key_identifier(&Key::p256(99)));
            },
        ),
        end("a critical authority key identifier", bad, Agrees, |c| {
            c.extension(above).critical = tlv(tag::BOOLEAN, &[0xff]);
        }),
        middle(
            "an intermediate's critical subject key identifier",
            bad,
            Agrees,
            |c| {
                c.extension(own).critical = tlv(tag::BOOLEAN, &[0xff]);
            },
        ),
        middle(
            "an intermediate's critical authority key identifier",
            bad,
            Agrees,
            |c| {
                c.extension(above).critical = tlv(tag::BOOLEAN, &[0xff]);
            },
        ),
        root(
            "an anchor's critical subject key identifier",
            bad,
            Agrees,
            |c| {
                c.extension(own).critical = tlv(tag::BOOLEAN, &[0xff]);
            },
        ),
        root(
            "an anchor's critical authority key identifier",
            bad,
            Agrees,
            |c| {
                c.extension(above).critical = tlv(tag::BOOLEAN, &[0xff]);
            },
        ),
        end("an authority key identifier of nothing", bad, Agrees, |c| {
            c.set(above, false, sequence(&[]))
        }),
        end(
            "an authority key identifier with the wrong serial number",
            bad,
            Agrees,
            |c| c.set(above, false, whole(&[7])),
        ),
        world(
            "an authority key identifier with the right serial number",
            bad,
            Accepts("it says the same twice; the profile has the key's identifier alone"),
            |w| {
                w.middle.serial = tlv(tag::INTEGER, &[9]);
                w.end.set(above, false, whole(&[9]));
            },
        ),
        root(
            "an anchor whose authority key identifier is another's",
            "valid",
            Agrees,
            |c| {
                c.set(above, false, key_identifier(&Key::p256(99)));
            },
        ),
    ]
}

fn unknown() -> Vec<Case> {
    let bad = "certificate-unknown-critical";
    let (any, policies) = (
        sequence(&[&sequence(&[&object("2.5.29.32.0")])]),
        Accepts(POLICIES),
    );
    let required = sequence(&[&tlv(0x80, &[0])]);
    vec![
        end("an unknown critical extension", bad, Agrees, |c| {
            c.add("1.2.3.4", true, vec![5, 0])
        }),
        end("an unknown extension", "valid", Agrees, |c| {
            c.add("1.2.3.4", false, vec![5, 0])
        }),
        end(
            "an unknown extension twice",
            "certificate-repeated-extension",
            Accepts("RFC 5280 §4.2: one of each; OpenSSL looks at those that it knows"),
            |c| {
                c.add("1.2.3.4", false, vec![5, 0]);
                c.add("1.2.3.4", false, vec![5, 0]);
            },
        ),
        end(
            "a key usage twice",
            "certificate-repeated-extension",
            Agrees,
            |c| {
                c.add(oid::KEY_USAGE, true, used(7, 0x80));
            },
        ),
        middle(
            "an unknown critical extension in an intermediate",
            bad,
            Agrees,
            |c| c.add("1.2.3.4", true, vec![5, 0]),
        ),
        middle(
            "basic constraints twice",
            "certificate-repeated-extension",
            Agrees,
            |c| {
                let value = c.extension(oid::BASIC_CONSTRAINTS).value.clone();
                c.add(oid::BASIC_CONSTRAINTS, true, value);
            },
        ),
        root(
            "an unknown critical extension in an anchor",
            bad,
            Agrees,
            |c| c.add("1.2.3.4", true, vec![5, 0]),
        ),
        end("policies", "valid", Agrees, |c| {
            c.add(oid::CERTIFICATE_POLICIES, false, any.clone())
        }),
        end("critical policies", bad, policies, |c| {
            c.add(oid::CERTIFICATE_POLICIES, true, any.clone())
        }),
        middle("a policy is required", bad, policies, |c| {
            c.add(oid::POLICY_CONSTRAINTS, true, required.clone())
        }),
        end(
            "an OCSP responder's certificate that nobody checks",
            "valid",
            Agrees,
            |c| {
                c.add("1.3.6.1.5.5.7.48.1.5", false, vec![5, 0]);
            },
        ),
        end(
            "a critical place for revocation lists",
            bad,
            Accepts("revocation lists are not asked for here: projects revoke"),
            |c| {
                let place =
                    sequence(&[&tlv(0xa0, &tlv(0xa0, &tlv(0x86, b"http://a.example/crl")))]);
                c.add(oid::CRL_DISTRIBUTION_POINTS, true, sequence(&[&place]));
            },
        ),
    ]
}
