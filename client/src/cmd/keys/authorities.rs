//! The inventory of a project's authorities and of the identities that they speak for: when each was
//! listed, what was signed under it, which certificates the log's issuer gave out for it, and
//! whether it is revoked.

use super::inventory::At;
use super::show::Opened;
use crate::cmd::common::time;
use crate::cmd::complete::Complete;
use crate::fail::Fail;
use ledger::fold::{ProjectState, Vouched, vouched};
use ledger::leaf::Leaf;
use ledger::state::Revoked;
use ledger::statement::{Identity, Target};
use ledger::{Hash, from_hex32, hex32};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// An authority, or an identity.
#[derive(Debug, Clone)]
pub(crate) struct Voucher {
    /// What a revocation of it names.
    pub(crate) target: Target,
    /// What it is, for people.
    pub(super) called: String,
    /// Fields of its own, for a script and as facts.
    own: Vec<(&'static str, Value)>,
    /// Where it was first listed; an intermediate never is.
    pub(super) listed: Option<At>,
    /// Where it was left out for the last time, if it is not listed now.
    pub(super) dropped: Option<At>,
    pub(super) revoked: Option<Revoked>,
    /// What was signed under it, by kind of statement.
    pub(super) uses: BTreeMap<&'static str, u64>,
    pub(super) last_use: Option<At>,
    /// Certificates that the log's issuer gave out under it.
    pub(super) certificates: u64,
    /// Those of them with which nothing of the project was signed.
    pub(super) unused_certificates: u64,
    /// The last second for which it is valid, of an authority.
    pub(super) until: Option<u64>,
}

impl Voucher {
    /// `authority` or `identity`.
    pub(super) fn purpose(&self) -> &'static str {
        self.target.parts().0
    }

    pub(super) fn state(&self) -> &'static str {
        match (&self.revoked, self.dropped, self.listed) {
            (Some(_), _, _) => "revoked",
            (None, Some(_), _) => "retired",
            (None, None, None) => "below",
            (None, None, Some(_)) => "in force",
        }
    }

    /// Whether it is an identity of a platform on which the name alone is anybody's who calls the
    /// workflow.
    fn names_no_repository(&self) -> bool {
        let field = |name: &str| self.own.iter().find(|(n, _)| *n == name).map(|(_, v)| v);
        let github = field("issuer").and_then(Value::as_str);
        let github = github.is_some_and(|issuer| issuer.starts_with(GITHUB));
        let has = |oid: &str| field("claims").is_some_and(|c| c.get(oid).is_some());
        github && !has(REPOSITORY) && !has(REPOSITORY_ID)
    }

    pub(super) fn in_force(&self) -> bool {
        self.state() == "in force"
    }

    /// For a script.
    pub(super) fn shown(&self, project: &str) -> Value {
        let at = |at: At| json!({ "index": at.index, "time": at.time });
        let mut value = json!({
            "id": self.target.to_string(), "purpose": self.purpose(), "state": self.state(),
            "firstListed": self.listed.map(at), "leftOut": self.dropped.map(at), "revoked": self.revoked,
            "uses": self.uses, "lastUse": self.last_use.map(at), "certificates": self.certificates,
            "unusedCertificates": self.unused_certificates, "revoke": self.command(project),
        });
        if let Some(fields) = value.as_object_mut() {
            fields.extend(self.own.iter().map(|(k, v)| ((*k).to_owned(), v.clone())));
        }
        value
    }

    fn command(&self, project: &str) -> Option<String> {
        self.revoked.is_none().then(|| {
            format!(
                "countersign keys revoke {} --project {project} --reason TEXT --compromised-since TIME --key ROOTKEY… --policy POLICY",
                self.target
            )
        })
    }

    /// A fact a line.
    pub(super) fn facts(&self, project: &str) -> Vec<(&'static str, String)> {
        let at = |at: At| format!("{} (entry {})", time(at.time), at.index);
        let uses: Vec<String> = self
            .uses
            .iter()
            .map(|(what, n)| format!("{n} {what}"))
            .collect();
        let mut facts = vec![
            ("id", self.target.to_string()),
            ("purpose", self.purpose().to_owned()),
            ("state", self.state().to_owned()),
        ];
        for (name, value) in &self.own {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Object(map) => {
                    let pairs = map
                        .iter()
                        .map(|(k, v)| format!("{k} {}", v.as_str().unwrap_or_default()));
                    pairs.collect::<Vec<_>>().join("; ")
                }
                Value::Number(n) if *name == "notAfter" => time(n.as_u64().unwrap_or_default()),
                other => other.to_string(),
            };
            facts.push((name, text));
        }
        facts.push((
            "first listed",
            self.listed
                .map_or_else(|| "never: an issuer below an authority".to_owned(), at),
        ));
        facts.push(("signed", uses.join(", ")));
        facts.push((
            "last use",
            self.last_use.map_or_else(|| "never".to_owned(), at),
        ));
        let certificates = format!(
            "{} logged, {} with which nothing was signed",
            self.certificates, self.unused_certificates
        );
        facts.push(("certificates", certificates));
        if let Some(dropped) = self.dropped {
            facts.push(("left out", at(dropped)));
        }
        if let Some(revoked) = &self.revoked {
            let since = match revoked.since {
                Some(since) => format!("; nothing from entry {since} on counts"),
                None => "; what was signed before counts".to_owned(),
            };
            facts.push(("revoked", format!("entry {}{since}", revoked.index)));
        }
        if let Some(command) = self.command(project) {
            facts.push(("revoke", command));
        }
        facts
    }
}

