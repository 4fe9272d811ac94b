//! What a client may send of any object, as Azure bounds it (Key Vault: "About keys, secrets and certificates").

use valv_model::{Error, MAX_TAGS, Result, Tags, UnixSeconds};

use super::AttributesPatch;

/// The last moment that has a four-digit year: 9999-12-31T23:59:59Z.
pub const MAX_DATE: UnixSeconds = UnixSeconds(253_402_300_799);
/// The most versions in one backup.
pub const MAX_BACKUP_VERSIONS: usize = 500;
/// The most characters of a backup blob.
pub const MAX_BACKUP_CHARS: usize = 32 * 1024 * 1024;

/// Checks tags, whose names and values have at most `most` characters each.
pub(crate) fn check_tags(tags: &Tags, most: usize) -> Result<()> {
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
        if name > most || value > most {
            return Err(Error::bad(format!(
                "Property tags has invalid value: a tag's name has {name} and its value {value} characters; at most {most} each are allowed."
            )));
        }
    }
    Ok(())
}

/// Whether `exp` lies before `nbf` is the client's business: such an object is never in its time.
pub(crate) fn check_dates(attributes: &AttributesPatch) -> Result<()> {
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
