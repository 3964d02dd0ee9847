//! Which receipts speak of what was later made void or withdrawn, and what to do about each. Pure:
//! the histories are proven elsewhere ([`crate::cmd::affected`]).

pub(crate) mod lines;
mod next;

use crate::cmd::complete::{Complete, Release, Standing};
use crate::receipt::Receipt;
use crate::standing::revoked_id;
use ledger::statement::{Body, Revocation, Target, Withdrawal};
use ledger::{Hash, hex32};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) index: u64,
    /// The leaf's time, Unix seconds; of an index that is of another project, its next leaf's.
    pub(crate) time: Option<u64>,
}

impl At {
    fn json(self) -> Value {
        json!({ "index": self.index, "time": self.time })
    }
}

/// Why what was trusted is not to be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// This key, identity or authority was compromised when it signed.
    Void(Target),
    /// It was taken back.
    Withdrawn {
        /// What to use instead, for people.
        successor: Option<String>,
    },
    /// The log does not have the release that the receipt names, or not with this digest.
    Unknown,
}

impl Why {
    /// One word for it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Void(_) => "void",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Unknown => "unknown-release",
        }
    }
}

/// What the log says against a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Against {
    pub(crate) why: Why,
    /// The statement that says so, and where it stands.
    pub(crate) by: Option<(Hash, At)>,
    /// Its reason, for people.
    pub(crate) reason: Option<String>,
    /// From where on the key's signatures do not count; where the release itself stands for one
    /// that was taken back.
    pub(crate) from: At,
    /// The same bytes, stated again by keys that count: where.
    pub(crate) restated: Option<At>,
}

struct Known {
    index: u64,
    digests: Vec<String>,
    against: Option<Against>,
}

/// What became of all releases of a project.
pub(crate) struct History {
    size: u64,
    releases: HashMap<String, Known>,
}

/// What is to be said of a receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// What it trusted stands.
    Good,
    /// It does not.
    Bad(&'a Against),
    /// The receipt is of a newer view than the history: the log shows less than it did.
    Newer(u64),
}

impl History {
    /// Of a proven history of `project`.
    pub(crate) fn new(complete: &Complete, project: &Hash) -> Self {
        let releases = complete.releases(project);
        let standing = Standings::new(complete, project, &releases);
        let known = releases.iter().map(|r| {
            let known = Known {
                index: r.index,
                digests: r.artifacts.iter().map(|a| hex32(&a.sha256)).collect(),
                against: standing.against(r),
            };
            (hex32(&r.statement), known)
        });
        Self {
            size: complete.checkpoint.size,
            releases: known.collect(),
        }
    }

