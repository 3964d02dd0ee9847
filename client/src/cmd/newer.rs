//! A newer view for a bundle, as servers show it: what is unproven of it, or old, is no view.

use super::common::{learn_head, now, refused_to_fail, warn_once};
use super::history;
use crate::fail::Fail;
use crate::fetch::Fetcher;
use crate::memory::{Memory, SeenCheckpoint, SeenHead};
use crate::policy::{Policy, ProjectPolicy};
use crate::refused::Refused;
use crate::signed::Signed;
use crate::verify::{Artifact, Wanted, verify, verify_head};
use ledger::bundle::{Bundle, Latest, MAX_BUNDLE_BYTES};
use ledger::from_hex32;
use ledger::leaf::Leaf;
use std::path::Path;
use tlog::checkpoint::Checkpoint;
use tlog::note::Note;

/// A view that a server showed of a bundle's project: its checkpoint is signed as the policy
/// wants it, its head is proven, and it goes on from the bundle's own checkpoint and from the
/// remembered one.
struct Shown {
    bundle: Bundle,
    checkpoint: SeenCheckpoint,
    head: SeenHead,
}

/// Who is asked, by whom, and what is known.
struct Asked<'a> {
    fetcher: &'a Fetcher,
    policy: &'a Policy,
    project: &'a ProjectPolicy,
    bundle: &'a Bundle,
    state: &'a Path,
}

