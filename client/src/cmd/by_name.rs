//! `PROJECT[@VERSION|@latest][/ARTIFACT]`: which release that is, by the project's proven history
//! and its log indexes, and never by a server's word.

use super::complete::{Release, Standing};
use crate::fail::Fail;
use crate::policy::{Policy, ProjectPolicy};
use ledger::names::{check_artifact_name, purl_version};
use ledger::statement::Subject;

/// What was asked for by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) project: ProjectPolicy,
    /// `None` for the latest.
    pub(crate) version: Option<String>,
    /// Whether the name says which version, as `@latest` does too.
    pub(crate) says_version: bool,
    pub(crate) artifact: Option<String>,
}

impl Asked {
    /// Reads what was asked for. Project names have slashes: the longest name in the policy that
    /// fits is meant, unless `project` says which.
    pub(crate) fn parse(text: &str, policy: &Policy, project: Option<&str>) -> Result<Self, Fail> {
        let fits = |p: &&ProjectPolicy| {
            let rest = text.strip_prefix(p.name.as_str());
            let rest = rest.filter(|r| r.is_empty() || r.starts_with(['@', '/']));
            rest.is_some() && project.is_none_or(|name| name == p.name)
        };
        let found = policy.projects.iter().filter(fits);
        let found = found.max_by_key(|p| p.name.len()).ok_or_else(|| {
            let names: Vec<&str> = policy.projects.iter().map(|p| p.name.as_str()).collect();
            Fail::usage(
                "unknown-project",
                format!("{text:?} is neither an http or https address nor of a project of the policy"),
            )
            .detail("projects", names.join(", "))
            .hint("give PROJECT[@VERSION][/ARTIFACT], or the artifact's address; `verify` is for files")
        })?;
        let rest = text.get(found.name.len()..).unwrap_or_default();
        let (version, artifact) = match rest.strip_prefix('@') {
            Some(rest) => match rest.split_once('/') {
                Some((version, artifact)) => (Some(version), Some(artifact)),
                None => (Some(rest), None),
            },
            None => (None, rest.strip_prefix('/')),
        };
        let bad = |why: String| {
            Fail::usage("bad-name", why).hint("give PROJECT[@VERSION|@latest][/ARTIFACT]")
        };
        if version == Some("") {
            return Err(bad("no version follows the @".into()));
        }
        if let Some(artifact) = artifact {
            check_artifact_name(artifact).map_err(|e| bad(e.to_string()))?;
        }
        Ok(Self {
            project: found.clone(),
            says_version: version.is_some(),
            version: version.filter(|v| *v != "latest").map(str::to_owned),
            artifact: artifact.map(str::to_owned),
        })
    }

