//! Who may speak for a project: its versions, and the rules by which a statement goes on from
//! them (docs/formats.md, "project"). The fold and a verifier that follows a chain from its pin
//! ask the same questions here.

use super::Refusal;
use super::vouched::{Targets, targets, vouched};
use crate::envelope::Envelope;
use crate::released::signers;
use crate::statement::{Identity, Project, Release, Target};
use crate::{Hash, hex32, names};
use keys::{KeyId, PublicKey};

/// One version of a project, and where it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Log index.
    pub index: u64,
    /// The leaf's time, Unix seconds.
    pub time: u64,
    /// PAE hash of the statement.
    pub statement: Hash,
    /// What it says.
    pub project: Project,
}

/// What a key is for. No key ever changes it within a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Changes the project, revokes, withdraws.
    Root,
    /// Publishes releases, and withdraws them.
    Release,
}

impl Role {
    /// `root` or `release`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Release => "release",
        }
    }
}

/// A key as the project listed it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// What it is for.
    pub role: Role,
    /// The time of the leaf that listed it first, Unix seconds.
    pub time: u64,
}

/// A project's versions 1…V, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    first: Version,
    later: Vec<Version>,
    /// The keys that version 1 does not list, sorted. Those of version 1 say themselves what
    /// they are for, and most projects of a large log have no others.
    listed_later: Vec<(KeyId, Listed)>,
}

/// Whether a key, an identity or an authority is revoked, at the point that is asked about.
pub type IsRevoked<'a> = &'a dyn Fn(&Target) -> bool;

/// The keys of a version with what they are for.
fn roles(p: &Project) -> impl Iterator<Item = (&PublicKey, Role)> {
    let roots = p.roots.iter().map(|k| (k, Role::Root));
    roots.chain(p.release_keys.iter().map(|k| (k, Role::Release)))
}

fn lists(keys: &[PublicKey], id: &KeyId) -> bool {
    keys.iter().any(|key| key.id() == *id)
}

fn has_signed(envelope: &Envelope, id: &KeyId) -> bool {
    signers(envelope).any(|signer| signer == *id)
}

/// As many of the keys `of`, which has none twice, have signed as it takes.
fn enough(
    what: &'static str,
    of: &[PublicKey],
    envelope: &Envelope,
    want: u64,
) -> Result<(), Refusal> {
    let signed = of.iter().filter(|key| has_signed(envelope, &key.id()));
    let got = signed.count() as u64;
    if got < want {
        return Err(Refusal::Threshold { what, want, got });
    }
    Ok(())
}

/// Each signature is by a key that `may`, none of them revoked.
fn only(
    envelope: &Envelope,
    may: &dyn Fn(&KeyId) -> bool,
    revoked: IsRevoked<'_>,
    want: &'static str,
) -> Result<(), Refusal> {
    for key in signers(envelope) {
        if revoked(&Target::key(&key)) {
            return Err(Refusal::RevokedKey(key.to_string()));
        }
        if !may(&key) {
            return Err(Refusal::UnauthorisedKey {
                key: key.to_string(),
                want: want.to_owned(),
            });
        }
    }
    Ok(())
}

impl Chain {
    /// The chain of a project with only its first statement, whose PAE hash is the project's id.
    #[must_use]
    pub fn begin(id: Hash, index: u64, time: u64, project: Project) -> Self {
        Self {
            first: Version {
                index,
                time,
                statement: id,
                project,
            },
            later: Vec::new(),
            listed_later: Vec::new(),
        }
    }

    /// Adds the next version, of which [`Chain::may_follow`] was asked.
    pub fn push(&mut self, version: Version) {
        let time = version.time;
        let new = roles(&version.project).map(|(key, role)| (key.id(), Listed { role, time }));
        let new: Vec<(KeyId, Listed)> = new.filter(|(key, _)| self.listed(key).is_none()).collect();
        self.listed_later.extend(new);
        self.listed_later.sort_unstable_by_key(|(key, _)| *key);
        self.later.push(version);
    }

    /// Version 1.
    #[must_use]
    pub fn first(&self) -> &Version {
        &self.first
    }