/// The vouchers of a project whose history is `complete`: authorities, then identities, then
/// issuers below them that signed something or are revoked.
pub(super) fn vouchers(complete: &Complete, project: &Hash) -> Vec<Voucher> {
    let (Some(known), Some(state)) = (complete.fold.project(project), complete.fold.state(project))
    else {
        return Vec::new();
    };
    let mut rows = listed(known);
    for revoked in &state.revoked {
        // Of an issuer no version says anything.
        if let Some(target @ Target::Authority(_)) = Target::parse(&revoked.target)
            && !rows.iter().any(|r| r.target == target)
        {
            rows.push(below(target));
        }
    }
    read(&mut rows, complete, known);
    for row in &mut rows {
        let target = row.target.to_string();
        row.revoked = state.revoked.iter().find(|r| r.target == target).cloned();
    }
    rows
}

fn below(target: Target) -> Voucher {
    Voucher {
        target,
        called: "an issuer below an authority".to_owned(),
        own: Vec::new(),
        listed: None,
        dropped: None,
        revoked: None,
        uses: BTreeMap::new(),
        last_use: None,
        certificates: 0,
        unused_certificates: 0,
        until: None,
    }
}

fn listed(known: &ProjectState) -> Vec<Voucher> {
    let (mut authorities, mut identities): (Vec<Voucher>, Vec<Voucher>) = Default::default();
    for version in known.versions() {
        let at = At {
            index: version.index,
            time: version.time,
        };
        let mut now = BTreeSet::new();
        for authority in &version.project.authorities {
            let target = Target::Authority(authority.hash());
            now.insert(target);
            let until = authority.anchor.validity().1;
            if !authorities.iter().any(|r| r.target == target) {
                authorities.push(Voucher {
                    called: authority.anchor.subject().to_owned(),
                    own: vec![
                        ("subject", authority.anchor.subject().into()),
                        ("notAfter", until.into()),
                    ],
                    listed: Some(at),
                    until: Some(until),
                    ..below(target)
                });
            }
            for identity in &authority.identities {
                // What was read from a log has a canonical form.
                let Ok(hash) = identity.hash() else { continue };
                let target = Target::Identity(hash);
                now.insert(target);
                if !identities.iter().any(|r| r.target == target) {
                    identities.push(of_identity(target, identity, at));
                }
            }
        }
        for row in authorities.iter_mut().chain(&mut identities) {
            let gone = !now.contains(&row.target);
            row.dropped = gone.then_some(row.dropped.unwrap_or(at));
        }
    }
    authorities.append(&mut identities);
    authorities
}

fn of_identity(target: Target, identity: &Identity, at: At) -> Voucher {
    Voucher {
        called: identity.san.clone(),
        own: vec![
            ("san", identity.san.as_str().into()),
            ("issuer", identity.issuer.as_str().into()),
            ("claims", json!(identity.claims)),
        ],
        listed: Some(at),
        ..below(target)
    }
}

/// The claims that name the repository whose job it was, by its address and by its number.
const REPOSITORY: &str = "1.3.6.1.4.1.57264.1.12";
const REPOSITORY_ID: &str = "1.3.6.1.4.1.57264.1.15";
/// Where a workflow's name says whose workflow it is, and not whose job.
const GITHUB: &str = "https://token.actions.githubusercontent.com";

