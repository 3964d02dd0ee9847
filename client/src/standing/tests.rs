use super::*;
use ledger::state::{Current, EndOfLife, Leaves, Revoked};

const KEY: Target = Target::Key([7; 32]);
const OTHER: Target = Target::Identity([8; 32]);

fn state(revoked: &[(&Target, u64, Option<u64>)]) -> StateDocument {
    let revoked = revoked.iter().map(|(target, index, since)| Revoked {
        index: *index,
        since: *since,
        statement: [1; 32],
        target: target.to_string(),
    });
    StateDocument {
        end_of_life: Vec::new(),
        frozen: false,
        leaves: Leaves {
            root: [0; 32],
            size: 1,
        },
        project: Current {
            statement: [2; 32],
            version: 1,
        },
        revoked: revoked.collect(),
        withdrawn: [0; 32],
    }
}

#[test]
fn what_was_said_before_the_revocation_and_before_its_window_counts() {
    let one: Targets = vec![KEY].into();
    let counts = |index, revoked: (u64, Option<u64>)| {
        let state = state(&[(&KEY, revoked.0, revoked.1)]);
        not_counting(std::slice::from_ref(&one), index, &state, 1).is_none()
    };
    assert!(counts(9, (10, None)));
    assert!(!counts(10, (10, None)) && !counts(11, (10, None)));
    assert!(counts(4, (10, Some(5))));
    assert!(!counts(5, (10, Some(5))) && !counts(6, (10, Some(5))));
    // Of somebody else it says nothing.
    let state = state(&[(&OTHER, 0, None)]);
    assert_eq!(not_counting(&[one], 3, &state, 1), None);
}

#[test]
fn enough_others_count_without_the_one_that_is_revoked() {
    let signatures: [Targets; 2] = [vec![KEY].into(), vec![OTHER, Target::Key([9; 32])].into()];
    let state = state(&[(&OTHER, 0, None)]);
    assert_eq!(not_counting(&signatures, 3, &state, 1), None);
    assert_eq!(not_counting(&signatures, 3, &state, 2), Some(OTHER));
}

/// A root that revokes itself says so with a key that is not yet revoked.
#[test]
fn a_revocation_binds_what_comes_after_it_and_not_itself() {
    let before = |index| revoked_before(&state(&[(&KEY, 10, Some(0))]), &KEY, index);
    assert!(!before(9) && !before(10) && before(11));
    assert!(!revoked_before(&state(&[(&OTHER, 10, None)]), &KEY, 11));
}

#[test]
fn a_prefix_ends_what_it_covers() {
    let mut state = state(&[]);
    state.end_of_life.push(EndOfLife {
        prefix: "pkg:generic/acme/x".into(),
        statement: [6; 32],
    });
    assert_eq!(ended("pkg:generic/acme/x@1.0", &state), Some([6; 32]));
    assert_eq!(ended("pkg:generic/acme/xy@1.0", &state), None);
}

#[test]
fn what_is_revoked_has_a_name_for_scripts_and_one_for_people() {
    let hash = "07".repeat(32);
    assert_eq!(revoked_id(&KEY), hash);
    assert_eq!(revoked_words(&KEY), format!("key {hash}"));
    let hash = "08".repeat(32);
    assert_eq!(revoked_id(&OTHER), format!("identity:{hash}"));
    assert_eq!(revoked_words(&OTHER), format!("identity {hash}"));
}