    /// The newest version.
    #[must_use]
    pub fn current(&self) -> &Version {
        self.later.last().unwrap_or(&self.first)
    }

    /// All versions, oldest first.
    pub fn versions(&self) -> impl DoubleEndedIterator<Item = &Version> {
        std::iter::once(&self.first).chain(&self.later)
    }

    /// The version in force for a leaf at `index`: the last below it.
    #[must_use]
    pub fn at(&self, index: u64) -> Option<&Version> {
        self.versions().rev().find(|v| v.index < index)
    }

    /// A key that any version lists, as it was listed first.
    #[must_use]
    pub fn listed(&self, key: &KeyId) -> Option<Listed> {
        let time = self.first.time;
        let mut first = roles(&self.first.project);
        if let Some((_, role)) = first.find(|(k, _)| k.id() == *key) {
            return Some(Listed { role, time });
        }
        let later = &self.listed_later;
        let at = later.binary_search_by_key(key, |(key, _)| *key).ok()?;
        later.get(at).map(|(_, listed)| *listed)
    }

    /// Whether `p`, in `envelope`, may follow the newest version; `revoked` is about the state
    /// before it. The signatures' arithmetic is not done here ([`verify_signatures`], with
    /// [`Chain::speakers_of_next`]).
    ///
    /// # Errors
    /// The first [`Refusal`] that applies.
    pub fn may_follow(
        &self,
        envelope: &Envelope,
        p: &Project,
        revoked: IsRevoked<'_>,
    ) -> Result<(), Refusal> {
        let newest = self.current();
        let previous = p.previous.unwrap_or_default();
        if previous != newest.statement {
            return Err(Refusal::OtherPrevious {
                want: hex32(&newest.statement),
                got: hex32(&previous),
            });
        }
        let want = newest.project.version + 1;
        if p.version != want {
            return Err(Refusal::OtherVersion {
                want,
                got: p.version,
            });
        }
        if p.log != newest.project.log {
            return Err(Refusal::OtherOrigin {
                want: newest.project.log.clone(),
                got: p.log.clone(),
            });
        }
        if p.name != newest.project.name {
            return Err(Refusal::OtherName {
                want: newest.project.name.clone(),
                got: p.name.clone(),
            });
        }
        for (key, role) in roles(p) {
            let id = key.id();
            if revoked(&Target::key(&id)) {
                return Err(Refusal::RevokedKey(id.to_string()));
            }
            if let Some(listed) = self.listed(&id).filter(|l| l.role != role) {
                return Err(Refusal::OtherRole {
                    key: id.to_string(),
                    was: listed.role.word(),
                });
            }
        }
        for authority in &p.authorities {
            let identities = authority.identities.iter().map(Identity::hash);
            let mut those = vec![Target::Authority(authority.hash())];
            for hash in identities {
                let hash = hash.map_err(|e| Refusal::Internal(e.to_string()))?;
                those.push(Target::Identity(hash));
            }
            if let Some(target) = those.iter().find(|t| revoked(t)) {
                return Err(Refusal::RevokedTarget(target.to_string()));
            }
        }
        let (old, own) = (&newest.project.roots, &p.roots);
        let before = |key: &KeyId| lists(old, key) || lists(&newest.project.release_keys, key);
        let fresh: Vec<KeyId> = roles(p)
            .map(|(key, _)| key.id())
            .filter(|key| !before(key))
            .collect();
        only(
            envelope,
            &|key| lists(old, key) || lists(own, key) || fresh.contains(key),
            revoked,
            "a project statement is signed by the roots before it, its own, and every key that it newly lists",
        )?;
        if let Some(key) = fresh.iter().find(|key| !has_signed(envelope, key)) {
            return Err(Refusal::MissingSignature(key.to_string()));
        }
        enough("root", old, envelope, newest.project.root_threshold)?;
        enough("new root", own, envelope, p.root_threshold)
    }

    /// The keys that may sign `next`, if that follows.
    #[must_use]
    pub fn speakers_of_next<'a>(&'a self, next: &'a Project) -> Vec<&'a PublicKey> {
        let old = self.current().project.roots.iter();
        old.chain(roles(next).map(|(k, _)| k)).collect()
    }

