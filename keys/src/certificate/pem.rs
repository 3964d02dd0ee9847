//! Certificates in files: PEM, as every tool writes it, or one in DER.

use super::{CertificateError, MAX_CHAIN};
use der::pem::{LineEnding, encode_string};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};

/// The label of a certificate in PEM (RFC 7468).
const LABEL: &str = "CERTIFICATE";

/// The certificates of a file, in its order: PEM, or else one in DER. Their profile is not checked.
///
/// # Errors
/// [`CertificateError::Encoding`], [`CertificateError::Count`].
pub fn read_certificates(bytes: &[u8]) -> Result<Vec<Vec<u8>>, CertificateError> {
    // A DER certificate is a SEQUENCE; no text begins so.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![bytes.to_vec()]);
    }
    let mut ders = Vec::new();
    for one in CertificateDer::pem_slice_iter(bytes) {
        let one = one.map_err(|e| CertificateError::Encoding(format!("PEM: {e}")))?;
        ders.push(one.to_vec());
        // One more than a chain: its anchor.
        if ders.len() > MAX_CHAIN + 1 {
            return Err(CertificateError::Count(ders.len()));
        }
    }
    match ders.is_empty() {
        true => Err(CertificateError::Count(0)),
        false => Ok(ders),
    }
}

/// The request of a file: PEM or DER. What is in it is not checked.
///
/// # Errors
/// [`CertificateError::Request`].
pub fn read_request(bytes: &[u8]) -> Result<Vec<u8>, CertificateError> {
    if bytes.first() == Some(&0x30) {
        return Ok(bytes.to_vec());
    }
    let one = CertificateSigningRequestDer::from_pem_slice(bytes);
    one.map(|der| der.to_vec())
        .map_err(|e| CertificateError::Request(format!("PEM: {e}")))
}

/// A certificate as PEM.
///
/// # Errors
/// [`CertificateError::Issue`] never in practice.
pub fn write_certificate(der: &[u8]) -> Result<String, CertificateError> {
    encode_string(LABEL, LineEnding::LF, der).map_err(|e| CertificateError::Issue(e.to_string()))
}
