//! What the tokens of known platforms mean. The numbers, and which claim goes where, are those of
//! Sigstore's Fulcio, so that whoever reads its certificates reads these.

/// A platform whose tokens are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Profile {
    /// Its word in the configuration.
    pub name: &'static str,
    /// The issuer of its public service.
    pub url: &'static str,
    /// Where its projects are.
    pub server: &'static str,
    /// The name of an identity.
    pub san: &'static str,
    /// Last number of the OID, and the text; `{server}` is where the projects are.
    pub claims: &'static [(&'static str, &'static str)],
}

/// The name of a workflow (4) is left out: it is free text, and says nothing that a policy could
/// rest on.
const GITHUB: Profile = Profile {
    name: "github-actions",
    url: "https://token.actions.githubusercontent.com",
    server: "https://github.com",
    san: "{server}/{job_workflow_ref}",
    claims: &[
        ("2", "{event_name}"),
        ("3", "{sha}"),
        ("5", "{repository}"),
        ("6", "{ref}"),
        ("9", "{server}/{job_workflow_ref}"),
        ("10", "{job_workflow_sha}"),
        ("11", "{runner_environment}"),
        ("12", "{server}/{repository}"),
        ("13", "{sha}"),
        ("14", "{ref}"),
        ("15", "{repository_id}"),
        ("16", "{server}/{repository_owner}"),
        ("17", "{repository_owner_id}"),
        ("18", "{server}/{workflow_ref}"),
        ("19", "{workflow_sha}"),
        ("20", "{event_name}"),
        (
            "21",
            "{server}/{repository}/actions/runs/{run_id}/attempts/{run_attempt}",
        ),
        ("22", "{repository_visibility}"),
        ("23", "{environment}"),
    ],
};

/// Its `ci_config_ref_uri` begins with the host, and is absent where the pipeline is configured
/// elsewhere.
const GITLAB: Profile = Profile {
    name: "gitlab",
    url: "https://gitlab.com",
    server: "https://gitlab.com",
    san: "https://{ci_config_ref_uri}",
    claims: &[
        ("9", "https://{ci_config_ref_uri}"),
        ("10", "{ci_config_sha}"),
        ("11", "{runner_environment}"),
        ("12", "{server}/{project_path}"),
        ("13", "{sha}"),
        ("14", "{ref_path}"),
        ("15", "{project_id}"),
        ("16", "{server}/{namespace_path}"),
        ("17", "{namespace_id}"),
        ("18", "https://{ci_config_ref_uri}"),
        ("19", "{ci_config_sha}"),
        ("20", "{pipeline_source}"),
        ("21", "{server}/{project_path}/-/jobs/{job_id}"),
        ("22", "{project_visibility}"),
        ("23", "{environment}"),
    ],
};

/// All of them.
pub(super) const PROFILES: [Profile; 2] = [GITHUB, GITLAB];
