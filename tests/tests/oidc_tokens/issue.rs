//! What a certificate says, who gets one, and what a request must show.

use super::common::{EC, NOW, RSA, URL, kind, with, without, world};
use countersign_server::oidc::Outcome;
use countersign_server::oidc::config::Settings;
use countersign_tests::oidc::{authority, body, config, github, gitlab, issuer};
use keys::SecretKey;
use ledger::b64;
use serde_json::{Value, json};

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
