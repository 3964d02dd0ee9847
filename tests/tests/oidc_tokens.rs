//! Tokens and issuers' keys: everything that is refused, each beside what passes.
#![allow(clippy::unwrap_used)]

use countersign_server::oidc::config::{IssuerSettings, Settings};
use countersign_server::oidc::error::OidcError;
use countersign_server::oidc::fetch::Fetch;
use countersign_server::oidc::issuer::{Issuer, PAUSE};
use countersign_server::oidc::jwks::{KeySet, MAX_KEYS};
use countersign_server::oidc::token::{MAX_TOKEN, Token};
use countersign_server::oidc::used::Used;
use countersign_server::oidc::{Oidc, Outcome};
use countersign_tests::oidc::{
    AUDIENCE, TokenKey, authority, b64url, body, config, github, gitlab, issuer,
};
use keys::SecretKey;
use ledger::b64;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

const URL: &str = "https://token.actions.githubusercontent.com";
const NOW: u64 = 1_790_000_000;

static RSA: LazyLock<TokenKey> = LazyLock::new(|| TokenKey::rsa("rsa-1"));
static EC: LazyLock<TokenKey> = LazyLock::new(|| TokenKey::ec("ec-1"));

fn settings(more: &str) -> (tempfile::TempDir, Settings) {
    let dir = tempfile::tempdir().unwrap();
    let _ = authority(dir.path());
    let path = config(dir.path(), &issuer(URL, "github-actions", more));
    let settings = Settings::read(&path).unwrap();
    (dir, settings)
}

fn github_settings(more: &str) -> IssuerSettings {
    settings(more).1.issuers.remove(0)
}

fn keys() -> KeySet {
    let set = json!({ "keys": [RSA.jwk(), EC.jwk()] });
    KeySet::parse(set.to_string().as_bytes()).unwrap()
}

/// What becomes of a token: a word.
fn judged(token: &str, settings: &IssuerSettings) -> &'static str {
    let judge = || {
        let token = Token::parse(token)?;
        if token.issuer() != settings.url {
            return Err(OidcError::Issuer(token.issuer().to_owned()));
        }
        let keys = keys();
        let key = keys.get(token.kid()).map_err(|why| OidcError::Key {
            kid: token.kid().to_owned(),
            why,
        })?;
        token.times(settings, NOW)?;
        token.verify(settings, key)
    };
    judge().map_or_else(|e| e.kind(), |()| "good")
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = github(URL, NOW);
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = github(URL, NOW);
    claims.as_object_mut().unwrap().remove(name);
    claims
}

#[test]
fn tokens_of_both_algorithms_pass() {
    let s = github_settings("");
    for key in [&*RSA, &*EC] {
        assert_eq!(judged(&key.token(&github(URL, NOW)), &s), "good");
    }
    // An audience among others.
    let many = with("aud", json!(["other", AUDIENCE]));
    assert_eq!(judged(&RSA.token(&many), &s), "good");
    assert_eq!(judged(&RSA.token(&without("nbf")), &s), "good");
}

#[test]
fn what_is_not_signed_by_the_issuer_s_key_is_refused() {
    let s = github_settings("");
    let claims = github(URL, NOW).to_string();
    let good = RSA.token(&github(URL, NOW));
    let header = |alg: &str, kid: &str| json!({ "alg": alg, "kid": kid }).to_string();
    // Nobody's.
    for none in ["none", "None", "NONE", "nOnE"] {
        let token = format!("{}.{}.", b64url(header(none, "rsa-1")), b64url(&claims));
        assert_eq!(judged(&token, &s), "token-algorithm", "{none}");
    }
    let unsigned = good.rsplit_once('.').unwrap().0.to_owned() + ".";
    assert_eq!(judged(&unsigned, &s), "bad-token");
    // By the public key as a secret, in the spellings that it has.
    let modulus = RSA.jwk()["n"].as_str().unwrap().to_owned();
    for secret in [modulus.as_bytes(), RSA.jwk().to_string().as_bytes()] {
        let signed = format!("{}.{}", b64url(header("HS256", "rsa-1")), b64url(&claims));
        let mac = keys::hmac_sha256(secret, signed.as_bytes());
        let token = format!("{signed}.{}", b64url(mac));
        assert_eq!(judged(&token, &s), "token-algorithm");
    }
    for other in ["HS384", "RS384", "PS256", "ES384", "EdDSA", "", "rs256"] {
        let token = RSA.token_of(&header(other, "rsa-1"), &claims);
        assert_eq!(judged(&token, &s), "token-algorithm", "{other}");
    }
    // Under the other key's name, whose algorithm is another.
    let confused = RSA.token_of(&header("RS256", "ec-1"), &claims);
    assert_eq!(judged(&confused, &s), "token-algorithm");
    let confused = EC.token_of(&header("ES256", "rsa-1"), &claims);
    assert_eq!(judged(&confused, &s), "token-algorithm");
    // By a stranger's key under a known name.
    for stranger in [TokenKey::rsa("rsa-1"), TokenKey::ec("ec-1")] {
        let token = stranger.token(&github(URL, NOW));
        assert_eq!(judged(&token, &s), "bad-token-signature");
    }
    // The signature of other claims.
    let signature = good.rsplit_once('.').unwrap().1;
    let mut other = github(URL, NOW);
    other["repository"] = "evil/tool".into();
    let head = good.split('.').next().unwrap();
    let token = format!("{head}.{}.{signature}", b64url(other.to_string()));
    assert_eq!(judged(&token, &s), "bad-token-signature");
    // An algorithm that the operator left out.
    let only = github_settings("algorithms = [\"ES256\"]");
    assert_eq!(judged(&good, &only), "token-algorithm");
    assert_eq!(judged(&EC.token(&github(URL, NOW)), &only), "good");
    // A key that is not in the set.
    let unknown = TokenKey::ec("ec-2").token(&github(URL, NOW));
    assert_eq!(judged(&unknown, &s), "unknown-key-id");
}

