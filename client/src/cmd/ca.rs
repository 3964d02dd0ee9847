//! `countersign ca …`: an authority whose certificates may release for projects: a root that is
//! kept offline, and an issuer below it that the log's server, or a person, works with.

mod issue;
mod show;

use super::common::{PassphraseArgs, now, write_atomic};
use super::signing::{KEY, KeyParser, open};
use crate::fail::Fail;
use crate::when::time;
use clap::{Args, Subcommand};
use keys::certificate::{
    Anchor, CertificateError, Life, make_intermediate, make_root, read_certificates,
    write_certificate,
};
use keys::file::{AnySecret, Passphrase, write_secret};
use keys::{KeySource, PublicKey, SecretKey, Signer};
use ledger::hex32;
use serde_json::json;
use std::path::{Path, PathBuf};

/// The root's certificate, in an authority's directory.
pub(super) const ROOT: &str = "root.pem";
/// The issuer's, and its key.
pub(super) const ISSUER: &str = "issuer.pem";
const ISSUER_KEY: &str = "issuer.key";
const DAY: u64 = 86_400;
/// A certificate is valid a little before it is made: clocks differ.
pub(super) const BEFORE: u64 = 60;

/// The subcommands of `ca`.
#[derive(Debug, Subcommand)]
pub enum CaCommand {
    /// Found an authority: a root certificate of a key that is kept offline, and an issuer below it
    ///
    /// In DIR come root.pem, which projects list, and issuer.pem with issuer.key, which sign
    /// certificates: by `countersign-server serve --oidc-config`, or by `countersign ca issue`. The
    /// root's key stays where it is, and signs nothing but issuers.
    ///
    ///   countersign keys generate --out ca-root.key
    ///   countersign ca init --root-key ca-root.key --out ca --name "acme releases"
    #[command(verbatim_doc_comment)]
    Init(InitArgs),
    /// Issue a certificate by hand, for a key whose holder you know
    ///
    /// It is in no log by itself: what is signed with it is. The file has the whole chain, for
    /// `countersign publish --key KEY --certificate FILE`.
    ///
    ///   countersign ca issue --san https://ci.acme.example/release --issuer https://acme.example \
    ///     --key ca/issuer.key --public-key release.key --valid 10m --out release.pem
    #[command(verbatim_doc_comment)]
    Issue(issue::IssueArgs),
    /// Show what a certificate, a chain or an authority's directory says, and whether the path holds
    Show(show::ShowArgs),
    /// Put a new issuer in the old one's place; projects list the root, and notice nothing
    ///
    /// The old issuer's files are kept under its key's first digits. Where it was stolen, revoke it too:
    /// `countersign keys revoke authority:HASH` in every project, which voids what it signed.
    #[command(verbatim_doc_comment)]
    Rotate(RotateArgs),
}

/// Arguments of `ca init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The root's key; it is needed again for `ca rotate` only
    #[arg(long, value_name = KEY, value_parser = KeyParser)]
    root_key: KeySource,
    /// The authority's directory, which is made
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Its name, for people: letters, digits, spaces and .-_/
    #[arg(long, default_value = "countersign authority")]
    name: String,
    /// How long the root is valid
    #[arg(long, value_name = "DAYS", default_value_t = 3650)]
    days: u64,
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How an issuer's key is made and kept.
#[derive(Debug, Args)]
struct IssuerArgs {
    /// How long the issuer is valid
    #[arg(long, value_name = "DAYS", default_value_t = 365)]
    issuer_days: u64,
    /// Write the issuer's key without a passphrase: whoever reads the file can issue
    #[arg(long, conflicts_with = "issuer_passphrase_file")]
    unencrypted: bool,
    /// The issuer's key's passphrase: the first line of this file [default: as for the root's key]
    #[arg(long, value_name = "FILE")]
    issuer_passphrase_file: Option<PathBuf>,
}

/// Arguments of `ca rotate`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// The root's key
    #[arg(long, value_name = KEY, value_parser = KeyParser)]
    root_key: KeySource,
    /// The authority's directory
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `ca …`.
///
/// # Errors
/// Exit codes 1 and 2.
pub fn run(command: &CaCommand) -> Result<(), Fail> {
    match command {
        CaCommand::Init(args) => init(args),
        CaCommand::Issue(args) => issue::run(args),
        CaCommand::Show(args) => show::run(args),
        CaCommand::Rotate(args) => rotate(args),
    }
}

pub(super) fn bad(e: &CertificateError) -> Fail {
    Fail::usage(e.kind(), e.to_string())
}

fn pem(der: &[u8]) -> Result<String, Fail> {
    write_certificate(der).map_err(|e| bad(&e))
}

/// Reads the certificates of a file.
pub(super) fn read(path: &Path) -> Result<Vec<Vec<u8>>, Fail> {
    let bytes = std::fs::read(path)
        .map_err(|e| Fail::usage("unreadable", format!("{}: {e}", path.display())))?;
    read_certificates(&bytes).map_err(|e| bad(&e).detail("file", path.display().to_string()))
}

fn life(days: u64) -> Result<Life, Fail> {
    let from = now().saturating_sub(BEFORE);
    let most = 100 * 365;
    if !(1..=most).contains(&days) {
        return Err(Fail::usage(
            "bad-days",
            format!("{days} days, want 1 to {most}"),
        ));
    }
    Ok(Life {
        from,
        until: now().saturating_add(days.saturating_mul(DAY)),
    })
}

