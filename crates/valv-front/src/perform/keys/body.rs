//! What the bodies of key operations say. Nothing here looks at a stored key.

use valv_crypto::{Algorithm, Curve, Generate, JsonWebKey, KeyOperation, KeyType};
use valv_model::{Error, Operation, Result};
use valv_vault::keys::{
    Computation, KeyAttributesPatch, KeyCreate, KeyImport, KeyUpdate, LifetimeAction, LifetimeActionType,
    RotationPolicy,
};
use zeroize::Zeroizing;

use crate::perform::body::Object;
use crate::perform::common;

/// Reads a body as `operation` would and forgets it; for fuzzing.
pub(in crate::perform) fn parse(operation: Operation, body: &[u8]) -> Result<()> {
    match operation {
        Operation::KeyCreate => create(body).map(drop),
        Operation::KeyImport => import(body).map(drop),
        Operation::KeyUpdate => update(body).map(drop),
        Operation::KeyRotationPolicySet => policy(body).map(drop),
        Operation::RandomBytesGet => count(body).map(drop),
        Operation::KeyEncrypt
        | Operation::KeyDecrypt
        | Operation::KeyWrap
        | Operation::KeyUnwrap
        | Operation::KeySign
        | Operation::KeyVerify => computation(operation, body).map(drop),
        _ => Object::parse_optional(body).map(drop),
    }
}

/// The body of `KeyCreate`.
pub(super) fn create(body: &[u8]) -> Result<KeyCreate> {
    let object = Object::parse(body)?;
    let kty: String = object.require("kty", "a key type such as RSA or EC")?;
    let curve: Option<String> = object.take("crv", "a curve such as P-256")?;
    let generate = Generate {
        kty: KeyType::parse(&kty)?,
        size: object.take("key_size", "a number of bits")?,
        curve: curve.as_deref().map(Curve::parse).transpose()?,
        public_exponent: object.take("public_exponent", "a number")?,
    };
    generate.check()?;
    Ok(KeyCreate {
        generate,
        key_ops: key_ops(&object)?,
        attributes: attributes(&object)?,
        tags: object.tags()?.unwrap_or_default(),
    })
}

/// The body of `KeyImport`.
pub(super) fn import(body: &[u8]) -> Result<KeyImport> {
    let object = Object::parse(body)?;
    let key = object.require_object("key")?;
    let member = |name| key.take::<Zeroizing<String>>(name, "base64url text");
    let key = JsonWebKey {
        kty: key.require("kty", "a key type such as RSA or EC")?,
        key_ops: {
            key_ops(&key)?;
            key.take("key_ops", KEY_OPS)?
        },
        n: member("n")?,
        e: member("e")?,
        d: member("d")?,
        p: member("p")?,
        q: member("q")?,
        dp: member("dp")?,
        dq: member("dq")?,
        qi: member("qi")?,
        k: member("k")?,
        crv: key.take("crv", "a curve such as P-256")?,
        x: member("x")?,
        y: member("y")?,
        key_hsm: member("key_hsm")?,
    };
    // A misspelled word must not make a key of the other kind.
    let hsm = match object.take("Hsm", "true or false")? {
        Some(hsm) => Some(hsm),
        None => object.take("hsm", "true or false")?,
    };
    Ok(KeyImport {
        key,
        hsm: hsm.unwrap_or(false),
        attributes: attributes(&object)?,
        tags: object.tags()?.unwrap_or_default(),
    })
}

/// The body of `KeyUpdate`.
pub(super) fn update(body: &[u8]) -> Result<KeyUpdate> {
    let object = Object::parse_optional(body)?;
    Ok(KeyUpdate { key_ops: key_ops(&object)?, attributes: attributes(&object)?, tags: object.tags()? })
}

const KEY_OPS: &str = "a list of words such as sign, verify";

fn key_ops(object: &Object<'_>) -> Result<Option<Vec<KeyOperation>>> {
    let words: Option<Vec<String>> = object.take("key_ops", KEY_OPS)?;
    words.map(|words| words.iter().map(|word| KeyOperation::parse(word)).collect()).transpose()
}

