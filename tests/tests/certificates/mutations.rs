//! Certificates that were changed at random and signed again by the right key: whatever they have
//! become, we accept none that OpenSSL refuses.

use super::{OpenSsl, ours};
use countersign_tests::certificates::{NOW, World};
use countersign_tests::random::Random;

/// A few bytes of what is signed, changed.
fn change(random: &mut Random, tbs: &[u8]) -> Vec<u8> {
    let mut out = tbs.to_vec();
    for _ in 0..=random.below(2) {
        let at = random.below(out.len() as u64) as usize;
        match random.below(4) {
            0 => out[at] ^= 1 << random.below(8),
            1 => out[at] = random.bits() as u8,
            2 => out[at] = out[random.below(out.len() as u64) as usize],
            // A value that another length or another extension has.
            _ => out[at] = [0, 1, 2, 4, 6, 0x30, 0x80, 0xff][random.below(8) as usize],
        }
    }
    out
}

#[test]
fn what_openssl_refuses_of_random_certificates_we_refuse() {
    let Some(openssl) = OpenSsl::find() else {
        return;
    };
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |n| n.parse().expect("a number"))
    };
    let mut random = Random::new(number("SEED", 1));
    let (w, many) = (World::new(1), number("MUTATIONS", 600) as usize);
    let (chain, anchor) = (w.chain(), w.anchor());
    let (mut both, mut looser) = (0, Vec::new());
    for _ in 0..many.div_ceil(200) {
        let tbs = w.end.tbs();
        let ends: Vec<Vec<u8>> = (0..200)
            .map(|_| w.end.with(&change(&mut random, &tbs), &w.middle_key))
            .collect();
        let list: Vec<&[u8]> = ends.iter().map(Vec::as_slice).collect();
        let judged = openssl.verify(&list, &chain[1..], &anchor, NOW, "any");
        for (end, judged) in ends.iter().zip(judged) {
            let at = |time| ours(&[end, &chain[1]], &anchor, time) == "valid";
            let valid = at(NOW) && at(NOW + 1);
            both += usize::from(valid && judged.is_ok());
            if valid && judged.is_err() {
                looser.push(format!("end certificate {}", hex::encode(end)));
            }
        }
    }
    // An intermediate each: those that we refuse need no second opinion.
    let tbs = w.middle.tbs();
    for _ in 0..many {
        let middle = w.middle.with(&change(&mut random, &tbs), &w.root_key);
        // The last second is no part of a certificate's life for OpenSSL 3.0.
        if [NOW, NOW + 1]
            .iter()
            .any(|t| ours(&[&chain[0], &middle], &anchor, *t) != "valid")
        {
            continue;
        }
        let above = [middle];
        let judged = openssl.verify(&[&chain[0]], &above, &anchor, NOW, "any");
        match &judged[0] {
            Ok(()) => both += 1,
            Err(e) => looser.push(format!("intermediate ({e}) {}", hex::encode(&above[0]))),
        }
    }
    println!("{both} of {} valid for both", 2 * many);
    assert!(both > 0, "nothing was tried");
    assert!(looser.is_empty(), "\n{}", looser.join("\n"));
}