impl Asked<'_> {
    fn bad(&self, why: impl std::fmt::Display) -> Fail {
        let why = format!("the log's answer is of no use: {why}");
        Fail::unchecked("bad-answer", why)
            .hint("try again later; something else may be served there")
    }

    /// Two checkpoints that the log signed, and that contradict each other, are evidence. All
    /// else that does not verify anybody can make, and it says nothing.
    fn not_proven(&self, why: &Refused, shown: &Bundle) -> Fail {
        let ours = history::Against {
            policy: self.policy,
            state: self.state,
        };
        let fail = refused_to_fail(why, ours, self.project, shown);
        if matches!(why, Refused::Fork { .. }) {
            return fail;
        }
        let code = crate::fail::UNCHECKED;
        if matches!(why, Refused::LogKey(_)) {
            return Fail { code, ..fail };
        }
        Fail { code, ..fail }.hint("try again later; something else may be served there")
    }

    /// What the server at `url` shows; `None` where that is what the bundle has.
    fn from(&self, url: &str, memory: &Memory) -> Result<Option<Shown>, Fail> {
        let (policy, id, own) = (self.policy, &self.project.id, self.bundle);
        let index = own.entry.index;
        let address = format!("{url}/api/v1/entries/{index}/bundle");
        let bytes = self.fetcher.get_bytes(&address, MAX_BUNDLE_BYTES)?;
        let answer = Bundle::parse(&bytes).map_err(|e| self.bad(e))?;
        if answer.latest.is_some() {
            return Err(self.bad("it has two views"));
        }
        let (new, _) = verify_head(id, (&answer).into(), policy, memory, now())
            .map_err(|r| self.not_proven(&r, &answer))?;
        let root = from_hex32(&new.root).ok_or_else(|| self.bad("a malformed root"))?;

        // Not older than what is known already, and newer than what the bundle has.
        let first = Note::parse(own.first.as_bytes()).map_err(|e| self.bad(e))?;
        let first = Checkpoint::parse(&first.text).map_err(|e| self.bad(e))?;
        let has = verify_head(id, own.into(), policy, memory, now()).ok();
        let has = has.map(|(checkpoint, _)| checkpoint);
        let seen = memory.logs.get(&policy.log.origin);
        let least = has.as_ref().map_or(first.size, |has| has.size);
        let least = seen.map_or(least, |seen| seen.size.max(least));
        if new.size < least {
            let why = "the log's answer is older than what is known already";
            return Err(Fail::unchecked("stale-view", why)
                .detail("expected", format!("tree size {least} or later"))
                .detail("got", format!("tree size {}", new.size))
                .hint("try again later; an old answer may be served there"));
        }
        let log = &policy.log;
        let ours = history::Against {
            policy,
            state: self.state,
        };
        // What the log has signed of the bundle's history: its first checkpoint, or, where there is a later
        // one, which needs no signature on the first, that.
        let word = || {
            let read = Signed::read(&own.first, policy, now(), false);
            match read.is_ok_and(|signed| signed.log_keys(policy).is_ok()) {
                true => Some(own.first.as_str()),
                false => has.as_ref().map(|has| has.checkpoint.as_str()),
            }
        };
        let connect = || {
            let (old, new_at) = ((first.size, first.root), (new.size, root));
            history::connect(self.fetcher, log, old, new_at).map_err(|mut fail| {
                if fail.code == crate::fail::UNTRUSTED {
                    fail = match word() {
                        Some(word) => {
                            let notes = (word, new.checkpoint.as_str());
                            ours.against(self.fetcher, notes, fail)
                        }
                        // Anybody can have written it: that accuses nobody.
                        None => Fail::unchecked(
                            "not-consistent",
                            "the log does not go on from the bundle's own checkpoint, which the policy's keys have not signed",
                        )
                        .hint("the bundle is damaged, or from before the log's keys were changed: get it anew"),
                    };
                }
                fail.detail("log", log.origin.as_str())
                    .detail("bundle", own.first.trim_end())
                    .detail("now", new.checkpoint.trim_end())
            })
        };
        if answer.entry.index != index || answer.entry.leaf != own.entry.leaf {
            // Of another history, or only of another entry.
            connect()?;
            let why = format!("it is not about entry {index} as the bundle has it");
            return Err(self.bad(why));
        }
        let same = |has: &SeenCheckpoint| (has.size, &has.root) == (new.size, &new.root);
        if has
            .as_ref()
            .is_some_and(|has| same(has) && new.view_time <= has.view_time)
        {
            history::check(self.fetcher, ours, seen, &own.first, &new)?;
            return Ok(None);
        }

        // One history with the bundle's first checkpoint, and with the remembered one.
        let consistency = connect()?;
        let newer = Bundle {
            first: own.first.clone(),
            latest: Some(Latest {
                checkpoint: answer.first,
                consistency,
            }),
            ..answer
        };
        let (checkpoint, head) = verify_head(id, (&newer).into(), policy, memory, now())
            .map_err(|r| self.not_proven(&r, &newer))?;
        history::check(self.fetcher, ours, seen, &newer.first, &checkpoint)?;
        Ok(Some(Shown {
            bundle: newer,
            checkpoint,
            head,
        }))
    }

    /// Whether all of a bundle is proven, whatever that says of the release: else who changes one
    /// byte on the way would put a bundle that nobody can verify in the place of a good one.
    fn whole(&self, bundle: &Bundle, memory: &Memory) -> Result<(), Fail> {
        // Any artifact will do: what the release is of is not in question.
        let subject = match Leaf::parse(&bundle.entry.leaf) {
            Ok(Leaf::Statement(leaf)) => leaf.statement.subject.into_iter().next(),
            _ => None,
        };
        let artifact = Artifact {
            name: subject.as_ref().map_or("", |s| s.name.as_str()),
            sha256: subject.as_ref().map_or([0; 32], |s| s.sha256),
            size: subject.as_ref().and_then(|s| s.size).unwrap_or(0),
        };
        let wanted = Wanted {
            project: self.project,
            version: None,
            no_rollback: false,
        };
        match verify(&artifact, &wanted, bundle, self.policy, memory, now()) {
            // What a server could have made up around the checkpoint, the head and the entry.
            Err(
                why @ (Refused::Checkpoint(_)
                | Refused::Origin(_)
                | Refused::LogKey(_)
                | Refused::Quorum(_)
                | Refused::Consistency(_)
                | Refused::Head(_)
                | Refused::Map(_)
                | Refused::Chain(_)
                | Refused::Project(_)
                | Refused::Inclusion(_)
                | Refused::WithdrawnProof(_)),
            ) => Err(self.not_proven(&why, bundle)),
            // The rest follows from what is proven.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// Takes up the newest view that the log, or else a mirror, shows, if it can be had and is one:
/// then what it says of the project is remembered, and the bundle has it. Where it cannot be
/// had, the bundle stays as it is, and why is said: the policy's `max-age` decides how old a
/// view may be.
///
/// # Errors
/// Exit code 1 where the log shows a history that contradicts what its keys signed before.
pub(crate) fn take_up(
    fetcher: &Fetcher,
    policy: &Policy,
    project: &ProjectPolicy,
    (state, memory): (&Path, &mut Memory),
    bundle: &mut Bundle,
) -> Result<Taken, Fail> {
    let mut first: Option<Fail> = None;
    for url in policy.log.url.iter().chain(&policy.log.mirrors) {
        let url = url.trim_end_matches('/');
        let asked = Asked {
            fetcher,
            policy,
            project,
            bundle,
            state,
        };
        let fail = match asked.from(url, memory) {
            Ok(None) => return Ok(Taken::Current),
            Ok(Some(Shown {
                bundle: newer,
                checkpoint,
                head,
            })) => {
                // The head is proven, whatever else of the answer is not. Who must remember what was
                // proven does so with the verdict.
                let id = &project.id;
                let ours = history::Against { policy, state };
                let connects = |seen: &SeenCheckpoint| {
                    history::check(fetcher, ours, Some(seen), &newer.first, &checkpoint)
                };
                let proven = (&checkpoint, &head);
                if let Err(e) = learn_head(state, memory, policy, id, proven, connects) {
                    if e.code != crate::fail::USAGE {
                        return Err(e.detail("url", url));
                    }
                    warn_once("not remembered", &e);
                }
                match asked.whole(&newer, memory) {
                    Ok(()) => {
                        *bundle = newer;
                        return Ok(Taken::Newer);
                    }
                    Err(fail) => fail,
                }
            }
            Err(fail) => fail,
        };
        let fail = fail.detail("url", url);
        if fail.code == crate::fail::UNTRUSTED {
            return Err(fail);
        }
        first.get_or_insert(fail);
    }
    Ok(Taken::Not(first.unwrap_or_else(history::no_url)))
}

/// What became of a refresh.
pub(crate) enum Taken {
    /// The bundle has a newer view now.
    Newer,
    /// There is no newer one.
    Current,
    /// It could not be had, and why.
    Not(Fail),
}

impl Taken {
    /// Says on standard error where the view is not the newest, and why.
    pub(crate) fn warn(&self) {
        if let Self::Not(why) = self {
            eprint!(
                "warning: what was revoked or withdrawn since the bundle was made could not be asked: {}",
                why.human()
            );
        }
    }
}
