use std::collections::BTreeSet;

use aws_lc_rs::{
    rsa::{KeyPair, KeySize},
    signature::KeyPair as _,
};
use azure_core::time::{Duration, OffsetDateTime};
use azure_security_keyvault_keys::{
    KeyClient, ResourceExt as _,
    models::{
        CreateKeyParameters, CurveName, DeletionRecoveryLevel, GetRandomBytesParameters, ImportKeyParameters,
        JsonWebKey, Key, KeyAttributes, KeyClientGetKeyOptions, KeyClientListKeyPropertiesOptions,
        KeyClientUpdateKeyPropertiesOptions, KeyOperation, KeyRotationPolicy, KeyRotationPolicyAction,
        KeyRotationPolicyAttributes, KeyType, LifetimeAction, LifetimeActionTrigger, LifetimeActionType,
        RestoreKeyParameters, UpdateKeyPropertiesParameters,
    },
};
use futures::TryStreamExt as _;

use crate::{
    Failure, Outcome,
    secrets::{near, refused, seconds, tags},
    var,
};

const BAD: (u16, &str, Option<&str>) = (400, "BadParameter", None);
const NOT_FOUND: (u16, &str, Option<&str>) = (404, "KeyNotFound", None);

/// Makes a key.
pub(crate) async fn create(vault: &KeyClient, name: &str, body: CreateKeyParameters) -> Result<Key, Failure> {
    Ok(vault.create_key(name, body.try_into()?, None).await?.into_model()?)
}

/// An EC key's parameters.
pub(crate) fn ec(curve: CurveName) -> CreateKeyParameters {
    CreateKeyParameters { kty: Some(KeyType::Ec), curve: Some(curve), ..Default::default() }
}

/// The parameters of an RSA or symmetric key.
pub(crate) fn sized(kty: KeyType, bits: i32) -> CreateKeyParameters {
    CreateKeyParameters { kty: Some(kty), key_size: Some(bits), ..Default::default() }
}

async fn get(vault: &KeyClient, name: &str, version: Option<&str>) -> Result<Key, Failure> {
    let key_version = version.map(str::to_owned);
    let options = KeyClientGetKeyOptions { key_version, ..Default::default() };
    Ok(vault.get_key(name, Some(options)).await?.into_model()?)
}

/// The version in an id, after a look at the rest of it; nothing private is in an answer.
pub(crate) fn identified(key: &Key, name: &str) -> String {
    let id = key.resource_id().unwrap();
    let version = id.version.expect("a version");
    assert_eq!((id.vault_url.as_str(), id.name.as_str()), (var("VALV_URL").as_str(), name));
    assert!(version.len() == 32 && version.bytes().all(|b| b.is_ascii_hexdigit()), "{version}");
    assert_eq!(id.source_id, format!("{}/keys/{name}/{version}", var("VALV_URL")));
    let JsonWebKey { d, p, q, dp, dq, qi, k, t, .. } = key.key.clone().expect("a key");
    assert!([d, p, q, dp, dq, qi, k, t].iter().all(Option::is_none), "a private member in an answer");
    version
}

fn jwk(key: &Key) -> &JsonWebKey {
    key.key.as_ref().expect("a key")
}

