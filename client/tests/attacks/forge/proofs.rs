//! Of inclusion, consistency, heads and maps.

use super::{Folder, seen_release};
use crate::forger::{Liar, Plan, Tile};
use ledger::state::Revoked;
use serde_json::json;
use tlog::prefix::PrefixTree;
use tlog::tree::prove_inclusion;

type Named = (&'static str, Folder);

pub fn folders() -> Vec<Named> {
    let mut all = inclusion();
    all.extend(heads());
    all
}

fn inclusion() -> Vec<Named> {
    let liar = Liar::known();
    let hashes = |change: &dyn Fn(&mut Vec<[u8; 32]>)| {
        Folder::genuine().bundled(|b| change(&mut b.entry.proof))
    };
    // Leaf 1 of a tree of four stands where a lax verifier finds leaf 5, too.
    let longer = Plan {
        more: 1,
        ..liar.plan()
    };
    let mut beyond = Folder::of(&liar, &longer)
        .bundled(|b| b.entry.index = 5)
        .remembering(|m| seen_release(m, &longer, 4));
    beyond.no_rollback = true;
    let early = Plan {
        first_size: 1,
        ..liar.plan()
    };
    // A release that the log never held: only the bundle has it.
    let never = Folder::genuine().bundled(|b| {
        let plan = liar.plan();
        let project = plan.project.clone();
        let never = Plan {
            release_time: plan.release_time - 1,
            ..liar.plan_for(project, &liar.release)
        };
        b.entry.leaf = liar.leaves(&never).0[1].clone();
    });
    // Each leaf stands in the tree behind the byte of inner nodes.
    let as_nodes = Folder::genuine().bundled(|b| {
        let plan = liar.plan();
        let (leaves, _) = liar.leaves(&plan);
        let hash = |leaf: &[u8]| ledger::sha256(&[&[1], leaf].concat());
        *b = liar.bundle_hashed(&plan, &leaves, &plan.release.pae_hash(), &hash);
    });
    vec![
        ("entry-hashed-as-a-node", as_nodes),
        ("proof-hash-surplus", hashes(&|p| p.push([0; 32]))),
        (
            "proof-hash-missing",
            hashes(&|p| {
                p.pop();
            }),
        ),
        ("proof-hashes-reordered", hashes(&|p| p.swap(0, 1))),
        ("proof-hash-duplicated", hashes(&|p| p.insert(0, p[0]))),
        (
            "index-one-too-high",
            Folder::genuine().bundled(|b| b.entry.index = 2),
        ),
        ("index-beyond-a-power-of-two", beyond),
        ("entry-that-was-never-logged", never),
        (
            "entry-after-its-first-checkpoint",
            Folder::of(&liar, &early),
        ),
    ]
}

fn heads() -> Vec<Named> {
    let liar = Liar::known();
    let longer = Plan {
        more: 1,
        ..liar.plan()
    };
    let (leaves, _) = liar.leaves(&longer);
    let tile = Tile(leaves.iter().map(|l| tlog::hash::leaf_hash(l)).collect());
    let earlier = Folder::of(&liar, &longer).bundled(|b| {
        b.head.leaf = leaves[2].clone();
        b.head.proof = prove_inclusion(2, 4, &tile).unwrap();
    });
    let covers_less = Plan {
        head_entries: 1,
        ..liar.plan()
    };
    // The map holds that the release's key is revoked; the bundle shows the state from before.
    let mut revoked = liar.plan();
    revoked.state.revoked.push(Revoked {
        index: 2,
        since: Some(1),
        statement: [1; 32],
        target: format!("key:{}", keys::Signer::public_key(&liar.release).id()),
    });
    let yesterday = Folder::of(&liar, &revoked).bundled(|b| b.head.state = liar.plan().state);
    let sibling = Folder::genuine().edited(|v| {
        v["head"]["map"]["siblings"][0] = json!("0".repeat(64));
    });
    let absent =
        Folder::genuine().bundled(|b| b.head.map = PrefixTree::new().prove(&liar.plan().id));

    // Another history, whose checkpoint the log has signed too, is not a prefix of this one.
    let rewritten = Folder::of(&liar, &longer).bundled(|b| {
        b.first = liar.note(3, [7; 32], crate::forger::T + 1);
    });
    let surplus = Folder::of(&liar, &longer).bundled(|b| {
        b.latest.as_mut().unwrap().consistency.push([0; 32]);
    });
    vec![
        ("head-of-an-earlier-batch", earlier),
        ("head-that-covers-less", Folder::of(&liar, &covers_less)),
        ("state-of-yesterday", yesterday),
        ("map-sibling-changed", sibling),
        ("map-without-the-project", absent),
        ("history-rewritten", rewritten),
        ("consistency-hash-surplus", surplus),
    ]
}
