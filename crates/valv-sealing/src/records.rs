//! The records that are open by design: what detects loss, and what replication must read without keys.

mod envelope;
mod head;
mod log;

pub use envelope::VaultEnvelope;
pub use head::{Chain, Head};
pub use log::{LogRecord, Outcome, RequestKey};

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged record: {0}")]
pub struct DecodeError(pub String);
