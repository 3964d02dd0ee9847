//! The rules by which a statement is accepted or ignored (docs/formats.md, "Statements" and
//! "Fold"): what each kind of statement is asked, in the state just before it.

use super::chain::{self, Role};
use super::{Fold, ProjectState, Refusal, Targets, vouched};
use crate::envelope::Envelope;
use crate::released::{Earlier, Signed, signers};
use crate::statement::{
    Body, KeyNote, Project, Release, Revocation, Statement, Subject, Target, Withdrawal, Withdrawn,
    content,
};
use crate::{Hash, hex32, names};
use keys::{KeyId, PublicKey};

impl Fold {
    /// The rules that decide acceptance. `frozen` is not among them: it binds admission,
    /// never a verdict.
    pub(super) fn rules(
        &self,
        envelope: &Envelope,
        statement: &Statement,
        time: u64,
        earlier: Option<&Earlier>,
    ) -> Result<(), Refusal> {
        match &statement.body {
            Body::Project(p) if p.version == 1 => self.first_rules(envelope, p),
            Body::Project(p) => self.version_rules(envelope, p),
            Body::Release(r) => {
                self.release_rules(envelope, (r, &statement.subject), time, earlier)
            }
            Body::Revocation(r) => {
                self.said_once(&r.project, envelope)?;
                self.revocation_rules((envelope, time), r)
            }
            Body::Withdrawal(w) => {
                self.said_once(&w.project, envelope)?;
                self.withdrawal_rules((envelope, time), (w, &statement.subject), earlier)
            }
            Body::KeyNote(n) => {
                self.said_once(&n.project, envelope)?;
                self.note_rules(envelope, n)
            }
        }
    }

    /// The same statement again is refused, whoever of its signers is left on it: else anybody
    /// could say once more what was void, with the signatures that still count. Of versions and
    /// releases the rules see to that.
    fn said_once(&self, id: &Hash, envelope: &Envelope) -> Result<(), Refusal> {
        match self.known(id)?.said(&envelope.pae_hash()) {
            Some(index) => Err(Refusal::StatementStands { index }),
            None => Ok(()),
        }
    }

    fn first_rules(&self, envelope: &Envelope, p: &Project) -> Result<(), Refusal> {
        let id = envelope.pae_hash();
        if p.log != self.origin {
            return Err(Refusal::OtherOrigin {
                want: self.origin.clone(),
                got: p.log.clone(),
            });
        }
        if self.projects.contains_key(&id) {
            return Err(Refusal::ProjectStands(hex32(&id)));
        }
        if let Some(holder) = self.names.get(&p.name) {
            return Err(Refusal::NameTaken {
                name: p.name.clone(),
                holder: hex32(holder),
            });
        }
        self.prefixes_free(&id, p)?;
        chain::first_signers(envelope, p)
    }

    fn version_rules(&self, envelope: &Envelope, p: &Project) -> Result<(), Refusal> {
        let previous = p.previous.unwrap_or_default();
        let id = self.project_by_statement(&previous);
        let id = id.ok_or_else(|| Refusal::UnknownPrevious(hex32(&previous)))?;
        let project = self.known(&id)?;
        project
            .chain
            .may_follow(envelope, p, &|t| project.has_revoked(t))?;
        self.prefixes_free(&id, p)
    }

    /// No prefix overlaps one that another project has, or has had.
    fn prefixes_free(&self, id: &Hash, p: &Project) -> Result<(), Refusal> {
        for prefix in &p.purl_prefixes {
            if let Some((other, holder)) = self.overlapping(prefix, id) {
                return Err(Refusal::PrefixOverlap {
                    prefix: prefix.clone(),
                    other: other.clone(),
                    holder: hex32(holder),
                });
            }
        }
        Ok(())
    }

    /// A prefix of a project other than `id` that overlaps `prefix`: a shorter one that covers it, found by
    /// looking up each of its beginnings, or itself or a longer one, found in order from it on.
    fn overlapping(&self, prefix: &str, id: &Hash) -> Option<(&String, &Hash)> {
        let shorter = prefix.char_indices().filter_map(|(end, _)| {
            let beginning = prefix.get(..end)?;
            self.prefixes
                .get_key_value(beginning)
                .filter(|(q, _)| names::prefixes_overlap(q, prefix))
        });
        let longer = self
            .prefixes
            .range(prefix.to_owned()..)
            .take_while(|(q, _)| q.starts_with(prefix))
            .filter(|(q, _)| names::prefixes_overlap(q, prefix));
        shorter.chain(longer).find(|(_, holder)| *holder != id)
    }

    fn release_rules(
        &self,
        envelope: &Envelope,
        (r, subjects): (&Release, &[Subject]),
        time: u64,
        earlier: Option<&Earlier>,
    ) -> Result<(), Refusal> {
        let project = self.known(&r.package_id)?;
        let v = project.current();
        project.chain.may_release(v, envelope, r, time)?;
        match (&r.restates, self.last_release(&r.purl)?) {
            (None, None) => {}
            (None, Some(index)) => {
                return Err(Refusal::PurlReleased {
                    purl: r.purl.clone(),
                    index,
                });
            }
            (Some(restates), before) => {
                let index = before.ok_or_else(|| Refusal::NotRestated {
                    restates: hex32(restates),
                    why: "the purl was never released",
                })?;
                let before = self.brief(index, earlier)?;
                self.restated(project, restates, before, subjects)?;
            }
        }
        project
            .chain
            .may_say(v, (envelope, time), Role::Release, &|t| {
                project.has_revoked(t)
            })
    }

