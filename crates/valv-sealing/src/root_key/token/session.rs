//! One session with a token: log in, find the key, wrap and unwrap.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::{constant_time, rand};
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::{Mechanism, aead::GcmParams},
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};
use zeroize::Zeroizing;

use super::super::{RootKeyId, hex};

/// The first byte of a wrapped data key: format byte, nonce (12 bytes), ciphertext (32 bytes), tag (16 bytes).
const FORMAT: u8 = 1;
/// Bytes of an AES-256 key.
const KEY_LEN: u64 = 32;
const NONCE_LEN: usize = 12;
const TAG_BITS: u64 = 128;
const SEALED_LEN: usize = 32 + 16;

/// The key's id is the beginning of this block encrypted under it (AES-ECB). AES-GCM encrypts blocks that end with
/// a counter, which for 32 bytes is at most 3, so it never meets this one.
const ID_BLOCK: &[u8; 16] = b"valv root key id";

/// What the key wraps when it is tried.
const TRIAL: &[u8] = b"valv root key trial";

/// Where the key is.
pub(super) struct Place {
    pub(super) module: PathBuf,
    pub(super) token: String,
    pub(super) key: String,
}

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Fault {
    /// It was not wrapped by this key under this context, or is damaged.
    DoesNotOpen,
    /// No nonce could be drawn.
    NoRandomness,
    /// The token does not do its work; says why and what to do.
    Unusable(String),
}

/// A token, and the session with it while there is one.
pub(super) struct Token {
    place: Place,
    pin: Zeroizing<String>,
    /// The PIN's source, for messages.
    pin_from: String,
    open: Option<Open>,
    /// The key's id, once it was found.
    id: Option<RootKeyId>,
    /// Why the token refused the PIN. It is not tried again: many tokens lock after three wrong ones.
    refused: Option<String>,
}

impl Token {
    pub(super) fn new(place: Place, pin: Zeroizing<String>, pin_from: String) -> Self {
        Self { place, pin, pin_from, open: None, id: None, refused: None }
    }

    /// Opens a session, anew if there is one, and tries the key.
    pub(super) fn open(&mut self) -> Result<RootKeyId, String> {
        self.open = None;
        if let Some(problem) = &self.refused {
            return Err(problem.clone());
        }
        let module = module(&self.place.module)?;
        let slot = self.find_slot(&module)?;
        let broken = |e: Error| format!("the token gives no session: {e}");
        let session = module.open_ro_session(slot).map_err(broken)?;
        self.log_in(&session)?;
        let open = Open { key: self.find_key(&session)?, session };
        let id = open.id().and_then(|id| open.trial().map(|()| id)).map_err(|problem| {
            format!(
                "the key '{}' does not wrap: {problem}; it must be an AES key of 256 bits that encrypts and decrypts (CKA_ENCRYPT, CKA_DECRYPT) with CKM_AES_GCM and CKM_AES_ECB",
                self.place.key
            )
        })?;
        if self.id.as_ref().is_some_and(|before| *before != id) {
            return Err(format!("the token holds another key '{}' than before", self.place.key));
        }
        self.id = Some(id.clone());
        self.open = Some(open);
        Ok(id)
    }

