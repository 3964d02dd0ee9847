//! Text with claims in it, such as `https://github.com/{job_workflow_ref}`.

use super::claims;
use super::error::OidcError;
use serde_json::{Map, Value};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Claim(String),
}

/// Text with claims in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

/// Longest name of a claim.
const MAX_NAME: usize = 128;

fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-.:/".contains(&b);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed)
}

impl Template {
    /// Reads a template: printable ASCII, with `{claim}` for a claim's value.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = |why: &str| Err(format!("{text:?}: {why}"));
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
            return bad("want printable ASCII");
        }
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else {
                return bad("a { without a }");
            };
            if !is_name(name) {
                return bad("between { and } stands no name of a claim");
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Claim(name.to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        let stray = |p: &Part| matches!(p, Part::Text(t) if t.contains('}'));
        if parts.iter().any(stray) {
            return bad("a } without a {");
        }
        Ok(Self(parts))
    }

    /// What it begins with, whatever the claims are.
    #[must_use]
    pub fn beginning(&self) -> &str {
        match self.0.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// Whether it makes a URI: claims in it then must not change the URI's structure.
    #[must_use]
    pub fn is_uri(&self) -> bool {
        self.beginning().contains("://")
    }

    /// The claims in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Claim(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text with the claims filled in; `None` where one of them is absent or empty.
    ///
    /// # Errors
    /// [`OidcError::Claim`] for a claim that must not be in a certificate.
    pub fn fill(&self, claims: &Map<String, Value>) -> Result<Option<String>, OidcError> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(fixed) => text.push_str(fixed),
                Part::Claim(name) => {
                    let Some(value) = claims::text(claims, name)? else {
                        return Ok(None);
                    };
                    if self.is_uri() {
                        claims::piece(name, value)?;
                    }
                    text.push_str(value);
                }
            }
        }
        if self.is_uri() {
            claims::no_dots(self.names().next().unwrap_or_default(), &text)?;
        }
        Ok(Some(text))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn claims(pairs: &[(&str, &str)]) -> Map<String, Value> {
        let pairs = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).into()));
        pairs.collect()
    }

    #[test]
    fn claims_are_filled_in_where_they_stand() {
        let t = Template::parse("https://a.example/{b}/-/jobs/{c}").unwrap();
        assert_eq!(t.names().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(t.beginning(), "https://a.example/");
        assert_eq!(
            t.fill(&claims(&[("b", "x/y@z"), ("c", "9")])),
            Ok(Some("https://a.example/x/y@z/-/jobs/9".into()))
        );
        assert_eq!(t.fill(&claims(&[("b", "x")])), Ok(None));
        assert_eq!(t.fill(&claims(&[("b", "x"), ("c", "")])), Ok(None));
        let plain = Template::parse("{sub}").unwrap();
        assert_eq!(
            plain.fill(&claims(&[("sub", "a b?#")])),
            Ok(Some("a b?#".into()))
        );
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for good in ["x", "{a}", "{a}{b}", "x {a.b/c:d-e_f}"] {
            Template::parse(good).unwrap();
        }
        for bad in [
            "",
            "{",
            "}",
            "{}",
            "a}b{c}",
            "{a b}",
            "{{a}}",
            "é{a}",
            "a\nb",
            "{\u{430}}",
        ] {
            assert!(Template::parse(bad).is_err(), "{bad:?}");
        }
    }
}
