//! Opened private keys, so that not every operation opens and parses one again (RSA: 0.2 to 0.5 ms).

use std::sync::Arc;

use bytes::Bytes;
use quick_cache::sync::Cache;
use valv_crypto::PrivateKey;
use valv_model::VaultId;

use super::Key;
use crate::objects::records::Head;

/// A version with its key ready for use.
pub(crate) struct Opened {
    pub(crate) head: Head<Key>,
    pub(crate) key: PrivateKey,
}

/// A bounded cache of opened versions. An entry is found only by the stored record's exact bytes, which every request
/// reads anew: a record that was changed in any way is opened again, so what was disabled or deleted is so at once.
/// Keys are wiped from memory when the last one who uses them is done.
pub(crate) struct KeyCache {
    opened: Cache<(VaultId, String), (Bytes, Arc<Opened>)>,
}

impl KeyCache {
    /// A cache of at most so many keys.
    pub(crate) fn new(keys: usize) -> Self {
        Self { opened: Cache::new(keys) }
    }

    /// How many keys are kept now.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.opened.len()
    }

    /// What was opened from these bytes at this place.
    pub(crate) fn get(&self, vault: &VaultId, path: &str, sealed: &Bytes) -> Option<Arc<Opened>> {
        let (bytes, opened) = self.opened.get(&(vault.clone(), path.to_owned()))?;
        (bytes == *sealed).then_some(opened)
    }

    /// Keeps what was opened from these bytes; what was opened from others at this place goes.
    pub(crate) fn insert(&self, vault: &VaultId, path: &str, sealed: &Bytes, opened: Arc<Opened>) {
        self.opened.insert((vault.clone(), path.to_owned()), (sealed.clone(), opened));
    }
}

#[cfg(test)]
mod tests {
    use valv_crypto::{Generate, KeyType, generate};
    use valv_model::{Attributes, Tags, UnixSeconds, VersionId};

    use super::super::kind::KeyDetail;
    use super::*;

    fn opened() -> Arc<Opened> {
        let key = generate(&Generate::new(KeyType::Oct)).unwrap();
        let now = UnixSeconds(0);
        let head = Head {
            version: VersionId::from_bytes([1; 16]),
            attributes: Attributes { enabled: true, nbf: None, exp: None, created: now, updated: now },
            tags: Tags::new(),
            detail: KeyDetail {
                kty: key.kty(),
                bits: key.bits(),
                key_ops: Vec::new(),
                exportable: false,
                public: key.public(),
            },
            previous_version: None,
        };
        Arc::new(Opened { head, key })
    }

    fn vault_id(number: u8) -> VaultId {
        VaultId::parse(&format!("00000000-0000-0000-0000-{number:012}")).unwrap()
    }

    #[test]
    fn a_key_is_found_by_its_vault_its_place_and_all_bytes_of_its_record() {
        let cache = KeyCache::new(100);
        let (vault, other) = (vault_id(1), vault_id(2));
        let sealed = Bytes::from_static(b"sealed");
        cache.insert(&vault, "keyversions/A/1", &sealed, opened());
        assert!(cache.get(&vault, "keyversions/A/1", &sealed).is_some());
        assert!(cache.get(&other, "keyversions/A/1", &sealed).is_none());
        assert!(cache.get(&vault, "keyversions/A/2", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            assert!(cache.get(&vault, "keyversions/A/1", &changed.into()).is_none());
        }
        assert!(cache.get(&vault, "keyversions/A/1", &sealed.slice(..5)).is_none());
        let newer = Bytes::from_static(b"newer!");
        cache.insert(&vault, "keyversions/A/1", &newer, opened());
        assert!(cache.get(&vault, "keyversions/A/1", &sealed).is_none());
        assert!(cache.get(&vault, "keyversions/A/1", &newer).is_some());
    }

    #[test]
    fn the_cache_is_bounded_and_what_leaves_it_is_dropped() {
        let cache = KeyCache::new(50);
        let vault = vault_id(1);
        let keys: Vec<_> = (0..500).map(|_| opened()).collect();
        for (at, key) in keys.iter().enumerate() {
            cache.insert(&vault, &format!("keyversions/A/{at}"), &Bytes::from_static(b"x"), Arc::clone(key));
        }
        let kept = keys.iter().filter(|key| Arc::strong_count(key) > 1).count();
        assert!((1..=50).contains(&kept), "{kept}");
    }
}
