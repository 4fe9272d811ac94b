//! The keyring: data keys made, unwrapped and wrapped again.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use arc_swap::ArcSwap;
use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use quick_cache::{Equivalent, sync::Cache};
use valv_model::{UnixSeconds, VaultId};
use zeroize::Zeroizing;

use crate::{
    DataKeys, RootKeyError, RootKeys, SealError, WrappedDataKey,
    cipher::{Cipher, associated_data},
};

/// The most vaults whose data keys are kept unwrapped.
const UNWRAPPED_VAULTS_MAX: usize = 4096;

/// The root keys in use and the data keys unwrapped so far (bounded).
pub struct Keyring {
    /// Swapped together, so that nothing unwrapped by a root key outlives its removal.
    state: ArcSwap<State>,
}

struct State {
    root: Arc<RootKeys>,
    unwrapped: Cache<CacheKey, Arc<DataKeys>>,
}

impl State {
    fn new(root: RootKeys) -> Self {
        Self { root: Arc::new(root), unwrapped: Cache::new(UNWRAPPED_VAULTS_MAX) }
    }
}

impl Keyring {
    /// A keyring over the root keys.
    #[must_use]
    pub fn new(root: RootKeys) -> Self {
        Self { state: ArcSwap::from_pointee(State::new(root)) }
    }

    /// The root keys in use.
    #[must_use]
    pub fn root_keys(&self) -> Arc<RootKeys> {
        self.state.load().root.clone()
    }

    /// Takes up other root keys while serving. What the previous ones unwrapped is forgotten.
    pub fn replace_root_keys(&self, root: RootKeys) {
        self.state.store(Arc::new(State::new(root)));
    }

    /// A new random data key for a vault, wrapped under the current root key.
    pub fn generate(
        &self,
        vault: &VaultId,
        number: u32,
        now: UnixSeconds,
    ) -> Result<WrappedDataKey, RootKeyError> {
        let mut data_key = Zeroizing::new([0; 32]);
        rand::fill(&mut *data_key).map_err(|_| RootKeyError::NoRandomness)?;
        let root = self.root_keys();
        let root = root.current();
        Ok(WrappedDataKey {
            number,
            root_key: root.id().clone(),
            created: now,
            wrapped: URL_SAFE_NO_PAD.encode(root.wrap(&context(vault, number), &data_key)?),
            extra: serde_json::Map::new(),
        })
    }

    /// The unwrapped keys of a vault; the one with the highest number seals. Cached by the wrapped keys' content.
    pub fn unwrap(&self, vault: &VaultId, keys: &[WrappedDataKey]) -> Result<Arc<DataKeys>, SealError> {
        let state = self.state.load();
        if let Some(found) = state.unwrapped.get(&Lookup { vault, keys }) {
            return Ok(found);
        }
        let ciphers = keys
            .iter()
            .map(|key| {
                let data_key = unwrap_one(&state.root, vault, key)?;
                Ok((key.number, Cipher::new(&data_key).map_err(|_| SealError::Damaged)?))
            })
            .collect::<Result<_, _>>()?;
        let data_keys = Arc::new(DataKeys::new(vault.clone(), ciphers).ok_or(SealError::Damaged)?);
        state.unwrapped.insert(CacheKey { vault: vault.clone(), keys: keys.to_vec() }, data_keys.clone());
        Ok(data_keys)
    }

    /// The same data keys wrapped under the current root key. Those that are so already are left as they are.
    pub fn rewrap(&self, vault: &VaultId, keys: &[WrappedDataKey]) -> Result<Vec<WrappedDataKey>, SealError> {
        let root = self.root_keys();
        let current = root.current();
        keys.iter()
            .map(|key| {
                let data_key = unwrap_one(&root, vault, key)?;
                if key.root_key == *current.id() {
                    return Ok(key.clone());
                }
                let wrapped = current
                    .wrap(&context(vault, key.number), &data_key)
                    .map_err(|e| SealError::RootKey(e.to_string()))?;
                Ok(WrappedDataKey {
                    root_key: current.id().clone(),
                    wrapped: URL_SAFE_NO_PAD.encode(wrapped),
                    ..key.clone()
                })
            })
            .collect()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("root", &self.root_keys()).finish_non_exhaustive()
    }
}

/// What a wrapped data key is bound to: its vault and its number.
fn context(vault: &VaultId, number: u32) -> Vec<u8> {
    associated_data(&[b"valv data key", vault.as_str().as_bytes(), &number.to_be_bytes()])
}

fn unwrap_one(
    root: &RootKeys,
    vault: &VaultId,
    key: &WrappedDataKey,
) -> Result<Zeroizing<[u8; 32]>, SealError> {
    let with = root.find(&key.root_key).ok_or_else(|| SealError::NoSuchRootKey(key.root_key.clone()))?;
    let wrapped = URL_SAFE_NO_PAD.decode(&key.wrapped).map_err(|_| SealError::Damaged)?;
    with.unwrap(&context(vault, key.number), &wrapped).map_err(|error| match error {
        RootKeyError::DoesNotOpen => SealError::Damaged,
        other => SealError::RootKey(other.to_string()),
    })
}

struct CacheKey {
    vault: VaultId,
    keys: Vec<WrappedDataKey>,
}

/// A [`CacheKey`] without owning it: a hit allocates nothing.
struct Lookup<'a> {
    vault: &'a VaultId,
    keys: &'a [WrappedDataKey],
}

impl CacheKey {
    fn lookup(&self) -> Lookup<'_> {
        Lookup { vault: &self.vault, keys: &self.keys }
    }
}

impl PartialEq for Lookup<'_> {
    fn eq(&self, other: &Self) -> bool {
        // Dates and foreign fields do not decide what a key unwraps to.
        let same = |(a, b): (&WrappedDataKey, &WrappedDataKey)| {
            a.number == b.number && a.root_key == b.root_key && a.wrapped == b.wrapped
        };
        self.vault == other.vault
            && self.keys.len() == other.keys.len()
            && self.keys.iter().zip(other.keys).all(same)
    }
}

impl Hash for Lookup<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.vault.hash(state);
        for key in self.keys {
            key.number.hash(state);
            key.wrapped.hash(state);
        }
    }
}

impl Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.lookup().hash(state);
    }
}

impl PartialEq for CacheKey {
    fn eq(&self, other: &Self) -> bool {
        self.lookup() == other.lookup()
    }
}
impl Eq for CacheKey {}

impl Equivalent<CacheKey> for Lookup<'_> {
    fn equivalent(&self, key: &CacheKey) -> bool {
        *self == key.lookup()
    }
}
