//! Addresses without what gives access: receipts go where logs go.

/// `url` without user information, query and fragment, each of which may be a secret. What stood
/// there is shown to have been there by `…`.
///
/// A path stays, so that it says what was fetched: whoever has a token in a path has it in their logs.
#[must_use]
pub fn address(url: &str) -> String {
    // `helper::…` is given to a program, which may be told anything.
    if let Some((helper, _)) = url.split_once("::")
        && helper
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    {
        return format!("{helper}::…");
    }
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => match url.strip_prefix("//") {
            Some(rest) => ("//".to_owned(), rest),
            None => (String::new(), url),
        },
    };
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at(authority);
    let (host, after) = match authority.rsplit_once('@') {
        // `git@host:path`, as git writes it.
        Some(("git", _)) if scheme.is_empty() => (authority.to_owned(), after),
        Some((_, host)) => (format!("…@{host}"), after),
        None if scheme.is_empty() || is_host(authority) => (authority.to_owned(), after),
        // A password may have what ends an address's host: all up to the last `@` may be one.
        None => match after.rsplit_once('@') {
            Some((_, rest)) => {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                let (host, after) = rest.split_at(end);
                (format!("…@{host}"), after)
            }
            None => ("…".to_owned(), ""),
        },
    };
    let cut = after.find(['?', '#']).unwrap_or(after.len());
    let (path, cut) = after.split_at(cut);
    let mut out = format!("{scheme}{host}{path}");
    if let Some(mark) = cut.chars().next() {
        out.push(mark);
        out.push('…');
    }
    out
}

/// A host, with a port if with anything: not a name and a password.
fn is_host(authority: &str) -> bool {
    let after = authority
        .rsplit_once(']')
        .map_or(authority, |(_, after)| after);
    match after.split_once(':') {
        None => true,
        Some((_, port)) => port.bytes().all(|b| b.is_ascii_digit()),
    }
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
            ("ghp_token@host:org/x.git", "…@host:org/x.git"),
            ("ext::curl -H 'Bearer token' x", "ext::…"),
            ("https://user:tok#en@host/x", "https://…@host/x"),
            ("https://user:tok?en@host/x", "https://…@host/x"),
            ("https://user:tok/en@host/x?q", "https://…@host/x?…"),
            ("https://user:token", "https://…"),
            ("//user:token@host/x", "//…@host/x"),
            ("https://[2001:db8::1]:443/x", "https://[2001:db8::1]:443/x"),
            ("https://host/x@1.0/y", "https://host/x@1.0/y"),
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
                format!("{secret}@h.example:p"),
                format!("https://u:a/{secret}#?@h.example/p"),
            ] {
                prop_assert!(!address(&url).contains(&secret));
            }
        }
    }
}
