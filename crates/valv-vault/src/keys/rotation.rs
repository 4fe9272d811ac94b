//! Rotation policies: what is accepted, and what is due when. Pure: the time comes in.
//!
//! The rules are Azure's (key-vault/keys/how-to-configure-key-rotation, REST `UpdateKeyRotationPolicy`). Its page
//! gives lengths in days; where a policy counts in months and years, the rules take 30 and 365 days for them, so that
//! a policy is right or wrong whenever it is looked at. What is due, and when a version expires, follows the
//! calendar in UTC.

use jiff::Timestamp;
use jiff::fmt::temporal::SpanParser;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use valv_model::{Attributes, Error, Result, UnixSeconds, VersionId};

use super::{LifetimeAction, LifetimeActionType, RotationPolicy};

/// The earliest rotation after a version's creation, and the latest before its expiry, days.
const MARGIN_DAYS: i64 = 7;

/// The shortest life of a version that rotation makes, days.
const EXPIRY_MIN_DAYS: i64 = 28;

/// The longest duration, days: a hundred years.
const DURATION_MAX_DAYS: i64 = 36_500;

/// When a key near its end is announced, if nobody said otherwise.
const NOTIFY_BEFORE_EXPIRY: &str = "P30D";

/// What a key's record holds about rotation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rotation {
    /// The policy and its dates; None: the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<SetPolicy>,
    /// The end whose nearness was announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) near_expiry_told: Option<Mark>,
    /// The end that was announced when it had come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expired_told: Option<Mark>,
}

impl Rotation {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A policy that somebody set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SetPolicy {
    #[serde(flatten)]
    pub(crate) policy: RotationPolicy,
    pub(crate) created: UnixSeconds,
    pub(crate) updated: UnixSeconds,
}

/// One version's end. A version whose expiry is moved has another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) version: VersionId,
    pub(crate) exp: UnixSeconds,
}

/// What a round has to do for a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// Make a new version.
    pub(crate) rotate: bool,
    /// Announce that the end is near.
    pub(crate) near_expiry: bool,
    /// Announce that the end has come.
    pub(crate) expired: bool,
}

/// The policy of a key that was never given one.
pub(crate) fn default_policy() -> RotationPolicy {
    RotationPolicy { lifetime_actions: vec![notify()], expiry_time: None }
}

fn notify() -> LifetimeAction {
    LifetimeAction {
        action: LifetimeActionType::Notify,
        time_after_create: None,
        time_before_expiry: Some(NOTIFY_BEFORE_EXPIRY.into()),
    }
}

/// The length in days, as the rules count it, of a duration of whole years, months, weeks and days in ISO 8601 form.
fn length_days(name: &str, text: &str) -> Result<i64> {
    let bad = |why: &str| Error::bad(format!("Property {name} has invalid value: {why}"));
    let not_iso =
        || bad("it is no ISO 8601 duration of years, months, weeks and days, such as P90D or P18M.");
    // The letters are capitals here, as in XML Schema and at Azure; no sign, no fraction, no time of day.
    let plain = text.starts_with('P') && text.bytes().all(|c| c.is_ascii_digit() || b"PYMWD".contains(&c));
    if !plain || text.len() > 32 {
        return Err(not_iso());
    }
    let span = SpanParser::new().parse_span(text).map_err(|_| not_iso())?;
    let days = i64::from(span.get_years()) * 365
        + i64::from(span.get_months()) * 30
        + i64::from(span.get_weeks()) * 7
        + i64::from(span.get_days());
    match days {
        1..=DURATION_MAX_DAYS => Ok(days),
        ..1 => Err(bad("it must be a day or more.")),
        _ => Err(bad("it must be a hundred years or less.")),
    }
}

/// The moment a duration after (or before, with `sign` -1) another one, by the calendar in UTC. None: beyond the calendar.
fn shift(from: UnixSeconds, duration: &str, sign: i64) -> Option<UnixSeconds> {
    let span = SpanParser::new().parse_span(duration).ok()?.checked_mul(sign).ok()?;
    let from = Timestamp::from_second(from.0).ok()?.to_zoned_datetime(TimeZone::UTC);
    Some(UnixSeconds(from.checked_add(span).ok()?.timestamp().as_second()))
}

/// When a version made at `now` by rotation expires.
pub(crate) fn expiry(policy: &RotationPolicy, now: UnixSeconds) -> Option<UnixSeconds> {
    shift(now, policy.expiry_time.as_deref()?, 1)
}

