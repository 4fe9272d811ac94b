use std::path::PathBuf;

use valv_engine::{CommitError, ReadError};

use super::RootKeyId;

/// Why a root key cannot be used. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RootKeyError {
    /// The configuration names no root key.
    #[error(
        "no root key is configured; name the file that `valv key generate` wrote, the environment variable that holds its line, or a PKCS#11 token"
    )]
    NotConfigured,
    /// The file is not there.
    #[error("the root key file {} does not exist; {RESTORE}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is there and cannot be read.
    #[error("the root key file {} cannot be read: {reason}; it must be a regular file that the user who runs valv owns and may read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// Others than the owner may read or write the file.
    #[error("the root key file {} has mode {mode:04o}, so that others than its owner can reach it; run: chmod 600 {}", path.display(), shell(path))]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file belongs to somebody else.
    #[error("the root key file {} belongs to user {owner}, and valv runs as user {user}; run as root: chown {user} {}", path.display(), shell(path))]
    Owner {
        /// The file.
        path: PathBuf,
        /// The file's owner.
        owner: u32,
        /// The user that valv runs as.
        user: u32,
    },
    /// The line is not one that `valv key generate` wrote.
    #[error("{from} {problem}; {RESTORE}")]
    Malformed {
        /// The file or variable.
        from: String,
        /// What is wrong with it; never quotes it.
        problem: &'static str,
    },
    /// One key stands twice.
    #[error("{first} and {second} hold the same key; remove one of them from the configuration")]
    Duplicate {
        /// Where it stands first.
        first: String,
        /// Where it stands again.
        second: String,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes, so no key can be made; try again")]
    NoRandomness,
    /// Something was not wrapped by this root key under this context, or is damaged.
    #[error("the wrapped data key does not open: it is damaged or not the one that belongs here")]
    DoesNotOpen,
    /// A token does not do its work.
    #[error("the root key's token does not answer: {0}; check that it is connected and logged in")]
    Token(String),
    /// A token, or the key in it, cannot be used.
    #[error("{from} cannot be used: {problem}")]
    TokenUnusable {
        /// The key and its token.
        from: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A token's PIN is not to be had.
    #[error("{from} {problem}")]
    PinUnusable {
        /// The file or variable.
        from: String,
        /// What is wrong with it and what to do; never quotes it.
        problem: String,
    },
    /// The store's data keys are wrapped under a root key that is not configured.
    #[error(
        "the store's data keys are wrapped under root key {store}, but the configured root key is {}; {RESTORE}",
        list(configured)
    )]
    Wrong {
        /// The root key that the store names.
        store: RootKeyId,
        /// The configured ones.
        configured: Vec<RootKeyId>,
    },
    /// The store does not say under which root key its data keys are.
    #[error(
        "the store does not name its root key, so it is not one that `valv init` made, or it is damaged; make a new store with `valv init` in an empty directory, or restore this one from a backup. Nothing was changed"
    )]
    NoRecord,
    /// The store's root key record is not an id.
    #[error(
        "the store's root key record is damaged; restore the store from a backup or from its pair. Nothing was changed"
    )]
    DamagedRecord,
    /// A store that is to be made holds something already.
    #[error(
        "the store already holds data, and new keys would not open it; use `valv serve` with its own root key, or choose an empty directory. Nothing was changed"
    )]
    NotEmpty,
    /// The engine did not read the store's root key record.
    #[error("the store's root key record cannot be read: {0}")]
    Read(#[from] ReadError),
    /// The engine did not store the root key record.
    #[error("the store's root key record cannot be stored: {0}")]
    Commit(#[from] CommitError),
}

/// What to do when a key that was there is no longer. Never "make a new one": it would not open old data.
const RESTORE: &str = "restore the root key from where you keep its copy. A new key would not open the data that is there; only for a new store, make one with `valv key generate`";

fn list(ids: &[RootKeyId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A path as a shell takes it.
fn shell(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
