//! The words of Valv: names and ids, attributes, errors, and the one table of operations.
//!
//! Nothing here does I/O, reads a clock or draws a random number. Everything that reads text from
//! outside is a `parse` that returns a [`Error`] naming what is wrong.

mod attributes;
pub use attributes::{Attributes, MAX_TAGS, RecoveryLevel, RetentionDays, Tags};

mod error;
pub use error::{Error, ErrorCode, InnerCode, Result};

mod name;
pub use name::{ClientId, ObjectName, PrincipalId, RegionName, TenantId, VaultId, VaultName, VersionId};

mod operation;
pub use operation::{Admission, Effect, Method, OPERATIONS, ObjectType, Operation, Spec};

mod time;
pub use time::UnixSeconds;