#[test]
fn every_changed_character_is_noticed() {
    let s = github_settings("");
    for key in [&*RSA, &*EC] {
        let good = key.token(&github(URL, NOW));
        for at in (0..good.len()).step_by(7) {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_ne!(judged(&changed, &s), "good", "character {at}");
        }
    }
}

#[test]
fn a_header_that_brings_a_key_or_asks_for_more_is_refused() {
    let s = github_settings("");
    let claims = github(URL, NOW).to_string();
    let good = json!({ "alg": "RS256", "kid": "rsa-1", "x5t": "abc", "typ": "jwt" });
    assert_eq!(
        judged(&RSA.token_of(&good.to_string(), &claims), &s),
        "good"
    );
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("jwk", RSA.jwk()),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/cert")),
        ("x5c", json!(["AAAA"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("typ", json!("at+jwt")),
        ("typ", json!(1)),
        ("kid", json!(1)),
        ("kid", json!("")),
        ("kid", json!("x".repeat(300))),
    ] {
        let mut header = good.clone();
        header[name] = value;
        let token = RSA.token_of(&header.to_string(), &claims);
        assert_eq!(judged(&token, &s), "bad-token", "{name}");
    }
    let nameless = RSA.token_of(r#"{"alg":"RS256"}"#, &claims);
    assert_eq!(judged(&nameless, &s), "bad-token");
    // Names twice, of which two readers would take different ones.
    let twice = r#"{"alg":"RS256","kid":"rsa-1","kid":"ec-1"}"#;
    assert_eq!(judged(&RSA.token_of(twice, &claims), &s), "bad-token");
    let twice = claims.replacen('{', "{\"iss\":\"https://a.example\",", 1);
    let token = RSA.token_of(&good.to_string(), &twice);
    assert_eq!(judged(&token, &s), "bad-token");
}

#[test]
fn what_is_no_token_is_refused() {
    let s = github_settings("");
    let good = RSA.token(&github(URL, NOW));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    for bad in [
        String::new(),
        "a".into(),
        "..".into(),
        signed.to_owned(),
        format!("{good}.{signature}"),
        format!("{good}="),
        format!("{good} "),
        format!(" {good}"),
        format!("{signed}.{}", signature.replace(['-', '_'], "+")) + "+",
        format!("é{good}"),
    ] {
        assert_eq!(
            judged(&bad, &s),
            if bad == ".." {
                "bad-token"
            } else {
                "bad-token"
            },
            "{bad}"
        );
    }
    let mut long = github(URL, NOW);
    long["extra"] = "x".repeat(MAX_TOKEN).into();
    assert_eq!(judged(&RSA.token(&long), &s), "bad-token");
    long["extra"] = "x".repeat(MAX_TOKEN / 2).into();
    assert_eq!(judged(&RSA.token(&long), &s), "good");
    for claims in ["[]", "1", "null", "{", "{\"iss\":1}", "{}"] {
        let header = r#"{"alg":"RS256","kid":"rsa-1"}"#;
        assert_eq!(
            judged(&RSA.token_of(header, claims), &s),
            "bad-token",
            "{claims}"
        );
    }
}

#[test]
fn another_issuer_s_or_audience_s_token_is_refused() {
    let s = github_settings("");
    for other in [
        json!("https://token.actions.githubusercontent.com/"),
        json!("https://token.actions.githubusercontent.com.evil.example"),
        json!("http://token.actions.githubusercontent.com"),
    ] {
        assert_eq!(judged(&RSA.token(&with("iss", other)), &s), "wrong-issuer");
    }
    for other in [json!("sigstore"), json!([]), json!(["a", "b"]), json!("")] {
        let token = RSA.token(&with("aud", other.clone()));
        assert_eq!(judged(&token, &s), "wrong-audience", "{other}");
    }
    for other in ["log.example ", "LOG.EXAMPLE", "log.example.evil"] {
        let token = RSA.token(&with("aud", other.into()));
        assert_eq!(judged(&token, &s), "wrong-audience", "{other}");
    }
    assert_eq!(judged(&RSA.token(&without("aud")), &s), "wrong-audience");
}

#[test]
fn a_token_out_of_its_time_is_refused() {
    let s = github_settings("max-clock-skew = \"30s\"\nmax-token-life = \"1h\"");
    let at = |nbf: u64, iat: u64, exp: u64| {
        let mut claims = github(URL, NOW);
        (claims["nbf"], claims["iat"], claims["exp"]) = (nbf.into(), iat.into(), exp.into());
        judged(&RSA.token(&claims), &s)
    };
    assert_eq!(at(NOW - 300, NOW - 1, NOW + 300), "good");
    assert_eq!(at(NOW - 300, NOW - 200, NOW - 29), "good");
    assert_eq!(at(NOW - 300, NOW - 200, NOW - 30), "token-expired");
    assert_eq!(at(NOW - 9000, NOW - 8000, NOW - 7000), "token-expired");
    assert_eq!(at(NOW + 30, NOW, NOW + 300), "good");
    assert_eq!(at(NOW + 31, NOW, NOW + 300), "token-not-yet-valid");
    assert_eq!(at(NOW, NOW + 31, NOW + 300), "token-not-yet-valid");
    assert_eq!(at(NOW, NOW, NOW + 3600), "good");
    assert_eq!(at(NOW, NOW, NOW + 3601), "token-life");
    assert_eq!(at(NOW - 1, NOW, NOW + 3600), "token-life");
    assert_eq!(at(NOW, NOW, u64::from(u32::MAX) * 1000), "token-life");
    assert_eq!(at(NOW + 9, NOW + 9, NOW + 9), "bad-token");
    for name in ["exp", "iat"] {
        assert_eq!(
            judged(&RSA.token(&without(name)), &s),
            "bad-token",
            "{name}"
        );
    }
    for odd in [json!("1"), json!(1.5), json!(-1), json!(null), json!([])] {
        for name in ["exp", "iat", "nbf"] {
            let token = RSA.token(&with(name, odd.clone()));
            assert_eq!(judged(&token, &s), "bad-token", "{name}: {odd}");
        }
    }
    let huge = github(URL, NOW)
        .to_string()
        .replacen("\"exp\":", "\"exp\":9", 1);
    let header = r#"{"alg":"RS256","kid":"rsa-1"}"#;
    assert_ne!(judged(&RSA.token_of(header, &huge), &s), "good");
}

#[test]
fn a_token_is_known_again_in_every_spelling() {
    let print = |token: &str| Token::parse(token).unwrap().fingerprint().unwrap();
    let claims = github(URL, NOW);
    let one = print(&RSA.token(&claims));
    assert_eq!(one, print(&EC.token(&claims)));
    assert_ne!(one, print(&RSA.token(&github(URL, NOW))));
    let mut other = claims.clone();
    other["iss"] = "https://a.example".into();
    assert_ne!(one, print(&RSA.token(&other)));
    // Without a jti by all that is signed; ECDSA signatures differ each time.
    let bare = without("jti");
    assert_eq!(print(&EC.token(&bare)), print(&EC.token(&bare)));
    let mut next = bare.clone();
    next["iat"] = (NOW + 1).into();
    assert_ne!(print(&EC.token(&bare)), print(&EC.token(&next)));
    for odd in [json!(1), json!(""), json!("a b"), json!(null)] {
        let token = RSA.token(&with("jti", odd));
        assert!(Token::parse(&token).unwrap().fingerprint().is_err());
    }
}

#[test]
fn a_key_set_is_read_strictly() {
    let parse = |set: Value| KeySet::parse(set.to_string().as_bytes());
    let (rsa, ec) = (RSA.jwk(), EC.jwk());
    assert_eq!(parse(json!({ "keys": [rsa, ec] })).unwrap().len(), 2);
    let changed = |base: &Value, name: &str, value: Value| {
        let mut jwk = base.clone();
        jwk[name] = value;
        jwk
    };
    // Not used, and the token that names one is told why; the other key stays good.
    let small = b64url([0xff; 255]);
    let large = b64url([0xff; 1025]);
    for (base, name, value) in [
        (&rsa, "n", json!(small)),
        (&rsa, "n", json!(large)),
        (&rsa, "n", json!("")),
        (&rsa, "n", json!("+/=")),
        (&rsa, "e", json!("AQ")),
        (&rsa, "e", json!("Aw")),
        (&rsa, "e", json!("AQAA")),
        (&rsa, "e", json!(b64url([1; 9]))),
        (&rsa, "use", json!("enc")),
        (&rsa, "use", json!(1)),
        (&rsa, "key_ops", json!(["sign"])),
        (&rsa, "alg", json!("RS512")),
        (&rsa, "alg", json!("HS256")),
        (&rsa, "kty", json!("oct")),
        (&rsa, "d", json!("AAAA")),
        (&ec, "crv", json!("P-384")),
        (&ec, "crv", json!("secp256k1")),
        (&ec, "x", json!(b64url([1; 32]))),
        (&ec, "x", json!(b64url([1; 31]))),
        (&ec, "y", json!(b64url([1; 33]))),
        (&ec, "alg", json!("RS256")),
        (&ec, "d", json!("AAAA")),
    ] {
        let odd = changed(&changed(base, "kid", json!("odd")), name, value.clone());
        let set = parse(json!({ "keys": [odd, rsa, ec] })).unwrap();
        assert_eq!(set.len(), 2, "{name}: {value}");
        let why = set.get("odd").unwrap_err();
        assert!(why.starts_with("is not used: "), "{why}");
    }
    // Without what is optional it is as good.
    for name in ["alg", "use"] {
        let mut jwk = rsa.clone();
        jwk.as_object_mut().unwrap().remove(name);
        assert_eq!(parse(json!({ "keys": [jwk] })).unwrap().len(), 1);
    }
    // The whole set.
    let many: Vec<Value> = (0..=MAX_KEYS)
        .map(|n| changed(&ec, "kid", json!(n.to_string())))
        .collect();
    assert_eq!(parse(json!({ "keys": many[1..] })).unwrap().len(), MAX_KEYS);
    for bad in [
        json!({ "keys": many }),
        json!({ "keys": [] }),
        json!({ "keys": {} }),
        json!({}),
        json!([]),
        json!({ "keys": [1] }),
        json!({ "keys": [rsa, changed(&ec, "kid", json!("rsa-1"))] }),
        json!({ "keys": [changed(&rsa, "kid", json!(7))] }),
        json!({ "keys": [changed(&rsa, "kty", json!("oct"))] }),
    ] {
        assert!(parse(bad.clone()).is_err(), "{bad}");
    }
    let twice = format!("{{\"keys\":[],\"keys\":[{rsa}]}}");
    assert!(KeySet::parse(twice.as_bytes()).is_err());
    assert!(KeySet::parse(b"").is_err());
    let huge = format!("{{\"keys\":[{rsa}],\"x\":\"{}\"}}", "x".repeat(256 * 1024));
    assert!(KeySet::parse(huge.as_bytes()).is_err());
}

/// Documents by URL, and what was asked for.
#[derive(Clone, Default)]
struct Played(Arc<Mutex<(BTreeMap<String, String>, Vec<String>)>>);

impl Played {
    fn of(keys: &[&TokenKey]) -> Self {
        let played = Self::default();
        let place = format!("{URL}/.well-known/jwks");
        let document = json!({ "issuer": URL, "jwks_uri": place });
        played.put("/.well-known/openid-configuration", document.to_string());
        played.keys(keys);
        played
    }
    fn put(&self, path: &str, text: impl Into<String>) {
        let mut state = self.0.lock().unwrap();
        state.0.insert(format!("{URL}{path}"), text.into());
    }
    fn keys(&self, keys: &[&TokenKey]) {
        let keys: Vec<Value> = keys.iter().map(|k| k.jwk()).collect();
        self.put("/.well-known/jwks", json!({ "keys": keys }).to_string());
    }
    fn take_away(&self) {
        self.0.lock().unwrap().0.clear();
    }
    fn asked(&self) -> usize {
        std::mem::take(&mut self.0.lock().unwrap().1).len()
    }
    fn issuer(&self, more: &str) -> Issuer {
        Issuer::new(github_settings(more), Box::new(self.clone()))
    }
}

impl Fetch for Played {
    fn get(&self, url: &str, most: u64) -> Result<Vec<u8>, String> {
        let mut state = self.0.lock().unwrap();
        state.1.push(url.to_owned());
        let found = state.0.get(url).ok_or("nothing there")?;
        assert!(found.len() as u64 <= most);
        Ok(found.clone().into_bytes())
    }
}

fn kind<T>(result: Result<T, OidcError>) -> &'static str {
    result.map_or_else(|e| e.kind(), |_| "good")
}

#[test]
fn keys_are_fetched_once_and_again_for_one_that_is_new() {
    let played = Played::of(&[&RSA]);
    let issuer = played.issuer("");
    let start = Instant::now();
    assert_eq!(kind(issuer.key("rsa-1", start)), "good");
    assert_eq!(played.asked(), 2);
    assert_eq!(kind(issuer.key("rsa-1", start)), "good");
    assert_eq!(played.asked(), 0);
    // Made-up identifiers cost the issuer nothing more for a while.
    assert_eq!(
        kind(issuer.key("made-up", start + PAUSE / 2)),
        "unknown-key-id"
    );
    assert_eq!(played.asked(), 0);
    played.keys(&[&EC]);
    assert_eq!(
        kind(issuer.key("ec-1", start + PAUSE / 2)),
        "unknown-key-id"
    );
    assert_eq!(kind(issuer.key("ec-1", start + PAUSE)), "good");
    assert_eq!(played.asked(), 2);
    // What was taken back is gone at once.
    assert_eq!(kind(issuer.key("rsa-1", start + PAUSE)), "unknown-key-id");
    assert_eq!(issuer.fetched(), (2, 0));
}

#[test]
fn keys_that_cannot_be_fetched_again_are_good_for_a_while_and_then_are_not() {
    let played = Played::of(&[&RSA]);
    let issuer = played.issuer("refresh = \"60s\"\nkeep = \"10m\"");
    let start = Instant::now();
    assert_eq!(issuer.refresh(start), Duration::from_secs(60));
    played.take_away();
    assert!(issuer.refresh(start + Duration::from_secs(60)) < Duration::from_secs(60));
    let keep = Duration::from_secs(600);
    assert_eq!(kind(issuer.key("rsa-1", start + keep)), "good");
    // One that is not known may be there by now: nobody can tell.
    assert_eq!(kind(issuer.key("ec-1", start + keep)), "issuer-unreachable");
    let late = start + keep + Duration::from_secs(1);
    let refused = issuer.key("rsa-1", late).unwrap_err();
    assert_eq!(refused.kind(), "issuer-unreachable");
    assert_eq!(refused.status(), 503);
    assert!(refused.retry_after().unwrap() > 0);
    played.0.lock().unwrap().0 = Played::of(&[&RSA]).0.lock().unwrap().0.clone();
    assert_eq!(kind(issuer.key("rsa-1", late + PAUSE)), "good");
}

#[test]
fn a_discovery_document_about_somebody_else_is_refused() {
    let place = "/.well-known/openid-configuration";
    let keys = format!("{URL}/.well-known/jwks");
    let start = Instant::now();
    let asked = |document: String| {
        let played = Played::of(&[&RSA]);
        played.put(place, document);
        kind(played.issuer("").key("rsa-1", start))
    };
    assert_eq!(
        asked(json!({ "issuer": URL, "jwks_uri": keys }).to_string()),
        "good"
    );
    for bad in [
        json!({ "issuer": "https://evil.example", "jwks_uri": keys }).to_string(),
        json!({ "issuer": format!("{URL}/"), "jwks_uri": keys }).to_string(),
        json!({ "jwks_uri": keys }).to_string(),
        json!({ "issuer": URL }).to_string(),
        json!({ "issuer": URL, "jwks_uri": 1 }).to_string(),
        json!({ "issuer": URL, "jwks_uri": "http://127.0.0.1/keys" }).to_string(),
        json!({ "issuer": URL, "jwks_uri": "http://a.example/keys" }).to_string(),
        json!({ "issuer": URL, "jwks_uri": "file:///etc/keys" }).to_string(),
        format!("{{\"issuer\":\"{URL}\",\"issuer\":\"{URL}\",\"jwks_uri\":\"{keys}\"}}"),
        "<html>".into(),
    ] {
        assert_eq!(asked(bad.clone()), "issuer-unreachable", "{bad}");
    }
    // Keys that cannot be used do not take the place of those that can.
    let played = Played::of(&[&RSA]);
    let issuer = played.issuer("");
    issuer.refresh(start);
    played.put("/.well-known/jwks", "{\"keys\":[]}");
    issuer.refresh(start + PAUSE);
    assert_eq!(kind(issuer.key("rsa-1", start + PAUSE)), "good");
}

struct World {
    _dir: tempfile::TempDir,
    oidc: Oidc,
}

fn world(more: &str) -> World {
    let (dir, settings) = settings(more);
    let used = Used::in_memory(1000);
    let oidc = Oidc::with(settings, used, |_| Ok(Box::new(Played::of(&[&RSA, &EC])))).unwrap();
    World { _dir: dir, oidc }
}

impl World {
    fn ask(&self, body: &str) -> Result<Outcome, OidcError> {
        let wanted = self.oidc.judge(body.as_bytes(), NOW, Instant::now())?;
        self.oidc.issue(&wanted, now())
    }
    fn claims(&self, claims: &Value) -> &'static str {
        let key = SecretKey::generate().unwrap();
        kind(self.ask(&body(&RSA.token(claims), &key)))
    }
}

fn now() -> u64 {
    countersign_tests::oidc::now()
}

#[test]
fn a_certificate_says_what_the_token_says() {
    let w = world("");
    let key = SecretKey::generate().unwrap();
    let outcome = w.ask(&body(&EC.token(&github(URL, NOW)), &key)).unwrap();
    let Outcome::New(chain, _) = outcome else {
        panic!("{outcome:?}");
    };
    let end = chain.end();
    assert_eq!(&end.key, keys::Signer::public_key(&key));
    assert_eq!(
        end.san,
        "https://github.com/acme/tool/.github/workflows/release.yml@refs/tags/v1.0.0"
    );
    assert_eq!(end.issuer(), Some(URL));
    let claim = |n: u32| {
        end.claims
            .get(&format!("1.3.6.1.4.1.57264.1.{n}"))
            .map(String::as_str)
    };
    let sha = "1f9c0d7bbb8e7b8b7c3f1b6d3c7b5a1e2d4f6a80";
    for (number, text) in [
        (1, URL),
        (2, "push"),
        (3, sha),
        (5, "acme/tool"),
        (6, "refs/tags/v1.0.0"),
        (8, URL),
        (9, end.san.as_str()),
        (10, sha),
        (11, "github-hosted"),
        (12, "https://github.com/acme/tool"),
        (13, sha),
        (14, "refs/tags/v1.0.0"),
        (15, "74"),
        (16, "https://github.com/acme"),
        (17, "65"),
        (18, end.san.as_str()),
        (19, sha),
        (20, "push"),
        (
            21,
            "https://github.com/acme/tool/actions/runs/30433642/attempts/1",
        ),
        (22, "public"),
        (23, "release"),
    ] {
        assert_eq!(claim(number), Some(text), "{number}");
    }
    assert_eq!(claim(4), None);
    assert_eq!(end.not_after - end.not_before, 600);
}

#[test]
fn gitlab_s_name_begins_with_its_own_host() {
    let dir = tempfile::tempdir().unwrap();
    let _ = authority(dir.path());
    let more = "server = \"https://gitlab.acme.example\"";
    let text = issuer("https://gitlab.acme.example", "gitlab", more);
    let settings = Settings::read(&config(dir.path(), &text))
        .unwrap()
        .issuers
        .remove(0);
    let identity = |host: &str| {
        let claims = gitlab("https://gitlab.acme.example", host, NOW);
        let claims = claims.as_object().unwrap().clone();
        countersign_server::oidc::claims::identity(&settings, &claims)
    };
    let good = identity("gitlab.acme.example").unwrap();
    assert_eq!(
        good.san,
        "https://gitlab.acme.example/acme/tool//.gitlab-ci.yml@refs/tags/v1.0.0"
    );
    let claim = |n: u32| good.claims[&format!("1.3.6.1.4.1.57264.1.{n}")].as_str();
    assert_eq!(claim(12), "https://gitlab.acme.example/acme/tool");
    assert_eq!(claim(14), "refs/tags/v1.0.0");
    assert_eq!(
        claim(21),
        "https://gitlab.acme.example/acme/tool/-/jobs/302"
    );
    assert_eq!(good.claims.len(), 14);
    for other in [
        "gitlab.com",
        "evil.example",
        "gitlab.acme.example.evil",
        "gitlab.acme.example:8443",
    ] {
        assert_eq!(kind(identity(other)), "bad-claim", "{other}");
    }
}

#[test]
fn claims_that_look_like_something_else_are_refused() {
    let w = world("");
    assert_eq!(w.claims(&github(URL, NOW)), "good");
    for good in ["acme/tool/.github/workflows/a.yml@refs/heads/x+y", "a//b@c"] {
        assert_eq!(
            w.claims(&with("job_workflow_ref", good.into())),
            "good",
            "{good}"
        );
    }
    let long = "x".repeat(513);
    for bad in [
        // Cyrillic, a homoglyph of a slash, a mark that turns the writing around, full width.
        "\u{430}cme/tool/.github/workflows/release.yml@refs/tags/v1",
        "acme\u{2215}tool",
        "acme/\u{202e}loot",
        "\u{ff41}cme/tool",
        "acme/tool\0",
        "acme/tool\n",
        "acme/ tool",
        "acme/tool?x",
        "acme/tool#x",
        "acme/tool%2fx",
        "acme\\tool",
        "acme/../evil/tool",
        "../evil",
        "acme/./tool",
        "acme/tool/..",
        "<x>",
        &long,
        "",
    ] {
        assert_eq!(
            w.claims(&with("job_workflow_ref", bad.into())),
            "bad-claim",
            "{bad:?}"
        );
        if !bad.is_empty() {
            assert_eq!(
                w.claims(&with("repository", bad.into())),
                "bad-claim",
                "{bad:?}"
            );
        }
    }
    for bad in [json!(1), json!(true), json!(null), json!(["a"]), json!({})] {
        assert_eq!(
            w.claims(&with("job_workflow_ref", bad.clone())),
            "bad-claim"
        );
        assert_eq!(w.claims(&with("sha", bad)), "bad-claim");
    }
    assert_eq!(w.claims(&without("job_workflow_ref")), "bad-claim");
    // What names no identity may be absent; what no certificate has may be anything.
    for name in ["environment", "sha", "repository_id"] {
        assert_eq!(w.claims(&without(name)), "good", "{name}");
    }
    assert_eq!(
        w.claims(&with("workflow", "R\u{e9}lease \u{1f680}".into())),
        "good"
    );
}

#[test]
fn only_those_whom_the_operator_lets_in_get_one() {
    let w = world("require = { repository_owner = \"acme\", ref_protected = [\"true\", \"yes\"] }");
    assert_eq!(w.claims(&github(URL, NOW)), "good");
    for bad in [
        with("repository_owner", "evil".into()),
        with("repository_owner", "acme ".into()),
        with("repository_owner", "Acme".into()),
        with("ref_protected", "false".into()),
        without("ref_protected"),
        without("repository_owner"),
    ] {
        assert_eq!(w.claims(&bad), "identity-not-allowed");
    }
    assert_eq!(w.claims(&with("ref_protected", true.into())), "bad-claim");
    let claims = with("repository_owner", "evil".into());
    let key = SecretKey::generate().unwrap();
    let refused = w.ask(&body(&RSA.token(&claims), &key)).unwrap_err();
    let said = refused.to_string();
    assert!(
        said.contains("repository_owner is \"evil\", want acme"),
        "{said}"
    );
}

#[test]
fn a_token_is_good_for_one_key() {
    let w = world("");
    let (key, thief) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let token = EC.token(&github(URL, NOW));
    let Outcome::New(_, print) = w.ask(&body(&token, &key)).unwrap() else {
        panic!("not new");
    };
    assert_eq!(kind(w.ask(&body(&token, &key))), "token-in-hand");
    assert_eq!(kind(w.ask(&body(&token, &thief))), "token-replayed");
    // The answer was lost: it is the same again, for the same key.
    w.oidc.logged(&print, 7);
    assert!(matches!(w.ask(&body(&token, &key)), Ok(Outcome::Again(7))));
    assert_eq!(kind(w.ask(&body(&token, &thief))), "token-replayed");
    // Nothing was logged for it: it is as new.
    let token = EC.token(&github(URL, NOW));
    let Outcome::New(_, print) = w.ask(&body(&token, &key)).unwrap() else {
        panic!("not new");
    };
    w.oidc.give_back(&print);
    assert_eq!(kind(w.ask(&body(&token, &thief))), "good");
}

#[test]
fn a_request_without_possession_of_its_key_is_refused() {
    let w = world("");
    let key = SecretKey::generate().unwrap();
    let token = || RSA.token(&github(URL, NOW));
    let asked = |request: &[u8]| {
        let body = json!({ "request": b64(request), "token": token() });
        kind(w.ask(&body.to_string()))
    };
    let good = keys::certificate::make_request(&key).unwrap();
    assert_eq!(asked(&good), "good");
    let mut foreign = good.clone();
    *foreign.last_mut().unwrap() ^= 1;
    assert_eq!(asked(&foreign), "bad-request-signature");
    // Another key under the signature.
    let other = keys::certificate::make_request(&SecretKey::generate().unwrap()).unwrap();
    let at = |der: &[u8]| {
        der.windows(4)
            .position(|w| w == [0x03, 0x42, 0x00, 0x04])
            .unwrap()
    };
    let (from, into) = (at(&other), at(&good));
    let mut swapped = good.clone();
    swapped[into..into + 68].copy_from_slice(&other[from..from + 68]);
    assert_eq!(asked(&swapped), "bad-request-signature");
    assert_eq!(asked(&[]), "bad-certificate-request");
    assert_eq!(asked(&good[..good.len() - 1]), "bad-certificate-request");
    assert_eq!(
        asked(&[good.clone(), vec![0]].concat()),
        "bad-certificate-request"
    );
    assert_eq!(asked(&[0; 5000]), "bad-certificate-request");
    // Its own token is not spent by a request that was refused.
    let token = token();
    let body = |request: &[u8]| json!({ "request": b64(request), "token": token }).to_string();
    assert_eq!(kind(w.ask(&body(&foreign))), "bad-request-signature");
    assert_eq!(kind(w.ask(&body(&good))), "good");
}

#[test]
fn a_body_of_another_shape_is_refused() {
    let w = world("");
    let key = SecretKey::generate().unwrap();
    let good = body(&RSA.token(&github(URL, NOW)), &key);
    let value: Value = serde_json::from_str(&good).unwrap();
    assert_eq!(kind(w.ask(&good)), "good");
    let mut more = value.clone();
    more["san"] = "https://a.example/".into();
    let mut less = value.clone();
    less.as_object_mut().unwrap().remove("request");
    let mut odd = value.clone();
    odd["request"] = "+-".into();
    let twice = good.replacen('{', "{\"token\":\"a\",", 1);
    let long = format!("{good}{}", " ".repeat(24 * 1024));
    for bad in [
        "",
        "{}",
        "[]",
        "null",
        &more.to_string(),
        &less.to_string(),
        &odd.to_string(),
        &twice,
        &long,
    ] {
        assert_eq!(kind(w.ask(bad)), "bad-certificate-body", "{bad}");
    }
}

/// Writes the test vector and the fuzz target's seeds anew, by keys that nobody has afterwards.
#[test]
#[ignore = "writes files of the repository"]
fn write_the_vector() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let tokens: Vec<String> = [&*RSA, &*EC]
        .iter()
        .flat_map(|key| {
            let bare = key.token(&without("jti"));
            [key.token(&github(URL, NOW)), bare]
        })
        .collect();
    let set = json!({ "keys": [RSA.jwk(), EC.jwk()] });
    let vector = json!({ "issuer": URL, "jwks": set, "tokens": tokens });
    let text = serde_json::to_string_pretty(&vector).unwrap() + "\n";
    let (vectors, corpus) = (root.join("vectors/oidc"), root.join("corpus/token"));
    for dir in [&vectors, &corpus] {
        std::fs::create_dir_all(dir).unwrap();
    }
    std::fs::write(vectors.join("tokens.json"), text).unwrap();
    for (name, token) in ["rs256", "rs256-no-jti", "es256", "es256-no-jti"]
        .iter()
        .zip(&tokens)
    {
        std::fs::write(corpus.join(name), token).unwrap();
    }
    std::fs::write(corpus.join("jwks"), set.to_string()).unwrap();
    let template = "https://github.com/{repository}/actions/runs/{run_id}";
    std::fs::write(corpus.join("template"), template).unwrap();
    let none = format!(
        "{}.{}.",
        b64url(r#"{"alg":"none","kid":"rsa-1"}"#),
        b64url(github(URL, NOW).to_string())
    );
    std::fs::write(corpus.join("none"), none).unwrap();
}

/// The vector's tokens verify by its keys, now and later.
#[test]
fn the_vector_verifies() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/oidc/tokens.json");
    let vector: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let keys = KeySet::parse(vector["jwks"].to_string().as_bytes()).unwrap();
    let settings = countersign_tests::oidc::vector_settings(vector["issuer"].as_str().unwrap());
    for token in vector["tokens"].as_array().unwrap() {
        let token = Token::parse(token.as_str().unwrap()).unwrap();
        token.times(&settings, NOW).unwrap();
        token
            .verify(&settings, keys.get(token.kid()).unwrap())
            .unwrap();
    }
}

proptest::proptest! {
    /// Whatever a claim holds, a name stays where it belongs and is what a person reads.
    #[test]
    fn a_name_stays_below_its_host(value in ".{0,60}", dotted in "[./@a%?# ]{0,12}") {
        let settings = countersign_tests::oidc::vector_settings(URL);
        for value in [value, dotted] {
            let claims = with("job_workflow_ref", value.clone().into());
            let claims = claims.as_object().unwrap().clone();
            if let Ok(identity) = countersign_server::oidc::claims::identity(&settings, &claims) {
                proptest::prop_assert_eq!(identity.san.clone(), format!("https://github.com/{value}"));
                proptest::prop_assert!(!identity.san.contains(['?', '#', '%', ' ', '\\']));
                let dots = identity.san.split('/').any(|s| s == "." || s == "..");
                proptest::prop_assert!(!dots);
            }
        }
    }

    /// Nothing that is no token is taken for one, and nothing panics.
    #[test]
    fn any_text_is_judged(text in "\\PC{0,200}", parts in "[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}") {
        let settings = countersign_tests::oidc::vector_settings(URL);
        for text in [text, parts] {
            proptest::prop_assert_ne!(judged(&text, &settings), "good");
        }
    }
}
