//! Names and ids. Each is a type of its own, so that a mix-up does not compile; each is made only by
//! `parse`, so that holding one is proof that it is well formed.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Error, Result};

/// Implements what all names share: reading, showing, and (de)serialising through `parse`.
macro_rules! text_type {
    ($name:ident) => {
        impl $name {
            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
                Self::parse(&String::deserialize(d)?).map_err(|e| serde::de::Error::custom(e.message))
            }
        }
    };
}

/// The name of a secret, key or certificate: 1 to 127 letters, digits and hyphens. Azure compares
/// names without case, so equality and order are those of the upper-cased name; the spelling is kept.
#[derive(Clone, Serialize)]
pub struct ObjectName(Box<str>);
text_type!(ObjectName);

impl ObjectName {
    /// Reads a name as it stands in a path.
    pub fn parse(text: &str) -> Result<Self> {
        let legal =
            (1..=127).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if legal {
            Ok(Self(text.into()))
        } else {
            Err(Error::bad(format!("The request URI contains an invalid name: {}", shown(text))))
        }
    }

    /// The form that decides identity and order.
    #[must_use]
    pub fn upper(&self) -> String {
        self.0.to_ascii_uppercase()
    }
}

impl PartialEq for ObjectName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}
impl Eq for ObjectName {}
impl std::hash::Hash for ObjectName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.upper().hash(state);
    }
}

/// The name of a vault: 3 to 24 letters, digits and hyphens; begins with a letter, ends with a letter
/// or digit, no two hyphens in a row. Kept in lower case, because it is a part of a host name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct VaultName(Box<str>);
text_type!(VaultName);

impl VaultName {
    /// Reads a vault name in any case.
    pub fn parse(text: &str) -> Result<Self> {
        let legal = (3..=24).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && text.starts_with(|c: char| c.is_ascii_alphabetic())
            && !text.ends_with('-')
            && !text.contains("--");
        if legal {
            Ok(Self(text.to_ascii_lowercase().into()))
        } else {
            Err(Error::bad(format!(
                "The vault name '{}' is invalid. A vault name has 3 to 24 letters, digits and hyphens, begins with a letter, ends with a letter or digit, and has no two hyphens in a row.",
                shown(text)
            )))
        }
    }
}

/// The name of a region, such as `eastus`: 1 to 63 lower-case letters, digits and hyphens.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct RegionName(Box<str>);
text_type!(RegionName);

impl RegionName {
    /// Reads a region name.
    pub fn parse(text: &str) -> Result<Self> {
        let legal = (1..=63).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if legal {
            Ok(Self(text.into()))
        } else {
            Err(Error::bad(format!(
                "The region name '{}' is invalid. A region name has 1 to 63 lower-case letters, digits and hyphens.",
                shown(text)
            )))
        }
    }
}

/// A version of an object: 32 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct VersionId(Box<str>);
text_type!(VersionId);

impl VersionId {
    /// Reads a version as it stands in a path; upper-case digits are taken too.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            Ok(Self(text.to_ascii_lowercase().into()))
        } else {
            Err(Error::bad(format!(
                "The request URI contains an invalid version: {}. A version has 32 hexadecimal digits.",
                shown(text)
            )))
        }
    }

    /// The version made of 16 random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(format!("{:032x}", u128::from_be_bytes(bytes)).into())
    }
}

/// Implements an id in the form of a UUID, kept in lower case.
macro_rules! uuid_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        pub struct $name(Box<str>);
        text_type!($name);

        impl $name {
            /// Reads an id in the form of a UUID with hyphens, in any case.
            pub fn parse(text: &str) -> Result<Self> {
                if is_uuid(text) {
                    Ok(Self(text.to_ascii_lowercase().into()))
                } else {
                    Err(Error::bad(format!(
                        concat!("'{}' is not a valid ", $what, ". It has the form of a UUID, such as 00482a5a-887f-4fb3-b363-3b7fe8e74483."),
                        shown(text)
                    )))
                }
            }
        }
    };
}

uuid_type!(
    /// The tenant that a vault trusts; one for a deployment.
    TenantId, "tenant id"
);
uuid_type!(
    /// Who acts: the `oid` claim of a token; the key of access policies and role assignments.
    PrincipalId, "object id"
);
uuid_type!(
    /// A registered application: the `appid` claim of a token.
    ClientId, "client id"
);
uuid_type!(
    /// What stays the same when a vault's name is used again after a purge: every vault ever made has its own.
    VaultId, "vault id"
);

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// Foreign text as it may stand in a message: short, and without control characters.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(64).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(64).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_compare_without_case_and_keep_their_spelling() {
        let (a, b) = (ObjectName::parse("Api-Key").unwrap(), ObjectName::parse("aPI-kEY").unwrap());
        assert_eq!(a, b);
        assert_eq!(a.as_str(), "Api-Key");
        assert_eq!(a.upper(), "API-KEY");
    }

    #[test]
    fn what_is_no_name_is_refused_and_named() {
        for text in ["", "a_b", "a b", "ü", "a/b", &"x".repeat(128)] {
            let error = ObjectName::parse(text).unwrap_err();
            assert!(error.message.starts_with("The request URI contains an invalid name: "), "{error}");
            assert!(error.message.len() < 400);
        }
        for text in ["ab", "1ab", "a--b", "abc-", &"v".repeat(25), "a.b"] {
            assert!(VaultName::parse(text).is_err(), "{text}");
        }
        for text in ["", "0", &"g".repeat(32), &"0".repeat(33)] {
            assert!(VersionId::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic_or_echo_control_characters(text in "\\PC*|[\\x00-\\x7f]*") {
            for message in [
                ObjectName::parse(&text).err(), VaultName::parse(&text).err(), VersionId::parse(&text).err(),
                TenantId::parse(&text).err(), RegionName::parse(&text).err(),
            ].into_iter().flatten().map(|e| e.message) {
                prop_assert!(!message.chars().any(char::is_control));
            }
        }

        #[test]
        fn a_version_reads_back(bytes: [u8; 16]) {
            let version = VersionId::from_bytes(bytes);
            prop_assert_eq!(VersionId::parse(version.as_str()).unwrap(), version);
        }
    }
}
