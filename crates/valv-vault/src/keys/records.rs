//! Making, reading and changing versions.

use std::sync::Arc;

use valv_crypto::{KeyOperation, KeyType, PrivateKey};
use valv_model::{ObjectName, Operation, Result, Tags, VersionId};

use super::kind::{Key, KeyDetail};
use super::limits::check_key_ops;
use super::pool::{Length, Pool};
use super::{KeyBundle, KeyCreate, KeyImport, KeyUpdate, limits};
use crate::WriteContext;
use crate::objects::desk::{Desk, Done};
use crate::objects::make::{Draft, make};
use crate::objects::records::{BytesValue, live_path, recovery_level};
use crate::objects::update::{Update, update as update_version};
use crate::objects::{AttributesPatch, Kind, errors, read};

/// A version that is not decided yet.
pub(super) fn draft(
    key: &PrivateKey,
    key_ops: Vec<KeyOperation>,
    attributes: AttributesPatch,
    tags: Tags,
) -> Result<Draft<Key>> {
    let detail =
        KeyDetail { kty: key.kty(), bits: key.bits(), key_ops, exportable: false, public: key.public() };
    Ok(Draft { attributes, tags, detail, value: BytesValue(key.to_stored()?) })
}

/// `KeyCreate`. The key belongs to the request: it is made before the decision, which may run again, and a retry
/// of a request that was done gets the first one.
pub(super) async fn create(
    pool: &Pool,
    desk: &impl Desk,
    context: &WriteContext,
    name: &ObjectName,
    create: KeyCreate,
) -> Result<KeyBundle> {
    let key_ops = limits::check_create(&create)?;
    let KeyCreate { generate, attributes, tags, .. } = create;
    let length = match generate.kty {
        KeyType::Rsa | KeyType::RsaHsm => Length::Long,
        KeyType::Ec | KeyType::EcHsm | KeyType::Oct | KeyType::OctHsm => Length::Short,
    };
    let make = move || draft(&valv_crypto::generate(&generate)?, key_ops, attributes.common, tags);
    let draft = pool.run(length, context.deadline, make).await?;
    store(desk, context, Operation::KeyCreate, name, draft).await
}

/// `KeyImport`.
pub(super) async fn import(
    pool: &Pool,
    desk: &impl Desk,
    context: &WriteContext,
    name: &ObjectName,
    import: KeyImport,
) -> Result<KeyBundle> {
    let (kty, key_ops) = limits::check_import(&import)?;
    let KeyImport { mut key, attributes, tags, .. } = import;
    kty.as_str().clone_into(&mut key.kty);
    let make = move || draft(&valv_crypto::import(&key)?, key_ops, attributes.common, tags);
    let draft = pool.run(Length::Long, context.deadline, make).await?;
    store(desk, context, Operation::KeyImport, name, draft).await
}

async fn store(
    desk: &impl Desk,
    context: &WriteContext,
    operation: Operation,
    name: &ObjectName,
    draft: Draft<Key>,
) -> Result<KeyBundle> {
    match make::<Key>(desk, context, operation, name, Arc::new(draft)).await? {
        Done::Fresh(bundle) => Ok(bundle),
        Done::Replayed(committed) => {
            let (record, stored) = read::made::<Key>(desk, name, committed.version).await?;
            Ok(Key::item(&record.name, &stored.head, recovery_level(desk.vault())))
        }
    }
}

/// `KeyGet`. The current version's record is not read: the key's own shows all of it that is public.
pub(super) async fn get(
    desk: &impl Desk,
    name: &ObjectName,
    version: Option<&VersionId>,
) -> Result<KeyBundle> {
    let level = recovery_level(desk.vault());
    if version.is_some() {
        let (record, stored) = read::version::<Key>(desk, name, version).await?;
        return Ok(Key::item(&record.name, &stored.head, level));
    }
    let record = read::stored::<Key>(desk, live_path::<Key>(name)).await?;
    Ok(record.ok_or_else(|| errors::not_found::<Key>(name, None))?.item(level))
}

/// `KeyUpdate`.
pub(super) async fn update(
    desk: &impl Desk,
    context: &WriteContext,
    name: &ObjectName,
    version: Option<&VersionId>,
    update: KeyUpdate,
) -> Result<KeyBundle> {
    limits::check_update(&update)?;
    let KeyUpdate { key_ops, attributes, tags } = update;
    let edit = Box::new(move |detail: &mut KeyDetail| {
        if let Some(key_ops) = &key_ops {
            check_key_ops(detail.kty, key_ops)?;
            detail.key_ops.clone_from(key_ops);
        }
        Ok(())
    });
    let update = Update { attributes: attributes.common, tags, edit };
    update_version::<Key>(desk, context, Operation::KeyUpdate, name, version, update).await
}
