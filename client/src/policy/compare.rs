//! What another set of log keys and witnesses would change, and whether that is weaker.

use super::Policy;
use super::weak::weaknesses;
use super::words::quorum;
use crate::fail::visible;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use tlog::policy::{Part, Policy as Witnesses};

/// More witnesses than this, in common or in all, are not compared set by set.
const MOST: usize = 20;

/// What changes, a line each; empty where nothing does.
#[must_use]
pub fn difference(old: &Policy, new: &Policy) -> String {
    let mut out = String::new();
    let keys =
        |p: &Policy| -> BTreeSet<String> { p.log.vkeys.iter().map(ToString::to_string).collect() };
    let (before, after) = (keys(old), keys(new));
    for gone in before.difference(&after) {
        let _ = writeln!(out, "  - log key {}", visible(gone));
    }
    for come in after.difference(&before) {
        let _ = writeln!(out, "  + log key {}", visible(come));
    }
    if old.log.checkpoint_floor != new.log.checkpoint_floor {
        out.push_str("  - checkpoint-floor, which no log key that stays has signed\n");
    }
    if old.witnesses != new.witnesses {
        let _ = write!(
            out,
            "witnesses until now:\n{}witnesses from now on:\n{}",
            quorum(&old.witnesses),
            quorum(&new.witnesses)
        );
    }
    out
}

/// In what respects `new` asks for less than `old`, for a person; empty where it does not.
#[must_use]
pub fn weaker(old: &Policy, new: &Policy) -> Vec<String> {
    let mut found = Vec::new();
    let (before, after) = (old.log.vkeys.len(), new.log.vkeys.len());
    if after < before {
        found.push(format!("{after} log keys must sign in place of {before}"));
    }
    let (from, to) = (&old.witnesses, &new.witnesses);
    if from == to || from.quorum_none() {
        return found;
    }
    if to.quorum_none() {
        found.push("no witness is asked for any more".into());
        return found;
    }
    let ((before, could), (after, can)) = (fewest(from), fewest(to));
    if after < before {
        found.push(format!("{after} witnesses suffice, it took {before}"));
    } else if after == before && can > could {
        found.push(format!(
            "any {after} of more witnesses suffice: it takes {can} that refuse, and took {could}"
        ));
    }
    match compare(from, to) {
        Compared::SameEasier => found.push("witnesses suffice that did not suffice before".into()),
        Compared::Wider if found.is_empty() => {
            found.push("all that sufficed suffices still, and other witnesses do too".into());
        }
        Compared::Unknown if found.is_empty() => found.push(format!(
            "over {MOST} witnesses in all are not compared: whether less suffices is not known"
        )),
        Compared::Wider | Compared::Unknown | Compared::Otherwise => {}
    }
    if found.is_empty() {
        let mut had: BTreeSet<&str> = weaknesses(old).iter().map(|w| w.kind).collect();
        // One witness is one operator's.
        if had.contains("one-witness") {
            had.insert("one-operator");
        }
        let new = weaknesses(new).into_iter();
        found.extend(new.filter(|w| !had.contains(w.kind)).map(|w| w.why));
    }
    found
}

/// How a quorum compares with the one before it.
#[derive(Debug, PartialEq, Eq)]
enum Compared {
    /// Some of the witnesses that both have meet it, and did not meet the old one.
    SameEasier,
    /// Whoever met the old one meets it, and others do too.
    Wider,
    /// Neither: it is the same, asks for more, or for others.
    Otherwise,
    /// Too many witnesses.
    Unknown,
}

/// The fewest witnesses that meet the quorum, and the fewest without whom it is not met.
fn fewest(witnesses: &Witnesses) -> (usize, usize) {
    let mut values: Vec<(usize, usize)> = Vec::new();
    // From the last to the first, so that the members of a group stand on top before it comes.
    for (_, part) in witnesses.parts().into_iter().rev() {
        let value = match part {
            Part::Witness(_) => (1, 1),
            Part::Group {
                threshold, members, ..
            } => {
                let own = values.split_off(values.len().saturating_sub(members));
                let least = |mut of: Vec<usize>, n: usize| {
                    of.sort_unstable();
                    of.into_iter().take(n).sum()
                };
                let (meet, block) = own.into_iter().unzip();
                (
                    least(meet, threshold),
                    least(block, members + 1 - threshold),
                )
            }
        };
        values.push(value);
    }
    values.pop().unwrap_or((0, 0))
}

