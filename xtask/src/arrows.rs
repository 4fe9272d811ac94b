//! The rules between crates that the compiler does not check.
//!
//! What concerns dependencies is read from `cargo metadata` and exact. What concerns the environment and
//! commits is looked for in the text of the sources, without comments and tests: it finds the slip, not
//! the trick.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;

/// Who may speak HTTP: the front, the program, peers among themselves, and access, which fetches issuers' signing keys.
const HTTP_CRATES: &[&str] = &["hyper", "hyper-util", "http-body-util", "http"];
const HTTP_USERS: &[&str] = &["valv", "valv-front", "valv-peer", "valv-access", "valv-tests", "valv-bench"];

/// Who may read the environment: the program and what runs it; the planted bugs, behind their feature.
const ENVIRONMENT_READERS: &[&str] = &["valv", "xtask", "valv-tests", "valv-bench"];
const ENVIRONMENT_FILES: &[&str] = &["crates/valv-engine/src/planted.rs"];

/// A line of source that breaks a rule, and what the rule is.
#[derive(Debug, PartialEq, Eq)]
struct Slip {
    place: String,
    rule: &'static str,
}

/// One crate as the rules see it.
struct Crate<'a> {
    name: &'a str,
    needs: Vec<&'a str>,
}

/// Checks all rules; says what was looked at.
pub(crate) fn check(workspace: &Workspace) -> Result<String> {
    let crates: Vec<Crate<'_>> =
        workspace.packages.iter().map(|p| Crate { name: &p.name, needs: p.needs().collect() }).collect();
    let mut slips = order(&crates);
    slips.extend(http(&crates));
    slips.extend(barrier(&crates));
    let mut files = 0;
    for package in &workspace.packages {
        let dir = package.dir().join("src");
        let mut only_tests = BTreeSet::new();
        each_source(&dir, &mut |_, text| only_tests.extend(test_modules(text).map(str::to_owned)))?;
        each_source(&dir, &mut |path, text| {
            let inside = path.strip_prefix(&dir).unwrap_or(path);
            if inside.components().any(|part| only_tests.contains(module(Path::new(&part)))) {
                return;
            }
            files += 1;
            let shown = path.strip_prefix(&workspace.root).unwrap_or(path).display().to_string();
            slips.extend(source(&package.name, &shown, text));
        })?;
    }
    if slips.is_empty() {
        return Ok(format!("the arrows point down: {} crates, {files} source files", crates.len()));
    }
    let lines: Vec<String> = slips.iter().map(|s| format!("  {}: {}", s.place, s.rule)).collect();
    bail!("rules between crates are broken:\n{}", lines.join("\n"))
}

