//! Tests that keep the documents honest: links lead somewhere, and every fault has its test.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The files below the workspace root that end so, without what is built or installed there.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("..")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            let skipped = name.starts_with('.') || name == "target" || name == "node_modules";
            if entry.file_type().unwrap().is_dir() {
                if !skipped {
                    folders.push(entry.path());
                }
            } else if name.ends_with(ending) {
                found.push(entry.path());
            }
        }
    }
    found
}

/// The targets of `[text](target)`, without anchors.
fn links(page: &str) -> impl Iterator<Item = &str> {
    page.split("](").skip(1).filter_map(|rest| {
        let target = rest.split_once(')')?.0;
        Some(target.split_once('#').map_or(target, |(file, _)| file)).filter(|file| !file.is_empty())
    })
}

#[test]
fn every_relative_link_leads_to_a_file() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for page in files(".md") {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text).filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            seen += 1;
            if !page.with_file_name(link).exists() {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links to nothing:\n{}", broken.join("\n"));
    assert!(seen >= 25, "only {seen} links were found");
}

#[test]
fn every_fault_of_the_list_has_a_test_that_bears_its_id() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/faults.md");
    let page = fs::read_to_string(page).unwrap();
    let ids: Vec<String> = page
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| F")?.split_once(' ')?.0))
        .map(|number| format!("f{number}_"))
        .collect();
    assert!(ids.len() >= 18, "only {} rows were found", ids.len());
    let sources: Vec<String> = files(".rs").iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let tested = |id: &String| sources.iter().any(|text| has_test(text, id));
    let missing: Vec<String> = ids.into_iter().filter(|id| !tested(id)).collect();
    assert!(missing.is_empty(), "no test is called {missing:?}");
}

#[test]
fn every_test_that_the_page_of_faults_names_is_there() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/faults.md")).unwrap();
    let is_test = |span: &&str| {
        span.starts_with('f') && span.get(1..3).is_some_and(|id| id.bytes().all(|b| b.is_ascii_digit()))
    };
    let named: Vec<&str> =
        page.split('`').skip(1).step_by(2).filter(is_test).filter(|s| s.len() > 8).collect();
    assert!(named.len() >= 18, "only {} tests are named", named.len());
    let sources: Vec<String> = files(".rs").iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let there = |name: &&str| sources.iter().any(|text| text.contains(&format!("fn {name}()")));
    let missing: Vec<&str> = named.into_iter().filter(|name| !there(name)).collect();
    assert!(missing.is_empty(), "no test is called {missing:?}");
}

/// Is there a function whose name contains the id, at its beginning or behind another id?
fn has_test(source: &str, id: &str) -> bool {
    source.lines().any(|line| {
        let name = line.trim_start().trim_start_matches("async ").strip_prefix("fn ");
        name.and_then(|rest| rest.split_once('('))
            .is_some_and(|(name, _)| name.starts_with(id) || name.contains(&format!("_{id}")))
    })
}