    /// The release and the artifact of it that are meant, among all of the project. What is void,
    /// withdrawn or at its end of life is never the latest; asked for by version it is given
    /// where no other stands, and the verifier refuses it.
    pub(crate) fn pick<'a>(
        &self,
        releases: &'a [Release],
        floor: Option<u64>,
    ) -> Result<(&'a Release, &'a Subject), Fail> {
        let named = |s: &&Subject| self.artifact.as_ref().is_none_or(|a| *a == s.name);
        let has = |r: &&Release| r.artifacts.iter().any(|s| named(&s));
        let stands = |r: &&Release| r.standing == Standing::Stands;
        let version = match &self.version {
            Some(version) => version.clone(),
            None => {
                let fit = releases
                    .iter()
                    .filter(stands)
                    .filter(|r| floor.is_none_or(|f| r.index >= f));
                let any = fit.clone().max_by_key(|r| r.index);
                let newest = fit.filter(has).max_by_key(|r| r.index);
                let newest = newest.ok_or_else(|| match any {
                    Some(newest) => self.no_artifact(&newest.artifacts),
                    None => self.fail(Fail::untrusted(
                        "no-release",
                        "no release of the project stands, or none at the policy's floor",
                    ))
                    .hint("see `countersign releases NAME`; what was withdrawn is refused by version too"),
                })?;
                purl_version(&newest.purl).unwrap_or_default()
            }
        };
        let of_version: Vec<&Release> = releases
            .iter()
            .filter(|r| purl_version(&r.purl).as_ref() == Some(&version))
            .collect();
        if of_version.is_empty() {
            return Err(self
                .fail(Fail::usage(
                    "unknown-release",
                    format!("version {version:?} was never released"),
                ))
                .hint("see `countersign releases NAME`"));
        }
        let mut fit: Vec<&Release> = of_version.iter().copied().filter(has).collect();
        if fit.is_empty() {
            let all: Vec<Subject> = of_version
                .iter()
                .flat_map(|r| r.artifacts.clone())
                .collect();
            return Err(self.no_artifact(&all));
        }
        if fit.iter().any(stands) {
            fit.retain(stands);
        } else if let Some(newest) = fit.last().copied() {
            fit = vec![newest];
        }
        let mut options = fit
            .iter()
            .flat_map(|r| r.artifacts.iter().filter(named).map(move |s| (*r, s)));
        let first = options.next();
        let more: Vec<_> = options.collect();
        match first {
            Some(one) if more.is_empty() => Ok(one),
            _ if self.artifact.is_some() => {
                let purls: Vec<&str> = fit.iter().map(|r| r.purl.as_str()).collect();
                Err(self
                    .fail(Fail::usage(
                        "ambiguous-release",
                        "several releases of this version have an artifact of this name",
                    ))
                    .detail("releases", purls.join(", "))
                    .hint("give the artifact's address"))
            }
            first => {
                let names = first.iter().chain(&more).map(|(_, s)| s.name.as_str());
                Err(self
                    .fail(Fail::usage(
                        "several-artifacts",
                        format!("version {version} has several artifacts"),
                    ))
                    .detail("artifacts", names.collect::<Vec<_>>().join(", "))
                    .hint("add /ARTIFACT to what you ask for"))
            }
        }
    }

    fn fail(&self, fail: Fail) -> Fail {
        fail.detail("project", self.project.name.as_str())
    }

    fn no_artifact(&self, subjects: &[Subject]) -> Fail {
        let names: Vec<&str> = subjects.iter().map(|s| s.name.as_str()).collect();
        self.fail(Fail::usage(
            "unknown-artifact",
            "the release has no artifact of this name",
        ))
        .detail("artifacts", names.join(", "))
        .hint("name one of these")
    }
}