    /// What became of what `receipt` trusted.
    pub(crate) fn judge(&self, receipt: &Receipt<'_>) -> Found<'_> {
        let known = self.releases.get(receipt.statement.as_ref());
        let known = known
            .filter(|k| k.index == receipt.index && k.digests.iter().any(|d| *d == receipt.sha256));
        match known {
            // What is said against it counts, whatever view it was trusted by.
            Some(Known {
                against: Some(against),
                ..
            }) => Found::Bad(against),
            _ if receipt.head.size > self.size => Found::Newer(self.size),
            None => Found::Bad(&UNKNOWN),
            Some(_) => Found::Good,
        }
    }
}

static UNKNOWN: Against = Against {
    why: Why::Unknown,
    by: None,
    reason: None,
    from: At {
        index: 0,
        time: None,
    },
    restated: None,
};

/// What stands in a history against releases, by what it is looked up by.
pub(crate) struct Standings<'a> {
    complete: &'a Complete,
    project: &'a Hash,
    /// Log index and time of each leaf.
    times: Vec<(u64, u64)>,
    withdrawals: HashMap<Hash, (u64, &'a Withdrawal)>,
    revocations: HashMap<Hash, (u64, &'a Revocation)>,
    /// By the statement that was stated again.
    restated: HashMap<Hash, u64>,
}

impl<'a> Standings<'a> {
    /// Of the history's own releases.
    pub(crate) fn new(complete: &'a Complete, project: &'a Hash, releases: &[Release]) -> Self {
        let mut new = Self {
            complete,
            project,
            times: Vec::new(),
            withdrawals: HashMap::new(),
            revocations: HashMap::new(),
            restated: HashMap::new(),
        };
        let standing: HashMap<u64, bool> = releases
            .iter()
            .map(|r| (r.index, r.standing == Standing::Stands))
            .collect();
        for (index, leaf) in complete.statements() {
            new.times.push((index, leaf.time));
            let statement = leaf.envelope.pae_hash();
            match &leaf.statement.body {
                Body::Withdrawal(w) => {
                    new.withdrawals.insert(statement, (index, w));
                }
                Body::Revocation(r) => {
                    new.revocations.insert(statement, (index, r));
                }
                Body::Release(r) if standing.get(&index) == Some(&true) => {
                    if let Some(of) = r.restates {
                        new.restated.insert(of, index);
                    }
                }
                _ => {}
            }
        }
        new
    }

    fn at(&self, index: u64) -> At {
        let after = self.times.partition_point(|(i, _)| *i < index);
        At {
            index,
            time: self.times.get(after).map(|(_, time)| *time),
        }
    }

    /// What is said against one of them, if it does not stand.
    pub(crate) fn against(&self, release: &Release) -> Option<Against> {
        let restated = self.restated.get(&release.statement);
        let restated = restated.map(|index| self.at(*index));
        match release.standing {
            Standing::Stands => None,
            Standing::Void(undone) => {
                let target = undone.to_string();
                let state = self.complete.fold.state(self.project);
                let mut revoked = state.into_iter().flat_map(|s| s.revoked);
                let revoked = revoked.find(|r| r.target == target);
                // The one that gave the window: by an earlier one it may still have counted.
                let said = revoked
                    .as_ref()
                    .and_then(|r| Some((r.statement, self.revocations.get(&r.statement)?)));
                let from = revoked.as_ref().map(|r| r.since.unwrap_or(r.index));
                // It is void, whether all that says so is found or not.
                Some(Against {
                    why: Why::Void(undone),
                    by: said.map(|(statement, (index, _))| (statement, self.at(*index))),
                    reason: said.map(|(_, (_, r))| r.reason.clone()),
                    from: self.at(from.unwrap_or(release.index)),
                    restated,
                })
            }
            Standing::Withdrawn(by) => {
                let said = self.withdrawals.get(&by);
                Some(Against {
                    why: Why::Withdrawn {
                        successor: said.and_then(|(_, w)| w.successor.clone()),
                    },
                    by: said.map(|(index, _)| (by, self.at(*index))),
                    reason: said.map(|(_, w)| w.reason.clone()),
                    from: self.at(release.index),
                    restated,
                })
            }
        }
    }
}

impl Against {
    /// What is said, and where, as fields for a script.
    pub(crate) fn said(&self) -> Vec<(&'static str, Value)> {
        let mut out = Vec::new();
        match &self.why {
            Why::Void(target) => out.push(("key", revoked_id(target).into())),
            Why::Withdrawn {
                successor: Some(successor),
            } => out.push(("successor", successor.as_str().into())),
            Why::Withdrawn { .. } | Why::Unknown => {}
        }
        if let Some((statement, at)) = &self.by {
            let by = json!({ "statement": hex32(statement), "index": at.index, "time": at.time });
            out.push(("by", by));
            let window = json!({ "from": self.from.json(), "until": at.json() });
            out.push(("window", window));
        }
        if let Some(reason) = &self.reason {
            out.push(("reason", reason.as_str().into()));
        }
        if let Some(restated) = self.restated {
            out.push(("restated", restated.json()));
        }
        out
    }

    /// What a script is told of a receipt that this is said against.
    pub(crate) fn shown(&self, receipt: &Receipt<'_>) -> Value {
        let mut out = match serde_json::to_value(receipt) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        out.remove("apiVersion");
        out.remove("kind");
        out.insert("standing".into(), self.why.word().into());
        for (name, value) in self.said() {
            out.insert(name.to_owned(), value);
        }
        // Whoever made it had an older view than there was, or asked for none.
        let known = self.by.and_then(|(_, at)| at.time);
        if let Some(time) = known {
            out.insert("afterwards".into(), (receipt.time > time).into());
        }
        let environment = out.remove("environment");
        let remotes = out.remove("remotes");
        if let Some(environment) = environment {
            let exposed = json!({ "environment": environment, "remotes": remotes });
            out.insert("exposed".into(), exposed);
        }
        out.insert("next".into(), self.next(receipt).into());
        Value::Object(out)
    }
}
