//! The bundle beside what is served: whether downloaders who verify can use it.

use super::got::{Way, address, shown};
use super::history::Trust;
use super::round::Group;
use super::say::{Say, from_fail};
use super::{Context, Place, Target};
use crate::cmd::common::refused_words;
use crate::cmd::refresh::released;
use crate::cmd::verify::parse_bundle;
use crate::fail::Fail;
use crate::fetch::Ask;
use crate::monitor::alert::Class;
use crate::place::open_regular;
use crate::policy::{Policy, ProjectPolicy};
use crate::refused::Refused;
use crate::verify::{Artifact, Verdict, Wanted, verify};
use ledger::Hash;
use ledger::bundle::MAX_BUNDLE_BYTES;
use std::io::Read as _;
use std::time::Duration;

/// Bytes that a bundle is to be of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) name: &'a str,
    pub(super) version: Option<&'a str>,
    pub(super) sha256: Hash,
    pub(super) size: u64,
}

/// What is wrong with a bundle.
#[derive(Debug)]
pub(super) struct Flaw {
    pub(super) class: Class,
    pub(super) kind: &'static str,
    pub(super) why: Fail,
}

/// Verifies `bytes` as the bundle of what is served, as a downloader with this policy would.
/// Gives the release's log index.
pub(super) fn check(
    bytes: &[u8],
    of: &Of<'_>,
    (trust, project): (&Trust, &ProjectPolicy),
    now: u64,
) -> Result<u64, Box<Flaw>> {
    let bad = |class, kind| move |why| Box::new(Flaw { class, kind, why });
    let memory = trust
        .memory()
        .map_err(bad(Class::Operational, "memory-unreadable"))?;
    // Not even a bundle: what is served there is something else.
    let bundle = parse_bundle(bytes).map_err(bad(Class::Tampering, "bundle-refused"))?;
    let ask = |of: &Of<'_>, policy: &Policy, project: &ProjectPolicy| {
        let artifact = Artifact {
            name: of.name,
            sha256: of.sha256,
            size: of.size,
        };
        let wanted = Wanted {
            project,
            version: of.version,
            no_rollback: false,
        };
        verify(&artifact, &wanted, &bundle, policy, &memory, now)
    };
    let refused = match ask(of, &trust.policy, project) {
        Ok(verdict) => return Ok(verdict.index),
        Err(refused) => refused,
    };
    let flaw = |class, kind, refused: &Refused| {
        let why = refused_words(refused);
        Box::new(Flaw { class, kind, why })
    };
    match &refused {
        Refused::NeedsRefresh { .. } => Err(flaw(Class::Degraded, "bundle-stale", &refused)),
        // The verifier has one word for all that is about times: which of them is it?
        Refused::Time(_) => {
            let lenient = |min, max| {
                let (policy, project) = without_ages(&trust.policy, project, (min, max));
                ask(of, &policy, &project).map(|v: Verdict| v.index)
            };
            // Too young to be used is as the policy wants it, and passes by itself.
            if let Ok(index) = lenient(true, false) {
                return Ok(index);
            }
            Err(match lenient(true, true) {
                Ok(_) => flaw(Class::Degraded, "bundle-stale", &refused),
                Err(_) => flaw(Class::Tampering, "bundle-refused", &refused),
            })
        }
        // Witnesses that were away, or keys that the log has changed: nobody altered it.
        Refused::Quorum(_) | Refused::LogKey(_) => {
            Err(flaw(Class::Degraded, "bundle-unchecked", &refused))
        }
        Refused::Digest(_) | Refused::Size(_) | Refused::Version(_) => {
            // A genuine bundle of another release: uploads come one after the other.
            let other = released(&bundle, of.name);
            let genuine = other.is_some_and(|(sha256, size)| {
                let of = Of {
                    version: None,
                    sha256,
                    size,
                    ..*of
                };
                ask(&of, &trust.policy, project).is_ok()
            });
            Err(if genuine {
                flaw(Class::Degraded, "bundle-of-other-release", &refused)
            } else {
                flaw(Class::Tampering, "bundle-refused", &refused)
            })
        }
        _ => Err(flaw(Class::Tampering, "bundle-refused", &refused)),
    }
}

/// The bundle of bytes that are right.
pub(super) fn beside(say: &mut Say<'_>, target: &Target, group: &Group<'_>) {
    let Some(url) = target.bundle.as_deref() else {
        return;
    };
    let subject = match target.place {
        Place::Address => address(url),
        Place::File => shown(url),
    };
    let hint = "serve the bundle that `publish` wrote, or `countersign refresh` renews, beside the artifact: without it nobody can verify";
    let bytes = match fetch(say.context, url) {
        Ok(bytes) => bytes,
        Err(fail) => {
            let kind = match fail.kind.as_str() {
                "not-found" => "bundle-missing",
                "answer-too-large" => "bundle-too-large",
                _ => {
                    say.out.whole = false;
                    "bundle-unreachable"
                }
            };
            let finding = from_fail(&fail, Class::Degraded, kind, subject).hint(hint);
            say.out.findings.push(finding);
            return;
        }
    };
    let of = Of {
        name: &target.name,
        version: target.version(),
        sha256: group.sha256,
        size: group.bytes.size,
    };
    let trust = (&*say.context.trust, &say.context.project);
    if let Err(flaw) = check(&bytes, &of, trust, say.now) {
        let Flaw { class, kind, why } = *flaw;
        let key = why.kind.clone();
        let finding = from_fail(&why, class, kind, subject).key(key).hint(hint);
        say.out.findings.push(finding);
    }
}

/// Fetches what should be a bundle.
pub(super) fn fetch(context: &Context, url: &str) -> Result<Vec<u8>, Fail> {
    if context.watch.directory.is_some() {
        return beside_file(std::path::Path::new(url));
    }
    let way = context.ways.first();
    let ask = Ask {
        url,
        user_agent: way.map_or("countersign", |w: &Way| &w.agent),
        through: way.and_then(|w| w.through.as_ref()),
        headers: &[],
        within: Duration::from_secs(context.watch.timeout.min(120)),
    };
    let answer = context.shared.fetcher.ask(&ask).map_err(|lost| lost.fail)?;
    match answer.status {
        200 => {}
        404 | 410 => return Err(Fail::unchecked("not-found", "there is no bundle")),
        status => {
            return Err(Fail::unchecked(
                "http-status",
                format!("the server answered with HTTP status {status}"),
            ));
        }
    }
    small(answer.body).map_err(|e| crate::fetch::broken(url, &e))?
}

/// The same in a directory.
fn beside_file(path: &std::path::Path) -> Result<Vec<u8>, Fail> {
    let bad = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => Fail::unchecked("not-found", "there is no bundle"),
        _ => Fail::unchecked("unreadable", e.to_string()),
    };
    small(open_regular(path).map_err(bad)?).map_err(bad)?
}

fn small(from: impl std::io::Read) -> std::io::Result<Result<Vec<u8>, Fail>> {
    let mut bytes = Vec::new();
    from.take(MAX_BUNDLE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() > MAX_BUNDLE_BYTES {
        let message = "what is served is larger than any bundle";
        return Ok(Err(Fail::unchecked("answer-too-large", message)));
    }
    Ok(Ok(bytes))
}

fn without_ages(
    policy: &Policy,
    project: &ProjectPolicy,
    (min, max): (bool, bool),
) -> (Policy, ProjectPolicy) {
    let (mut policy, mut project) = (policy.clone(), project.clone());
    if min {
        (policy.min_age, project.min_age) = (None, None);
    }
    if max {
        (policy.max_age, project.max_age) = (None, None);
    }
    (policy, project)
}
