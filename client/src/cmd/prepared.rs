//! A download of `get` or `run` on its way: the bundle first, then the bytes, then what is remembered.
//!
//! The bundle is verified first, against what it says of the artifact itself, so that the
//! size at which the download stops is a proven one and nothing is fetched that would be
//! refused anyway. The bytes are then verified as they came.

use super::address::{beside, last_segment};
use super::by_name::{Asked, floor};
use super::cached::Verified;
use super::common::{load_memory, load_policy, now, refused_to_fail, remember, state_path};
use super::complete::{Release, complete};
use super::get::FetchArgs;
use super::learn::learn_shown;
use super::receipts::Trusted;
use super::refresh::{released, take_up};
use super::verify::{parse_bundle, verdict_line};
use crate::fail::{Fail, visible};
use crate::fetch::Fetcher;
use crate::memory::{Memory, SeenCheckpoint, release_key};
use crate::place::Copied;
use crate::policy::{Policy, ProjectPolicy};
use crate::receipt::Command;
use crate::refused::{Refused, differ};
use crate::verify::{Artifact, Verdict, Wanted};
use ledger::Hash;
use ledger::bundle::{Bundle, MAX_BUNDLE_BYTES};
use ledger::leaf::Leaf;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A bundle that verifies, and all that is needed to fetch and judge the bytes it speaks of.
pub(crate) struct Prepared<'a> {
    args: &'a FetchArgs,
    /// The artifact's address.
    url: String,
    /// The version that it must be.
    version: Option<String>,
    fetcher: Fetcher,
    pub(crate) policy: Policy,
    pub(crate) project: ProjectPolicy,
    state: PathBuf,
    memory: Memory,
    bundle: Bundle,
    bundle_bytes: Vec<u8>,
    /// The artifact's name.
    pub(crate) name: String,
    /// Its released size in bytes.
    size: u64,
}

impl<'a> Prepared<'a> {
    /// Loads policy and memory, and fetches the bundle; nothing is verified.
    pub(crate) fn new(args: &'a FetchArgs) -> Result<Self, Fail> {
        let policy = load_policy(&args.policy)?;
        if !args.what.contains("://") {
            return Self::by_name(args, policy);
        }
        let name = match &args.name {
            Some(name) => name.clone(),
            None => last_segment(&args.what)?,
        };
        ledger::names::check_artifact_name(&name).map_err(|e| {
            Fail::usage("bad-artifact-name", e.to_string())
                .hint("give the name that the artifact was released under with --name")
        })?;
        let project = policy
            .select(args.project.as_deref(), &name)
            .map_err(|e| Fail::usage(e.kind(), e.to_string()))?
            .clone();
        let mut project = project;
        let state = state_path(&args.policy)?;
        let mut memory = load_memory(&state)?;
        let remembered = memory
            .releases
            .contains_key(&release_key(&project.id, &name));
        if args.version.is_none()
            && project.min_index.is_none()
            && project.min_version.is_none()
            && !remembered
        {
            return Err(Fail::usage("no-version-or-memory", format!("no version is named, and no release of {name:?} is remembered"))
                .detail("project", project.name.as_str())
                .hint("name the version with --version this first time, or set min-index or min-version in the policy: else an old release could be served to you unseen"));
        }
        let fetcher = Fetcher::new(args.ca_file.as_deref())?;
        let url = args
            .bundle_url
            .clone()
            .unwrap_or_else(|| beside(&args.what));
        let bundle_bytes = fetcher.get_bytes(&url, MAX_BUNDLE_BYTES)?;
        let bundle = parse_bundle(&bundle_bytes).map_err(|f| {
            let fail = f
                .detail("url", url)
                .detail("project", project.name.as_str());
            keep(args, &name, &bundle_bytes, None, fail)
        })?;
        if let (None, Some(version)) = (&args.version, project.min_version.clone()) {
            let all = complete(&fetcher, &policy, &project, (&state, &mut memory))?;
            let floor = floor(&all.releases(&project.id), &version)?;
            project.min_index = project.min_index.max(Some(floor));
        }
        Ok(Self {
            args,
            url: args.what.clone(),
            version: args.version.clone(),
            fetcher,
            policy,
            project,
            state,
            memory,
            bundle,
            bundle_bytes,
            name,
            size: 0,
        })
    }

