//! Opened private keys, so that not every operation opens and parses one again (RSA: 0.2 to 0.5 ms).

use std::sync::Arc;

use bytes::Bytes;
use quick_cache::sync::Cache;
use valv_crypto::PrivateKey;
use valv_model::VaultId;

/// A bounded cache of opened versions. An entry is found only by the stored record's exact bytes, which every request
/// reads anew: a record that was changed in any way is opened again, so what was disabled or deleted is so at once.
/// Keys are wiped from memory when the last one who uses them is done.
pub(crate) struct KeyCache<T = PrivateKey> {
    opened: Cache<(VaultId, String), (Bytes, Arc<T>)>,
}

impl<T> KeyCache<T> {
    /// A cache of at most so many keys.
    pub(crate) fn new(keys: usize) -> Self {
        Self { opened: Cache::new(keys) }
    }

    /// What was opened from these bytes at this place.
    pub(crate) fn get(&self, vault: &VaultId, path: &str, sealed: &Bytes) -> Option<Arc<T>> {
        let (bytes, opened) = self.opened.get(&(vault.clone(), path.to_owned()))?;
        (bytes == *sealed).then_some(opened)
    }

    /// Keeps what was opened from these bytes; what was opened from others at this place goes.
    pub(crate) fn insert(&self, vault: &VaultId, path: &str, sealed: &Bytes, opened: Arc<T>) {
        self.opened.insert((vault.clone(), path.to_owned()), (sealed.clone(), opened));
    }

    /// Forgets what is at this place.
    pub(crate) fn remove(&self, vault: &VaultId, path: &str) {
        self.opened.remove(&(vault.clone(), path.to_owned()));
    }
}