/// What was signed under each, and which certificates were logged.
fn read(rows: &mut Vec<Voucher>, complete: &Complete, known: &ProjectState) {
    let mut signed = BTreeSet::new();
    for (index, leaf) in complete.statements() {
        let Some(chain) = &leaf.envelope.chain else {
            continue;
        };
        signed.insert(chain.end().key.id());
        let targets = known.chain.targets(index, &leaf.envelope, leaf.time);
        for target in targets.unwrap_or_default().iter().flatten() {
            if !rows.iter().any(|r| r.target == *target) {
                rows.push(below(*target));
            }
            for row in rows.iter_mut().filter(|r| r.target == *target) {
                *row.uses.entry(leaf.statement.body.kind()).or_default() += 1;
                row.last_use = Some(At {
                    index,
                    time: leaf.time,
                });
            }
        }
    }
    for (index, leaf) in &complete.leaves {
        let Leaf::Certificate(c) = leaf else { continue };
        let Some(v) = known.chain.at(*index) else {
            continue;
        };
        let used = signed.contains(&c.chain.end().key.id());
        let Ok(Vouched { targets, .. }) = vouched(&v.project, &c.chain, c.time) else {
            continue;
        };
        for row in rows.iter_mut().filter(|r| targets.contains(&r.target)) {
            row.certificates += 1;
            row.unused_certificates += u64::from(!used);
        }
    }
}

/// Whether a text names one of these, and not a key.
pub(super) fn is_voucher(text: &str) -> bool {
    text.starts_with("identity:") || text.starts_with("authority:")
}

/// The one that `text`, `identity:` or `authority:` and the first 8 or more digits, names. An issuer
/// below an authority, of which the log knows nothing yet, is named by all of its digits.
///
/// # Errors
/// Exit code 2.
pub(super) fn one(opened: &Opened, text: &str) -> Result<Voucher, Fail> {
    let (kind, digits) = text.split_once(':').unwrap_or_default();
    let begins = |v: &&Voucher| {
        let (of, hash) = v.target.parts();
        of == kind && digits.len() >= 8 && hex32(hash).starts_with(digits)
    };
    let found: Vec<&Voucher> = opened.vouchers.iter().filter(begins).collect();
    let has_authorities = opened.vouchers.iter().any(|v| v.listed.is_some());
    match (found.as_slice(), from_hex32(digits)) {
        ([one], _) => Ok((*one).clone()),
        ([], Some(hash)) if kind == "authority" && has_authorities => {
            Ok(below(Target::Authority(hash)))
        }
        ([], _) => Err(Fail::usage(
            "unknown-authority",
            format!("{} has no {text:?}", opened.project.name),
        )
        .hint("give the first 8 or more digits, as `countersign keys list` shows them; of an issuer below an authority all 64")),
        _ => Err(Fail::usage(
            "ambiguous-authority",
            format!("several begin with {text:?}"),
        )
        .hint("give more digits")),
    }
}

/// What an owner would be asked about.
pub(super) fn findings(row: &Voucher, now: u64, mut add: impl FnMut(&'static str, String)) {
    const SOON: u64 = 30 * 86_400;
    if let Some(until) = row
        .until
        .filter(|until| row.in_force() && now.saturating_add(SOON) > *until)
    {
        add(
            "authority-ends",
            format!(
                "{} ends at {}: no certificate of it counts after that; list a new one beside it",
                row.called,
                time(until)
            ),
        );
    }
    if row.revoked.is_some() && row.dropped.is_none() && row.listed.is_some() {
        add(
            "revoked-and-listed",
            "it is revoked, and the newest version still lists it".to_owned(),
        );
    }
    if row.in_force() && is_wide(&row.called) {
        add(
            "wide-identity",
            format!(
                "{} takes in more than one repository: name it, with a claim or a longer path",
                row.called
            ),
        );
    }
    if row.in_force() && row.names_no_repository() {
        add(
            "no-repository-claim",
            format!(
                "{} is the name of a workflow that any repository may call: list the repository too, by the claim {REPOSITORY} or {REPOSITORY_ID}",
                row.called
            ),
        );
    }
    if row.purpose() == "identity" && row.unused_certificates > 0 && row.in_force() {
        add(
            "unused-certificates",
            format!(
                "{} certificates were given out for {}, and nothing was signed with them: ask who had them",
                row.unused_certificates, row.called
            ),
        );
    }
}

/// Whether a pattern has fewer than two segments behind its host: on a forge that is an owner.
fn is_wide(san: &str) -> bool {
    let Some(fixed) = san.strip_suffix("/*") else {
        return false;
    };
    let path = fixed.split_once("://").map_or("", |(_, rest)| rest);
    path.split('/').count() < 3
}

#[cfg(test)]
mod tests {
    use super::is_wide;

    #[test]
    fn a_pattern_that_takes_in_an_owner_is_wide() {
        for wide in ["https://forge.example/*", "https://forge.example/acme/*"] {
            assert!(is_wide(wide), "{wide}");
        }
        for narrow in [
            "https://forge.example/acme/tool/*",
            "https://forge.example/x",
            "ci@acme.example",
        ] {
            assert!(!is_wide(narrow), "{narrow}");
        }
    }
}
