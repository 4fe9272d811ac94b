//! How this node treats a request: a pure decision.

use valv_model::{Effect, Error, Operation, Result};

/// How a request to a vault is treated here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// This is the vault's home.
    Serve,
    /// The home is away and this is its pair: reads only.
    ServeReadOnly,
}

/// Decides the mode. A deployment of one region is every vault's home.
#[must_use]
pub(crate) fn route() -> Mode {
    Mode::Serve
}

impl Mode {
    /// Refuses what this mode does not do.
    pub(crate) fn allow(self, operation: Operation) -> Result<()> {
        match (self, operation.spec().effect) {
            (Self::ServeReadOnly, Effect::Write) => Err(Error::read_only(operation.name())),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use valv_model::OPERATIONS;

    use super::*;

    #[test]
    fn read_only_refuses_exactly_what_writes() {
        for spec in OPERATIONS {
            assert!(Mode::Serve.allow(spec.operation).is_ok());
            let refused = Mode::ServeReadOnly.allow(spec.operation).is_err();
            assert_eq!(refused, spec.effect == Effect::Write, "{}", spec.name);
        }
        assert_eq!(
            Mode::ServeReadOnly.allow(Operation::SecretSet).unwrap_err().message,
            "Operation \"SecretSet\" is unavailable: the service is currently in a read-only state."
        );
    }
}
