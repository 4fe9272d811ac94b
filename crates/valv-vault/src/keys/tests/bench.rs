//! A vault in memory, and the keys' operations on it. Keys on P-256 and symmetric keys are made in no time.

use std::ops::Deref;

use valv_crypto::{Generate, PrivateKey, generate};
use valv_model::{ObjectName, Operation, Result, VersionId};

use super::super::{records, *};
use crate::objects::bench::{Bench, context, run};
pub(super) use crate::objects::bench::{START, all, name};
use crate::objects::records::Version;
use crate::objects::{Tidied, backup, delete, lifecycle, list, read, restore};

/// The keys of a vault.
pub(super) struct Keys(pub(super) Bench);

impl Deref for Keys {
    type Target = Bench;
    fn deref(&self) -> &Bench {
        &self.0
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
        Self(Bench::new())
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
        let key_ops = limits::check_create(&create)?;
        let draft =
            records::draft(&generate(&create.generate)?, key_ops, create.attributes.common, create.tags)?;
        run(records::store(&self.0, &context(request), Operation::KeyCreate, name, draft))
    }
    /// Takes a key in, in the stored form of a request that came through the pool.
    pub(super) fn import(&self, name: &ObjectName, key: &PrivateKey) -> Result<KeyBundle> {
        let key_ops = key.kty().default_operations().to_vec();
        let draft = records::draft(key, key_ops, AttributesPatch::default(), Tags::new())?;
        run(records::store(&self.0, &context(None), Operation::KeyImport, name, draft))
    }
    pub(super) fn get(&self, name: &ObjectName, version: Option<&VersionId>) -> Result<KeyBundle> {
        run(records::get(&self.0, name, version))
    }
    /// The private key of a version, as an operation with it opens it.
    pub(super) fn open(&self, name: &ObjectName, version: Option<&VersionId>) -> Result<PrivateKey> {
        let (_, stored): (_, Version<Key>) = run(read::version(&self.0, name, version))?;
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
        run(records::update(&self.0, &context(request), name, version, update))
    }
    pub(super) fn list(&self, page: &PageRequest) -> Result<Page<KeyItem>> {
        run(list::live::<Key>(&self.0, page))
    }
    pub(super) fn list_versions(&self, name: &ObjectName, page: &PageRequest) -> Result<Page<KeyItem>> {
        run(list::versions::<Key>(&self.0, name, page))
    }
    pub(super) fn list_deleted(&self, page: &PageRequest) -> Result<Page<DeletedKey>> {
        run(list::deleted::<Key>(&self.0, page))
    }
    pub(super) fn delete(&self, name: &ObjectName) -> Result<DeletedKey> {
        run(delete::delete::<Key>(&self.0, &context(None), name))
    }
    pub(super) fn get_deleted(&self, name: &ObjectName) -> Result<DeletedKey> {
        run(delete::get_deleted::<Key>(&self.0, name))
    }
    pub(super) fn recover(&self, name: &ObjectName) -> Result<KeyBundle> {
        run(delete::recover::<Key>(&self.0, &context(None), name))
    }
    pub(super) fn purge(&self, name: &ObjectName) -> Result<()> {
        run(delete::purge::<Key>(&self.0, &context(None), name))
    }
    pub(super) fn backup(&self, name: &ObjectName) -> Result<String> {
        run(backup::backup::<Key>(&self.0, name))
    }
    pub(super) fn restore(&self, blob: &str) -> Result<KeyBundle> {
        run(restore::restore::<Key>(&self.0, &context(None), blob))
    }
    pub(super) fn restore_as(&self, request: u8, blob: &str) -> Result<KeyBundle> {
        run(restore::restore::<Key>(&self.0, &context(Some(request)), blob))
    }
    pub(super) fn round(&self) -> Tidied {
        run(lifecycle::round::<Key>(&self.0, self.now())).unwrap()
    }
}
