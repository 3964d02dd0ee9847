//! OSV records of what the log says is not to be used (<https://ossf.github.io/osv-schema/>): one a
//! release, so that a later report has newer versions of the same records.

use super::document::{Document, Release};
use super::story::bad;
use crate::fail::visible;
use crate::when::time;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The schema's version that these records are of.
const SCHEMA: &str = "1.7.4";

/// Ecosystems of the schema by type of purl. Others it does not know: a record says the purl's type.
const ECOSYSTEMS: [(&str, &str); 14] = [
    ("cargo", "crates.io"),
    ("composer", "Packagist"),
    ("conan", "ConanCenter"),
    ("cran", "CRAN"),
    ("gem", "RubyGems"),
    ("githubactions", "GitHub Actions"),
    ("golang", "Go"),
    ("hackage", "Hackage"),
    ("hex", "Hex"),
    ("maven", "Maven"),
    ("npm", "npm"),
    ("nuget", "NuGet"),
    ("pub", "Pub"),
    ("pypi", "PyPI"),
];

/// A purl without version, qualifiers and subpath: the package that it is a release of.
pub(super) fn bare(purl: &str) -> &str {
    let path = purl.split(['?', '#']).next().unwrap_or(purl);
    match path.rfind('@') {
        Some(at) if !path.get(at..).is_some_and(|v| v.contains('/')) => {
            path.get(..at).unwrap_or(path)
        }
        _ => path,
    }
}

/// A purl's package; its type; and the package's name.
fn package(purl: &str) -> (String, String, String) {
    let bare = bare(purl);
    let rest = bare.strip_prefix("pkg:").unwrap_or(bare);
    let (kind, name) = rest.split_once('/').unwrap_or(("generic", rest));
    let known = ECOSYSTEMS.iter().find(|(of, _)| *of == kind);
    let ecosystem = known.map_or(kind, |(_, e)| e);
    let name = match kind {
        "maven" => name.replacen('/', ":", 1),
        "npm" => name.replacen("%40", "@", 1),
        _ => name.to_owned(),
    };
    (bare.to_owned(), ecosystem.to_owned(), name)
}

/// The records by file name.
pub(crate) fn records(
    document: &Document,
) -> Result<BTreeMap<String, Vec<u8>>, ledger::json::JsonError> {
    let mut all = BTreeMap::new();
    for release in bad(document) {
        let id = format!("COUNTERSIGN-{:.16}", release.statement);
        let record = record(document, release, &id);
        let bytes = ledger::json::to_canonical(&record)?;
        all.insert(format!("osv/{id}.json"), bytes);
    }
    Ok(all)
}

fn record(d: &Document, release: &Release, id: &str) -> Value {
    let (purl, ecosystem, name) = package(&release.purl);
    let against = release.against.as_ref();
    let by = against.map(|a| a.by);
    let published = by.and_then(|b| b.time).unwrap_or(d.asked.made);
    let why = match release.standing.as_str() {
        "void" => "signed by a key that was compromised",
        _ => "withdrawn by the project",
    };
    let version = release.version.clone().unwrap_or_default();
    // It is Markdown: nothing from outside stands in it.
    let details = format!(
        "The release was {why}. The statements that prove it are in a transparency log, at the entries in `database_specific`; artifacts are named there by their SHA-256. Another release of the same version may be good: compare digests."
    );
    let evidence = |index: u64| json!({ "type": "EVIDENCE", "url": format!("{}/api/v1/entries/{index}/bundle", d.asked.log_url) });
    let mut references = vec![evidence(release.index)];
    references.extend(by.map(|b| evidence(b.index)));
    let artifacts: Vec<Value> = release
        .artifacts
        .iter()
        .map(|a| json!({ "name": visible(&a.name), "sha256": a.sha256 }))
        .collect();
    let mut specific = Map::new();
    specific.insert("log".into(), d.as_of.log.as_str().into());
    specific.insert("projectId".into(), d.project.id.as_str().into());
    specific.insert("index".into(), release.index.into());
    specific.insert("statement".into(), release.statement.as_str().into());
    specific.insert("standing".into(), release.standing.as_str().into());
    specific.insert("artifacts".into(), artifacts.into());
    specific.insert("treeSize".into(), d.as_of.size.into());
    if let Some(against) = against {
        specific.insert(
            "by".into(),
            json!({ "index": against.by.index, "statement": against.statement }),
        );
        if let Some(key) = &against.key {
            specific.insert("key".into(), key.as_str().into());
        }
        if let Some(reason) = &against.reason {
            specific.insert("reason".into(), visible(reason).into());
        }
    }
    json!({
        "schema_version": SCHEMA, "id": id, "published": time(published), "modified": time(d.asked.made),
        "summary": format!("{} {} was {why}", visible(&name), visible(&version)),
        "details": details,
        "affected": [{ "package": { "ecosystem": ecosystem, "name": name, "purl": purl }, "versions": [version],
            "database_specific": { "artifacts": specific.get("artifacts") } }],
        "references": references, "database_specific": specific,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_has_the_name_that_its_ecosystem_gives_it() {
        let of = |purl| {
            let (bare, ecosystem, name) = package(purl);
            format!("{bare} {ecosystem} {name}")
        };
        assert_eq!(
            of("pkg:generic/acme/tool@1?os=x"),
            "pkg:generic/acme/tool generic acme/tool"
        );
        assert_eq!(
            of("pkg:npm/%40acme/tool@1#sub"),
            "pkg:npm/%40acme/tool npm @acme/tool"
        );
        assert_eq!(
            of("pkg:maven/org.acme/tool@1"),
            "pkg:maven/org.acme/tool Maven org.acme:tool"
        );
        assert_eq!(of("pkg:cargo/tool"), "pkg:cargo/tool crates.io tool");
    }
}
