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
        "purl {0:?}: want pkg:type/name in canonical form, at most 1024 bytes, percent-encoded (upper case) where it must be and nowhere else"
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

/// A purl or purl prefix in its one form, so that it can be compared byte for byte: `pkg:`, a
/// lower-case type, a name, at most 1024 bytes; no empty, `.` or `..` segment; at most one `@` in
/// the path; what needs no percent-encoding has none, and what needs it has it with upper-case
/// digits; qualifiers sorted by key, none empty. Two spellings of one purl would be released
/// twice, or be two projects'. Rules of single types (such as lower-case names) are not looked at.
///
/// # Errors
/// [`NameError::Purl`].
pub fn check_purl(purl: &str, prefix: bool) -> Result<(), NameError> {
    if purl.len() <= 1024 && canonical_purl(purl, prefix).is_some() {
        Ok(())
    } else {
        Err(NameError::Purl(clip(purl)))
    }
}

fn canonical_purl(purl: &str, prefix: bool) -> Option<()> {
    let require = |holds: bool| holds.then_some(());
    let (kind, rest) = purl.strip_prefix("pkg:")?.split_once('/')?;
    require(
        kind.starts_with(|c: char| c.is_ascii_lowercase())
            && kind
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-')),
    )?;
    let segments = |s: &str| {
        s.split('/')
            .all(|s| !matches!(s, "." | "..") && canonical_part(s))
    };
    let (rest, subpath) = match rest.split_once('#') {
        Some((rest, subpath)) => (rest, Some(subpath)),
        None => (rest, None),
    };
    let (path, qualifiers) = match rest.split_once('?') {
        Some((path, qualifiers)) => (path, Some(qualifiers)),
        None => (rest, None),
    };
    let (name, version) = match path.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (path, None),
    };
    let directory = prefix && version.or(qualifiers).or(subpath).is_none();
    let name = match name.strip_suffix('/') {
        Some(shorter) if directory => shorter,
        _ => name,
    };
    require(segments(name))?;
    require(version.is_none_or(canonical_part))?;
    require(subpath.is_none_or(segments))?;
    let mut last = "";
    for qualifier in qualifiers.iter().flat_map(|q| q.split('&')) {
        let (key, value) = qualifier.split_once('=')?;
        require(
            key > last
                && key.starts_with(|c: char| c.is_ascii_lowercase())
                && key
                    .bytes()
                    .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'))
                && canonical_part(value),
        )?;
        last = key;
    }
    Some(())
}

/// Whether a part of a purl is not empty, UTF-8 without control characters when decoded, and
/// percent-encoded exactly where it must be.
fn canonical_part(part: &str) -> bool {
    let plain = |b: u8| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':');
    let mut decoded = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    loop {
        match rest {
            [] => break,
            [b'%', high, low, tail @ ..] => {
                let digit = |b: u8| match b {
                    b'0'..=b'9' => Some(b - b'0'),
                    b'A'..=b'F' => Some(b - b'A' + 10),
                    _ => None,
                };
                let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
                    return false;
                };
                let byte = high << 4 | low;
                if plain(byte) {
                    return false;
                }
                decoded.push(byte);
                rest = tail;
            }
            [b, tail @ ..] if plain(*b) => {
                decoded.push(*b);
                rest = tail;
            }
            _ => return false,
        }
    }
    std::str::from_utf8(&decoded)
        .is_ok_and(|text| !text.is_empty() && !text.chars().any(char::is_control))
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

/// Whether a project's name would be taken for another: the same once characters that look alike,
/// separators and repeats are taken for one another, or one character away from it. A name does not
/// look like itself.
#[must_use]
pub fn look_alike(own: &str, other: &str) -> bool {
    if own == other {
        return false;
    }
    let (a, b) = (skeleton(own), skeleton(other));
    a == b || (a.len().min(b.len()) >= 5 && one_edit(&a, &b))
}

/// A name as a hasty reader sees it.
fn skeleton(name: &str) -> Vec<u8> {
    let text = name
        .replace("rn", "m")
        .replace("vv", "w")
        .replace("cl", "d");
    let mut seen: Vec<u8> = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        let byte = match byte {
            b'0' => b'o',
            b'1' | b'i' => b'l',
            b'5' => b's',
            b'8' => b'b',
            b'2' => b'z',
            b'.' | b'_' | b'-' => continue,
            other => other,
        };
        if seen.last() != Some(&byte) {
            seen.push(byte);
        }
    }
    seen
}

/// Whether one insertion, removal, change or exchange of neighbours makes one of the other.
fn one_edit(a: &[u8], b: &[u8]) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let same = short.iter().zip(long).take_while(|(x, y)| x == y).count();
    let (short, long) = (
        short.get(same..).unwrap_or_default(),
        long.get(same..).unwrap_or_default(),
    );
    match (short, long) {
        (s, [_, l @ ..]) if s == l => true,
        ([_, s @ ..], [_, l @ ..]) if s == l => true,
        ([a, b, s @ ..], [c, d, l @ ..]) => (a, b, s) == (d, c, l),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_hasty_reader_takes_for_another() {
        for other in [
            "acrne/tool",
            "acme/t00l",
            "acme/too1",
            "acme-/tool",
            "acme/tol",
            "acme/tools",
            "acme/otol",
            "acme/tooi",
            "ac.me/tool",
            "acmf/tool",
        ] {
            assert!(look_alike("acme/tool", other), "{other}");
            assert!(look_alike(other, "acme/tool"), "{other}");
        }
        for other in [
            "acme/tool",
            "acme/library",
            "other/tool",
            "acme/toolbox",
            "a",
            "",
        ] {
            assert!(!look_alike("acme/tool", other), "{other}");
        }
        // Of short names nearly all are one character away.
        assert!(!look_alike("ab", "ac") && look_alike("a1", "al"));
    }

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

    #[test]
    fn a_purl_has_one_spelling() {
        for ok in [
            "pkg:generic/x@1.0",
            "pkg:generic/acme/x@1:2~3?arch=x86_64&os=linux#a/b",
            "pkg:npm/%40acme/x@1%2B2",
            "pkg:generic/%C3%A9@1",
        ] {
            assert_eq!(check_purl(ok, false), Ok(()), "{ok}");
        }
        for bad in [
            "pkg:generic/x@1%2E0",
            "pkg:generic/%78@1.0",
            "pkg:generic/x@1%2b2",
            "pkg:generic/x@1+2",
            "pkg:generic/x@1%",
            "pkg:generic/x@1%+1",
            "pkg:generic/x@1%FF",
            "pkg:generic/x@0@1",
            "pkg:generic/@acme/x@1",
            "pkg:generic/x@",
            "pkg:generic/x@1/",
            "pkg:generic/x@1?",
            "pkg:generic/x@1#",
            "pkg:generic/x@1?os=",
            "pkg:generic/x@1?os=a&arch=b",
            "pkg:generic/x@1?os=a&os=b",
            "pkg:generic/x@1?OS=a",
            "pkg:generic/x@1?os=a/b",
            "pkg:generic/x@1#a/../b",
            "pkg:generic/x/@1",
        ] {
            assert!(check_purl(bad, false).is_err(), "{bad}");
        }
        for (prefix, ok) in [
            ("pkg:generic/acme/", true),
            ("pkg:generic/acme", true),
            ("pkg:generic/%61cme", false),
            ("pkg:generic/acme//", false),
            ("pkg:generic/", false),
            ("pkg:generic/x@1/", false),
        ] {
            assert_eq!(check_purl(prefix, true).is_ok(), ok, "{prefix}");
        }
    }
}
