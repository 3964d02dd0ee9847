//! The one name, subjects and issuers, claims, name constraints.

use super::{Accepts, Agrees, Case, Second, end, middle, root, world};
use countersign_tests::certificates::der::{name, name_of, object, oid, sequence, tag, tlv};
use countersign_tests::certificates::{Certificate, OIDC, SAN, World, dns, email, uri};

const ONE_NAME: &str = "the identity is this name: there is one, and everybody reads the same";
const UNREAD: &str = "OpenSSL does not know this extension; we decide by it";
const WHO: &str = "an authority's name is shown to people: it is UTF8String, PrintableString or IA5String, without control characters";
const REFUSED_WHOLE: &str = "constraints on URIs, e-mail addresses and subjects are refused where they apply, met or not, and by our own word, since a library may understand them one day";

pub fn cases() -> Vec<Case> {
    let mut all = alternative();
    all.extend(subjects());
    all.extend(claims());
    all.extend(constraints());
    all
}

/// An end certificate with these alternative names.
fn names(name: &'static str, want: &'static str, second: Second, list: &[&[u8]]) -> Case {
    end(name, want, second, |c| {
        c.set(oid::SUBJECT_ALT_NAME, true, sequence(list))
    })
}

fn alternative() -> Vec<Case> {
    let bad = "certificate-name";
    let one = Accepts(ONE_NAME);
    let directory = tlv(0xa4, &name("acme"));
    let other = tlv(
        0xa0,
        &[object("1.2.3.4"), tlv(0xa0, &tlv(tag::UTF8, b"x"))].concat(),
    );
    let long = format!("https://a.example/{}", "x".repeat(500));
    vec![
        names(
            "an e-mail address",
            "valid",
            Agrees,
            &[&email("ci@forge.example")],
        ),
        names(
            "a URI of another scheme",
            "valid",
            Agrees,
            &[&uri("spiffe://acme/tool")],
        ),
        names(
            "two URIs",
            bad,
            one,
            &[&uri(SAN), &uri("https://b.example/")],
        ),
        names("the same URI twice", bad, one, &[&uri(SAN), &uri(SAN)]),
        names(
            "a URI and an e-mail address",
            bad,
            one,
            &[&uri(SAN), &email("ci@a.example")],
        ),
        names("a DNS name", bad, one, &[&dns("forge.example")]),
        names("an IP address", bad, one, &[&tlv(0x87, &[127, 0, 0, 1])]),
        names("a directory name", bad, one, &[&directory]),
        names("another name", bad, one, &[&other]),
        names("a registered number", bad, one, &[&tlv(0x88, &[0x2a, 3])]),
        names("no name in the list", bad, Agrees, &[]),
        names("an empty URI", bad, one, &[&uri("")]),
        names(
            "a NUL within the URI",
            bad,
            one,
            &[&uri("https://forge.example\0.evil.example/")],
        ),
        names(
            "a NUL at the URI's end",
            bad,
            one,
            &[&uri("https://forge.example/\0")],
        ),
        names(
            "a NUL within the e-mail address",
            bad,
            one,
            &[&email("ci@a.example\0.b.example")],
        ),
        names(
            "a line break in the URI",
            bad,
            one,
            &[&uri("https://forge.example/\nx")],
        ),
        names(
            "a blank in the URI",
            bad,
            one,
            &[&uri("https://forge.example/ x")],
        ),
        names(
            "an escape sequence in the URI",
            bad,
            one,
            &[&uri("https://forge.example/\u{1b}[2J")],
        ),
        names(
            "a letter that is not of ASCII",
            "certificate-extension",
            one,
            &[&uri("https://\u{430}cme.example/")],
        ),
        names("a URI without a scheme", bad, one, &[&uri("forge.example")]),
        names(
            "an e-mail address without its sign",
            bad,
            one,
            &[&email("forge.example")],
        ),
        names(
            "a URI of more than 512 bytes",
            bad,
            Accepts("a limit of ours"),
            &[&uri(&long)],
        ),
        end(
            "no alternative name, no subject",
            "certificate-extension",
            Agrees,
            |c| c.remove(oid::SUBJECT_ALT_NAME),
        ),
        end(
            "an alternative name that is not critical",
            "certificate-extension",
            Agrees,
            |c| {
                c.set(oid::SUBJECT_ALT_NAME, false, sequence(&[&uri(SAN)]));
            },
        ),
        end(
            "a second alternative name extension",
            "certificate-repeated-extension",
            Agrees,
            |c| {
                c.add(oid::SUBJECT_ALT_NAME, true, sequence(&[&uri(SAN)]));
            },
        ),
    ]
}

fn called(w: &mut World, subject: &[u8]) {
    w.middle.subject = subject.to_vec();
    w.end.issuer = subject.to_vec();
}

