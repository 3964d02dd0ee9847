//! Downloads that broke off.

use super::Target;
use super::artifact::NOT_RUN;
use super::got::shown;
use super::history::Looked;
use super::known::Verdict;
use super::round::{Group, Round, begins};
use super::say::Say;
use crate::monitor::alert::{Class, Finding};
use ledger::hex32;

impl Say<'_> {
    /// Of what broke off, the part that came must be how the right bytes begin: a shell that reads
    /// from a pipe has run it.
    pub(super) fn broken(
        &mut self,
        target: &Target,
        round: &Round,
        right: Option<&Group<'_>>,
        looked: &Looked,
    ) {
        for (got, part, _) in round.broken().filter(|(_, part, _)| part.size > 0) {
            let known = looked.known.as_deref().filter(|_| looked.fail.is_none());
            let whole = known.map(|k| k.verdict(&target.name, target.version(), &part.sha256));
            let long = known.is_some_and(|k| part.size > k.largest(&target.name).unwrap_or(0));
            let other = right.and_then(|g| begins(g.bytes, part)) == Some(false);
            if matches!(whole, Some(Verdict::Stands { .. })) {
                continue;
            }
            let (class, kind, message, hint) = if long || other {
                (
                    Class::Tampering,
                    "bytes-not-logged",
                    "the download broke off, and what came is not how the released bytes begin; a shell that reads from a pipe would have run it",
                    NOT_RUN,
                )
            } else if right.is_some() {
                continue;
            } else {
                (
                    Class::Degraded,
                    "part-not-compared",
                    "the download broke off, and there are no whole bytes to compare the part with that came",
                    "the part is in the quarantine; try another way to the storage",
                )
            };
            let finding = Finding::new(class, kind, self.subject.clone(), message)
                .detail("got", format!("sha256 {}", hex32(&part.sha256)))
                .detail("size", part.size.to_string())
                .detail("served to", shown(&got.label))
                .hint(hint);
            let key = match class {
                Class::Tampering => hex32(&part.sha256),
                _ => String::new(),
            };
            self.keep(finding, key, part, &[got]);
        }
    }
}