/// `attributes`; and the refusal of what belongs to secure key release, which is not offered. Azure demands
/// `exportable` and `release_policy` together, and says so in these words.
fn attributes(object: &Object<'_>) -> Result<KeyAttributesPatch> {
    let mut patch = KeyAttributesPatch::default();
    if let Some(attributes) = object.object("attributes")? {
        patch.common = common::attributes(&attributes)?;
        patch.exportable = attributes.take("exportable", "true or false")?;
        if patch.exportable == Some(true) {
            let never = "false: secure key release is not offered here, so no key ever leaves its vault";
            return Err(attributes.wrong("exportable", never));
        }
    }
    if object.has("release_policy") {
        return Err(Error::bad(
            "AKV.SKR.1005: Non-exportable keys must not have release policy. Secure key release is not offered here.",
        ));
    }
    Ok(patch)
}

/// The body of a computation, and its algorithm.
pub(super) fn computation(operation: Operation, body: &[u8]) -> Result<(Algorithm, Computation)> {
    let object = Object::parse(body)?;
    let word: String = object.require("alg", "the name of an algorithm")?;
    let algorithm = Algorithm::parse(&word)?;
    // What the caller sees anyway may be handed on as it is; plaintext stays in memory that is wiped.
    let public = |name: &str| -> Result<Option<Vec<u8>>> {
        Ok(object.bytes(name)?.map(|mut bytes| std::mem::take(&mut *bytes)))
    };
    let required = |name: &str| -> Result<Vec<u8>> {
        object.require_bytes(name).map(|mut bytes| std::mem::take(&mut *bytes))
    };
    let computation = match operation {
        Operation::KeyEncrypt => Computation::Encrypt {
            algorithm,
            value: object.require_bytes("value")?,
            iv: public("iv")?,
            aad: public("aad")?,
        },
        Operation::KeyDecrypt => Computation::Decrypt {
            algorithm,
            value: required("value")?,
            iv: public("iv")?,
            tag: public("tag")?,
            aad: public("aad")?,
        },
        Operation::KeyWrap => Computation::Wrap { algorithm, value: object.require_bytes("value")? },
        Operation::KeyUnwrap => Computation::Unwrap { algorithm, value: required("value")? },
        Operation::KeySign => Computation::Sign { algorithm, digest: required("value")? },
        Operation::KeyVerify => {
            Computation::Verify { algorithm, digest: required("digest")?, signature: required("value")? }
        }
        other => return Err(crate::perform::misplaced(other)),
    };
    Ok((algorithm, computation))
}

/// The body of `KeyRotationPolicySet`.
pub(super) fn policy(body: &[u8]) -> Result<RotationPolicy> {
    let object = Object::parse(body)?;
    let expiry_time = match object.object("attributes")? {
        Some(attributes) => attributes.take("expiryTime", DURATION)?,
        None => None,
    };
    let actions = object.objects("lifetimeActions")?;
    let lifetime_actions = actions.iter().flatten().map(lifetime_action).collect::<Result<_>>()?;
    Ok(RotationPolicy { lifetime_actions, expiry_time })
}

const DURATION: &str = "an ISO 8601 duration such as P90D";

fn lifetime_action(object: &Object<'_>) -> Result<LifetimeAction> {
    let (trigger, action) = (object.require_object("trigger")?, object.require_object("action")?);
    let kind: String = action.require("type", TYPES)?;
    let action = match kind.to_ascii_lowercase().as_str() {
        "rotate" => LifetimeActionType::Rotate,
        "notify" => LifetimeActionType::Notify,
        _ => return Err(action.wrong("type", TYPES)),
    };
    Ok(LifetimeAction {
        action,
        time_after_create: trigger.take("timeAfterCreate", DURATION)?,
        time_before_expiry: trigger.take("timeBeforeExpiry", DURATION)?,
    })
}

const TYPES: &str = "Rotate or Notify";

/// The body of `RandomBytesGet`. How many there may be is the service's to say.
pub(super) fn count(body: &[u8]) -> Result<u32> {
    Object::parse(body)?.require("count", "a number from 1 to 128")
}

#[cfg(test)]
mod tests;