fn subjects() -> Vec<Case> {
    let bad = "certificate-subject";
    let same = "names are compared byte for byte, since one authority writes its name in one way";
    vec![
        end(
            "a subject in an end certificate",
            bad,
            Accepts(ONE_NAME),
            |c| c.subject = name("acme"),
        ),
        world("an authority without a subject", bad, Agrees, |w| {
            called(w, &sequence(&[]))
        }),
        end("no issuer", bad, Agrees, |c| c.issuer = sequence(&[])),
        world("a NUL in an authority's name", bad, Accepts(WHO), |w| {
            called(w, &name("acme\0evil"))
        }),
        world(
            "an escape sequence in an authority's name",
            bad,
            Accepts(WHO),
            |w| called(w, &name("\u{1b}[2Jacme")),
        ),
        world("a NUL in the anchor's name", bad, Accepts(WHO), |w| {
            w.root.subject = name("acme\0root");
            w.middle.issuer.clone_from(&w.root.subject);
        }),
        middle("a NUL in the issuer's name alone", bad, Agrees, |c| {
            c.issuer = name("acme root\0")
        }),
        world(
            "an authority's name of four bytes a letter",
            "certificate-not-der",
            Accepts(WHO),
            |w| {
                called(w, &name_of(0x1c, b"\0\0\0a\0\0\0b"));
            },
        ),
        end(
            "the issuer's name in capitals",
            "certificate-order",
            Accepts(same),
            |c| c.issuer = name("ACME ISSUER 1"),
        ),
        end(
            "the issuer's name as another type of string",
            "certificate-order",
            Accepts(same),
            |c| {
                c.issuer = name_of(tag::PRINTABLE, b"acme issuer 1");
            },
        ),
        end(
            "the issuer's name with a blank more",
            "certificate-order",
            Accepts(same),
            |c| c.issuer = name("acme  issuer 1"),
        ),
        end("another issuer's name", "certificate-order", Agrees, |c| {
            c.issuer = name("other issuer")
        }),
        middle(
            "another root's name",
            "certificate-other-issuer",
            Agrees,
            |c| c.issuer = name("other root"),
        ),
    ]
}

fn claim(c: &mut Certificate, raw: Option<&[u8]>, der: Option<&[u8]>) {
    c.remove(oid::ISSUER_RAW);
    c.remove(oid::ISSUER);
    if let Some(raw) = raw {
        c.set(oid::ISSUER_RAW, false, raw.to_vec());
    }
    if let Some(der) = der {
        c.set(oid::ISSUER, false, tlv(tag::UTF8, der));
    }
}

fn claims() -> Vec<Case> {
    let (bad, unread) = ("certificate-claim", Accepts(UNREAD));
    let issuer = OIDC.as_bytes();
    vec![
        end(
            "the issuer claim in its first form alone",
            "valid",
            Agrees,
            |c| claim(c, Some(issuer), None),
        ),
        end(
            "the issuer claim in its second form alone",
            "valid",
            Agrees,
            |c| claim(c, None, Some(issuer)),
        ),
        end("no issuer claim", bad, unread, |c| claim(c, None, None)),
        end("two issuers", bad, unread, |c| {
            claim(c, Some(issuer), Some(b"https://b.example"))
        }),
        end("an empty issuer", bad, unread, |c| {
            claim(c, None, Some(b""))
        }),
        end("a NUL in the issuer", bad, unread, |c| {
            claim(c, None, Some(b"https://a.example\0"))
        }),
        end(
            "an issuer with a letter that is not of ASCII",
            bad,
            unread,
            |c| {
                claim(c, None, Some("https://\u{430}.example".as_bytes()));
            },
        ),
        end("an issuer that is no UTF-8", bad, unread, |c| {
            claim(c, Some(&[0xff, 0xfe]), None)
        }),
        end("the issuer as another type of string", bad, unread, |c| {
            c.set(oid::ISSUER, false, tlv(tag::PRINTABLE, issuer));
        }),
        end("the issuer's second form as bare text", bad, unread, |c| {
            c.set(oid::ISSUER, false, issuer.to_vec())
        }),
        end("bytes behind the issuer", bad, unread, |c| {
            c.extension(oid::ISSUER).value.push(0)
        }),
        end(
            "a claim twice",
            "certificate-repeated-extension",
            unread,
            |c| {
                c.add(oid::ISSUER, false, tlv(tag::UTF8, issuer));
            },
        ),
        end(
            "a claim's number with a zero in front",
            "certificate-not-der",
            Agrees,
            |c| {
                c.add(
                    "1.3.6.1.4.1.57264.1.08",
                    false,
                    tlv(tag::UTF8, b"https://b.example"),
                );
            },
        ),
        end("a claim that is not text", bad, unread, |c| {
            c.set("1.3.6.1.4.1.57264.1.9", false, tlv(tag::INTEGER, &[1]));
        }),
        end("a critical claim", "certificate-path", Agrees, |c| {
            c.set(oid::ISSUER, true, tlv(tag::UTF8, issuer));
        }),
        end(
            "an extension beside the claims' numbers",
            "valid",
            Agrees,
            |c| {
                c.set("1.3.6.1.4.1.57264.2", false, vec![1]);
            },
        ),
    ]
}

