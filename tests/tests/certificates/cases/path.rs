//! Authorities and what is below them, other authorities, times.

use super::{Accepts, Agrees, Case, Refuses, end, middle, of, root, world};
use countersign_tests::certificates::der::{self, oid, sequence, tag, tlv, utc};
use countersign_tests::certificates::{
    Certificate, END, Key, MIDDLE, NOW, ROOT, World, authority, key_identifier,
};

const WHOLE: &str = "what stands in the chain is the path, in order, and nothing beside it";

pub fn cases() -> Vec<Case> {
    let mut all = authorities();
    all.extend(lengths());
    all.extend(others());
    all.extend(times());
    all
}

fn yes(rest: &[u8]) -> Vec<u8> {
    sequence(&[&tlv(tag::BOOLEAN, &[0xff]), rest])
}

fn authorities() -> Vec<Case> {
    let id = oid::BASIC_CONSTRAINTS;
    vec![
        end(
            "an end certificate that says that it is none of an authority",
            "valid",
            Agrees,
            |c| c.set(id, true, sequence(&[])),
        ),
        end(
            "an authority's bit in an end certificate",
            "certificate-subject",
            Agrees,
            |c| c.set(id, true, yes(&[])),
        ),
        end(
            "an authority's bit in an end certificate, not critical",
            "certificate-subject",
            Agrees,
            |c| c.set(id, false, yes(&[])),
        ),
        end(
            "an end certificate with a path length",
            "certificate-extension",
            Agrees,
            |c| {
                c.set(id, true, sequence(&[&tlv(tag::INTEGER, &[0])]));
            },
        ),
        end(
            "basic constraints that write their default out",
            "valid",
            Agrees,
            |c| {
                c.set(id, true, sequence(&[&tlv(tag::BOOLEAN, &[0])]));
            },
        ),
        end(
            "basic constraints with a truth value that DER does not have",
            "certificate-extension",
            Agrees,
            |c| {
                c.set(id, true, sequence(&[&tlv(tag::BOOLEAN, &[1])]));
            },
        ),
        end(
            "basic constraints that are no DER",
            "certificate-extension",
            Agrees,
            |c| c.set(id, true, vec![0xff]),
        ),
        middle(
            "an intermediate without an authority's bit",
            "certificate-subject",
            Agrees,
            |c| c.set(id, true, sequence(&[])),
        ),
        middle(
            "an intermediate without basic constraints",
            "certificate-subject",
            Agrees,
            |c| c.remove(id),
        ),
        middle(
            "an intermediate's basic constraints that are not critical",
            "certificate-extension",
            Agrees,
            |c| {
                c.set(id, false, yes(&tlv(tag::INTEGER, &[0])));
            },
        ),
        middle(
            "an intermediate that says no path length",
            "valid",
            Agrees,
            |c| c.set(id, true, yes(&[])),
        ),
        middle(
            "a negative path length",
            "certificate-extension",
            Agrees,
            |c| c.set(id, true, yes(&tlv(tag::INTEGER, &[0xff]))),
        ),
        middle(
            "a path length of 300",
            "certificate-extension",
            Accepts("a limit of the reader: more than 255"),
            |c| {
                c.set(id, true, yes(&tlv(tag::INTEGER, &[1, 44])));
            },
        ),
        root(
            "an anchor without an authority's bit",
            "certificate-subject",
            Agrees,
            |c| c.remove(id),
        ),
        root(
            "an anchor's basic constraints that are not critical",
            "certificate-extension",
            Agrees,
            |c| c.set(id, false, yes(&[])),
        ),
    ]
}

/// A path with a second intermediate between the first and the end certificate.
fn long(
    name: &'static str,
    want: &'static str,
    second: super::Second,
    edit: impl FnOnce(&mut World, &mut Certificate),
) -> Case {
    let (mut w, lower_key) = (World::new(1), Key::p256(50));
    authority(&mut w.root, None);
    authority(&mut w.middle, None);
    let mut lower = w.middle.clone();
    lower.subject = der::name("acme issuer 2");
    lower.issuer = w.middle.subject.clone();
    lower.spki = lower_key.spki();
    lower.set(
        oid::SUBJECT_KEY_IDENTIFIER,
        false,
        tlv(tag::OCTETS, &lower_key.identifier()),
    );
    lower.set(
        oid::AUTHORITY_KEY_IDENTIFIER,
        false,
        key_identifier(&w.middle_key),
    );
    w.end.set(
        oid::AUTHORITY_KEY_IDENTIFIER,
        false,
        key_identifier(&lower_key),
    );
    edit(&mut w, &mut lower);
    w.end.issuer = lower.subject.clone();
    let mut case = of(name, want, second, &w);
    case.chain = vec![
        w.end.sign(&lower_key),
        lower.sign(&w.middle_key),
        w.middle.sign(&w.root_key),
    ];
    case
}

