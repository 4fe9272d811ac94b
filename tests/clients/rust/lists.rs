use std::collections::BTreeSet;

use azure_security_keyvault_secrets::{
    ResourceExt as _, SecretClient,
    models::{SecretClientListSecretPropertiesOptions, SecretProperties},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    Failure, Outcome,
    secrets::{identified, set},
    value, var,
};

const MANY: usize = 53;

fn names() -> BTreeSet<String> {
    (0..MANY).map(|n| format!("rs-list-{n:02}")).collect()
}

async fn at_once<T>(
    work: impl Iterator<Item = impl Future<Output = Result<T, Failure>>>,
) -> Result<Vec<T>, Failure> {
    stream::iter(work).buffer_unordered(16).try_collect().await
}

pub(crate) async fn secrets_page_by_page(vault: &SecretClient) -> Outcome {
    at_once(names().into_iter().map(async |name| set(vault, &name, value(&name)).await)).await?;
    for (maxresults, size) in [(None, 25), (Some(7), 7)] {
        let options = SecretClientListSecretPropertiesOptions { maxresults, ..Default::default() };
        let mut pages = vault.list_secret_properties(Some(options))?.into_pages();
        let mut found = Vec::new();
        while let Some(page) = pages.try_next().await? {
            let page = page.into_model()?.value;
            assert!(page.len() <= size, "{} > {size}", page.len());
            for item in page {
                let id = item.resource_id()?;
                assert_eq!((id.vault_url, id.version), (var("VALV_URL"), None));
                assert!(item.attributes.is_some_and(|a| a.enabled.is_some() && a.created.is_some()));
                found.push(id.name);
            }
        }
        assert!(found.is_sorted_by_key(|name| name.to_uppercase()), "{found:?}");
        let mine: Vec<String> = found.into_iter().filter(|name| name.starts_with("rs-list-")).collect();
        assert_eq!(mine, Vec::from_iter(names()));
    }
    Ok(())
}

pub(crate) async fn versions_page_by_page(vault: &SecretClient) -> Outcome {
    let work = (0..MANY)
        .map(async |n| Ok(identified(&set(vault, "rs-deep", value(&format!("deep {n}"))).await?, "rs-deep")));
    let made = BTreeSet::from_iter(at_once(work).await?);
    assert_eq!(made.len(), MANY, "each write made a version of its own");
    let items: Vec<SecretProperties> =
        vault.list_secret_properties_versions("rs-deep", None)?.try_collect().await?;
    assert_eq!(items.len(), MANY);
    let found: BTreeSet<String> = items.iter().filter_map(|item| item.resource_id().ok()?.version).collect();
    assert_eq!(found, made);
    Ok(())
}

pub(crate) async fn deleted_page_by_page(vault: &SecretClient) -> Outcome {
    at_once(names().into_iter().map(async |name| Ok(vault.delete_secret(&name, None).await?))).await?;
    let items: Vec<_> = vault.list_deleted_secret_properties(None)?.try_collect().await?;
    let mut mine = BTreeSet::new();
    for item in items {
        let name = item.resource_id()?.name;
        if name.starts_with("rs-list-") {
            assert_eq!(item.recovery_id, Some(format!("{}/deletedsecrets/{name}", var("VALV_URL"))));
            assert!(item.deleted_date.is_some() && item.scheduled_purge_date > item.deleted_date);
            mine.insert(name);
        }
    }
    assert_eq!(mine, names());
    at_once(names().into_iter().map(async |name| Ok(vault.purge_deleted_secret(&name, None).await?))).await?;
    let items: Vec<_> = vault.list_deleted_secret_properties(None)?.try_collect().await?;
    assert!(!items.iter().any(|item| item.resource_id().is_ok_and(|id| id.name.starts_with("rs-list-"))));
    Ok(())
}
