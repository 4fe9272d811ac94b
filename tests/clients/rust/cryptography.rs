//! This SDK has no cryptography of its own: the service does everything.

use std::collections::HashMap;

use aws_lc_rs::{digest, rand};
use azure_core::time::{Duration, OffsetDateTime};
use azure_security_keyvault_keys::{
    KeyClient, ResourceExt as _,
    models::{
        CreateKeyParameters, CurveName, EncryptionAlgorithm, KeyAttributes, KeyClientEncryptOptions,
        KeyClientSignOptions, KeyOperation, KeyOperationParameters, KeyOperationResult, KeyType,
        SignParameters, SignatureAlgorithm, UpdateKeyPropertiesParameters, VerifyParameters,
    },
};

use crate::{
    Failure, Outcome,
    keys::{create, ec, identified, sized},
    secrets::refused,
};

use EncryptionAlgorithm::{
    A128Cbc, A128Cbcpad, A128Gcm, A128Kw, A192Cbc, A192Cbcpad, A192Gcm, A192Kw, A256Cbc, A256Cbcpad, A256Gcm,
    A256Kw, CkmAesKeyWrap, CkmAesKeyWrapPad, Rsa1_5, RsaOaep, RsaOaep256,
};
use SignatureAlgorithm::{
    Es256, Es256K, Es384, Es512, Hs256, Hs384, Hs512, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512, Rsnull,
};

const BAD: (u16, &str, Option<&str>) = (400, "BadParameter", None);

/// The keys of all checks: name and version, by type.
async fn keys(vault: &KeyClient) -> Result<HashMap<&'static str, String>, Failure> {
    let mut keys = HashMap::new();
    for (name, body) in [
        ("rs-c-rsa", sized(KeyType::Rsa, 2048)),
        ("rs-c-128", sized(KeyType::Oct, 128)),
        ("rs-c-192", sized(KeyType::OctHsm, 192)),
        ("rs-c-256", sized(KeyType::Oct, 256)),
        ("rs-c-p256", ec(CurveName::P256)),
        ("rs-c-p384", ec(CurveName::P384)),
        ("rs-c-p521", ec(CurveName::P521)),
        ("rs-c-p256k", ec(CurveName::P256K)),
    ] {
        keys.insert(name, identified(&create(vault, name, body).await?, name));
    }
    Ok(keys)
}

fn bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rand::fill(&mut bytes).unwrap();
    bytes
}

fn changed(value: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    value[0] ^= 1;
    value
}

fn with(algorithm: &EncryptionAlgorithm, value: &[u8]) -> KeyOperationParameters {
    KeyOperationParameters {
        algorithm: Some(algorithm.clone()),
        value: Some(value.to_vec()),
        ..Default::default()
    }
}

/// The answer names the version that did it.
fn value(answer: &KeyOperationResult, name: &str, version: &str) -> Vec<u8> {
    let id = answer.resource_id().unwrap();
    assert_eq!((id.name.as_str(), id.version.as_deref()), (name, Some(version)));
    answer.result.clone().expect("a result")
}