fn lengths() -> Vec<Case> {
    let bad = "certificate-path-length";
    vec![
        long("two intermediates", "valid", Agrees, |_, _| {}),
        long(
            "two intermediates, as many as the anchor allows",
            "valid",
            Agrees,
            |w, _| authority(&mut w.root, Some(2)),
        ),
        long(
            "two intermediates, one more than the anchor allows",
            bad,
            Agrees,
            |w, _| authority(&mut w.root, Some(1)),
        ),
        long(
            "an intermediate below one that allows none",
            bad,
            Agrees,
            |w, _| authority(&mut w.middle, Some(0)),
        ),
        long(
            "an intermediate below one that allows one",
            "valid",
            Agrees,
            |w, _| authority(&mut w.middle, Some(1)),
        ),
        root(
            "an intermediate below an anchor that allows none",
            bad,
            Agrees,
            |c| authority(c, Some(0)),
        ),
        long(
            "a self-issued intermediate more than is allowed",
            bad,
            Accepts("RFC 5280 §6.1.4 does not count them; the profile has none"),
            |w, lower| {
                authority(&mut w.middle, Some(0));
                lower.subject.clone_from(&w.middle.subject);
            },
        ),
        long(
            "the last intermediate allows none",
            "valid",
            Agrees,
            |_, lower| authority(lower, Some(0)),
        ),
        long(
            "an end certificate in an intermediate's place",
            "certificate-subject",
            Agrees,
            |_, lower| {
                lower.remove(oid::BASIC_CONSTRAINTS);
                lower.set(oid::KEY_USAGE, true, tlv(tag::BITS, &[7, 0x80]));
            },
        ),
        {
            // An end certificate of the profile that issues another one.
            let w = World::new(1);
            let mut below = World::new(1).end;
            below.issuer = sequence(&[]);
            below.set(
                oid::AUTHORITY_KEY_IDENTIFIER,
                false,
                key_identifier(&w.end_key),
            );
            let mut case = of(
                "an end certificate that issues another",
                "certificate-subject",
                Agrees,
                &w,
            );
            case.chain.insert(0, below.sign(&w.end_key));
            case
        },
    ]
}