    /// Wraps, and looks whether what came out opens again: a wrapped key that does not is a lost vault.
    pub(super) fn wrap(&mut self, context: &[u8], data_key: &[u8; 32]) -> Result<Vec<u8>, Fault> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| Fault::NoRandomness)?;
        self.perform(|open| open.wrap(nonce, context, data_key))
            .map_err(|problem| Fault::Unusable(format!("the token does not wrap: {problem}")))
    }

    /// Unwraps. Tokens say different things about a wrong tag (SoftHSM: CKR_GENERAL_ERROR), so it is not
    /// the error but another try of the key that tells whether the token or the data is at fault.
    pub(super) fn unwrap(&mut self, context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, Fault> {
        let well_formed = wrapped.first() == Some(&FORMAT) && wrapped.len() == 1 + NONCE_LEN + SEALED_LEN;
        if !well_formed {
            return Err(Fault::DoesNotOpen);
        }
        self.perform(|open| open.unwrap(context, wrapped)).map_err(|problem| {
            match self.open.as_ref().map(Open::trial) {
                Some(Ok(())) => Fault::DoesNotOpen,
                _ => Fault::Unusable(format!("the token does not unwrap: {problem}")),
            }
        })
    }

    /// In the session that is open, and if that fails, once more in a new one.
    fn perform<A>(&mut self, work: impl Fn(&Open) -> Result<A, String>) -> Result<A, String> {
        if let Some(Ok(done)) = self.open.as_ref().map(&work) {
            return Ok(done);
        }
        self.open()?;
        self.open.as_ref().map_or_else(|| Err("there is no session".into()), work)
    }

    fn find_slot(&self, module: &Pkcs11) -> Result<Slot, String> {
        let broken = |e: Error| format!("its module lists no tokens: {e}");
        let mut found = Vec::new();
        let mut others = Vec::new();
        for slot in module.get_slots_with_token().map_err(broken)? {
            // A token that was pulled out meanwhile is not the one.
            let Ok(info) = module.get_token_info(slot) else { continue };
            match info.label().trim_end() {
                label if label == self.place.token => {
                    found.push((slot, info.user_pin_locked(), info.user_pin_final_try()));
                }
                label if info.token_initialized() => others.push(format!("'{label}'")),
                _ => {}
            }
        }
        match found[..] {
            [(slot, locked, final_try)] => may_log_in(locked, final_try).map(|()| slot),
            [] if others.is_empty() => Err("its module sees no token; connect it, or correct the configuration (`pkcs11-tool --module MODULE -L` lists tokens)".into()),
            [] => Err(format!("its module sees no token of that label, only {}; connect it, or correct the label", others.join(", "))),
            _ => Err("several tokens have that label; give them different ones".into()),
        }
    }

    fn log_in(&mut self, session: &Session) -> Result<(), String> {
        let error = match session.login(UserType::User, Some(&AuthPin::from(self.pin.as_str()))) {
            // Logging in concerns the program, not the session: another key of the token may have done it.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => return Ok(()),
            Err(error) => error,
        };
        let Error::Pkcs11(rv, _) = &error else { return Err(format!("logging in failed: {error}")) };
        let problem = match rv {
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => format!(
                "the token refuses {}; correct it and start again (not often: tokens lock after a few wrong PINs)",
                self.pin_from
            ),
            RvError::PinLocked => LOCKED.into(),
            RvError::PinExpired => "the PIN has expired; set a new one with the token's own tool".into(),
            RvError::UserPinNotInitialized => {
                "the token has no user PIN yet; set one (`pkcs11-tool --init-pin`)".into()
            }
            _ => return Err(format!("logging in failed: {error}")),
        };
        self.refused = Some(problem.clone());
        Err(problem)
    }

    fn find_key(&self, session: &Session) -> Result<ObjectHandle, String> {
        let Place { module, token, key } = &self.place;
        let broken = |e: Error| format!("the token's keys cannot be listed: {e}");
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Label(key.as_bytes().to_vec()),
        ];
        let found = match session.find_objects(&template).map_err(broken)?[..] {
            [found] => found,
            [] => {
                return Err(format!(
                    "the token has no AES key '{key}'; restore it there if a store needs it; for a new store, make one: pkcs11-tool --module {} --token-label {token} --login --keygen --key-type AES:32 --label {key} --sensitive --private",
                    module.display()
                ));
            }
            _ => return Err(format!("the token has several AES keys '{key}'; give them different labels")),
        };
        let attributes = session
            .get_attributes(
                found,
                &[
                    AttributeType::ValueLen,
                    AttributeType::Private,
                    AttributeType::Sensitive,
                    AttributeType::Extractable,
                ],
            )
            .map_err(broken)?;
        if !attributes.contains(&Attribute::ValueLen(KEY_LEN.into())) {
            return Err(format!("the key '{key}' has not 256 bits; make one that has"));
        }
        // Without it a token takes the key to be for everybody: no PIN is asked for, and SoftHSM does not
        // encrypt its file.
        if !attributes.contains(&Attribute::Private(true)) {
            return Err(format!(
                "the key '{key}' works without the PIN; make one that is private (CKA_PRIVATE; pkcs11-tool --private)"
            ));
        }
        let stays = attributes.contains(&Attribute::Sensitive(true))
            && attributes.contains(&Attribute::Extractable(false));
        if stays {
            Ok(found)
        } else {
            Err(format!(
                "the key '{key}' can be read out of the token; make one that is sensitive and not extractable"
            ))
        }
    }
}

