use super::*;
use crate::standing::Reason;

fn region(name: &str) -> RegionName {
    RegionName::parse(name).unwrap()
}

fn peer(region_name: &str) -> PeerId {
    PeerId { region: region(region_name), address: format!("{region_name}:1").into() }
}

fn masked() -> Standing {
    Standing::Masked(Reason::EmptyAlone { group: "east".into() })
}

/// What can be varied: two regions, `east` (home) and `west` (its pair), one node each.
#[derive(Clone, Debug)]
struct Case {
    effect: Effect,
    anywhere: bool,
    forwarded: Option<Role>,
    pair: bool,
    /// None: a gateway.
    at: Option<&'static str>,
    standing: Standing,
    engine: bool,
    /// The own store has a whole copy.
    copied: bool,
    /// Breakers of east's node: alive, home.
    east: (bool, bool),
    /// West's node: alive, and its copy is whole.
    west: (bool, bool),
}

impl Case {
    fn view(&self) -> View {
        let group = GroupId::of_region(&region("east"));
        let copies = |whole: bool| if whole { vec![group.clone()] } else { Vec::new() };
        let here = self.at.map(|at| Here {
            region: region(at),
            standing: self.standing.clone(),
            engine: self.engine,
            replicas: copies(at == "west" && self.copied),
        });
        let node = |name: &str, alive, home, whole| NodeView {
            peer: peer(name),
            alive,
            home,
            replicas: copies(whole),
            copies: Vec::new(),
        };
        let others = [
            node("east", self.east.0, self.east.1, false),
            node("west", self.west.0, self.west.0, self.west.1),
        ];
        let regions =
            others.into_iter().filter(|n| self.at != Some(n.peer.region.as_str())).map(|node| RegionView {
                region: node.peer.region.clone(),
                health: RegionHealth::Available,
                nodes: vec![node],
            });
        View { here, regions: regions.collect() }
    }

    fn plan(&self) -> Plan {
        let (home, group) = (region("east"), GroupId::of_region(&region("east")));
        let replicas = if self.pair { vec![region("west")] } else { Vec::new() };
        let asked = Asked {
            group: &group,
            home: &home,
            replicas: &replicas,
            effect: self.effect,
            anywhere: self.anywhere,
            forwarded: self.forwarded,
        };
        route(&asked, &self.view())
    }
}

