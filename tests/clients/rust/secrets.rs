use std::collections::HashMap;

use azure_core::{
    error::{ErrorKind, ErrorResponse},
    time::{Duration, OffsetDateTime},
};
use azure_security_keyvault_secrets::{
    ResourceExt as _, SecretClient,
    models::{
        DeletionRecoveryLevel, RestoreSecretParameters, Secret, SecretAttributes,
        SecretClientGetSecretOptions, SecretClientUpdateSecretPropertiesOptions, SetSecretParameters,
        UpdateSecretPropertiesParameters,
    },
};

use crate::{Failure, Outcome, value, var};

/// Sets a secret to a value and nothing else.
pub(crate) async fn set(vault: &SecretClient, name: &str, value: String) -> Result<Secret, Failure> {
    let body = SetSecretParameters { value: Some(value), ..Default::default() };
    Ok(vault.set_secret(name, body.try_into()?, None).await?.into_model()?)
}

/// Reads the current version, or the one named.
pub(crate) async fn get(vault: &SecretClient, name: &str, version: Option<&str>) -> Result<Secret, Failure> {
    let secret_version = version.map(str::to_owned);
    let options = SecretClientGetSecretOptions { secret_version, ..Default::default() };
    Ok(vault.get_secret(name, Some(options)).await?.into_model()?)
}

/// The version in an id, after a look at the rest of it.
pub(crate) fn identified(secret: &Secret, name: &str) -> String {
    let id = secret.resource_id().unwrap();
    let version = id.version.expect("a version");
    assert_eq!((id.vault_url.as_str(), id.name.as_str()), (var("VALV_URL").as_str(), name));
    assert!(version.len() == 32 && version.bytes().all(|b| b.is_ascii_hexdigit()), "{version}");
    assert_eq!(id.source_id, format!("{}/secrets/{name}/{version}", var("VALV_URL")));
    version
}

/// Checks status, code and inner code of a refusal.
pub(crate) fn refused<T>(outcome: azure_core::Result<T>, wanted: (u16, &str, Option<&str>)) {
    let error = outcome.err().unwrap_or_else(|| panic!("expected {wanted:?}"));
    let ErrorKind::HttpResponse { status, error_code, .. } = error.kind() else {
        panic!("no answer: {error}")
    };
    let (status, code) = (u16::from(*status), error_code.clone());
    let words = error.to_string();
    let answer = ErrorResponse::try_from(error).unwrap_or_else(|e| panic!("no error in the body: {e}"));
    let body = answer.error.expect("an error in the body");
    let inner = body.inner_error.and_then(|inner| inner.code);
    assert_eq!((status, code.as_deref(), inner.as_deref()), (wanted.0, Some(wanted.1), wanted.2), "{words}");
    assert_eq!(body.code.as_deref(), Some(wanted.1));
    assert!(body.message.is_some_and(|m| !m.is_empty()), "an error says what is wrong");
}

pub(crate) fn near(moment: Option<OffsetDateTime>) {
    let moment = moment.expect("a date");
    assert!((moment - OffsetDateTime::now_utc()).abs() < Duration::minutes(5), "{moment}");
}

pub(crate) fn seconds(moment: OffsetDateTime) -> OffsetDateTime {
    moment.replace_nanosecond(0).unwrap()
}

fn recoverable(attributes: &SecretAttributes) -> i32 {
    let days = attributes.recoverable_days.expect("recoverableDays");
    assert!((7..=90).contains(&days), "{days}");
    let level = match days {
        90 => DeletionRecoveryLevel::RecoverablePurgeable,
        _ => DeletionRecoveryLevel::CustomizedRecoverablePurgeable,
    };
    assert_eq!(attributes.recovery_level, Some(level));
    days
}

pub(crate) fn tags(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect()
}

