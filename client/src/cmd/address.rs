//! What an artifact's address says: its bundle's address, and the artifact's name.

use crate::fail::Fail;

/// The address without its query and fragment, and the rest.
fn split(url: &str) -> (&str, &str) {
    url.split_at(url.find(['?', '#']).unwrap_or(url.len()))
}

/// Percent-encodes what is neither unreserved (RFC 3986, section 2.3) nor in `also`.
pub(crate) fn percent_encoded(text: &str, also: &str) -> String {
    let plain =
        |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b) || also.as_bytes().contains(&b);
    text.bytes().fold(String::new(), |mut out, b| {
        if plain(b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
        out
    })
}

/// The bundle's address: `.bundle` behind the path, before a query.
pub(crate) fn beside(url: &str) -> String {
    let (path, rest) = split(url);
    format!("{path}.bundle{rest}")
}

/// The file name that an address ends in, percent-decoded.
pub(crate) fn last_segment(url: &str) -> Result<String, Fail> {
    let bad = || {
        Fail::usage(
            "no-artifact-name",
            format!("the address {url:?} does not end in a file name"),
        )
        .hint("give the name that the artifact was released under with --name")
    };
    let (path, _) = split(url);
    let (_, path) = path.split_once("://").ok_or_else(|| {
        Fail::usage(
            "bad-url",
            format!("{url:?} is not an http or https address"),
        )
        .hint("give the artifact's address; `verify` is for files")
    })?;
    let (_, last) = path.rsplit_once('/').ok_or_else(bad)?;
    let mut bytes = Vec::with_capacity(last.len());
    let mut rest = last.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2).ok_or_else(bad)?;
        bytes.extend(hex::decode(digits).map_err(|_| bad())?);
        rest = tail;
    }
    String::from_utf8(bytes)
        .ok()
        .filter(|name| !name.is_empty())
        .ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_not_unreserved_is_encoded() {
        let encoded = percent_encoded("log.example/a b&c=d", "");
        assert_eq!(encoded, "log.example%2Fa%20b%26c%3Dd");
        assert_eq!(percent_encoded("1:0+1~a-b_c", ":"), "1:0%2B1~a-b_c");
        assert_eq!(percent_encoded("1:0+1", "+"), "1%3A0+1");
    }

    #[test]
    fn names_and_bundles_of_addresses() {
        assert_eq!(
            last_segment("https://h/a/tool-1.0.tar.gz?sig=/x#y").unwrap(),
            "tool-1.0.tar.gz"
        );
        assert_eq!(last_segment("https://h/a%2Bb").unwrap(), "a+b");
        for bad in [
            "https://h/",
            "https://h",
            "h/a",
            "https://h/%2",
            "https://h/%zz",
            "https://h/%ff",
        ] {
            assert_eq!(last_segment(bad).unwrap_err().code, 2, "{bad}");
        }
        assert_eq!(beside("https://h/a?q=1"), "https://h/a.bundle?q=1");
    }
}
