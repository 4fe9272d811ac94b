//! `dev.env`: what a shell needs to reach the deployment.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::output::{Problem, Result};
use crate::remote::{Credentials, exports};

/// The contents of `dev.env`.
pub struct Environment {
    pub url: String,
    pub tenant: String,
    pub client_id: String,
    pub client_secret: Zeroizing<String>,
    pub authority: String,
    pub resource: String,
    pub imds_url: String,
    pub bundle: PathBuf,
}

impl Environment {
    /// The lines that a shell reads.
    pub fn lines(&self) -> Zeroizing<String> {
        let bundle = self.bundle.display().to_string();
        let pairs: [(&str, &str); 10] = [
            ("VALV_URL", &self.url),
            ("AZURE_TENANT_ID", &self.tenant),
            ("AZURE_CLIENT_ID", &self.client_id),
            ("AZURE_CLIENT_SECRET", &self.client_secret),
            ("AZURE_AUTHORITY_HOST", &self.authority),
            ("VALV_RESOURCE", &self.resource),
            ("VALV_IMDS_URL", &self.imds_url),
            ("SSL_CERT_FILE", &bundle),
            ("REQUESTS_CA_BUNDLE", &bundle),
            ("NODE_EXTRA_CA_CERTS", &bundle),
        ];
        Zeroizing::new(pairs.iter().map(|(name, value)| format!("export {name}='{value}'\n")).collect())
    }

    /// Writes the file (mode 0600), whole or not at all.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let failed =
            |e: std::io::Error| Problem::new(format!("{} cannot be written: {e}", path(dir).display()));
        let temporary = dir.join("dev.env.new");
        let _ = fs::remove_file(&temporary);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(failed)?;
        file.write_all(self.lines().as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&temporary, path(dir)).map_err(failed)
    }

    /// How the administration commands reach it: by a name that every resolver knows.
    pub fn credentials(&self, dir: &Path) -> Result<Credentials> {
        Ok(Credentials {
            url: self.authority.clone(),
            tenant: self.tenant.clone(),
            resource: self.resource.clone(),
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.clone(),
            roots: Some(super::certificates::ca_file(dir)),
        })
    }
}

/// Where the file is.
pub fn path(dir: &Path) -> PathBuf {
    dir.join("dev.env")
}

/// Reads the file of a deployment that is, or was, running.
pub fn read(dir: &Path) -> Result<Environment> {
    let file = path(dir);
    let text = fs::read_to_string(&file).map_err(|e| {
        Problem::usage(format!("{} cannot be read: {e}", file.display())).way_out(
            "start a deployment with `valv dev` in another shell, or name one with --dir or --config",
        )
    })?;
    let found = exports(&text);
    let value = |name: &str| {
        found.get(name).cloned().ok_or_else(|| {
            Problem::usage(format!("{} has no {name}", file.display()))
                .way_out(format!("stop `valv dev`, remove {}, start it again", dir.display()))
        })
    };
    let authority = value("AZURE_AUTHORITY_HOST")?;
    Ok(Environment {
        url: value("VALV_URL")?,
        tenant: value("AZURE_TENANT_ID")?,
        client_id: value("AZURE_CLIENT_ID")?,
        client_secret: Zeroizing::new(value("AZURE_CLIENT_SECRET")?),
        authority,
        resource: value("VALV_RESOURCE")?,
        imds_url: value("VALV_IMDS_URL")?,
        bundle: PathBuf::from(value("SSL_CERT_FILE")?),
    })
}
