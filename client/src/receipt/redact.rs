//! Addresses without what gives access: receipts go where logs go.

/// `url` without user information, query and fragment, each of which may be a secret. What stood
/// there is shown to have been there by `…`.
#[must_use]
pub fn address(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, url),
    };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (rest, cut) = rest.split_at(end);
    let authority = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(authority);
    let mut out = String::with_capacity(url.len());
    if let Some(scheme) = scheme {
        out.push_str(scheme);
        out.push_str("://");
    }
    match host.rsplit_once('@') {
        // `git@host:path`, as git writes it: a name alone is no secret, and needed to say it.
        Some((user, host)) if scheme.is_none() && !user.contains(':') => {
            out.push_str(user);
            out.push('@');
            out.push_str(host);
        }
        Some((_, host)) => {
            out.push_str("…@");
            out.push_str(host);
        }
        None => out.push_str(host),
    }
    out.push_str(path);
    if let Some(mark) = cut.chars().next() {
        out.push(mark);
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::address;
    use proptest::prelude::*;

    #[test]
    fn what_gives_access_is_cut_out() {
        for (url, want) in [
            ("https://example.com/a/b", "https://example.com/a/b"),
            (
                "https://user:token@example.com:8443/a",
                "https://…@example.com:8443/a",
            ),
            ("https://token@example.com/a", "https://…@example.com/a"),
            (
                "https://s3.example/b/k?X-Sig=abc#frag",
                "https://s3.example/b/k?…",
            ),
            ("https://example.com/a#token", "https://example.com/a#…"),
            ("ssh://git:pw@host/x.git", "ssh://…@host/x.git"),
            ("git@host.example:org/x.git", "git@host.example:org/x.git"),
            ("user:pw@host:org/x.git", "…@host:org/x.git"),
            ("https://a@b@example.com/", "https://…@example.com/"),
            ("/srv/git/x.git", "/srv/git/x.git"),
            ("", ""),
        ] {
            assert_eq!(address(url), want, "{url}");
        }
    }

    proptest! {
        #[test]
        fn a_secret_in_its_usual_places_is_never_left(secret in "[A-Za-z0-9]{12,20}") {
            for url in [
                format!("https://{secret}@h.example/p"),
                format!("https://u:{secret}@h.example/p"),
                format!("https://h.example/p?token={secret}"),
                format!("https://h.example/p#{secret}"),
                format!("u:{secret}@h.example:p"),
            ] {
                prop_assert!(!address(&url).contains(&secret));
            }
        }
    }
}