/// Checks a policy and completes it: without a `Notify` it gets one 30 days before expiry.
///
/// Errors: 400 that names the property.
pub(crate) fn accept(mut policy: RotationPolicy) -> Result<RotationPolicy> {
    use LifetimeActionType::{Notify, Rotate};
    let life =
        policy.expiry_time.as_deref().map(|text| length_days("attributes.expiryTime", text)).transpose()?;
    if let Some(life) = life
        && life < EXPIRY_MIN_DAYS
    {
        return Err(Error::bad(format!(
            "Property attributes.expiryTime has invalid value: it must be {EXPIRY_MIN_DAYS} days or more."
        )));
    }
    for action in [Rotate, Notify] {
        if policy.lifetime_actions.iter().filter(|given| given.action == action).count() > 1 {
            return Err(Error::bad(format!(
                "Property lifetimeActions has invalid value: it holds {action:?} more than once."
            )));
        }
    }
    for action in &policy.lifetime_actions {
        check_action(action, life)?;
    }
    if policy.lifetime_actions.iter().all(|action| action.action != Notify) {
        policy.lifetime_actions.push(notify());
    }
    Ok(policy)
}

fn check_action(action: &LifetimeAction, life: Option<i64>) -> Result<()> {
    const AFTER: &str = "lifetimeActions.trigger.timeAfterCreate";
    const BEFORE: &str = "lifetimeActions.trigger.timeBeforeExpiry";
    let bad = |name: &str, why: &str| Err(Error::bad(format!("Property {name} has invalid value: {why}")));
    let late = |name| bad(name, &format!("a rotation must be {MARGIN_DAYS} days or more before the expiry."));
    let early =
        |name| bad(name, &format!("a rotation must be {MARGIN_DAYS} days or more after the creation."));
    match (action.action, &action.time_after_create, &action.time_before_expiry) {
        (_, None, None) | (_, Some(_), Some(_)) => bad(
            "lifetimeActions.trigger",
            "it must hold either timeAfterCreate or timeBeforeExpiry, and not both.",
        ),
        (LifetimeActionType::Notify, Some(_), None) => {
            bad(AFTER, "it applies to Rotate only; Notify takes timeBeforeExpiry.")
        }
        // Also without expiryTime: versions may have been given an expiry of their own.
        (LifetimeActionType::Notify, None, Some(before)) => length_days(BEFORE, before).map(drop),
        (LifetimeActionType::Rotate, Some(after), None) => match length_days(AFTER, after)? {
            days if days < MARGIN_DAYS => early(AFTER),
            days if life.is_some_and(|life| days + MARGIN_DAYS > life) => late(AFTER),
            _ => Ok(()),
        },
        (LifetimeActionType::Rotate, None, Some(before)) => match (length_days(BEFORE, before)?, life) {
            (_, None) => bad(BEFORE, "Rotate can only be timed by the expiry with attributes.expiryTime."),
            (days, _) if days < MARGIN_DAYS => late(BEFORE),
            (days, Some(life)) if days + MARGIN_DAYS > life => early(BEFORE),
            _ => Ok(()),
        },
    }
}

/// What is due at `now` for a key with this current version. Nobody rotates or announces what is switched off: a
/// new version would switch it on again.
pub(crate) fn due(rotation: &Rotation, version: &VersionId, current: &Attributes, now: UnixSeconds) -> Due {
    let default = default_policy();
    let policy = rotation.policy.as_ref().map_or(&default, |set| &set.policy);
    let trigger = |action: &LifetimeAction| match (&action.time_after_create, &action.time_before_expiry) {
        (Some(after), _) => shift(current.created, after, 1),
        (None, Some(before)) => shift(current.exp?, before, -1),
        (None, None) => None,
    };
    let reached = |wanted: LifetimeActionType| {
        let mut times = policy.lifetime_actions.iter().filter(|action| action.action == wanted).map(trigger);
        times.any(|time| time.is_some_and(|time| time <= now))
    };
    if !current.enabled {
        return Due::default();
    }
    let told = |mark: &Option<Mark>| {
        mark.as_ref().is_some_and(|mark| mark.version == *version && Some(mark.exp) == current.exp)
    };
    let expired = current.exp.is_some_and(|exp| exp <= now);
    Due {
        rotate: reached(LifetimeActionType::Rotate),
        near_expiry: !expired && reached(LifetimeActionType::Notify) && !told(&rotation.near_expiry_told),
        expired: expired && !told(&rotation.expired_told),
    }
}

#[cfg(test)]
#[path = "rotation/tests.rs"]
mod tests;
