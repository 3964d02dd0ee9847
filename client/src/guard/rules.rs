//! What key material looks like, by what those who hand it out say of its form: a fixed beginning and
//! a length. Nothing that is merely called a password is a rule: what is refused must be worth it.

use regex::bytes::Regex;
use std::sync::LazyLock;

/// One form of key material.
#[derive(Debug)]
pub struct Rule {
    /// A stable word for it.
    pub id: &'static str,
    /// What it is, for a person.
    pub what: &'static str,
    /// Begins with a literal; the group is what must not be guessable.
    pattern: &'static str,
}

/// What comes between a PEM's first line and its body, also where it stands in a text as `\n`, and the
/// header lines that old forms have.
macro_rules! pem {
    ($label:literal) => {
        concat!(
            "-----BEGIN ",
            $label,
            r#"-----(?:\\{1,2}[nr]|[\s"'+,;>|]){0,24}(?:[A-Za-z-]{3,24}:[ -~]{0,90}(?:\\[nr]|\s){1,8}){0,4}([A-Za-z0-9+/=]{30})"#
        )
    };
}

/// An id that says nothing alone, and its secret nearby.
macro_rules! pair {
    ($id:literal) => {
        concat!(
            r"\b",
            $id,
            r"\b[\s\S]{0,160}?[^A-Za-z0-9+/]([A-Za-z0-9+/]{40})(?:[^A-Za-z0-9+/=]|\z)"
        )
    };
}

macro_rules! named {
    ($name:literal) => {
        concat!(
            r"\b",
            $name,
            r#"["'\s:=>]{1,12}([A-Za-z0-9+/]{40})(?:[^A-Za-z0-9+/=]|\z)"#
        )
    };
}

/// All of them.
pub static RULES: &[Rule] = &[
    Rule {
        id: "pem-private-key",
        what: "a private key (PEM)",
        pattern: pem!("(?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY"),
    },
    Rule {
        id: "pgp-private-key",
        what: "an OpenPGP private key",
        pattern: pem!("PGP PRIVATE KEY BLOCK"),
    },
    Rule {
        id: "putty-private-key",
        what: "a private key of PuTTY",
        pattern: r"Private-Lines: [0-9]{1,3}\r?\n([A-Za-z0-9+/=]{40})",
    },
    Rule {
        id: "age-secret-key",
        what: "a secret key of age",
        pattern: r"\bAGE-SECRET-KEY-1([0-9A-Z]{58})\b",
    },
    Rule {
        id: "minisign-secret-key",
        what: "a secret key of minisign",
        pattern: r"\bRWRTY0Iy([A-Za-z0-9+/]{180})",
    },
    Rule {
        id: "signify-secret-key",
        what: "a secret key of signify",
        pattern: r"\bRWRCSw([A-Za-z0-9+/]{128})",
    },
    Rule {
        id: "note-signer-key",
        what: "a log's or witness's signing key, as signed notes have it",
        pattern: r"PRIVATE\+KEY\+[^\s+]{1,200}\+[0-9a-f]{8}\+([A-Za-z0-9+/]{43}=)",
    },
    Rule {
        id: "gcs-hmac-key",
        what: "an HMAC key of Google Cloud Storage, with its secret",
        pattern: pair!("GOOG(?:1E[A-Z0-9]{55}|[A-Z0-9]{16,20})"),
    },
    Rule {
        id: "gcs-hmac-secret",
        what: "an HMAC secret of Google Cloud Storage",
        pattern: named!("gs_secret_access_key"),
    },
    Rule {
        id: "aws-access-key",
        what: "an access key of AWS or another S3 store, with its secret",
        pattern: pair!("A[KS]IA[A-Z2-7]{16}"),
    },
    Rule {
        id: "s3-secret-key",
        what: "a secret access key of AWS or another S3 store",
        pattern: named!(
            "(?:aws_secret_access_key|AWS_SECRET_ACCESS_KEY|[sS]ecretAccessKey|secret_access_key)"
        ),
    },
    Rule {
        id: "azure-storage-key",
        what: "an account key of Azure storage",
        pattern: r"\bAccountKey=([A-Za-z0-9+/]{86})==",
    },
    Rule {
        id: "azure-shared-key",
        what: "a shared access key of Azure",
        pattern: r"\bSharedAccessKey=([A-Za-z0-9+/]{43})=",
    },
    Rule {
        id: "github-token",
        what: "a token of GitHub",
        pattern: r"\bgh[pousr]_([A-Za-z0-9]{36})\b",
    },
    Rule {
        id: "github-fine-grained-token",
        what: "a token of GitHub",
        pattern: r"\bgithub_pat_([A-Za-z0-9]{22}_[A-Za-z0-9]{59})\b",
    },
    Rule {
        id: "gitlab-token",
        what: "a token of GitLab",
        pattern: r"\bgl(?:pat|dt|rt|ptt|soat)-([A-Za-z0-9_-]{20})",
    },
    Rule {
        id: "npm-token",
        what: "a token of npm",
        pattern: r"\bnpm_([A-Za-z0-9]{36})\b",
    },
    Rule {
        id: "pypi-token",
        what: "a token of PyPI",
        pattern: r"\bpypi-AgE([A-Za-z0-9_-]{60})",
    },
    Rule {
        id: "rubygems-token",
        what: "a token of RubyGems",
        pattern: r"\brubygems_([a-f0-9]{48})\b",
    },
    Rule {
        id: "docker-token",
        what: "a token of Docker Hub",
        pattern: r"\bdckr_pat_([A-Za-z0-9_-]{27})",
    },
    Rule {
        id: "slack-token",
        what: "a token of Slack",
        pattern: r"\bxox[abprs]-([0-9]{8,14}-[0-9A-Za-z-]{20})",
    },
    Rule {
        id: "stripe-key",
        what: "a live key of Stripe",
        pattern: r"\b[rs]k_live_([0-9A-Za-z]{24})",
    },
    Rule {
        id: "vault-token",
        what: "a token of Vault",
        pattern: r"\bhvs\.([A-Za-z0-9_-]{90})",
    },
    Rule {
        id: "digitalocean-token",
        what: "a token of DigitalOcean",
        pattern: r"\bdo[opr]_v1_([a-f0-9]{64})\b",
    },
];

