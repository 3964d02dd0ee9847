#![allow(clippy::unwrap_used)]
use super::*;
use keys::certificate::{Anchor, make_intermediate, make_root, write_certificate};
use keys::file::write_secret;

const DAY: u64 = 86_400;

/// A directory with `ca.key`, `ca.pem`, `root.pem`, `ca.der`, and another key.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (top, between) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let now = crate::log::unix_now();
    let life = Life {
        from: now - DAY,
        until: now + DAY,
    };
    let root = make_root(&top, "root", life).unwrap();
    let anchor = Anchor::parse(&root).unwrap();
    let own = make_intermediate(&top, &anchor, between.public_key(), "ci", life).unwrap();
    std::fs::write(at("root.pem"), write_certificate(&root).unwrap()).unwrap();
    std::fs::write(at("ca.pem"), write_certificate(&own).unwrap()).unwrap();
    std::fs::write(at("ca.der"), &own).unwrap();
    for (name, key) in [("ca.key", between), ("other.key", top)] {
        write_secret(&at(name), &AnySecret::P256(key), &Passphrase::None).unwrap();
    }
    let log = AnySecret::Ed25519(keys::Ed25519Secret::generate().unwrap());
    write_secret(&at("ed25519.key"), &log, &Passphrase::None).unwrap();
    dir
}

const CA: &str = "[ca]\nkey = \"ca.key\"\nchain = [\"ca.pem\"]\n";
const GITHUB: &str = "[[issuer]]\nprofile = \"github-actions\"\naudience = \"log.example\"\n";

fn parse(dir: &Path, text: &str) -> Result<Settings, String> {
    Settings::parse(text, dir)
}

#[test]
fn a_profile_and_an_audience_are_enough() {
    let dir = directory();
    let settings = parse(dir.path(), &format!("{CA}{GITHUB}")).unwrap();
    assert_eq!(settings.valid, 600);
    let issuer = &settings.issuers[0];
    assert_eq!(issuer.url, "https://token.actions.githubusercontent.com");
    assert_eq!(issuer.within, "https://github.com/");
    assert_eq!((issuer.skew, issuer.life), (60, 7200));
    assert_eq!(issuer.claims.len(), 19);
    let text = format!("{CA}valid = \"5m\"\n[[issuer]]\nprofile = \"gitlab\"\naudience = \"a\"\n");
    let settings = parse(dir.path(), &text).unwrap();
    assert_eq!(settings.valid, 300);
    assert_eq!(settings.issuers[0].within, "https://gitlab.com/");
    assert_eq!(settings.issuers[0].claims.len(), 15);
    // In DER, and with a platform of one's own.
    let text = format!(
        "{}[[issuer]]\nurl = \"https://ci.example\"\naudience = \"a\"\nsan = \"https://ci.example/{{sub}}\"\nclaims = {{ \"1.3.6.1.4.1.57264.1.20\" = \"{{event}}\" }}\n",
        CA.replace("ca.pem", "ca.der")
    );
    let settings = parse(dir.path(), &text).unwrap();
    assert_eq!(settings.issuers[0].claims.len(), 1);
}

#[test]
fn what_is_not_known_or_cannot_be_meant_is_an_error() {
    let dir = directory();
    let good = format!("{CA}{GITHUB}");
    parse(dir.path(), &good).unwrap();
    let more = |line: &str| format!("{good}{line}\n");
    parse(dir.path(), &more("max-clock-skew = \"10s\"")).unwrap();
    let own = |lines: &str| {
        format!("{CA}[[issuer]]\nurl = \"https://ci.example\"\naudience = \"a\"\n{lines}\n")
    };
    parse(dir.path(), &own("san = \"https://ci.example/{sub}\"")).unwrap();
    for bad in [
        String::new(),
        CA.to_owned(),
        GITHUB.to_owned(),
        format!("{good}{GITHUB}"),
        more("audiences = \"x\""),
        more("clock-skew = \"1s\""),
        more("max-clock-skew = \"1h\""),
        more("max-clock-skew = 60"),
        more("max-clock-skew = \"1500ms\""),
        more("max-token-life = \"1s\""),
        more("refresh = \"10m\"\nkeep = \"5m\""),
        more("refresh = \"0s\""),
        more("algorithms = []"),
        more("algorithms = [\"HS256\"]"),
        more("algorithms = [\"none\"]"),
        more("algorithms = [\"RS512\"]"),
        more("require = { a = [] }"),
        more("require = { a = \"\" }"),
        more("require = { a = 1 }"),
        more("url = \"http://token.example\""),
        more("url = \"https://token.example/?x\""),
        more("url = \"token.example\""),
        more("server = \"http://github.example\""),
        more("within = \"https://\""),
        more("within = \"github.com\""),
        more("san = \"{job_workflow_ref}\""),
        more("san = \"https://github.com/acme\""),
        more("san = \"https://{sub\""),
        more("claims = { \"1.2.3\" = \"{sub}\" }"),
        more("claims = { \"1.3.6.1.4.1.57264.1.8\" = \"{sub}\" }"),
        more("claims = { \"1.3.6.1.4.1.57264.1.1\" = \"{sub}\" }"),
        more("claims = { \"1.3.6.1.4.1.57264.1.7\" = \"{sub}\" }"),
        more("claims = { \"1.3.6.1.4.1.57264.1.09\" = \"{sub}\" }"),
        more("claims = { \"1.3.6.1.4.1.57264.1.256\" = \"{sub}\" }"),
        good.replace("github-actions", "github"),
        good.replace("audience = \"log.example\"\n", ""),
        good.replace("log.example", ""),
        good.replace("log.example", "log example"),
        own(""),
        // The host is the claim's to say.
        own("san = \"https://{host}/x\""),
        own("san = \"https://{sub}\""),
        own("san = \"https://ci.example{sub}\""),
        good.replace("ca.key", "none.key"),
        good.replace("ca.key", "other.key"),
        good.replace("ca.key", "ed25519.key"),
        good.replace("ca.pem", "none.pem"),
        good.replace("ca.pem", "ca.key"),
        good.replace("ca.pem", "root.pem"),
        good.replace("[\"ca.pem\"]", "[]"),
        good.replace("[\"ca.pem\"]", "\"ca.pem\""),
        format!("{}valid = \"2d\"\n{GITHUB}", CA),
        format!("{}valid = \"1s\"\n{GITHUB}", CA),
        format!("{}passphrase = \"x\"\n{GITHUB}", CA),
    ] {
        assert!(parse(dir.path(), &bad).is_err(), "{bad}");
    }
    // A claim may decide where the operator says in what bounds.
    parse(
        dir.path(),
        &own("san = \"https://{uri}\"\nwithin = \"https://ci.example/\""),
    )
    .unwrap();
}
