use std::sync::Mutex;

use valv_crypto::Curve;
use valv_model::{InnerCode, VersionId};

use super::*;
use crate::keys::site::{Site, ec};
use crate::keys::{LifetimeAction, LifetimeActionType};
use crate::objects::records::{Version, versions_prefix};
use crate::testing::{Fault, START, context, request};

const DAY: i64 = 86_400;

fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).unwrap()
}

/// Rotation so long after creation; versions live a year; the end is announced a month ahead.
fn rotates_after(time: &str) -> RotationPolicy {
    let rotate = LifetimeAction {
        action: LifetimeActionType::Rotate,
        time_after_create: Some(time.into()),
        time_before_expiry: None,
    };
    RotationPolicy { lifetime_actions: vec![rotate], expiry_time: Some("P365D".into()) }
}

impl Site {
    async fn rotate(&self, key: &str) -> Result<KeyBundle> {
        rotate(&self.desk(), &self.world.service.pool, &context(), &name(key)).await
    }

    async fn set(&self, key: &str, policy: RotationPolicy) {
        set_policy(&self.desk(), &context(), &name(key), policy).await.unwrap();
    }

    /// All versions, oldest first.
    async fn versions(&self, key: &str) -> Vec<Version<Key>> {
        let range = KeyRange::prefix(versions_prefix::<Key>(&name(key))).limit(100);
        let found = self.desk().read(vec![range]).await.unwrap().remove(0);
        found.into_iter().map(|found| found.decode(Version::<Key>::decode).unwrap()).collect()
    }

    async fn round(&self) {
        self.world.service.lifecycle_round().await.unwrap();
    }

    /// The audit names of the log's commits, as often as they are there.
    fn logged(&self, operation: &str) -> usize {
        let records = self.world.engine.records();
        let logs = records.iter().filter(|(key, _)| String::from_utf8_lossy(key).contains("/log/"));
        let logs = logs.filter_map(|(_, stored)| valv_sealing::LogRecord::decode(stored).ok());
        logs.filter(|record| record.operation == operation && record.caller == "valv").count()
    }
}

/// Hears of events.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Word>>>);

