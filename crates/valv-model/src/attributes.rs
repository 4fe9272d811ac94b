use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, UnixSeconds};

/// Name and value pairs that a user attaches to an object.
pub type Tags = BTreeMap<String, String>;

/// Azure's limit on tags for one object.
pub const MAX_TAGS: usize = 15;

/// What every version of every object carries. Dates are unix seconds, as on Azure's wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// A disabled version exists but may not be used.
    pub enabled: bool,
    /// Not to be used before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<UnixSeconds>,
    /// Not to be used from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<UnixSeconds>,
    /// When this version was made.
    pub created: UnixSeconds,
    /// When its attributes were last changed.
    pub updated: UnixSeconds,
}

/// How long a deleted object or vault can be recovered: 7 to 90 days (Azure: soft-delete overview).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct RetentionDays(u8);

impl RetentionDays {
    /// Azure's default, 90 days.
    pub const DEFAULT: Self = Self(90);

    /// A number of days within Azure's bounds.
    pub fn new(days: u8) -> Result<Self> {
        if (7..=90).contains(&days) {
            Ok(Self(days))
        } else {
            Err(Error::bad(format!("softDeleteRetentionInDays is {days}; it must be between 7 and 90.")))
        }
    }

    /// The number of days.
    #[must_use]
    pub fn days(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for RetentionDays {
    type Error = String;
    fn try_from(days: u8) -> std::result::Result<Self, String> {
        Self::new(days).map_err(|e| e.message)
    }
}

impl From<RetentionDays> for u8 {
    fn from(days: RetentionDays) -> Self {
        days.0
    }
}

/// Azure's `recoveryLevel`: what deleting means in this vault. Soft delete is always on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryLevel {
    /// With purge protection nobody can purge before the retention time has passed.
    pub purge_protection: bool,
    /// The vault's retention time.
    pub retention: RetentionDays,
}

impl RecoveryLevel {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match (self.retention.days() < 90, self.purge_protection) {
            (false, false) => "Recoverable+Purgeable",
            (false, true) => "Recoverable",
            (true, false) => "CustomizedRecoverable+Purgeable",
            (true, true) => "CustomizedRecoverable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recovery_level_follows_retention_and_purge_protection() {
        let level = |days, purge_protection| {
            RecoveryLevel { purge_protection, retention: RetentionDays::new(days).unwrap() }.as_str()
        };
        assert_eq!(level(90, false), "Recoverable+Purgeable");
        assert_eq!(level(90, true), "Recoverable");
        assert_eq!(level(7, false), "CustomizedRecoverable+Purgeable");
        assert_eq!(level(89, true), "CustomizedRecoverable");
        assert!(RetentionDays::new(6).is_err() && RetentionDays::new(91).is_err());
    }
}
