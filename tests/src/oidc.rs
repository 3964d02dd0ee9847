//! An OIDC provider on loopback, with keys of its own: tokens as platforms issue them, and any
//! others.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

pub mod load;

use crate::serving::Serving;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_server::oidc::config::IssuerSettings;
use countersign_server::oidc::template::Template;
use jsonwebtoken::Algorithm;
use keys::certificate::{
    Anchor, Life, make_intermediate, make_request, make_root, write_certificate,
};
use keys::file::{Passphrase, write_secret};
use keys::{SecretKey, Signer as _};
use ledger::b64;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What tests ask tokens for.
pub const AUDIENCE: &str = "log.example";

/// The clock, in Unix seconds.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// Base64url without padding.
#[must_use]
pub fn b64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

enum Kind {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

/// A provider's key.
pub struct TokenKey {
    /// Its identifier.
    pub kid: String,
    kind: Kind,
}

impl TokenKey {
    /// An RSA key of 2048 bits.
    #[must_use]
    pub fn rsa(kid: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        Self {
            kid: kid.into(),
            kind: Kind::Rsa(pair),
        }
    }

    /// A P-256 key.
    #[must_use]
    pub fn ec(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self {
            kid: kid.into(),
            kind: Kind::Ec(pair),
        }
    }

    /// RS256 or ES256.
    #[must_use]
    pub fn alg(&self) -> &'static str {
        match self.kind {
            Kind::Rsa(_) => "RS256",
            Kind::Ec(_) => "ES256",
        }
    }

