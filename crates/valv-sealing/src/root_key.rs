//! Root keys and where they come from.

mod error;
mod file;
mod software;
mod token;

use std::{fmt, path::PathBuf, sync::Arc};

pub use error::RootKeyError;
use serde::{Deserialize, Serialize};
use software::SoftwareKey;
pub use token::PinSource;
use token::TokenKey;
use zeroize::Zeroizing;

/// Tells root keys apart without telling anything about them: 16 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RootKeyId(pub String);

impl fmt::Display for RootKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something that wraps data keys. A file's key does it here; a PKCS#11 token does it inside the token.
pub trait RootKey: Send + Sync {
    /// The key's id.
    fn id(&self) -> &RootKeyId;
    /// Wraps a data key; `context` is authenticated.
    fn wrap(&self, context: &[u8], data_key: &[u8; 32]) -> Result<Vec<u8>, RootKeyError>;
    /// Unwraps what `wrap` made under the same context. [`RootKeyError::DoesNotOpen`] if it did not make it.
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
    /// An AES key of 256 bits in a PKCS#11 token. It wraps there; it is never in this process.
    Token {
        /// The token's PKCS#11 module, a shared library.
        module: PathBuf,
        /// The token's label.
        token: String,
        /// The key's label (CKA_LABEL).
        key: String,
        /// The token's user PIN.
        pin: PinSource,
    },
}

impl RootKeySource {
    fn load(&self) -> Result<Arc<dyn RootKey>, RootKeyError> {
        Ok(match self {
            Self::File(path) => Arc::new(SoftwareKey::parse(&file::read(path)?, self)?),
            Self::Text { line, .. } => Arc::new(SoftwareKey::parse(line, self)?),
            Self::Token { module, token, key, pin } => {
                Arc::new(TokenKey::open(module, token, key, pin, self.to_string())?)
            }
        })
    }
}

/// Names the source, for messages.
impl fmt::Display for RootKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the root key file {}", path.display()),
            Self::Text { variable, .. } => write!(f, "the root key in the environment variable {variable}"),
            Self::Token { token, key, .. } => {
                write!(f, "the root key '{key}' in the PKCS#11 token '{token}'")
            }
        }
    }
}

impl fmt::Debug for RootKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The root keys in use: the first wraps, all unwrap.
#[derive(Clone)]
pub struct RootKeys {
    /// Never empty, no id twice.
    keys: Vec<Arc<dyn RootKey>>,
}

impl RootKeys {
    /// Loads keys; the first is the current one.
    pub fn load(sources: &[RootKeySource]) -> Result<Self, RootKeyError> {
        let mut keys: Vec<Arc<dyn RootKey>> = Vec::with_capacity(sources.len());
        for source in sources {
            let key = source.load()?;
            if let Some(first) = keys.iter().position(|other| other.id() == key.id()) {
                return Err(RootKeyError::Duplicate {
                    first: sources[first].to_string(),
                    second: source.to_string(),
                });
            }
            keys.push(key);
        }
        Self::new(keys)
    }

    /// Of keys that are at hand, such as a token's; the first is the current one.
    pub fn new(keys: Vec<Arc<dyn RootKey>>) -> Result<Self, RootKeyError> {
        if keys.is_empty() {
            return Err(RootKeyError::NotConfigured);
        }
        for (at, key) in keys.iter().enumerate() {
            if keys[..at].iter().any(|other| other.id() == key.id()) {
                let named = format!("root key {}", key.id());
                return Err(RootKeyError::Duplicate { first: named.clone(), second: named });
            }
        }
        Ok(Self { keys })
    }

    /// The key that wraps.
    #[must_use]
    pub fn current(&self) -> &dyn RootKey {
        &*self.keys[0]
    }

    /// The key of that id.
    #[must_use]
    pub fn find(&self, id: &RootKeyId) -> Option<&dyn RootKey> {
        self.keys.iter().find(|key| key.id() == id).map(|key| &**key)
    }

    /// The ids of all keys, the current one first.
    pub fn ids(&self) -> impl Iterator<Item = &RootKeyId> {
        self.keys.iter().map(|key| key.id())
    }

    /// The line of a new root key: 256 random bits and a check sum, for `valv key generate`.
    pub fn generate() -> Result<Zeroizing<String>, RootKeyError> {
        software::generate()
    }
}

impl fmt::Debug for RootKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
