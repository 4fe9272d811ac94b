//! What the answers of the regions say together: pure.

use super::{BTreeMap, GroupId, Holding, Located, RegionMap, RegionName};

/// What became of the question to a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is not answered yet.
    Pending,
    /// Nobody of the region answered.
    Failed,
    /// This.
    Says(Holding),
}

/// What is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The vault is there.
    Found(Located),
    /// No region has it: each said so itself, or its replica did where it was silent.
    Absent,
    /// An answer that is under way may decide.
    Wait,
    /// Nobody can speak for this group.
    Unknown(GroupId),
}

/// What one region says about a group.
enum Says {
    Held(Located),
    Absent,
    /// It is not known yet.
    Pending,
    /// It cannot speak for the group.
    Nothing,
}

/// A vault counts as found as soon as anybody says so who is not contradicted by its home; as absent only where
/// home says so, or where home is silent and a complete replica says so.
pub(super) fn decide(map: &RegionMap, answers: &BTreeMap<RegionName, Answer>) -> Verdict {
    let mut verdict = Verdict::Absent;
    for (group, home) in vaults(map) {
        let at_home = says(group, home, answers.get(home));
        let mut copies = map.replicas(group).iter().map(|region| says(group, home, answers.get(region)));
        let of_group = match at_home {
            Says::Held(located) => return Verdict::Found(located),
            Says::Absent => Verdict::Absent,
            silent => {
                let waits = matches!(silent, Says::Pending);
                let (mut pending, mut absent) = (waits, false);
                for copy in &mut copies {
                    match copy {
                        Says::Held(located) => return Verdict::Found(located),
                        Says::Absent => absent = true,
                        Says::Pending => pending = true,
                        Says::Nothing => {}
                    }
                }
                match (waits, absent, pending) {
                    (false, true, _) => Verdict::Absent,
                    (true, ..) | (_, _, true) => Verdict::Wait,
                    (false, false, false) => Verdict::Unknown(group.clone()),
                }
            }
        };
        verdict = match (verdict, of_group) {
            // A later group may hold it still.
            (Verdict::Wait, _) | (_, Verdict::Wait) => Verdict::Wait,
            (Verdict::Unknown(group), _) => Verdict::Unknown(group),
            (_, of_group) => of_group,
        };
    }
    verdict
}

/// Which region other than `own` has the name. Only homes are believed: a vault that a replica has not heard of
/// may have been acknowledged. Errors: a home that does not say.
pub(super) fn strictly(
    map: &RegionMap,
    own: Option<&RegionName>,
    answers: &BTreeMap<RegionName, Answer>,
) -> Result<Option<RegionName>, RegionName> {
    let mut silent = None;
    for (group, home) in vaults(map).filter(|(_, home)| Some(*home) != own) {
        match says(group, home, answers.get(home)) {
            Says::Held(located) => return Ok(Some(located.home)),
            Says::Absent => {}
            Says::Pending | Says::Nothing => silent = Some(home.clone()),
        }
        for region in map.replicas(group) {
            if let Says::Held(located) = says(group, home, answers.get(region)) {
                return Ok(Some(located.home));
            }
        }
    }
    silent.map_or(Ok(None), Err)
}

/// The groups that hold clients' vaults.
fn vaults(map: &RegionMap) -> impl Iterator<Item = (&GroupId, &RegionName)> {
    let system = GroupId::system();
    map.groups().filter(move |group| **group != system).filter_map(|group| Some((group, map.home(group)?)))
}

