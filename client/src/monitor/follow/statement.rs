//! Statements and operations as findings: what was said, by whom, and what to do about it.

use super::short;
use crate::monitor::alert::{Class, Finding};
use crate::when::time;
use ledger::leaf::{CertificateLeaf, OperationLeaf, StatementLeaf};
use ledger::names::purl_version;
use ledger::statement::{Body, Withdrawn};
use ledger::{Hash, hex32};

/// Keys and digests that are listed of one statement.
const MOST: usize = 8;

/// What a statement is about.
pub(super) struct About<'a> {
    /// The kind of finding that it is where nobody announced it; empty: as the statement's kind says.
    pub(super) kind: &'a str,
    /// The finding's subject.
    pub(super) subject: &'a str,
    /// The project's name.
    pub(super) project: &'a str,
    /// The project's id.
    pub(super) id: &'a Hash,
    /// Where it stands.
    pub(super) index: u64,
}

/// What a statement says, in a few words.
pub(super) fn says(leaf: &StatementLeaf) -> String {
    let said = match &leaf.statement.body {
        Body::Project(p) => format!("version {} of project {}", p.version, p.name),
        Body::Release(r) => format!("release {}", r.purl),
        Body::Revocation(r) => format!("revocation of {}", r.target),
        Body::Withdrawal(w) => match &w.what {
            Withdrawn::Release(pae) => format!("withdrawal of release {}", hex32(pae)),
            Withdrawn::Prefix(prefix) => format!("end of life of {prefix}"),
        },
        Body::KeyNote(n) => format!("note about key {}", hex32(&n.key)),
    };
    short(&said)
}

/// Its facts, as named values.
pub(super) fn details(about: &About<'_>, leaf: &StatementLeaf) -> Vec<(String, String)> {
    let statement = &leaf.statement;
    let keys = leaf.envelope.signatures.iter().map(|s| s.keyid.to_string());
    let mut facts = vec![
        ("index", about.index.to_string()),
        ("time", time(leaf.time)),
        ("statement", hex32(&leaf.envelope.pae_hash())),
        ("keys", listed(keys)),
    ];
    match &statement.body {
        Body::Release(r) => {
            let digests = statement.subject.iter();
            let digests = digests.map(|s| format!("{} sha256:{}", s.name, hex32(&s.sha256)));
            facts.push(("purl", short(&r.purl)));
            if let Some(chain) = &leaf.envelope.chain {
                let end = chain.end();
                facts.push(("certificate for", short(&end.san)));
                facts.push(("attested by", short(end.issuer().unwrap_or("nobody"))));
            }
            facts.push(("digests", listed(digests)));
        }
        Body::Project(p) => {
            facts.push(("roots", listed(p.roots.iter().map(|k| k.id().to_string()))));
            let release_keys = p.release_keys.iter().map(|k| k.id().to_string());
            facts.push(("release keys", listed(release_keys)));
            if !p.authorities.is_empty() {
                let authorities = p.authorities.iter().map(|a| hex32(&a.hash()));
                facts.push(("authorities", listed(authorities)));
                let identities: Vec<String> = p.identities().map(|i| i.san.clone()).collect();
                facts.push(("identities", listed(identities.into_iter())));
            }
        }
        Body::Revocation(r) => {
            facts.push(("reason", short(&r.reason)));
            if let Some(since) = r.compromised_since {
                facts.push(("counts only before index", since.to_string()));
            }
        }
        Body::Withdrawal(w) => facts.push(("reason", short(&w.reason))),
        Body::KeyNote(_) => {}
    }
    let owned = |(name, value): (&str, String)| (name.to_owned(), value);
    facts.into_iter().map(owned).collect()
}

fn listed(all: impl ExactSizeIterator<Item = String>) -> String {
    let more = all.len().saturating_sub(MOST);
    let mut list: Vec<String> = all.take(MOST).map(|text| short(&text)).collect();
    if more > 0 {
        list.push(format!("and {more} more"));
    }
    list.join(", ")
}

/// Something that nobody announced.
pub(super) fn unexpected(about: &About<'_>, leaf: &StatementLeaf) -> Finding {
    let body = &leaf.statement.body;
    let own = format!("unexpected-{}", body.kind());
    let kind = if about.kind.is_empty() {
        &own
    } else {
        about.kind
    };
    let why = match about.kind {
        "ignored-statement" => "; the rules give it no effect",
        "key-used-elsewhere" => "; it is of another project, and uses or lists a watched key",
        "look-alike-project" => "; the name looks like that of a watched project",
        _ => "",
    };
    let message = format!("{} was logged, and nobody announced it{why}", says(leaf));
    let mut finding = Finding::new(Class::Unexpected, kind, about.subject, message)
        .key(hex32(&leaf.envelope.pae_hash()));
    finding.details = details(about, leaf);
    finding.hint(hint(about, leaf))
}

