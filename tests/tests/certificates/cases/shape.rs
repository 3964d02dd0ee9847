//! Encoding, version, serial number, algorithms and keys, dates as they are written.

use super::{Accepts, Agrees, Case, end, middle, of, root, world};
use countersign_tests::certificates::der::{
    algorithm, bits, generalized, object, oid, sequence, tag, tlv, utc,
};
use countersign_tests::certificates::{Key, MIDDLE, NOW, World};

const ONE_ENCODING: &str = "one certificate has one encoding, so that it has one hash";
const ONE_ALGORITHM: &str = "the profile has one algorithm, as the keys of a project have";
const ONE_CURVE: &str = "the profile has P-256 alone, in one encoding";
const SERIAL: &str = "RFC 5280 §4.1.2.2: positive, and at most 20 bytes";

pub fn cases() -> Vec<Case> {
    let mut all = encoding();
    all.extend(numbers());
    all.extend(algorithms());
    all.extend(keys());
    all
}

/// The chain with its end certificate's bytes changed after it was signed.
fn bytes(
    name: &'static str,
    second: super::Second,
    change: impl FnOnce(&World, Vec<u8>) -> Vec<u8>,
) -> Case {
    let w = World::new(1);
    let mut case = of(name, "certificate-not-der", second, &w);
    case.chain[0] = change(&w, case.chain[0].clone());
    case
}

fn encoding() -> Vec<Case> {
    let trailing = Accepts(
        "its reader stops at the end of what it reads; what follows would be carried along unseen",
    );
    vec![
        world("a path of the profile", "valid", Agrees, |_| {}),
        bytes("a byte after the certificate", trailing, |_, mut der| {
            der.push(0);
            der
        }),
        bytes("a certificate that breaks off", Agrees, |_, mut der| {
            der.pop();
            der
        }),
        bytes("no bytes", Agrees, |_, _| Vec::new()),
        bytes(
            "a length that is longer than it need be",
            Accepts(ONE_ENCODING),
            |_, der| [&[0x30, 0x83, 0x00], &der[2..]].concat(),
        ),
        bytes("an indefinite length", Accepts(ONE_ENCODING), |_, der| {
            [&[0x30, 0x80], &der[4..], &[0, 0]].concat()
        }),
        end(
            "a field that version 3 does not have",
            "certificate-not-der",
            Agrees,
            |c| {
                c.unique = tlv(0xa4, &[]);
            },
        ),
        end(
            "criticality written out where it is the default",
            "certificate-not-der",
            Accepts(ONE_ENCODING),
            |c| {
                c.extension(oid::EXT_KEY_USAGE).critical = tlv(tag::BOOLEAN, &[0]);
            },
        ),
        end(
            "a truth value that DER does not have",
            "certificate-not-der",
            Accepts(ONE_ENCODING),
            |c| {
                c.extension(oid::KEY_USAGE).critical = tlv(tag::BOOLEAN, &[1]);
            },
        ),
        end(
            "an extension with bytes behind its value",
            "certificate-extension",
            Accepts(
                "its reader stops at the end of what it reads; what follows would be carried along unseen",
            ),
            |c| {
                c.extension(oid::KEY_USAGE).value.push(0);
            },
        ),
        end(
            "an extension that is no DER",
            "certificate-extension",
            Agrees,
            |c| {
                c.extension(oid::SUBJECT_KEY_IDENTIFIER).value = vec![0xff];
            },
        ),
        end("extensions in another order", "valid", Agrees, |c| {
            c.extensions.reverse()
        }),
        end(
            "a certificate of more than 4,096 bytes",
            "certificate-too-large",
            Accepts("a limit of ours: a leaf of the log has room for 65,535 bytes"),
            |c| {
                c.add("1.2.3.4", false, vec![4; 4_000]);
            },
        ),
        end(
            "version 1, with extensions",
            "certificate-version",
            Agrees,
            |c| c.version = Vec::new(),
        ),
        end(
            "version 2, with extensions",
            "certificate-version",
            Agrees,
            |c| {
                c.version = tlv(0xa0, &tlv(tag::INTEGER, &[1]));
            },
        ),
        end(
            "version 4",
            "certificate-not-der",
            Accepts("there is none; OpenSSL takes any number"),
            |c| {
                c.version = tlv(0xa0, &tlv(tag::INTEGER, &[3]));
            },
        ),
        end(
            "a unique identifier, of version 2",
            "certificate-version",
            Accepts("RFC 5280 §4.1.2.8: none must be made"),
            |c| {
                c.unique = tlv(0x82, &[0, 7]);
            },
        ),
    ]
}

