//! The command line: what `countersign --help` teaches, and the exit codes.

use crate::cmd;
use crate::fail::{Fail, USAGE};
use clap::{CommandFactory as _, Parser, Subcommand};
use std::ffi::OsString;

/// Publish, download and run releases that stand in a transparency log.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, about, long_about = None,
    after_help = "Exit codes: 0 verified; 1 not to be trusted; 2 usage, configuration or policy; 3 could not be checked.\n`run` passes the program's own code through; its refusals are 121, 122 and 123.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make keys, and keep the inventory of a project's keys: list, audit, rotate, revoke
    #[command(subcommand)]
    Keys(cmd::keys::KeysCommand),
    /// Found and run a certificate authority, so that pipelines need no key that is kept
    #[command(subcommand)]
    Ca(cmd::ca::CaCommand),
    /// Found a project in a log, and see what became of it
    #[command(subcommand)]
    Project(cmd::project::ProjectCommand),
    /// Sign artifacts, put them into the log, write the bundles to ship beside them
    Publish(cmd::publish::PublishArgs),
    /// Take a release back, or end the life of all under a purl prefix
    Withdraw(cmd::withdraw::WithdrawArgs),
    /// Add signatures to a prepared statement
    Sign(cmd::sign::SignArgs),
    /// Send a signed statement to the log
    Submit(cmd::sign::SubmitArgs),
    /// Make a policy from a trust string, and read policies
    #[command(subcommand)]
    Trust(cmd::trust::TrustCommand),
    /// Read evidence that a log signed two histories, offline
    #[command(subcommand)]
    Evidence(cmd::evidence::EvidenceCommand),
    /// Verify files that are here, offline
    Verify(cmd::verify::VerifyArgs),
    /// Give bundles the newest view: what was revoked and withdrawn since they were made
    Refresh(cmd::refresh::RefreshArgs),
    /// List a project's releases, proven complete
    Releases(cmd::releases::ReleasesArgs),
    /// Download an artifact; it appears at its place only once it is verified
    Get(cmd::get::GetArgs),
    /// Download, verify, and only then run: the replacement for `curl | bash`
    Run(cmd::run::RunArgs),
    /// Check all of a log: every tile, root, signature and statement, and that it has one history
    ///
    /// It reads every entry: each tile of hashes must follow from them, the root must be the one
    /// that the log and enough witnesses signed, and every checkpoint that was seen before must be
    /// of the same tree. Of a countersign log it verifies every statement's signatures, whether
    /// its keys could say that, and every ledger head.
    ///
    /// With --state it goes on from where it was, also after it was killed, and remembers what the
    /// log has signed: run it every hour and only what is new is read. Two histories are kept as
    /// evidence there. With --mirror it keeps a copy to serve, or to audit again with --tiles.
    ///
    ///   countersign audit --log https://log.example --policy policy.toml --state audit
    ///
    /// Exit code 0: sound. 1: not sound: what is wrong is listed by kind and place. 2: wrong usage,
    /// or its own files cannot be used. 3: the log could not be read, or answered with less than it
    /// did before: no verdict.
    #[command(verbatim_doc_comment)]
    Audit(cmd::audit::AuditArgs),
    /// Read and check any tlog-tiles log
    #[command(subcommand)]
    Log(cmd::log::LogCommand),
    /// Follow logs, watch what is served, and tell people of what they did not expect
    Monitor(cmd::monitor::MonitorArgs),
    /// Say which runs trusted what was later made void or withdrawn
    ///
    /// It holds receipts against what the log says now: the project's whole history, proven. Of
    /// each run it says why what it trusted is not to be trusted, since when and until when that
    /// went unnoticed, what the run exposed, and what to do next.
    ///
    ///   countersign affected --receipts ci/*.jsonl --policy policy.toml
    ///
    /// Receipts are written by verify, get and run with --receipts FILE, or where the policy has
    /// receipts.file. Exit code 0: nothing that was trusted is void or withdrawn. 1: something is.
    /// 2: wrong usage. 3: the log could not be asked, or receipts could not be judged.
    #[command(verbatim_doc_comment)]
    Affected(cmd::affected::AffectedArgs),
    /// Find files that are withdrawn, void, or pass for a project's and are not
    ///
    /// For those who have no receipts: it looks through directories, archives (tar, zip, gzip, zstd)
    /// and images (an OCI layout, or what `docker save` writes: every layer, also what a later
    /// one deletes) for files whose digest is of a release that does not stand, or whose name is one of
    /// a project's artifacts and whose digest is of none of its releases.
    ///
    ///   countersign scan /opt ci-image.tar --policy policy.toml
    ///
    /// Links are not followed, and nothing is unpacked to the disk. Exit code 0: nothing was found. 1:
    /// something was. 2: wrong usage. 3: something could not be read or looked into, or the log not
    /// asked; each is listed.
    #[command(verbatim_doc_comment)]
    Scan(cmd::scan::ScanArgs),
    /// Write an incident report that a stranger can verify, and verify one
    #[command(subcommand)]
    Incident(cmd::incident::IncidentCommand),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Runs the command line `args` (program name first) and returns the exit code.