fn hint(about: &About<'_>, leaf: &StatementLeaf) -> String {
    let project = short(about.project);
    let signer = leaf.envelope.signatures.first();
    let key = signer.map_or("KEY".to_owned(), |s| {
        s.keyid.to_string().chars().take(8).collect()
    });
    let freeze = format!(
        "ask the log's operator to stop it meanwhile: `countersign-server project freeze {project} --data DIR --reason TEXT`"
    );
    let revoke = format!(
        "`countersign keys revoke {key} --project {project} --compromised-since {} --reason TEXT --key ROOT`",
        about.index
    );
    match about.kind {
        "look-alike-project" => {
            return "if it is not yours, ask the log's operator what it is, and warn whoever installs by name".into();
        }
        "key-used-elsewhere" => {
            return format!(
                "if nobody of yours said it, others hold the key: revoke it in your own project: {revoke}; {freeze}"
            );
        }
        _ => {}
    }
    if let Some(chain) = &leaf.envelope.chain {
        let end = chain.end();
        return format!(
            "if nobody of yours made it, others speak as {}, or have the issuer's key: `countersign keys list --project {project}` shows the identities and authorities behind it; `countersign keys revoke identity:HASH|authority:HASH --project {project} --compromised-since {} --reason TEXT --key ROOT` voids it; {freeze}",
            short(&end.san),
            about.index
        );
    }
    match &leaf.statement.body {
        Body::Release(r) => {
            let version = purl_version(&r.purl).unwrap_or_default();
            format!(
                "if nobody of yours made it, others hold the key: {revoke}, then `countersign withdraw --project {project} --version {} --reason TEXT --key KEY`; {freeze}",
                short(&version)
            )
        }
        Body::Project(_) => format!(
            "if nobody of yours made it, others hold roots: {freeze}; then revoke what they hold with the roots that are left: {revoke}"
        ),
        Body::Revocation(_) => format!(
            "if nobody of yours made it, others hold roots: {freeze}; a revocation cannot be taken back: list a new key in a new version of the project"
        ),
        Body::Withdrawal(_) | Body::KeyNote(_) => {
            format!("if nobody of yours made it, others hold the key: {revoke}; {freeze}")
        }
    }
}

/// Facts of a certificate, as named values.
pub(super) fn certificate_details(index: u64, leaf: &CertificateLeaf) -> Vec<(String, String)> {
    let end = leaf.chain.end();
    let facts = [
        ("index", index.to_string()),
        ("time", time(leaf.time)),
        ("san", short(&end.san)),
        ("issuer", short(end.issuer().unwrap_or("nobody"))),
        ("key", end.key.id().to_string()),
        ("serial", hex::encode(&end.serial)),
        ("valid until", time(end.not_after)),
    ];
    facts.map(|(name, value)| (name.to_owned(), value)).into()
}

/// A certificate that nothing was signed with.
pub(super) fn certificate(about: &About<'_>, leaf: &CertificateLeaf) -> Finding {
    let san = short(&leaf.chain.end().san);
    let message = format!(
        "the log's issuer gave out a certificate for {san}, which may release for the project, and nothing of the project was signed with it"
    );
    let mut finding = Finding::new(
        Class::Unexpected,
        "unexpected-certificate",
        about.subject,
        message,
    )
    .key(about.index.to_string());
    finding.details = certificate_details(about.index, leaf);
    let project = short(about.project);
    finding.hint(format!(
        "if no pipeline of yours asked for it, and none has failed since, others can speak as that identity, or have the issuer's key: `countersign keys revoke identity:HASH --project {project} --compromised-since {} --reason TEXT --key ROOT` (or authority:HASH), and ask the log's operator whom it was given to",
        about.index
    ))
}

/// What the log's operator did.
pub(super) fn operation(about: &About<'_>, leaf: &OperationLeaf) -> Finding {
    let word = leaf.action.word();
    let message = format!("the log's operator did this to the project: {word}");
    let mut finding = Finding::new(
        Class::Unexpected,
        "unexpected-operation",
        about.subject,
        message,
    )
    .key(about.index.to_string())
    .detail("index", about.index.to_string())
    .detail("time", time(leaf.time))
    .detail("by", short(&leaf.by));
    if let Some(reason) = &leaf.reason {
        finding = finding.detail("reason", short(reason));
    }
    finding.hint("ask the log's operator; it changes what is admitted, and no verdict")
}
