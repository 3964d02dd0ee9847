//! What lies in a report's directory beside its proofs, and what its maker's word alone says.

use super::document::Sample;
use super::folder::{Files, Listing, NEXT, SAMPLES};
use super::said::Said;
use super::samples;
use crate::fail::{Fail, visible};
use crate::policy::Policy;
use crate::receipt;
use serde_json::Value;

/// What lies in the directory beside the proofs.
pub(super) struct There {
    pub(super) samples: Vec<Sample>,
    /// Whether the samples were read; else they are what the report says.
    pub(super) read: bool,
    /// Whether it can be told what the report says of samples.
    pub(super) known: bool,
    pub(super) not_supplied: Vec<&'static str>,
    pub(super) fails: Vec<Fail>,
}

pub(super) fn there(files: &Files, said: &Said, listing: &Listing) -> There {
    let mut fails = listing.fails.clone();
    let listed = said.value.get("samples").cloned().unwrap_or_default();
    let any = |name: &str| {
        let list = said.value.get(name).and_then(Value::as_array);
        list.is_some_and(|l| !l.is_empty())
    };
    let mut not_supplied = Vec::new();
    // Steps alone have a file of their own.
    for (name, of) in [(SAMPLES, [SAMPLES; 2]), (NEXT, [NEXT, "steps"])] {
        if listing.absent.contains(&name) && of.iter().any(|l| any(l)) {
            not_supplied.push(name);
        }
    }
    let samples = match listing.unread.contains(SAMPLES) || not_supplied.contains(&SAMPLES) {
        true => None,
        false => match samples::read(files, &listing.names) {
            Ok(samples) => Some(samples),
            Err(fail) => {
                fails.push(fail);
                None
            }
        },
    };
    let read = samples.is_some();
    let samples = samples.or_else(|| ledger::json::typed(listed).ok());
    There {
        known: samples.is_some(),
        samples: samples.unwrap_or_default(),
        read,
        not_supplied,
        fails,
    }
}

/// Where the log was asked is the maker's word: a policy may have another address.
pub(super) fn notes(policy: &Policy, said: &Said) -> Vec<String> {
    let theirs = &said.asked.log_url;
    let ours = policy.log.url.as_deref().map(asked_at);
    if ours.as_ref() == Some(theirs) {
        return Vec::new();
    }
    let ours = ours.unwrap_or_else(|| "no address".to_owned());
    vec![format!(
        "the log was asked at {}, says the report, to which its records refer; your policy has {}. The proofs are of {}, wherever it was asked",
        visible(theirs),
        visible(&ours),
        visible(&policy.log.origin)
    )]
}

/// An address of a log, as a report has it: it is published, and a password in it is not.
pub(crate) fn asked_at(url: &str) -> String {
    receipt::address(url.trim_end_matches('/')).replace("…@", "")
}
