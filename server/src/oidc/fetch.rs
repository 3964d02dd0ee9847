//! What is asked of issuers, over HTTPS.

use super::config::IssuerSettings;
use crate::agent::agent;
use crate::error::Error;
use axum::http::Uri;
use std::io::Read as _;
use ureq::Agent;

/// Gets a document.
pub trait Fetch: Send + Sync {
    /// The document at `url`, of at most `most` bytes.
    ///
    /// # Errors
    /// Why there is none.
    fn get(&self, url: &str, most: u64) -> Result<Vec<u8>, String>;
}

/// Whether a URL may be asked: https, or http to this machine; no user, query or fragment.
///
/// # Errors
/// What is wrong with it.
pub fn is_url(text: &str) -> Result<(), String> {
    let bad = |why: &str| Err(format!("{text:?}: {why}"));
    let Ok(uri) = text.parse::<Uri>() else {
        return bad("is no URL");
    };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return bad("is no URL with a host");
    };
    if authority.as_str().contains('@') || text.contains(['?', '#', '"', '\\']) {
        return bad("must have no user, query, fragment or quotes");
    }
    let here = matches!(authority.host(), "127.0.0.1" | "[::1]" | "localhost");
    match scheme {
        "https" => Ok(()),
        "http" if here => Ok(()),
        _ => bad("must be https; http is for this machine only"),
    }
}

/// Over the network.
pub struct Http {
    agent: Agent,
}

impl Http {
    /// For the issuer with these settings.
    ///
    /// # Errors
    /// [`Error::Oidc`] where its file of authorities cannot be read.
    pub fn new(settings: &IssuerSettings) -> Result<Self, Error> {
        let agent = agent(settings.ca_file.as_deref()).map_err(Error::Oidc)?;
        Ok(Self { agent })
    }
}

impl Fetch for Http {
    fn get(&self, url: &str, most: u64) -> Result<Vec<u8>, String> {
        is_url(url)?;
        let sent = self.agent.get(url).header("accept", "application/json");
        let response = sent.call().map_err(|e| format!("{url}: {e}"))?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(format!("{url}: status {status}, want 200"));
        }
        let mut bytes = Vec::new();
        let mut reader = response.into_body().into_reader().take(most + 1);
        reader
            .read_to_end(&mut bytes)
            .map_err(|e| format!("{url}: {e}"))?;
        if bytes.len() as u64 > most {
            return Err(format!("{url}: over {most} bytes"));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_is_asked_and_this_machine() {
        for good in [
            "https://a.example",
            "https://a.example:8443/x/y",
            "http://127.0.0.1:80/x",
            "http://[::1]:8080",
            "http://localhost/x",
        ] {
            assert_eq!(is_url(good), Ok(()), "{good}");
        }
        for bad in [
            "http://a.example",
            "http://127.0.0.1@a.example/",
            "http://127.0.0.1.a.example/",
            "http://127.0.0.1:80@a.example/",
            "https://u@a.example/",
            "https://a.example/?x",
            "https://a.example/#x",
            "ftp://a.example",
            "file:///etc/passwd",
            "//a.example",
            "a.example",
            "/x",
            "",
            "https://a b/",
        ] {
            assert!(is_url(bad).is_err(), "{bad}");
        }
    }
}