fn says(group: &GroupId, home: &RegionName, answer: Option<&Answer>) -> Says {
    let holding = match answer {
        Some(Answer::Says(holding)) => holding,
        Some(Answer::Pending) => return Says::Pending,
        Some(Answer::Failed) | None => return Says::Nothing,
    };
    let part = holding.groups.iter().find(|part| part.group == group.as_str());
    match (&holding.held, part) {
        (Some(held), _) if held.group == group.as_str() => {
            let home = part.map_or(home, |part| &part.home).clone();
            Says::Held(Located { home, deleted: held.deleted })
        }
        (_, Some(part)) if part.complete => Says::Absent,
        _ => Says::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use valv_geo::{Declared, Pairing, catalogue};

    use super::*;
    use crate::{Held, HeldGroup};

    fn region(name: &str) -> RegionName {
        RegionName::parse(name).unwrap()
    }

    /// eastus and westus are a pair, northeurope is alone.
    fn map() -> RegionMap {
        let declared = |name: &str, pairing: Pairing| Declared {
            region: catalogue::find(&region(name)).unwrap().region.clone(),
            pairing,
            allow_near: false,
            allow_foreign: false,
        };
        let alone = declared("northeurope", Pairing::Alone);
        let declared = [declared("eastus", Pairing::Default), declared("westus", Pairing::Default), alone];
        RegionMap::new(&declared, None).unwrap()
    }

    /// `held` in which group; `parts` with a `?` are not complete.
    fn answer(held: Option<&str>, parts: &[&str]) -> Answer {
        let part = |text: &&str| HeldGroup {
            group: text.trim_end_matches('?').into(),
            home: region(text.trim_end_matches('?')),
            epoch: 1,
            complete: !text.ends_with('?'),
        };
        Answer::Says(Holding {
            region: region("eastus"),
            held: held.map(|group| Held { group: group.into(), deleted: false }),
            groups: parts.iter().map(part).collect(),
        })
    }

    fn answers(east: Answer, west: Answer, europe: Answer) -> BTreeMap<RegionName, Answer> {
        let regions = ["eastus", "westus", "northeurope"].map(region);
        regions.into_iter().zip([east, west, europe]).collect()
    }

    #[test]
    fn a_vault_is_absent_only_where_all_who_could_hold_it_have_spoken() {
        let both = ["eastus", "westus"];
        let no = || answer(None, &both);
        let europe = || answer(None, &["northeurope"]);
        let found = |home: &str| Verdict::Found(Located { home: region(home), deleted: false });
        let group = |name: &str| GroupId::parse(name).unwrap();
        let cases = [
            (no(), no(), europe(), Verdict::Absent),
            // A replica speaks for a home that is silent, but not before it is known to be so.
            (Answer::Failed, no(), europe(), Verdict::Absent),
            (Answer::Pending, no(), europe(), Verdict::Wait),
            (no(), Answer::Failed, europe(), Verdict::Absent),
            // One that never was complete does not.
            (
                Answer::Failed,
                answer(None, &["westus", "eastus?"]),
                europe(),
                Verdict::Unknown(group("eastus")),
            ),
            (Answer::Failed, Answer::Failed, europe(), Verdict::Unknown(group("eastus"))),
            (no(), no(), Answer::Failed, Verdict::Unknown(group("northeurope"))),
            (Answer::Failed, Answer::Failed, Answer::Pending, Verdict::Wait),
            // Who has it is believed at once, unless home says no.
            (answer(Some("eastus"), &both), Answer::Pending, Answer::Pending, found("eastus")),
            (Answer::Pending, answer(Some("eastus"), &both), Answer::Pending, found("eastus")),
            (Answer::Failed, answer(Some("eastus"), &["westus", "eastus?"]), Answer::Failed, found("eastus")),
            (no(), answer(Some("eastus"), &both), europe(), Verdict::Absent),
            (no(), no(), answer(Some("northeurope"), &["northeurope"]), found("northeurope")),
        ];
        for (at, (east, west, europe, verdict)) in cases.into_iter().enumerate() {
            assert_eq!(decide(&map(), &answers(east, west, europe)), verdict, "case {at}");
        }
    }

    #[test]
    fn a_name_is_free_only_where_every_other_home_says_so() {
        let both = ["eastus", "westus"];
        let no = || answer(None, &both);
        let europe = || answer(None, &["northeurope"]);
        let east = region("eastus");
        let free = |east_: Answer, west, europe| strictly(&map(), Some(&east), &answers(east_, west, europe));
        assert_eq!(free(no(), no(), europe()), Ok(None));
        assert_eq!(free(answer(Some("eastus"), &both), no(), europe()), Ok(None));
        assert_eq!(free(Answer::Failed, answer(Some("westus"), &both), europe()), Ok(Some(region("westus"))));
        // The replica here has it, whatever home says.
        assert_eq!(free(answer(Some("westus"), &both), Answer::Failed, europe()), Ok(Some(region("westus"))));
        assert_eq!(free(no(), Answer::Failed, europe()), Err(region("westus")));
        assert_eq!(free(no(), no(), Answer::Pending), Err(region("northeurope")));
    }
}
