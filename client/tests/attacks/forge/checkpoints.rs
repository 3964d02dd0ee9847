//! Of checkpoints: signature lines, log keys, cosignatures, quorums, split views.

use super::{DAY, Folder, cosignature, seen};
use crate::forger::{Liar, ORIGIN, Plan, T, known_ed25519};
use keys::Ed25519Secret;
use tlog::note::{Note, NoteSignature};
use tlog::vkey::VerifierKey;

type Named = (&'static str, Folder);

pub fn folders() -> Vec<Named> {
    let mut all = lines();
    all.extend(cosignatures());
    all.extend(quorums());
    all.extend(views());
    all
}

fn junk(id: u32) -> NoteSignature {
    NoteSignature {
        name: "x".into(),
        key_id: id.to_be_bytes(),
        signature: vec![0],
    }
}

/// Line 0 is by the P-256 key, line 1 by the Ed25519 key, line 2 by the witness.
fn lines() -> Vec<Named> {
    let signed = |change: &dyn Fn(&mut Note)| Folder::genuine().signed(|n| change(n));
    let liar = Liar::known();
    let thief = known_ed25519("countersign test thief");
    vec![
        (
            "checkpoint-unsigned",
            signed(&|n| n.signatures = vec![junk(1)]),
        ),
        (
            "checkpoint-signed-by-another-key",
            signed(&|n| n.signatures[1].signature = thief.sign(n.text.as_bytes()).to_vec()),
        ),
        (
            "checkpoint-under-another-key-id",
            signed(&|n| n.signatures[0].key_id = [1, 2, 3, 4]),
        ),
        (
            "checkpoint-under-another-name",
            signed(&|n| n.signatures[1].name = "log.example.net".into()),
        ),
        (
            "signature-that-fails-beside-a-good-one",
            signed(&|n| {
                let mut twin = n.signatures[1].clone();
                twin.signature[0] ^= 1;
                n.signatures.push(twin);
            }),
        ),
        (
            "ten-thousand-signature-lines",
            signed(&|n| n.signatures.extend((0..10_000).map(junk))),
        ),
        (
            "log-key-ed25519-alone",
            signed(&|n| {
                n.signatures.remove(0);
            }),
        ),
        (
            "log-key-p256-alone",
            signed(&|n| {
                n.signatures.remove(1);
            }),
        ),
        (
            // Not one of the types that signed-note has.
            "unknown-key-in-the-logs-name",
            signed(&|n| {
                n.signatures[1].key_id = [0xff, 2, 3, 4];
                n.signatures[1].signature = vec![0xff; 64];
            }),
        ),
        (
            "log-key-signs-as-the-witness",
            signed(&|n| {
                let line = cosignature("w.example", &liar.ed25519, &n.text, T + 1);
                n.signatures[2].signature = line.signature;
            }),
        ),
    ]
}

fn cosignatures() -> Vec<Named> {
    let liar = Liar::known();
    let thief = known_ed25519("countersign test thief");
    let line = |change: &dyn Fn(&mut Note)| Folder::genuine().signed(|n| change(n));
    let at = |time: u64| {
        line(&|n| n.signatures[2] = cosignature("w.example", &liar.witness, &n.text, time))
    };
    let older = Note::parse(liar.note(2, [7; 32], T).as_bytes()).unwrap();
    vec![
        (
            "cosignature-stripped",
            line(&|n| {
                n.signatures.pop();
            }),
        ),
        (
            "cosignature-forged",
            line(&|n| {
                let forged = cosignature("w.example", &thief, &n.text, T + 1);
                n.signatures[2].signature = forged.signature;
            }),
        ),
        (
            "cosignature-of-another-checkpoint",
            line(&|n| n.signatures[2] = older.signatures[2].clone()),
        ),
        ("cosignature-of-the-future", at(T + 10 + 301)),
        (
            "cosignature-dated-zero",
            at(0).under(|p| p.min_age = Some(DAY)),
        ),
        (
            "cosignature-redated",
            line(&|n| n.signatures[2].signature[7] ^= 1).under(|p| p.max_age = Some(DAY)),
        ),
        (
            "quorum-by-an-unknown-key",
            line(&|n| n.signatures[2] = cosignature("w.example", &thief, &n.text, T + 1)),
        ),
    ]
}

/// Witnesses A, B and C, whose keys everybody knows.
struct Three([Ed25519Secret; 3]);

impl Three {
    fn new() -> Self {
        Self(["A", "B", "C"].map(|w| known_ed25519(&format!("countersign test witness {w}"))))
    }

    fn policy(&self, groups: &str) -> String {
        let vkey = |i: usize| {
            let name = ["a.example", "b.example", "c.example"][i];
            VerifierKey::cosignature(name, &self.0[i].public_bytes()).unwrap()
        };
        format!(
            "witness A {}\nwitness B {}\nwitness C {}\n{groups}\n",
            vkey(0),
            vkey(1),
            vkey(2)
        )
    }

    /// The genuine bundle, cosigned by those who have a time.
    fn folder(&self, groups: &str, times: [Option<u64>; 3]) -> Folder {
        self.cosigned(Folder::genuine(), groups, times)
    }

    fn cosigned(&self, folder: Folder, groups: &str, times: [Option<u64>; 3]) -> Folder {
        let signed = folder.signed(|n| {
            n.signatures.truncate(2);
            for (i, time) in times.into_iter().enumerate() {
                let name = ["a.example", "b.example", "c.example"][i];
                if let Some(time) = time {
                    n.signatures
                        .push(cosignature(name, &self.0[i], &n.text, time));
                }
            }
        });
        signed.witnessed(&self.policy(groups))
    }
}

fn quorums() -> Vec<Named> {
    let three = Three::new();
    let two_of_three = "group Q 2 A B C\nquorum Q";
    let nested = "group AB any A B\ngroup Q all AB C\nquorum Q";
    // The log dates the entry back as far as its one witness does.
    let backdated = Plan {
        release_time: T - 30 * DAY,
        ..Liar::known().plan()
    };
    let young = three.cosigned(
        Folder::of(&Liar::known(), &backdated),
        two_of_three,
        [Some(T - 30 * DAY), Some(T + 1), Some(T + 2)],
    );
    let old = three.folder(two_of_three, [Some(T + 9 * DAY), Some(T + 1), Some(T + 2)]);

    // The policy of somebody who was told of two witnesses; it is one, and it signs for both.
    let liar = Liar::known();
    let vkey = |name| VerifierKey::cosignature(name, &liar.witness.public_bytes()).unwrap();
    let twins = format!(
        "witness W {}\nwitness V {}\ngroup Q all W V\nquorum Q\n",
        vkey("w.example"),
        vkey("v.example")
    );
    let mut twice = Folder::genuine().signed(|n| {
        let line = cosignature("v.example", &liar.witness, &n.text, T + 1);
        n.signatures.push(line);
    });
    let lines = "witness W ";
    let mut in_policy = false;
    twice.policy = twice
        .policy
        .lines()
        .flat_map(|l| match l {
            l if l.starts_with(lines) => twins.lines().map(str::to_owned).collect(),
            "quorum W" => Vec::new(),
            l => vec![l.to_owned()],
        })
        .inspect(|l| in_policy |= l.contains("v.example"))
        .collect::<Vec<_>>()
        .join("\n");
    assert!(in_policy, "{}", twice.policy);
    vec![
        (
            "quorum-one-short",
            three.folder(two_of_three, [None, Some(T + 1), None]),
        ),
        (
            "quorum-of-a-nested-group-short",
            three.folder(nested, [Some(T + 1), Some(T + 1), None]),
        ),
        (
            "one-lying-clock-for-min-age",
            young.under(|p| p.min_age = Some(DAY)),
        ),
        (
            "one-lying-clock-for-max-age",
            old.under(|p| p.max_age = Some(DAY)).at(T + 9 * DAY),
        ),
        ("one-witness-under-two-names", twice),
    ]
}

fn views() -> Vec<Named> {
    let liar = Liar::known();
    let split = Folder::genuine().remembering(|m| {
        m.logs.insert(ORIGIN.into(), seen(3, [7; 32], 0));
    });
    let floor = Folder::genuine().under(|p| {
        p.log.checkpoint_floor = Some(liar.note(3, [7; 32], T));
    });
    vec![
        ("split-view-against-memory", split),
        ("split-view-against-the-policy", floor),
    ]
}
