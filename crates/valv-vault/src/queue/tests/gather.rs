use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::future::join_all;
use valv_engine::{CommitError, Op, layout};
use valv_model::{ErrorCode, Operation};
use valv_sealing::RecordKind;

use super::*;
use crate::ServiceSettings;
use crate::testing::{context, name, settings, until};

#[tokio::test]
async fn concurrent_writers_of_one_vault_are_gathered() {
    let world = World::new().await;
    let vault = world.vault("dev").await;
    let before = world.engine.commits.load(Ordering::SeqCst);
    let gate = world.engine.close_gate();
    let writers: Vec<_> =
        (0..64).map(|n| spawn(&world, &vault, context(), append("list", &n.to_string()))).collect();
    // The first commit stands at the gate while the others come.
    let arrived = || world.engine.arrived.load(Ordering::SeqCst);
    let first = arrived();
    until(|| arrived() > first.min(before)).await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(1000);
    let mut positions: Vec<_> =
        join_all(writers).await.into_iter().map(|c| position(&c.unwrap().unwrap())).collect();
    positions.sort_unstable();
    assert_eq!(positions, (0..64).collect::<Vec<_>>(), "each saw all before it");
    let commits = world.engine.commits.load(Ordering::SeqCst) - before;
    assert!(commits <= 64 / 4, "{commits} commits for 64 writers");
    assert_eq!(check_log(&world, &vault), 65, "one log record per change");
}

#[tokio::test]
async fn large_changes_are_spread_over_commits_and_one_too_large_is_refused() {
    let world = World::new().await;
    let vault = world.vault("dev").await;
    let gate = world.engine.close_gate();
    let large = |n: usize, bytes: usize| {
        blind(Operation::SecretSet, move || vec![put(&format!("p{n}"), &"x".repeat(bytes))])
    };
    let mut writers: Vec<_> = (0..20).map(|n| spawn(&world, &vault, context(), large(n, 100_000))).collect();
    let many = blind(Operation::SecretSet, || (0..119).map(|n| put(&format!("q{n}"), "x")).collect());
    writers.push(spawn(&world, &vault, context(), many));
    writers.push(spawn(&world, &vault, context(), large(20, 400_000)));
    writers.push(spawn(&world, &vault, context(), large(21, 100)));
    gate.add_permits(1000);
    let done = join_all(writers).await;
    let code = |at: usize| done[at].as_ref().unwrap().as_ref().map_err(|e| e.code).err();
    assert!((0..20).all(|n| code(n).is_none()));
    assert_eq!(
        (code(20), code(21), code(22)),
        (Some(ErrorCode::PayloadTooLarge), Some(ErrorCode::PayloadTooLarge), None)
    );
    assert_eq!(check_log(&world, &vault), 22);
    // The largest that fits: head and log record beside 118 writes.
    let most = blind(Operation::SecretSet, || (0..118).map(|n| put(&format!("r{n}"), "x")).collect());
    world.service.submit(&vault, &context(), most).await.unwrap();
}

#[tokio::test]
async fn f36_a_damaged_record_fails_its_own_change_only() {
    let world = World::new().await;
    let vault = world.vault("dev").await;
    for path in ["a", "b"] {
        world.service.submit(&vault, &context(), append(path, "one")).await.unwrap();
    }
    let mut key = layout::data(&vault.group, &vault.state.envelope.id, 1).to_vec();
    key.push(b'a');
    world.engine.put(key.into(), "damaged".into());
    let gate = world.engine.close_gate();
    let writers = ["b", "a", "b"].map(|path| spawn(&world, &vault, context(), append(path, "two")));
    gate.add_permits(1000);
    let done = join_all(writers).await;
    let error = done[1].as_ref().unwrap().as_ref().unwrap_err();
    assert_eq!(error.code, ErrorCode::InternalError);
    assert!(done[0].as_ref().unwrap().is_ok() && done[2].as_ref().unwrap().is_ok());
    assert_eq!(stored(&world, &vault, "b").await.unwrap(), "one two two ");
}

