//! Tokens: their form, their signatures, their times.

use super::common::{EC, NOW, RSA, URL, github_settings, judged, with, without};
use countersign_server::oidc::token::{MAX_TOKEN, Token};
use countersign_tests::oidc::{AUDIENCE, TokenKey, b64url, github};
use serde_json::json;

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
        assert_eq!(judged(&bad, &s), "bad-token", "{bad}");
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
