//! Keys of several algorithms, of which the profile has one.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

use super::der::{algorithm, bits, object, oid, sequence};
use aws_lc_rs::digest;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;

/// A key that signs certificates or is in one.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Key {
    P256(Box<SigningKey>),
    /// Another curve, and its OID.
    Ec(EcdsaKeyPair, &'static str),
    Ed25519(Ed25519KeyPair),
    Rsa(aws_lc_rs::rsa::KeyPair),
}

impl Key {
    /// The P-256 key of a number.
    #[must_use]
    pub fn p256(number: u8) -> Self {
        Self::P256(Box::new(SigningKey::from_slice(&[number; 32]).unwrap()))
    }

    /// Any key of P-384.
    #[must_use]
    pub fn p384() -> Self {
        let key = EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_ASN1_SIGNING);
        Self::Ec(key.unwrap(), oid::P384)
    }

    /// Any key of secp256k1.
    #[must_use]
    pub fn k256() -> Self {
        let key = EcdsaKeyPair::generate(&signature::ECDSA_P256K1_SHA256_ASN1_SIGNING);
        Self::Ec(key.unwrap(), oid::K256)
    }

    /// Any key of Ed25519.
    #[must_use]
    pub fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    /// Any RSA key of 2048 bits.
    #[must_use]
    pub fn rsa() -> Self {
        let size = aws_lc_rs::rsa::KeySize::Rsa2048;
        Self::Rsa(aws_lc_rs::rsa::KeyPair::generate(size).unwrap())
    }

    /// The public key's bytes: of an elliptic curve the point, uncompressed.
    #[must_use]
    pub fn point(&self) -> Vec<u8> {
        match self {
            Self::P256(key) => key.verifying_key().to_sec1_point(false).as_bytes().to_vec(),
            Self::Ec(key, _) => key.public_key().as_ref().to_vec(),
            Self::Ed25519(key) => key.public_key().as_ref().to_vec(),
            Self::Rsa(key) => key.public_key().as_ref().to_vec(),
        }
    }

    /// Its SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        let of = |curve: &str| {
            let algorithm = sequence(&[&object(oid::EC_KEY), &object(curve)]);
            sequence(&[&algorithm, &bits(&self.point())])
        };
        match self {
            Self::P256(_) => of(oid::P256),
            Self::Ec(_, curve) => of(curve),
            Self::Ed25519(_) => sequence(&[&algorithm(oid::ED25519), &bits(&self.point())]),
            Self::Rsa(key) => key.public_key().as_der().unwrap().as_ref().to_vec(),
        }
    }

    /// What identifies it in certificates here.
    #[must_use]
    pub fn identifier(&self) -> Vec<u8> {
        ledger::sha256(&self.point())[..20].to_vec()
    }

    /// The AlgorithmIdentifier of what it signs by itself.
    #[must_use]
    pub fn algorithm(&self) -> Vec<u8> {
        match self {
            Self::P256(_) => algorithm(oid::ECDSA_SHA256),
            Self::Ec(_, curve) if *curve == oid::P384 => algorithm(oid::ECDSA_SHA384),
            Self::Ec(..) => algorithm(oid::ECDSA_SHA256),
            Self::Ed25519(_) => algorithm(oid::ED25519),
            Self::Rsa(_) => sequence(&[&object(oid::RSA_SHA256), &[0x05, 0x00]]),
        }
    }

    /// Signs, by the algorithm that this identifier names where the key can do several.
    #[must_use]
    pub fn sign(&self, algorithm_identifier: &[u8], message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::P256(key) => {
                let hash = if algorithm_identifier == algorithm(oid::ECDSA_SHA1) {
                    &digest::SHA1_FOR_LEGACY_USE_ONLY
                } else if algorithm_identifier == algorithm(oid::ECDSA_SHA384) {
                    &digest::SHA384
                } else {
                    &digest::SHA256
                };
                let hash = digest::digest(hash, message);
                let signature: p256::ecdsa::Signature = key.sign_prehash(hash.as_ref()).unwrap();
                signature.normalize_s().to_der().as_bytes().to_vec()
            }
            Self::Ec(key, _) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut out = vec![0; key.public_modulus_len()];
                key.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut out)
                    .unwrap();
                out
            }
        }
    }
}
