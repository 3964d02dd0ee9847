//! Names that people and URLs carry: projects, artifacts, purls
//! (docs/formats.md, "Names").

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Not `/`-separated segments of `[a-z0-9._-]`, or over 128 bytes.
    #[error(
        "project name {0:?}: want 1 to 128 bytes of [a-z0-9._-] segments separated by '/', none of them '.' or '..'"
    )]
    Project(String),
    /// A separator, a control character, `.`/`..`, empty, or over 255 bytes.
    #[error(
        "artifact name {0:?}: want a plain file name of 1 to 255 bytes without separators, control characters, '.' or '..'"
    )]
    Artifact(String),
    /// Not a purl in the canonical form that we can compare bytewise.
    #[error(
        "purl {0:?}: want pkg:type/name in canonical form, printable ASCII, at most 1024 bytes"
    )]
    Purl(String),
    /// A release's purl names no version.
    #[error("purl {0:?} names no version: want …@version")]
    NoVersion(String),
}

fn clip(s: &str) -> String {
    s.chars().take(80).collect()
}

/// A project's name: lower-case ASCII segments `[a-z0-9._-]` between `/`, at most 128 bytes.
///
/// # Errors
/// [`NameError::Project`].
pub fn check_project_name(name: &str) -> Result<(), NameError> {
    let ok = !name.is_empty()
        && name.len() <= 128
        && name.split('/').all(|s| {
            !s.is_empty()
                && s != "."
                && s != ".."
                && s.bytes()
                    .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
        });
    if ok {
        Ok(())
    } else {
        Err(NameError::Project(clip(name)))
    }
}

/// An artifact's name: a file name that is safe on every platform's path syntax.
///
/// # Errors
/// [`NameError::Artifact`].
pub fn check_artifact_name(name: &str) -> Result<(), NameError> {
    let ok = !name.is_empty()
        && name.len() <= 255
        && name != "."
        && name != ".."
        && !name
            .chars()
            .any(|c| c == '/' || c == '\\' || c.is_control());
    if ok {
        Ok(())
    } else {
        Err(NameError::Artifact(clip(name)))
    }
}

/// A purl or purl prefix, well enough formed to be compared byte for byte: `pkg:`, a
/// lower-case type, a name, printable ASCII, no empty, `.` or `..` segment.
///
/// # Errors
/// [`NameError::Purl`].
pub fn check_purl(purl: &str, prefix: bool) -> Result<(), NameError> {
    let bad = || NameError::Purl(clip(purl));
    let rest = purl.strip_prefix("pkg:").ok_or_else(bad)?;
    let shown = percent_decode(purl);
    if purl.len() > 1024
        || !purl.bytes().all(|b| b.is_ascii_graphic())
        || shown.chars().any(char::is_control)
    {
        return Err(bad());
    }
    let (kind, path) = rest.split_once('/').ok_or_else(bad)?;
    let kind_ok = kind.starts_with(|c: char| c.is_ascii_lowercase())
        && kind
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'));
    let end = path.find(['?', '#']).unwrap_or(path.len());
    let body = path.get(..end).unwrap_or("");
    let body = if prefix {
        body.strip_suffix('/').unwrap_or(body)
    } else {
        body
    };
    let path_ok = body
        .split('/')
        .all(|s| !s.is_empty() && s != "." && s != "..");
    if kind_ok && path_ok {
        Ok(())
    } else {
        Err(bad())
    }
}

/// The version that a purl names: what follows the last `@` of its path, before any
/// qualifiers or subpath. `None` where there is none, or it is empty.
#[must_use]
pub fn purl_version(purl: &str) -> Option<String> {
    let path = purl.split(['?', '#']).next()?;
    let at = path.rfind('@')?;
    let version = path.get(at + 1..)?;
    // An `@` in an earlier segment belongs to a namespace (pkg:npm/@scope/name would be %40).
    if version.is_empty() || version.contains('/') {
        return None;
    }
    Some(percent_decode(version))
}

fn percent_decode(s: &str) -> String {
    let mut out = Vec::with_capacity(s.len());
    let bytes = s.as_bytes();
    let mut i = 0;
    while let Some(&b) = bytes.get(i) {
        if b == b'%'
            && let Some(pair) = s.get(i + 1..i + 3)
            // `from_str_radix` would take a plus sign for the first digit.
            && pair.bytes().all(|b| b.is_ascii_hexdigit())
            && let Ok(v) = u8::from_str_radix(pair, 16)
        {
            out.push(v);
            i += 3;
        } else {
            out.push(b);
            i += 1;
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| s.to_owned())
}

/// Whether `prefix` covers `purl`: it is a byte prefix, and ends in `/` or is followed by
/// `/`, `@`, `?` or the end.
#[must_use]
pub fn prefix_covers(prefix: &str, purl: &str) -> bool {
    match purl.strip_prefix(prefix) {
        Some(rest) => prefix.ends_with('/') || rest.is_empty() || rest.starts_with(['/', '@', '?']),
        None => false,
    }
}

/// Whether two prefixes overlap: either covers the other.
#[must_use]
pub fn prefixes_overlap(a: &str, b: &str) -> bool {
    prefix_covers(a, b) || prefix_covers(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_names() {
        for ok in ["a", "acme/uploader", "a.b/c-d/e_f", "9"] {
            assert_eq!(check_project_name(ok), Ok(()), "{ok}");
        }
        for bad in [
            "",
            "A",
            "a//b",
            "/a",
            "a/",
            "a b",
            "../a",
            "a/./b",
            "é",
            &"a".repeat(129),
        ] {
            assert!(check_project_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn artifact_names_with_separators_controls_or_dots_are_refused() {
        for ok in ["tool", "tool-1.0.tar.gz", "…unicode", "a b"] {
            assert_eq!(check_artifact_name(ok), Ok(()), "{ok}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a\\b",
            "a\nb",
            "a\0",
            "\u{7f}",
            "\u{85}",
            &"x".repeat(256),
        ] {
            assert!(check_artifact_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn prefixes_cover_whole_segments_only() {
        assert!(prefix_covers("pkg:generic/acme", "pkg:generic/acme/x@1"));
        assert!(prefix_covers("pkg:generic/acme/x", "pkg:generic/acme/x@1"));
        assert!(prefix_covers(
            "pkg:generic/acme/x",
            "pkg:generic/acme/x?os=a"
        ));
        assert!(prefix_covers("pkg:generic/acme/", "pkg:generic/acme/x@1"));
        assert!(!prefix_covers(
            "pkg:generic/acme",
            "pkg:generic/acme-evil/x@1"
        ));
        assert!(prefixes_overlap("pkg:generic/acme/", "pkg:generic/acme/x"));
        assert!(!prefixes_overlap(
            "pkg:generic/acme/x",
            "pkg:generic/acme/y"
        ));
        assert!(check_purl("pkg:generic/acme/../x@1", false).is_err());
        assert!(check_purl("pkg:Generic/x@1", false).is_err());
        // What a person is shown decoded must not move their terminal's cursor.
        assert!(check_purl("pkg:generic/x@1%0A2", false).is_err());
        assert!(check_purl("pkg:generic/x@1%1b[2J", false).is_err());
        assert!(check_purl("pkg:generic/x@1%2B2", false).is_ok());
        assert_eq!(
            purl_version("pkg:generic/a@1.0?os=x@y").as_deref(),
            Some("1.0")
        );
        assert_eq!(purl_version("pkg:generic/a"), None);
        assert_eq!(purl_version("pkg:generic/a@"), None);
    }
}