pub(crate) async fn create_with_everything(vault: &KeyClient) -> Outcome {
    let now = OffsetDateTime::now_utc();
    let (start, end) = (seconds(now - Duration::hours(1)), seconds(now + Duration::days(30)));
    let body = CreateKeyParameters {
        key_ops: Some(vec![KeyOperation::Sign, KeyOperation::Verify]),
        tags: Some(tags(&[("owner", "tests")])),
        public_exponent: Some(65_537),
        key_attributes: Some(KeyAttributes {
            enabled: Some(true),
            not_before: Some(start),
            expires: Some(end),
            ..Default::default()
        }),
        ..sized(KeyType::Rsa, 2048)
    };
    let made = create(vault, "rs-full", body).await?;
    let version = identified(&made, "rs-full");
    for key in [made, get(vault, "rs-full", None).await?, get(vault, "RS-full", Some(&version)).await?] {
        assert_eq!(identified(&key, "rs-full"), version);
        assert_eq!(jwk(&key).kty, Some(KeyType::Rsa));
        assert_eq!(jwk(&key).key_ops, Some(vec!["sign".to_owned(), "verify".to_owned()]));
        assert_eq!(jwk(&key).n.as_ref().map(Vec::len), Some(256));
        assert_eq!(jwk(&key).e.as_deref(), Some(&[1, 0, 1][..]));
        assert_eq!(key.tags, Some(tags(&[("owner", "tests")])));
        assert_eq!(key.managed, None);
        let attributes = key.attributes.expect("attributes");
        assert_eq!(attributes.enabled, Some(true));
        assert_eq!((attributes.not_before, attributes.expires), (Some(start), Some(end)));
        assert_ne!(attributes.exportable, Some(true));
        near(attributes.created);
        near(attributes.updated);
        let days = attributes.recoverable_days.expect("recoverableDays");
        let level = match days {
            90 => DeletionRecoveryLevel::RecoverablePurgeable,
            _ => DeletionRecoveryLevel::CustomizedRecoverablePurgeable,
        };
        assert_eq!(attributes.recovery_level, Some(level));
    }
    Ok(())
}

pub(crate) async fn every_type_size_and_curve(vault: &KeyClient) -> Outcome {
    for (kty, bits) in [(KeyType::Rsa, 2048), (KeyType::RsaHsm, 3072), (KeyType::Rsa, 4096)] {
        let key = create(vault, "rs-rsa", sized(kty.clone(), bits)).await?;
        assert_eq!(jwk(&key).kty, Some(kty));
        assert_eq!(jwk(&key).n.as_ref().map(|n| n.len() as i32 * 8), Some(bits));
        assert_eq!(jwk(&key).key_ops.as_ref().map(Vec::len), Some(6));
    }
    for (curve, bytes) in
        [(CurveName::P256, 32), (CurveName::P384, 48), (CurveName::P521, 66), (CurveName::P256K, 32)]
    {
        let key = create(vault, "rs-ec", ec(curve.clone())).await?;
        assert_eq!((jwk(&key).kty.clone(), jwk(&key).crv.clone()), (Some(KeyType::Ec), Some(curve)));
        let lengths = [&jwk(&key).x, &jwk(&key).y].map(|c| c.as_ref().map(Vec::len));
        assert_eq!(lengths, [Some(bytes); 2]);
    }
    for (kty, bits) in [(KeyType::Oct, 128), (KeyType::OctHsm, 192), (KeyType::Oct, 256)] {
        let key = create(vault, "rs-oct", sized(kty.clone(), bits)).await?;
        identified(&key, "rs-oct");
        assert_eq!(jwk(&key).kty, Some(kty));
    }
    let hsm = CreateKeyParameters { kty: Some(KeyType::EcHsm), ..Default::default() };
    assert_eq!(jwk(&create(vault, "rs-hsm", hsm).await?).crv, Some(CurveName::P256));
    Ok(())
}

pub(crate) async fn what_no_key_can_be(vault: &KeyClient) -> Outcome {
    let unknown = |text: &str| Some(KeyType::UnknownValue(text.to_owned()));
    let encrypting =
        CreateKeyParameters { key_ops: Some(vec![KeyOperation::Encrypt]), ..ec(CurveName::P256) };
    for body in [
        sized(KeyType::Rsa, 1024),
        sized(KeyType::Oct, 64),
        ec(CurveName::UnknownValue("P-224".to_owned())),
        CreateKeyParameters { kty: unknown("OKP"), ..Default::default() },
        CreateKeyParameters::default(),
        CreateKeyParameters { public_exponent: Some(3), ..sized(KeyType::Rsa, 2048) },
        encrypting,
    ] {
        refused(vault.create_key("rs-no", body.try_into()?, None).await, BAD);
    }
    refused(vault.create_key("rs_no", ec(CurveName::P256).try_into()?, None).await, BAD);
    refused(vault.get_key("rs-no", None).await, NOT_FOUND);
    Ok(())
}

