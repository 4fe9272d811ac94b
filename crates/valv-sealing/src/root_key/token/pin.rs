use std::{fmt, path::PathBuf};

use zeroize::Zeroizing;

use super::super::{RootKeyError, file};

/// Where a token's user PIN is read from.
pub enum PinSource {
    /// A file that only its owner can read (mode 0600), the PIN alone on its line.
    File(PathBuf),
    /// The PIN as text; the program takes it from an environment variable, which it names here.
    Text {
        /// The variable's name, for messages.
        variable: String,
        /// The PIN.
        pin: Zeroizing<String>,
    },
}

impl PinSource {
    /// The PIN, without the end of its line. Never empty.
    pub(super) fn read(&self) -> Result<Zeroizing<String>, RootKeyError> {
        let unusable = |problem: String| RootKeyError::PinUnusable {
            from: self.to_string(),
            problem: problem + INSTEAD,
        };
        let text = match self {
            Self::File(path) => file::read(path).map_err(|error| match error {
                RootKeyError::Missing { .. } => unusable("does not exist".into()),
                RootKeyError::Unreadable { reason, .. } => unusable(format!("cannot be read: {reason}")),
                RootKeyError::Permissions { mode, .. } => {
                    unusable(format!("has mode {mode:04o}, so that others than its owner can reach it"))
                }
                RootKeyError::Owner { owner, user, .. } => {
                    unusable(format!("belongs to user {owner}, and valv runs as user {user}"))
                }
                RootKeyError::Malformed { .. } => unusable("holds no PIN".into()),
                other => other,
            })?,
            Self::Text { pin, .. } => pin.clone(),
        };
        let pin = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
        if pin.is_empty() { Err(unusable("is not set or empty".into())) } else { Ok(pin) }
    }
}

/// What to do about it.
const INSTEAD: &str =
    "; put the token's user PIN there (a file: one line, mode 0600, of the user who runs valv)";

/// Names the source, for messages.
impl fmt::Display for PinSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the PIN file {}", path.display()),
            Self::Text { variable, .. } => write!(f, "the PIN in the environment variable {variable}"),
        }
    }
}

impl fmt::Debug for PinSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
