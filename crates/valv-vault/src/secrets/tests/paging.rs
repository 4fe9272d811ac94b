//! Pages against the sorted model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use valv_model::ErrorCode;

use super::super::*;
use super::bench::{Bench, all, name, value};

/// All pages; between two of them `between` may change the vault.
fn pages(bench: &Bench, max: usize, mut between: impl FnMut(usize)) -> Vec<String> {
    let mut names = Vec::new();
    let mut page = PageRequest { max, after: None };
    for at in 0.. {
        let got = bench.list(&page).unwrap();
        assert!(got.items.len() <= max);
        names.extend(got.items.iter().map(|item| item.name.upper()));
        match got.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
        between(at);
    }
    names
}

fn names() -> impl Strategy<Value = BTreeSet<String>> {
    // Few letters, so that prefixes, hyphens and equal names in other spellings are common.
    prop::collection::btree_set("[aAbB0-]{1,6}|[a-zA-Z0-9-]{1,127}", 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pages_are_the_sorted_names(names in names(), max in 1usize..=25) {
        let bench = Bench::new();
        let mut spelled = BTreeMap::new();
        for text in &names {
            bench.set(&name(text), value("v")).unwrap();
            spelled.entry(text.to_ascii_uppercase()).or_insert_with(|| text.clone());
        }
        let mut turns = 0;
        prop_assert_eq!(pages(&bench, max, |_| turns += 1), spelled.keys().cloned().collect::<Vec<_>>());
        // The last page says that it is the last one.
        prop_assert_eq!(turns, spelled.len().div_ceil(max).saturating_sub(1));
        for item in bench.list(&all()).unwrap().items {
            prop_assert_eq!(item.name.as_str(), &spelled[&item.name.upper()]);
        }
    }

    #[test]
    fn changes_between_pages_hide_and_repeat_nothing_else(
        names in names(),
        max in 1usize..=7,
        changes in prop::collection::vec(("[aAbB0-]{1,6}", any::<bool>()), 0..20),
    ) {
        let bench = Bench::new();
        for text in &names {
            bench.set(&name(text), value("v")).unwrap();
        }
        let upper = |texts: &mut dyn Iterator<Item = &String>| -> BTreeSet<String> {
            texts.map(|text| text.to_ascii_uppercase()).collect()
        };
        let touched = upper(&mut changes.iter().map(|(text, _)| text));
        let untouched: Vec<String> =
            upper(&mut names.iter()).into_iter().filter(|text| !touched.contains(text)).collect();
        let mut changes = changes.iter();
        let seen = pages(&bench, max, |_| if let Some((text, delete)) = changes.next() {
            let _ = if *delete { bench.delete(&name(text)).map(drop) } else { bench.set(&name(text), value("w")).map(drop) };
        });
        prop_assert!(seen.windows(2).all(|pair| pair[0] < pair[1]));
        let steady: Vec<String> = seen.into_iter().filter(|text| !touched.contains(text)).collect();
        prop_assert_eq!(steady, untouched);
    }

    #[test]
    fn versions_page_in_the_order_they_were_made(
        clock in prop::collection::vec(-1000i64..1000, 1..60),
        max in 1usize..=25,
    ) {
        let (bench, n) = (Bench::new(), name("a"));
        // A neighbour whose name begins alike.
        bench.set(&name("a-"), value("x")).unwrap();
        let mut made = Vec::new();
        for seconds in clock {
            bench.advance(seconds);
            made.push(bench.set(&n, value("v")).unwrap().item);
        }
        for pair in made.windows(2) {
            prop_assert_eq!(pair[1].previous_version.as_ref(), Some(&pair[0].version));
        }
        let mut seen = Vec::new();
        let mut page = PageRequest { max, after: None };
        loop {
            let got = bench.list_versions(&n, &page).unwrap();
            seen.extend(got.items.into_iter().map(|item| item.version));
            match got.next {
                Some(next) => page.after = Some(next),
                None => break,
            }
        }
        prop_assert_eq!(seen, made.into_iter().map(|item| item.version).collect::<Vec<_>>());
    }
}

#[test]
fn a_page_that_no_list_gave_out_is_refused() {
    let bench = Bench::new();
    bench.set(&name("a"), value("v")).unwrap();
    let page = |max, after: &str| PageRequest { max, after: Some(after.into()) };
    for marker in ["", "a", "A/B", "A_", "ü", &"A".repeat(128)] {
        assert_eq!(bench.list(&page(25, marker)).unwrap_err().code, ErrorCode::BadParameter, "{marker}");
        assert_eq!(bench.list_deleted(&page(25, marker)).unwrap_err().code, ErrorCode::BadParameter);
    }
    for marker in ["", "a", &"F".repeat(32), &"f".repeat(33)] {
        let error = bench.list_versions(&name("a"), &page(25, marker)).unwrap_err();
        assert_eq!(error.code, ErrorCode::BadParameter, "{marker}");
    }
    for max in [0, 26] {
        assert_eq!(bench.list(&PageRequest { max, after: None }).unwrap_err().code, ErrorCode::BadParameter);
    }
    assert!(bench.list_versions(&name("absent"), &all()).unwrap().items.is_empty());
}
