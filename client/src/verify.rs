//! The verifier: one pure function that decides (docs/formats.md, "Verification").
//!
//! No file, no socket, no clock, no randomness: everything it needs is an argument, so it
//! can be read in one sitting, fuzzed, and called from other programs. Everything around it
//! is plumbing. The steps stand in the specification's order; the first failure decides.
//!
//! Each step can be taken out by `--cfg without="<step>"` in a build of its own, which the
//! tests use to show that every one of them matters. No feature of the crate does that.

use crate::memory::{Memory, SeenRelease, not_older, not_stale, release_key};
use crate::policy::Policy;
pub use crate::refused::{Differ, Refused};
use crate::refused::{differ, same};
use crate::signed::{Signed, certificate_time, leaf_time, max_age, min_age};
use crate::standing::{ended, not_counting, revoked_before, revoked_words};
pub use crate::verdict::{Artifact, Certified, Proven, Verdict, Wanted};
use crate::view::Views;
pub use crate::view::{Shown, verify_head, verify_logged};
use ledger::bundle::{Bundle, Included};
use ledger::fold::{Chain, Targets, Version, check_first_statement};
use ledger::leaf::{Leaf, StatementLeaf};
use ledger::state::{StateDocument, withdrawn_keys};
use ledger::statement::{Body, Project, Subject, Target};
use ledger::{Hash, hex32, names};

pub(crate) fn statement(bytes: &[u8]) -> Result<StatementLeaf, String> {
    match Leaf::parse(bytes) {
        Ok(Leaf::Statement(s)) => Ok(*s),
        Ok(_) => Err("the leaf is not a statement".into()),
        Err(e) => Err(e.to_string()),
    }
}

/// Decides whether `artifact` is what `wanted` asks for, by `bundle`, under `policy`, given
/// what is remembered and that it is now `now` (Unix seconds).
///
/// # Errors
/// The first reason in the specification's order why it is not to be trusted.
pub fn verify(
    artifact: &Artifact<'_>,
    wanted: &Wanted<'_>,
    bundle: &Bundle,
    policy: &Policy,
    memory: &Memory,
    now: u64,
) -> Result<Verdict, Refused> {
    // A clock that was set back does not make an old view young.
    let seen = memory.logs.get(&policy.log.origin);
    let now = now.max(seen.map_or(0, |s| s.view_time));

    // Checkpoints, consistency, head.
    let views = Views::prove(bundle.into(), &wanted.project.id, policy, now)?;
    let (first, view) = (&views.first, views.view());
    let size = view.checkpoint.size;

    // The chain of project statements, from the pin to the state document's.
    let chain = chain(bundle, view, &wanted.project.id)?;

    // The release: in the log before its first checkpoint, said by who could say it then.
    step!("inclusion", view.includes(&bundle.entry));
    let index = bundle.entry.index;
    if cfg!(not(without = "first-size")) && index >= first.checkpoint.size {
        return Err(Refused::Inclusion(format!(
            "entry {index} is not below the first checkpoint's size {}",
            first.checkpoint.size
        )));
    }
    let entry = statement(&bundle.entry.leaf).map_err(Refused::NotRelease)?;
    let Body::Release(release) = &entry.statement.body else {
        let kind = entry.statement.body.kind();
        return Err(Refused::NotRelease(format!("it is a {kind} statement")));
    };
    step!(
        "package",
        same(&hex32(&wanted.project.id), &hex32(&release.package_id)).map_err(Refused::Project)
    );
    let authority = chain.at(index).ok_or_else(|| {
        Refused::Chain(format!(
            "none is logged before the release at index {index}"
        ))
    })?;
    let revoked = |target: &Target| revoked_before(&bundle.head.state, target, index);
    step!(
        "authorised",
        chain.check_release(&entry.envelope, release, (index, entry.time), &revoked)
    );

    let signatures = chain.targets(index, &entry.envelope, entry.time)?;

    // Revocations, withdrawals, ends of life: as proven by the head, and as remembered.
    let pae_hash = entry.envelope.pae_hash();
    let remembered = memory.projects.get(&hex32(&wanted.project.id));
    let states =
        std::iter::once((size, &bundle.head.state)).chain(remembered.map(|r| (r.size, &r.state)));
    for (at, state) in states {
        step!(
            "revoked",
            not_void(
                &signatures,
                index,
                state,
                authority.project.release_threshold
            )
        );
        // Unlike a revocation an end of life can become void: the newer view decides.
        if at >= size {
            step!("end-of-life", not_ended(&release.purl, state));
        }
    }
    step!(
        "withdrawn",
        not_withdrawn(bundle, &pae_hash, &entry.statement.subject)
    );

    // Name, digest, size, version.
    let subject = subject(artifact, &entry.statement.subject)?;
    let version = names::purl_version(&release.purl).unwrap_or_default();
    step!(
        "digest",
        same(&hex32(&subject.sha256), &hex32(&artifact.sha256)).map_err(Refused::Digest)
    );
    step!(
        "size",
        same(&subject.size.unwrap_or(0), &artifact.size).map_err(Refused::Size)
    );
    if let Some(want) = wanted.version {
        step!(
            "version",
            same(&want, &version.as_str()).map_err(Refused::Version)
        );
    }

    // Times.
    let first_public = if first.quorum(policy) {
        first.first_time(policy)
    } else {
        view.first_time(policy)
    };
    let view_time = view.view_time(policy);
    step!("leaf-time", leaf_time(entry.time, first_public));
    let until = chain.certified_until(index, &entry.envelope, entry.time)?;
    if let Some(until) = until {
        step!("certificate-time", certificate_time(until, first_public));
    }
    let (min, max) = (
        policy.min_age_of(wanted.project),
        policy.max_age_of(wanted.project),
    );
    step!("min-age", min_age(min, first_public, now));
    step!("max-age", max_age(max, view_time, now));

    // Memory.
    let (checkpoint, head) = views.seen(&bundle.head.state, policy);
    step!("fork", views.not_forked(seen, policy));
    if let Some(r) = remembered
        && r.size > size
    {
        step!("refresh", not_stale(r, size, &bundle.head.state));
    }
    let key = release_key(&wanted.project.id, artifact.name);
    if wanted.no_rollback && wanted.version.is_none() {
        let newest = memory
            .releases
            .get(&key)
            .map(|r| r.index)
            .max(wanted.project.min_index);
        step!("rollback", not_older(index, newest));
    }

    let release_seen = SeenRelease {
        index,
        version: version.clone(),
    };
    Ok(Verdict {
        purl: release.purl.clone(),
        version,
        index,
        pae_hash,
        keys: entry.envelope.signatures.iter().map(|s| s.keyid).collect(),
        certified: entry.envelope.chain.as_ref().map(|chain| Certified {
            san: chain.end().san.clone(),
            issuer: chain.end().issuer().unwrap_or_default().to_owned(),
            not_after: chain.not_after(),
        }),
        authorised_by: (authority.project.version, authority.index),
        first_public,
        view_time,
        proven: Proven {
            project: wanted.project.id,
            artifact: artifact.name.to_owned(),
            checkpoint,
            head,
            release: release_seen,
        },
    })
}