#[tokio::test]
async fn a_later_change_sees_what_an_earlier_one_of_its_batch_wrote() {
    let world = World::new().await;
    let vault = world.vault("dev").await;
    let setup = blind(Operation::SecretSet, || vec![put("v/1", "1"), put("v/2", "2"), put("v/3", "3")]);
    world.service.submit(&vault, &context(), setup).await.unwrap();
    let gate = world.engine.close_gate();
    let seen = |what: fn(&State<'_>) -> Result<String>, writes: fn() -> Vec<Write>| {
        let needs = vec![
            Need::Last("v/".into()),
            Need::Prefix { prefix: "v/".into(), limit: 2 },
            Need::Record("v/2".into()),
        ];
        let decide = Box::new(move |state: &State<'_>| {
            let seen = what(state)?;
            let mut bytes = [0; 16];
            bytes[..seen.len()].copy_from_slice(seen.as_bytes());
            Ok(Decision { writes: writes(), version: Some(VersionId::from_bytes(bytes)) })
        });
        Change { operation: Operation::SecretSet, needs, decide }
    };
    fn last(state: &State<'_>) -> Result<String> {
        Ok(state.last("v/", RecordKind::Secret)?.map(|(path, _)| path).unwrap_or_default())
    }
    fn list(state: &State<'_>) -> Result<String> {
        Ok(state.list("v/", RecordKind::Secret)?.into_iter().map(|(path, _)| path).collect())
    }
    let steps = [
        seen(last, || vec![put("v/4", "4")]),
        seen(last, || vec![Write::Delete { path: "v/4".into() }]),
        seen(last, || vec![Write::Delete { path: "v/3".into() }]),
        seen(last, || vec![Write::Delete { path: "v/1".into() }]),
        seen(list, || vec![put("v/0", "0")]),
        seen(list, || vec![put("v/5", "5")]),
        seen(last, Vec::new),
    ];
    let steps = steps.map(|change| spawn(&world, &vault, context(), change));
    gate.add_permits(1000);
    let seen: Vec<String> = join_all(steps)
        .await
        .into_iter()
        .map(|done| {
            let version = done.unwrap().unwrap().version.unwrap();
            let bytes = u128::from_str_radix(version.as_str(), 16).unwrap().to_be_bytes();
            String::from_utf8(bytes.to_vec()).unwrap().trim_end_matches('\0').to_owned()
        })
        .collect();
    assert_eq!(seen, ["v/3", "v/4", "v/3", "v/2", "v/2", "v/0v/2", "v/5"]);
}

#[tokio::test]
async fn f39_a_full_queue_throttles() {
    let world = World::with(ServiceSettings { queue_len: 4, ..settings() }).await;
    let vault = world.vault("dev").await;
    let gate = world.engine.close_gate();
    let arrived = || world.engine.arrived.load(Ordering::SeqCst);
    let before = arrived();
    let mut writers = vec![spawn(&world, &vault, context(), append("list", "first"))];
    until(|| arrived() > before).await;
    for n in 0..64 {
        writers.push(spawn(&world, &vault, context(), append("list", &n.to_string())));
    }
    tokio::task::yield_now().await;
    gate.add_permits(1000);
    let done: Vec<_> = join_all(writers).await.into_iter().map(|done| done.unwrap()).collect();
    let refused: Vec<_> = done.iter().filter_map(|done| done.as_ref().err()).collect();
    assert!(refused.iter().all(|error| error.code == ErrorCode::Throttled && error.retry_after_s == Some(1)));
    assert!(refused.len() >= 64 - 8, "{} refused", refused.len());
    let list = stored(&world, &vault, "list").await.unwrap();
    assert_eq!(words(&list).len(), done.len() - refused.len());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_before_the_send_means_nothing_happens_after_it_means_unknown() {
    let world = World::new().await;
    let vault = world.vault("dev").await;
    let gate = world.engine.close_gate();
    let soon = || WriteContext { deadline: Instant::now() + Duration::from_millis(50), ..context() };
    let arrived = || world.engine.arrived.load(Ordering::SeqCst);
    let before = arrived();
    let sent = spawn(&world, &vault, soon(), append("list", "sent"));
    until(|| arrived() > before).await;
    let waiting = spawn(&world, &vault, soon(), append("list", "waiting"));
    let error = sent.await.unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::UnknownOutcome);
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::ServiceUnavailable);
    let late = WriteContext { deadline: Instant::now(), ..context() };
    let late = world.service.submit(&vault, &late, append("list", "late")).await.unwrap_err();
    assert_eq!(late.code, ErrorCode::ServiceUnavailable);
    gate.add_permits(1000);
    world.service.submit(&vault, &context(), append("list", "after")).await.unwrap();
    assert_eq!(stored(&world, &vault, "list").await.unwrap(), "sent after ");
}