pub fn main_from(args: impl IntoIterator<Item = OsString>) -> i32 {
    let args: Vec<OsString> = args.into_iter().collect();
    // `run` has codes of its own, also for arguments that it does not understand.
    let refusals = if args.get(1).is_some_and(|a| a == "run") {
        120
    } else {
        0
    };
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            return if e.use_stderr() {
                refusals + i32::from(USAGE)
            } else {
                0
            };
        }
    };
    // No option takes `--json` as its value, so where it stands it is the flag.
    let json = args
        .iter()
        .take_while(|a| *a != "--")
        .any(|a| a == "--json");
    let form = match &cli.command {
        _ if !json => Form::Human,
        Command::Get(a) if a.to_stdout() => Form::JsonOnStderr,
        _ => Form::Json,
    };
    let outcome = match &cli.command {
        Command::Keys(c) => cmd::keys::run(c),
        Command::Ca(c) => cmd::ca::run(c),
        Command::Project(c) => cmd::project::run(c),
        Command::Publish(a) => cmd::publish::run(a),
        Command::Withdraw(a) => cmd::withdraw::run(a),
        Command::Sign(a) => cmd::sign::sign(a),
        Command::Submit(a) => cmd::sign::submit(a),
        Command::Trust(c) => cmd::trust::run(c),
        Command::Evidence(c) => cmd::evidence::run(c),
        Command::Verify(a) => cmd::verify::run(a),
        Command::Refresh(a) => cmd::refresh::run(a),
        Command::Releases(a) => cmd::releases::run(a),
        Command::Get(a) => cmd::get::run(a),
        Command::Audit(a) => cmd::audit::run(a),
        Command::Log(c) => cmd::log::run(c),
        Command::Affected(a) => cmd::affected::run(a),
        Command::Scan(a) => cmd::scan::run(a),
        Command::Incident(c) => cmd::incident::run(c),
        // Its codes say how grave the gravest alert is.
        Command::Monitor(a) => match cmd::monitor::run(a) {
            Ok(code) => return i32::from(code),
            Err(fail) => Err(fail),
        },
        Command::Run(a) => {
            return match cmd::run::run(a) {
                Ok(code) => code,
                Err(fail) => {
                    show(&fail, form);
                    refusals + i32::from(fail.code)
                }
            };
        }
        Command::Completions { shell } => {
            clap_complete::generate(
                *shell,
                &mut Cli::command(),
                "countersign",
                &mut std::io::stdout(),
            );
            Ok(())
        }
    };
    match outcome {
        Ok(()) => 0,
        Err(fail) => {
            show(&fail, form);
            i32::from(fail.code)
        }
    }
}

/// How a failure is shown.
#[derive(Clone, Copy)]
enum Form {
    Human,
    Json,
    /// Where standard output is for the artifact alone.
    JsonOnStderr,
}

fn show(fail: &Fail, form: Form) {
    // An empty message was shown already, where it arose.
    if fail.message.is_empty() {
        return;
    }
    match form {
        Form::Human => eprint!("{}", fail.human()),
        Form::Json => sayln!("{}", fail.json()),
        Form::JsonOnStderr => eprintln!("{}", fail.json()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(args: &[&str]) -> i32 {
        main_from(args.iter().map(OsString::from))
    }

    #[test]
    fn wrong_usage_is_2_and_of_run_122() {
        assert_eq!(code(&["countersign", "verify"]), 2);
        assert_eq!(code(&["countersign", "get", "--nonsense"]), 2);
        assert_eq!(code(&["countersign", "run"]), 122);
        assert_eq!(code(&["countersign", "run", "--nonsense"]), 122);
        assert_eq!(code(&["countersign", "run", "--help"]), 0);
        assert_eq!(
            code(&["countersign", "run", "not-an-address", "--version", "1"]),
            122
        );
    }

    #[test]
    fn repeated_and_contradictory_arguments_are_errors() {
        let twice = ["--policy", "a", "--policy", "a"];
        assert_eq!(
            code(&[&["countersign", "verify", "f"], &twice[..]].concat()),
            2
        );
        let both = ["--unencrypted", "--passphrase-file", "p", "--out", "k"];
        assert_eq!(
            code(&[&["countersign", "keys", "generate"], &both[..]].concat()),
            2
        );
    }

    #[test]
    fn the_definition_of_the_arguments_holds() {
        Cli::command().debug_assert();
    }
}
