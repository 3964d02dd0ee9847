//! A certificate for a key that lives for one command: the platform's token, and the log's issuer.
//!
//! The token is asked for where the platform says (GitHub Actions), taken from the variable that
//! the pipeline names (GitLab and others), or read from a file. It goes to the issuer over the same
//! HTTPS as everything else, and nowhere else; the key never leaves this process.

use crate::cmd::address::percent_encoded;
use crate::cmd::sign::problem;
use crate::fail::Fail;
use crate::fetch::Fetcher;
use keys::certificate::{CertificateChain, make_request};
use keys::{SecretKey, Signer as _};
use ledger::{b64, from_b64};
use serde_json::{Value, json};
use std::path::Path;

/// Largest token in bytes, and largest answer.
const MAX_TOKEN: usize = 16 * 1024;
const MAX_ANSWER: usize = 64 * 1024;
/// The variable in which a pipeline hands its token over.
pub(crate) const TOKEN: &str = "COUNTERSIGN_ID_TOKEN";
/// GitHub Actions says in these where a token is asked for, and with what.
const GITHUB_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const GITHUB_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

/// A key in memory with its certificate. The key is gone when this is.
pub(crate) struct Ephemeral {
    pub(crate) key: SecretKey,
    pub(crate) chain: CertificateChain,
    /// Where the certificate was logged.
    pub(crate) index: u64,
}

/// Makes a key, and has the issuer at `log` certify it for whomever the platform's token is of.
/// `file` has the token; else the platform is asked for one for `audience`.
///
/// # Errors
/// Exit code 1 where the issuer refuses, 2 where there is no token, 3 where somebody cannot be asked.
pub(crate) fn certify(
    fetcher: &Fetcher,
    log: &str,
    (file, audience): (Option<&Path>, &str),
) -> Result<Ephemeral, Fail> {
    let token = token(fetcher, file, audience)?;
    let key = SecretKey::generate().map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    let request = make_request(&key).map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    let body = json!({ "request": b64(&request), "token": token.trim() });
    let body = ledger::json::to_canonical(&body);
    let body = body.map_err(|e| Fail::usage("encoding", e.to_string()))?;
    let url = format!("{log}/api/v1/certificates");
    let (status, answer) = fetcher.post_secret(&url, &body, MAX_ANSWER)?;
    if status != 200 {
        return Err(refused(status, &answer, &url));
    }
    let (chain, index) = read(&answer).map_err(|why| {
        Fail::unchecked("bad-answer", format!("the issuer's answer: {why}")).detail("url", &*url)
    })?;
    if chain.end().key != *key.public_key() {
        return Err(Fail::untrusted(
            "other-key",
            "the issuer's certificate is for another key than was asked for",
        )
        .detail("url", url)
        .hint("do not use this log's issuer; tell its operator"));
    }
    Ok(Ephemeral { key, chain, index })
}

fn refused(status: u16, answer: &[u8], url: &str) -> Fail {
    if status == 404 {
        return Fail::usage("no-issuer", "this log issues no certificates")
            .detail("url", url)
            .hint("ask its operator (`countersign-server serve --oidc-config`), or publish with a release key");
    }
    problem(status, answer, url)
}

fn read(answer: &[u8]) -> Result<(CertificateChain, u64), String> {
    let value = ledger::json::parse(answer).map_err(|e| e.to_string())?;
    let list = value.get("chain").and_then(Value::as_array);
    let list = list.ok_or("it has no chain")?;
    let ders: Option<Vec<Vec<u8>>> = list.iter().map(|v| from_b64(v.as_str()?)).collect();
    let ders = ders.ok_or("its chain is no list of base64")?;
    let chain = CertificateChain::parse(&ders).map_err(|e| e.to_string())?;
    let index = value.get("index").and_then(Value::as_u64);
    Ok((
        chain,
        index.ok_or("it does not say where the certificate is logged")?,
    ))
}

/// The platform's token for `audience`.
fn token(fetcher: &Fetcher, file: Option<&Path>, audience: &str) -> Result<String, Fail> {
    let token = match file {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|e| Fail::usage("unreadable", format!("{}: {e}", path.display())))?,
        None => match variable(TOKEN) {
            Some(token) => token,
            None => asked(fetcher, audience)?,
        },
    };
    let token = token.trim();
    let shaped = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    if token.is_empty() || token.len() > MAX_TOKEN || !token.bytes().all(shaped) {
        return Err(
            Fail::usage("bad-token", "what was given as a token is none")
                .hint("an OIDC token is three base64url parts between dots, at most 16 KiB"),
        );
    }
    Ok(token.to_owned())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

/// Asks GitHub Actions, which needs `permissions: id-token: write`.
fn asked(fetcher: &Fetcher, audience: &str) -> Result<String, Fail> {
    let (Some(url), Some(bearer)) = (variable(GITHUB_URL), variable(GITHUB_TOKEN)) else {
        return Err(Fail::usage("no-token", "there is no OIDC token")
            .hint(format!(
                "GitHub Actions: give the job `permissions: id-token: write`. GitLab: `id_tokens: {{ {TOKEN}: {{ aud: {audience} }} }}`. Elsewhere: --token-file FILE"
            )));
    };
    let join = if url.contains('?') { '&' } else { '?' };
    let address = format!("{url}{join}audience={}", percent_encoded(audience, ""));
    let bytes = fetcher.get_secret(&address, &bearer, MAX_ANSWER)?;
    let value: Value = ledger::json::parse(&bytes)
        .map_err(|e| Fail::unchecked("bad-answer", format!("the platform's answer: {e}")))?;
    let token = value.get("value").and_then(Value::as_str);
    let none = || Fail::unchecked("bad-answer", "the platform's answer has no token");
    token.map(str::to_owned).ok_or_else(none)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_answer_without_a_chain_or_a_place_is_none() {
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"chain":[]}"#,
            r#"{"chain":["x"],"index":1}"#,
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_file_holds_a_token() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let fetcher = Fetcher::new(None).unwrap();
        let ask = |text: &str| {
            std::fs::write(&path, text).unwrap();
            token(&fetcher, Some(&path), "x").map_err(|f| f.kind)
        };
        assert_eq!(ask("a.b-_9.c\n").unwrap(), "a.b-_9.c");
        let long = "a".repeat(MAX_TOKEN + 1);
        for bad in ["", "\n", "a b", "a.b\u{1b}", &long] {
            assert_eq!(ask(bad).unwrap_err(), "bad-token");
        }
        let gone = token(&fetcher, Some(&dir.path().join("none")), "x");
        assert_eq!(gone.unwrap_err().kind, "unreadable");
    }
}
