//! What cargo knows about the workspace, as far as the checks need it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// The workspace.
pub(crate) struct Workspace {
    /// Where the root `Cargo.toml` lies.
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
    /// The members in the order in which the root `Cargo.toml` lists them.
    pub(crate) packages: Vec<Package>,
}

/// One member.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

/// One line below `[dependencies]` and its like.
#[derive(Clone, Debug, Deserialize)]
struct Dependency {
    name: String,
    /// Absent for normal dependencies.
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Manifest {
    workspace: ManifestWorkspace,
}

#[derive(Deserialize)]
struct ManifestWorkspace {
    members: Vec<String>,
}

impl Package {
    /// The directory of its `Cargo.toml`.
    pub(crate) fn dir(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }

    /// The names of what it needs to be built; what only its tests need is left out.
    pub(crate) fn needs(&self) -> impl Iterator<Item = &str> {
        self.dependencies.iter().filter(|d| d.kind.as_deref() != Some("dev")).map(|d| d.name.as_str())
    }
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn load() -> Result<Self> {
        let output = Command::new("cargo")
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .output()
            .context("cannot start cargo")?;
        if !output.status.success() {
            bail!("cargo metadata failed:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        let metadata: Metadata =
            serde_json::from_slice(&output.stdout).context("cannot read what cargo metadata says")?;
        let root = metadata.workspace_root;
        let manifest: Manifest = toml::from_str(&fs::read_to_string(root.join("Cargo.toml"))?)
            .context("cannot read the root Cargo.toml")?;
        // Cargo sorts the members; the rule is the order in which a person wrote them.
        let mut packages = Vec::new();
        for member in &manifest.workspace.members {
            let dir = root.join(member);
            let package = metadata.packages.iter().find(|p| p.dir() == dir);
            packages.push(package.with_context(|| format!("cargo knows no member {member}"))?.clone());
        }
        Ok(Self { root, target: metadata.target_directory, packages })
    }
}
