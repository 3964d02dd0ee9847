//! A key of a token: found, checked, and signing.

use super::{MODULE_VARIABLE, TokenError, TokenUri};
use crate::file::{Passphrase, ask};
use crate::{PublicKey, SignError, Signer, low_s};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// CKA_EC_PARAMS of P-256: its object identifier, as DER.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// How many tokens or keys are listed in an error.
const SHOWN: usize = 20;

/// A private key on a token. The session that it signs in is closed with it.
pub(super) struct TokenSigner {
    // A session is used by one thread at a time.
    session: Mutex<Session>,
    key: ObjectHandle,
    public: PublicKey,
    module: PathBuf,
}

fn failed(module: &Path, e: &Error) -> TokenError {
    TokenError::Module {
        module: module.display().to_string(),
        // PKCS#11's own explanations have several paragraphs.
        why: match e {
            Error::Pkcs11(code, function) => format!("{function} answers {code:?}"),
            other => other.to_string(),
        },
    }
}

/// The module, which is loaded and initialised once in a process.
fn module(path: &Path) -> Result<Pkcs11, TokenError> {
    static LOADED: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = loaded.get(path) {
        return Ok(module.clone());
    }
    let module = Pkcs11::new(path).map_err(|e| failed(path, &e))?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // The same module by another path.
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => (),
        Err(e) => return Err(failed(path, &e)),
    }
    loaded.insert(path.to_owned(), module.clone());
    Ok(module)
}

fn module_path(uri: &TokenUri) -> Result<PathBuf, TokenError> {
    if let Some(path) = &uri.module {
        return Ok(path.clone());
    }
    let none = |why: &str| TokenError::NoModule(why.to_owned());
    let path = std::env::var_os(MODULE_VARIABLE).filter(|p| !p.is_empty());
    let path = PathBuf::from(path.ok_or_else(|| none("none is named"))?);
    // What is loaded runs: never something that lies in the working directory.
    match path.is_absolute() {
        true => Ok(path),
        false => Err(none("COUNTERSIGN_PKCS11_MODULE is no whole path")),
    }
}

/// The one token that the URI names.
fn token(module: &Pkcs11, path: &Path, uri: &TokenUri) -> Result<(Slot, TokenInfo), TokenError> {
    let slots = module.get_slots_with_initialized_token();
    let slots = slots.map_err(|e| failed(path, &e))?;
    let tokens: Vec<(Slot, TokenInfo)> = slots
        .into_iter()
        .filter_map(|slot| Some((slot, module.get_token_info(slot).ok()?)))
        .collect();
    let is = |want: &Option<String>, has: &str| want.as_ref().is_none_or(|w| w == has);
    let fits = |(_, t): &&(Slot, TokenInfo)| {
        is(&uri.token, t.label())
            && is(&uri.manufacturer, t.manufacturer_id())
            && is(&uri.model, t.model())
            && is(&uri.serial, t.serial_number())
    };
    // Of several none is tried: each could take the PIN for a wrong one.
    let found: Vec<&(Slot, TokenInfo)> = tokens.iter().filter(fits).collect();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        several => Err(TokenError::Tokens {
            matching: several.len(),
            has: listed(tokens.iter().map(|(_, t)| {
                let (token, serial) = (t.label().to_owned(), t.serial_number().to_owned());
                let uri = TokenUri {
                    token: Some(token).filter(|t| !t.is_empty()),
                    serial: Some(serial).filter(|s| !s.is_empty()),
                    ..TokenUri::default()
                };
                uri.to_string()
            })),
        }),
    }
}

fn listed(all: impl Iterator<Item = String>) -> String {
    let shown: Vec<String> = all.take(SHOWN).collect();
    match shown.is_empty() {
        true => "none at all".to_owned(),
        false => shown.join(", "),
    }
}

