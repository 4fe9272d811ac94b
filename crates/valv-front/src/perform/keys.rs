//! Keys (azure docs: rest/api/keyvault/keys).

use valv_model::{Operation, Result};
use valv_vault::keys::{DeletedKey, KeyBundle};
use zeroize::Zeroizing;

use super::common::{self, Id, list, url, version};
use super::{Call, misplaced};
use crate::answer::Reply;

mod body;
pub(super) use body::parse as parse_body;

mod wire;
use wire::Wire;

pub(super) async fn perform(call: &Call<'_>) -> Result<Reply> {
    let (service, permit, context, vault) = (call.service, call.permit, call.context, call.vault()?);
    Ok(match permit.operation() {
        Operation::KeyCreate => {
            let create = body::create(call.body)?;
            call.rates.count_new_key(&vault.access.name, create.generate.kty)?;
            live(call, &service.key_create(permit, context, vault, call.name()?, create).await?)
        }
        Operation::KeyImport => {
            let import = body::import(call.body)?;
            live(call, &service.key_import(permit, context, vault, call.name()?, import).await?)
        }
        Operation::KeyGet => {
            let version = version(call)?;
            live(call, &service.key_get(permit, vault, call.name()?, version.as_ref()).await?)
        }
        Operation::KeyUpdate => {
            let (version, update) = (version(call)?, body::update(call.body)?);
            let (name, version) = (call.name()?, version.as_ref());
            live(call, &service.key_update(permit, context, vault, name, version, update).await?)
        }
        Operation::KeyRotate => live(call, &service.key_rotate(permit, context, vault, call.name()?).await?),
        Operation::KeyList => {
            let page = service.key_list(permit, vault, &call.query.page()?).await?;
            list(call, "keys", &page, |item| Wire::item(call, item, Id::Base))
        }
        Operation::KeyListVersions => {
            let name = call.name()?;
            let page = service.key_list_versions(permit, vault, name, &call.query.page()?).await?;
            list(call, &format!("keys/{name}/versions"), &page, |item| Wire::item(call, item, Id::Full))
        }
        Operation::KeyListDeleted => {
            let page = service.key_list_deleted(permit, vault, &call.query.page()?).await?;
            list(call, "deletedkeys", &page, |key| Wire::deleted_item(call, key))
        }
        Operation::KeyGetDeleted => {
            deleted(call, &service.key_get_deleted(permit, vault, call.name()?).await?)
        }
        Operation::KeyDelete => {
            deleted(call, &service.key_delete(permit, context, vault, call.name()?).await?)
        }
        Operation::KeyRecover => {
            live(call, &service.key_recover(permit, context, vault, call.name()?).await?)
        }
        Operation::KeyPurge => {
            service.key_purge(permit, context, vault, call.name()?).await?;
            Reply::empty(204).about(url(call, "deletedkeys", call.name()?.as_str()))
        }
        Operation::KeyBackup => {
            let blob = Zeroizing::new(service.key_backup(permit, vault, call.name()?).await?);
            common::backup(&blob, url(call, "keys", call.name()?.as_str()))
        }
        Operation::KeyRestore => {
            let blob = common::blob(call.body)?;
            live(call, &service.key_restore(permit, context, vault, &blob).await?)
        }
        Operation::KeyEncrypt
        | Operation::KeyDecrypt
        | Operation::KeyWrap
        | Operation::KeyUnwrap
        | Operation::KeySign
        | Operation::KeyVerify => compute(call).await?,
        Operation::KeyRotationPolicyGet => {
            wire::policy(call, &service.key_rotation_policy(permit, vault, call.name()?).await?)
        }
        Operation::KeyRotationPolicySet => {
            let (name, policy) = (call.name()?, body::policy(call.body)?);
            wire::policy(call, &service.key_set_rotation_policy(permit, context, vault, name, policy).await?)
        }
        Operation::RandomBytesGet => {
            wire::random_bytes(&service.random_bytes(permit, vault, body::count(call.body)?).await?)
        }
        other => return Err(misplaced(other)),
    })
}

async fn compute(call: &Call<'_>) -> Result<Reply> {
    let (version, name, vault) = (version(call)?, call.name()?, call.vault()?);
    let (algorithm, computation) = body::computation(call.permit.operation(), call.body)?;
    let result = call.service.key_compute(call.permit, vault, name, version.as_ref(), computation).await?;
    call.rates.learn(&vault.access.name, &result.name, result.kty, result.bits);
    Ok(wire::result(call, &result).algorithm(algorithm.as_str()))
}

fn live(call: &Call<'_>, bundle: &KeyBundle) -> Reply {
    if let Some(vault) = call.vault {
        call.rates.learn(&vault.access.name, &bundle.item.name, bundle.kty, wire::bits(bundle));
    }
    Reply::json(200, &Wire::bundle(call, bundle), 1024).about(wire::kid(call, &bundle.item))
}

fn deleted(call: &Call<'_>, key: &DeletedKey) -> Reply {
    let about = url(call, "deletedkeys", key.bundle.item.name.as_str());
    Reply::json(200, &Wire::deleted(call, key), 1024).about(about)
}
