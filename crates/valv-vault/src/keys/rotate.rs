//! Rotation, on request and by itself; the announcement of a key's end.
//!
//! What happens by itself happens once, however many rounds run at a time and wherever one is cut off: the decision
//! in the vault's queue looks again at the current version and at the marks, and the commit changes what it looked at.

use std::sync::Arc;
use std::time::{Duration, Instant};

use valv_crypto::{Generate, KeyType, PrivateKey, generate};
use valv_engine::KeyRange;
use valv_model::{Error, ErrorCode, ObjectName, Operation, Result, UnixSeconds};

use super::event::{KeyEvent, KeyEventKind};
use super::kind::{Key, KeyDetail};
use super::records::draft;
use super::rotation::{Due, Mark, SetPolicy, accept, default_policy, due, expiry};
use super::{KeyBundle, KeyRotationPolicy, Length, Pool, RotationPolicy};
use crate::objects::desk::{Desk, Done, Live, Step, View, put};
use crate::objects::records::{Object, live_path, recovery_level};
use crate::objects::version::{self, Random};
use crate::objects::{AttributesPatch, Kind, errors, make, read};
use crate::queue::{Decision, Need};
use crate::vaults::Vault;
use crate::{Service, WriteContext};

/// How often a rotation begins anew because another request changed the key's type meanwhile.
const TRIES: usize = 3;

/// How many records a round reads at once.
const READ_STEP: usize = 100;

/// How many keys of a vault one round rotates; the next round, a minute later, goes on. RSA takes seconds a key.
const ROTATIONS_MAX: usize = 50;

/// How long a round may take for one key.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a key gets a new version.
#[derive(Clone, Copy, Debug)]
enum Why {
    /// Somebody asked.
    Asked,
    /// Its policy says so at this time.
    Due(UnixSeconds),
}

/// What came of a rotation.
enum Rotated {
    /// A new version.
    Version(Box<KeyBundle>),
    /// It is not there any more, or not due any more.
    Nothing,
    /// The new key is of another type, size or curve than the current version is by now.
    Unlike,
}

/// `KeyRotate`. Errors: 403 `KeyDisabled` for a key whose current version is switched off, since the new one would be
/// switched on.
pub(super) async fn rotate(
    desk: &impl Desk,
    pool: &Pool,
    context: &WriteContext,
    name: &ObjectName,
) -> Result<KeyBundle> {
    match new_version(desk, pool, context, name, Why::Asked).await? {
        Done::Fresh(Rotated::Version(bundle)) => Ok(*bundle),
        Done::Fresh(_) => Err(errors::not_found::<Key>(name, None)),
        Done::Replayed(committed) => {
            let (record, stored) = read::made::<Key>(desk, name, committed.version).await?;
            Ok(Key::item(&record.name, &stored.head, recovery_level(desk.vault())))
        }
    }
}

async fn new_version(
    desk: &impl Desk,
    pool: &Pool,
    context: &WriteContext,
    name: &ObjectName,
    why: Why,
) -> Result<Done<Rotated>> {
    let random = version::draw()?;
    for _ in 0..TRIES {
        let Some(record) = read::stored::<Key>(desk, live_path::<Key>(name)).await? else {
            return Ok(Done::Fresh(Rotated::Nothing));
        };
        let key = material(pool, like(&record.current.detail), context.deadline).await?;
        match desk.submit(context, rotate_step(name.clone(), key, random, why)).await? {
            Done::Fresh(Rotated::Unlike) => {}
            done => return Ok(done),
        }
    }
    Err(Error::new(
        ErrorCode::Conflict,
        format!(
            "The type of key {name} was changed by other requests while it was rotated. Nothing was changed; try again."
        ),
    ))
}

/// A new key like the current version.
fn like(detail: &KeyDetail) -> Generate {
    let size = detail.public.crv.is_none().then_some(detail.bits);
    Generate { kty: detail.kty, size, curve: detail.public.crv, public_exponent: None }
}

fn is_like(key: &PrivateKey, detail: &KeyDetail) -> bool {
    (key.kty(), key.bits(), key.curve()) == (detail.kty, detail.bits, detail.public.crv)
}