fn numbers() -> Vec<Case> {
    let serial = |c: &[u8]| tlv(tag::INTEGER, c);
    vec![
        end(
            "serial number 0",
            "certificate-serial",
            Accepts(SERIAL),
            |c| c.serial = serial(&[0]),
        ),
        end(
            "serial number −1",
            "certificate-serial",
            Accepts(SERIAL),
            |c| c.serial = serial(&[0xff]),
        ),
        end(
            "a serial number of 21 bytes",
            "certificate-serial",
            Accepts(SERIAL),
            |c| c.serial = serial(&[0x41; 21]),
        ),
        end(
            "a serial number of 20 bytes and the sign's",
            "valid",
            Agrees,
            |c| {
                c.serial = serial(&[&[0u8] as &[u8], &[0x81; 19]].concat());
            },
        ),
        end(
            "a serial number with a zero too many",
            "certificate-not-der",
            Agrees,
            |c| c.serial = serial(&[0, 0x41]),
        ),
        end(
            "a serial number without bytes",
            "certificate-not-der",
            Agrees,
            |c| c.serial = serial(&[]),
        ),
        end(
            "dates with the century",
            "certificate-not-der",
            Accepts("RFC 5280 §4.1.2.5: up to 2049 the century is left out"),
            |c| {
                c.not_before = generalized(NOW - 300);
                c.not_after = generalized(NOW + 300);
            },
        ),
        root("an anchor until the end of time", "valid", Agrees, |c| {
            c.not_after = tlv(tag::GENERALIZED_TIME, b"99991231235959Z");
        }),
        middle("an intermediate from before 2000", "valid", Agrees, |c| {
            c.not_before = tlv(tag::UTC_TIME, b"990101000000Z");
        }),
        end(
            "a date without seconds",
            "certificate-not-der",
            Agrees,
            |c| {
                c.not_before = tlv(tag::UTC_TIME, b"2601010000Z");
            },
        ),
        end(
            "a date with an offset",
            "certificate-not-der",
            Agrees,
            |c| {
                c.not_before = tlv(tag::UTC_TIME, b"260101000000+0000");
            },
        ),
        end(
            "a date with a fraction",
            "certificate-not-der",
            Agrees,
            |c| {
                c.not_before = tlv(tag::GENERALIZED_TIME, b"20260101000000.5Z");
            },
        ),
        end("a thirteenth month", "certificate-not-der", Agrees, |c| {
            c.not_before = tlv(tag::UTC_TIME, b"261301000000Z");
        }),
        end(
            "the thirtieth of February",
            "certificate-not-der",
            Agrees,
            |c| {
                c.not_before = tlv(tag::UTC_TIME, b"260230000000Z");
            },
        ),
        end(
            "dates that are not dates",
            "certificate-not-der",
            Agrees,
            |c| {
                c.not_after = tlv(tag::UTF8, b"290101000000Z");
            },
        ),
        end(
            "an end before its beginning",
            "certificate-validity",
            Agrees,
            |c| {
                c.not_before = utc(NOW + 300);
                c.not_after = utc(NOW - 300);
            },
        ),
        middle(
            "an intermediate's end before its beginning",
            "certificate-validity",
            Agrees,
            |c| {
                c.not_before = utc(MIDDLE.1);
                c.not_after = utc(MIDDLE.0);
            },
        ),
    ]
}

fn algorithms() -> Vec<Case> {
    let both = |a: Vec<u8>| [a.clone(), a];
    let null = sequence(&[&object(oid::ECDSA_SHA256), &[0x05, 0x00]]);
    vec![
        end(
            "ECDSA over SHA-384",
            "certificate-algorithm",
            Accepts(ONE_ALGORITHM),
            |c| {
                c.algorithms = both(algorithm(oid::ECDSA_SHA384));
            },
        ),
        end(
            "ECDSA over SHA-1",
            "certificate-algorithm",
            Accepts("SHA-1 collides; OpenSSL refuses it from `-auth_level 1` on"),
            |c| {
                c.algorithms = both(algorithm(oid::ECDSA_SHA1));
            },
        ),
        end(
            "an algorithm with a parameter",
            "certificate-algorithm",
            Accepts("RFC 5758 §3.2: the parameters are left out"),
            |c| {
                c.algorithms = both(null.clone());
            },
        ),
        end(
            "one algorithm inside and another outside",
            "certificate-algorithm",
            Agrees,
            |c| {
                c.algorithms[1] = algorithm(oid::ECDSA_SHA384);
            },
        ),
        end(
            "a parameter outside that is not inside",
            "certificate-algorithm",
            Agrees,
            |c| {
                c.algorithms[1] = null.clone();
            },
        ),
        end(
            "an algorithm that nobody knows",
            "certificate-algorithm",
            Agrees,
            |c| {
                c.algorithms = both(algorithm("1.2.3.4"));
            },
        ),
        root(
            "an anchor signed by ECDSA over SHA-1",
            "certificate-algorithm",
            Accepts("an anchor is of the profile too, although nobody asks for its signature"),
            |c| {
                c.algorithms = both(algorithm(oid::ECDSA_SHA1));
            },
        ),
        {
            let w = World::new(1);
            let mut case = of(
                "an anchor whose own signature is wrong",
                "valid",
                Agrees,
                &w,
            );
            case.anchor = w.root.sign(&Key::p256(99));
            case
        },
        {
            let w = World::new(1);
            let mut case = of(
                "a signature with unused bits",
                "certificate-path",
                Agrees,
                &w,
            );
            let (tbs, a) = (w.end.tbs(), &w.end.algorithms[1]);
            let signature = w.middle_key.sign(&w.end.algorithms[0], &tbs);
            let signature = tlv(tag::BITS, &[&[1], signature.as_slice()].concat());
            case.chain[0] = sequence(&[&tbs, a, &signature]);
            case
        },
        {
            let w = World::new(1);
            let mut case = of("an empty signature", "certificate-path", Agrees, &w);
            case.chain[0] = sequence(&[&w.end.tbs(), &w.end.algorithms[1], &bits(&[])]);
            case
        },
        {
            let w = World::new(1);
            let mut case = of("a signature by another key", "certificate-path", Agrees, &w);
            case.chain[0] = w.end.sign(&Key::p256(99));
            case
        },
        {
            let w = World::new(1);
            let mut case = of(
                "an intermediate signed by another key",
                "certificate-path",
                Agrees,
                &w,
            );
            case.chain[1] = w.middle.sign(&Key::p256(99));
            case
        },
    ]
}