/// Logs in, where the token wants that. A PIN is sent once: tokens lock after a few wrong ones.
fn login(
    session: &Session,
    path: &Path,
    info: &TokenInfo,
    pin: &Passphrase,
) -> Result<(), TokenError> {
    let state = session.get_session_info();
    let state = state.map_err(|e| failed(path, &e))?.session_state();
    // Another key of the same token has logged in for the whole process.
    if !info.login_required() || matches!(state, SessionState::RoUser | SessionState::RwUser) {
        return Ok(());
    }
    if info.user_pin_locked() {
        return Err(TokenError::PinLocked(
            "is locked; unlock it with the vendor's program",
        ));
    }
    if info.user_pin_final_try() && *pin != Passphrase::Prompt {
        return Err(TokenError::PinLocked(
            "would be locked by one more wrong PIN, so it is taken from a terminal only",
        ));
    }
    let done = if info.protected_authentication_path() {
        eprintln!("enter the PIN at the token's own keys");
        session.login(UserType::User, None)
    } else {
        let label = format!("PIN of token {:?}", info.label());
        let secret = ask(pin, &label, false).map_err(|e| TokenError::NoPin(e.to_string()))?;
        let secret = secret.ok_or_else(|| TokenError::NoPin("none is given".to_owned()))?;
        session.login(UserType::User, Some(&AuthPin::from(secret.as_str())))
    };
    match done {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(Error::Pkcs11(
            RvError::PinIncorrect | RvError::PinLenRange | RvError::PinInvalid,
            _,
        )) => Err(TokenError::WrongPin),
        Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(TokenError::PinLocked(
            "is locked; unlock it with the vendor's program",
        )),
        Err(e) => Err(failed(path, &e)),
    }
}

/// What one object says of itself, by kind; what it does not have is left out.
struct Object<'a> {
    session: &'a Session,
    handle: ObjectHandle,
    module: &'a Path,
}

impl Object<'_> {
    fn get(&self, what: AttributeType) -> Result<Option<Attribute>, TokenError> {
        let got = self.session.get_attributes(self.handle, &[what]);
        let got = got.map_err(|e| failed(self.module, &e))?;
        Ok(got.into_iter().next())
    }

    fn bytes(&self, what: AttributeType) -> Result<Option<Vec<u8>>, TokenError> {
        Ok(match self.get(what)? {
            Some(
                Attribute::Id(b)
                | Attribute::Label(b)
                | Attribute::EcParams(b)
                | Attribute::EcPoint(b),
            ) => Some(b),
            _ => None,
        })
    }

    /// As a URI would name it.
    fn shown(&self) -> String {
        let label = self.bytes(AttributeType::Label).ok().flatten();
        let id = self.bytes(AttributeType::Id).ok().flatten();
        let label = label.map(|l| String::from_utf8_lossy(&l).into_owned());
        let uri = TokenUri {
            object: label.filter(|l| !l.is_empty()),
            id: id.filter(|i| !i.is_empty()),
            ..TokenUri::default()
        };
        uri.to_string()
    }

    /// Refuses what is no P-256 key.
    fn is_p256(&self) -> Result<(), TokenError> {
        let kind = match self.get(AttributeType::KeyType)? {
            Some(Attribute::KeyType(kind)) => kind,
            _ => return Err(TokenError::WrongType("of no known type".to_owned())),
        };
        if kind != KeyType::EC {
            return Err(TokenError::WrongType(format!("of type {kind}")));
        }
        match self.bytes(AttributeType::EcParams)? {
            Some(params) if params != P256 => {
                Err(TokenError::WrongType("of another curve".to_owned()))
            }
            // Not every token tells a private key's curve; the public point tells it then.
            _ => Ok(()),
        }
    }
}

/// The point in CKA_EC_POINT: an OCTET STRING, or, of some tokens, the bare point.
fn point(value: &[u8]) -> &[u8] {
    match value {
        [0x04, 0x41, point @ ..] if point.len() == 65 => point,
        bare => bare,
    }
}

impl TokenSigner {
    pub(super) fn open(uri: &TokenUri, pin: &Passphrase) -> Result<Self, TokenError> {
        let path = module_path(uri)?;
        let module = module(&path)?;
        let (slot, info) = token(&module, &path, uri)?;
        let session = module.open_ro_session(slot);
        let session = session.map_err(|e| failed(&path, &e))?;
        let source = uri.pin_source.clone().map(Passphrase::File);
        login(&session, &path, &info, source.as_ref().unwrap_or(pin))?;
        let (key, public) = find(&session, &path, uri)?;
        Ok(Self {
            session: Mutex::new(session),
            key,
            public,
            module: path,
        })
    }
}

