//! Finding key material in bytes as they come, in constant memory: what lies across two pieces is
//! found as well.

use super::rules::{COMPILED, DER, LONGEST, Rule, is_der_key, is_secret};

/// Bytes that are searched at once.
const WINDOW: usize = 256 * 1024;
/// Findings in one file that are kept.
pub(super) const MOST: usize = 50;

/// What was found, and at which byte it begins.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// By which rule.
    pub rule: &'static Rule,
    /// From the file's beginning.
    pub offset: u64,
}

/// Searches one file.
#[derive(Debug, Default)]
pub struct Detector {
    window: Vec<u8>,
    /// The window's first byte, from the file's beginning.
    base: u64,
    found: Vec<Found>,
}

impl Detector {
    /// Of a file of which nothing has come.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next bytes.
    pub fn bytes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = WINDOW.saturating_sub(self.window.len()).max(1);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.window.extend_from_slice(now);
            bytes = later;
            if self.window.len() >= WINDOW {
                self.search(false);
                let gone = self.window.len() - LONGEST;
                self.window.drain(..gone);
                self.base += gone as u64;
            }
        }
    }

    /// All that was found, in order.
    #[must_use]
    pub fn finish(mut self) -> Vec<Found> {
        self.search(true);
        self.found
    }

    fn search(&mut self, last: bool) {
        if self.base == 0 && is_der_key(&self.window) {
            self.add(&DER, 0);
        }
        let Some(any) = &COMPILED.any else {
            return;
        };
        let window = std::mem::take(&mut self.window);
        let mut at = 0;
        while self.found.len() < MOST
            && let Some(hit) = any.find_at(&window, at)
        {
            // One that may go on is looked at with what comes.
            let whole = last || hit.end() < window.len();
            if let Some(rule) = whole.then(|| which(&window, hit.start())).flatten() {
                self.add(rule, hit.start());
            }
            // An example may stand before what is none, within the same match.
            at = hit.start() + 1;
        }
        self.window = window;
    }

    fn add(&mut self, rule: &'static Rule, start: usize) {
        let offset = self.base + start as u64;
        let known = |f: &Found| f.offset == offset && f.rule.id == rule.id;
        // Windows overlap.
        if self.found.len() < MOST && !self.found.iter().any(known) {
            self.found.push(Found { rule, offset });
        }
    }
}

