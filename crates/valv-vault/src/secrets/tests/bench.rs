//! A vault in memory, and the secrets' operations on it.

use valv_model::{ObjectName, Result, Tags, VersionId};
use zeroize::Zeroizing;

use super::super::{set, *};
pub(super) use crate::objects::bench::{Bench, START, all, name};
use crate::objects::bench::{context, keyring, run};
use crate::objects::{backup, delete, lifecycle, list, restore};

pub(super) fn value(text: &str) -> SecretSet {
    SecretSet {
        value: Zeroizing::new(text.to_owned()),
        content_type: None,
        tags: Tags::new(),
        attributes: AttributesPatch::default(),
    }
}

impl Bench {
    pub(super) fn set(&self, name: &ObjectName, set: SecretSet) -> Result<SecretBundle> {
        run(set::set(self, &context(None), name, set))
    }
    pub(super) fn set_again(&self, request: u8, name: &ObjectName, set: SecretSet) -> Result<SecretBundle> {
        run(set::set(self, &context(Some(request)), name, set))
    }
    pub(super) fn get(&self, name: &ObjectName, version: Option<&VersionId>) -> Result<SecretBundle> {
        run(set::get(self, name, version))
    }
    pub(super) fn update(
        &self,
        name: &ObjectName,
        version: Option<&VersionId>,
        update: SecretUpdate,
    ) -> Result<SecretItem> {
        run(set::update(self, &context(None), name, version, update))
    }
    pub(super) fn list(&self, page: &PageRequest) -> Result<Page<SecretItem>> {
        run(list::live::<Secret>(self, page))
    }
    pub(super) fn list_versions(&self, name: &ObjectName, page: &PageRequest) -> Result<Page<SecretItem>> {
        run(list::versions::<Secret>(self, name, page))
    }
    pub(super) fn list_deleted(&self, page: &PageRequest) -> Result<Page<DeletedSecret>> {
        run(list::deleted::<Secret>(self, page))
    }
    pub(super) fn delete(&self, name: &ObjectName) -> Result<DeletedSecret> {
        run(delete::delete::<Secret>(self, &context(None), name))
    }
    pub(super) fn get_deleted(&self, name: &ObjectName) -> Result<DeletedSecret> {
        run(delete::get_deleted::<Secret>(self, name))
    }
    pub(super) fn recover(&self, name: &ObjectName) -> Result<SecretItem> {
        run(delete::recover::<Secret>(self, &context(None), name))
    }
    pub(super) fn purge(&self, name: &ObjectName) -> Result<()> {
        run(delete::purge::<Secret>(self, &context(None), name))
    }
    pub(super) fn purge_again(&self, request: u8, name: &ObjectName) -> Result<()> {
        run(delete::purge::<Secret>(self, &context(Some(request)), name))
    }
    pub(super) fn delete_again(&self, request: u8, name: &ObjectName) -> Result<DeletedSecret> {
        run(delete::delete::<Secret>(self, &context(Some(request)), name))
    }
    pub(super) fn backup(&self, name: &ObjectName) -> Result<String> {
        run(backup::backup::<Secret>(self, name))
    }
    pub(super) fn restore(&self, blob: &str) -> Result<SecretItem> {
        run(restore::restore::<Secret>(self, &context(None), blob))
    }
    pub(super) fn restore_again(&self, request: u8, blob: &str) -> Result<SecretItem> {
        run(restore::restore::<Secret>(self, &context(Some(request)), blob))
    }
    pub(super) fn round(&self) -> Tidied {
        run(lifecycle::round::<Secret>(self, self.now())).unwrap()
    }
    pub(super) fn open_any(&self, blob: &str) -> Result<()> {
        super::super::open_any(keyring(), blob)
    }
}
