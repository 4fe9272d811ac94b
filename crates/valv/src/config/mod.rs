//! The configuration: one TOML file, overridden by the environment, checked before a socket opens.
//!
//! This is the only place (with `valv dev`'s and the administration commands' own variables) that reads the
//! process environment.

mod check;
pub use check::{Config, Store};

mod regions;
pub use regions::Peer;

mod file;
pub use file::File;

use std::path::Path;

use figment::Figment;
use figment::providers::{Env, Format, Toml};

use crate::output::{Problem, Result};

/// Settings outside of sections; other `VALV_` variables without `__` are not configuration.
const TOP_LEVEL: [&str; 5] = ["region", "system_home", "tenant_id", "domain", "default_vault"];

/// Reads, overrides and checks. Every mistake is named with its place.
pub fn load(path: &Path) -> Result<Config> {
    if !path.is_file() {
        return Err(Problem::usage(format!("there is no configuration file {}", path.display())).way_out(
            "copy crates/valv/valv.example.toml, change the lines it explains, and name it with --config",
        ));
    }
    let environment = Env::prefixed("VALV_")
        .filter(|name| {
            TOP_LEVEL.contains(&name.as_str().to_ascii_lowercase().as_str()) || name.as_str().contains("__")
        })
        .split("__");
    let file: File = Figment::new()
        .merge(Toml::file_exact(path))
        .merge(environment)
        .extract()
        .map_err(|error| mistakes(path, error.into_iter().map(describe).collect()))?;
    check::check(file, path).map_err(|found| mistakes(path, found))
}

fn describe(error: figment::Error) -> String {
    let place = error.path.join(".");
    let from_environment = error.metadata.as_ref().is_some_and(|m| m.name.contains("environment"));
    let source = if from_environment { " (from the environment)" } else { "" };
    let what = error.kind.to_string();
    if place.is_empty() { format!("{what}{source}") } else { format!("{place}{source}: {what}") }
}

fn mistakes(path: &Path, found: Vec<String>) -> Problem {
    let mut text =
        format!("{} has {}:", path.display(), if found.len() == 1 { "a mistake" } else { "mistakes" });
    for mistake in found {
        text.push_str("\n  - ");
        text.push_str(mistake.trim_end());
    }
    Problem::usage(text).way_out("crates/valv/valv.example.toml explains every setting; try again with `valv serve --check --config FILE`")
}

#[cfg(test)]
mod tests;