/// The rule that matches at `start`, by something that is no example.
fn which(window: &[u8], start: usize) -> Option<&'static Rule> {
    let here = window.get(start..)?;
    COMPILED.each.iter().find_map(|(rule, regex)| {
        let secret = regex.captures(here)?.get(1)?;
        is_secret(secret.as_bytes()).then_some(*rule)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::guard::rules::RULES;
    use keys::SecretKey;
    use proptest::prelude::*;

    fn found(bytes: &[u8]) -> Vec<(&'static str, u64)> {
        let mut detector = Detector::new();
        bytes.chunks(1000).for_each(|c| detector.bytes(c));
        let found = detector.finish().into_iter();
        found.map(|f| (f.rule.id, f.offset)).collect()
    }

    fn pem() -> String {
        use base64::Engine as _;
        let key = SecretKey::generate().unwrap().to_pkcs8_der().unwrap();
        let text = base64::engine::general_purpose::STANDARD.encode(&*key);
        let (one, two) = text.split_at(64);
        let dashes = "-----";
        format!(
            "{dashes}BEGIN PRIVATE KEY{dashes}\n{one}\n{two}\n{dashes}END PRIVATE KEY{dashes}\n"
        )
    }

    /// So many characters that no example has.
    fn random(length: usize) -> String {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let mut bytes = vec![0_u8; length];
        getrandom::fill(&mut bytes).unwrap();
        let of = |b: &u8| char::from(alphabet[usize::from(*b) % alphabet.len()]);
        bytes.iter().map(of).collect()
    }

    fn upper(length: usize) -> String {
        random(length)
            .to_uppercase()
            .replace(['0', '1', '8', '9'], "Q")
    }

    #[test]
    fn every_rule_is_compiled_and_finds_its_own() {
        assert!(COMPILED.any.is_some());
        assert_eq!(COMPILED.each.len(), RULES.len());
        // Put together here, so that nothing in this file looks like one.
        let begin = |label: &str| format!("-----{} {label}-----\n", "BEGIN");
        let hex = |n: usize| hex::encode(random(n / 2));
        let r = random;
        let pgp = format!(
            "{}\nVersion: x\n\n{}\n",
            begin("PGP PRIVATE KEY BLOCK").trim(),
            r(64)
        );
        let samples: Vec<(&str, String)> = vec![
            ("pem-private-key", pem()),
            ("pem-private-key", pem().replace('\n', "\\n")),
            ("pem-private-key", pem().replace('\n', "\r\n    ")),
            (
                "pem-private-key",
                format!("{}{}", begin("OPENSSH PRIVATE KEY"), r(70)),
            ),
            (
                "pem-private-key",
                format!(
                    "{}Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0F\n\n{}",
                    begin("RSA PRIVATE KEY"),
                    r(64)
                ),
            ),
            (
                "pem-private-key",
                format!("{}{}", begin("ENCRYPTED SIGSTORE PRIVATE KEY"), r(64)),
            ),
            ("pgp-private-key", pgp),
            (
                "putty-private-key",
                format!("Private-{}: 8\n{}", "Lines", r(64)),
            ),
            (
                "age-secret-key",
                format!("AGE-{}-1{}", "SECRET-KEY", upper(58)),
            ),
            ("minisign-secret-key", format!("RWRT{}{}", "Y0Iy", r(204))),
            ("signify-secret-key", format!("RWRC{}{}", "Sw", r(140))),
            (
                "note-signer-key",
                format!("PRIVATE+{}+log.example+0a1b2c3d+{}=", "KEY", r(43)),
            ),
            (
                "gcs-hmac-key",
                format!("GOOG{}{}\n{}\n", "1E", upper(55), r(40)),
            ),
            (
                "gcs-hmac-key",
                format!("\"id\": \"GOOG{}\", \"secret\": \"{}\"", upper(20), r(40)),
            ),
            (
                "gcs-hmac-secret",
                format!("gs_{} = {}\n", "secret_access_key", r(40)),
            ),
            (
                "aws-access-key",
                format!("AK{}{},{}\n", "IA", upper(16), r(40)),
            ),
            (
                "s3-secret-key",
                format!("aws_{}={}", "secret_access_key", r(40)),
            ),
            ("azure-storage-key", format!("Account{}={}==", "Key", r(86))),
            (
                "azure-shared-key",
                format!("SharedAccess{}={}=", "Key", r(43)),
            ),
            ("github-token", format!("gh{}_{}", "p", r(36))),
            (
                "github-fine-grained-token",
                format!("github_{}_{}_{}", "pat", r(22), r(59)),
            ),
            ("gitlab-token", format!("gl{}-{}", "pat", r(20))),
            ("npm-token", format!("npm{}{}", "_", r(36))),
            ("pypi-token", format!("pypi-{}{}", "AgE", r(70))),
            ("rubygems-token", format!("rubygems{}{}", "_", hex(48))),
            ("docker-token", format!("dckr_{}_{}", "pat", r(27))),
            ("slack-token", format!("xox{}-12345678901-{}", "b", r(24))),
            ("stripe-key", format!("sk_{}_{}", "live", r(24))),
            ("vault-token", format!("hvs{}{}", ".", r(95))),
            ("digitalocean-token", format!("dop_{}_{}", "v1", hex(64))),
        ];
        for (rule, text) in &samples {
            let planted = format!("first line\n{text}\nlast line\n");
            assert_eq!(
                found(planted.as_bytes()),
                [(*rule, 11 + at(rule, text))],
                "{rule}"
            );
        }
        for rule in RULES {
            assert!(samples.iter().any(|(id, _)| *id == rule.id), "{}", rule.id);
        }
    }

    /// Where in a sample its match begins.
    fn at(rule: &str, text: &str) -> u64 {
        let begin = if rule == "gcs-hmac-key" {
            text.find("GOOG")
        } else {
            Some(0)
        };
        begin.unwrap() as u64
    }

    #[test]
    fn a_key_as_der_is_found_where_a_file_begins_with_it() {
        let key = SecretKey::generate().unwrap();
        let der = key.to_pkcs8_der().unwrap();
        assert_eq!(found(&der), [("der-private-key", 0)]);
        // Libraries carry such beginnings as constants.
        assert_eq!(found(&[b"x", &der[..]].concat()), []);
    }

    #[test]
    fn what_is_no_secret_is_not_found() {
        let dashes = "-----";
        for text in [
            format!("{dashes}BEGIN PUBLIC KEY{dashes}\n{}\n", random(64)),
            format!("{dashes}BEGIN CERTIFICATE{dashes}\n{}\n", random(64)),
            format!("grep '{dashes}BEGIN PRIVATE KEY{dashes}' file\n"),
            format!("{dashes}BEGIN PRIVATE KEY{dashes}\nMII...\n{dashes}END PRIVATE KEY{dashes}\n"),
            format!("{dashes}BEGIN PRIVATE KEY{dashes}\n{}\n", "A".repeat(64)),
            format!(
                "{}{} wJalrXUtnFEMI/K7MDENG/bPxRfiCY{}KEY\n",
                "AK", "IAIOSFODNN7EXAMPLE", "EXAMPLE"
            ),
            format!("ghp{}{}", "_", "x".repeat(36)),
            format!("an access key id alone: AK{}{}\n", "IA", upper(16)),
            format!("xnpm_{} is longer", random(36)),
        ] {
            assert_eq!(found(text.as_bytes()), [], "{text}");
        }
    }

    #[test]
    fn an_example_does_not_hide_what_follows_it() {
        let token = |secret: &str| format!("ghp{}{secret}\n", "_");
        let text = format!("{}{}", token(&"x".repeat(36)), token(&random(36)));
        assert_eq!(found(text.as_bytes()), [("github-token", 41)]);
    }

    #[test]
    fn very_many_are_not_listed_without_end() {
        let text = format!("gh{}_{}\n", "p", random(36)).repeat(20_000);
        assert_eq!(found(text.as_bytes()).len(), MOST);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn it_is_found_at_any_place_across_any_border(shift in 0..2600_usize, piece in 1..70_000_usize) {
            let text = pem();
            let before = WINDOW - LONGEST - 1300 + shift;
            let bytes = [&vec![b'.'; before][..], text.as_bytes(), &[b'.'; 3000]].concat();
            let mut detector = Detector::new();
            bytes.chunks(piece).for_each(|c| detector.bytes(c));
            let found: Vec<_> = detector.finish().iter().map(|f| (f.rule.id, f.offset)).collect();
            prop_assert_eq!(found, [("pem-private-key", before as u64)]);
        }

        #[test]
        fn any_bytes_are_searched_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            prop_assert_eq!(found(&bytes), []);
        }
    }
}
