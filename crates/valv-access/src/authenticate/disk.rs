//! Fetched signing keys on disk: one JSON file for each issuer, readable by its owner alone. Public keys are
//! no secret; whoever can write here can sign in as anybody, though.

use std::{
    fs, io,
    io::{Read, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use valv_model::UnixSeconds;

/// The largest file that is read, in bytes.
const FILE_MAX: u64 = 2 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Kept {
    issuer: String,
    fetched: UnixSeconds,
    keys: Vec<Value>,
}

/// The file of an issuer.
pub(super) fn file(dir: &Path, issuer: &str) -> PathBuf {
    let hash = digest::digest(&digest::SHA256, issuer.as_bytes());
    let name: String = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    dir.join(format!("keys-{name}.json"))
}

/// The kept keys and when they were fetched; None if there is no file.
pub(super) fn load(file: &Path, issuer: &str) -> io::Result<Option<(Vec<Value>, UnixSeconds)>> {
    let opened = match fs::File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    opened.take(FILE_MAX).read_to_end(&mut text)?;
    let kept: Kept = serde_json::from_slice(&text)?;
    if kept.issuer != issuer {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is another issuer's"));
    }
    Ok(Some((kept.keys, kept.fetched)))
}

/// Replaces the file at once or not at all.
pub(super) fn save(file: &Path, issuer: &str, keys: &[Value], fetched: UnixSeconds) -> io::Result<()> {
    let dir = file.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // Made with mode 0600.
    let mut new = tempfile::NamedTempFile::new_in(dir)?;
    new.write_all(&serde_json::to_vec(&Kept { issuer: issuer.to_owned(), fetched, keys: keys.to_vec() })?)?;
    new.as_file().sync_all()?;
    new.persist(file)?;
    fs::File::open(dir)?.sync_all()
}
