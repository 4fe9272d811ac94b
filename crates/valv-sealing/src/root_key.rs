//! Root keys and where they come from.

use std::{path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Tells root keys apart without telling anything about them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RootKeyId(pub String);

/// Something that wraps data keys. A file's key does it here; a PKCS#11 token does it inside the token.
pub trait RootKey: Send + Sync {
    /// The key's id.
    fn id(&self) -> &RootKeyId;
    /// Wraps a data key; `context` is authenticated.
    fn wrap(&self, context: &[u8], data_key: &[u8; 32]) -> Result<Vec<u8>, RootKeyError>;
    /// Unwraps what `wrap` made under the same context.
    fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, RootKeyError>;
}

/// Where a root key is read from.
pub enum RootKeySource {
    /// A file that only its owner can read (mode 0600), one line as `valv key generate` writes it.
    File(PathBuf),
    /// The same line as text; the program takes it from an environment variable, which it names here.
    Text {
        /// The variable's name, for messages.
        variable: String,
        /// The line.
        line: Zeroizing<String>,
    },
}

/// Why a root key cannot be used. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RootKeyError {
    /// Placeholder while the crate is being written.
    #[error("{0}")]
    Other(String),
}

/// The root keys in use: the first wraps, all unwrap.
#[derive(Clone)]
pub struct RootKeys {
    #[allow(dead_code)]
    keys: Vec<Arc<dyn RootKey>>,
}

impl RootKeys {
    /// Loads keys; the first is the current one.
    pub fn load(sources: &[RootKeySource]) -> Result<Self, RootKeyError> {
        let _ = sources;
        todo!()
    }

    /// The key that wraps.
    #[must_use]
    pub fn current(&self) -> &dyn RootKey {
        todo!()
    }

    /// The line of a new root key: 256 random bits and a check sum, for `valv key generate`.
    pub fn generate() -> Result<Zeroizing<String>, RootKeyError> {
        todo!()
    }
}