/// What to do about a locked token.
const LOCKED: &str = "the token is locked after too many wrong PINs; its security officer sets a new PIN (`pkcs11-tool --login --login-type so --init-pin`)";

/// Whether the PIN may be tried: a node that is started again and again must not be what locks the token.
fn may_log_in(locked: bool, final_try: bool) -> Result<(), String> {
    match (locked, final_try) {
        (true, _) => Err(LOCKED.into()),
        (_, true) => Err("the token locks at the next wrong PIN, so valv does not try; log in once with the right PIN by hand (`pkcs11-tool --login --list-objects`) and start again".into()),
        _ => Ok(()),
    }
}

/// The module, loaded and started once for the whole life of the program, as PKCS#11 wants it.
fn module(path: &Path) -> Result<Pkcs11, String> {
    static MODULES: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = modules.get(path) {
        return Ok(module.clone());
    }
    let shown = path.display();
    if !path.is_file() {
        return Err(format!(
            "there is no PKCS#11 module {shown}; install the token's driver, or correct the path"
        ));
    }
    let module = Pkcs11::new(path).map_err(|e| format!("{shown} is not a PKCS#11 module: {e}"))?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // The same module under another path.
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(e) => {
            return Err(format!(
                "the PKCS#11 module {shown} does not start: {e}; its own configuration or service may be missing"
            ));
        }
    }
    modules.insert(path.to_owned(), module.clone());
    Ok(module)
}

/// A session that is logged in, and the key.
struct Open {
    session: Session,
    key: ObjectHandle,
}

impl Open {
    /// The same for every copy of the key, in whatever token.
    fn id(&self) -> Result<RootKeyId, String> {
        let block = self.session.encrypt(&Mechanism::AesEcb, self.key, ID_BLOCK).map_err(text)?;
        block.get(..8).map(|start| RootKeyId(hex(start))).ok_or_else(|| "its block is too short".to_owned())
    }

    /// Whether the key wraps, unwraps, and notices another context.
    fn trial(&self) -> Result<(), String> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| "the system gave no random bytes")?;
        let wrapped = self.wrap(nonce, TRIAL, &[0; 32])?;
        match self.unwrap(b"another context", &wrapped) {
            Ok(_) => Err("the token does not authenticate the context".into()),
            Err(_) => Ok(()),
        }
    }

    fn wrap(
        &self,
        mut nonce: [u8; NONCE_LEN],
        context: &[u8],
        data_key: &[u8; 32],
    ) -> Result<Vec<u8>, String> {
        let parameters = GcmParams::new(&mut nonce, context, TAG_BITS.into()).map_err(text)?;
        let sealed =
            self.session.encrypt(&Mechanism::AesGcm(parameters), self.key, data_key).map_err(text)?;
        // Some tokens draw the nonce themselves and put it where ours was.
        let wrapped = [&[FORMAT][..], &nonce, &sealed].concat();
        let opened = self.unwrap(context, &wrapped)?;
        constant_time::verify_slices_are_equal(&*opened, data_key)
            .map_err(|_| "what it wrapped opens as something else")?;
        Ok(wrapped)
    }

    fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, String> {
        let sealed = wrapped.get(1..).and_then(|body| body.split_first_chunk::<NONCE_LEN>());
        let (nonce, sealed) = sealed.ok_or("it is too short")?;
        let mut nonce = *nonce;
        let parameters = GcmParams::new(&mut nonce, context, TAG_BITS.into()).map_err(text)?;
        let opened = self.session.decrypt(&Mechanism::AesGcm(parameters), self.key, sealed).map_err(text)?;
        let opened = Zeroizing::new(opened);
        let mut data_key = Zeroizing::new([0; 32]);
        if opened.len() != data_key.len() {
            return Err("it has another length than a data key".into());
        }
        data_key.copy_from_slice(&opened);
        Ok(data_key)
    }
}

fn text(error: Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_try_before_a_lock_is_left_to_a_person() {
        assert!(may_log_in(false, false).is_ok());
        assert!(may_log_in(false, true).unwrap_err().contains("by hand"));
        assert!(may_log_in(true, true).unwrap_err().contains("security officer"));
    }
}
