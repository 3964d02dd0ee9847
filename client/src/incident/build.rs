//! The report, made from what is proven.

use super::concern::Concern;
use super::document::{
    Against, Artifact, AsOf, Asked, At, Document, FORMAT, Good, Key, Project, Release, Revocation,
    Row, Sample, Withdrawal,
};
use super::next::{From, Prepared};
use super::osv::bare;
use super::proven::{Proven, bundle_name};
use crate::affected::{At as Place, Standings, Why};
use crate::cmd::complete::{self, Complete, Standing};
use crate::cmd::keys::{Inventory, KeyRow};
use crate::cmd::sign::says;
use crate::fail::Fail;
use crate::policy::Policy;
use crate::standing::revoked_id;
use crate::stated::{Stands, Stated};
use ledger::envelope::Envelope;
use ledger::statement::{Body, Withdrawn};
use ledger::{Hash, from_hex32, hex32, names};
use std::collections::{BTreeMap, BTreeSet};

/// A report with the files that belong to it.
pub(crate) struct Built {
    pub(crate) document: Document,
    /// What is prepared to be signed, by file.
    pub(crate) next: BTreeMap<String, Envelope>,
}

/// The log indexes of the lines of a report: those that need a bundle.
pub(crate) fn lines(complete: &Complete, project: &Hash, asked: &Asked) -> BTreeSet<u64> {
    let releases = complete.releases(project);
    Concern::new(complete, &releases, &asked.question).entries
}

/// The report that `asked` gives of what is proven.
///
/// # Errors
/// Exit code 2 where nothing can be prepared from what was asked.
pub(crate) fn build(
    policy: &Policy,
    project: &Hash,
    proven: &Proven,
    asked: &Asked,
    samples: Vec<Sample>,
) -> Result<Built, Fail> {
    let complete = &proven.complete;
    let unknown = || Fail::unchecked("unknown-project", "the log does not have this project");
    let known = complete.fold.project(project).ok_or_else(unknown)?;
    let current = known.current();
    let releases = complete.releases(project);
    let concern = Concern::new(complete, &releases, &asked.question);
    let inventory = Inventory::new(complete, project, asked.made);
    let Prepared { files, next, steps } = From {
        complete,
        project,
        name: &current.project.name,
        releases: &releases,
        inventory: &inventory,
        concern: &concern,
        asked,
    }
    .prepare()?;
    let standings = Standings::new(complete, project, &releases);
    let own = releases
        .iter()
        .filter(|r| concern.releases.contains(&r.index));
    let own: Vec<Release> = own.map(|r| release(&concern, r, &standings)).collect();
    let keys = inventory.keys.iter();
    let keys = keys.filter(|row| concern.keys.contains(&row.id()));
    let (api_version, kind) = Document::api();
    let document = Document {
        api_version,
        kind,
        report_format: FORMAT,
        asked: asked.clone(),
        project: Project {
            name: current.project.name.clone(),
            id: hex32(project),
            version: current.project.version,
            contact: current.project.contact.clone(),
        },
        as_of: AsOf {
            log: policy.log.origin.clone(),
            size: complete.checkpoint.size,
            root: complete.checkpoint.root.clone(),
            view_time: complete.view_time(),
        },
        entries: complete.leaves.len() as u64,
        releases: own,
        withdrawals: withdrawals(complete, &concern),
        revocations: revocations(complete, &concern),
        keys: keys.map(|row| key(complete, row)).collect(),
        timeline: proven.rows.iter().map(|(i, r)| row(*i, r)).collect(),
        samples: with_releases(samples, &releases),
        next,
        steps,
        good: good(&releases, &concern),
    };
    Ok(Built {
        document,
        next: files,
    })
}

fn at(place: Place) -> At {
    At {
        index: place.index,
        time: place.time,
    }
}

fn release(concern: &Concern, r: &complete::Release, standings: &Standings<'_>) -> Release {
    let against = standings.against(r);
    let artifact = |s: &ledger::statement::Subject| Artifact {
        name: s.name.clone(),
        sha256: hex32(&s.sha256),
        size: s.size,
    };
    Release {
        index: r.index,
        time: r.time,
        purl: r.purl.clone(),
        version: names::purl_version(&r.purl),
        statement: hex32(&r.statement),
        artifacts: r.artifacts.iter().map(artifact).collect(),
        keys: r.keys.iter().map(ToString::to_string).collect(),
        standing: match r.standing {
            Standing::Stands => "stands",
            Standing::Void(_) => "void",
            Standing::Withdrawn(_) => "withdrawn",
        }
        .to_owned(),
        restated: against.as_ref().and_then(|a| a.restated).map(at),
        against: against.and_then(|a| {
            let (statement, by) = a.by?;
            let (key, successor) = match a.why {
                Why::Void(target) => (Some(revoked_id(&target)), None),
                Why::Withdrawn { successor } => (None, successor),
                Why::Unknown => (None, None),
            };
            Some(Against {
                statement: hex32(&statement),
                by: at(by),
                from: at(a.from),
                key,
                reason: a.reason,
                successor,
            })
        }),
        restates: concern.restates.get(&r.index).map(hex32),
    }
}