/// The versions of the project, from the pin to the one that the state document names.
pub(crate) fn chain(bundle: &Bundle, view: &Signed, pin: &Hash) -> Result<Chain, Refused> {
    let Some((first, later)) = bundle.projects.split_first() else {
        return Err(Refused::Chain("there is none".into()));
    };
    let (leaf, project) = version(first, view)?;
    let id = leaf.envelope.pae_hash();
    step!(
        "pin",
        same(&hex32(pin), &hex32(&id)).map_err(Refused::Project)
    );
    step!(
        "project-origin",
        same(&view.checkpoint.origin, &project.log).map_err(Refused::Origin)
    );
    step!(
        "project-signatures",
        check_first_statement(&leaf.envelope, &project).map_err(|e| Refused::Chain(e.to_string()))
    );
    let mut chain = Chain::begin(id, first.index, leaf.time, project);
    for next in later {
        let (leaf, project) = version(next, view)?;
        if cfg!(not(without = "chain-order")) && next.index <= chain.current().index {
            return Err(Refused::Chain(format!(
                "version {} stands at entry {}, before the version that it follows",
                project.version, next.index
            )));
        }
        let revoked = |target: &Target| revoked_before(&bundle.head.state, target, next.index);
        step!(
            "chain-next",
            chain
                .check_next(&leaf.envelope, &project, &revoked)
                .map_err(|e| Refused::Chain(e.to_string()))
        );
        chain.push(Version {
            index: next.index,
            time: leaf.time,
            statement: leaf.envelope.pae_hash(),
            project,
        });
    }
    let (last, named) = (chain.current(), &bundle.head.state.project);
    if cfg!(not(without = "chain-end"))
        && (named.statement != last.statement || named.version != last.project.version)
    {
        return Err(Refused::Chain(
            "it does not end at the statement that the state document names".into(),
        ));
    }
    Ok(chain)
}

/// A project statement that is in the log.
fn version(included: &Included, view: &Signed) -> Result<(StatementLeaf, Project), Refused> {
    step!("project-inclusion", view.includes(included));
    let leaf = statement(&included.leaf).map_err(Refused::Chain)?;
    match &leaf.statement.body {
        Body::Project(p) => Ok((leaf.clone(), p.clone())),
        _ => Err(Refused::Chain("the leaf is not a project statement".into())),
    }
}

/// Enough signatures count.
fn not_void(
    signatures: &[Targets],
    index: u64,
    state: &StateDocument,
    threshold: u64,
) -> Result<(), Refused> {
    match not_counting(signatures, index, state, threshold) {
        Some(target) => Err(Refused::Void(revoked_words(&target))),
        None => Ok(()),
    }
}

fn not_ended(purl: &str, state: &StateDocument) -> Result<(), Refused> {
    match ended(purl, state) {
        Some(statement) => Err(Refused::Withdrawn(hex32(&statement))),
        None => Ok(()),
    }
}

pub(crate) fn not_withdrawn(
    bundle: &Bundle,
    pae_hash: &Hash,
    subjects: &[Subject],
) -> Result<(), Refused> {
    let bad = |e: String| Refused::WithdrawnProof(e);
    let keys = withdrawn_keys(pae_hash, subjects.iter().map(|s| s.sha256));
    if !bundle.head.withdrawn.keys().eq(keys.iter()) {
        return Err(bad(
            "want one proof for the release and one for each digest, and no others".into(),
        ));
    }
    for (key, proof) in &bundle.head.withdrawn {
        let found = tlog::prefix::verify(&bundle.head.state.withdrawn, key, proof)
            .map_err(|e| bad(e.to_string()))?;
        if let Some(statement) = found {
            return Err(Refused::Withdrawn(hex32(&statement)));
        }
    }
    Ok(())
}

fn subject<'a>(artifact: &Artifact<'_>, subjects: &'a [Subject]) -> Result<&'a Subject, Refused> {
    let named = subjects.iter().find(|s| s.name == artifact.name);
    let named = if cfg!(without = "name") {
        named.or(subjects.iter().find(|s| s.sha256 == artifact.sha256))
    } else {
        named
    };
    named.ok_or_else(|| {
        let listed: Vec<&str> = subjects.iter().map(|s| s.name.as_str()).collect();
        Refused::Name(differ(listed.join(", "), artifact.name))
    })
}
