//! What a compromise window takes back of all that a key has signed: releases, withdrawals of
//! other releases, and key-notes. A thief signs all three, so nothing of it is done again by itself.

use super::show::Opened;
use crate::cmd::common::time;
use crate::cmd::complete::{Release, Standing};
use crate::fail::{Fail, visible};
use ledger::fold::ProjectState;
use ledger::leaf::StatementLeaf;
use ledger::state::{Revoked, withdrawn_digest_key, withdrawn_release_key};
use ledger::statement::{Body, StatementError, Subject, Target, Withdrawal, Withdrawn};
use ledger::{Hash, KeyId, hex32, names};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// A withdrawal that would become void.
pub(super) struct Touched {
    pub(super) index: u64,
    time: u64,
    withdrawal: Withdrawal,
    subjects: Vec<Subject>,
    /// What it takes back, for people: a purl, or all under a prefix.
    pub(super) what: String,
    /// Others take back all that this one does, and go on counting.
    pub(super) covered: bool,
}

/// What a window would make void.
#[derive(Default)]
pub(super) struct Voided {
    pub(super) releases: Vec<Release>,
    pub(super) withdrawals: Vec<Touched>,
    /// Key-notes by this key alone: where they stand, and about what.
    pub(super) notes: Vec<(u64, Hash)>,
}

/// What counts once `target` is compromised from `since` on.
struct After<'a> {
    known: &'a ProjectState,
    target: Target,
    since: u64,
}

impl After<'_> {
    /// How many signatures of a leaf at `index` count now, and how many would.
    fn good(&self, leaf: &StatementLeaf, index: u64) -> (u64, u64) {
        // It was accepted, so its certificate counted.
        let targets = self.known.chain.targets(index, &leaf.envelope, leaf.time);
        let targets = targets.unwrap_or_default();
        let now = targets
            .iter()
            .filter(|t| self.known.undone_by(t, index).is_none());
        let (mut before, mut after) = (0, 0);
        for signature in now {
            before += 1;
            after += u64::from(!signature.contains(&self.target) || index < self.since);
        }
        (before, after)
    }

    /// The threshold that a withdrawal had to meet.
    fn threshold(&self, signers: &[KeyId], index: u64) -> u64 {
        let version = self.known.chain.at(index).map(|v| &v.project);
        version.map_or(1, |p| {
            if p.roots.iter().any(|k| signers.contains(&k.id())) {
                p.root_threshold
            } else {
                p.release_threshold
            }
        })
    }
}

/// What a withdrawal of a release takes back, as keys in the tree of withdrawals.
fn taken(pae: &Hash, subjects: &[Subject]) -> BTreeSet<Hash> {
    let digests = subjects.iter().map(|s| withdrawn_digest_key(&s.sha256));
    std::iter::once(withdrawn_release_key(pae))
        .chain(digests)
        .collect()
}

/// What was signed by or under `target` that a window from `since` on makes void, and that counts
/// until now.
pub(super) fn voided(opened: &Opened, target: &Target, since: u64) -> Voided {
    let Some(known) = opened.complete.fold.project(&opened.project.id) else {
        return Voided::default();
    };
    let after = After {
        known,
        target: *target,
        since,
    };
    let releases = opened.complete.releases(&opened.project.id);
    let purl = |pae: &Hash| {
        let release = releases.iter().find(|r| r.statement == *pae);
        release.map_or_else(|| hex32(pae), |r| r.purl.clone())
    };
    let (mut withdrawals, mut notes, mut good) = (Vec::new(), Vec::new(), BTreeMap::new());
    let (mut standing, mut ended): (BTreeSet<Hash>, Vec<&str>) = Default::default();
    for (index, leaf) in opened.complete.statements() {
        let signers: Vec<KeyId> = leaf.envelope.signatures.iter().map(|s| s.keyid).collect();
        let (now, then) = after.good(leaf, index);
        good.insert(index, then);
        match &leaf.statement.body {
            Body::KeyNote(note) if now > 0 && then == 0 => notes.push((index, note.key)),
            Body::Withdrawal(w) => {
                let threshold = after.threshold(&signers, index);
                let subjects = leaf.statement.subject.clone();
                if then >= threshold {
                    match &w.what {
                        Withdrawn::Release(pae) => standing.extend(taken(pae, &subjects)),
                        Withdrawn::Prefix(prefix) => ended.push(prefix),
                    }
                } else if now >= threshold {
                    let what = match &w.what {
                        Withdrawn::Release(pae) => purl(pae),
                        Withdrawn::Prefix(prefix) => format!("everything under {prefix}"),
                    };
                    withdrawals.push(Touched {
                        index,
                        time: leaf.time,
                        withdrawal: w.clone(),
                        subjects,
                        what,
                        covered: false,
                    });
                }
            }
            _ => {}
        }
    }
    for w in &mut withdrawals {
        w.covered = match &w.withdrawal.what {
            Withdrawn::Release(pae) => taken(pae, &w.subjects).is_subset(&standing),
            Withdrawn::Prefix(own) => ended.iter().any(|p| names::prefix_covers(p, own)),
        };
    }
    let void = |r: &Release| {
        let threshold = known.chain.at(r.index).map(|v| v.project.release_threshold);
        let then = good.get(&r.index).copied().unwrap_or_default();
        !matches!(r.standing, Standing::Void(_)) && then < threshold.unwrap_or(1)
    };
    Voided {
        releases: releases.iter().filter(|r| void(r)).cloned().collect(),
        withdrawals,
        notes,
    }
}

