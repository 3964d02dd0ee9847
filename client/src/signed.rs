//! A checkpoint as the verifier sees it: which keys have signed it, and what its witnesses'
//! cosignatures say of time (docs/formats.md, "Bundle"). Pure, as the verifier is.

use crate::policy::Policy;
use crate::refused::{Refused, same};
use crate::when::time;
use ledger::bundle::Included;
use tlog::checkpoint::Checkpoint;
use tlog::note::{Note, NoteError};
use tlog::vkey::VerifierKey;

/// Cosignatures dated later than this after `now` are not counted, in seconds.
pub const FUTURE_SECONDS: u64 = 300;
/// A leaf's time may be later than its first-public time by this, in seconds.
pub const LEAF_SECONDS: u64 = 300;
/// A release may become public later than the end of its certificate by this, in seconds.
pub const CERTIFICATE_SECONDS: u64 = 300;

/// A signed checkpoint whose signatures were checked.
pub(crate) struct Signed {
    pub(crate) text: String,
    pub(crate) checkpoint: Checkpoint,
    log_keys_signed: Vec<bool>,
    /// Per witness line of the policy: the times of its cosignatures, none in the future.
    times: Vec<(String, Vec<u64>)>,
}

impl Signed {
    pub(crate) fn read(
        text: &str,
        policy: &Policy,
        now: u64,
        may_be_unsigned: bool,
    ) -> Result<Self, Refused> {
        let bad = |e: String| Refused::Checkpoint(e);
        let note = Note::parse(text.as_bytes()).map_err(|e| bad(e.to_string()))?;
        let checkpoint = Checkpoint::parse(&note.text).map_err(|e| bad(e.to_string()))?;
        step!(
            "origin",
            same(&policy.log.origin, &checkpoint.origin).map_err(Refused::Origin)
        );
        let logs = policy.log.vkeys.len();
        let mut keys: Vec<VerifierKey> = policy.log.vkeys.clone();
        keys.extend(policy.witnesses.witnesses().iter().map(|w| w.key.clone()));
        let verified = match note.verify(&keys) {
            // Nobody known has signed: that says nothing by itself, and meets no policy.
            Err(NoteError::NoKnownSignature { .. }) if may_be_unsigned => Vec::new(),
            Err(NoteError::NoKnownSignature { .. }) => {
                let key = policy.log.vkeys.first();
                let id = key.map(|key| hex::encode(key.key_id())).unwrap_or_default();
                return Err(Refused::LogKey(id));
            }
            other => other.map_err(|e| bad(e.to_string()))?,
        };
        let mut log_keys_signed = vec![false; logs];
        let mut times: Vec<(String, Vec<u64>)> = policy
            .witnesses
            .witnesses()
            .iter()
            .map(|w| (w.name.clone(), Vec::new()))
            .collect();
        for v in verified {
            if let Some(signed) = log_keys_signed.get_mut(v.key) {
                *signed = true;
            } else if let Some((_, list)) = times.get_mut(v.key - logs) {
                // A cosignature from the future proves no time, and counts for nothing.
                let future = |t: &u64| {
                    cfg!(not(without = "future")) && *t > now.saturating_add(FUTURE_SECONDS)
                };
                list.extend(v.timestamp.filter(|t| !future(t)));
            }
        }
        Ok(Self {
            text: text.to_owned(),
            checkpoint,
            log_keys_signed,
            times,
        })
    }