fn import(key: JsonWebKey) -> ImportKeyParameters {
    ImportKeyParameters { key: Some(key), ..Default::default() }
}

fn oct(k: &[u8]) -> JsonWebKey {
    JsonWebKey { kty: Some(KeyType::Oct), k: Some(k.to_vec()), ..Default::default() }
}

pub(crate) async fn import_of_every_kind(vault: &KeyClient) -> Outcome {
    let hsm = ImportKeyParameters { hsm: Some(true), ..import(oct(&[7; 24])) };
    let taken = vault.import_key("rs-import", hsm.try_into()?, None).await?.into_model()?;
    identified(&taken, "rs-import");
    assert_eq!(jwk(&taken).kty, Some(KeyType::OctHsm));

    // The key that RFC 7517, appendix A.2, shows.
    let text = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}"#;
    let known: JsonWebKey = serde_json::from_str(text)?;
    let body = ImportKeyParameters { tags: Some(tags(&[("k", "v")])), ..import(known.clone()) };
    let taken = vault.import_key("rs-import", body.try_into()?, None).await?.into_model()?;
    identified(&taken, "rs-import");
    assert_eq!((&jwk(&taken).x, &jwk(&taken).y), (&known.x, &known.y));
    assert_eq!(taken.tags, Some(tags(&[("k", "v")])));

    let other = KeyPair::generate(KeySize::Rsa2048).map_err(|e| e.to_string())?;
    let broken = JsonWebKey {
        kty: Some(KeyType::Rsa),
        n: Some(other.public_key().modulus().big_endian_without_leading_zero().to_vec()),
        e: Some(vec![1, 0, 1]),
        d: known.d.clone(),
        ..Default::default()
    };
    for key in [
        broken,
        oct(&[7; 20]),
        JsonWebKey { d: Some(vec![3; 32]), ..known.clone() },
        JsonWebKey { d: None, ..known },
    ] {
        refused(vault.import_key("rs-broken", import(key).try_into()?, None).await, BAD);
    }
    refused(vault.get_key("rs-broken", None).await, NOT_FOUND);
    Ok(())
}

pub(crate) async fn versions_stay_and_are_listed(vault: &KeyClient) -> Outcome {
    let mut made = BTreeSet::new();
    for _ in 0..30 {
        made.insert(identified(&create(vault, "rs-versions", ec(CurveName::P256)).await?, "rs-versions"));
    }
    assert_eq!(made.len(), 30, "each write made a version of its own");
    let items: Vec<_> = vault.list_key_properties_versions("rs-versions", None)?.try_collect().await?;
    let found: BTreeSet<String> = items.iter().filter_map(|item| item.resource_id().ok()?.version).collect();
    assert_eq!((items.len(), &found), (30, &made));
    for version in made.iter().step_by(7) {
        assert_eq!(identified(&get(vault, "rs-versions", Some(version)).await?, "rs-versions"), *version);
    }
    Ok(())
}

pub(crate) async fn update_changes_what_is_named(vault: &KeyClient) -> Outcome {
    let body = CreateKeyParameters { tags: Some(tags(&[("k", "v")])), ..ec(CurveName::P256) };
    let made = create(vault, "rs-update", body).await?;
    let version = identified(&made, "rs-update");
    let body =
        UpdateKeyPropertiesParameters { key_ops: Some(vec![KeyOperation::Verify]), ..Default::default() };
    let current = vault.update_key_properties("rs-update", body.try_into()?, None).await?.into_model()?;
    assert_eq!(jwk(&current).key_ops, Some(vec!["verify".to_owned()]));
    assert_eq!((&current.tags, &jwk(&current).x), (&made.tags, &jwk(&made).x));
    let body = UpdateKeyPropertiesParameters {
        tags: Some(tags(&[("x", "y")])),
        // The attributes as they came back: dates that only the service sets are not sent.
        key_attributes: current.attributes.clone(),
        ..Default::default()
    };
    let options =
        KeyClientUpdateKeyPropertiesOptions { key_version: Some(version.clone()), ..Default::default() };
    let named =
        vault.update_key_properties("rs-update", body.try_into()?, Some(options)).await?.into_model()?;
    assert_eq!(identified(&named, "rs-update"), version);
    assert_eq!(
        (named.tags.clone(), &jwk(&named).key_ops),
        (Some(tags(&[("x", "y")])), &jwk(&current).key_ops)
    );
    Ok(())
}