    /// A re-statement is of the purl's last release, which a window made void, and has its
    /// content: nothing of what was released under the purl changes.
    fn restated(
        &self,
        project: &ProjectState,
        restates: &Hash,
        before: &Earlier,
        subjects: &[Subject],
    ) -> Result<(), Refusal> {
        let not = |why| Refusal::NotRestated {
            restates: hex32(restates),
            why,
        };
        if before.pae != *restates || before.project != project.id {
            return Err(not("it is not the last release of this purl"));
        }
        if !self.is_void(project, before)? {
            return Err(not("that release is not void"));
        }
        if before.content != content(subjects) {
            return Err(not("its artifacts have other names, digests or sizes"));
        }
        Ok(())
    }

    /// Whether a release that was accepted misses its threshold now.
    fn is_void(&self, project: &ProjectState, release: &Earlier) -> Result<bool, Refusal> {
        let Some(v) = project.chain.at(release.index) else {
            return Ok(true);
        };
        let signers: Box<[Targets]> = match &release.signed {
            Signed::Keys(keys) => keys.iter().map(|k| [Target::key(k)].into()).collect(),
            Signed::Certified(chain, time) => {
                [vouched::vouched(&v.project, chain, *time)?.targets].into()
            }
        };
        let threshold = v.project.release_threshold;
        Ok(project.is_void(&signers, release.index, threshold))
    }

    fn revocation_rules(&self, said: (&Envelope, u64), r: &Revocation) -> Result<(), Refusal> {
        let project = self.known(&r.project)?;
        let (chain, current) = (&project.chain, project.current());
        chain.may_say(current, said, Role::Root, &|t| project.has_revoked(t))?;
        let listed = match &r.target {
            Target::Key(id) => project.listed(&KeyId(*id)).is_some(),
            Target::Identity(hash) => {
                let mut all = project.versions().flat_map(|v| v.project.identities());
                all.any(|one| one.hash().is_ok_and(|h| h == *hash))
            }
            // An intermediate is listed nowhere, and may be the one that was stolen.
            Target::Authority(_) => project
                .versions()
                .any(|v| !v.project.authorities.is_empty()),
        };
        if !listed {
            return Err(Refusal::UnknownTarget(r.target.to_string()));
        }
        if let Some(since) = r.compromised_since {
            if since >= self.size {
                let size = self.size;
                return Err(Refusal::WindowBeyond { since, size });
            }
            if let Some(Some(before)) = project.window(&r.target)
                && since >= before
            {
                return Err(Refusal::WindowNotWider { since, before });
            }
        }
        let (left, want) = (
            project.roots_without(&r.target),
            project.current().project.root_threshold,
        );
        if left < want {
            return Err(Refusal::TooFewRoots { left, want });
        }
        Ok(())
    }

    fn withdrawal_rules(
        &self,
        (envelope, time): (&Envelope, u64),
        (w, subjects): (&Withdrawal, &[Subject]),
        earlier: Option<&Earlier>,
    ) -> Result<(), Refusal> {
        let project = self.known(&w.project)?;
        let v = project.current();
        let is_root = |key: KeyId| project.listed(&key).is_some_and(|l| l.role == Role::Root);
        let roots = signers(envelope).filter(|key| is_root(*key)).count();
        let role = match roots {
            0 => Role::Release,
            n if n == envelope.signatures.len() => Role::Root,
            _ => return Err(Refusal::MixedSigners),
        };
        let ends = matches!(w.what, Withdrawn::Prefix(_));
        let role = if ends { Role::Root } else { role };
        let revoked = |t: &Target| project.has_revoked(t);
        project.chain.may_say(v, (envelope, time), role, &revoked)?;
        match &w.what {
            Withdrawn::Prefix(prefix) => {
                let prefixes = &v.project.purl_prefixes;
                if prefixes.iter().any(|p| names::prefix_covers(p, prefix)) {
                    return Ok(());
                }
                Err(Refusal::PrefixOutside {
                    prefix: prefix.clone(),
                    prefixes: prefixes.join(", "),
                })
            }
            Withdrawn::Release(pae) => {
                let unknown = || Refusal::UnknownRelease(hex32(pae));
                let index = self.stated(pae)?.ok_or_else(unknown)?;
                let brief = self.brief(index, earlier)?;
                if brief.pae != *pae || brief.project != project.id {
                    return Err(unknown());
                }
                match subjects.iter().find(|a| !brief.digests.contains(&a.sha256)) {
                    Some(other) => Err(Refusal::ForeignDigest(hex32(&other.sha256))),
                    None => Ok(()),
                }
            }
        }
    }

    fn note_rules(&self, envelope: &Envelope, n: &KeyNote) -> Result<(), Refusal> {
        let project = self.known(&n.project)?;
        let current = &project.current().project;
        let may = |key: &KeyId| {
            let keys = current.roots.iter().chain(&current.release_keys);
            keys.map(PublicKey::id).any(|id| id == *key)
        };
        for key in signers(envelope) {
            if project.is_revoked(&key) {
                return Err(Refusal::RevokedKey(key.to_string()));
            }
            if !may(&key) {
                return Err(Refusal::UnauthorisedKey {
                    key: key.to_string(),
                    want: "a key-note is signed by a key of its project".to_owned(),
                });
            }
        }
        Ok(())
    }
}