    /// The same for what is asked for by name: release and artifact are found in the project's
    /// whole history, proven, and the bundle is the log's.
    fn by_name(args: &'a FetchArgs, policy: Policy) -> Result<Self, Fail> {
        let mut asked = Asked::parse(&args.what, &policy, args.project.as_deref())?;
        let twice = asked.says_version && args.version.is_some();
        if twice || args.name.is_some() || args.bundle_url.is_some() {
            return Err(Fail::usage(
                "contradictory-arguments",
                "what is asked for by name has its version and artifact in the name, and its bundle in the log",
            )
            .hint("leave out --name and --bundle-url, and name the version once"));
        }
        asked.version = asked.version.or_else(|| args.version.clone());
        let (project, latest) = (asked.project.clone(), asked.version.is_none());
        let state = state_path(&args.policy)?;
        let mut memory = load_memory(&state)?;
        let known = memory.logs.contains_key(&policy.log.origin)
            || policy.max_age_of(&project).is_some()
            || project.min_index.is_some()
            || project.min_version.is_some();
        if latest && !known {
            return Err(Fail::usage("no-version-or-memory", "no version is named, and nothing of the log is remembered")
                .detail("project", project.name.as_str())
                .hint("name the version this first time, or set max-age, min-index or min-version in the policy: else an old release could be served to you unseen"));
        }
        let fetcher = Fetcher::new(args.ca_file.as_deref())?;
        let all = complete(&fetcher, &policy, &project, (&state, &mut memory))?;
        let releases = all.releases(&project.id);
        let least = project.min_version.as_deref().filter(|_| latest);
        let least = least.map(|v| floor(&releases, v)).transpose()?;
        let (release, subject) = asked.pick(&releases, least.max(project.min_index))?;
        // It was seen, and does not stand any more: `pick` would have found it else.
        let seen = memory
            .releases
            .get(&release_key(&project.id, &subject.name));
        if let Some(seen) = seen.filter(|s| latest && s.index > release.index) {
            eprintln!(
                "warning: the latest {} that stands is older than version {} (entry {}), which was verified here before: that one was withdrawn, revoked or ended since",
                visible(&subject.name),
                visible(&seen.version),
                seen.index
            );
        }
        let url = subject.download_location.clone().ok_or_else(|| {
            Fail::usage(
                "no-download-location",
                "the release does not say where the artifact is",
            )
            .detail("artifact", subject.name.as_str())
            .hint("give the artifact's address")
        })?;
        // An http or https address, as for what is fetched by address.
        last_segment(&url)?;
        let (mut bundle_bytes, mut bundle) = from_log(&fetcher, &policy, release)?;
        // The log's begins at its last checkpoint. Since when the release is public is shown by the
        // one that was made then; what it lacks of the newest view it is given as any other.
        let certified = matches!(Leaf::parse(&bundle.entry.leaf), Ok(Leaf::Statement(s)) if s.envelope.chain.is_some());
        if (certified || policy.min_age_of(&project).is_some())
            && let Ok(bytes) = fetcher.get_bytes(&beside(&url), MAX_BUNDLE_BYTES)
            && let Ok(own) = Bundle::parse(&bytes)
            && (own.entry.index, &own.entry.leaf) == (bundle.entry.index, &bundle.entry.leaf)
        {
            (bundle_bytes, bundle) = (bytes, own);
        }
        Ok(Self {
            args,
            url,
            version: ledger::names::purl_version(&release.purl),
            fetcher,
            policy,
            project,
            state,
            memory,
            bundle,
            bundle_bytes,
            name: subject.name.clone(),
            size: 0,
        })
    }