/// The one rule that is about a whole file: bytes at its beginning.
pub static DER: Rule = Rule {
    id: "der-private-key",
    what: "a private key (DER)",
    pattern: "",
};

/// Whether `id` is a rule's.
#[must_use]
pub fn is_rule(id: &str) -> bool {
    id == DER.id || RULES.iter().any(|r| r.id == id)
}

/// More than any match is long.
pub const LONGEST: usize = 1024;

/// A piece of key material has more different bytes than this; what has fewer stands for one.
const DIFFERENT: usize = 10;

/// Each rule alone, beginning where it is asked; and all at once, to find where to ask.
pub(super) struct Compiled {
    pub(super) any: Option<Regex>,
    pub(super) each: Vec<(&'static Rule, Regex)>,
}

pub(super) static COMPILED: LazyLock<Compiled> = LazyLock::new(|| {
    let each = RULES
        .iter()
        .filter_map(|r| Some((r, Regex::new(&format!(r"(?-u)\A(?:{})", r.pattern)).ok()?)))
        .collect();
    let all: Vec<&str> = RULES.iter().map(|r| r.pattern).collect();
    Compiled {
        any: Regex::new(&format!("(?-u)(?:{})", all.join(")|(?:"))).ok(),
        each,
    }
});

/// Whether a match's group may be a secret, and no example of one.
pub(super) fn is_secret(group: &[u8]) -> bool {
    let mut seen = [false; 256];
    for byte in group {
        if let Some(seen) = seen.get_mut(usize::from(*byte)) {
            *seen = true;
        }
    }
    let different = seen.iter().filter(|s| **s).count();
    let example = group.windows(7).any(|w| w == b"EXAMPLE");
    different >= DIFFERENT && !example
}

/// Whether a file that begins so is a private key: PKCS#8 of P-256, P-384, RSA or Ed25519, SEC 1 of
/// P-256, PKCS#1.
pub(super) fn is_der_key(head: &[u8]) -> bool {
    let Some(after) = der_sequence(head) else {
        return false;
    };
    const BEGINS: [&[u8]; 5] = [
        // PKCS#8, version 0, then the algorithm.
        b"\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01",
        b"\x02\x01\x00\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01",
        b"\x02\x01\x00\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01",
        b"\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70",
        // SEC 1, version 1, a key of 32 bytes.
        b"\x02\x01\x01\x04\x20",
    ];
    // PKCS#1: version 0, then a modulus of two or more thousand bits.
    let pkcs1 = after.starts_with(b"\x02\x01\x00\x02\x82");
    pkcs1 || BEGINS.iter().any(|b| after.starts_with(b))
}

/// What is in a sequence that a file begins with.
fn der_sequence(head: &[u8]) -> Option<&[u8]> {
    let rest = head.strip_prefix(b"\x30")?;
    match rest.first()? {
        n if *n < 0x80 => rest.get(1..),
        0x81 => rest.get(2..),
        0x82 => rest.get(3..),
        _ => None,
    }
}
