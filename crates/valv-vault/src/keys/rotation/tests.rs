use proptest::prelude::*;
use valv_model::ErrorCode;

use super::LifetimeActionType::{Notify, Rotate};
use super::*;

const DAY: i64 = 86_400;
/// 2027-01-31T12:00:00Z.
const JANUARY_31: UnixSeconds = UnixSeconds(1_801_396_800);

fn action(action: LifetimeActionType, after: Option<&str>, before: Option<&str>) -> LifetimeAction {
    let text = |text: Option<&str>| text.map(str::to_owned);
    LifetimeAction { action, time_after_create: text(after), time_before_expiry: text(before) }
}

fn policy(life: Option<&str>, actions: &[LifetimeAction]) -> RotationPolicy {
    RotationPolicy { lifetime_actions: actions.to_vec(), expiry_time: life.map(str::to_owned) }
}

fn refused(policy: RotationPolicy) -> String {
    let error = accept(policy).unwrap_err();
    assert_eq!(error.code, ErrorCode::BadParameter);
    error.message
}

#[test]
fn durations_are_years_months_weeks_and_days() {
    for (text, days) in [
        ("P1D", 1),
        ("P90D", 90),
        ("P1Y", 365),
        ("P18M", 540),
        ("P2W", 14),
        ("P1Y2M3W4D", 365 + 60 + 21 + 4),
        ("P100Y", 36_500),
    ] {
        assert_eq!(length_days("x", text).unwrap(), days, "{text}");
    }
    for text in [
        "",
        "P",
        "90",
        "90 days",
        "P90",
        "PT1H",
        "P1DT1H",
        "p90d",
        "-P90D",
        "+P90D",
        "P-90D",
        "P1.5D",
        "P1,5D",
        "P0D",
        "P101Y",
        "P36501D",
        "P1D2M",
        "P1DP1D",
        " P1D",
        "P1D ",
        "P99999999999D",
        "P00000000000000000000000000000001D",
        "PＤ",
    ] {
        let error =
            length_days("attributes.expiryTime", text).err().unwrap_or_else(|| panic!("{text} was taken"));
        assert!(error.message.contains("attributes.expiryTime"), "{text}: {error}");
    }
}

#[test]
fn moments_follow_the_calendar() {
    let after = |text: &str| shift(JANUARY_31, text, 1).map(|moment| (moment.0 - JANUARY_31.0) / DAY);
    assert_eq!(after("P1M"), Some(28), "the last day of February");
    assert_eq!(after("P1Y"), Some(365));
    assert_eq!(after("P13M"), Some(365 + 29), "2028 has a 29 February");
    assert_eq!(after("P1W"), Some(7));
    assert_eq!(shift(JANUARY_31, "P1M", -1), Some(JANUARY_31.plus_days(-31)));
    assert_eq!(shift(UnixSeconds(i64::MIN), "P1D", 1), None);
    assert_eq!(expiry(&policy(Some("P30D"), &[]), JANUARY_31), Some(JANUARY_31.plus_days(30)));
    assert_eq!(expiry(&policy(None, &[]), JANUARY_31), None);
}

#[test]
fn what_azures_clients_send_is_taken_and_a_notification_is_added() {
    // The policies of the tests and samples of Azure's SDKs.
    let taken = [
        policy(None, &[action(Rotate, Some("P2M"), None)]),
        policy(Some("P90D"), &[action(Notify, None, Some("P30D"))]),
        policy(Some("P80D"), &[action(Notify, None, Some("P30D"))]),
        policy(Some("P18M"), &[action(Rotate, Some("P12M"), None), action(Notify, None, Some("P30D"))]),
        policy(Some("P2Y"), &[action(Rotate, None, Some("P90D"))]),
        policy(Some("P28D"), &[]),
        policy(None, &[]),
    ];
    for given in taken {
        let accepted = accept(given.clone()).unwrap();
        assert_eq!(accepted.expiry_time, given.expiry_time);
        let notifies: Vec<_> = accepted.lifetime_actions.iter().filter(|a| a.action == Notify).collect();
        assert_eq!(notifies, [&action(Notify, None, Some("P30D"))]);
        assert!(accepted.lifetime_actions.starts_with(&given.lifetime_actions), "as they were written");
        assert_eq!(accept(accepted.clone()).unwrap(), accepted, "an answer can be sent back");
    }
    assert_eq!(accept(RotationPolicy::default()).unwrap(), default_policy());
    assert_eq!(accept(policy(None, &[action(Notify, None, Some("P1D"))])).unwrap().lifetime_actions.len(), 1);
}

