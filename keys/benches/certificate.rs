//! What a certificate costs: a chain of three read and validated, as a verifier meets it; the same
//! chain asked about again; issuing one.
#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use keys::certificate::{
    Anchor, Authority, CertificateChain, Identity, Life, make_intermediate, make_request,
    make_root, request_key,
};
use keys::{SecretKey, Signer as _};
use std::collections::BTreeMap;
use std::hint::black_box;

const NOW: u64 = 1_790_000_000;
const DAY: u64 = 86_400;

fn identity() -> Identity {
    let claim = |n: u8, text: &str| (format!("1.3.6.1.4.1.57264.1.{n}"), text.to_owned());
    Identity {
        san: "https://forge.example/acme/tool/.ci/release.yml@refs/tags/v1".into(),
        issuer: "https://token.forge.example".into(),
        claims: BTreeMap::from([
            claim(
                9,
                "https://forge.example/acme/tool/.ci/release.yml@refs/tags/v1",
            ),
            claim(12, "https://forge.example/acme/tool"),
            claim(14, "refs/tags/v1"),
        ]),
    }
}

fn certificates(c: &mut Criterion) {
    let (root_key, key) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let years = Life {
        from: NOW - DAY,
        until: NOW + 3_650 * DAY,
    };
    let minutes = Life {
        from: NOW,
        until: NOW + 600,
    };
    let root = Anchor::parse(&make_root(&root_key, "acme root", years).unwrap()).unwrap();
    let between = SecretKey::generate().unwrap();
    let middle = make_intermediate(
        &root_key,
        &root,
        between.public_key(),
        "acme issuer 1",
        years,
    );
    let authority = Authority::new(Box::new(between), vec![middle.unwrap()]).unwrap();
    let chain = authority
        .issue(key.public_key(), &identity(), minutes)
        .unwrap();
    let ders: Vec<Vec<u8>> = chain.ders().map(<[u8]>::to_vec).collect();

    let mut group = c.benchmark_group("certificate");
    // End certificate, intermediate and anchor, each from its bytes.
    group.bench_function("chain of three, from its bytes", |b| {
        b.iter(|| {
            let anchor = Anchor::parse(black_box(root.der())).unwrap();
            let chain = CertificateChain::parse(black_box(&ders)).unwrap();
            chain.verify(&anchor, NOW).unwrap();
        });
    });
    group.bench_function("path of three", |b| {
        // A chain remembers what it found, so each is read anew.
        b.iter_batched(
            || CertificateChain::parse(&ders).unwrap(),
            |chain| chain.verify(black_box(&root), NOW).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("the same path again", |b| {
        chain.verify(&root, NOW).unwrap();
        b.iter(|| black_box(&chain).verify(black_box(&root), NOW).unwrap());
    });
    group.bench_function("issue", |b| {
        let identity = identity();
        b.iter(|| {
            authority
                .issue(key.public_key(), black_box(&identity), minutes)
                .unwrap()
        });
    });
    group.bench_function("request checked", |b| {
        let request = make_request(&key).unwrap();
        b.iter(|| request_key(black_box(&request)).unwrap());
    });
    group.finish();
}

criterion_group!(benches, certificates);
criterion_main!(benches);
