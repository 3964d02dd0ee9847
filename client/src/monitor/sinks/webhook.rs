//! A webhook, signed as the "Standard Webhooks" specification 1.0.0 says
//! (standardwebhooks.com): `webhook-id` names the message and is the same for every attempt,
//! `webhook-timestamp` is the time of the attempt, `webhook-signature` is `v1,` and the base64 of
//! HMAC-SHA256 over `ID.TIMESTAMP.BODY`. Whoever receives it can tell it from a forged one, from
//! an old one that is sent again, and from a second attempt.

use super::Message;
use crate::fail::Fail;
use crate::fetch::Fetcher;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::path::Path;

/// Bytes of the answer that are read.
const MAX_ANSWER: usize = 16 * 1024;
/// Bytes of a secret file at most.
const MAX_SECRET: u64 = 4096;

/// The key that a webhook's messages are authenticated with, 24 to 64 bytes.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// Reads `whsec_` and base64 from a file.
    ///
    /// # Errors
    /// Exit code 2.
    pub fn read(path: &Path) -> Result<Self, Fail> {
        let bad = |why: String| {
            Fail::usage("bad-webhook-secret", format!("{}: {why}", path.display())).hint(
                "it holds one line: whsec_ and the base64 of 24 to 64 random bytes, the same as at the receiver",
            )
        };
        let length = std::fs::metadata(path)
            .map_err(|e| bad(e.to_string()))?
            .len();
        if length > MAX_SECRET {
            return Err(bad("it is too long".into()));
        }
        let text = std::fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
        Self::parse(text.trim()).ok_or_else(|| bad("it is no webhook secret".into()))
    }

    /// Reads `whsec_` and base64.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let key = STANDARD.decode(text.strip_prefix("whsec_")?).ok()?;
        (24..=64).contains(&key.len()).then_some(Self(key))
    }

    /// The value of `webhook-signature`.
    #[must_use]
    pub fn sign(&self, id: &str, time: u64, body: &str) -> String {
        let tag = keys::hmac_sha256(&self.0, format!("{id}.{time}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    }
}

/// Where messages are posted to.
pub(super) struct Webhook {
    fetcher: Fetcher,
    url: String,
    secret: Secret,
}

impl Webhook {
    pub(super) fn new(fetcher: Fetcher, url: &str, secret: Secret) -> Self {
        let url = url.to_owned();
        Self {
            fetcher,
            url,
            secret,
        }
    }

    pub(super) fn send(&self, message: &Message, now: u64) -> Result<(), String> {
        let body = message.body.to_string();
        let signature = self.secret.sign(&message.id, now, &body);
        let time = now.to_string();
        let headers = [
            ("webhook-id", message.id.as_str()),
            ("webhook-timestamp", &time),
            ("webhook-signature", &signature),
        ];
        let sent = self
            .fetcher
            .post_with(&self.url, &headers, body.as_bytes(), MAX_ANSWER);
        match sent {
            Ok(status) if (200..300).contains(&status) => Ok(()),
            Ok(status) => Err(format!("{}: HTTP status {status}", self.url)),
            Err(fail) => Err(format!("{}: {}", self.url, fail.message)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// 24 bytes, 0 to 23.
    const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

    #[test]
    fn the_signature_is_what_another_implementation_computes() {
        // By Python 3's `hmac` over `message-1.1614265330.{"test":1}`.
        let signed =
            Secret::parse(SECRET)
                .unwrap()
                .sign("message-1", 1_614_265_330, "{\"test\":1}");
        assert_eq!(signed, "v1,6iePJXCO1mXevN2JruDTlm1XYMxHm6nLFQzPS3ZX7DQ=");
    }

    #[test]
    fn a_secret_is_read_strictly() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for (text, good) in [
            (format!("{SECRET}\n").as_str(), true),
            (SECRET.strip_prefix("whsec_").unwrap(), false),
            ("whsec_c2hvcnQ=", false),
            ("whsec_!", false),
            ("", false),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(Secret::read(&path).is_ok(), good, "{text:?}");
        }
        assert!(Secret::read(&dir.path().join("none")).is_err());
    }
}
