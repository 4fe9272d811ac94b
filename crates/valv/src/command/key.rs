//! `valv key`: root keys and data keys.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use http::Method;
use valv_sealing::RootKeys;

use crate::args::Target;
use crate::output::{Problem, Result, line, progress};
use crate::remote::{Credentials, Remote, segment};

/// Makes a root key, into a file or to standard output.
pub fn generate(out: Option<&Path>) -> Result<()> {
    let key = RootKeys::generate().map_err(|e| Problem::new(e.to_string()))?;
    match out {
        None => line(&*key),
        Some(path) => {
            write_private(path, format!("{}\n", *key).as_bytes())?;
            progress(format!(
                "{} holds a new root key. Keep a copy in a safe place: without it nothing in a store can be opened.",
                path.display()
            ));
        }
    }
    Ok(())
}

/// Writes a new file that only its owner reads; never over an old one.
pub fn write_private(path: &Path, contents: &[u8]) -> Result<()> {
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Problem::usage(format!("{} exists and is not overwritten", path.display())).way_out(
                "name another file, or move this one to a safe place if you are sure that nothing needs it",
            )
        }
        _ => Problem::new(format!("{} cannot be written: {e}", path.display()))
            .way_out("name a file in a folder that exists and that you may write to"),
    };
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(contents).and_then(|()| file.sync_all()).map_err(failed)
}

/// Rotates the root key of the deployment or the data key of a vault.
pub async fn rotate(data_key: Option<String>, target: Target) -> Result<()> {
    let remote = Remote::sign_in(&Credentials::of(&target)?).await?;
    let path = match &data_key {
        Some(vault) => format!("/admin/vaults/{}/datakey/rotate", segment(vault)),
        None => "/admin/rootkey/rotate".to_owned(),
    };
    let answer = remote.call(Method::POST, &path, None).await?;
    if target.json {
        line(answer);
    } else {
        match data_key {
            Some(vault) => line(format!(
                "Vault {vault} seals with a new data key; older ones still open what they sealed."
            )),
            None => line(format!(
                "All data keys are wrapped under the first root key of the configuration ({} vaults changed). Older root keys can be taken out of it.",
                answer["vaultsChanged"]
            )),
        }
    }
    Ok(())
}
