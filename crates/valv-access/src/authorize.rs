//! [`Caller`] and operation to [`Permit`]. Pure: no I/O, no clock.

use valv_model::{ObjectName, ObjectType, Operation, Result, VaultId};

use crate::{Caller, Registry, VaultAccess};

/// What an operation is about.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The vault, for operations on a vault or inside one.
    pub vault: Option<&'a VaultAccess>,
    /// The object, for operations on one.
    pub object: Option<(ObjectType, &'a ObjectName)>,
}

/// Proof that a caller may perform one operation on one target. Only [`authorize`] makes one.
#[derive(Clone, Debug)]
pub struct Permit {
    caller: Caller,
    operation: Operation,
    vault: Option<VaultId>,
    object: Option<ObjectName>,
}

impl Permit {
    /// Who.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
    /// What.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.operation
    }
    /// In which vault.
    #[must_use]
    pub fn vault(&self) -> Option<&VaultId> {
        self.vault.as_ref()
    }
    /// On which object.
    #[must_use]
    pub fn object(&self) -> Option<&ObjectName> {
        self.object.as_ref()
    }
}

/// Decides. Deny by default: a caller without a matching rule gets 403 `Forbidden` with Azure's inner code
/// and text (`AccessDenied` for access policies, `ForbiddenByRbac` for role assignments).
pub fn authorize(
    caller: Caller,
    operation: Operation,
    target: Target<'_>,
    registry: &Registry,
) -> Result<Permit> {
    let _ = (&caller, operation, target, registry);
    todo!()
}