/// The lowest log index at which the project has released `version`.
pub(crate) fn floor(releases: &[Release], version: &str) -> Result<u64, Fail> {
    let of = |r: &&Release| purl_version(&r.purl).as_deref() == Some(version);
    let lowest = releases.iter().filter(of).map(|r| r.index).min();
    lowest.ok_or_else(|| {
        Fail::usage(
            "unknown-floor",
            format!("the policy's min-version {version:?} was never released"),
        )
        .hint("set min-version to a version that the project has released")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ledger::KeyId;

    fn policy() -> Policy {
        let key = keys::Ed25519Secret::generate().unwrap();
        let log = tlog::vkey::VerifierKey::ed25519("log.example", &key.public_bytes()).unwrap();
        let mut text = format!(
            "api-version = \"countersign/v1\"\n[log]\norigin = \"log.example\"\nvkeys = [\"{log}\"]\n"
        );
        for (nth, name) in ["acme", "acme/tool"].iter().enumerate() {
            text.push_str(&format!(
                "[[project]]\nid = \"{:064}\"\nname = \"{name}\"\n",
                nth
            ));
        }
        Policy::parse_toml(&text).unwrap()
    }

    fn release(index: u64, purl: &str, artifacts: &[&str], standing: Standing) -> Release {
        let subject = |name: &&str| Subject {
            name: (*name).to_owned(),
            sha256: [0; 32],
            size: Some(1),
            digests: Default::default(),
            download_location: None,
        };
        Release {
            index,
            time: 0,
            purl: format!("pkg:generic/acme/{purl}"),
            statement: [0; 32],
            artifacts: artifacts.iter().map(subject).collect(),
            keys: Vec::<KeyId>::new(),
            standing,
        }
    }

    #[test]
    fn the_longest_project_name_that_fits_is_meant() {
        let policy = policy();
        let asked = |text: &str, project| {
            Asked::parse(text, &policy, project).map(|a| (a.project.name, a.version, a.artifact))
        };
        let some = |t: &str| Some(t.to_owned());
        for (text, project, want) in [
            ("acme/tool", None, ("acme/tool", None, None)),
            ("acme/tool", Some("acme"), ("acme", None, some("tool"))),
            ("acme/tools", None, ("acme", None, some("tools"))),
            ("acme@latest/a", None, ("acme", None, some("a"))),
            (
                "acme/tool@1/a@b",
                None,
                ("acme/tool", some("1"), some("a@b")),
            ),
            ("acme/tool/a@b", None, ("acme/tool", None, some("a@b"))),
        ] {
            let (name, version, artifact) = want;
            let want = (name.to_owned(), version, artifact);
            assert_eq!(asked(text, project).unwrap(), want, "{text}");
        }
        for (text, kind) in [
            ("other", "unknown-project"),
            ("acmes", "unknown-project"),
            ("acme@", "bad-name"),
            ("acme/tool/a/b", "bad-name"),
            ("acme@1/..", "bad-name"),
        ] {
            assert_eq!(asked(text, None).unwrap_err().kind, kind, "{text}");
        }
    }

    #[test]
    fn the_latest_is_the_newest_that_stands_by_log_index() {
        let withdrawn = Standing::Withdrawn([1; 32]);
        let all = [
            release(3, "tool@9.0", &["a"], Standing::Stands),
            release(5, "tool@1.0", &["a", "b"], Standing::Stands),
            release(7, "tool@2.0", &["a"], withdrawn.clone()),
            release(8, "tool@3.0", &["x"], withdrawn.clone()),
            release(9, "tool@3.0?os=l", &["x"], withdrawn),
        ];
        let pick = |text: &str, floor| {
            let asked = Asked::parse(text, &policy(), None).unwrap();
            let found = asked.pick(&all, floor);
            found
                .map(|(r, s)| (r.index, s.name.clone()))
                .map_err(|f| f.kind)
        };
        let ok = |index, name: &str| Ok((index, name.to_owned()));
        let no = |kind: &str| Err(kind.to_owned());
        assert_eq!(pick("acme/tool@latest/a", None), ok(5, "a"));
        assert_eq!(pick("acme/tool", None), no("several-artifacts"));
        assert_eq!(pick("acme/tool@9.0", None), ok(3, "a"));
        assert_eq!(pick("acme/tool@2.0", None), ok(7, "a"), "refused later");
        assert_eq!(pick("acme/tool@3.0", None), ok(9, "x"), "refused later");
        assert_eq!(pick("acme/tool@latest/a", Some(6)), no("no-release"));
        assert_eq!(pick("acme/tool@4.0", None), no("unknown-release"));
        assert_eq!(pick("acme/tool@1.0/c", None), no("unknown-artifact"));
        assert_eq!(pick("acme/tool/x", None), no("unknown-artifact"));
        let twice = [
            release(3, "tool@1.0", &["a"], Standing::Stands),
            release(5, "tool@1.0?os=l", &["a"], Standing::Stands),
        ];
        let asked = Asked::parse("acme/tool/a", &policy(), None).unwrap();
        assert_eq!(
            asked.pick(&twice, None).unwrap_err().kind,
            "ambiguous-release"
        );
        assert_eq!(floor(&twice, "1.0").unwrap(), 3);
        assert_eq!(floor(&twice, "2.0").unwrap_err().kind, "unknown-floor");
    }
}
