//! What a client may send, as Azure bounds it (Key Vault secrets: "About secrets", REST `SetSecret`).

use valv_model::{Error, MAX_TAGS, Result, Tags, UnixSeconds};

use super::{AttributesPatch, SecretSet, SecretUpdate};

/// The most bytes of a value (25 KB).
pub const MAX_VALUE_BYTES: usize = 25_600;
/// The most characters of a content type.
pub const MAX_CONTENT_TYPE_CHARS: usize = 255;
/// The most characters of a tag's name, and of its value.
pub const MAX_TAG_CHARS: usize = 512;
/// The last moment that has a four-digit year: 9999-12-31T23:59:59Z.
pub const MAX_DATE: UnixSeconds = UnixSeconds(253_402_300_799);
/// The most versions in one backup.
pub const MAX_BACKUP_VERSIONS: usize = 500;
/// The most characters of a backup blob.
pub const MAX_BACKUP_CHARS: usize = 32 * 1024 * 1024;

/// Checks the parameters of `SecretSet`.
pub(super) fn check_set(set: &SecretSet) -> Result<()> {
    let length = set.value.len();
    if length > MAX_VALUE_BYTES {
        return Err(Error::bad(format!(
            "Property value has invalid value: it has {length} bytes; a secret has at most {MAX_VALUE_BYTES}."
        )));
    }
    check_content_type(set.content_type.as_deref())?;
    check_tags(&set.tags)?;
    check_dates(&set.attributes)
}

/// Checks the parameters of `SecretUpdate`.
pub(super) fn check_update(update: &SecretUpdate) -> Result<()> {
    check_content_type(update.content_type.as_deref())?;
    if let Some(tags) = &update.tags {
        check_tags(tags)?;
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

fn check_tags(tags: &Tags) -> Result<()> {
    if tags.len() > MAX_TAGS {
        return Err(Error::bad(format!(
            "Property tags has invalid value: it has {} tags; at most {MAX_TAGS} are allowed.",
            tags.len()
        )));
    }
    for (name, value) in tags {
        let (name, value) = (name.chars().count(), value.chars().count());
        if name == 0 {
            return Err(Error::bad("Property tags has invalid value: a tag has an empty name."));
        }
        if name > MAX_TAG_CHARS || value > MAX_TAG_CHARS {
            return Err(Error::bad(format!(
                "Property tags has invalid value: a tag's name has {name} and its value {value} characters; at most {MAX_TAG_CHARS} each are allowed."
            )));
        }
    }
    Ok(())
}

/// Whether `exp` lies before `nbf` is the client's business: both are advisory for secrets.
fn check_dates(attributes: &AttributesPatch) -> Result<()> {
    for (name, date) in [("nbf", attributes.nbf), ("exp", attributes.exp)] {
        if date.is_some_and(|date| date < UnixSeconds(0) || date > MAX_DATE) {
            return Err(Error::bad(format!(
                "Property attributes.{name} has invalid value: it must be a number of seconds since 1970-01-01 UTC between 0 and {}.",
                MAX_DATE.0
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use valv_model::ErrorCode;
    use zeroize::Zeroizing;

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
