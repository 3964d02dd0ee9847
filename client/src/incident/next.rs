//! What is to be signed next, as prepared files, and what else is to be done.

use super::concern::Concern;
use super::document::{Asked, Next, Question};
use crate::cmd::complete::{Complete, Release, Standing};
use crate::cmd::keys::{Inventory, KeyRow, Purpose};
use crate::cmd::sign::says;
use crate::fail::Fail;
use ledger::envelope::Envelope;
use ledger::statement::{Body, Revocation, Statement, Target, Withdrawal, Withdrawn};
use ledger::{Hash, KeyId, hex32};
use std::collections::{BTreeMap, BTreeSet};

/// What is prepared, and the steps.
#[derive(Default)]
pub(super) struct Prepared {
    /// By file name.
    pub(super) files: BTreeMap<String, Envelope>,
    pub(super) next: Vec<Next>,
    pub(super) steps: Vec<String>,
}

/// Of what it is made.
pub(super) struct From<'a> {
    pub(super) complete: &'a Complete,
    pub(super) project: &'a Hash,
    pub(super) name: &'a str,
    pub(super) releases: &'a [Release],
    pub(super) inventory: &'a Inventory,
    pub(super) concern: &'a Concern,
    pub(super) asked: &'a Asked,
}

impl From<'_> {
    fn reason(&self) -> String {
        self.asked.reason.clone().unwrap_or_else(|| {
            match &self.asked.question {
                Question::Key(_) => "the key is compromised",
                Question::Digest(_) | Question::Version(_) => "it is not to be trusted",
                Question::Window { .. } => "made while a key was compromised",
            }
            .to_owned()
        })
    }

    /// All of it: revocations first, so that nothing else can keep them from the log; then who
    /// takes the keys' place; then what is genuine again, and what is not.
    pub(super) fn prepare(&self) -> Result<Prepared, Fail> {
        let mut prepared = Prepared::default();
        let suspects: Vec<&KeyRow> = self
            .inventory
            .keys
            .iter()
            .filter(|row| self.concern.suspects.contains(&row.id()))
            .collect();
        for row in &suspects {
            self.revoke(row, &mut prepared)?;
        }
        let name = self.name;
        for row in suspects.iter().filter(|r| r.dropped.is_none()) {
            prepared.steps.push(format!(
                "countersign keys rotate --project {name} --old {} --new NEWKEY --key ROOTKEY… --policy POLICY",
                row.id()
            ));
        }
        let restated: BTreeSet<&Hash> = self.concern.restates.values().collect();
        let void = self.releases.iter().any(|r| {
            matches!(r.standing, Standing::Void(_))
                && self.concern.releases.contains(&r.index)
                && !restated.contains(&r.statement)
        });
        if void || !prepared.next.is_empty() {
            prepared.steps.push(format!(
                "of the releases that are void then, state again those whose files you have compared: countersign publish FILE… --project {name} --version VERSION --restate --key NEWKEY --policy POLICY"
            ));
        }
        for release in self.releases {
            if self.to_withdraw(release) {
                self.withdraw(release, &mut prepared)?;
            }
        }
        if !prepared.next.is_empty() {
            prepared.steps.push(
                "when all this is in the log, make the report again: it will say so, with proofs"
                    .to_owned(),
            );
        }
        Ok(prepared)
    }

    /// From where on nothing of a key is to count.
    fn since(&self, key: &KeyId) -> Option<u64> {
        if self.asked.compromised_since.is_some() {
            return self.asked.compromised_since;
        }
        let mut statements = self.complete.statements();
        let found = match &self.asked.question {
            Question::Window { since, .. } => statements.find(|(_, s)| s.time >= *since),
            // Since when is not known: all that it signed is in question, but never the
            // founding, which counts whoever has the key now.
            _ => statements.find(|(_, s)| {
                let by = s.envelope.signatures.iter().any(|sig| sig.keyid == *key);
                by && !matches!(&s.statement.body, Body::Project(p) if p.version == 1)
            }),
        };
        found.map(|(index, _)| index)
    }

    fn revoke(&self, row: &KeyRow, prepared: &mut Prepared) -> Result<(), Fail> {
        let id = row.id();
        if row.revoked.as_ref().is_some_and(|r| r.since.is_some()) {
            return Ok(());
        }
        if row.purpose == Purpose::Root && !self.enough_roots(row) {
            prepared.steps.push(format!(
                "too few root keys would be left without {id}: first countersign keys rotate --project {} --old {id} --new NEWKEY --key ROOTKEY… --policy POLICY, then make this report again",
                self.name
            ));
            return Ok(());
        }
        let since = self.since(&id);
        // One that says nothing new is refused.
        if row.revoked.is_some() && since.is_none() {
            return Ok(());
        }
        let payload = Revocation {
            project: *self.project,
            target: Target::key(&id),
            reason: self.reason(),
            compromised_since: since,
        }
        .to_payload();
        let file = format!("next/revoke-{:.16}.json", id.to_string());
        let payload = payload.map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
        add(file, payload, "by root keys", prepared)
    }

    fn enough_roots(&self, row: &KeyRow) -> bool {
        let known = self.complete.fold.project(self.project);
        let want = known.map_or(1, |p| p.current().project.root_threshold);
        let left = self
            .inventory
            .keys
            .iter()
            .filter(|r| r.purpose == Purpose::Root && r.in_force() && r.id() != row.id());
        left.count() as u64 >= want
    }

    /// A release that is in question, and counts. One that states a void one again by keys that
    /// are not suspected was compared by the project: it is left to it.
    fn to_withdraw(&self, release: &Release) -> bool {
        let counts = release.standing == Standing::Stands;
        let asked = self.concern.releases.contains(&release.index);
        let suspected = release
            .keys
            .iter()
            .any(|k| self.concern.suspects.contains(k));
        let again = self.concern.restates.contains_key(&release.index);
        // Of a version or a digest nobody is suspected.
        counts && asked && (suspected || !again)
    }

    fn withdraw(&self, release: &Release, prepared: &mut Prepared) -> Result<(), Fail> {
        let payload = Withdrawal {
            project: *self.project,
            what: Withdrawn::Release(release.statement),
            reason: self.reason(),
            successor: None,
        }
        .to_payload(&release.artifacts);
        let file = format!("next/withdraw-{}.json", release.index);
        let payload = payload.map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
        add(
            file,
            payload,
            "if it is not genuine; by root keys, or release keys that are not in question",
            prepared,
        )
    }
}

fn add(file: String, payload: Vec<u8>, by: &str, prepared: &mut Prepared) -> Result<(), Fail> {
    let usage = |kind: &str, why: String| Fail::usage(kind, why);
    let statement = Statement::parse(&payload).map_err(|e| usage(e.kind(), e.to_string()))?;
    let envelope = Envelope::sign(payload, &[]).map_err(|e| usage(e.kind(), e.to_string()))?;
    prepared.next.push(Next {
        file: file.clone(),
        says: says(&statement),
        statement: hex32(&envelope.pae_hash()),
    });
    prepared.steps.push(format!(
        "{by}: countersign sign {file} --key KEY…; countersign submit {file} --policy POLICY"
    ));
    prepared.files.insert(file, envelope);
    Ok(())
}

/// Whether a prepared file still says the same; signatures may have come to it.
pub(super) fn same(bytes: &[u8], want: &Envelope) -> bool {
    let read = Envelope::parse_prepared(bytes);
    read.is_ok_and(|read| read.payload == want.payload)
}
