//! The barrier. Above it records are plaintext, below it only ciphertext.
//!
//! ```text
//! root key (file, environment, token)  --wraps-->  data key (one or more per vault)  --seals-->  record
//! ```
//!
//! A record is AES-256-GCM under its vault's data key; vault id, path below the vault and record kind are
//! the associated data, so a record that was moved, swapped or renamed does not open. The generation is
//! left out, so that a vault can be copied to a new one.
//!
//! [`SealedOp`] is the proof that a value may go below: only sealing, deleting, and the records that are
//! open by design (head, log, vault envelope, root key id) make one, and [`Barrier::commit`] takes nothing else.

mod barrier;
pub use barrier::{Barrier, SealedOp};

mod backup;

mod keyring;
pub use keyring::Keyring;

mod data_key;
pub use data_key::{DataKeys, RecordKind, SealError, WrappedDataKey};

mod records;
pub use records::{Chain, DecodeError, Head, LogRecord, Outcome, RequestKey, VaultEnvelope};

mod root_key;
pub use root_key::{PinSource, RootKey, RootKeyError, RootKeyId, RootKeySource, RootKeys};

mod cipher;
