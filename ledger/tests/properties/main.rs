//! The fold's rules as properties of random histories.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::manual_is_multiple_of,
    missing_docs
)]

mod chains;
mod document;
mod model;
mod story;
mod versions;
mod ways;

use keys::Signer as _;
use ledger::Hash;
use ledger::fold::{Fold, Role, Version};
use ledger::leaf::Leaf;
use ledger::state::{Revoked, StateDocument};
use ledger::statement::{Body, content};
use model::Model;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use story::{KEYS, ORIGIN, SLOTS, Story, act, acts, has_role, leaf};
use ways::{Index, Kept, lean_apply, same};

/// Cases of each property; `PROPTEST_CASES` says otherwise.
fn cases(n: u32) -> ProptestConfig {
    match std::env::var("PROPTEST_CASES") {
        Ok(_) => ProptestConfig::default(),
        Err(_) => ProptestConfig::with_cases(n),
    }
}

fn revoked<'a>(state: &'a StateDocument, target: &str) -> Option<&'a Revoked> {
    state.revoked.iter().find(|r| r.target == target)
}

proptest! {
    #![proptest_config(cases(600))]

    /// However it is computed: leaf by leaf, with the map settled now and then; handed the leaves
    /// that it needs; restored from what a server keeps, looking up the rest; and by the definition.
    #[test]
    fn however_it_is_computed_it_is_what_the_definition_says(
        acts in acts(40),
        settle in any::<u64>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let (mut story, mut model) = (Story::new(), Model::new(ORIGIN));
        let mut lean = Fold::new(ORIGIN).lean();
        let cut = cut.index(acts.len());
        let mut restored: Option<Fold> = None;
        for (n, act) in acts.iter().enumerate() {
            if n == cut {
                let kept = Kept::of(&model, &story.fold);
                let (size, last) = (story.fold.size(), story.fold.last_time());
                let fold = Fold::restored(ORIGIN, size, last, &kept.rows).unwrap();
                prop_assert_eq!(fold.digest(), story.fold.digest());
                let mut fold = fold.looking_up(Arc::new(Index(kept)));
                fold.forget_released(size);
                restored = Some(fold);
            }
            let Some(accepted) = story.act(act) else { continue };
            let leaf = story.leaves.last().unwrap();
            prop_assert_eq!(model.add(leaf), accepted, "{:?}", story.fold.decide(leaf, None));
            prop_assert_eq!(lean_apply(&mut lean, &model.leaves, leaf), accepted);
            if let Some(fold) = &mut restored {
                prop_assert_eq!(lean_apply(fold, &model.leaves, leaf), accepted);
            }
            if settle >> (n % 64) & 1 == 1 {
                story.fold.settle();
                same(&story.fold, &model);
            }
        }
        same(&story.fold, &model);
        same(&lean, &model);
        if let Some(fold) = &restored {
            same(fold, &model);
        }
        let mut again = Fold::new(ORIGIN);
        for (leaf, accepted) in story.leaves.iter().zip(&model.accepted) {
            again.follow(leaf, *accepted);
        }
        prop_assert_eq!(again.digest(), story.fold.digest());
    }
}