pub(crate) async fn set_with_everything(vault: &SecretClient) -> Outcome {
    let now = OffsetDateTime::now_utc();
    let (start, end) = (seconds(now - Duration::hours(1)), seconds(now + Duration::days(30)));
    let body = SetSecretParameters {
        value: Some(value("full ü €")),
        content_type: Some("text/plain".to_owned()),
        tags: Some(tags(&[("owner", "tests")])),
        secret_attributes: Some(SecretAttributes {
            enabled: Some(true),
            not_before: Some(start),
            expires: Some(end),
            ..Default::default()
        }),
    };
    let made: Secret = vault.set_secret("rs-full", body.try_into()?, None).await?.into_model()?;
    let version = identified(&made, "rs-full");
    for secret in [made, get(vault, "rs-full", None).await?, get(vault, "RS-full", Some(&version)).await?] {
        assert_eq!(identified(&secret, "rs-full"), version);
        assert_eq!(secret.value, Some(value("full ü €")));
        assert_eq!(secret.content_type.as_deref(), Some("text/plain"));
        assert_eq!(secret.tags, Some(tags(&[("owner", "tests")])));
        assert_eq!((secret.managed, secret.kid), (None, None));
        let attributes = secret.attributes.expect("attributes");
        assert_eq!(attributes.enabled, Some(true));
        assert_eq!((attributes.not_before, attributes.expires), (Some(start), Some(end)));
        near(attributes.created);
        near(attributes.updated);
        recoverable(&attributes);
    }
    Ok(())
}

pub(crate) async fn versions_stay(vault: &SecretClient) -> Outcome {
    let first = identified(&set(vault, "rs-versions", value("one")).await?, "rs-versions");
    let second = identified(&set(vault, "rs-versions", value("two")).await?, "rs-versions");
    assert_ne!(first, second);
    assert_eq!(get(vault, "rs-versions", None).await?.value, Some(value("two")));
    assert_eq!(get(vault, "rs-versions", Some(&first)).await?.value, Some(value("one")));
    Ok(())
}

pub(crate) async fn update_changes_what_is_named(vault: &SecretClient) -> Outcome {
    let body = SetSecretParameters {
        value: Some(value("update")),
        content_type: Some("a".to_owned()),
        tags: Some(tags(&[("k", "v")])),
        ..Default::default()
    };
    let made: Secret = vault.set_secret("rs-update", body.try_into()?, None).await?.into_model()?;
    let version = identified(&made, "rs-update");
    let body = UpdateSecretPropertiesParameters { content_type: Some("b".to_owned()), ..Default::default() };
    let current = vault.update_secret_properties("rs-update", body.try_into()?, None).await?.into_model()?;
    assert_eq!((current.content_type.as_deref(), current.tags), (Some("b"), Some(tags(&[("k", "v")]))));
    let body = UpdateSecretPropertiesParameters {
        tags: Some(tags(&[("x", "y")])),
        // The attributes as they came back: dates that only the service sets are not sent.
        secret_attributes: current.attributes,
        ..Default::default()
    };
    let options = SecretClientUpdateSecretPropertiesOptions {
        secret_version: Some(version.clone()),
        ..Default::default()
    };
    let named =
        vault.update_secret_properties("rs-update", body.try_into()?, Some(options)).await?.into_model()?;
    assert_eq!((named.content_type.as_deref(), named.tags.clone()), (Some("b"), Some(tags(&[("x", "y")]))));
    assert_eq!(identified(&named, "rs-update"), version);
    assert_eq!(get(vault, "rs-update", None).await?.value, Some(value("update")));
    Ok(())
}

pub(crate) async fn disabled_is_refused(vault: &SecretClient) -> Outcome {
    let disabled = |enabled| SecretAttributes { enabled: Some(enabled), ..Default::default() };
    let body = SetSecretParameters {
        value: Some(value("disabled")),
        secret_attributes: Some(disabled(false)),
        ..Default::default()
    };
    vault.set_secret("rs-disabled", body.try_into()?, None).await?;
    refused(vault.get_secret("rs-disabled", None).await, (403, "Forbidden", Some("SecretDisabled")));
    let body =
        UpdateSecretPropertiesParameters { secret_attributes: Some(disabled(true)), ..Default::default() };
    vault.update_secret_properties("rs-disabled", body.try_into()?, None).await?;
    assert_eq!(get(vault, "rs-disabled", None).await?.value, Some(value("disabled")));
    Ok(())
}

pub(crate) async fn dates_are_advisory(vault: &SecretClient) -> Outcome {
    let expires = Some(OffsetDateTime::now_utc() - Duration::days(1));
    let body = SetSecretParameters {
        value: Some(value("expired")),
        secret_attributes: Some(SecretAttributes { expires, ..Default::default() }),
        ..Default::default()
    };
    vault.set_secret("rs-expired", body.try_into()?, None).await?;
    assert_eq!(get(vault, "rs-expired", None).await?.value, Some(value("expired")));
    Ok(())
}

