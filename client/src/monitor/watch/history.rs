//! The proven histories that served bytes are compared with: one for each project, shared by all
//! that is watched, and asked for at most once a minute.

use super::known::Known;
use crate::cmd::complete::{Since, complete_since};
use crate::fail::Fail;
use crate::fetch::Fetcher;
use crate::memory::Memory;
use crate::policy::{Policy, ProjectPolicy};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For so long what a log answered is new enough, and what it did not is not asked again.
const FRESH: Duration = Duration::from_secs(60);

/// A policy, and where what is proven under it is remembered.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) policy: Policy,
    memory: PathBuf,
}

impl Trust {
    /// Reads a policy; what is proven under it is remembered below `state`.
    pub(super) fn load(path: &Path, state: &Path) -> Result<Self, Fail> {
        let args = crate::cmd::common::PolicyArgs {
            policy: Some(path.to_owned()),
            state: None,
        };
        let policy = crate::cmd::common::load_policy(&args)?;
        let name = ledger::hex32(&ledger::sha256(path.as_os_str().as_encoded_bytes()));
        let name: String = name.chars().take(16).collect();
        let memory = state.join("watch").join(format!("{name}.json"));
        Ok(Self { policy, memory })
    }

    /// What is remembered of the log.
    pub(super) fn memory(&self) -> Result<Memory, Fail> {
        crate::cmd::common::load_memory(&self.memory)
    }
}

/// What is known of a project.
#[derive(Debug, Clone)]
pub(super) struct Looked {
    /// Its history, where it was ever had.
    pub(super) known: Option<Arc<Known>>,
    /// Why it is older than was asked for.
    pub(super) fail: Option<Fail>,
}

#[derive(Debug, Default)]
struct Slot {
    known: Option<Arc<Known>>,
    /// When it was asked for, and when in vain.
    at: Option<Instant>,
    failed: Option<(Instant, Fail)>,
}

/// By where it is remembered, and project.
type Slots = HashMap<(PathBuf, ledger::Hash), Arc<Mutex<Slot>>>;

/// All of them.
#[derive(Debug)]
pub(super) struct Histories {
    fetcher: Fetcher,
    slots: Mutex<Slots>,
}

impl Histories {
    pub(super) fn new(fetcher: Fetcher) -> Self {
        let slots = Mutex::default();
        Self { fetcher, slots }
    }

    /// The project's history: one that is at most a minute old, or, where bytes are to be judged
    /// that it does not have, one that was asked for after them.
    pub(super) fn look(
        &self,
        trust: &Trust,
        project: &ProjectPolicy,
        after: Option<Instant>,
    ) -> Looked {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (trust.memory.clone(), project.id);
            slots.entry(key).or_default().clone()
        };
        // Who comes meanwhile waits, and finds the answer.
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = Instant::now();
        let enough = |at: Instant| match after {
            Some(after) => at >= after,
            None => begin.duration_since(at) < FRESH,
        };
        // Nor is a log that does not answer asked again and again.
        let recent = slot.failed.as_ref();
        let recent = recent.filter(|(at, _)| begin.duration_since(*at) < FRESH);
        let fail = if slot.at.is_some_and(enough) {
            None
        } else if let Some((_, fail)) = recent {
            Some(fail.clone())
        } else {
            let asked = self.ask(trust, project, slot.known.as_ref());
            match asked {
                Ok(known) => {
                    slot.known = Some(known);
                    slot.at = Some(begin);
                    slot.failed = None;
                    None
                }
                Err(fail) => {
                    slot.failed = Some((begin, fail.clone()));
                    Some(fail)
                }
            }
        };
        Looked {
            known: slot.known.clone(),
            fail,
        }
    }

    fn ask(
        &self,
        trust: &Trust,
        project: &ProjectPolicy,
        known: Option<&Arc<Known>>,
    ) -> Result<Arc<Known>, Fail> {
        let mut memory = trust.memory()?;
        let state = known.map(|k| &k.state);
        let at = (trust.memory.as_path(), &mut memory);
        match complete_since(&self.fetcher, &trust.policy, project, state, at)? {
            Since::Same => known.cloned().ok_or_else(|| {
                Fail::unchecked(
                    "bad-answer",
                    "the log's answer is of no use: nothing is known",
                )
            }),
            Since::Changed(complete, state) => {
                Ok(Arc::new(Known::new(&complete, &project.id, state)))
            }
        }
    }
}
