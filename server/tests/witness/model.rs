//! Generated sequences of requests against a model that knows all leaves: the witness says of each
//! what the model says, and never cosigns two checkpoints that are not of one history.

use crate::played::Played;
use countersign_server::witness::check::{self, Admitted, Refusal, extends};
use countersign_server::witness::logs::{Logs, log_key};
use countersign_server::witness::state::Latest;
use proptest::prelude::*;
use std::sync::{Arc, OnceLock};
use tlog::Hash;
use tlog::hash::EMPTY_ROOT;
use tlog::witness::AddCheckpoint;

const LEAVES: u64 = 21;

/// Histories of one log: they part at these sizes, or never.
fn histories() -> &'static [Played] {
    static ALL: OnceLock<Vec<Played>> = OnceLock::new();
    ALL.get_or_init(|| {
        let log = crate::bench::log("log.example", LEAVES);
        let forks = [0, 3, 8, 13].map(|at| log.fork(at, at + 1));
        std::iter::once(log).chain(forks).collect()
    })
}

#[derive(Debug, Clone, Copy)]
enum Old {
    /// What was cosigned last.
    Right,
    Any(u64),
}

#[derive(Debug, Clone, Copy)]
enum Proof {
    Right,
    /// That of another history, or between other sizes.
    OfHistory(usize),
    From(u64),
    Flipped(usize),
    Without(usize),
    Surplus,
    None,
}

#[derive(Debug, Clone, Copy)]
enum Signed {
    Right,
    /// By one of the two keys; the other's line is wrong.
    HalfWrong,
    /// For another size.
    Borrowed,
}

#[derive(Debug, Clone, Copy)]
struct Ask {
    history: usize,
    old: Old,
    /// Leaves beyond what was cosigned, else any size.
    size: Result<u64, u64>,
    /// The log signs a root of no tree.
    no_tree: bool,
    proof: Proof,
    signed: Signed,
}

fn ask() -> impl Strategy<Value = Ask> {
    let history = prop_oneof![3 => Just(0), 2 => 0..5usize];
    let old = prop_oneof![6 => Just(Old::Right), 1 => (0..=LEAVES).prop_map(Old::Any)];
    let size = prop_oneof![4 => (0..4u64).prop_map(Ok), 1 => (0..=LEAVES).prop_map(Err)];
    let proof = prop_oneof![
        8 => Just(Proof::Right),
        1 => (0..5usize).prop_map(Proof::OfHistory),
        1 => (0..=LEAVES).prop_map(Proof::From),
        1 => (0..6usize).prop_map(Proof::Flipped),
        1 => (0..6usize).prop_map(Proof::Without),
        1 => Just(Proof::Surplus),
        1 => Just(Proof::None),
    ];
    let signed = prop_oneof![
        12 => Just(Signed::Right),
        1 => Just(Signed::HalfWrong),
        1 => Just(Signed::Borrowed),
    ];
    let no_tree = prop_oneof![15 => Just(false), 1 => Just(true)];
    (history, old, size, no_tree, proof, signed).prop_map(
        |(history, old, size, no_tree, proof, signed)| Ask {
            history,
            old,
            size,
            no_tree,
            proof,
            signed,
        },
    )
}

/// What is asked, in the open.
struct Asked {
    old: u64,
    size: u64,
    root: Hash,
    proof: Vec<Hash>,
    body: Vec<u8>,
}

fn asked(ask: Ask, last: u64) -> Asked {
    let log = &histories()[ask.history];
    let size = match ask.size {
        Ok(more) => (last + more).min(LEAVES),
        Err(size) => size,
    };
    let old = match ask.old {
        Old::Right => last,
        Old::Any(old) => old,
    };
    let mut proof = log.proof(old, size);
    let at = |n: usize, proof: &[Hash]| n % proof.len().max(1);
    match ask.proof {
        Proof::Right => {}
        Proof::OfHistory(other) => proof = histories()[other].proof(old, size),
        Proof::From(from) => proof = log.proof(from, size),
        Proof::Flipped(n) => {
            let n = at(n, &proof);
            proof.iter_mut().skip(n).take(1).for_each(|h| h[9] ^= 4);
        }
        Proof::Without(n) if !proof.is_empty() => {
            proof.remove(at(n, &proof));
        }
        Proof::Without(_) | Proof::None => proof.clear(),
        Proof::Surplus => proof.push([1; 32]),
    }
    let root = if ask.no_tree { [7; 32] } else { log.root(size) };
    let mut note = log.signed(size, root, &[]);
    match ask.signed {
        Signed::Right => {}
        Signed::HalfWrong => note.signatures[0].signature[3] ^= 1,
        Signed::Borrowed => {
            let other = if size == LEAVES { size - 1 } else { size + 1 };
            note.signatures = log.note(other).signatures;
        }
    }
    Asked {
        old,
        size,
        root,
        body: AddCheckpoint::body(old, &proof, &note),
        proof,
    }
}