/// Compares two quorums over every set of the witnesses that either has.
fn compare(old: &Witnesses, new: &Witnesses) -> Compared {
    let needed = |of: &Witnesses| -> Vec<(Vec<u8>, String)> {
        let witness = |(_, part)| match part {
            Part::Witness(w) => Some((w.key.public_key().to_vec(), w.name.clone())),
            Part::Group { .. } => None,
        };
        of.parts().into_iter().filter_map(witness).collect()
    };
    let (before, after) = (needed(old), needed(new));
    let mut keys: Vec<&Vec<u8>> = before.iter().chain(&after).map(|(key, _)| key).collect();
    keys.sort();
    keys.dedup();
    if keys.len() > MOST {
        return Compared::Unknown;
    }
    let bit = |key: &Vec<u8>| keys.binary_search(&key).map_or(0, |at| 1u32 << at);
    let all = |of: &[(Vec<u8>, String)]| of.iter().fold(0, |bits, (key, _)| bits | bit(key));
    let common = all(&before) & all(&after);
    let met = |of: &Witnesses, names: &[(Vec<u8>, String)], set: u32| {
        of.met(&|name| {
            let found = names.iter().find(|(_, n)| n == name);
            found.is_some_and(|(key, _)| set & bit(key) != 0)
        })
    };
    let each = |set: u32| (met(old, &before, set), met(new, &after, set));
    let mut set = common;
    loop {
        if each(set) == (false, true) {
            return Compared::SameEasier;
        }
        if set == 0 {
            break;
        }
        set = (set - 1) & common;
    }
    let (mut lost, mut won) = (false, false);
    for set in 0..1u32 << keys.len() {
        let (old, new) = each(set);
        (lost, won) = (lost || (old && !new), won || (new && !old));
        // Others, as where witnesses were replaced: no further set says more.
        if lost && won {
            break;
        }
    }
    match won && !lost {
        true => Compared::Wider,
        false => Compared::Otherwise,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tlog::vkey::VerifierKey;

    #[test]
    fn what_is_weaker_is_said() {
        let public = || keys::Ed25519Secret::generate().unwrap().public_bytes();
        let logs = [public(), public(), public()];
        let keys: Vec<VerifierKey> = (0..5)
            .map(|n| VerifierKey::cosignature(&format!("w{n}.test"), &public()).unwrap())
            .collect();
        let policy = |log_keys: usize, quorum: &str| {
            let mut text = String::new();
            for (name, key) in ["A", "B", "C", "D", "E"].iter().zip(&keys) {
                text.push_str(&format!("witness {name} {key}\n"));
            }
            let vkey = |key| VerifierKey::ed25519("log.test", key).unwrap().to_string();
            let vkeys = logs.iter().take(log_keys).map(vkey).collect();
            let text = format!("{text}{quorum}\n");
            let document =
                ledger::trust::TrustDocument::new("log.test", vkeys, [7; 32], "acme/x", &text);
            Policy::from_trust(&document, None).unwrap()
        };
        let two = "group Q 2 A B C\nquorum Q";
        for (keys, quorum, weak) in [
            (2, two, 0),
            (3, two, 0),
            (1, two, 1),
            (2, "group Q 2 A B D\nquorum Q", 0),
            (2, "group Q all A B C\nquorum Q", 0),
            (2, "group Q 3 A B C D E\nquorum Q", 0),
            (2, "group Q 2 A B C D\nquorum Q", 1),
            (2, "group Q 1 A B C\nquorum Q", 2),
            (2, "quorum D", 1),
            (2, "group Q all A B C D E\nquorum Q", 0),
            (1, "quorum none", 2),
        ] {
            let found = weaker(&policy(2, two), &policy(keys, quorum));
            assert_eq!(found.len(), weak, "{keys} {quorum}: {found:?}");
        }
        // An alternative to one of them alone, which takes as few as before.
        let all = "group Q all A B C\nquorum Q";
        for (from, to, weak) in [
            (all, "group X any A D E\ngroup Q all X B C\nquorum Q", 1),
            (
                all,
                "group X any A D\ngroup Y any B E\ngroup Q all X Y C\nquorum Q",
                1,
            ),
            (two, "group X any A D\ngroup Q 2 X B C\nquorum Q", 1),
            (two, "group X all A D\ngroup Q 2 X B C\nquorum Q", 0),
            (all, "group Q all D B C\nquorum Q", 0),
        ] {
            let found = weaker(&policy(2, from), &policy(2, to));
            assert_eq!(found.len(), weak, "{from} to {to}: {found:?}");
        }
        // Two of one operator, where one of them sufficed.
        let one_host = |quorum: &str| {
            let text: String = (0..2)
                .map(|n| {
                    let key = VerifierKey::cosignature("w.test", &logs[n]).unwrap();
                    format!("witness W{n} {key}\n")
                })
                .collect();
            let text = format!("{text}{quorum}\n");
            let mut policy = policy(2, two);
            policy.witnesses = Witnesses::parse(&text).unwrap();
            policy
        };
        let all = "group Q all W0 W1\nquorum Q";
        assert!(weaker(&one_host("quorum W0"), &one_host(all)).is_empty());
        assert!(!weaker(&one_host(all), &one_host("quorum W0")).is_empty());
        let nested = "group G any B C\ngroup Q all A G\nquorum Q";
        assert_eq!(fewest(&policy(2, nested).witnesses), (2, 1));
        assert_eq!(fewest(&policy(2, two).witnesses), (2, 2));
        assert!(!weaker(&policy(2, nested), &policy(2, two)).is_empty());
        assert!(weaker(&policy(2, two), &policy(2, nested)).is_empty());
    }
}
