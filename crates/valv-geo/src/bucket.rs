//! Buckets: a vault's records spread by a hash of their place, and one hash for each bucket.
//!
//! Records compare by place and sealed value, without the generation, which is each store's own. The
//! vault's own record takes part at [`VAULT_PLACE`], as [`vault_value`] has it.

use aws_lc_rs::digest::{self, Context};
use bytes::Bytes;
use serde_json::Value;

use crate::source::{BUCKETS, VaultRecord};

/// The place of the vault's own record; no path begins so, and it stands before all paths.
pub const VAULT_PLACE: &str = "\u{1}vault";

/// The bucket of a place.
#[must_use]
pub fn bucket_of(place: &str) -> u8 {
    digest::digest(&digest::SHA256, place.as_bytes()).as_ref()[0]
}

/// The vault's own record as it is compared: live or soft-deleted, and the envelope without its generation.
/// A record that cannot be read compares by its bytes.
#[must_use]
pub fn vault_value(record: &VaultRecord) -> Bytes {
    let mut value = vec![u8::from(record.deleted)];
    match serde_json::from_slice::<Value>(&record.envelope) {
        // A map without an order of its own: two programs that order fields differently write the same.
        Ok(Value::Object(mut fields)) => {
            fields.remove("generation");
            value.extend_from_slice(Value::Object(fields).to_string().as_bytes());
        }
        _ => value.extend_from_slice(&record.envelope),
    }
    value.into()
}

/// Hashes of a vault's records, which are added in the order of their places.
pub struct Hashes(Vec<Option<Context>>);

impl Hashes {
    /// Of no records.
    #[must_use]
    pub fn new() -> Self {
        Self((0..BUCKETS).map(|_| None).collect())
    }

    /// Adds a record.
    pub fn add(&mut self, place: &str, value: &[u8]) {
        let Some(bucket) = self.0.get_mut(usize::from(bucket_of(place))) else { return };
        let hash = bucket.get_or_insert_with(|| Context::new(&digest::SHA256));
        for part in [place.as_bytes(), value] {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }

    /// One hash for each bucket; zeroes for one without records.
    #[must_use]
    pub fn finish(self) -> Vec<[u8; 32]> {
        let finish = |hash: Option<Context>| {
            let mut bytes = [0; 32];
            if let Some(hash) = hash {
                bytes.copy_from_slice(hash.finish().as_ref());
            }
            bytes
        };
        self.0.into_iter().map(finish).collect()
    }
}

impl Default for Hashes {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_tells_every_difference_of_its_records() {
        let hashes = |records: &[(&str, &[u8])]| {
            let mut hashes = Hashes::new();
            records.iter().for_each(|(place, value)| hashes.add(place, value));
            hashes.finish()
        };
        let base = hashes(&[("secrets/A", b"1"), ("secrets/B", b"2")]);
        assert_eq!(base.len(), BUCKETS);
        let (a, b) = (usize::from(bucket_of("secrets/A")), usize::from(bucket_of("secrets/B")));
        assert!(a != b && base[a] != [0; 32] && base.iter().filter(|hash| **hash != [0; 32]).count() == 2);
        for other in [
            hashes(&[("secrets/A", b"1")]),
            hashes(&[("secrets/A", b"1"), ("secrets/B", b"3")]),
            hashes(&[("secrets/A", b"2"), ("secrets/B", b"1")]),
            hashes(&[("secrets/A", b"1"), ("secrets/B2", b"")]),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn the_generation_of_a_vaults_record_does_not_count_and_all_else_does() {
        let value = |deleted, envelope: &'static str| {
            vault_value(&VaultRecord { deleted, envelope: envelope.into() })
        };
        let one = value(false, r#"{"generation":1,"name":"x","later":[1]}"#);
        assert_eq!(one, value(false, r#"{"later":[1],"name":"x","generation":20}"#));
        assert_ne!(one, value(true, r#"{"generation":1,"name":"x","later":[1]}"#));
        assert_ne!(one, value(false, r#"{"generation":1,"name":"x","later":[2]}"#));
        assert_ne!(value(false, "damaged"), value(false, "damagee"));
    }
}