pub(crate) async fn encrypt_and_decrypt_with_every_algorithm(vault: &KeyClient) -> Outcome {
    let keys = keys(vault).await?;
    for (algorithm, name, length, iv) in [
        (Rsa1_5, "rs-c-rsa", 57, None),
        (RsaOaep, "rs-c-rsa", 57, None),
        (RsaOaep256, "rs-c-rsa", 57, None),
        (A128Gcm, "rs-c-128", 57, None),
        (A192Gcm, "rs-c-192", 57, None),
        (A256Gcm, "rs-c-256", 57, None),
        (A128Cbc, "rs-c-128", 32, Some(bytes(16))),
        (A192Cbc, "rs-c-192", 32, Some(bytes(16))),
        (A256Cbc, "rs-c-256", 32, Some(bytes(16))),
        (A128Cbcpad, "rs-c-128", 57, Some(bytes(16))),
        (A192Cbcpad, "rs-c-192", 57, Some(bytes(16))),
        (A256Cbcpad, "rs-c-256", 57, Some(bytes(16))),
    ] {
        let (data, version) = (bytes(length), &keys[name]);
        let is_gcm = matches!(algorithm, A128Gcm | A192Gcm | A256Gcm);
        let aad = is_gcm.then(|| bytes(20));
        // The current version, and by its name.
        for key_version in [None, Some(version.clone())] {
            let body = KeyOperationParameters {
                iv: iv.clone(),
                additional_authenticated_data: aad.clone(),
                ..with(&algorithm, &data)
            };
            let options = KeyClientEncryptOptions { key_version, ..Default::default() };
            let sealed = vault.encrypt(name, body.try_into()?, Some(options)).await?.into_model()?;
            let ciphertext = value(&sealed, name, version);
            assert_eq!(sealed.authentication_tag.as_ref().map(Vec::len), is_gcm.then_some(16));
            assert_eq!(
                sealed.iv.as_ref().map(Vec::len),
                if is_gcm { Some(12) } else { iv.as_ref().map(Vec::len) }
            );
            let opening = |ciphertext: &[u8]| KeyOperationParameters {
                iv: sealed.iv.clone(),
                authentication_tag: sealed.authentication_tag.clone(),
                additional_authenticated_data: aad.clone(),
                ..with(&algorithm, ciphertext)
            };
            for key_version in ["", version] {
                let body = opening(&ciphertext).try_into()?;
                let opened = vault.decrypt(name, key_version, body, None).await?.into_model()?;
                assert_eq!(value(&opened, name, version), data, "{algorithm:?}");
            }
            if iv.is_none() && algorithm != Rsa1_5 {
                let body = opening(&changed(&ciphertext)).try_into()?;
                refused(vault.decrypt(name, version, body, None).await, BAD);
            }
        }
    }
    Ok(())
}

pub(crate) async fn wrap_and_unwrap_with_every_algorithm(vault: &KeyClient) -> Outcome {
    let keys = keys(vault).await?;
    for (algorithm, name) in [
        (Rsa1_5, "rs-c-rsa"),
        (RsaOaep, "rs-c-rsa"),
        (RsaOaep256, "rs-c-rsa"),
        (A128Kw, "rs-c-128"),
        (A192Kw, "rs-c-192"),
        (A256Kw, "rs-c-256"),
    ] {
        let (data, version) = (bytes(32), &keys[name]);
        let wrapped = vault.wrap_key(name, with(&algorithm, &data).try_into()?, None).await?.into_model()?;
        let wrapped = value(&wrapped, name, version);
        let body = with(&algorithm, &wrapped).try_into()?;
        let unwrapped = vault.unwrap_key(name, version, body, None).await?.into_model()?;
        assert_eq!(value(&unwrapped, name, version), data, "{algorithm:?}");
        if algorithm != Rsa1_5 {
            let body = with(&algorithm, &changed(&wrapped)).try_into()?;
            refused(vault.unwrap_key(name, version, body, None).await, BAD);
        }
    }
    // Words of Managed HSM's PKCS#11 interface.
    for algorithm in [CkmAesKeyWrap, CkmAesKeyWrapPad] {
        refused(vault.wrap_key("rs-c-256", with(&algorithm, &bytes(32)).try_into()?, None).await, BAD);
    }
    Ok(())
}

fn sign(algorithm: &SignatureAlgorithm, digest: &[u8]) -> SignParameters {
    SignParameters { algorithm: Some(algorithm.clone()), value: Some(digest.to_vec()) }
}

fn verify(algorithm: &SignatureAlgorithm, digest: &[u8], signature: &[u8]) -> VerifyParameters {
    VerifyParameters {
        algorithm: Some(algorithm.clone()),
        digest: Some(digest.to_vec()),
        signature: Some(signature.to_vec()),
    }
}