fn init(args: &InitArgs) -> Result<(), Fail> {
    let key = open(&args.root_key, &args.passphrase)?;
    let root = make_root(key.as_ref(), &args.name, life(args.days)?).map_err(|e| bad(&e))?;
    let anchor = Anchor::parse(&root).map_err(|e| bad(&e))?;
    std::fs::create_dir_all(&args.out)
        .map_err(|e| Fail::usage("unwritable", format!("{}: {e}", args.out.display())))?;
    let path = args.out.join(ROOT);
    if path.exists() {
        return Err(Fail::usage(
            "exists",
            format!("{} has an authority already", args.out.display()),
        )
        .hint("choose another directory, or `countersign ca rotate` for a new issuer"));
    }
    let own = &args.issuer;
    let issuer = issuer(
        key.as_ref(),
        &anchor,
        &args.out,
        (own, &args.passphrase, &args.root_key),
    )?;
    write_atomic(&path, pem(&root)?.as_bytes())?;
    said("founded", &args.out, &anchor, &issuer, args.json);
    if !args.json {
        eprintln!(
            "list it in a project by a file such as this one, with `countersign project init|update --authorities FILE`:\n\n[[authority]]\ncertificate = \"{}\"\n[[authority.identity]]\nissuer = \"https://token.actions.githubusercontent.com\"\nsan = \"https://github.com/OWNER/REPOSITORY/.github/workflows/release.yml@refs/tags/*\"\nclaims = {{ \"1.3.6.1.4.1.57264.1.12\" = \"https://github.com/OWNER/REPOSITORY\" }}\n",
            ROOT
        );
    }
    Ok(())
}

struct Issuer {
    key: PublicKey,
    until: u64,
}

/// Makes an issuer's key and certificate, and writes both.
fn issuer(
    root_key: &dyn Signer,
    root: &Anchor,
    dir: &Path,
    (args, passphrase, root_is): (&IssuerArgs, &PassphraseArgs, &KeySource),
) -> Result<Issuer, Fail> {
    let key = SecretKey::generate().map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    let public = key.public_key().clone();
    let id: String = public.id().to_string().chars().take(8).collect();
    let life = life(args.issuer_days)?;
    if life.until > root.validity().1 {
        return Err(Fail::usage(
            "root-ends-before",
            format!(
                "the root ends at {}, before the issuer would",
                time(root.validity().1)
            ),
        )
        .hint("give fewer --issuer-days, or found a new authority"));
    }
    let name = format!("issuer {id}");
    let certificate = make_intermediate(root_key, root, &public, &name, life);
    let certificate = certificate.map_err(|e| bad(&e))?;
    let source = match &args.issuer_passphrase_file {
        _ if args.unencrypted => Passphrase::None,
        Some(path) => Passphrase::File(path.clone()),
        // Whoever has the file could find out a PIN by trying.
        None if !matches!(root_is, KeySource::File(_)) && passphrase.passphrase_file.is_some() => {
            return Err(Fail::usage(
                "no-issuer-passphrase",
                "the root's PIN is no passphrase for the issuer's key file",
            )
            .hint("give --issuer-passphrase-file FILE, or --unencrypted"));
        }
        None => passphrase.source(),
    };
    write_secret(&dir.join(ISSUER_KEY), &AnySecret::P256(key), &source)
        .map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    write_atomic(&dir.join(ISSUER), pem(&certificate)?.as_bytes())?;
    Ok(Issuer {
        key: public,
        until: life.until,
    })
}

fn rotate(args: &RotateArgs) -> Result<(), Fail> {
    let dir = &args.ca;
    let key = open(&args.root_key, &args.passphrase)?;
    let root = super::authorities::read_anchor(&dir.join(ROOT))?;
    if root.key() != key.public_key() {
        return Err(Fail::usage(
            "other-root",
            "the key is not the one of this authority's root certificate",
        )
        .detail("expected", root.key().id().to_string())
        .detail("got", key.public_key().id().to_string()));
    }
    let old = super::authorities::read_anchor(&dir.join(ISSUER))?;
    // The new one is whole before the old one's names are given up.
    let fresh = tempfile::Builder::new()
        .prefix(".issuer-")
        .tempdir_in(dir)
        .map_err(|e| Fail::usage("unwritable", format!("{}: {e}", dir.display())))?;
    let new = issuer(
        key.as_ref(),
        &root,
        fresh.path(),
        (&args.issuer, &args.passphrase, &args.root_key),
    )?;
    let mark: String = hex32(&old.key_hash()).chars().take(16).collect();
    for name in [ISSUER, ISSUER_KEY] {
        let (at, kept) = (
            dir.join(name),
            dir.join(name.replace("issuer", &format!("issuer-{mark}"))),
        );
        let moved = match at.exists() {
            true => std::fs::rename(&at, &kept),
            false => Ok(()),
        };
        moved
            .and_then(|()| std::fs::rename(fresh.path().join(name), &at))
            .map_err(|e| Fail::usage("unwritable", format!("{}: {e}", at.display())))?;
    }
    said("rotated", dir, &root, &new, args.json);
    if !args.json {
        eprintln!(
            "the issuer before it is kept as issuer-{mark}.pem; if it was stolen, in every project that lists this authority:\n  countersign keys revoke authority:{} --compromised-since TIME …",
            hex32(&old.key_hash())
        );
    }
    Ok(())
}

fn said(what: &str, dir: &Path, root: &Anchor, issuer: &Issuer, as_json: bool) {
    let (authority, below) = (hex32(&root.key_hash()), issuer.key.id().to_string());
    if as_json {
        sayln!(
            "{}",
            json!({ "said": what, "authority": authority, "issuer": below, "directory": dir.display().to_string(),
                "rootUntil": root.validity().1, "issuerUntil": issuer.until })
        );
    } else {
        sayln!(
            "{what}: {}\n  authority {authority}, until {}\n  issuer    {below}, until {}",
            dir.display(),
            time(root.validity().1),
            time(issuer.until)
        );
    }
}