    pub(crate) fn of<'a>(&'a self, witness: &str) -> &'a [u64] {
        self.times
            .iter()
            .find(|(name, _)| name == witness)
            .map_or(&[], |(_, t)| t)
    }

    pub(crate) fn log_keys(&self, policy: &Policy) -> Result<(), Refused> {
        match self
            .log_keys_signed
            .iter()
            .zip(&policy.log.vkeys)
            .find(|(signed, _)| !**signed)
        {
            Some((_, key)) => Err(Refused::LogKey(hex::encode(key.key_id()))),
            None => Ok(()),
        }
    }

    pub(crate) fn quorum(&self, policy: &Policy) -> bool {
        policy.witnesses.met(&|w| !self.of(w).is_empty())
    }

    /// The refusal that says whose cosignatures there are, and whose there are not.
    pub(crate) fn lacks_quorum(&self, policy: &Policy) -> Refused {
        let names = policy.witnesses.witnesses().iter().map(|w| w.name.as_str());
        let (there, missing): (Vec<&str>, Vec<&str>) = names.partition(|w| !self.of(w).is_empty());
        let list = |names: Vec<&str>| match names.as_slice() {
            [] => "nobody".to_owned(),
            names => names.join(", "),
        };
        Refused::Quorum(format!(
            "cosigned by {}, not by {}",
            list(there),
            list(missing)
        ))
    }

    /// The smallest T such that the cosignatures dated ≤ T meet the quorum.
    pub(crate) fn first_time(&self, policy: &Policy) -> Option<u64> {
        policy
            .witnesses
            .kth_smallest(&|w| self.of(w).iter().copied().min())
    }

    /// The largest T such that the cosignatures dated ≥ T meet the quorum.
    pub(crate) fn view_time(&self, policy: &Policy) -> Option<u64> {
        policy
            .witnesses
            .kth_largest(&|w| self.of(w).iter().copied().max())
    }

    pub(crate) fn includes(&self, what: &Included) -> Result<(), Refused> {
        let c = &self.checkpoint;
        tlog::proof::verify_inclusion(
            &tlog::hash::leaf_hash(&what.leaf),
            what.index,
            c.size,
            &what.proof,
            &c.root,
        )
        .map_err(|e| Refused::Inclusion(format!("entry {}: {e}", what.index)))
    }
}

pub(crate) fn leaf_time(time: u64, first_public: Option<u64>) -> Result<(), Refused> {
    match first_public {
        Some(public) if time > public.saturating_add(LEAF_SECONDS) => Err(Refused::Time(format!(
            "the log dated the entry {time}, but witnesses saw it at {public}"
        ))),
        _ => Ok(()),
    }
}

/// What a certificate vouches for was public while every certificate on its path was valid, up to
/// `end`, or soon after: the log's word for when it logged the release is not enough, since the key of a
/// certificate, or of an authority, that has ended may be anybody's. Without witnesses nobody says when it was public.
pub(crate) fn certificate_time(end: u64, first_public: Option<u64>) -> Result<(), Refused> {
    match first_public {
        None => Err(Refused::Time(
            "signed with a certificate, and no witness says when it was public: the policy must want witnesses".into(),
        )),
        Some(public) if public > end.saturating_add(CERTIFICATE_SECONDS) => {
            Err(Refused::Time(format!(
                "the certificate, or an authority's above it, ended at {}, witnesses saw the release at {}: more than {CERTIFICATE_SECONDS} s later",
                time(end),
                time(public)
            )))
        }
        Some(_) => Ok(()),
    }
}

/// `min` is the policy's `min-age` for the project.
pub(crate) fn min_age(
    min: Option<u64>,
    first_public: Option<u64>,
    now: u64,
) -> Result<(), Refused> {
    let Some(min) = min else {
        return Ok(());
    };
    let public =
        first_public.ok_or_else(|| Refused::Quorum("no time of one can be told".into()))?;
    let age = now.saturating_sub(public);
    if age >= min {
        Ok(())
    } else {
        Err(Refused::Time(format!(
            "public for {age} s, the policy wants {min} s: old enough at {}",
            time(public.saturating_add(min))
        )))
    }
}

/// `max` is the policy's `max-age` for the project.
pub(crate) fn max_age(max: Option<u64>, view: Option<u64>, now: u64) -> Result<(), Refused> {
    let Some(max) = max else {
        return Ok(());
    };
    let age = now
        .saturating_sub(view.ok_or_else(|| Refused::Quorum("no time of one can be told".into()))?);
    if age <= max {
        Ok(())
    } else {
        Err(Refused::Time(format!(
            "the view is {age} s old, the policy allows {max} s: refresh the bundle"
        )))
    }
}

#[cfg(test)]
mod tests;