    /// Asks the log what has become of the project since the bundle was made, verifies the
    /// bundle against what it says of the artifact, and that its log still shows the history that
    /// is remembered; the size is known after it.
    pub(crate) fn check_bundle(&mut self) -> Result<(), Fail> {
        let at = (self.state.as_path(), &mut self.memory);
        take_up(
            &self.fetcher,
            &self.policy,
            &self.project,
            at,
            &mut self.bundle,
        )
        .map_err(|f| f.detail("url", self.url.as_str()))?
        .warn();
        // Where the leaf cannot be read or lacks the name, the verifier says so.
        let (sha256, size) = released(&self.bundle, &self.name).unwrap_or(([0; 32], 0));
        self.size = size;
        let verdict = match self.judge(sha256, size) {
            Ok(verdict) => verdict,
            Err(refused) => {
                let at = (self.state.as_path(), &mut self.memory);
                // The refusal stands, whether the log can be asked about its history or not.
                let shown =
                    learn_shown(&self.fetcher, &self.policy, &self.project, at, &self.bundle);
                if let Err(other) = shown
                    && other.code == crate::fail::UNTRUSTED
                    && other.kind != refused.kind
                {
                    eprint!("warning: besides what is refused: {}", other.human());
                }
                return Err(refused);
            }
        };
        self.one_history(&verdict)
    }

    /// The log still shows the history that is remembered, and that the policy's floor is of.
    fn one_history(&self, verdict: &Verdict) -> Result<(), Fail> {
        let ours = super::history::Against {
            policy: &self.policy,
            state: &self.state,
        };
        let check = |seen: Option<&SeenCheckpoint>| {
            let (first, view) = (&self.bundle.first, &verdict.proven.checkpoint);
            super::history::check(&self.fetcher, ours, seen, first, view)
                .map_err(|f| f.detail("project", self.project.name.as_str()))
        };
        check(self.memory.logs.get(&self.policy.log.origin))?;
        match check(self.policy.log.floor().as_ref()) {
            Err(away) if away.code == crate::fail::UNCHECKED => {
                eprint!(
                    "warning: whether the log goes on from the policy's checkpoint-floor could not be asked: {}",
                    away.human()
                );
                Ok(())
            }
            Err(fail) => Err(fail.detail("remembered is", "the policy's checkpoint-floor")),
            Ok(()) => Ok(()),
        }
    }

    fn refused(&self, refused: &Refused) -> Fail {
        let ours = super::history::Against {
            policy: &self.policy,
            state: &self.state,
        };
        refused_to_fail(refused, ours, &self.project, &self.bundle).detail("url", self.url.as_str())
    }

    fn judge(&self, sha256: Hash, size: u64) -> Result<Verdict, Fail> {
        let wanted = Wanted {
            project: &self.project,
            version: self.version.as_deref(),
            no_rollback: true,
        };
        let artifact = Artifact {
            name: &self.name,
            sha256,
            size,
        };
        crate::verify::verify(
            &artifact,
            &wanted,
            &self.bundle,
            &self.policy,
            &self.memory,
            now(),
        )
        .map_err(|r| self.refused(&r))
    }

    /// Fetches the artifact by `fill`, which copies a reader up to a number of bytes.
    pub(crate) fn download(
        &self,
        fill: impl FnOnce(&mut crate::fetch::Download, u64) -> Result<Copied, Fail>,
    ) -> Result<Copied, Fail> {
        let (mut reader, _, from) = self.fetcher.stream(&self.url)?;
        fill(&mut reader, self.size).map_err(|f| f.detail("url", from))
    }

    /// Verifies the bytes that came, and remembers what was proven: where other processes have
    /// remembered something meanwhile, by that too.
    pub(crate) fn settle(&mut self, copied: &Copied) -> Result<Verdict, Fail> {
        loop {
            let verdict = self.check(copied)?;
            let proven = &verdict.proven;
            if remember(&self.state, &mut self.memory, &self.policy, proven)? {
                return Ok(verdict);
            }
            self.one_history(&verdict)?;
        }
    }

    /// Verifies the bytes that came.
    fn check(&self, copied: &Copied) -> Result<Verdict, Fail> {
        if copied.over {
            return Err(self.refused(&Refused::Size(differ(
                self.size,
                format!("more than {}", self.size),
            ))));
        }
        self.judge(copied.sha256, copied.size)
    }

