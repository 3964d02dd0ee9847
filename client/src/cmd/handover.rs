//! Which environment variables `run` hands to what it runs.

use crate::fail::visible;
use crate::policy::glob;
use std::ffi::OsString;
use std::process::Command;

/// Secrets that open keys or speak for a pipeline.
const SECRETS: [&str; 3] = [
    "COUNTERSIGN_PASSPHRASE",
    "COUNTERSIGN_PIN",
    crate::oidc::TOKEN,
];

/// What is handed over, and what is not.
pub(crate) struct Handover {
    /// `None`: all of it, as for any program.
    handed: Option<Vec<(OsString, OsString)>>,
    /// Their names.
    pub(crate) names: Vec<String>,
    withheld: Vec<String>,
}

impl Handover {
    /// Of `variables`, those whose names one of `allowed` or `more` has, `*` standing for any run of
    /// characters. Where nothing lists any, all.
    pub(crate) fn choose(
        allowed: Option<&[String]>,
        more: &[String],
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Self {
        let limited = allowed.is_some() || !more.is_empty();
        let patterns = || allowed.unwrap_or_default().iter().chain(more);
        let (mut handed, mut names, mut withheld) = (Vec::new(), Vec::new(), Vec::new());
        let mut own = false;
        for (name, value) in variables {
            let shown = name.to_string_lossy().into_owned();
            // Ours, and of no use to what is run; only who names it hands it over.
            if SECRETS.contains(&shown.as_str()) && !patterns().any(|p| *p == shown) {
                withheld.push(shown);
                own = true;
                continue;
            }
            // What is no text is matched by no pattern but those that match anything.
            if !limited || patterns().any(|p| glob(p, &shown)) {
                names.push(shown);
                handed.push((name, value));
            } else {
                withheld.push(shown);
            }
        }
        names.sort();
        withheld.sort();
        Self {
            handed: (limited || own).then_some(handed),
            names,
            withheld,
        }
    }

    /// Makes it the environment of `command`.
    pub(crate) fn apply(&self, command: &mut Command) {
        if let Some(handed) = &self.handed {
            command.env_clear();
            command.envs(handed.iter().map(|(name, value)| (name, value)));
        }
    }

    /// What was withheld, for a person; names alone.
    pub(crate) fn line(&self) -> Option<String> {
        let names: Vec<String> = self.withheld.iter().map(|n| visible(n)).collect();
        (!names.is_empty()).then(|| format!("  withheld from it: {}", names.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::Handover;

    fn chosen(allowed: Option<&[&str]>, more: &[&str]) -> (Vec<String>, Option<String>, bool) {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let variables = ["PATH", "CI_JOB", "CI", "AWS_SECRET", "B\u{1b}[2J"];
        let variables = variables.iter().map(|n| (n.into(), "value".into()));
        let allowed = allowed.map(own);
        let chosen = Handover::choose(allowed.as_deref(), &own(more), variables);
        let line = chosen.line();
        (chosen.names, line, chosen.handed.is_some())
    }

    #[test]
    fn without_a_list_all_is_handed_over() {
        let (names, line, limited) = chosen(None, &[]);
        assert_eq!((names.len(), line, limited), (5, None, false));
    }

    #[test]
    fn with_a_list_the_rest_is_withheld_and_said() {
        let (names, line, limited) = chosen(Some(&["PATH", "CI_*"]), &[]);
        assert_eq!(
            (names, limited),
            (vec!["CI_JOB".into(), "PATH".into()], true)
        );
        let line = line.unwrap_or_default();
        assert!(line.contains("AWS_SECRET") && line.contains("CI"), "{line}");
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }

    #[test]
    fn what_opens_keys_is_handed_over_only_by_its_full_name() {
        let choose = |more: &[&str]| {
            let own = [
                "COUNTERSIGN_PASSPHRASE",
                "COUNTERSIGN_PIN",
                "COUNTERSIGN_ID_TOKEN",
                "CI",
            ];
            let variables = own.iter().map(|n| (n.into(), "value".into()));
            let more: Vec<String> = more.iter().map(|m| (*m).to_owned()).collect();
            Handover::choose(None, &more, variables).names
        };
        assert_eq!(choose(&[]), ["CI"]);
        assert_eq!(choose(&["*"]), ["CI"]);
        assert_eq!(choose(&["COUNTERSIGN_PIN"]), ["COUNTERSIGN_PIN"]);
    }

    #[test]
    fn an_empty_list_hands_nothing_over() {
        let (names, _, limited) = chosen(Some(&[]), &[]);
        assert_eq!((names.len(), limited), (0, true));
    }

    #[test]
    fn the_flag_adds_to_the_list_and_is_one_without_it() {
        assert_eq!(chosen(Some(&["PATH"]), &["CI"]).0, ["CI", "PATH"]);
        assert_eq!(chosen(None, &["CI"]).0, ["CI"]);
    }
}
