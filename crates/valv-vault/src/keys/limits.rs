//! What a client may send of a key, as Azure bounds it (Key Vault keys: "About keys", REST `CreateKey`).

use valv_crypto::{KeyOperation, KeyType};
use valv_model::{Error, Result};

use super::{KeyAttributesPatch, KeyCreate, KeyImport, KeyUpdate};
use crate::objects::limits::{check_dates, check_tags};

/// The most characters of a tag's name, and of its value.
pub const MAX_TAG_CHARS: usize = 256;

/// Checks the parameters of `KeyCreate`; what the new key may do.
pub(super) fn check_create(create: &KeyCreate) -> Result<Vec<KeyOperation>> {
    create.generate.check()?;
    check_tags(&create.tags, MAX_TAG_CHARS)?;
    check_attributes(&create.attributes)?;
    let kty = create.generate.kty;
    let key_ops = create.key_ops.clone().unwrap_or_else(|| kty.default_operations().to_vec());
    check_key_ops(kty, &key_ops)?;
    Ok(key_ops)
}

/// Checks the parameters of `KeyImport` but for the key's own members; its type, and what it may do.
pub(super) fn check_import(import: &KeyImport) -> Result<(KeyType, Vec<KeyOperation>)> {
    check_tags(&import.tags, MAX_TAG_CHARS)?;
    check_attributes(&import.attributes)?;
    let kty = KeyType::parse(&import.key.kty)?;
    let kty = if import.hsm { kty.to_hsm() } else { kty };
    let key_ops = match &import.key.key_ops {
        Some(words) => words.iter().map(|word| KeyOperation::parse(word)).collect::<Result<_>>()?,
        None => kty.default_operations().to_vec(),
    };
    check_key_ops(kty, &key_ops)?;
    Ok((kty, key_ops))
}

/// Checks the parameters of `KeyUpdate`, but for what the type of the key does not allow.
pub(super) fn check_update(update: &KeyUpdate) -> Result<()> {
    if let Some(tags) = &update.tags {
        check_tags(tags, MAX_TAG_CHARS)?;
    }
    if let Some(key_ops) = &update.key_ops {
        check_distinct(key_ops)?;
    }
    check_attributes(&update.attributes)
}

/// Refuses operations that keys of this type can never do.
pub(super) fn check_key_ops(kty: KeyType, key_ops: &[KeyOperation]) -> Result<()> {
    check_distinct(key_ops)?;
    match key_ops.iter().find(|operation| !kty.allows(**operation)) {
        Some(operation) => Err(Error::bad(format!(
            "Property key_ops has invalid value: keys of type {kty} can not do {operation}."
        ))),
        None => Ok(()),
    }
}

/// RFC 7517, section 4.3: no word stands twice.
fn check_distinct(key_ops: &[KeyOperation]) -> Result<()> {
    let twice = key_ops.iter().enumerate().find(|(at, operation)| key_ops[..*at].contains(operation));
    match twice {
        Some((_, operation)) => {
            Err(Error::bad(format!("Property key_ops has invalid value: {operation} stands twice.")))
        }
        None => Ok(()),
    }
}

fn check_attributes(attributes: &KeyAttributesPatch) -> Result<()> {
    check_dates(&attributes.common)?;
    if attributes.exportable == Some(true) {
        return Err(Error::bad(
            "Property attributes.exportable has invalid value: this service never releases a private key, so no key is exportable.",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use valv_crypto::{Generate, JsonWebKey};
    use valv_model::{ErrorCode, MAX_TAGS, Tags, UnixSeconds};

    use super::*;
    use crate::objects::limits::MAX_DATE;

    fn create() -> KeyCreate {
        KeyCreate {
            generate: Generate::new(KeyType::EcHsm),
            key_ops: None,
            attributes: KeyAttributesPatch { exportable: Some(false), ..KeyAttributesPatch::default() },
            tags: (0..MAX_TAGS)
                .map(|i| (format!("{i:02}{}", "ä".repeat(MAX_TAG_CHARS - 2)), "ö".repeat(MAX_TAG_CHARS)))
                .collect(),
        }
    }

    #[test]
    fn f37_every_limit_holds_at_the_bound_and_not_one_beyond() {
        assert_eq!(check_create(&create()).unwrap(), [KeyOperation::Sign, KeyOperation::Verify]);
        type Break = fn(&mut KeyCreate);
        let breaks: [(&str, Break); 10] = [
            ("16 tags", |create| drop(create.tags.insert("one more".into(), String::new()))),
            ("257 and its value 0", |create| {
                create.tags = Tags::from([("n".repeat(MAX_TAG_CHARS + 1), String::new())]);
            }),
            ("its value 257", |create| {
                create.tags = Tags::from([("n".into(), "v".repeat(MAX_TAG_CHARS + 1))]);
            }),
            ("empty name", |create| create.tags = Tags::from([(String::new(), "v".into())])),
            ("attributes.nbf", |create| create.attributes.common.nbf = Some(MAX_DATE.plus(1))),
            ("attributes.exp", |create| create.attributes.common.exp = Some(UnixSeconds(-1))),
            ("attributes.exportable", |create| create.attributes.exportable = Some(true)),
            ("keys of type EC-HSM can not do decrypt", |create| {
                create.key_ops = Some(vec![KeyOperation::Sign, KeyOperation::Decrypt]);
            }),
            ("sign stands twice", |create| create.key_ops = Some(vec![KeyOperation::Sign; 2])),
            ("key_size", |create| create.generate.size = Some(255)),
        ];
        for (text, break_it) in breaks {
            let mut create = create();
            break_it(&mut create);
            let error = check_create(&create).unwrap_err();
            assert_eq!(error.code, ErrorCode::BadParameter);
            assert!(error.message.contains(text), "{error}");
        }
    }

    #[test]
    fn an_import_and_an_update_have_the_same_limits() {
        let KeyCreate { attributes, tags, .. } = create();
        let import = |words: Option<&[&str]>, hsm| {
            let key_ops = words.map(|words| words.iter().map(|word| (*word).to_owned()).collect());
            let key = JsonWebKey { kty: "oct".into(), key_ops, ..JsonWebKey::default() };
            check_import(&KeyImport { key, hsm, attributes, tags: tags.clone() })
        };
        assert_eq!(import(None, true).unwrap().0, KeyType::OctHsm);
        let chosen = import(Some(&["wrapKey", "unwrapKey"]), false).unwrap();
        assert_eq!(chosen, (KeyType::Oct, vec![KeyOperation::WrapKey, KeyOperation::UnwrapKey]));
        for words in [&["derive"][..], &["sign", "sign"], &["Sign"]] {
            assert_eq!(import(Some(words), false).unwrap_err().code, ErrorCode::BadParameter);
        }
        let update = KeyUpdate { key_ops: Some(vec![KeyOperation::Sign]), attributes, tags: Some(tags) };
        check_update(&update).unwrap();
        let twice = KeyUpdate { key_ops: Some(vec![KeyOperation::Sign; 2]), ..update.clone() };
        assert!(check_update(&twice).is_err());
        let exportable = KeyAttributesPatch { exportable: Some(true), ..attributes };
        assert!(check_update(&KeyUpdate { attributes: exportable, ..update.clone() }).is_err());
        let nameless = Some(Tags::from([(String::new(), String::new())]));
        assert!(check_update(&KeyUpdate { tags: nameless, ..update }).is_err());
    }
}
