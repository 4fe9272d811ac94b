use proptest::prelude::*;
use valv_sealing::Chain;

use super::*;

fn vault(n: u128) -> VaultId {
    VaultId::parse(&uuid::Uuid::from_u128(n).to_string()).unwrap()
}

fn head(number: u64, chain: u8) -> Head {
    Head { number, chain: Chain([chain; 32]) }
}

const OWN: Lineage = Lineage(uuid::Uuid::from_u128(1));
const OTHER: Lineage = Lineage(uuid::Uuid::from_u128(2));

fn decided(own: &BTreeMap<VaultId, Head>, copy: &Copy<'_>) -> Standing {
    decide(&Own { group: &GroupId::system(), lineage: OWN, heads: own }, copy, WAIT_FOR_PAIR)
}

#[test]
fn a_home_whose_pair_agrees_is_good() {
    let own = BTreeMap::from([(vault(1), head(7, 7)), (vault(2), head(1, 1))]);
    for copied in [
        own.clone(),
        BTreeMap::new(),
        BTreeMap::from([(vault(1), head(6, 6))]),
        BTreeMap::from([(vault(1), head(7, 7))]),
    ] {
        assert_eq!(decided(&own, &Copy::Has { lineage: OWN, heads: &copied }), Standing::Good);
    }
    assert_eq!(decided(&own, &Copy::Nothing), Standing::Good);
    assert_eq!(decided(&own, &Copy::NoPair), Standing::Good);
    assert_eq!(decided(&BTreeMap::new(), &Copy::Nothing), Standing::Good, "a new deployment");
}

#[test]
fn an_empty_or_restored_store_is_masked_by_its_lineage() {
    let copied = BTreeMap::from([(vault(1), head(3, 3))]);
    for own in [BTreeMap::new(), copied.clone(), BTreeMap::from([(vault(1), head(9, 9))])] {
        let standing = decided(&own, &Copy::Has { lineage: OTHER, heads: &copied });
        assert!(matches!(standing, Standing::Masked(Reason::OtherLineage { .. })), "{standing:?}");
    }
}

#[test]
fn a_store_behind_its_copy_is_masked() {
    let copied = BTreeMap::from([(vault(1), head(3, 3)), (vault(2), head(5, 5))]);
    let own = BTreeMap::from([(vault(1), head(3, 3)), (vault(2), head(4, 4))]);
    let Standing::Masked(reason) = decided(&own, &Copy::Has { lineage: OWN, heads: &copied }) else {
        panic!("served although older")
    };
    assert!(matches!(&reason, Reason::Behind { own: 4, copied: 5, .. }), "{reason:?}");
    assert!(reason.to_string().contains("commit 5 there and 4 here"), "{reason}");
    // A vault that is missing altogether counts as commit 0.
    let own = BTreeMap::from([(vault(1), head(3, 3))]);
    let standing = decided(&own, &Copy::Has { lineage: OWN, heads: &copied });
    assert!(matches!(standing, Standing::Masked(Reason::Behind { own: 0, .. })), "{standing:?}");
}

#[test]
fn two_histories_of_one_number_are_masked() {
    let copied = BTreeMap::from([(vault(1), head(3, 3))]);
    let own = BTreeMap::from([(vault(1), head(3, 4))]);
    let standing = decided(&own, &Copy::Has { lineage: OWN, heads: &copied });
    assert!(matches!(standing, Standing::Masked(Reason::Forked { number: 3, .. })), "{standing:?}");
}

#[test]
fn a_pair_that_does_not_answer_is_waited_for_and_no_longer() {
    let own = BTreeMap::from([(vault(1), head(3, 3))]);
    for ms in [0, 1_999] {
        let wait = Copy::Unanswered(Duration::from_millis(ms));
        assert_eq!(decided(&own, &wait), Standing::Checking);
        assert_eq!(decided(&BTreeMap::new(), &wait), Standing::Checking);
    }
    let gone = Copy::Unanswered(WAIT_FOR_PAIR);
    assert_eq!(decided(&own, &gone), Standing::Good, "home goes on alone");
    let standing = decided(&BTreeMap::new(), &gone);
    assert!(matches!(standing, Standing::Masked(Reason::EmptyAlone { .. })), "{standing:?}");
}

#[test]
fn the_worst_of_several_groups_counts() {
    let masked = || Standing::Masked(Reason::EmptyAlone { group: "eastus".into() });
    assert_eq!(Standing::Good.and(Standing::Good), Standing::Good);
    assert_eq!(Standing::Good.and(Standing::Checking), Standing::Checking);
    assert_eq!(Standing::Checking.and(Standing::Good), Standing::Checking);
    for other in [Standing::Good, Standing::Checking] {
        assert_eq!(other.clone().and(masked()), masked());
        assert_eq!(masked().and(other), masked());
    }
}

#[test]
fn a_standing_reads_back_from_the_wire() {
    let forked = Reason::Forked { group: "eastus".into(), vault: vault(1).to_string(), number: 4 };
    for standing in [Standing::Good, Standing::Checking, Standing::Masked(forked)] {
        let text = serde_json::to_string(&standing).unwrap();
        assert_eq!(serde_json::from_str::<Standing>(&text).unwrap(), standing, "{text}");
    }
}

fn heads() -> impl Strategy<Value = BTreeMap<VaultId, Head>> {
    // The chain follows from the number, now and then from another history.
    let head = (0..6u64, prop::bool::weighted(0.1)).prop_map(|(number, other)| {
        head(number, u8::try_from(number).unwrap() + if other { 100 } else { 0 })
    });
    proptest::collection::btree_map((0..5u128).prop_map(vault), head, 0..5)
}

proptest! {
    /// A home serves exactly when nothing that the pair holds is missing or different in its own store.
    #[test]
    fn good_means_that_nothing_is_missing(own in heads(), copied in heads(), same: bool) {
        let lineage = if same { OWN } else { OTHER };
        let good = decided(&own, &Copy::Has { lineage, heads: &copied }).is_good();
        let whole = copied.iter().all(|(vault, copied)| {
            let own = own.get(vault).copied().unwrap_or(Head::START);
            own.number > copied.number || own == *copied
        });
        // Commit 0 has no content, so a head of number 0 can only be the start.
        prop_assume!(copied.values().chain(own.values()).all(|h| h.number > 0));
        prop_assert_eq!(good, same && whole);
    }
}
