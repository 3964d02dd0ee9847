//! Judging what is served at an address: the bytes, by the project's proven history; the
//! differences between clients; the bundle; the redirects.

use super::bundle::{self, Of, beside};
use super::got::{Marks, shown};
use super::history::Looked;
use super::known::{Known, Verdict};
use super::progress::{PENDING, Seen};
use super::round::{Group, Round};
use super::say::Say;
use super::{Context, Target};
use crate::monitor::alert::{Class, Finding};
use crate::monitor::task::Poll;
use ledger::{Hash, from_hex32, hex32};
use std::sync::Arc;
use std::time::Duration;

/// Beyond twice the largest artifact and this, nothing more is read.
const SLACK: u64 = 16 << 20;
/// Between two rounds that shall tell a release in progress from a difference that stays.
const AGAIN: Duration = Duration::from_secs(1);
pub(super) const NOT_RUN: &str = "do not run these bytes and do not delete them; find out who can write to this storage and rotate its keys; the bytes and how they came are in the quarantine";

/// What bytes came to.
enum Word {
    /// By the log.
    Log(Verdict),
    /// No statement of the log's is new enough, but the bundle proves them.
    Bundle(u64),
    /// More than any artifact has.
    Endless,
    /// More than is read, and not more than an artifact may have.
    TooLarge,
    /// The log could not be asked.
    Unasked,
}

impl Word {
    fn good(&self) -> Option<u64> {
        match self {
            Self::Log(Verdict::Stands { index, .. }) | Self::Bundle(index) => Some(*index),
            _ => None,
        }
    }

    /// Whether it is certain that they are not what they should be.
    fn bad(&self) -> bool {
        matches!(self, Self::Endless)
            || matches!(self, Self::Log(v) if !matches!(v, Verdict::Stands { .. }))
    }
}

/// Bytes that are read at most of an artifact of this name.
fn limit(known: Option<&Known>, target: &Target, max: u64) -> u64 {
    let largest = known.map(|k| k.largest(&target.name).unwrap_or(0));
    largest.map_or(max, |l| {
        max.min(l.saturating_mul(2).max(l.saturating_add(SLACK)))
    })
}

/// Fetches what is watched, as all clients; and once as one that has what these marks are of.
pub(super) type Fetching<'a> = &'a dyn Fn(u64, Option<&Marks>) -> Round;

/// Looks at one address or file once.
pub(super) fn poll(
    (context, target): (&Context, &Target),
    seen: &mut Seen,
    out: &mut Poll,
    now: u64,
    fetching: Fetching<'_>,
) {
    let first_time = *seen == Seen::default();
    let mut looked = context.look(None);
    let marks = seen.marks();
    let fetch = |looked: &Looked| {
        let limit = limit(looked.known.as_deref(), target, context.watch.max_bytes);
        fetching(limit, marks.as_ref().map(|(m, _)| m))
    };
    let mut round = fetch(&looked);
    let judge = |round: &Round, looked: &Looked| -> Vec<(Hash, Word)> {
        let groups = round.groups();
        let words = groups
            .iter()
            .map(|g| (g.sha256, word(context, target, g, round.limit, looked)));
        words.collect()
    };
    let mut words = judge(&round, &looked);
    // Whoever publishes logs first and uploads then: what an older history does not have, a
    // history that was asked for after the bytes must have.
    let sure = |words: &[(Hash, Word)]| words.iter().all(|(_, w)| w.good().is_some());
    if !sure(&words) || round.broken().any(|(_, part, _)| part.size > 0) {
        looked = context.look(Some(round.ended));
        if limit(looked.known.as_deref(), target, context.watch.max_bytes) > round.limit {
            round = fetch(&looked);
        }
        words = judge(&round, &looked);
    }
    if words.len() > 1 && sure(&words) {
        std::thread::sleep(AGAIN);
        round = fetch(&looked);
        words = judge(&round, &looked);
        if !sure(&words) {
            looked = context.look(Some(round.ended));
            words = judge(&round, &looked);
        }
    }
    let mut say = Say {
        context,
        subject: target.subject(),
        seen,
        out,
        now,
    };
    say.looked(&looked);
    say.pending(&looked, target);
    let groups = round.groups();
    let words: Vec<Word> = words.into_iter().map(|(_, w)| w).collect();
    for (group, word) in groups.iter().zip(&words) {
        bytes(&mut say, target, group, word);
    }
    differences(&mut say, &groups, &words);
    let right = groups.iter().zip(&words).find(|(_, w)| w.good().is_some());
    say.broken(target, &round, right.map(|(g, _)| g), &looked);
    say.failures(&round);
    say.not_modified(&round, marks.as_ref().map(|(_, d)| d));
    say.redirects(&round, first_time);
    settle(&mut say, target, &groups, &words, &looked);
    if let Some(b) = round.first() {
        say.seen.mark(&b.marks, &b.sha256);
    }
}