/// The one private key that the URI names, and its public half.
fn find(
    session: &Session,
    path: &Path,
    uri: &TokenUri,
) -> Result<(ObjectHandle, PublicKey), TokenError> {
    let objects =
        |class: ObjectClass, more: Vec<Attribute>| -> Result<Vec<ObjectHandle>, TokenError> {
            let template = [vec![Attribute::Class(class), Attribute::Token(true)], more].concat();
            session
                .find_objects(&template)
                .map_err(|e| failed(path, &e))
        };
    let object = |handle| Object {
        session,
        handle,
        module: path,
    };
    let label = uri
        .object
        .iter()
        .map(|o| Attribute::Label(o.clone().into()));
    let id = uri.id.iter().map(|i| Attribute::Id(i.clone()));
    let found = objects(ObjectClass::PRIVATE_KEY, label.chain(id).collect())?;
    let key = match found.as_slice() {
        [one] => object(*one),
        several => {
            let all = objects(ObjectClass::PRIVATE_KEY, Vec::new())?;
            return Err(TokenError::Keys {
                matching: several.len(),
                has: listed(all.into_iter().map(|h| object(h).shown())),
            });
        }
    };
    key.is_p256()?;
    if let Ok(Some(Attribute::AlwaysAuthenticate(true))) =
        key.get(AttributeType::AlwaysAuthenticate)
    {
        return Err(TokenError::AlwaysAuthenticate);
    }
    // The two halves of a key have one CKA_ID.
    let id = key.bytes(AttributeType::Id)?.unwrap_or_default();
    let publics = objects(ObjectClass::PUBLIC_KEY, vec![Attribute::Id(id)])?;
    let public = match publics.as_slice() {
        [one] => object(*one),
        several => return Err(TokenError::PublicKeys(several.len())),
    };
    public.is_p256()?;
    let value = public.bytes(AttributeType::EcPoint)?.unwrap_or_default();
    let public = PublicKey::from_point(point(&value)).map_err(|e| TokenError::Malformed {
        what: "public key",
        why: e.to_string(),
    })?;
    Ok((key.handle, public))
}

/// The signature r‖s that a token gives, as strict DER with s ≤ n/2.
fn signature(raw: &[u8]) -> Result<Vec<u8>, TokenError> {
    let bad = |why: &str| TokenError::Malformed {
        what: "signature",
        why: why.to_owned(),
    };
    let halves = raw
        .split_at_checked(32)
        .and_then(|(r, s)| Some((<[u8; 32]>::try_from(r).ok()?, <[u8; 32]>::try_from(s).ok()?)));
    let (r, s) = halves.ok_or_else(|| bad("not 64 bytes"))?;
    low_s::from_scalars(&r, &s).map_err(|_| bad("r or s is out of range"))
}

impl Signer for TokenSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        // Hashed here: not every token has the mechanism that hashes.
        let digest = crate::digest::sha256(message);
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let raw = session.sign(&Mechanism::Ecdsa, self.key, &digest);
        let raw = raw.map_err(|e| failed(&self.module, &e))?;
        let signature = signature(&raw)?;
        match self.public.verify(message, &signature) {
            Ok(()) => Ok(signature),
            Err(_) => Err(TokenError::OtherSignature.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::SecretKey;

    #[test]
    fn a_point_is_read_with_and_without_its_octet_string() {
        let key = SecretKey::generate().unwrap();
        let bare = key.public_key().spki_der().get(26..).unwrap();
        let wrapped = [&[0x04, 0x41], bare].concat();
        for value in [bare, &wrapped] {
            assert_eq!(
                PublicKey::from_point(point(value)).unwrap(),
                *key.public_key()
            );
        }
        for bad in [&wrapped[..66], &bare[1..], &[]] {
            assert!(PublicKey::from_point(point(bad)).is_err());
        }
    }

    #[test]
    fn a_signature_has_two_scalars_of_32_bytes() {
        let mut raw = [0; 64];
        (raw[31], raw[63]) = (1, 2);
        assert_eq!(signature(&raw).unwrap(), [0x30, 6, 2, 1, 1, 2, 1, 2]);
        for bad in [&raw[..63], &[0; 64], &[0xff; 64], &[1; 65]] {
            assert_eq!(signature(bad).unwrap_err().kind(), "token-bad-answer");
        }
    }
}