proptest! {
    #![proptest_config(cases(600))]

    /// A revocation stays, its index too; a window only widens; nothing that was void counts again;
    /// and after its revocation a key neither signs nor is listed, whatever was said in whatever
    /// order.
    #[test]
    fn a_revoked_key_never_returns_and_windows_only_widen(acts in acts(60)) {
        let mut story = Story::new();
        let mut before: BTreeMap<Hash, StateDocument> = BTreeMap::new();
        for act in &acts {
            let Some(accepted) = story.act(act) else { continue };
            let size = story.fold.size();
            for (id, old) in &before {
                let new = story.fold.state(id).unwrap();
                for was in &old.revoked {
                    let is = revoked(&new, &was.target).expect("it stays revoked");
                    prop_assert_eq!(is.index, was.index);
                    match (was.since, is.since) {
                        (Some(was), Some(is)) => prop_assert!(is <= was),
                        (Some(_), None) => prop_assert!(false, "a window went"),
                        _ => {}
                    }
                }
                for key in KEYS.iter().map(|k| k.public_key().id()) {
                    let target = format!("key:{key}");
                    let project = story.fold.project(id).unwrap();
                    let Some(r) = revoked(&new, &target) else { continue };
                    prop_assert!(project.is_revoked(&key));
                    for v in project.versions().filter(|v| v.index > r.index) {
                        prop_assert!(!v.project.roots.iter().chain(&v.project.release_keys).any(|k| k.id() == key));
                    }
                    for i in 0..size {
                        let counts = i < r.index && r.since.is_none_or(|s| i < s);
                        prop_assert_eq!(project.counts(&key, i), counts);
                    }
                }
            }
            if let (true, Some(Leaf::Statement(s))) = (accepted, story.leaves.last()) {
                let id = story.fold.project_of(&s.envelope, &s.statement).unwrap();
                if let Some(old) = before.get(&id) {
                    for sig in &s.envelope.signatures {
                        let target = format!("key:{}", sig.keyid);
                        prop_assert!(revoked(old, &target).is_none());
                    }
                }
            }
            before = story.fold.projects().map(|p| (p.id, story.fold.state(&p.id).unwrap())).collect();
        }
    }

    /// Of all releases of a purl at most one stands that is not void, and all that were ever
    /// accepted are of one project and have the same artifacts.
    #[test]
    fn a_purl_stands_once_and_is_restated_only_as_it_was(acts in acts(60)) {
        let mut story = Story::new();
        let mut releases = Vec::new();
        for act in &acts {
            let Some(true) = story.act(act) else { continue };
            let index = story.fold.size() - 1;
            let Some(Leaf::Statement(s)) = story.leaves.last() else { continue };
            if let Body::Release(r) = &s.statement.body {
                let project = story.fold.project(&r.package_id).unwrap();
                let p = &project.current().project;
                prop_assert!(p.purl_prefixes.iter().any(|q| r.purl.starts_with(q.as_str())));
                let signers: BTreeSet<_> = s.envelope.signatures.iter().map(|s| s.keyid).collect();
                prop_assert!(signers.len() as u64 >= p.release_threshold);
                prop_assert!(signers.iter().all(|k| has_role(p, k, Role::Release)));
                if let Some(max) = p.max_key_age {
                    for key in &signers {
                        let lists = |v: &&Version| has_role(&v.project, key, Role::Release);
                        let first = project.versions().find(lists).unwrap();
                        prop_assert!(s.time <= first.time + max);
                    }
                }
                releases.push((index, r.clone(), s.clone(), p.release_threshold));
            }
            for (n, (_, r, s, _)) in releases.iter().enumerate() {
                let of_purl = releases.iter().filter(|o| o.1.purl == r.purl);
                let standing = of_purl.filter(|(i, o, s, threshold)| {
                    let project = story.fold.project(&o.package_id).unwrap();
                    let signatures = s.envelope.signatures.iter();
                    signatures.filter(|s| project.counts(&s.keyid, *i)).count() as u64 >= *threshold
                });
                prop_assert!(standing.count() <= 1);
                let Some(pae) = r.restates else { continue };
                let (_, was, before, _) = releases[..n].iter().find(|o| o.2.envelope.pae_hash() == pae).unwrap();
                prop_assert_eq!((&was.purl, was.package_id), (&r.purl, r.package_id));
                prop_assert_eq!(content(&before.statement.subject), content(&s.statement.subject));
            }
        }
    }

    /// What is said of one project changes nothing of another, and nothing of it counts in another
    /// log; only names and prefixes are the log's.
    #[test]
    fn projects_and_logs_are_apart(acts in acts(50), slot in 0..SLOTS) {
        let story = Story::tell(&acts, false);
        if let Some(id) = story.ids[slot] {
            let mut alone = Fold::new(ORIGIN);
            for leaf in &story.leaves {
                let about = match leaf {
                    Leaf::Statement(s) => story.fold.project_of(&s.envelope, &s.statement),
                    Leaf::Operation(o) => Some(o.project),
                    _ => None,
                };
                let other = Leaf::Unknown { kind: "another's".into() };
                let _ = alone.apply(if about == Some(id) { leaf } else { &other });
            }
            prop_assert_eq!(alone.state(&id), story.fold.state(&id));
        }
        let mut elsewhere = Fold::new("elsewhere.example");
        for leaf in &story.leaves {
            let _ = elsewhere.apply(leaf);
        }
        prop_assert!(elsewhere.projects().next().is_none());
    }

    /// An accepted statement again is refused: as it was, by any subset of its signers, with other
    /// bytes for the same signatures, at any later time, and nothing but the size has moved.
    #[test]
    fn nothing_is_gained_by_saying_it_again(acts in acts(50), mask in any::<u32>(), sig in any::<u8>()) {
        let story = Story::tell(&acts, true);
        let mut fold = story.fold.clone();
        let mut replayed = Fold::new(ORIGIN);
        for old in &story.leaves {
            let accepted = replayed.apply(old).is_ok();
            let Leaf::Statement(s) = old else { continue };
            if !accepted {
                continue;
            }
            for subset in [u32::MAX, mask] {
                let mut envelope = s.envelope.clone();
                let mut bits = (0..32).map(|i| subset >> i & 1 == 1);
                envelope.signatures.retain(|_| bits.next() == Some(true));
                envelope.signatures.iter_mut().for_each(|s| s.sig = vec![sig]);
                let again = leaf(envelope, s.time + 1);
                let map = fold.map_root();
                prop_assert!(fold.apply(&again).is_err(), "{:?}", s.statement);
                prop_assert_eq!(fold.map_root(), map);
            }
        }
    }

    /// The same leaves in another order make what the definition makes of that order, and no
    /// project is governed by a chain that its first statement does not lead to.
    #[test]
    fn nothing_is_gained_by_another_order(
        acts in acts(40),
        order in prop::collection::vec(any::<prop::sample::Index>(), 40),
    ) {
        let story = Story::tell(&acts, true);
        let mut rest = story.leaves.clone();
        let (mut fold, mut model) = (Fold::new(ORIGIN), Model::new(ORIGIN));
        for pick in &order {
            if rest.is_empty() {
                break;
            }
            let leaf = rest.remove(pick.index(rest.len()));
            prop_assert_eq!(fold.apply(&leaf).is_ok(), model.add(&leaf));
        }
        same(&fold, &model);
        for project in fold.projects() {
            let versions: Vec<_> = project.versions().collect();
            prop_assert_eq!(versions[0].statement, project.id);
            for pair in versions.windows(2) {
                prop_assert_eq!(pair[1].project.previous, Some(pair[0].statement));
                prop_assert_eq!(pair[1].project.version, pair[0].project.version + 1);
                prop_assert!(pair[1].index > pair[0].index);
            }
        }
    }
}

