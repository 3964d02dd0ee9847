//! What to do about something that should not have been trusted.

use super::{Against, Why};
use crate::receipt::{Command, Receipt};

impl Against {
    /// What is to be done, most urgent first; for people.
    pub(crate) fn next(&self, receipt: &Receipt<'_>) -> Vec<String> {
        let mut next = Vec::new();
        if let Some(at) = self.restated {
            next.push(format!(
                "these bytes are genuine: the project stated them again at entry {}; `countersign verify` them with the new bundle",
                at.index
            ));
            return next;
        }
        if self.why == Why::Unknown {
            next.push("keep this receipt: either it was changed, or the log showed this machine another history than it shows now; `countersign audit` the log".to_owned());
        }
        match receipt.command {
            Command::Run => ran(receipt, &mut next),
            // What no log knows no scan knows by its digest.
            Command::Get | Command::Verify if self.why == Why::Unknown => {
                next.push("find where the file went, and what ran it".to_owned());
            }
            Command::Get | Command::Verify => next.push(format!(
                "find where the file went, and what ran it: `countersign scan PATH…` finds {} by its digest",
                receipt.sha256
            )),
        }
        match &self.why {
            Why::Withdrawn {
                successor: Some(successor),
            } => next.push(format!("use {successor} in its place")),
            _ => next.push(format!(
                "do not use version {} again; take one that `countersign releases` says stands",
                receipt.version
            )),
        }
        next
    }
}

fn ran(receipt: &Receipt<'_>, next: &mut Vec<String>) {
    match receipt.environment.as_deref() {
        Some([]) => {
            next.push(
                "no environment variable was handed to it: look at what else it could read there"
                    .to_owned(),
            );
        }
        Some(names) => next.push(format!(
            "replace each secret that stood in a variable it was handed: {}",
            names.join(", ")
        )),
        None => {}
    }
    match receipt.remotes.as_deref() {
        Some([]) => {}
        Some(remotes) => next.push(format!(
            "look through what was read from and pushed to {} since then",
            remotes.join(", ")
        )),
        None => next.push(
            "which repositories were there is not known: look at the job's own record".to_owned(),
        ),
    }
    let host = receipt.host.as_deref().unwrap_or("the machine");
    next.push(format!(
        "take {host} for a machine on which somebody else's code ran: make it anew"
    ));
}