#[test]
fn policies_at_their_bounds() {
    let rotate_after = |life, after| policy(Some(life), &[action(Rotate, Some(after), None)]);
    let rotate_before = |life, before| policy(Some(life), &[action(Rotate, None, Some(before))]);
    for taken in [
        policy(Some("P28D"), &[]),
        rotate_after("P28D", "P7D"),
        rotate_after("P28D", "P21D"),
        rotate_before("P28D", "P7D"),
        rotate_before("P28D", "P21D"),
    ] {
        accept(taken).unwrap();
    }
    for (policy, text) in [
        (policy(Some("P27D"), &[]), "attributes.expiryTime has invalid value: it must be 28 days or more"),
        (policy(Some("later"), &[]), "attributes.expiryTime has invalid value: it is no ISO 8601"),
        (
            rotate_after("P28D", "P6D"),
            "timeAfterCreate has invalid value: a rotation must be 7 days or more after",
        ),
        (
            rotate_after("P28D", "P22D"),
            "timeAfterCreate has invalid value: a rotation must be 7 days or more before",
        ),
        (
            rotate_before("P28D", "P6D"),
            "timeBeforeExpiry has invalid value: a rotation must be 7 days or more before",
        ),
        (
            rotate_before("P28D", "P22D"),
            "timeBeforeExpiry has invalid value: a rotation must be 7 days or more after",
        ),
        (policy(None, &[action(Rotate, Some("P6D"), None)]), "7 days or more after"),
        (policy(None, &[action(Rotate, None, Some("P30D"))]), "with attributes.expiryTime"),
        (policy(None, &[action(Notify, Some("P30D"), None)]), "applies to Rotate only"),
        (policy(None, &[action(Notify, None, Some("P0D"))]), "a day or more"),
        (policy(Some("P90D"), &[action(Rotate, Some("P30D"), Some("P30D"))]), "not both"),
        (policy(Some("P90D"), &[action(Rotate, None, None)]), "either"),
        (
            policy(None, &[action(Rotate, Some("P30D"), None), action(Rotate, Some("P40D"), None)]),
            "Rotate more than once",
        ),
        (
            policy(None, &[action(Notify, None, Some("P30D")), action(Notify, None, Some("P9D"))]),
            "Notify more than once",
        ),
    ] {
        let message = refused(policy.clone());
        assert!(message.contains(text), "{policy:?}: {message}");
    }
}

fn attributes(created: i64, exp: Option<i64>, enabled: bool) -> Attributes {
    let created = UnixSeconds(created);
    Attributes { enabled, nbf: None, exp: exp.map(UnixSeconds), created, updated: created }
}

fn set(policy: RotationPolicy) -> Rotation {
    let set = SetPolicy { policy, created: UnixSeconds(0), updated: UnixSeconds(0) };
    Rotation { policy: Some(set), ..Rotation::default() }
}

fn version(byte: u8) -> VersionId {
    VersionId::from_bytes([byte; 16])
}

#[test]
fn actions_are_due_from_their_second_on() {
    let rotation =
        set(policy(Some("P90D"), &[action(Rotate, Some("P60D"), None), action(Notify, None, Some("P20D"))]));
    let current = attributes(0, Some(90 * DAY), true);
    let at = |now: i64| due(&rotation, &version(1), &current, UnixSeconds(now));
    let nothing = Due::default();
    assert_eq!(at(60 * DAY - 1), nothing);
    assert_eq!(at(60 * DAY), Due { rotate: true, ..nothing });
    assert_eq!(at(70 * DAY - 1), Due { rotate: true, ..nothing });
    assert_eq!(at(70 * DAY), Due { rotate: true, near_expiry: true, ..nothing });
    assert_eq!(at(90 * DAY), Due { rotate: true, expired: true, ..nothing }, "no longer near");
    assert_eq!(at(i64::MIN), nothing, "the time of a round whose clock is in doubt");

    let by_expiry = set(policy(Some("P90D"), &[action(Rotate, None, Some("P30D"))]));
    let at = |exp, now| due(&by_expiry, &version(1), &attributes(0, exp, true), UnixSeconds(now)).rotate;
    assert!(!at(Some(90 * DAY), 60 * DAY - 1) && at(Some(90 * DAY), 60 * DAY));
    assert!(!at(None, 1_000 * DAY), "a version that does not expire");
}