fn others() -> Vec<Case> {
    let (w, other) = (World::new(1), World::new(2));
    let at = |name, want, second, chain: Vec<Vec<u8>>, anchor: Vec<u8>| Case {
        name,
        chain,
        anchor,
        time: NOW,
        want,
        second,
    };
    let (mine, theirs) = (w.chain(), other.chain());
    let (elsewhere, count) = ("certificate-other-issuer", "certificate-count");
    let impostor = {
        // Another authority's, under the same names and key identifiers.
        let mut o = World::new(2);
        let id = |key: &Key| tlv(tag::OCTETS, &key.identifier());
        o.root
            .set(oid::SUBJECT_KEY_IDENTIFIER, false, id(&w.root_key));
        o.middle.set(
            oid::AUTHORITY_KEY_IDENTIFIER,
            false,
            key_identifier(&w.root_key),
        );
        o.chain()
    };
    let direct = {
        let mut w = World::new(1);
        w.end.issuer = w.root.subject.clone();
        w.end.set(
            oid::AUTHORITY_KEY_IDENTIFIER,
            false,
            key_identifier(&w.root_key),
        );
        w.end.sign(&w.root_key)
    };
    let own = {
        let mut w = World::new(1);
        w.end.issuer = w.end.subject.clone();
        w.end.set(
            oid::AUTHORITY_KEY_IDENTIFIER,
            false,
            key_identifier(&w.end_key),
        );
        w.end.sign(&w.end_key)
    };
    vec![
        at(
            "another authority's path, of the same names",
            elsewhere,
            Agrees,
            theirs.clone(),
            w.anchor(),
        ),
        at(
            "another authority's path, of the same names and identifiers",
            "certificate-path",
            Agrees,
            impostor,
            w.anchor(),
        ),
        at(
            "another authority's end certificate",
            "certificate-order",
            Agrees,
            vec![theirs[0].clone(), mine[1].clone()],
            w.anchor(),
        ),
        at(
            "an end certificate that the anchor issued",
            "valid",
            Agrees,
            vec![direct.clone()],
            w.anchor(),
        ),
        at(
            "an end certificate that the intermediate issued, which is the anchor",
            "valid",
            Agrees,
            vec![mine[0].clone()],
            mine[1].clone(),
        ),
        at(
            "an end certificate without its intermediate",
            elsewhere,
            Agrees,
            vec![mine[0].clone()],
            w.anchor(),
        ),
        at(
            "an end certificate that signed itself",
            "certificate-subject",
            Agrees,
            vec![own.clone()],
            w.anchor(),
        ),
        at(
            "an end certificate as anchor",
            "certificate-not-authority",
            Accepts("an anchor is an authority"),
            vec![mine[0].clone()],
            mine[0].clone(),
        ),
        at(
            "an intermediate that nobody needs",
            "certificate-order",
            Accepts(WHOLE),
            vec![direct, mine[1].clone()],
            w.anchor(),
        ),
        at(
            "another's intermediate beside the path",
            "certificate-order",
            Accepts(WHOLE),
            [mine.clone(), vec![theirs[1].clone()]].concat(),
            w.anchor(),
        ),
        at(
            "the intermediate twice",
            "certificate-order",
            Accepts(WHOLE),
            [mine.clone(), vec![mine[1].clone()]].concat(),
            w.anchor(),
        ),
        at(
            "the anchor in the chain",
            "certificate-path-length",
            Accepts(WHOLE),
            [mine.clone(), vec![w.anchor()]].concat(),
            w.anchor(),
        ),
        at(
            "the intermediate first",
            "certificate-is-authority",
            Accepts("OpenSSL is asked about the first, and an authority's certificate is one too"),
            vec![mine[1].clone(), mine[0].clone()],
            w.anchor(),
        ),
        at(
            "the end certificate twice",
            "certificate-not-authority",
            Accepts(WHOLE),
            vec![mine[0].clone(), mine[0].clone(), mine[1].clone()],
            w.anchor(),
        ),
        at(
            "five certificates",
            count,
            Accepts("a limit of ours"),
            [mine.clone(), vec![mine[1].clone(); 3]].concat(),
            w.anchor(),
        ),
        {
            let mut w = World::new(1);
            let mut case = of(
                "a root of the same key under another certificate",
                "valid",
                Agrees,
                &w,
            );
            w.root.serial = tlv(tag::INTEGER, &[7]);
            case.anchor = w.anchor();
            case
        },
        world(
            "an anchor that another authority issued",
            "valid",
            Agrees,
            |w| {
                w.root.issuer = der::name("a root above");
                w.root.set(
                    oid::AUTHORITY_KEY_IDENTIFIER,
                    false,
                    key_identifier(&Key::p256(99)),
                );
            },
        ),
    ]
}

fn times() -> Vec<Case> {
    let at = |name, time, want, second| Case {
        time,
        ..of(name, want, second, &World::new(1))
    };
    let late = |name, want, edit: fn(&mut World)| world(name, want, Agrees, edit);
    let bad = "certificate-time";

    let inclusive =
        Refuses("RFC 5280 §4.1.2.5: the last second is part of it; OpenSSL 3.0 ends before it");

    vec![
        at("the first second", END.0, "valid", Agrees),
        at("a second before", END.0 - 1, bad, Agrees),
        at("a second before the last", END.1 - 1, "valid", Agrees),
        at("the last second", END.1, "valid", inclusive),
        at("a second after", END.1 + 1, bad, Agrees),
        at("the year 1970", 1, bad, Agrees),
        at("long after", ROOT.1 + 86_400, bad, Agrees),
        late("an intermediate that has ended", bad, |w| {
            w.middle.not_after = utc(NOW - 1)
        }),
        late("an intermediate that is not yet valid", bad, |w| {
            w.middle.not_before = utc(NOW + 1)
        }),
        late("an anchor that has ended", bad, |w| {
            w.root.not_after = utc(NOW - 1)
        }),
        late("an anchor that is not yet valid", bad, |w| {
            w.root.not_before = utc(NOW + 1)
        }),
        late("certificates that were never valid together", bad, |w| {
            w.middle.not_before = utc(MIDDLE.0 - 86_400 * 9);
            w.middle.not_after = utc(END.0 - 1);
        }),
        late(
            "an end certificate that outlives its intermediate",
            "valid",
            |w| {
                w.middle.not_after = utc(NOW + 1);
            },
        ),
    ]
}