/// A crate needs only members that stand below it in the list.
fn order(crates: &[Crate<'_>]) -> Vec<Slip> {
    let mut slips = Vec::new();
    for (at, upper) in crates.iter().enumerate() {
        for need in &upper.needs {
            if crates[..=at].iter().any(|c| c.name == *need) {
                slips.push(Slip {
                    place: format!("{} -> {need}", upper.name),
                    rule: "a crate needs only crates below it in the members list of the root Cargo.toml",
                });
            }
        }
    }
    slips
}

/// HTTP stays where it belongs.
fn http(crates: &[Crate<'_>]) -> Vec<Slip> {
    needs_of(crates, |name| !HTTP_USERS.contains(&name), HTTP_CRATES, "this crate knows no HTTP")
}

/// What lies below the barrier never sees plaintext, so it cannot need the crate that makes it.
fn barrier(crates: &[Crate<'_>]) -> Vec<Slip> {
    needs_of(
        crates,
        |name| name.starts_with("valv-engine"),
        &["valv-sealing"],
        "an engine sees ciphertext only and cannot need the barrier",
    )
}

fn needs_of(
    crates: &[Crate<'_>],
    concerns: impl Fn(&str) -> bool,
    forbidden: &[&str],
    rule: &'static str,
) -> Vec<Slip> {
    let concerned = crates.iter().filter(|c| concerns(c.name));
    concerned
        .flat_map(|c| c.needs.iter().map(move |need| (c.name, *need)))
        .filter(|(_, need)| forbidden.contains(need))
        .map(|(name, need)| Slip { place: format!("{name} -> {need}"), rule })
        .collect()
}

/// The rules on the text of one file.
fn source(package: &str, path: &str, text: &str) -> Vec<Slip> {
    let mut slips = Vec::new();
    let may_read_environment = ENVIRONMENT_READERS.contains(&package) || ENVIRONMENT_FILES.contains(&path);
    for (number, line) in code(text) {
        let mut slip = |rule| slips.push(Slip { place: format!("{path}:{number}"), rule });
        if !may_read_environment && (line.contains("env::") || line.contains("std::{env")) {
            slip("the environment is read only in crates/valv; settings come in as arguments");
        }
        // base64 calls its encoders engines too.
        if package == "valv-vault" && words(line).any(|word| word == "Engine") && !line.contains("base64") {
            slip("the vault reads and commits through valv-sealing, never through an engine");
        }
    }
    slips
}

/// The lines of a source with their numbers, without comments and without test modules.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut attribute = false;
    let mut in_tests = false;
    text.lines().zip(1..).filter_map(move |(line, number)| {
        if in_tests {
            // Rustfmt closes an item that begins a line with a brace that begins a line.
            in_tests = line != "}";
            return None;
        }
        let after_attribute = std::mem::replace(&mut attribute, line == "#[cfg(test)]");
        if after_attribute && line.ends_with('{') {
            in_tests = true;
            return None;
        }
        let line = line.split("//").next().unwrap_or_default();
        (!line.trim().is_empty()).then_some((number, line))
    })
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// The modules in files of their own that are compiled for tests only: `#[cfg(test)]`, then `mod name;`.
fn test_modules(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().zip(text.lines().skip(1));
    lines.filter(|(attribute, _)| *attribute == "#[cfg(test)]").filter_map(|(_, item)| {
        let item = item.strip_prefix("pub(crate) ").unwrap_or(item);
        item.strip_prefix("mod ")?.strip_suffix(';')
    })
}

/// The module that a file or folder holds.
fn module(path: &Path) -> &str {
    path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
}

/// Calls `visit` with each source below `dir`.
fn each_source(dir: &Path, visit: &mut impl FnMut(&Path, &str)) -> Result<()> {
    let listing = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut paths = listing.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            each_source(&path, visit)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            visit(&path, &fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crates<'a>(list: &[(&'a str, &[&'a str])]) -> Vec<Crate<'a>> {
        list.iter().map(|(name, needs)| Crate { name, needs: needs.to_vec() }).collect()
    }

    fn places(slips: &[Slip]) -> Vec<&str> {
        slips.iter().map(|s| s.place.as_str()).collect()
    }

    #[test]
    fn an_arrow_that_points_up_or_at_itself_is_found() {
        let list = crates(&[("top", &["low", "serde"]), ("mid", &["top", "low"]), ("low", &["mid", "low"])]);
        assert_eq!(places(&order(&list)), ["mid -> top", "low -> mid", "low -> low"]);
        assert!(
            order(&crates(&[("top", &["mid", "low"]), ("mid", &["low"]), ("low", &["serde"])])).is_empty()
        );
    }

    #[test]
    fn http_in_the_wrong_crate_is_found() {
        let list = crates(&[
            ("valv-front", &["hyper"]),
            ("valv-vault", &["hyper", "bytes"]),
            ("valv-model", &["http"]),
        ]);
        assert_eq!(places(&http(&list)), ["valv-vault -> hyper", "valv-model -> http"]);
    }

    #[test]
    fn an_engine_that_needs_the_barrier_is_found() {
        let list = crates(&[("valv-vault", &["valv-sealing"]), ("valv-engine-embedded", &["valv-sealing"])]);
        assert_eq!(places(&barrier(&list)), ["valv-engine-embedded -> valv-sealing"]);
    }

    #[test]
    fn reading_the_environment_in_the_wrong_place_is_found() {
        let text = "fn f() {\n    std::env::var(\"X\");\n}\n";
        assert_eq!(places(&source("valv-vault", "v.rs", text)), ["v.rs:2"]);
        assert_eq!(places(&source("valv-vault", "v.rs", "use std::{env, fs};\n")), ["v.rs:1"]);
        assert!(source("valv", "v.rs", text).is_empty());
        assert!(source("valv-engine", "crates/valv-engine/src/planted.rs", text).is_empty());
        assert!(source("valv-vault", "v.rs", "const V: &str = env!(\"CARGO_PKG_VERSION\");\n").is_empty());
    }

    #[test]
    fn a_vault_that_names_the_engine_is_found() {
        let text = "fn f(e: &dyn Engine) {\n    e.commit();\n}\n// Engine\nstruct EngineRoom;\n\
            use base64::Engine;\n";
        assert_eq!(places(&source("valv-vault", "v.rs", text)), ["v.rs:1"]);
        assert!(source("valv-sealing", "s.rs", text).is_empty());
    }

    #[test]
    fn modules_for_tests_only_are_known_by_their_attribute() {
        let text = "mod a;\n#[cfg(test)]\nmod b;\n#[cfg(test)]\npub(crate) mod c;\n#[cfg(unix)]\nmod d;\n#[cfg(test)]\nmod e {\n";
        assert_eq!(test_modules(text).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(module(Path::new("b.rs")), "b");
    }

    #[test]
    fn comments_and_tests_are_not_looked_at_and_what_follows_them_is() {
        let text =
            "// env::var\n#[cfg(test)]\nmod tests {\n    fn f() { env::var(); }\n}\nfn g() { env::var() }\n";
        assert_eq!(places(&source("valv-vault", "v.rs", text)), ["v.rs:6"]);
    }
}