    /// Whether keys of version `v` meet the threshold of `role` on `envelope`, all of them of
    /// that role, none revoked; or, in the place of release keys, whether an authority of it
    /// vouches for the one key that signed at `time`, the leaf's.
    ///
    /// # Errors
    /// The first [`Refusal`] that applies.
    pub fn may_say(
        &self,
        v: &Version,
        (envelope, time): (&Envelope, u64),
        role: Role,
        revoked: IsRevoked<'_>,
    ) -> Result<(), Refusal> {
        let p = &v.project;
        let (keys, threshold, want) = match (role, &envelope.chain) {
            (Role::Release, Some(_)) => return self.may_certified(v, (envelope, time), revoked),
            // A root needs nobody to vouch for it. Whoever carries a root's statement to the log could
            // add a chain to it, and its signature would then stand on what they chose.
            (Role::Root, Some(_)) => return Err(Refusal::UnwantedCertificate),
            (Role::Root, None) => (
                &p.roots,
                p.root_threshold,
                "this is signed by root keys of its project",
            ),
            (Role::Release, None) if p.release_keys.is_empty() => (
                &p.release_keys,
                p.release_threshold,
                "this is signed with a certificate of an authority of its project",
            ),
            (Role::Release, None) => (
                &p.release_keys,
                p.release_threshold,
                "this is signed by release keys of its project",
            ),
        };
        only(envelope, &|key| lists(keys, key), revoked, want)?;
        enough(role.word(), keys, envelope, threshold)
    }

    /// The certificate's part of [`Chain::may_say`].
    fn may_certified(
        &self,
        v: &Version,
        (envelope, time): (&Envelope, u64),
        revoked: IsRevoked<'_>,
    ) -> Result<(), Refusal> {
        // A key of the project stays what it was listed as: no certificate makes it another. What is
        // listed after this was said changes nothing of it.
        for key in signers(envelope) {
            let until = self.versions().take_while(|before| before.index <= v.index);
            let mut listed = until.flat_map(|before| roles(&before.project));
            if let Some((_, role)) = listed.find(|(k, _)| k.id() == key) {
                return Err(Refusal::OtherRole {
                    key: key.to_string(),
                    was: role.word(),
                });
            }
        }
        let chain = envelope.chain.as_ref();
        let chain = chain.ok_or(Refusal::UnwantedCertificate)?;
        let vouched = vouched(&v.project, chain, time)?;
        match vouched.targets.iter().find(|t| revoked(t)) {
            Some(target) => Err(Refusal::RevokedTarget(target.to_string())),
            None => Ok(()),
        }
    }

    /// The last second at which every certificate was valid by which a leaf at `index`, which was
    /// accepted there, counts; `None` of one that keys have signed.
    ///
    /// # Errors
    /// [`Refusal`], where its certificate did not count there.
    pub fn certified_until(
        &self,
        index: u64,
        envelope: &Envelope,
        time: u64,
    ) -> Result<Option<u64>, Refusal> {
        match (self.at(index), &envelope.chain) {
            (Some(v), Some(chain)) => Ok(Some(vouched(&v.project, chain, time)?.until)),
            _ => Ok(None),
        }
    }

    /// What each signature of a leaf at `index`, which was accepted there, needs so as to count;
    /// nothing where no version was in force.
    ///
    /// # Errors
    /// [`Refusal`], where the leaf has a certificate that did not count there.
    pub fn targets(
        &self,
        index: u64,
        envelope: &Envelope,
        time: u64,
    ) -> Result<Box<[Targets]>, Refusal> {
        match self.at(index) {
            Some(v) => targets(&v.project, envelope, time),
            None => Ok(Box::default()),
        }
    }