/// Makes a key: RSA on the pool, all else (up to 200 us) at once.
async fn material(pool: &Pool, what: Generate, deadline: Instant) -> Result<Arc<PrivateKey>> {
    let key = match what.kty {
        KeyType::Rsa | KeyType::RsaHsm => pool.run(Length::Long, deadline, move || generate(&what)).await?,
        _ => generate(&what)?,
    };
    Ok(Arc::new(key))
}

fn rotate_step(name: ObjectName, key: Arc<PrivateKey>, random: Random, why: Why) -> Step<Rotated> {
    Step {
        operation: Operation::KeyRotate,
        needs: make::needs::<Key>(&name),
        decide: Box::new(move |view| decide_rotate(view, &name, &key, random, why)),
    }
}

fn decide_rotate(
    view: &dyn View,
    name: &ObjectName,
    key: &PrivateKey,
    random: Random,
    why: Why,
) -> Result<(Decision, Rotated)> {
    let found = match why {
        Why::Asked => make::before::<Key>(view, name)?,
        Why::Due(_) => read::record::<Key>(view, &live_path::<Key>(name))?,
    };
    let Some(record) = found else { return Ok((Decision::default(), Rotated::Nothing)) };
    let current = &record.current;
    match why {
        Why::Asked if !current.attributes.enabled => return Err(Error::key_disabled("rotate")),
        Why::Due(now) if !due_of(&record, now).rotate => return Ok((Decision::default(), Rotated::Nothing)),
        _ if !is_like(key, &current.detail) => return Ok((Decision::default(), Rotated::Unlike)),
        _ => {}
    }
    let policy = record.own.rotation.policy.as_ref();
    let exp = policy.and_then(|set| expiry(&set.policy, view.now()));
    let attributes = AttributesPatch { exp, ..AttributesPatch::default() };
    let draft = draft(key, current.detail.key_ops.clone(), attributes, current.tags.clone())?;
    let (decision, record) = make::add(view, name, Some(record), &draft, random)?;
    Ok((decision, Rotated::Version(Box::new(record.item(recovery_level(view.vault()))))))
}

fn due_of(record: &Object<Key>, now: UnixSeconds) -> Due {
    due(&record.own.rotation, &record.current.version, &record.current.attributes, now)
}

/// `KeyRotationPolicyGet`.
pub(super) async fn policy(desk: &impl Desk, name: &ObjectName) -> Result<KeyRotationPolicy> {
    let record = read::stored::<Key>(desk, live_path::<Key>(name)).await?;
    Ok(policy_of(record.ok_or_else(|| errors::not_found::<Key>(name, None))?))
}

fn policy_of(record: Object<Key>) -> KeyRotationPolicy {
    let Object { name, own, .. } = record;
    match own.rotation.policy {
        Some(SetPolicy { policy, created, updated }) => {
            KeyRotationPolicy { name, policy, created: Some(created), updated: Some(updated) }
        }
        None => KeyRotationPolicy { name, policy: default_policy(), created: None, updated: None },
    }
}

/// `KeyRotationPolicySet`.
pub(super) async fn set_policy(
    desk: &impl Desk,
    context: &WriteContext,
    name: &ObjectName,
    policy: RotationPolicy,
) -> Result<KeyRotationPolicy> {
    let policy = accept(policy)?;
    let (at, decided) = (name.clone(), policy.clone());
    let step = Step {
        operation: Operation::KeyRotationPolicySet,
        needs: vec![Need::Record(live_path::<Key>(name))],
        decide: Box::new(move |view| decide_policy(view, &at, &decided)),
    };
    match desk.submit(context, step).await? {
        Done::Fresh(told) => Ok(told),
        Done::Replayed(_) => match self::policy(desk, name).await {
            Ok(told) if told.policy == policy => Ok(told),
            _ => Err(errors::changed_since::<Key>(name)),
        },
    }
}

fn decide_policy(
    view: &dyn View,
    name: &ObjectName,
    policy: &RotationPolicy,
) -> Result<(Decision, KeyRotationPolicy)> {
    let path = live_path::<Key>(name);
    let mut record = read::record::<Key>(view, &path)?.ok_or_else(|| errors::not_found::<Key>(name, None))?;
    let before = record.own.rotation.policy.take();
    let created = before.as_ref().map_or(view.now(), |set| set.created);
    // Never backwards, whatever the clock does.
    let updated = before.map_or(view.now(), |set| set.updated.max(view.now()));
    record.own.rotation.policy = Some(SetPolicy { policy: policy.clone(), created, updated });
    let stored = record.encode()?;
    Ok((Decision { writes: vec![put(path, stored)], version: None }, policy_of(record)))
}