#[test]
fn without_a_policy_the_end_is_announced_once_and_again_when_it_was_moved() {
    let current = attributes(0, Some(90 * DAY), true);
    let none = Rotation::default();
    let near = Due { near_expiry: true, ..Due::default() };
    assert_eq!(due(&none, &version(1), &current, UnixSeconds(60 * DAY)), near);
    let mark = |exp: i64| Some(Mark { version: version(1), exp: UnixSeconds(exp) });
    let told = Rotation { near_expiry_told: mark(90 * DAY), ..Rotation::default() };
    assert_eq!(due(&told, &version(1), &current, UnixSeconds(89 * DAY)), Due::default());
    assert_eq!(due(&told, &version(2), &current, UnixSeconds(89 * DAY)), near, "another version");
    let moved = attributes(0, Some(91 * DAY), true);
    assert_eq!(due(&told, &version(1), &moved, UnixSeconds(89 * DAY)), near);
    assert!(due(&told, &version(1), &current, UnixSeconds(90 * DAY)).expired);
    let told = Rotation { expired_told: mark(90 * DAY), ..told };
    assert_eq!(due(&told, &version(1), &current, UnixSeconds(9_000 * DAY)), Due::default());
}

fn durations() -> impl Strategy<Value = String> {
    prop_oneof![
        (1..200i64).prop_map(|days| format!("P{days}D")),
        (1..40i64).prop_map(|weeks| format!("P{weeks}W")),
        (1..30i64).prop_map(|months| format!("P{months}M")),
        (1..5i64).prop_map(|years| format!("P{years}Y")),
        (1..3i64, 1..12i64, 1..30i64).prop_map(|(y, m, d)| format!("P{y}Y{m}M{d}D")),
    ]
}

/// Policies that are accepted.
fn policies() -> impl Strategy<Value = RotationPolicy> {
    let optional = || prop::option::of(durations());
    let parts = (optional(), optional(), any::<bool>(), optional());
    parts.prop_filter_map("refused", |(expiry_time, rotate, after, notify)| {
        let rotate = rotate.map(|time| match after {
            true => action(Rotate, Some(&time), None),
            false => action(Rotate, None, Some(&time)),
        });
        let notify = notify.map(|time| action(Notify, None, Some(&time)));
        let lifetime_actions = rotate.into_iter().chain(notify).collect();
        accept(RotationPolicy { lifetime_actions, expiry_time }).ok()
    })
}

proptest! {
    #[test]
    fn what_is_due_stays_due_until_it_is_done(policy in policies(), created in 0..4_000_000_000i64, steps in prop::collection::vec(0..400 * DAY, 1..20)) {
        let exp = expiry(&policy, UnixSeconds(created));
        let rotation = set(policy);
        let current = attributes(created, exp.map(|exp| exp.0), true);
        let (mut now, mut before) = (created, Due::default());
        for step in steps {
            now += step;
            let due = due(&rotation, &version(1), &current, UnixSeconds(now));
            prop_assert!(!before.rotate || due.rotate);
            prop_assert!(!before.expired || due.expired);
            prop_assert!(!before.near_expiry || due.near_expiry || due.expired);
            prop_assert!(!(due.near_expiry && due.expired));
            prop_assert_eq!(due.expired, exp.is_some_and(|exp| exp.0 <= now));
            before = due;
        }
    }

    #[test]
    fn a_version_made_by_rotation_is_not_rotated_within_a_week_and_before_it_expires(policy in policies(), made in 0..4_000_000_000i64) {
        let rotation = set(policy.clone());
        let exp = expiry(&policy, UnixSeconds(made));
        let current = attributes(made, exp.map(|exp| exp.0), true);
        let at = |now: i64| due(&rotation, &version(1), &current, UnixSeconds(now));
        // Months and years are up to five days shorter, and two longer, than the rules count them.
        prop_assert!(!at(made + DAY).rotate);
        prop_assert!(at(made + DAY).expired == exp.is_some_and(|exp| exp.0 <= made + DAY));
        let rotates = policy.lifetime_actions.iter().any(|action| action.action == Rotate);
        if let Some(exp) = exp {
            prop_assert!(exp.0 >= made + 28 * DAY);
            prop_assert_eq!(at(exp.0).rotate, rotates);
        } else if rotates {
            prop_assert!(at(made + 200_000 * DAY).rotate);
        }
    }

    #[test]
    fn disabled_versions_are_left_alone(policy in policies(), exp in prop::option::of(0..1_000 * DAY), now in 0..10_000 * DAY) {
        prop_assert_eq!(due(&set(policy), &version(1), &attributes(0, exp, false), UnixSeconds(now)), Due::default());
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "\\PC{0,40}") {
        let _ = accept(policy(Some(&text), &[action(Rotate, Some(&text), None)]));
    }
}
