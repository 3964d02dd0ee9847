//! Strict DER and s ≤ n/2: of the two signatures that ECDSA allows for each message and
//! nonce, and of the many lax encodings, exactly one is accepted
//! (docs/formats.md, "One envelope, one identity").

use crate::SignatureError;
use p256::ecdsa::Signature;

fn strict(der: &[u8]) -> Result<Signature, SignatureError> {
    let signature = Signature::from_der(der).map_err(|_| SignatureError::NotDer)?;
    if signature.to_der().as_bytes() == der {
        Ok(signature)
    } else {
        Err(SignatureError::NotDer)
    }
}

/// The same signature with s ≤ n/2. What hardware gives may have either s.
///
/// # Errors
/// [`SignatureError::NotDer`].
pub fn normalize_der(der: &[u8]) -> Result<Vec<u8>, SignatureError> {
    Ok(strict(der)?.normalize_s().to_der().as_bytes().to_vec())
}

/// A signature of its two scalars, as strict DER with s ≤ n/2: agents and hardware give it so.
///
/// # Errors
/// [`SignatureError::NotDer`] where one of them is zero or not below the group's order.
pub fn from_scalars(r: &[u8; 32], s: &[u8; 32]) -> Result<Vec<u8>, SignatureError> {
    let signature = Signature::from_scalars(*r, *s).map_err(|_| SignatureError::NotDer)?;
    Ok(signature.normalize_s().to_der().as_bytes().to_vec())
}

/// Requires strict DER with s ≤ n/2.
///
/// # Errors
/// [`SignatureError::NotDer`] or [`SignatureError::HighS`].
pub fn require(der: &[u8]) -> Result<(), SignatureError> {
    let signature = strict(der)?;
    if signature.normalize_s() == signature {
        Ok(())
    } else {
        Err(SignatureError::HighS)
    }
}

/// Whether `der` is strict DER with s ≤ n/2.
#[must_use]
pub fn is_low_s(der: &[u8]) -> bool {
    require(der).is_ok()
}