/// Rotates what is due at `now`, and announces ends that are near or have come. The caller answers for `now`: with a
/// clock in doubt it is the earliest of all times, at which nothing is due.
pub(crate) async fn lifecycle(service: &Service, vault: &Vault, now: UnixSeconds) -> Result<()> {
    let desk = Live { service, vault };
    let mut range = KeyRange::prefix(Key::LIVE).limit(READ_STEP);
    let mut rotations = 0;
    loop {
        let found = desk.read(vec![range.clone()]).await?.into_iter().next().unwrap_or_default();
        let full = found.len() == READ_STEP;
        if let Some(last) = found.last() {
            range = range.after(last.path.as_bytes());
        }
        for found in found {
            // A damaged record is reported where it is decoded, and does not keep the others waiting.
            let Ok(record) = found.decode(Object::<Key>::decode) else { continue };
            let due = due_of(&record, now);
            if due.rotate && rotations < ROTATIONS_MAX {
                rotations += 1;
                log_failure(&record.name, rotate_due(&desk, &record.name, now).await);
            }
            // After a rotation the decision finds another version, and nothing to announce.
            if due.near_expiry || due.expired {
                log_failure(&record.name, announce(&desk, &record.name, now).await);
            }
        }
        if !full {
            return Ok(());
        }
    }
}

async fn rotate_due(desk: &Live<'_>, name: &ObjectName, now: UnixSeconds) -> Result<()> {
    let done =
        new_version(desk, &desk.service.pool, &WriteContext::own(STEP_TIMEOUT), name, Why::Due(now)).await?;
    if let Done::Fresh(Rotated::Version(bundle)) = done {
        metrics::counter!("valv_key_rotations_total").increment(1);
        tracing::info!(
            vault = %desk.vault.state.envelope.name,
            name = name.as_str(),
            version = bundle.item.version.as_str(),
            "KeyRotateIfDue: the key was rotated as its policy says"
        );
    }
    Ok(())
}

/// Marks the end as announced, and announces it. In this order: a node that dies in between announces nothing, and
/// no end is announced twice.
async fn announce(desk: &Live<'_>, name: &ObjectName, now: UnixSeconds) -> Result<()> {
    let at = name.clone();
    let step = Step {
        operation: Operation::KeyUpdate,
        needs: vec![Need::Record(live_path::<Key>(name))],
        decide: Box::new(move |view| decide_announce(view, &at, now)),
    };
    if let Done::Fresh(Some((kind, mark))) = desk.submit(&WriteContext::own(STEP_TIMEOUT), step).await? {
        let vault = desk.vault.state.envelope.name.clone();
        let (time_ms, Mark { version, exp }) = (desk.service.clock.now_ms(), mark);
        let event = KeyEvent { kind, vault, name: name.clone(), version, exp, time_ms };
        desk.service.events.publish(&event);
    }
    Ok(())
}

type Announced = Option<(KeyEventKind, Mark)>;

fn decide_announce(view: &dyn View, name: &ObjectName, now: UnixSeconds) -> Result<(Decision, Announced)> {
    let nothing = Ok((Decision::default(), None));
    let path = live_path::<Key>(name);
    let Some(mut record) = read::record::<Key>(view, &path)? else { return nothing };
    let due = due_of(&record, now);
    let Some(exp) = record.current.attributes.exp else { return nothing };
    let mark = Mark { version: record.current.version.clone(), exp };
    let rotation = &mut record.own.rotation;
    let (kind, told) = match due {
        Due { expired: true, .. } => (KeyEventKind::Expired, &mut rotation.expired_told),
        Due { near_expiry: true, .. } => (KeyEventKind::NearExpiry, &mut rotation.near_expiry_told),
        Due { .. } => return nothing,
    };
    *told = Some(mark.clone());
    let writes = vec![put(path, record.encode()?)];
    Ok((Decision { writes, version: Some(mark.version.clone()) }, Some((kind, mark))))
}

fn log_failure(name: &ObjectName, result: Result<()>) {
    if let Err(error) = result {
        tracing::warn!(name = name.as_str(), %error, "a key that is due was not rotated or announced; the next round tries again");
    }
}

#[cfg(test)]
#[path = "rotate/tests.rs"]
mod tests;