fn withdrawals(complete: &Complete, concern: &Concern) -> Vec<Withdrawal> {
    let own = complete.statements();
    let own = own.filter(|(index, _)| concern.entries.contains(index));
    own.filter_map(|(index, leaf)| {
        let Body::Withdrawal(w) = &leaf.statement.body else {
            return None;
        };
        let (release, prefix) = match &w.what {
            Withdrawn::Release(pae) => (Some(hex32(pae)), None),
            Withdrawn::Prefix(prefix) => (None, Some(prefix.clone())),
        };
        Some(Withdrawal {
            index,
            statement: hex32(&leaf.envelope.pae_hash()),
            release,
            prefix,
            reason: w.reason.clone(),
            successor: w.successor.clone(),
        })
    })
    .collect()
}

fn revocations(complete: &Complete, concern: &Concern) -> Vec<Revocation> {
    let own = complete.statements();
    let own = own.filter(|(index, _)| concern.entries.contains(index));
    own.filter_map(|(index, leaf)| match &leaf.statement.body {
        Body::Revocation(r) => Some(Revocation {
            index,
            statement: hex32(&leaf.envelope.pae_hash()),
            target: r.target.to_string(),
            compromised_since: r.compromised_since,
            reason: r.reason.clone(),
        }),
        _ => None,
    })
    .collect()
}

fn key(complete: &Complete, row: &KeyRow) -> Key {
    let revoked = |index: u64| {
        let found = complete.statements().find(|(i, _)| *i == index);
        At {
            index,
            time: found.map(|(_, leaf)| leaf.time),
        }
    };
    let place = |index, time| At {
        index,
        time: Some(time),
    };
    Key {
        id: row.id().to_string(),
        purpose: row.purpose.word().to_owned(),
        state: row.state().to_owned(),
        listed: place(row.listed.index, row.listed.time),
        left_out: row.dropped.map(|d| place(d.index, d.time)),
        successor: row.successor.map(|s| s.to_string()),
        revoked: row.revoked.as_ref().map(|r| revoked(r.index)),
        since: row.revoked.as_ref().and_then(|r| r.since),
        statements: row.times(),
    }
}

/// A line of the timeline: what its own bundle proves.
pub(crate) fn row(index: u64, (stated, sha256): &(Stated, Hash)) -> Row {
    let leaf = &stated.leaf;
    let because = match &stated.stands {
        Stands::Yes => None,
        Stands::Void(by) | Stands::Withdrawn(by) => Some(by.clone()),
        Stands::Replaced(by) => Some(by.to_string()),
    };
    let keys = leaf.envelope.signatures.iter();
    Row {
        index,
        time: leaf.time,
        kind: leaf.statement.body.kind().to_owned(),
        says: says(&leaf.statement),
        statement: hex32(&leaf.envelope.pae_hash()),
        keys: keys.map(|s| s.keyid.to_string()).collect(),
        standing: stated.stands.word().to_owned(),
        because,
        proof: bundle_name(index),
        sha256: hex32(sha256),
    }
}

/// Which releases have such bytes. Most samples are of bytes that none has.
fn with_releases(mut samples: Vec<Sample>, releases: &[complete::Release]) -> Vec<Sample> {
    let mut known: BTreeMap<Hash, Vec<u64>> = BTreeMap::new();
    for release in releases {
        for artifact in &release.artifacts {
            let of = known.entry(artifact.sha256).or_default();
            if of.last() != Some(&release.index) {
                of.push(release.index);
            }
        }
    }
    for sample in &mut samples {
        let digest = from_hex32(&sample.sha256);
        let of = digest.and_then(|d| known.get(&d));
        sample.released = of.cloned().unwrap_or_default();
    }
    samples
}

/// Of each package that is in question the newest release that stands and is not asked about,
/// unless it states one again: that one the project has looked at. Another package's release is no
/// substitute. Where no release is in question it is told only of a project's one package: which of
/// several the question is about nobody knows.
fn good(releases: &[complete::Release], concern: &Concern) -> Vec<Good> {
    let suspected = |r: &&complete::Release| r.keys.iter().any(|k| concern.suspects.contains(k));
    let packages = |of: &dyn Fn(&complete::Release) -> bool| -> BTreeSet<&str> {
        let those = releases.iter().filter(|r| of(r));
        those.map(|r| bare(&r.purl)).collect()
    };
    let mut wanted = packages(&|r| concern.releases.contains(&r.index));
    if wanted.is_empty() {
        wanted = packages(&|_| true);
        if wanted.len() > 1 {
            return Vec::new();
        }
    }
    let stands = releases.iter().filter(|r| r.standing == Standing::Stands);
    let asked = |r: &&complete::Release| {
        concern.releases.contains(&r.index) && !concern.restates.contains_key(&r.index)
    };
    let mut newest: BTreeMap<&str, &complete::Release> = BTreeMap::new();
    for release in stands.filter(|r| !suspected(r) && !asked(r)) {
        let package = bare(&release.purl);
        let known = newest.get(package);
        if wanted.contains(package) && known.is_none_or(|k| k.index < release.index) {
            newest.insert(package, release);
        }
    }
    let good = newest.into_values().map(|r| Good {
        index: r.index,
        purl: r.purl.clone(),
    });
    good.collect()
}