/// Of the acts a fair part is accepted of every kind, or the properties above say little.
#[test]
fn the_histories_hold_something_of_everything() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    let (mut void, mut restated, mut windows) = (0, 0, 0);
    for _ in 0..150 {
        let mut story = Story::new();
        for _ in 0..60 {
            let act = act().new_tree(&mut runner).unwrap().current();
            let Some(accepted) = story.act(&act) else {
                continue;
            };
            if let Some(Leaf::Statement(s)) = story.leaves.last() {
                let count = seen.entry(s.statement.body.kind()).or_default();
                count.0 += u32::from(accepted);
                count.1 += u32::from(!accepted);
                if let (true, Body::Release(r)) = (accepted, &s.statement.body) {
                    restated += u32::from(r.restates.is_some());
                }
            }
        }
        let mut model = Model::new(ORIGIN);
        story.leaves.iter().for_each(|leaf| {
            model.add(leaf);
        });
        for (i, s) in model.statements() {
            let voidable = matches!(s.statement.body, Body::Release(_) | Body::Withdrawal(_));
            void += u32::from(voidable && model.void(i, s));
        }
        for project in story.fold.projects() {
            let state = story.fold.state(&project.id).unwrap();
            windows += state.revoked.iter().filter(|r| r.since.is_some()).count();
        }
    }
    println!("{seen:?} void {void} restated {restated} windows {windows}");
    assert_eq!(seen.len(), 5);
    for (kind, (accepted, refused)) in seen {
        assert!(
            accepted > 50 && refused > 50,
            "{kind}: {accepted} accepted, {refused} refused"
        );
    }
    assert!(
        void > 50 && restated > 20 && windows > 50,
        "{void} {restated} {windows}"
    );
}
