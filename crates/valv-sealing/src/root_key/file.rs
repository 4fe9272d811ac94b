//! Reading a root key file that nobody else can read.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use zeroize::Zeroizing;

use super::RootKeyError;

/// A root key's line has 65 bytes; whatever is longer than this is something else.
const LENGTH_MAX: u64 = 1024;

/// The content of a file that belongs to the user who runs this, and that nobody else can reach.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, RootKeyError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => RootKeyError::Missing { path: path.into() },
        _ => RootKeyError::Unreadable { path: path.into(), reason: error.to_string() },
    };
    let malformed =
        |problem| RootKeyError::Malformed { from: format!("the root key file {}", path.display()), problem };
    // Before it is opened, because opening a pipe waits; and again on the open file, which cannot be exchanged.
    check(path, &fs::metadata(path).map_err(failed)?)?;
    let file = File::open(path).map_err(failed)?;
    check(path, &file.metadata().map_err(failed)?)?;

    // Reserved whole, so that no reallocation leaves a copy of the key behind.
    let mut text = Zeroizing::new(String::with_capacity(LENGTH_MAX as usize + 1));
    file.take(LENGTH_MAX + 1).read_to_string(&mut text).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => malformed("is not text"),
        _ => failed(error),
    })?;
    if text.len() as u64 > LENGTH_MAX {
        return Err(malformed("is too long to be a root key"));
    }
    Ok(text)
}

fn check(path: &Path, metadata: &Metadata) -> Result<(), RootKeyError> {
    let path = path.to_path_buf();
    if !metadata.is_file() {
        return Err(RootKeyError::Unreadable { path, reason: "it is not a regular file".into() });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(RootKeyError::Permissions { path, mode });
    }
    owned(path, metadata.uid(), rustix::process::geteuid().as_raw())
}

/// The file may belong to the user who runs this, or to root, who can read everything anyway.
fn owned(path: std::path::PathBuf, owner: u32, user: u32) -> Result<(), RootKeyError> {
    if owner == user || owner == 0 { Ok(()) } else { Err(RootKeyError::Owner { path, owner, user }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_users_file_is_refused_with_the_command_to_run() {
        assert!(owned("k".into(), 1000, 1000).is_ok());
        assert!(owned("k".into(), 0, 1000).is_ok());
        let error = owned("/etc/valv/root.key".into(), 1001, 1000).unwrap_err().to_string();
        assert!(error.contains("chown 1000 /etc/valv/root.key"), "{error}");
    }
}