impl Voided {
    /// Those that are named: by index, or `all` that no other covers.
    pub(super) fn kept(&self, named: &[String]) -> Result<Vec<&Touched>, Fail> {
        let mut kept = BTreeSet::new();
        for text in named {
            if text == "all" {
                kept.extend(self.withdrawals.iter().map(|w| w.index));
                continue;
            }
            let index = text.parse::<u64>().ok();
            let found = self.withdrawals.iter().find(|w| Some(w.index) == index);
            let none = || {
                Fail::usage(
                    "unknown-withdrawal",
                    format!("{text:?} is no withdrawal that this would make void"),
                )
                .hint("give the index of one that is shown without --keep-withdrawal, or `all`")
            };
            kept.insert(found.ok_or_else(none)?.index);
        }
        let kept = |w: &&Touched| kept.contains(&w.index) && !w.covered;
        Ok(self.withdrawals.iter().filter(kept).collect())
    }

    /// For people: what becomes void from entry `since` on, and which of the withdrawals are kept.
    pub(super) fn text(&self, since: u64, kept: &[&Touched], project: &str) -> String {
        let mut out = format!("nothing that it signed from entry {since} on counts any more\n");
        let _ = writeln!(
            out,
            "{} releases become void, and every bundle of them is refused once it is refreshed:",
            self.releases.len()
        );
        for r in &self.releases {
            let (at, purl) = (time(r.time), visible(&r.purl));
            let _ = writeln!(out, "  entry {}  {at}  {purl}", r.index);
        }
        if !self.releases.is_empty() {
            let _ = writeln!(
                out,
                "state those that are genuine again, with a key that is not revoked, once you have compared their files, and withdraw the rest:\n  countersign publish FILE… --project {project} --version VERSION --restate --key NEWKEY --policy POLICY"
            );
        }
        if !self.withdrawals.is_empty() {
            let _ = writeln!(
                out,
                "{} withdrawals become void, and what they take back stands again, if nothing else takes it back. A thief can withdraw too: keep only those that the project made, with --keep-withdrawal INDEX or all",
                self.withdrawals.len()
            );
        }
        for w in &self.withdrawals {
            w.text(kept.iter().any(|k| k.index == w.index), &mut out);
        }
        if !self.notes.is_empty() {
            let _ = writeln!(
                out,
                "{} key-notes are shown no more, and must be said again where they are right:",
                self.notes.len()
            );
        }
        for (index, about) in &self.notes {
            let _ = writeln!(out, "  entry {index}  about {}", hex32(about));
        }
        out
    }
}

impl Touched {
    fn text(&self, kept: bool, out: &mut String) {
        let (at, what) = (time(self.time), visible(&self.what));
        let _ = writeln!(out, "  entry {}  {at}  {what}", self.index);
        let _ = writeln!(out, "    reason: {}", visible(&self.withdrawal.reason));
        if let Some(successor) = &self.withdrawal.successor {
            let _ = writeln!(out, "    successor: {}", visible(successor));
        }
        if matches!(self.withdrawal.what, Withdrawn::Release(_)) {
            for s in &self.subjects {
                let (digest, name) = (hex32(&s.sha256), visible(&s.name));
                let _ = writeln!(out, "    {digest}  {name}");
            }
        }
        let fate = match (self.covered, kept) {
            (true, _) => "taken back by others that count: nothing needs to be done",
            (false, true) => "KEPT: stated again in these words, by the other root keys",
            (false, false) => "not kept",
        };
        let _ = writeln!(out, "    {fate}");
    }

    /// The same withdrawal in other words, since the same ones are the same statement.
    pub(super) fn again(&self) -> Result<Vec<u8>, StatementError> {
        let again = Withdrawal {
            reason: again(&self.withdrawal.reason, self.index),
            ..self.withdrawal.clone()
        };
        again.to_payload(&self.subjects)
    }
}

/// The reason of a withdrawal that is stated again, within what a reason may be long.
fn again(reason: &str, index: u64) -> String {
    let tail = format!(" (entry {index}, stated again)");
    let mut room = 512_usize.saturating_sub(tail.len()).min(reason.len());
    while !reason.is_char_boundary(room) {
        room -= 1;
    }
    format!("{}{tail}", reason.get(..room).unwrap_or_default())
}

/// The window must be wider than the one that stands; the log would refuse it, but only after
/// everything before it was signed.
pub(super) fn wider(what: &str, revoked: Option<&Revoked>, since: Option<u64>) -> Result<(), Fail> {
    let Some(revoked) = revoked else {
        return Ok(());
    };
    match (revoked.since, since) {
        (_, None) => Err(Fail::usage(
            "already-revoked",
            format!("{what} is revoked, at entry {}", revoked.index),
        )
        .hint("give --compromised-since to make what it signed before void too")),
        (Some(before), Some(since)) if since >= before => Err(Fail::usage(
            "window-not-wider",
            format!("nothing of {what} from entry {before} on counts already"),
        )
        .detail("expected", format!("an entry below {before}"))
        .detail("got", format!("entry {since}"))
        .hint("a window only widens; to take a release back again, use `countersign withdraw`, in other words than before")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::again;

    #[test]
    fn a_reason_stays_within_its_bounds() {
        assert_eq!(again("crashes", 7), "crashes (entry 7, stated again)");
        let long = again(&"ä".repeat(256), u64::MAX);
        assert!(long.len() <= 512 && long.ends_with("stated again)"));
    }
}