/// What must be said: the kind, and the status.
fn expected(ask: Ask, asked: &Asked, last: (u64, Hash)) -> (u16, &'static str) {
    let log = &histories()[ask.history];
    let tree = asked.root == log.root(asked.size);
    if !matches!(ask.signed, Signed::Right) {
        return (403, "invalid-signature");
    }
    if asked.old > asked.size {
        return (400, "old-size-too-large");
    }
    if asked.old != last.0 {
        return (409, "conflict");
    }
    if asked.size == 0 && !tree {
        return (422, "empty-root");
    }
    if asked.size == last.0 && asked.root != last.1 {
        return (422, "other-root");
    }
    // No hash has two preimages: only the one proof of one history leads from root to root.
    let genuine = asked.proof == log.proof(asked.old, asked.size);
    // Everything follows from the empty tree, and a size from itself: by no hashes.
    let step = asked.old > 0 && asked.old < asked.size;
    let follows = !step || (tree && log.root(asked.old) == last.1);
    if genuine && follows {
        (200, "cosigned")
    } else {
        (422, "consistency-proof")
    }
}

fn witness(body: &[u8], last: Option<&Arc<Latest>>) -> Result<Admitted, Refusal> {
    static LOGS: OnceLock<Logs> = OnceLock::new();
    let logs = LOGS.get_or_init(|| {
        let mut logs = Logs::default();
        for vkey in histories()[0].vkeys() {
            logs.add(log_key(&vkey).unwrap()).unwrap();
        }
        logs
    });
    let request = check::read(body, |origin| logs.find(origin))?;
    extends(last, &request)?;
    Ok(request)
}

/// Whether all of these are of one history. A root of no tree extends nothing and nothing extends
/// it, so it is first, but for the empty tree, and is followed by itself alone.
fn one_history(cosigned: &[(u64, Hash)]) -> bool {
    let grown: Vec<_> = cosigned.iter().filter(|(size, _)| *size > 0).collect();
    let of = |log: &Played| grown.iter().all(|(size, root)| log.root(*size) == *root);
    histories().iter().any(of) || grown.windows(2).all(|pair| pair[0] == pair[1])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_witness_says_what_the_model_says(asks in prop::collection::vec(ask(), 1..24)) {
        let mut last: Option<Arc<Latest>> = None;
        let mut cosigned = Vec::new();
        for ask in asks {
            let stands = last.as_ref().map_or((0, EMPTY_ROOT), |l| (l.size, l.root));
            let asked = asked(ask, stands.0);
            let want = expected(ask, &asked, stands);
            match witness(&asked.body, last.as_ref()) {
                Ok(request) => {
                    prop_assert_eq!(want, (200, "cosigned"), "{:?} from {:?}", ask, stands);
                    let (size, root) = (request.checkpoint.size, request.checkpoint.root);
                    prop_assert_eq!((size, root), (asked.size, asked.root));
                    cosigned.push((size, root));
                    prop_assert!(one_history(&cosigned), "{:?}: {:?}", ask, cosigned);
                    let origin = request.checkpoint.origin;
                    let note = String::from_utf8(request.note.to_bytes()).unwrap();
                    last = Some(Arc::new(Latest { origin, size, root, time: 1, note }));
                }
                Err(refusal) => {
                    let said = (refusal.status(), refusal.kind());
                    prop_assert_eq!(said, want, "{:?} from {:?}: {}", ask, stands, refusal);
                    if let Refusal::Stale { size, .. } = &refusal {
                        prop_assert_eq!(*size, stands.0);
                    }
                    // What is called a fork is one: the log signed a tree that began otherwise.
                    if let Some((fork, other)) = refusal.fork().and_then(|f| Some((f, f.other_root?))) {
                        prop_assert_eq!((fork.cosigned.size, fork.cosigned.root), stands);
                        prop_assert_ne!(other, stands.1);
                        if !ask.no_tree {
                            prop_assert_eq!(other, histories()[ask.history].root(stands.0));
                        }
                    }
                }
            }
        }
    }
}