pub(crate) async fn pages_of_keys(vault: &KeyClient) -> Outcome {
    let names: BTreeSet<String> = (0..30).map(|n| format!("rs-list-{n:02}")).collect();
    for name in &names {
        create(vault, name, ec(CurveName::P256)).await?;
    }
    for (maxresults, size) in [(None, 25), (Some(7), 7)] {
        let options = KeyClientListKeyPropertiesOptions { maxresults, ..Default::default() };
        let mut pages = vault.list_key_properties(Some(options))?.into_pages();
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
        let mine: BTreeSet<String> = found.into_iter().filter(|name| names.contains(name)).collect();
        assert_eq!(mine, names);
    }
    Ok(())
}

pub(crate) async fn deleted_can_be_seen_recovered_and_purged(vault: &KeyClient) -> Outcome {
    let made = create(vault, "rs-delete", ec(CurveName::P256)).await?;
    let answers = [
        vault.delete_key("rs-delete", None).await?.into_model()?,
        vault.get_deleted_key("rs-delete", None).await?.into_model()?,
    ];
    for deleted in answers {
        assert_eq!(deleted.resource_id()?.name, "rs-delete");
        assert_eq!(deleted.recovery_id, Some(format!("{}/deletedkeys/rs-delete", var("VALV_URL"))));
        assert_eq!(deleted.key.and_then(|key| key.x), jwk(&made).x);
        near(deleted.deleted_date);
        let days = deleted.scheduled_purge_date.expect("a date") - deleted.deleted_date.expect("a date");
        let attributes = deleted.attributes.expect("attributes");
        assert_eq!(days.whole_days(), i64::from(attributes.recoverable_days.expect("days")));
    }
    let listed: Vec<_> = vault.list_deleted_key_properties(None)?.try_collect().await?;
    assert!(listed.iter().any(|item| item.resource_id().is_ok_and(|id| id.name == "rs-delete")));
    refused(vault.get_key("rs-delete", None).await, NOT_FOUND);
    refused(
        vault.create_key("rs-delete", ec(CurveName::P256).try_into()?, None).await,
        (409, "Conflict", Some("ObjectIsDeletedButRecoverable")),
    );
    let recovered = vault.recover_deleted_key("rs-delete", None).await?.into_model()?;
    assert_eq!(identified(&recovered, "rs-delete"), identified(&made, "rs-delete"));
    // No poller: what the answer promises holds at once.
    assert_eq!(jwk(&get(vault, "rs-delete", None).await?).x, jwk(&made).x);
    vault.delete_key("rs-delete", None).await?;
    vault.purge_deleted_key("rs-delete", None).await?;
    refused(vault.get_deleted_key("rs-delete", None).await, NOT_FOUND);
    Ok(())
}

pub(crate) async fn backup_and_restore(vault: &KeyClient) -> Outcome {
    let first = create(vault, "rs-backup", sized(KeyType::Rsa, 2048)).await?;
    let second = create(vault, "rs-backup", ec(CurveName::P384)).await?;
    let blob = vault.backup_key("rs-backup", None).await?.into_model()?.value.expect("a backup");
    let restore = |blob: &[u8]| RestoreKeyParameters { key_backup: Some(blob.to_vec()) }.try_into();
    refused(vault.restore_key(restore(&blob)?, None).await, (409, "Conflict", None));
    vault.delete_key("rs-backup", None).await?;
    vault.purge_deleted_key("rs-backup", None).await?;
    let restored = vault.restore_key(restore(&blob)?, None).await?.into_model()?;
    assert_eq!(identified(&restored, "rs-backup"), identified(&second, "rs-backup"));
    let old = get(vault, "rs-backup", Some(&identified(&first, "rs-backup"))).await?;
    assert_eq!((&jwk(&old).n, &jwk(&restored).x), (&jwk(&first).n, &jwk(&second).x));
    Ok(())
}