fn word(
    context: &Context,
    target: &Target,
    group: &Group<'_>,
    limit: u64,
    looked: &Looked,
) -> Word {
    let known = looked.known.as_deref();
    if group.over {
        return match known.filter(|_| looked.fail.is_none()) {
            Some(k) if limit > k.largest(&target.name).unwrap_or(0) => Word::Endless,
            Some(_) => Word::TooLarge,
            None => Word::Unasked,
        };
    }
    let verdict = known.map(|k| k.verdict(&target.name, target.version(), &group.sha256));
    match verdict {
        Some(stands @ Verdict::Stands { .. }) => Word::Log(stands),
        Some(verdict) if looked.fail.is_none() => Word::Log(verdict),
        // Taken back is taken back, whatever was said since.
        Some(fallen @ Verdict::Fallen { .. }) => Word::Log(fallen),
        _ => proven(context, target, group).map_or(Word::Unasked, Word::Bundle),
    }
}

/// What the bundle proves of bytes while the log cannot be asked.
fn proven(context: &Context, target: &Target, group: &Group<'_>) -> Option<u64> {
    let bundle = bundle::fetch(context, target.bundle.as_deref()?).ok()?;
    let of = Of {
        name: &target.name,
        version: target.version(),
        sha256: group.sha256,
        size: group.bytes.size,
    };
    let trust = (&*context.trust, &context.project);
    bundle::check(&bundle, &of, trust, crate::cmd::common::now()).ok()
}

/// What is to be said of some bytes.
fn bytes(say: &mut Say<'_>, target: &Target, group: &Group<'_>, word: &Word) {
    let project = &say.context.project.name;
    let served = format!("sha256 {}", hex32(&group.sha256));
    let (class, kind, message) = match word {
        Word::Bundle(_) | Word::Log(Verdict::Stands { .. }) => return,
        Word::Log(Verdict::NotLogged) => (
            Class::Tampering,
            "bytes-not-logged",
            format!(
                "what is served as {} is in no release of {project} ({served})",
                shown(&target.name)
            ),
        ),
        Word::Endless => (
            Class::Tampering,
            "bytes-not-logged",
            format!(
                "what is served as {} is longer than any release of {project} ever was: it was left after {} bytes",
                shown(&target.name),
                group.bytes.size
            ),
        ),
        // Graver than an outage: the project has signed that nobody should be given this, so it is
        // not what was signed; and an alert that passed by itself would hide that it was served.
        Word::Log(Verdict::Fallen { version, why, .. }) => (
            Class::Tampering,
            "withdrawn-served",
            format!(
                "what is served was released as version {}, and no longer stands: {why}",
                shown(version)
            ),
        ),
        Word::Log(Verdict::Elsewhere(what)) => (
            Class::Tampering,
            if say.seen.digest.is_some() {
                "changed-without-release"
            } else {
                "other-artifact"
            },
            format!(
                "what is served as {} was released as something else: {}",
                shown(&target.name),
                shown(what)
            ),
        ),
        Word::TooLarge => (
            Class::Degraded,
            "too-large",
            format!(
                "what is served is larger than the {} bytes that are read of it (max-bytes)",
                say.context.watch.max_bytes
            ),
        ),
        Word::Unasked => (
            Class::Degraded,
            "not-compared",
            format!(
                "what is served is not known from before, and the log cannot be asked about it ({served})"
            ),
        ),
    };
    let hint = match kind {
        "withdrawn-served" => {
            "take it off the storage if it is there since before; else somebody put it back: find out who can write there"
        }
        "other-artifact" => {
            "set `artifact` (and `project`) of this [[watch]] if the name is another; else it is in the wrong place"
        }
        "too-large" => "set max-bytes of this [[watch]] higher",
        "not-compared" => {
            "nothing is to be done: it is compared as soon as the log answers, even if something else is served then"
        }
        _ => NOT_RUN,
    };
    if matches!(word, Word::Unasked) && say.seen.pending.len() < PENDING && !group.over {
        let now = say.now;
        say.seen.pending.entry(hex32(&group.sha256)).or_insert(now);
    }
    let key = if group.over {
        "endless".to_owned()
    } else {
        hex32(&group.sha256)
    };
    let finding = Finding::new(class, kind, say.subject.clone(), message)
        .detail("artifact", shown(&target.name))
        .detail("got", served)
        .detail("size", group.bytes.size.to_string())
        .detail("served to", shown(&group.labels()))
        .hint(hint);
    say.keep(finding, key, group.bytes, &group.got);
}