    /// Whether the purl is under a prefix of version `v`, and no key that signed is older than
    /// it allows at `time`.
    ///
    /// # Errors
    /// The first [`Refusal`] that applies.
    pub fn may_release(
        &self,
        v: &Version,
        envelope: &Envelope,
        r: &Release,
        time: u64,
    ) -> Result<(), Refusal> {
        let prefixes = &v.project.purl_prefixes;
        if !prefixes.iter().any(|p| names::prefix_covers(p, &r.purl)) {
            return Err(Refusal::PurlOutside {
                purl: r.purl.clone(),
                prefixes: prefixes.join(", "),
            });
        }
        let Some(max) = v.project.max_key_age else {
            return Ok(());
        };
        // A certificate has a life of its own.
        if envelope.chain.is_some() {
            return Ok(());
        }
        for key in signers(envelope) {
            let listed = self.listed(&key).map_or(time, |l| l.time);
            let age = time.saturating_sub(listed);
            if age > max {
                return Err(Refusal::KeyTooOld {
                    key: key.to_string(),
                    age,
                    max,
                });
            }
        }
        Ok(())
    }

    /// Checks the next version whole, signatures included, as a verifier does that follows a
    /// chain; `revoked` is about the index at which it stands.
    ///
    /// # Errors
    /// The first [`Refusal`] that applies.
    pub fn check_next(
        &self,
        envelope: &Envelope,
        p: &Project,
        revoked: IsRevoked<'_>,
    ) -> Result<(), Refusal> {
        self.may_follow(envelope, p, revoked)?;
        verify_signatures(envelope, &self.speakers_of_next(p))
    }

    /// Checks a release at `index`, whose leaf has this `time`, by the version in force there:
    /// threshold, signatures, prefixes, key age; `revoked` is about that index. Whether a window
    /// that was given later makes it void is another question.
    ///
    /// # Errors
    /// The first [`Refusal`] that applies.
    pub fn check_release(
        &self,
        envelope: &Envelope,
        r: &Release,
        (index, time): (u64, u64),
        revoked: IsRevoked<'_>,
    ) -> Result<(), Refusal> {
        let unknown = || Refusal::UnknownProject(hex32(&r.package_id));
        let v = self.at(index).ok_or_else(unknown)?;
        self.may_release(v, envelope, r, time)?;
        self.may_say(v, (envelope, time), Role::Release, revoked)?;
        let keys: Vec<&PublicKey> = v.project.release_keys.iter().collect();
        verify_signatures(envelope, &keys)
    }
}

/// Whether a project's first statement is signed by every key that it lists, and no others.
pub(super) fn first_signers(envelope: &Envelope, p: &Project) -> Result<(), Refusal> {
    only(
        envelope,
        &|key| roles(p).any(|(k, _)| k.id() == *key),
        &|_| false,
        "a project's first statement is signed by the keys that it lists, and no others",
    )?;
    let mut keys = roles(p).map(|(key, _)| key.id());
    match keys.find(|key| !has_signed(envelope, key)) {
        Some(key) => Err(Refusal::MissingSignature(key.to_string())),
        None => Ok(()),
    }
}

/// Checks a project's first statement by itself, as a client does from its pin: signed by
/// every key that it lists.
///
/// # Errors
/// The first [`Refusal`] that applies.
pub fn check_first_statement(envelope: &Envelope, project: &Project) -> Result<(), Refusal> {
    first_signers(envelope, project)?;
    let keys: Vec<&PublicKey> = roles(project).map(|(k, _)| k).collect();
    verify_signatures(envelope, &keys)
}

/// Verifies each signature on `envelope` by the key among `may` that it names, or by that of its
/// certificate; whether the certificate counts is for [`Chain::may_say`] to say.
///
/// # Errors
/// [`Refusal::BadSignature`].
pub fn verify_signatures(envelope: &Envelope, may: &[&PublicKey]) -> Result<(), Refusal> {
    let message = envelope.pae();
    let certified = envelope.chain.iter().map(|chain| &chain.end().key);
    let may: Vec<&PublicKey> = may.iter().copied().chain(certified).collect();
    for s in &envelope.signatures {
        let bad = |why: String| Refusal::BadSignature {
            key: s.keyid.to_string(),
            why,
        };
        let key = may
            .iter()
            .find(|k| k.id() == s.keyid)
            .ok_or_else(|| bad("the key is not known".into()))?;
        key.verify(&message, &s.sig)
            .map_err(|e| bad(e.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Role;

    #[test]
    fn roles_have_the_words_of_the_page() {
        assert_eq!(
            (Role::Root.word(), Role::Release.word()),
            ("root", "release")
        );
    }
}