pub(crate) async fn deleted_can_be_seen_and_recovered(vault: &SecretClient) -> Outcome {
    set(vault, "rs-delete", value("delete")).await?;
    let answers = [
        vault.delete_secret("rs-delete", None).await?.into_model()?,
        vault.get_deleted_secret("rs-delete", None).await?.into_model()?,
    ];
    for deleted in answers {
        assert_eq!(deleted.resource_id()?.name, "rs-delete");
        assert_eq!(deleted.recovery_id, Some(format!("{}/deletedsecrets/rs-delete", var("VALV_URL"))));
        assert_eq!(deleted.value, None, "no value of a deleted secret");
        near(deleted.deleted_date);
        let days = deleted.scheduled_purge_date.expect("a date") - deleted.deleted_date.expect("a date");
        assert_eq!(days.whole_days(), i64::from(recoverable(&deleted.attributes.expect("attributes"))));
    }
    refused(vault.get_secret("rs-delete", None).await, (404, "SecretNotFound", None));
    let again = SetSecretParameters { value: Some(value("again")), ..Default::default() };
    refused(
        vault.set_secret("rs-delete", again.try_into()?, None).await,
        (409, "Conflict", Some("ObjectIsDeletedButRecoverable")),
    );
    let recovered = vault.recover_deleted_secret("rs-delete", None).await?.into_model()?;
    identified(&recovered, "rs-delete");
    // No poller: what the answer promises holds at once.
    assert_eq!(get(vault, "rs-delete", None).await?.value, Some(value("delete")));
    Ok(())
}

pub(crate) async fn backup_and_restore(vault: &SecretClient) -> Outcome {
    let first = identified(&set(vault, "rs-backup", value("backup one")).await?, "rs-backup");
    set(vault, "rs-backup", value("backup two")).await?;
    let blob = vault.backup_secret("rs-backup", None).await?.into_model()?.value.expect("a backup");
    let restore = |blob: &[u8]| RestoreSecretParameters { secret_backup: Some(blob.to_vec()) }.try_into();
    refused(vault.restore_secret(restore(&blob)?, None).await, (409, "Conflict", None));
    vault.delete_secret("rs-backup", None).await?;
    vault.purge_deleted_secret("rs-backup", None).await?;
    refused(vault.get_deleted_secret("rs-backup", None).await, (404, "SecretNotFound", None));
    identified(&vault.restore_secret(restore(&blob)?, None).await?.into_model()?, "rs-backup");
    assert_eq!(get(vault, "rs-backup", None).await?.value, Some(value("backup two")));
    assert_eq!(get(vault, "rs-backup", Some(&first)).await?.value, Some(value("backup one")));
    Ok(())
}

pub(crate) async fn what_is_not_there(vault: &SecretClient) -> Outcome {
    let absent = "rs-absent";
    let not_found = (404, "SecretNotFound", None);
    refused(vault.get_secret(absent, None).await, not_found);
    refused(vault.delete_secret(absent, None).await, not_found);
    refused(vault.backup_secret(absent, None).await, not_found);
    refused(vault.get_deleted_secret(absent, None).await, not_found);
    refused(vault.recover_deleted_secret(absent, None).await, not_found);
    refused(vault.purge_deleted_secret(absent, None).await, not_found);
    let body = UpdateSecretPropertiesParameters { tags: Some(HashMap::new()), ..Default::default() };
    refused(vault.update_secret_properties(absent, body.try_into()?, None).await, not_found);
    Ok(())
}

pub(crate) async fn beyond_the_limits(vault: &SecretClient) -> Outcome {
    let bad = (400, "BadParameter", None);
    let set = |value: String| SetSecretParameters { value: Some(value), ..Default::default() }.try_into();
    refused(vault.set_secret("rs-over", set("x".repeat(25_601))?, None).await, bad);
    refused(vault.set_secret("rs_over", set(value("over"))?, None).await, bad);
    refused(vault.get_secret("rs-over", None).await, (404, "SecretNotFound", None));
    Ok(())
}
