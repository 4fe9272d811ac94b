//! What a client may send, as Azure bounds it (Key Vault secrets: "About secrets", REST `SetSecret`).

use valv_model::{Error, Result};

use super::{SecretSet, SecretUpdate};
use crate::objects::limits::{check_dates, check_tags};

/// The most bytes of a value (25 KB).
pub const MAX_VALUE_BYTES: usize = 25_600;
/// The most characters of a content type.
pub const MAX_CONTENT_TYPE_CHARS: usize = 255;
/// The most characters of a tag's name, and of its value.
pub const MAX_TAG_CHARS: usize = 512;

/// Checks the parameters of `SecretSet`.
pub(super) fn check_set(set: &SecretSet) -> Result<()> {
    let length = set.value.len();
    if length > MAX_VALUE_BYTES {
        return Err(Error::bad(format!(
            "Property value has invalid value: it has {length} bytes; a secret has at most {MAX_VALUE_BYTES}."
        )));
    }
    check_content_type(set.content_type.as_deref())?;
    check_tags(&set.tags, MAX_TAG_CHARS)?;
    check_dates(&set.attributes)
}

/// Checks the parameters of `SecretUpdate`.
pub(super) fn check_update(update: &SecretUpdate) -> Result<()> {
    check_content_type(update.content_type.as_deref())?;
    if let Some(tags) = &update.tags {
        check_tags(tags, MAX_TAG_CHARS)?;
    }
    check_dates(&update.attributes)
}

fn check_content_type(content_type: Option<&str>) -> Result<()> {
    match content_type.map(|text| text.chars().count()) {
        Some(length) if length > MAX_CONTENT_TYPE_CHARS => Err(Error::bad(format!(
            "Property contentType has invalid value: it has {length} characters; at most {MAX_CONTENT_TYPE_CHARS} are allowed."
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use valv_model::{ErrorCode, MAX_TAGS, Tags, UnixSeconds};
    use zeroize::Zeroizing;

    use super::super::{AttributesPatch, MAX_DATE};
    use super::*;

    fn set() -> SecretSet {
        SecretSet {
            value: Zeroizing::new("v".repeat(MAX_VALUE_BYTES)),
            content_type: Some("ü".repeat(MAX_CONTENT_TYPE_CHARS)),
            tags: (0..MAX_TAGS)
                .map(|i| (format!("{i:02}{}", "ä".repeat(MAX_TAG_CHARS - 2)), "ö".repeat(MAX_TAG_CHARS)))
                .collect(),
            attributes: AttributesPatch { enabled: None, nbf: Some(MAX_DATE), exp: Some(UnixSeconds(0)) },
        }
    }

    #[test]
    fn f37_every_limit_holds_at_the_bound_and_not_one_beyond() {
        check_set(&set()).unwrap();
        type Break = fn(&mut SecretSet);
        let breaks: [(&str, Break); 8] = [
            ("25601 bytes", |set| set.value.push('v')),
            ("256 characters", |set| set.content_type.as_mut().unwrap().push('ü')),
            ("16 tags", |set| drop(set.tags.insert("one more".into(), String::new()))),
            ("513 and its value 0", |set| {
                set.tags = Tags::from([("n".repeat(MAX_TAG_CHARS + 1), String::new())]);
            }),
            ("its value 513", |set| set.tags = Tags::from([("n".into(), "v".repeat(MAX_TAG_CHARS + 1))])),
            ("empty name", |set| set.tags = Tags::from([(String::new(), "v".into())])),
            ("attributes.nbf", |set| set.attributes.nbf = Some(MAX_DATE.plus(1))),
            ("attributes.exp", |set| set.attributes.exp = Some(UnixSeconds(-1))),
        ];
        for (text, break_it) in breaks {
            let mut set = set();
            break_it(&mut set);
            let error = check_set(&set).unwrap_err();
            assert_eq!(error.code, ErrorCode::BadParameter);
            assert!(error.message.contains(text), "{error}");
        }
    }

    #[test]
    fn an_update_has_the_same_limits() {
        let SecretSet { content_type, tags, attributes, .. } = set();
        let update = SecretUpdate { content_type, tags: Some(tags), attributes };
        check_update(&update).unwrap();
        let long = SecretUpdate { content_type: Some("c".repeat(256)), ..update.clone() };
        assert!(check_update(&long).is_err());
        let nameless =
            SecretUpdate { tags: Some(Tags::from([(String::new(), String::new())])), ..update.clone() };
        assert!(check_update(&nameless).is_err());
        let late = AttributesPatch { exp: Some(MAX_DATE.plus(1)), ..AttributesPatch::default() };
        assert!(check_update(&SecretUpdate { attributes: late, ..update }).is_err());
    }
}