pub(crate) async fn sign_and_verify_with_every_algorithm(vault: &KeyClient) -> Outcome {
    let keys = keys(vault).await?;
    let (sha256, sha384, sha512) = (&digest::SHA256, &digest::SHA384, &digest::SHA512);
    for (algorithm, name, hash, length) in [
        (Rs256, "rs-c-rsa", sha256, 256),
        (Rs384, "rs-c-rsa", sha384, 256),
        (Rs512, "rs-c-rsa", sha512, 256),
        (Ps256, "rs-c-rsa", sha256, 256),
        (Ps384, "rs-c-rsa", sha384, 256),
        (Ps512, "rs-c-rsa", sha512, 256),
        (Es256, "rs-c-p256", sha256, 64),
        (Es384, "rs-c-p384", sha384, 96),
        (Es512, "rs-c-p521", sha512, 132),
        (Es256K, "rs-c-p256k", sha256, 64),
        (Hs256, "rs-c-256", sha256, 32),
        (Hs384, "rs-c-256", sha384, 48),
        (Hs512, "rs-c-256", sha512, 64),
    ] {
        let version = &keys[name];
        let [digest, other] =
            [bytes(50), bytes(50)].map(|data| digest::digest(hash, &data).as_ref().to_vec());
        for key_version in [None, Some(version.clone())] {
            let options = KeyClientSignOptions { key_version, ..Default::default() };
            let body = sign(&algorithm, &digest).try_into()?;
            let signed = vault.sign(name, body, Some(options)).await?.into_model()?;
            let signature = value(&signed, name, version);
            assert_eq!(signature.len(), length, "{algorithm:?}");
            for (digest, signature, valid) in [
                (&digest, signature.clone(), true),
                (&other, signature.clone(), false),
                (&digest, changed(&signature), false),
            ] {
                let body = verify(&algorithm, digest, &signature).try_into()?;
                let found = vault.verify(name, version, body, None).await?.into_model()?;
                assert_eq!(found.value, Some(valid), "{algorithm:?}");
            }
        }
    }
    refused(vault.sign("rs-c-rsa", sign(&Rsnull, &bytes(32)).try_into()?, None).await, BAD);
    Ok(())
}

pub(crate) async fn what_does_not_fit_is_refused(vault: &KeyClient) -> Outcome {
    keys(vault).await?;
    for (name, algorithm, digest) in [
        ("rs-c-p256k", Es256, 32),
        ("rs-c-p256", Es256, 1),
        ("rs-c-p256", Rs256, 32),
        ("rs-c-128", Hs256, 32),
    ] {
        refused(vault.sign(name, sign(&algorithm, &bytes(digest)).try_into()?, None).await, BAD);
    }
    for (name, algorithm, length) in
        [("rs-c-rsa", RsaOaep, 300), ("rs-c-128", A256Gcm, 9), ("rs-c-128", A128Cbc, 16)]
    {
        refused(vault.encrypt(name, with(&algorithm, &bytes(length)).try_into()?, None).await, BAD);
    }
    Ok(())
}

pub(crate) async fn states_of_a_key(vault: &KeyClient) -> Outcome {
    let allowed =
        vec![KeyOperation::Sign, KeyOperation::Verify, KeyOperation::Encrypt, KeyOperation::Decrypt];
    let body = CreateKeyParameters { key_ops: Some(allowed), ..sized(KeyType::RsaHsm, 2048) };
    let version = identified(&create(vault, "rs-state", body).await?, "rs-state");
    let (digest, data) = (bytes(32), bytes(9));
    let signed = vault.sign("rs-state", sign(&Ps256, &digest).try_into()?, None).await?.into_model()?;
    let signature = value(&signed, "rs-state", &version);
    let sealed = vault.encrypt("rs-state", with(&RsaOaep, &data).try_into()?, None).await?.into_model()?;
    let ciphertext = value(&sealed, "rs-state", &version);
    let body = with(&RsaOaep, &data).try_into()?;
    refused(vault.wrap_key("rs-state", body, None).await, (403, "Forbidden", Some("KeyOperationForbidden")));

    let update = async |attributes: KeyAttributes| {
        let body = UpdateKeyPropertiesParameters { key_attributes: Some(attributes), ..Default::default() };
        vault.update_key_properties("rs-state", body.try_into()?, None).await
    };
    let expires = Some(OffsetDateTime::now_utc() - Duration::days(1));
    update(KeyAttributes { expires, ..Default::default() }).await?;
    let forbidden = (403, "Forbidden", None);
    refused(vault.sign("rs-state", sign(&Ps256, &digest).try_into()?, None).await, forbidden);
    refused(vault.encrypt("rs-state", with(&RsaOaep, &data).try_into()?, None).await, forbidden);
    let opened = vault.decrypt("rs-state", &version, with(&RsaOaep, &ciphertext).try_into()?, None).await?;
    assert_eq!(value(&opened.into_model()?, "rs-state", &version), data);
    let body = verify(&Ps256, &digest, &signature).try_into()?;
    assert_eq!(vault.verify("rs-state", &version, body, None).await?.into_model()?.value, Some(true));
    update(KeyAttributes { enabled: Some(false), ..Default::default() }).await?;
    let disabled = (403, "Forbidden", Some("KeyDisabled"));
    let body = with(&RsaOaep, &ciphertext).try_into()?;
    refused(vault.decrypt("rs-state", &version, body, None).await, disabled);
    Ok(())
}
