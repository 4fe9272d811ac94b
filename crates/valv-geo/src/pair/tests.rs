use proptest::prelude::*;

use super::*;
use crate::Coordinates;

fn name(text: &str) -> RegionName {
    RegionName::parse(text).unwrap()
}

/// A region of the catalogue.
fn known(text: &str) -> Declared {
    let region = catalogue::find(&name(text)).unwrap().region.clone();
    Declared { region, pairing: Pairing::Default, allow_near: false, allow_foreign: false }
}

/// A region of one's own.
fn own(text: &str, geography: &str, longitude: f64, pair: Option<&str>) -> Declared {
    let coordinates = Coordinates::new(0.0, longitude);
    let region = Region { name: name(text), geography: geography.into(), coordinates };
    let pairing = pair.map_or(Pairing::Default, |pair| Pairing::With(name(pair)));
    Declared { region, pairing, allow_near: false, allow_foreign: false }
}

/// Degrees of longitude at the equator for a distance in miles.
fn degrees(miles: f64) -> f64 {
    let one = Coordinates::new(0.0, 0.0).unwrap().distance(Coordinates::new(0.0, 1.0).unwrap());
    miles / one.as_miles()
}

fn refusal(declared: &[Declared]) -> String {
    RegionMap::new(declared, None).unwrap_err().to_string()
}

#[test]
fn the_published_pair_is_taken_when_both_are_there() {
    let map = RegionMap::new(&[known("eastus"), known("westus")], None).unwrap();
    assert_eq!(map.pair(&name("eastus")), Some(&name("westus")));
    assert_eq!(map.pair(&name("westus")), Some(&name("eastus")));
    assert!(map.warnings().is_empty(), "{:?}", map.warnings());
    assert_eq!(map.system_home(), &name("eastus"));
    assert_eq!(map.replicas(&GroupId::system()), [name("westus")]);
    let west = name("westus");
    let copies: Vec<_> = map.copies(&west).map(|(group, home)| (group.as_str(), home.as_str())).collect();
    assert_eq!(copies, [("$system", "eastus"), ("eastus", "eastus")]);
    assert_eq!(map.home(&GroupId::of_region(&west)), Some(&west));
    assert_eq!(map.home(&GroupId::of_region(&name("nowhere"))), None);
}

#[test]
fn a_declared_pair_that_is_too_near_is_refused_with_distance_rule_and_way_out() {
    let near = |miles| [own("a1", "Land", 0.0, Some("b1")), own("b1", "Land", degrees(miles), Some("a1"))];
    assert_eq!(
        refusal(&near(149.9)),
        "region 'a1' cannot have the pair 'b1': they are 241 km (149 miles) apart; the rule is at least 241 km (150 miles), great circle. Choose a pair farther away, or set allow-near-pair = true for the region; status then shows a warning."
    );
    let map = RegionMap::new(&near(150.1), None).unwrap();
    assert!(map.warnings().is_empty());
    let mut allowed = near(10.0);
    allowed[1].allow_near = true;
    let map = RegionMap::new(&allowed, None).unwrap();
    assert_eq!(map.warnings().len(), 2);
    assert_eq!(
        map.warnings()[0].to_string(),
        "region 'a1' has the pair 'b1', but they are 16 km (10 miles) apart; the rule is at least 241 km (150 miles), great circle"
    );
    // The other override does not help.
    allowed[1].allow_near = false;
    allowed[1].allow_foreign = true;
    assert!(RegionMap::new(&allowed, None).is_err());
}

#[test]
fn a_declared_pair_of_another_geography_is_refused() {
    let mut pair = [own("a1", "Land", 0.0, Some("b1")), own("b1", "Other", 9.0, Some("a1"))];
    let text = refusal(&pair);
    assert!(text.contains("two geographies ('Land' and 'Other'); the rule is one geography"), "{text}");
    assert!(text.contains("allow-foreign-pair = true"), "{text}");
    pair[0].allow_near = true;
    assert!(RegionMap::new(&pair, None).is_err());
    pair[0].allow_foreign = true;
    assert_eq!(RegionMap::new(&pair, None).unwrap().warnings().len(), 2);
}

#[test]
fn a_pair_without_coordinates_is_refused() {
    let mut pair = [own("a1", "Land", 0.0, Some("b1")), own("b1", "Land", 9.0, Some("a1"))];
    pair[1].region.coordinates = None;
    let text = refusal(&pair);
    assert!(
        text.contains("distance is unknown") && text.contains("Declare latitude and longitude"),
        "{text}"
    );
    pair[1].allow_near = true;
    assert!(RegionMap::new(&pair, None).is_ok());
}

#[test]
fn published_pairs_that_break_a_rule_only_warn() {
    for (one, other, word) in [
        ("switzerlandnorth", "switzerlandwest", "km"),
        ("usdodcentral", "usdodeast", "unknown"),
        ("australiacentral", "australiacentral2", "0 km"),
    ] {
        let map = RegionMap::new(&[known(one), known(other)], None).unwrap();
        assert_eq!(map.pair(&name(one)), Some(&name(other)));
        assert!(map.warnings()[0].to_string().contains(word), "{}", map.warnings()[0]);
    }
    // Named in the configuration, it is still the published pair; moved elsewhere, it is not.
    let mut declared = [known("switzerlandnorth"), known("switzerlandwest")];
    declared[0].pairing = Pairing::With(name("switzerlandwest"));
    assert!(RegionMap::new(&declared, None).is_ok());
    declared[0].region.coordinates = Coordinates::new(46.5, 6.2);
    assert!(RegionMap::new(&declared, None).is_err());
}