/// Name constraints: subtrees that are permitted and excluded.
fn limits(permitted: &[&[u8]], excluded: &[&[u8]]) -> Vec<u8> {
    let list = |tag: u8, names: &[&[u8]]| match names {
        [] => Vec::new(),
        names => tlv(
            tag,
            &names
                .iter()
                .flat_map(|n| sequence(&[n]))
                .collect::<Vec<_>>(),
        ),
    };
    sequence(&[&list(0xa0, permitted), &list(0xa1, excluded)])
}

fn constraints() -> Vec<Case> {
    let bad = "certificate-path";
    let whole = Accepts(REFUSED_WHOLE);
    let on = |name, want, second, permitted: &[&[u8]], excluded: &[&[u8]]| {
        let value = limits(permitted, excluded);
        middle(name, want, second, |c| {
            c.set(oid::NAME_CONSTRAINTS, true, value)
        })
    };
    let by_mail = |name, want, second, permitted: &[&[u8]], excluded: &[&[u8]]| {
        let value = limits(permitted, excluded);
        world(name, want, second, |w| {
            w.middle.set(oid::NAME_CONSTRAINTS, true, value);
            w.end.set(
                oid::SUBJECT_ALT_NAME,
                true,
                sequence(&[&email("ci@forge.example")]),
            );
        })
    };
    let directory = |text: &str| tlv(0xa4, &name(text));
    vec![
        on(
            "URIs of another host are permitted",
            bad,
            Agrees,
            &[&uri("other.example")],
            &[],
        ),
        on(
            "URIs of this host are excluded",
            bad,
            Agrees,
            &[],
            &[&uri("forge.example")],
        ),
        on(
            "URIs of this host are permitted",
            bad,
            whole,
            &[&uri("forge.example")],
            &[],
        ),
        on(
            "URIs of another host are excluded",
            bad,
            whole,
            &[],
            &[&uri("other.example")],
        ),
        by_mail(
            "addresses of another host are permitted",
            bad,
            Agrees,
            &[&email("other.example")],
            &[],
        ),
        by_mail(
            "addresses of this host are excluded",
            bad,
            Agrees,
            &[],
            &[&email("forge.example")],
        ),
        by_mail(
            "addresses of this host are permitted",
            bad,
            whole,
            &[&email("forge.example")],
            &[],
        ),
        by_mail(
            "addresses of another host are excluded",
            bad,
            whole,
            &[],
            &[&email("other.example")],
        ),
        by_mail(
            "URIs are limited, and the name is an address",
            "valid",
            Agrees,
            &[&uri("other.example")],
            &[],
        ),
        on(
            "DNS names are limited, and the name is a URI",
            "valid",
            Agrees,
            &[&dns("other.example")],
            &[],
        ),
        on(
            "DNS names are excluded, and the name is a URI",
            "valid",
            Agrees,
            &[],
            &[&dns("forge.example")],
        ),
        on(
            "subjects of another name are permitted",
            bad,
            whole,
            &[&directory("other")],
            &[],
        ),
        on("a constraint without subtrees", "valid", Agrees, &[], &[]),
        middle("a constraint that is no DER", bad, Agrees, |c| {
            c.set(oid::NAME_CONSTRAINTS, true, vec![0xff])
        }),
        middle(
            "a constraint that is not critical is kept all the same",
            bad,
            Agrees,
            |c| {
                c.set(
                    oid::NAME_CONSTRAINTS,
                    false,
                    limits(&[], &[&uri("forge.example")]),
                );
            },
        ),
        root("the anchor's own constraint is kept", bad, Agrees, |c| {
            c.set(
                oid::NAME_CONSTRAINTS,
                true,
                limits(&[], &[&uri("forge.example")]),
            );
        }),
        root(
            "the anchor permits subjects of another name",
            bad,
            Agrees,
            |c| {
                c.set(
                    oid::NAME_CONSTRAINTS,
                    true,
                    limits(&[&directory("other")], &[]),
                );
            },
        ),
        root(
            "the anchor permits subjects of this name",
            bad,
            whole,
            |c| {
                c.set(
                    oid::NAME_CONSTRAINTS,
                    true,
                    limits(&[&directory("acme issuer 1")], &[]),
                );
            },
        ),
        end(
            "a constraint in an end certificate",
            "certificate-unknown-critical",
            Accepts("RFC 5280 §4.2.1.10: in an authority's only"),
            |c| {
                c.set(
                    oid::NAME_CONSTRAINTS,
                    true,
                    limits(&[&dns("a.example")], &[]),
                );
            },
        ),
    ]
}
