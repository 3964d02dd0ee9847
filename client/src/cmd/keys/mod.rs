//! `countersign keys generate|show`.

mod inventory;

use super::common::{PassphraseArgs, read_key};
use crate::fail::Fail;
use ::keys::file::{AnySecret, Passphrase, write_secret};
use ::keys::{SecretKey, Signer as _};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;

/// The subcommands of `keys`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a P-256 key, encrypted unless you say otherwise
    Generate(GenerateArgs),
    /// Show the public half of a key file and its id
    Show(ShowArgs),
}

/// Arguments of `keys generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Where to write it; never overwritten
    #[arg(long, value_name = "KEY")]
    out: PathBuf,
    /// Write it without a passphrase: whoever reads the file can sign
    #[arg(long, conflicts_with = "passphrase_file")]
    unencrypted: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `keys show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The key file
    key: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `keys …`.
///
/// # Errors
/// Exit code 2.
pub fn run(command: &KeysCommand) -> Result<(), Fail> {
    match command {
        KeysCommand::Generate(args) => {
            let key = SecretKey::generate().map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
            let public = key.public_key().clone();
            let source = if args.unencrypted {
                Passphrase::None
            } else {
                args.passphrase.source()
            };
            write_secret(&args.out, &AnySecret::P256(key), &source)
                .map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
            show(&public, args.json);
            Ok(())
        }
        KeysCommand::Show(args) => {
            show(
                read_key(&args.key, &args.passphrase)?.public_key(),
                args.json,
            );
            Ok(())
        }
    }
}

fn show(key: &::keys::PublicKey, as_json: bool) {
    let (id, spki) = (key.id().to_string(), ledger::b64(key.spki_der()));
    if as_json {
        sayln!(
            "{}",
            json!({ "id": id, "algorithm": "ECDSA-P256-SHA256", "spki": spki })
        );
    } else {
        sayln!("id:   {id}\nspki: {spki}");
    }
}
