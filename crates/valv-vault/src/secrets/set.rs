//! Making, reading and changing versions.

use std::sync::Arc;

use valv_model::{ObjectName, Operation, Result, VersionId};
use zeroize::Zeroizing;

use super::kind::{Secret, SecretDetail};
use super::{SecretBundle, SecretItem, SecretSet, SecretUpdate, limits};
use crate::WriteContext;
use crate::objects::desk::{Desk, Done};
use crate::objects::make::{Draft, make};
use crate::objects::records::{Object, TextValue, Version, recovery_level};
use crate::objects::update::Update;
use crate::objects::{Kind, errors, read};

/// `SecretSet`.
pub(super) async fn set(
    desk: &impl Desk,
    context: &WriteContext,
    name: &ObjectName,
    set: SecretSet,
) -> Result<SecretBundle> {
    limits::check_set(&set)?;
    let SecretSet { value, content_type, tags, attributes } = set;
    let draft = Draft { attributes, tags, detail: SecretDetail { content_type }, value: TextValue(value) };
    let draft = Arc::new(draft);
    match make::<Secret>(desk, context, Operation::SecretSet, name, draft.clone()).await? {
        Done::Fresh(item) => Ok(SecretBundle { item, value: Zeroizing::new(draft.value.0.to_string()) }),
        Done::Replayed(committed) => Ok(bundle(desk, read::made(desk, name, committed.version).await?)),
    }
}

/// `SecretGet`. Dates are advisory: an expired secret is answered, a disabled one is not.
pub(super) async fn get(
    desk: &impl Desk,
    name: &ObjectName,
    version: Option<&VersionId>,
) -> Result<SecretBundle> {
    let (record, stored) = read::version::<Secret>(desk, name, version).await?;
    if !stored.head.attributes.enabled {
        return Err(errors::disabled::<Secret>("get"));
    }
    Ok(bundle(desk, (record, stored)))
}

fn bundle(desk: &impl Desk, (record, stored): (Object<Secret>, Version<Secret>)) -> SecretBundle {
    let item = Secret::item(&record.name, &stored.head, recovery_level(desk.vault()));
    SecretBundle { item, value: stored.value.0 }
}

/// `SecretUpdate`.
pub(super) async fn update(
    desk: &impl Desk,
    context: &WriteContext,
    name: &ObjectName,
    version: Option<&VersionId>,
    update: SecretUpdate,
) -> Result<SecretItem> {
    limits::check_update(&update)?;
    let SecretUpdate { content_type, tags, attributes } = update;
    let edit = Box::new(move |detail: &mut SecretDetail| {
        if content_type.is_some() {
            detail.content_type.clone_from(&content_type);
        }
        Ok(())
    });
    let update = Update { attributes, tags, edit };
    crate::objects::update::update::<Secret>(desk, context, Operation::SecretUpdate, name, version, update)
        .await
}
