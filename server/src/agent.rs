//! The HTTP client with which the server asks others: witnesses, and the issuers of tokens.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

const CONNECT: Duration = Duration::from_secs(5);
/// For a whole request.
const REQUEST: Duration = Duration::from_secs(10);

/// A client that believes the platform's certificate authorities or, in their place, those in
/// `ca_file` (PEM). It follows no redirect: whom to ask is for the configuration to say.
///
/// # Errors
/// A sentence, where `ca_file` cannot be read or has no certificate.
pub(crate) fn agent(ca_file: Option<&Path>) -> Result<Agent, String> {
    let roots = match ca_file {
        None => RootCerts::PlatformVerifier,
        Some(path) => RootCerts::Specific(Arc::new(roots(path)?)),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(roots)
        .unversioned_rustls_crypto_provider(provider)
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .user_agent(concat!("countersign-server/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_connect(Some(CONNECT))
        .timeout_global(Some(REQUEST))
        .build();
    Ok(config.into())
}

fn roots(path: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let bad = |why: String| format!("{}: {why}", path.display());
    let pem = std::fs::read(path).map_err(|e| bad(e.to_string()))?;
    let mut roots = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|e| bad(e.to_string()))? {
            roots.push(certificate);
        }
    }
    if roots.is_empty() {
        return Err(bad("holds no certificate".into()));
    }
    Ok(roots)
}
