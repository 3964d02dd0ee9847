//! SHA-256 over a stream, and HMAC with it, by aws-lc-rs.

use aws_lc_rs::digest::{Context, SHA256, digest};
use aws_lc_rs::hmac;

/// Hashes bytes as they come.
#[derive(Clone)]
pub struct Sha256Stream(Context);

impl Default for Sha256Stream {
    fn default() -> Self {
        Self::new()
    }
}

impl Sha256Stream {
    /// Nothing hashed yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes taken.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        fixed(self.0.finish().as_ref())
    }
}

/// SHA-256 of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    fixed(digest(&SHA256, bytes).as_ref())
}

/// HMAC-SHA256 (RFC 2104) of `message` under `key`.
#[must_use]
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    fixed(hmac::sign(&key, message).as_ref())
}

fn fixed(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    // SHA-256 has 32 bytes; a shorter output cannot occur.
    for (o, b) in out.iter_mut().zip(bytes) {
        *o = *b;
    }
    out
}