#[tokio::test]
async fn f12_a_full_store_refuses_creations_and_takes_deletions_gathered_with_them() {
    let world = World::new().await;
    let vault = world.vault("dev").await;
    world
        .service
        .submit(&vault, &context(), blind(Operation::SecretSet, || vec![put("old", "x")]))
        .await
        .unwrap();
    let creates = |op: &Op| matches!(op, Op::Put(key, _) if key.ends_with(b"/new"));
    *world.engine.refuse.lock().unwrap() = Some(Box::new(move |transaction| {
        let full = transaction.ops.iter().any(creates);
        full.then(|| CommitError::Full("the quota of 16 MiB is reached".into()))
    }));
    let gate = world.engine.close_gate();
    let writers = [
        spawn(&world, &vault, context(), blind(Operation::SecretSet, || vec![put("new", "x")])),
        spawn(
            &world,
            &vault,
            context(),
            blind(Operation::SecretPurge, || vec![Write::Delete { path: "old".into() }]),
        ),
        spawn(&world, &vault, context(), blind(Operation::SecretSet, || vec![put("new", "y")])),
    ];
    gate.add_permits(1000);
    let done: Vec<_> = join_all(writers).await.into_iter().map(|done| done.unwrap()).collect();
    for at in [0, 2] {
        let error = done[at].as_ref().unwrap_err();
        assert_eq!(error.code, ErrorCode::InsufficientStorage);
        assert!(error.message.contains("quota of 16 MiB"), "{error}");
    }
    assert!(done[1].is_ok());
    assert_eq!((stored(&world, &vault, "old").await, stored(&world, &vault, "new").await), (None, None));
}

#[tokio::test]
async fn an_error_from_a_decision_concerns_that_change_and_a_decision_without_writes_commits_nothing() {
    let world = World::new().await;
    let vault = world.vault("dev").await;
    let before = world.engine.commits.load(Ordering::SeqCst);
    let nothing = blind(Operation::SecretSet, Vec::new);
    let done = world.service.submit(&vault, &context(), nothing).await.unwrap();
    assert_eq!((done.number, done.replayed), (1, false));
    let decide = Box::new(|_: &State<'_>| Err(valv_model::Error::bad("no")));
    let refused = Change { operation: Operation::SecretSet, needs: Vec::new(), decide };
    assert_eq!(world.service.submit(&vault, &context(), refused).await.unwrap_err().message, "no");
    assert_eq!(world.engine.commits.load(Ordering::SeqCst), before);
}

#[tokio::test]
async fn shutting_down_finishes_what_waits_and_refuses_what_comes() {
    let world = World::new().await;
    let vault = world.vault("dev").await;
    let gate = world.engine.close_gate();
    let writers: Vec<_> =
        (0..10).map(|n| spawn(&world, &vault, context(), append("list", &n.to_string()))).collect();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(1000);
    world.service.shut_down().await;
    assert!(join_all(writers).await.into_iter().all(|done| done.unwrap().is_ok()));
    let error = world.service.submit(&vault, &context(), append("list", "late")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ServiceUnavailable);
    let _ = name("dev");
}