    /// Writes a receipt of it, if one is wanted; `handed` are the variables that what is run gets.
    pub(crate) fn receipt(
        &self,
        command: Command,
        verdict: &Verdict,
        copied: &Copied,
        handed: Option<Vec<String>>,
    ) -> Result<(), Fail> {
        self.args.receipts.keep(&Trusted {
            command,
            policy: &self.policy,
            project: &self.project,
            verdict,
            sha256: copied.sha256,
            size: copied.size,
            url: Some(&self.url),
            environment: handed,
        })
    }

    /// Keeps the bundle for whoever verifies the file later, wherever it is then.
    pub(crate) fn cache(&self, verdict: &Verdict, copied: &Copied) {
        let verified = Verified {
            policy: &self.policy,
            project: &self.project,
            memory: &self.memory,
            artifact: Artifact {
                name: &self.name,
                sha256: copied.sha256,
                size: copied.size,
            },
            bundle: &self.bundle,
            verdict,
        };
        verified.keep(&self.args.cache, &self.state);
    }

    /// The verdict for a person.
    pub(crate) fn line(&self, verdict: &Verdict, file: &str) -> String {
        verdict_line(verdict, &self.policy, &self.project.name, file)
    }

    /// See [`keep`].
    pub(crate) fn keep(&self, artifact: Option<&Path>, fail: Fail) -> Fail {
        keep(self.args, &self.name, &self.bundle_bytes, artifact, fail)
    }
}

/// The bundle of a release, as the log or else a mirror gives it; nothing of it is verified but
/// that it is of that release.
fn from_log(
    fetcher: &Fetcher,
    policy: &Policy,
    release: &Release,
) -> Result<(Vec<u8>, Bundle), Fail> {
    let mut first: Option<Fail> = None;
    for url in policy.log.url.iter().chain(&policy.log.mirrors) {
        let url = url.trim_end_matches('/');
        let address = format!("{url}/api/v1/entries/{}/bundle", release.index);
        let answer = fetcher.get_bytes(&address, MAX_BUNDLE_BYTES);
        let fail = match answer.map(|bytes| (Bundle::parse(&bytes), bytes)) {
            Ok((Ok(bundle), bytes)) if bundle.entry.index == release.index => {
                return Ok((bytes, bundle));
            }
            Ok(_) => Fail::unchecked("bad-answer", "the log's answer is no bundle of the release")
                .detail("url", address)
                .hint("try again later; something else may be served there"),
            Err(fail) => fail,
        };
        first.get_or_insert(fail);
    }
    Err(first.unwrap_or_else(super::history::no_url))
}

/// Where it was asked for and the file is not to be trusted, keeps the bundle, the refused
/// artifact if there is one, and what was refused, from where and when; says where.
fn keep(args: &FetchArgs, name: &str, bundle: &[u8], artifact: Option<&Path>, fail: Fail) -> Fail {
    let Some(directory) = &args.save_refused else {
        return fail;
    };
    if fail.code != crate::fail::UNTRUSTED {
        return fail;
    }
    let kept = || -> std::io::Result<()> {
        std::fs::create_dir_all(directory)?;
        // Unix seconds in the name: evidence is never written over.
        let time = now();
        let at = |kind: &str| directory.join(format!("{name}.{time}.{kind}"));
        let mut report = fail.json();
        if let Some(fields) = report.as_object_mut() {
            fields.insert("time".into(), time.into());
            fields.insert("url".into(), args.what.as_str().into());
        }
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(at("json"))?
            .write_all(report.to_string().as_bytes())?;
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(at("bundle"))?
            .write_all(bundle)?;
        if let Some(from) = artifact {
            let mut to = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(at("refused"))?;
            std::io::copy(&mut std::fs::File::open(from)?, &mut to)?;
        }
        Ok(())
    };
    match kept() {
        Ok(()) => fail.detail("kept in", directory.display().to_string()),
        Err(e) => fail.detail("not kept", format!("{}: {e}", directory.display())),
    }
}