/// Whether all were served the same.
fn differences(say: &mut Say<'_>, groups: &[Group<'_>], words: &[Word]) {
    if groups.len() < 2 {
        return;
    }
    let bad: Vec<String> = groups
        .iter()
        .zip(words)
        .filter(|(_, w)| w.bad())
        .map(|(g, _)| match g.over {
            true => "endless".to_owned(),
            false => hex32(&g.sha256),
        })
        .collect();
    let (class, hint) = if bad.is_empty() {
        (
            Class::Degraded,
            "all of it is released, or not yet compared: if it stays so, caches before this storage serve old bytes",
        )
    } else {
        (Class::Tampering, NOT_RUN)
    };
    let key = if bad.len() > 3 {
        "many".to_owned()
    } else {
        bad.join(" ")
    };
    let mut finding = Finding::new(
        class,
        "served-differently",
        say.subject.clone(),
        format!(
            "different clients are served different bytes: {} of them",
            groups.len()
        ),
    )
    .key(key)
    .hint(hint);
    for group in groups.iter().take(8) {
        finding = finding.detail(
            format!("sha256 {}", hex32(&group.sha256)),
            shown(&group.labels()),
        );
    }
    say.out.findings.push(finding);
}

/// What remains to be said where bytes are right, and what is remembered of them.
fn settle(
    say: &mut Say<'_>,
    target: &Target,
    groups: &[Group<'_>],
    words: &[Word],
    looked: &Looked,
) {
    let good: Vec<(&Group<'_>, u64)> = groups
        .iter()
        .zip(words)
        .filter_map(|(g, w)| Some((g, w.good()?)))
        .collect();
    for (group, index) in &good {
        let digest = hex32(&group.sha256);
        let newer = say.seen.index.filter(|seen| index < seen);
        let stands = |index: &u64| looked.known.as_ref().is_some_and(|k| k.stands(*index));
        if let Some(newer) = newer.filter(stands) {
            if good.len() == 1 {
                let message = format!(
                    "an older release is served again (log index {index}, before it {newer}), and the newer one stands"
                );
                let finding = Finding::new(
                    Class::Tampering,
                    "rolled-back",
                    say.subject.clone(),
                    message,
                )
                .detail("got", format!("sha256 {digest}"))
                .detail("served to", shown(&group.labels()))
                .hint("withdraw the newer release if you went back on purpose; else somebody serves what you have mended");
                say.keep(finding, digest, group.bytes, &group.got);
            }
            continue;
        }
        if good.len() == 1 && say.seen.digest.as_ref() != Some(&digest) {
            say.record(
                "served",
                format!(
                    "{} is served as released at log index {index}",
                    shown(&target.name)
                ),
                vec![
                    ("sha256".to_owned(), digest.clone()),
                    (
                        "before".to_owned(),
                        say.seen.digest.clone().unwrap_or_default(),
                    ),
                ],
            );
        }
        if good.len() == 1 {
            say.seen.digest = Some(digest);
            say.seen.index = Some(*index);
        }
    }
    let Some((group, _)) = good.first() else {
        return;
    };
    beside(say, target, group);
}

impl Say<'_> {
    /// Judges what waited for the log.
    fn pending(&mut self, looked: &Looked, target: &Target) {
        let Some(known) = looked.known.as_ref().filter(|_| looked.fail.is_none()) else {
            return;
        };
        if self.seen.pending.is_empty() {
            return;
        }
        let known: Arc<Known> = known.clone();
        for (text, since) in std::mem::take(&mut self.seen.pending) {
            let Some(digest) = from_hex32(&text) else {
                continue;
            };
            if known.verdict(&target.name, target.version(), &digest) != Verdict::NotLogged {
                continue;
            }
            let kept = self.context.shared.quarantine.path(&digest);
            let finding = Finding::new(
                Class::Tampering,
                "bytes-not-logged",
                self.subject.clone(),
                format!(
                    "what was served as {} while the log could not be asked is in no release of {} (sha256 {text})",
                    shown(&target.name),
                    self.context.project.name
                ),
            )
            .key(text.clone())
            .detail("got", format!("sha256 {text}"))
            .detail("served at", crate::when::time(since))
            .detail("kept", kept.display().to_string())
            .hint(NOT_RUN);
            self.out.findings.push(finding);
        }
    }
}