/// An event's name, its version, and that version's end.
type Word = (&'static str, VersionId, i64);

impl Heard {
    fn of(service: &Service) -> Self {
        let heard = Self::default();
        heard.also_of(service);
        heard
    }

    fn also_of(&self, service: &Service) {
        let heard = Arc::clone(&self.0);
        service.on_key_event(move |event| {
            heard.lock().unwrap().push((event.kind.name(), event.version.clone(), event.exp.0));
        });
    }

    fn names(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().iter().map(|(name, ..)| *name).collect()
    }
}

const NEAR: &str = "KeyNearExpiryEventGridNotification";
const EXPIRED: &str = "KeyExpiredEventGridNotification";

#[tokio::test(start_paused = true)]
async fn a_rotated_key_is_another_key_of_the_same_kind_and_its_old_version_stays_as_it_is() {
    let site = Site::new().await;
    let kinds = [
        ("rsa", Generate { size: Some(3072), ..Generate::new(KeyType::RsaHsm) }),
        ("ec", ec(Curve::P384)),
        ("oct", Generate { size: Some(192), ..Generate::new(KeyType::Oct) }),
    ];
    for (key, what) in kinds {
        site.key(key, what).await;
        let before = site.versions(key).await.remove(0);
        let bundle = site.rotate(key).await.unwrap();
        let [old, new] = &site.versions(key).await[..] else { panic!("two versions") };
        assert_eq!(old.head, before.head);
        assert_eq!(*old.value.0, *before.value.0);
        assert_ne!(*new.value.0, *old.value.0, "other material");
        assert_eq!(bundle.item.version, new.head.version);
        assert_eq!(new.head.previous_version, Some(old.head.version.clone()));
        let kind = |detail: &KeyDetail| (detail.kty, detail.bits, detail.public.crv, detail.key_ops.clone());
        assert_eq!(kind(&new.head.detail), kind(&old.head.detail));
        assert_eq!(new.head.tags, old.head.tags);
        assert_eq!((new.head.attributes.exp, new.head.attributes.enabled), (None, true), "no policy, no end");
        let private = PrivateKey::from_stored(&new.value.0).unwrap();
        assert!(is_like(&private, &old.head.detail) && private.public() == new.head.detail.public);

        site.set(key, rotates_after("P90D")).await;
        let bundle = site.rotate(key).await.unwrap();
        assert_eq!(bundle.item.attributes.exp, Some(UnixSeconds(START + 365 * DAY)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_or_switched_off_is_not_rotated() {
    let site = Site::new().await;
    assert_eq!(site.rotate("none").await.unwrap_err().code, ErrorCode::KeyNotFound);
    site.key("ec", ec(Curve::P256)).await;
    let off = AttributesPatch { enabled: Some(false), ..AttributesPatch::default() };
    site.patch("ec", off).await;
    assert_eq!(site.rotate("ec").await.unwrap_err().inner, Some(InnerCode::KeyDisabled));
    assert_eq!(site.versions("ec").await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_of_a_rotation_gets_the_version_that_the_first_try_made() {
    let site = Site::new().await;
    site.key("ec", ec(Curve::P256)).await;
    let pool = &site.world.service.pool;
    let first = rotate(&site.desk(), pool, &request(1), &name("ec")).await.unwrap();
    let again = rotate(&site.desk(), pool, &request(1), &name("ec")).await.unwrap();
    assert_eq!((first.item.version, first.public), (again.item.version, again.public));
    assert_eq!(site.versions("ec").await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_type_was_changed_meanwhile_is_rotated_anew() {
    let site = Site::new().await;
    site.key("key", ec(Curve::P256)).await;
    let key = Arc::new(generate(&ec(Curve::P384)).unwrap());
    let step = rotate_step(name("key"), key, version::draw().unwrap(), Why::Asked);
    let done = site.desk().submit(&context(), step).await.unwrap();
    assert!(matches!(done, Done::Fresh(Rotated::Unlike)));
    assert_eq!(site.versions("key").await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_policy_is_kept_with_the_key_and_answered_as_it_was_written() {
    let site = Site::new().await;
    let missing = policy(&site.desk(), &name("ec")).await.unwrap_err();
    assert_eq!(missing.code, ErrorCode::KeyNotFound);
    let refused = set_policy(&site.desk(), &context(), &name("ec"), rotates_after("P90D")).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::KeyNotFound);
    site.key("Ec", ec(Curve::P256)).await;
    let told = policy(&site.desk(), &name("ec")).await.unwrap();
    assert_eq!((told.policy, told.created, told.updated), (default_policy(), None, None));
    assert_eq!(told.name.as_str(), "Ec");

    let bad = set_policy(&site.desk(), &context(), &name("ec"), rotates_after("P1D")).await.unwrap_err();
    assert_eq!(bad.code, ErrorCode::BadParameter);
    let set = set_policy(&site.desk(), &request(1), &name("ec"), rotates_after("P90D")).await.unwrap();
    assert_eq!(set.policy.lifetime_actions.len(), 2, "with the announcement");
    assert_eq!((set.created, set.updated), (Some(UnixSeconds(START)), Some(UnixSeconds(START))));
    site.world.clock.advance(60);
    let retried = set_policy(&site.desk(), &request(1), &name("ec"), rotates_after("P90D")).await.unwrap();
    assert_eq!(retried, set);
    site.set("ec", rotates_after("P3M")).await;
    site.rotate("ec").await.unwrap();
    let told = policy(&site.desk(), &name("ec")).await.unwrap();
    assert_eq!(told.policy.lifetime_actions[0].time_after_create.as_deref(), Some("P3M"));
    assert_eq!((told.created, told.updated), (set.created, Some(UnixSeconds(START + 60))));
    let lost = set_policy(&site.desk(), &request(1), &name("ec"), rotates_after("P90D")).await.unwrap_err();
    assert_eq!(lost.code, ErrorCode::Conflict, "another request came between");
}

#[tokio::test(start_paused = true)]
async fn a_round_rotates_what_is_due_in_its_second_and_once() {
    let site = Site::new().await;
    site.round().await;
    for (key, after) in [("a", "P30D"), ("b", "P31D"), ("c", "P30D")] {
        site.key(key, ec(Curve::P256)).await;
        site.set(key, rotates_after(after)).await;
    }
    site.key("without", ec(Curve::P256)).await;
    let off = AttributesPatch { enabled: Some(false), ..AttributesPatch::default() };
    site.patch("c", off).await;
    let counts = async || {
        let mut counts = Vec::new();
        for key in ["a", "b", "c", "without"] {
            counts.push(site.versions(key).await.len());
        }
        counts
    };
    site.world.clock.advance(30 * DAY - 1);
    site.round().await;
    assert_eq!(counts().await, [1, 1, 1, 1]);
    site.world.clock.advance(1);
    site.round().await;
    site.round().await;
    assert_eq!(counts().await, [2, 1, 1, 1]);
    assert_eq!(site.logged("KeyRotateIfDue"), 1);
    let new = site.versions("a").await.remove(1).head.attributes;
    assert_eq!(new.exp, Some(UnixSeconds(START + 395 * DAY)));
    for _ in 0..3 {
        site.world.clock.advance(30 * DAY);
        site.round().await;
    }
    assert_eq!(counts().await, [5, 3, 1, 1]);
    site.rotate("a").await.unwrap();
    assert_eq!(site.logged("KeyRotate"), 0, "that was somebody's");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_key_is_announced_when_it_is_near_and_when_it_has_come_once_each() {
    let mut site = Site::new().await;
    site.round().await;
    let version = site.key("ec", ec(Curve::P256)).await;
    let exp = START + 90 * DAY;
    site.patch("ec", AttributesPatch { exp: Some(UnixSeconds(exp)), ..AttributesPatch::default() }).await;
    let heard = Heard::of(&site.world.service);
    site.world.clock.advance(60 * DAY - 1);
    site.round().await;
    assert!(heard.names().is_empty(), "a second early");
    site.world.clock.advance(1);
    site.round().await;
    site.round().await;
    assert_eq!(*heard.0.lock().unwrap(), [(NEAR, version.clone(), exp)]);

    site.world.restart().await;
    heard.also_of(&site.world.service);
    site.round().await;
    assert_eq!(heard.names(), [NEAR], "known after a restart");
    let moved = exp + 5 * DAY;
    site.patch("ec", AttributesPatch { exp: Some(UnixSeconds(moved)), ..AttributesPatch::default() }).await;
    site.world.clock.advance(5 * DAY);
    site.round().await;
    assert_eq!(heard.names(), [NEAR, NEAR], "another end");
    // A day at a time: a node that was away for longer doubts its clock.
    site.world.clock.advance(30 * DAY);
    site.round().await;
    site.round().await;
    assert_eq!(heard.names(), [NEAR, NEAR, EXPIRED]);
    assert_eq!(heard.0.lock().unwrap()[2], (EXPIRED, version, moved));
}

#[tokio::test(start_paused = true)]
async fn f31_with_a_clock_in_doubt_nothing_is_rotated_and_nothing_announced() {
    let site = Site::new().await;
    site.round().await;
    for key in ["rotated", "announced"] {
        site.key(key, ec(Curve::P256)).await;
    }
    site.set("rotated", rotates_after("P30D")).await;
    let exp = Some(UnixSeconds(START + 90 * DAY));
    site.patch("announced", AttributesPatch { exp, ..AttributesPatch::default() }).await;
    let heard = Heard::of(&site.world.service);
    site.world.clock.jump(80 * DAY);
    site.round().await;
    assert_eq!((site.versions("rotated").await.len(), heard.names().len()), (1, 0));
    for _ in 0..25 {
        site.world.clock.advance(3_600);
        site.round().await;
    }
    assert_eq!((site.versions("rotated").await.len(), heard.names().len()), (2, 1), "believed after a day");
}

#[tokio::test(start_paused = true)]
async fn two_nodes_whose_rounds_run_at_once_do_everything_once() {
    let site = Site::new().await;
    site.round().await;
    let keys: Vec<String> = (0..20).map(|number| format!("key{number}")).collect();
    for key in &keys {
        site.key(key, ec(Curve::P256)).await;
        site.set(key, rotates_after("P30D")).await;
    }
    site.key("ends", ec(Curve::P256)).await;
    let exp = Some(UnixSeconds(START + 40 * DAY));
    site.patch("ends", AttributesPatch { exp, ..AttributesPatch::default() }).await;

    let nodes =
        [Arc::clone(&site.world.service), site.world.another_node().await, site.world.another_node().await];
    let heard = Heard::default();
    for node in &nodes {
        node.lifecycle_round().await.unwrap();
        heard.also_of(node);
    }
    site.world.clock.advance(30 * DAY);
    let rounds = nodes.iter().map(|node| {
        let node = Arc::clone(node);
        tokio::spawn(async move { node.lifecycle_round().await })
    });
    for round in rounds.collect::<Vec<_>>() {
        round.await.unwrap().unwrap();
    }
    for key in &keys {
        assert_eq!(site.versions(key).await.len(), 2, "{key}");
    }
    assert_eq!(site.logged("KeyRotateIfDue"), 20);
    assert_eq!(heard.names(), [NEAR]);
}

#[tokio::test(start_paused = true)]
async fn a_round_that_is_killed_at_any_commit_is_ended_by_the_next_one_and_does_nothing_twice() {
    for (kill_at, fault) in
        (0..3).flat_map(|at| [(at, Fault::CrashBefore), (at, Fault::CrashAfter), (at, Fault::Lost)])
    {
        let mut site = Site::new().await;
        site.round().await;
        site.key("a", ec(Curve::P256)).await;
        site.set("a", rotates_after("P30D")).await;
        site.key("b", ec(Curve::P256)).await;
        let exp = Some(UnixSeconds(START + 40 * DAY));
        site.patch("b", AttributesPatch { exp, ..AttributesPatch::default() }).await;
        site.world.clock.advance(30 * DAY);
        let heard = Heard::of(&site.world.service);
        let mut faults = vec![Fault::None; kill_at];
        faults.push(fault.clone());
        site.world.engine.faults.lock().unwrap().extend(faults);
        let (service, engine) = (Arc::clone(&site.world.service), Arc::clone(&site.world.engine));
        let round = tokio::spawn(async move { service.lifecycle_round().await });
        let ended = async {
            // Time that is paused passes only while everybody sleeps.
            while !round.is_finished() && !engine.is_dead() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap();
        round.abort();

        site.world.restart().await;
        heard.also_of(&site.world.service);
        // After a month away the clock is in doubt; a day of rounds settles it.
        for _ in 0..26 {
            site.world.clock.advance(3_600);
            site.round().await;
        }
        assert_eq!(site.versions("a").await.len(), 2, "{fault:?} at commit {kill_at}");
        let names = heard.names();
        // The one case in which an event is lost: its node died between the commit of the mark and the call.
        let may_be_lost = fault == Fault::CrashAfter;
        assert!(
            names == [NEAR] || (may_be_lost && names.is_empty()),
            "{fault:?} at commit {kill_at}: {names:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_key_does_not_keep_the_others_from_being_rotated() {
    let site = Site::new().await;
    site.round().await;
    for key in ["a", "b"] {
        site.key(key, ec(Curve::P256)).await;
        site.set(key, rotates_after("P30D")).await;
    }
    let records = site.world.engine.records();
    let (key, stored) = records.iter().find(|(key, _)| key.ends_with(b"/keys/A")).unwrap();
    let mut damaged = stored.to_vec();
    damaged[20] ^= 1;
    site.world.engine.put(key.clone(), damaged.into());
    site.world.clock.advance(30 * DAY);
    site.round().await;
    assert_eq!(site.versions("b").await.len(), 2);
}