pub(crate) async fn rotation_policy_and_rotation(vault: &KeyClient) -> Outcome {
    let body = CreateKeyParameters { tags: Some(tags(&[("r", "1")])), ..ec(CurveName::P521) };
    let before = create(vault, "rs-rotate", body).await?;
    let policy = vault.get_key_rotation_policy("rs-rotate", None).await?.into_model()?;
    let id = Some(format!("{}/keys/rs-rotate/rotationpolicy", var("VALV_URL")));
    assert_eq!((&policy.id, policy.lifetime_actions.map(|a| a.len())), (&id, Some(1)));
    let rotate = LifetimeAction {
        action: Some(LifetimeActionType { type_prop: Some(KeyRotationPolicyAction::Rotate) }),
        trigger: Some(LifetimeActionTrigger {
            time_after_create: Some("P60D".to_owned()),
            ..Default::default()
        }),
    };
    let wanted = KeyRotationPolicy {
        lifetime_actions: Some(vec![rotate]),
        attributes: Some(KeyRotationPolicyAttributes {
            expiry_time: Some("P90D".to_owned()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let answers = [
        vault.update_key_rotation_policy("rs-rotate", wanted.try_into()?, None).await?.into_model()?,
        vault.get_key_rotation_policy("rs-rotate", None).await?.into_model()?,
    ];
    for policy in answers {
        assert_eq!((&policy.id, policy.lifetime_actions.map(|a| a.len())), (&id, Some(2)));
        let attributes = policy.attributes.expect("attributes");
        assert_eq!(attributes.expiry_time.as_deref(), Some("P90D"));
        near(attributes.created);
        near(attributes.updated);
    }
    let after = vault.rotate_key("rs-rotate", None).await?.into_model()?;
    assert_ne!(identified(&after, "rs-rotate"), identified(&before, "rs-rotate"));
    assert_eq!((&jwk(&after).crv, &after.tags), (&jwk(&before).crv, &before.tags));
    assert_ne!(jwk(&after).x, jwk(&before).x);
    let expires = after.attributes.and_then(|a| a.expires);
    near(expires.map(|at| at - Duration::days(90)));
    Ok(())
}

pub(crate) async fn random_bytes(vault: &KeyClient) -> Outcome {
    let body = |count| GetRandomBytesParameters { count: Some(count) }.try_into();
    for count in [1, 128] {
        let bytes = vault.get_random_bytes(body(count)?, None).await?.into_model()?.value;
        assert_eq!(bytes.map(|bytes| bytes.len() as i32), Some(count));
    }
    refused(vault.get_random_bytes(body(129)?, None).await, BAD);
    refused(vault.get_random_bytes(body(0)?, None).await, BAD);
    Ok(())
}

pub(crate) async fn what_is_not_there(vault: &KeyClient) -> Outcome {
    let absent = "rs-absent";
    refused(vault.get_key(absent, None).await, NOT_FOUND);
    refused(vault.delete_key(absent, None).await, NOT_FOUND);
    refused(vault.backup_key(absent, None).await, NOT_FOUND);
    refused(vault.rotate_key(absent, None).await, NOT_FOUND);
    refused(vault.get_key_rotation_policy(absent, None).await, NOT_FOUND);
    refused(vault.get_deleted_key(absent, None).await, NOT_FOUND);
    refused(vault.recover_deleted_key(absent, None).await, NOT_FOUND);
    refused(vault.purge_deleted_key(absent, None).await, NOT_FOUND);
    let body = UpdateKeyPropertiesParameters { tags: Some(tags(&[])), ..Default::default() };
    refused(vault.update_key_properties(absent, body.try_into()?, None).await, NOT_FOUND);
    Ok(())
}
