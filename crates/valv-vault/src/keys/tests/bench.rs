//! A vault in memory, and the keys' operations on it. Keys on P-256 and symmetric keys are made in no time.

use std::ops::Deref;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use valv_crypto::{Generate, PrivateKey};
use valv_model::{ObjectName, Result, VersionId};

use super::super::{records, *};
use crate::objects::bench::{Bench, context, run};
pub(super) use crate::objects::bench::{START, all, name};
use crate::objects::records::Version;
use crate::objects::{Tidied, backup, delete, lifecycle, list, read, restore};

/// The keys of a vault.
pub(super) struct Keys {
    pub(super) bench: Bench,
    pub(super) pool: Pool,
}

impl Deref for Keys {
    type Target = Bench;
    fn deref(&self) -> &Bench {
        &self.bench
    }
}

/// What a test makes a key of.
pub(super) fn of(kty: KeyType) -> KeyCreate {
    KeyCreate {
        generate: Generate::new(kty),
        key_ops: None,
        attributes: KeyAttributesPatch::default(),
        tags: Tags::new(),
    }
}

pub(super) fn ec() -> KeyCreate {
    of(KeyType::Ec)
}

/// A symmetric key of 256 bits, brought in.
pub(super) fn symmetric(k: &[u8; 32]) -> KeyImport {
    let k = Zeroizing::new(URL_SAFE_NO_PAD.encode(k));
    let key = JsonWebKey { kty: "oct".into(), k: Some(k), ..JsonWebKey::default() };
    KeyImport { key, hsm: false, attributes: KeyAttributesPatch::default(), tags: Tags::new() }
}

/// An update of `enabled` alone.
pub(super) fn enabled(enabled: bool) -> KeyUpdate {
    let common = AttributesPatch { enabled: Some(enabled), ..AttributesPatch::default() };
    KeyUpdate {
        attributes: KeyAttributesPatch { common, ..KeyAttributesPatch::default() },
        ..KeyUpdate::default()
    }
}

impl Keys {
    pub(super) fn new() -> Self {
        Self { bench: Bench::new(), pool: Pool::new(PoolSettings::default()) }
    }
    pub(super) fn create(&self, name: &ObjectName, create: KeyCreate) -> Result<KeyBundle> {
        self.create_as(None, name, create)
    }
    pub(super) fn create_as(
        &self,
        request: Option<u8>,
        name: &ObjectName,
        create: KeyCreate,
    ) -> Result<KeyBundle> {
        run(records::create(&self.pool, &self.bench, &context(request), name, create))
    }
    pub(super) fn import(&self, name: &ObjectName, import: KeyImport) -> Result<KeyBundle> {
        run(records::import(&self.pool, &self.bench, &context(None), name, import))
    }
    pub(super) fn get(&self, name: &ObjectName, version: Option<&VersionId>) -> Result<KeyBundle> {
        run(records::get(&self.bench, name, version))
    }
    /// The private key of a version, as an operation with it opens it.
    pub(super) fn open(&self, name: &ObjectName, version: Option<&VersionId>) -> Result<PrivateKey> {
        let (_, stored): (_, Version<Key>) = run(read::version(&self.bench, name, version))?;
        PrivateKey::from_stored(&stored.value.0)
    }
    pub(super) fn update(
        &self,
        name: &ObjectName,
        version: Option<&VersionId>,
        update: KeyUpdate,
    ) -> Result<KeyBundle> {
        self.update_as(None, name, version, update)
    }
    pub(super) fn update_as(
        &self,
        request: Option<u8>,
        name: &ObjectName,
        version: Option<&VersionId>,
        update: KeyUpdate,
    ) -> Result<KeyBundle> {
        run(records::update(&self.bench, &context(request), name, version, update))
    }
    pub(super) fn list(&self, page: &PageRequest) -> Result<Page<KeyItem>> {
        run(list::live::<Key>(&self.bench, page))
    }
    pub(super) fn list_versions(&self, name: &ObjectName, page: &PageRequest) -> Result<Page<KeyItem>> {
        run(list::versions::<Key>(&self.bench, name, page))
    }
    pub(super) fn list_deleted(&self, page: &PageRequest) -> Result<Page<DeletedKey>> {
        run(list::deleted::<Key>(&self.bench, page))
    }
    pub(super) fn delete(&self, name: &ObjectName) -> Result<DeletedKey> {
        run(delete::delete::<Key>(&self.bench, &context(None), name))
    }
    pub(super) fn get_deleted(&self, name: &ObjectName) -> Result<DeletedKey> {
        run(delete::get_deleted::<Key>(&self.bench, name))
    }
    pub(super) fn recover(&self, name: &ObjectName) -> Result<KeyBundle> {
        run(delete::recover::<Key>(&self.bench, &context(None), name))
    }
    pub(super) fn purge(&self, name: &ObjectName) -> Result<()> {
        run(delete::purge::<Key>(&self.bench, &context(None), name))
    }
    pub(super) fn backup(&self, name: &ObjectName) -> Result<String> {
        run(backup::backup::<Key>(&self.bench, name))
    }
    pub(super) fn restore(&self, blob: &str) -> Result<KeyBundle> {
        run(restore::restore::<Key>(&self.bench, &context(None), blob))
    }
    pub(super) fn restore_as(&self, request: u8, blob: &str) -> Result<KeyBundle> {
        run(restore::restore::<Key>(&self.bench, &context(Some(request)), blob))
    }
    pub(super) fn round(&self) -> Tidied {
        run(lifecycle::round::<Key>(&self.bench, self.now())).unwrap()
    }
}