fn keys() -> Vec<Case> {
    let with = |name, want, root: Key, middle: Key, end: Key| {
        of(
            name,
            want,
            Accepts(ONE_CURVE),
            &World::of(root, middle, end),
        )
    };
    let p256 = Key::p256;
    let off = || {
        let mut point = p256(3).point();
        point[64] ^= 1;
        point
    };
    let ec = |curve: &[u8], point: &[u8]| {
        sequence(&[&sequence(&[&object(oid::EC_KEY), curve]), &bits(point)])
    };
    vec![
        with(
            "an end certificate of P-384",
            "certificate-key",
            p256(1),
            p256(2),
            Key::p384(),
        ),
        with(
            "an end certificate of secp256k1",
            "certificate-key",
            p256(1),
            p256(2),
            Key::k256(),
        ),
        with(
            "an end certificate of Ed25519",
            "certificate-key",
            p256(1),
            p256(2),
            Key::ed25519(),
        ),
        with(
            "an end certificate of RSA",
            "certificate-key",
            p256(1),
            p256(2),
            Key::rsa(),
        ),
        with(
            "an intermediate of P-384",
            "certificate-algorithm",
            p256(1),
            Key::p384(),
            p256(3),
        ),
        with(
            "an intermediate of RSA",
            "certificate-algorithm",
            p256(1),
            Key::rsa(),
            p256(3),
        ),
        with(
            "an intermediate of Ed25519",
            "certificate-algorithm",
            p256(1),
            Key::ed25519(),
            p256(3),
        ),
        with(
            "an intermediate of secp256k1",
            "certificate-key",
            p256(1),
            Key::k256(),
            p256(3),
        ),
        with(
            "an anchor of P-384",
            "certificate-algorithm",
            Key::p384(),
            p256(2),
            p256(3),
        ),
        with(
            "an anchor of RSA",
            "certificate-algorithm",
            Key::rsa(),
            p256(2),
            p256(3),
        ),
        end(
            "a compressed point",
            "certificate-key",
            Accepts(ONE_CURVE),
            |c| {
                let point = p256(3).point();
                let sign = 2 + (point[64] & 1);
                c.spki = ec(&object(oid::P256), &[&[sign], &point[1..33]].concat());
            },
        ),
        end(
            "a point that is not on the curve",
            "certificate-key",
            Agrees,
            |c| {
                c.spki = ec(&object(oid::P256), &off());
            },
        ),
        end(
            "the point at infinity",
            "certificate-key",
            Accepts("it is no key"),
            |c| {
                c.spki = ec(&object(oid::P256), &[0]);
            },
        ),
        end("a key without its curve", "certificate-key", Agrees, |c| {
            c.spki = ec(&[], &p256(3).point());
        }),
        middle(
            "an intermediate whose point is not on the curve",
            "certificate-key",
            Agrees,
            |c| {
                c.spki = ec(&object(oid::P256), &off());
            },
        ),
        end("bytes behind the key", "certificate-not-der", Agrees, |c| {
            let algorithm = sequence(&[&object(oid::EC_KEY), &object(oid::P256)]);
            c.spki = sequence(&[&algorithm, &bits(&p256(3).point()), &tlv(0x05, &[])]);
        }),
    ]
}