#[test]
fn a_published_pair_of_one_direction_warns_and_copies_one_way() {
    let map =
        RegionMap::new(&[known("westindia"), known("southindia"), known("centralindia")], None).unwrap();
    assert_eq!(map.pair(&name("westindia")), Some(&name("southindia")));
    assert_eq!(map.pair(&name("southindia")), Some(&name("centralindia")));
    let warned: Vec<String> = map.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].starts_with("region 'westindia' has the pair 'southindia'"), "{warned:?}");
    let south = name("southindia");
    let copies: Vec<_> = map.copies(&south).map(|(group, _)| group.as_str()).collect();
    assert_eq!(copies, ["$system", "westindia", "centralindia"]);
}

#[test]
fn a_declared_pair_is_both_sides_or_refused() {
    // Only one side declares: the other follows, as it has no pair of its own.
    let map =
        RegionMap::new(&[own("a1", "Land", 0.0, Some("b1")), own("b1", "Land", 9.0, None)], None).unwrap();
    assert_eq!(map.pair(&name("b1")), Some(&name("a1")));
    let three = [
        own("a1", "Land", 0.0, Some("b1")),
        own("b1", "Land", 9.0, Some("c1")),
        own("c1", "Land", 18.0, Some("b1")),
    ];
    let text = refusal(&three);
    assert!(text.contains("the pair's own pair is 'c1'") && text.contains("in both regions"), "{text}");
    let mut alone = [own("a1", "Land", 0.0, Some("b1")), own("b1", "Land", 9.0, None)];
    alone[1].pairing = Pairing::Alone;
    assert!(refusal(&alone).contains("the pair has no pair itself"));
}

#[test]
fn a_region_without_a_pair_says_that_it_is_not_replicated() {
    let map = RegionMap::new(&[known("polandcentral")], None).unwrap();
    assert_eq!(map.pair(&name("polandcentral")), None);
    assert!(map.warnings()[0].to_string().contains("not replicated"), "{}", map.warnings()[0]);
    // Its pair is no region of this deployment, or the cloud service copies no vaults there.
    let map = RegionMap::new(&[known("eastus")], None).unwrap();
    assert!(map.warnings()[0].to_string().contains("its published pair 'westus' is not used"));
    let map = RegionMap::new(&[known("brazilsouth"), known("southcentralus")], None).unwrap();
    assert_eq!(map.pair(&name("brazilsouth")), None);
    let mut alone = [known("eastus"), known("westus")];
    alone[0].pairing = Pairing::Alone;
    let map = RegionMap::new(&alone, None).unwrap();
    assert_eq!((map.pair(&name("eastus")), map.pair(&name("westus"))), (None, None));
    assert_eq!(RegionMap::single(&name("my-cellar")).warnings().len(), 1);
}

#[test]
fn mistakes_are_named() {
    for (declared, words) in [
        (vec![], "no region"),
        (vec![known("eastus"), known("eastus")], "declared twice"),
        (vec![own("a1", "Land", 0.0, Some("a1"))], "its own pair"),
        (vec![own("a1", "Land", 0.0, Some("b1"))], "not declared"),
    ] {
        let text = refusal(&declared);
        assert!(text.contains(words), "{text}");
    }
    let text = RegionMap::new(&[known("eastus")], Some(&name("westus"))).unwrap_err().to_string();
    assert!(text.contains("system_home is 'westus'"), "{text}");
}

#[test]
fn the_system_group_reaches_every_region() {
    let all = [known("eastus"), known("westus"), known("polandcentral")];
    let map = RegionMap::new(&all, Some(&name("westus"))).unwrap();
    assert_eq!(map.home(&GroupId::system()), Some(&name("westus")));
    assert_eq!(map.replicas(&GroupId::system()), [name("eastus"), name("polandcentral")]);
}

#[test]
fn every_published_pair_makes_a_deployment() {
    for region in catalogue::all() {
        let own = known(region.region.name.as_str());
        let mut declared = vec![own];
        declared.extend(region.pair.as_ref().map(|pair| known(pair.as_str())));
        RegionMap::new(&declared, None).unwrap();
    }
}

proptest! {
    /// A declared pair is taken exactly when it keeps both rules or has the override for each that it breaks.
    #[test]
    fn the_rules_and_the_overrides(miles in 0.0..400.0f64, same: bool, near: bool, foreign: bool) {
        prop_assume!((miles - 150.0).abs() > 0.001);
        let mut pair = [
            own("a1", "Land", 0.0, Some("b1")),
            own("b1", if same { "Land" } else { "Other" }, degrees(miles), Some("a1")),
        ];
        pair[0].allow_near = near;
        pair[0].allow_foreign = foreign;
        let (far, map) = (miles > 150.0, RegionMap::new(&pair, None));
        prop_assert_eq!(map.is_ok(), (far || near) && (same || foreign));
        if let Ok(map) = map {
            prop_assert_eq!(map.warnings().len(), 2 * (usize::from(!far) + usize::from(!same)));
        }
    }
}
