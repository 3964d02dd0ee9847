//! The test vector, and what holds for any text.

use super::common::{EC, NOW, RSA, URL, judged, with, without};
use countersign_server::oidc::jwks::KeySet;
use countersign_server::oidc::token::Token;
use countersign_tests::oidc::{b64url, github};
use serde_json::{Value, json};

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