/// Every combination.
fn cases() -> Vec<Case> {
    let bools = [false, true];
    let mut cases = Vec::new();
    for effect in [Effect::Read, Effect::Write] {
        for anywhere in bools {
            for forwarded in [None, Some(Role::Home), Some(Role::Replica)] {
                for pair in bools {
                    for at in [None, Some("east"), Some("west")] {
                        for standing in [Standing::Good, Standing::Checking, masked()] {
                            for engine in bools {
                                for copied in bools {
                                    for east in [(false, false), (true, false), (true, true)] {
                                        for west in
                                            [(false, false), (false, true), (true, false), (true, true)]
                                        {
                                            let standing = standing.clone();
                                            cases.push(Case {
                                                effect,
                                                anywhere,
                                                forwarded,
                                                pair,
                                                at,
                                                standing,
                                                engine,
                                                copied,
                                                east,
                                                west,
                                            });
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    cases
}

fn legs(plan: &Plan) -> Vec<Leg> {
    match plan {
        Plan::Forward(forward) => forward.first.iter().chain(&forward.then).cloned().collect(),
        _ => Vec::new(),
    }
}

#[test]
fn only_a_home_in_good_standing_serves() {
    for case in cases() {
        let home = case.at == Some("east") && case.standing.is_good();
        if case.plan() == Plan::Serve {
            assert!(home, "{case:?}");
        }
        if home && case.forwarded != Some(Role::Replica) && case.engine {
            assert_eq!(case.plan(), Plan::Serve, "{case:?}");
        }
    }
}

#[test]
fn a_write_never_goes_to_a_copy() {
    for case in cases().into_iter().filter(|case| case.effect == Effect::Write) {
        let plan = case.plan();
        assert_ne!(plan, Plan::ServeReadOnly, "{case:?}");
        assert!(legs(&plan).iter().all(|leg| leg.role == Role::Home), "{case:?}");
        if let Plan::Forward(forward) = &plan {
            assert!(forward.then.is_empty() && case.east.1, "{case:?}");
        }
    }
}

#[test]
fn a_write_without_home_is_refused_in_azures_words() {
    for case in cases().into_iter().filter(|case| case.effect == Effect::Write && case.forwarded.is_none()) {
        let home_there = case.east.1 && case.at != Some("east");
        let serves = case.at == Some("east") && case.standing.is_good();
        if !home_there && !serves {
            let refusal = if case.pair { Refusal::ReadOnly } else { Refusal::Unavailable };
            assert_eq!(case.plan(), Plan::Refuse(refusal), "{case:?}");
        }
    }
}

#[test]
fn what_was_forwarded_is_never_forwarded_again() {
    for case in cases().into_iter().filter(|case| case.forwarded.is_some()) {
        assert!(!matches!(case.plan(), Plan::Forward(_)), "{case:?}");
    }
}

#[test]
fn a_forwarded_request_is_served_in_the_role_asked_for_or_misdirected() {
    for case in cases() {
        match (case.forwarded, case.plan()) {
            (Some(Role::Home), plan) => {
                let may = case.at == Some("east") && case.standing.is_good();
                let right = if may { Plan::Serve } else { Plan::Refuse(Refusal::Misdirected) };
                assert_eq!(plan, right, "{case:?}");
            }
            (Some(Role::Replica), plan) => {
                let may = case.at == Some("west") && case.pair && case.engine && case.copied;
                let right = match (may, case.effect) {
                    (true, Effect::Read) => Plan::ServeReadOnly,
                    (true, Effect::Write) => Plan::Refuse(Refusal::ReadOnly),
                    (false, _) => Plan::Refuse(Refusal::Misdirected),
                };
                assert_eq!(plan, right, "{case:?}");
            }
            (None, plan) => assert_ne!(plan, Plan::Refuse(Refusal::Misdirected), "{case:?}"),
        }
    }
}

#[test]
fn a_copy_answers_only_while_home_does_not() {
    for case in cases().into_iter().filter(|case| case.forwarded.is_none()) {
        let plan = case.plan();
        let home_there = case.east.1 && case.at != Some("east");
        if plan == Plan::ServeReadOnly {
            assert!(case.at == Some("west") && case.pair && case.engine && case.copied, "{case:?}");
            assert!(case.anywhere || !home_there, "{case:?}");
        }
        if let Plan::Forward(forward) = &plan
            && home_there
        {
            assert!(forward.first.iter().all(|leg| leg.role == Role::Home), "home is asked first: {case:?}");
        }
    }
}

#[test]
fn a_read_tries_everybody_who_could_answer() {
    for case in cases().into_iter().filter(|c| c.forwarded.is_none() && c.effect == Effect::Read) {
        let plan = case.plan();
        if let Plan::Forward(_) = &plan {
            let asked = legs(&plan);
            let has = |role, target: Target| asked.contains(&Leg { role, target });
            assert!(case.at == Some("east") || has(Role::Home, Target::Peer(peer("east"))), "{case:?}");
            if case.pair && case.at != Some("west") {
                assert!(has(Role::Replica, Target::Peer(peer("west"))), "{case:?}");
            }
            if case.pair && case.at == Some("west") && case.engine && case.copied {
                assert!(has(Role::Replica, Target::Here), "{case:?}");
            }
            let mut unique = asked.clone();
            unique.dedup();
            assert_eq!(unique.len(), asked.len(), "one leg twice: {case:?}");
        }
        if plan == Plan::Refuse(Refusal::Unavailable) {
            assert!(case.at == Some("east") && !case.pair, "somebody could have been asked: {case:?}");
        }
        assert_ne!(plan, Plan::Refuse(Refusal::ReadOnly), "{case:?}");
    }
}

#[test]
fn while_home_is_away_a_whole_copy_is_asked_first() {
    let case = Case {
        effect: Effect::Read,
        anywhere: false,
        forwarded: None,
        pair: true,
        at: None,
        standing: Standing::Good,
        engine: true,
        copied: false,
        east: (false, false),
        west: (true, true),
    };
    let west = Leg { role: Role::Replica, target: Target::Peer(peer("west")) };
    let east = Leg { role: Role::Home, target: Target::Peer(peer("east")) };
    let forward = |first: &Leg, then: &Leg| {
        Plan::Forward(Forward { first: vec![first.clone()], then: vec![then.clone()] })
    };
    assert_eq!(case.plan(), forward(&west, &east));
    // Masked: alive, but not as home.
    assert_eq!(Case { east: (true, false), ..case.clone() }.plan(), forward(&west, &east));
    assert_eq!(Case { east: (true, true), ..case.clone() }.plan(), forward(&east, &west));
    // A copy that is not whole goes behind: it is one of those that are asked last.
    let unfinished = Case { west: (true, false), ..case.clone() }.plan();
    assert_eq!(unfinished, Plan::Forward(Forward { first: vec![east, west], then: Vec::new() }));
    // A door that knows nothing of the copy asks all the same.
    let both = Case { west: (false, false), ..case }.plan();
    assert_eq!(legs(&both).len(), 2);
}