    /// Its public half as providers publish it.
    #[must_use]
    pub fn jwk(&self) -> Value {
        match &self.kind {
            Kind::Rsa(pair) => {
                let public = pair.public_key();
                json!({
                    "alg": "RS256", "kty": "RSA", "use": "sig", "kid": self.kid,
                    "n": b64url(public.modulus().big_endian_without_leading_zero()),
                    "e": b64url(public.exponent().big_endian_without_leading_zero()),
                })
            }
            Kind::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({
                    "alg": "ES256", "kty": "EC", "crv": "P-256", "use": "sig", "kid": self.kid,
                    "x": b64url(&point[1..33]), "y": b64url(&point[33..]),
                })
            }
        }
    }

    /// Signs.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.kind {
            Kind::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Kind::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
        }
    }

    /// A token with these claims.
    #[must_use]
    pub fn token(&self, claims: &Value) -> String {
        let header = json!({ "alg": self.alg(), "kid": self.kid, "typ": "JWT" });
        self.token_of(&header.to_string(), &claims.to_string())
    }

    /// A token with this header and these claims, whatever they are.
    #[must_use]
    pub fn token_of(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", b64url(header), b64url(claims));
        let signature = b64url(self.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

/// The claims of a workflow of `acme/tool` on GitHub Actions.
#[must_use]
pub fn github(issuer: &str, now: u64) -> Value {
    let jti = SecretKey::generate().unwrap().public_key().id().to_string();
    json!({
        "jti": jti,
        "sub": "repo:acme/tool:ref:refs/tags/v1.0.0",
        "aud": AUDIENCE, "iss": issuer,
        "nbf": now - 300, "iat": now, "exp": now + 300,
        "ref": "refs/tags/v1.0.0", "ref_type": "tag", "ref_protected": "true",
        "sha": "1f9c0d7bbb8e7b8b7c3f1b6d3c7b5a1e2d4f6a80",
        "repository": "acme/tool", "repository_id": "74", "repository_visibility": "public",
        "repository_owner": "acme", "repository_owner_id": "65",
        "run_id": "30433642", "run_number": "17", "run_attempt": "1",
        "runner_environment": "github-hosted", "actor": "dev", "actor_id": "12",
        "workflow": "Release", "event_name": "push", "head_ref": "", "base_ref": "",
        "workflow_ref": "acme/tool/.github/workflows/release.yml@refs/tags/v1.0.0",
        "workflow_sha": "1f9c0d7bbb8e7b8b7c3f1b6d3c7b5a1e2d4f6a80",
        "job_workflow_ref": "acme/tool/.github/workflows/release.yml@refs/tags/v1.0.0",
        "job_workflow_sha": "1f9c0d7bbb8e7b8b7c3f1b6d3c7b5a1e2d4f6a80",
        "enterprise": "acme", "environment": "release",
    })
}

/// The claims of a job of `acme/tool` on a GitLab at `host`.
#[must_use]
pub fn gitlab(issuer: &str, host: &str, now: u64) -> Value {
    let jti = SecretKey::generate().unwrap().public_key().id().to_string();
    json!({
        "jti": jti, "iss": issuer, "aud": AUDIENCE,
        "sub": "project_path:acme/tool:ref_type:tag:ref:v1.0.0",
        "iat": now, "nbf": now - 5, "exp": now + 3600,
        "namespace_id": "72", "namespace_path": "acme",
        "project_id": "20", "project_path": "acme/tool", "project_visibility": "public",
        "user_id": "1", "user_login": "dev", "user_email": "dev@acme.example",
        "pipeline_id": "574", "pipeline_source": "push", "job_id": "302",
        "ref": "v1.0.0", "ref_type": "tag", "ref_path": "refs/tags/v1.0.0", "ref_protected": "true",
        "runner_id": 1, "runner_environment": "gitlab-hosted",
        "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
        "ci_config_ref_uri": format!("{host}/acme/tool//.gitlab-ci.yml@refs/tags/v1.0.0"),
        "ci_config_sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
    })
}

/// A provider: discovery and keys, over plain HTTP on loopback.
pub struct Provider {
    /// What it serves, and its URL.
    pub serving: Serving,
    /// Its RS256 key.
    pub rsa: TokenKey,
    /// Its ES256 key.
    pub ec: TokenKey,
}

/// Where the discovery document is.
pub const DISCOVERY: &str = "/.well-known/openid-configuration";
/// Where this provider's keys are.
pub const KEYS: &str = "/keys";

impl Provider {
    /// Starts, with two keys.
    #[must_use]
    pub fn start() -> Self {
        let provider = Self {
            serving: Serving::start(),
            rsa: TokenKey::rsa("rsa-1"),
            ec: TokenKey::ec("ec-1"),
        };
        let url = provider.url();
        let document = json!({ "issuer": url, "jwks_uri": format!("{url}{KEYS}") });
        provider.serving.put(DISCOVERY, document.to_string());
        provider.publish(&[&provider.rsa, &provider.ec]);
        provider
    }

    /// Its URL, which is the issuer of its tokens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.serving.url
    }

    /// Publishes these keys in the place of the earlier ones.
    pub fn publish(&self, keys: &[&TokenKey]) {
        let keys: Vec<Value> = keys.iter().map(|k| k.jwk()).collect();
        self.serving.put(KEYS, json!({ "keys": keys }).to_string());
    }
}

/// An authority of a test: a root, and an intermediate that the log issues by.
pub struct TestAuthority {
    /// The root's certificate.
    pub root: Anchor,
    /// The root's key.
    pub root_key: SecretKey,
}

const DAY: u64 = 86_400;

/// Makes an authority; its intermediate's key and certificate are `ca.key` and `ca.pem` in `dir`.
#[must_use]
pub fn authority(dir: &Path) -> TestAuthority {
    let (root_key, between) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let life = Life {
        from: now() - DAY,
        until: now() + 365 * DAY,
    };
    let root = make_root(&root_key, "acme root", life).unwrap();
    let root = Anchor::parse(&root).unwrap();
    let own = make_intermediate(&root_key, &root, between.public_key(), "acme ci", life).unwrap();
    std::fs::write(dir.join("ca.pem"), write_certificate(&own).unwrap()).unwrap();
    let key = keys::file::AnySecret::P256(between);
    write_secret(&dir.join("ca.key"), &key, &Passphrase::None).unwrap();
    TestAuthority { root, root_key }
}

/// Writes `oidc.toml` in `dir`: the authority there, and these issuers, as TOML.
#[must_use]
pub fn config(dir: &Path, issuers: &str) -> PathBuf {
    let path = dir.join("oidc.toml");
    let text = format!("[ca]\nkey = \"ca.key\"\nchain = [\"ca.pem\"]\n\n{issuers}");
    std::fs::write(&path, text).unwrap();
    path
}

/// An `[[issuer]]` of that URL and profile, with more lines.
#[must_use]
pub fn issuer(url: &str, profile: &str, more: &str) -> String {
    format!(
        "[[issuer]]\nprofile = \"{profile}\"\nurl = \"{url}\"\naudience = \"{AUDIENCE}\"\n{more}\n"
    )
}

/// The body of a request for a certificate for `key`.
#[must_use]
pub fn body(token: &str, key: &SecretKey) -> String {
    let request = make_request(key).unwrap();
    json!({ "request": b64(&request), "token": token }).to_string()
}

/// The settings for the tokens of the test vector.
#[must_use]
pub fn vector_settings(url: &str) -> IssuerSettings {
    let template = |text: &str| Template::parse(text).unwrap();
    let claims = [
        ("1.3.6.1.4.1.57264.1.12", "https://github.com/{repository}"),
        ("1.3.6.1.4.1.57264.1.13", "{sha}"),
    ];
    let claims = claims.map(|(oid, text)| (oid.to_owned(), template(text)));
    IssuerSettings {
        url: url.to_owned(),
        audience: AUDIENCE.to_owned(),
        ca_file: None,
        algorithms: vec![Algorithm::RS256, Algorithm::ES256],
        skew: 60,
        life: 7200,
        refresh: Duration::from_secs(600),
        keep: Duration::from_secs(6000),
        san: template("https://github.com/{job_workflow_ref}"),
        within: "https://github.com/".to_owned(),
        claims: claims.into(),
        require: BTreeMap::new(),
    }
}
