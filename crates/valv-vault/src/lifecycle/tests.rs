//! Rounds over a whole service, on a clock that is moved by hand.

use valv_engine::layout;
use valv_model::{ErrorCode, Operation};
use valv_sealing::{Keyring, RootKeys};

use super::*;
use crate::testing::{Fault, World, both_root_keys, context, name, plaintext, root_key};
use crate::vaults::VaultPut;

const DAY: i64 = 86_400;

/// Writes one record into a vault.
async fn write(world: &World, vault: &Vault) {
    let decide = Box::new(|_: &State<'_>| {
        let put =
            Write::Put { path: "secrets/A".into(), kind: RecordKind::Secret, plaintext: plaintext("x") };
        Ok(Decision { writes: vec![put], version: None })
    });
    let change = Change { operation: Operation::SecretSet, needs: Vec::new(), decide };
    world.service.submit(vault, &context(), change).await.unwrap();
}

/// A round, and all that it started.
async fn round(world: &World) {
    world.service.lifecycle_round().await.unwrap();
}

/// Everything stored of a vault but its head.
fn left_of(world: &World, vault: &Vault) -> Vec<String> {
    let id = vault.state.envelope.id.as_str().to_owned();
    let head = layout::head(&vault.group, &vault.state.envelope.id);
    let records = world.engine.records();
    let keys =
        records.keys().filter(|key| **key != head).map(|key| String::from_utf8_lossy(key).into_owned());
    keys.filter(|key| key.contains(&id)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_deleted_vault_keeps_its_name_until_its_time_and_leaves_only_its_head() {
    let world = World::new().await;
    let vault = world.vault("dev").await;
    write(&world, &vault).await;
    round(&world).await;
    world.service.delete_vault(&context(), &name("dev")).await.unwrap();
    let taken =
        world.service.put_vault(&context(), &name("dev"), VaultPut::default(), Ok(())).await.unwrap_err();
    assert_eq!(taken.code, ErrorCode::Conflict);
    assert!(world.service.look(Some(&name("dev"))).await.unwrap().vault.is_none());

    world.clock.advance(90 * DAY - 1);
    round(&world).await;
    assert_eq!(world.service.vaults(true).await.unwrap().len(), 1, "a second early");
    world.clock.advance(1);
    round(&world).await;
    assert_eq!(world.service.vaults(true).await.unwrap().len(), 0);
    // The log is kept for as long as retries are answered from it.
    world.clock.advance(DAY);
    round(&world).await;
    assert_eq!(left_of(&world, &vault), Vec::<String>::new());
    let head = layout::head(&vault.group, &vault.state.envelope.id);
    assert!(world.engine.records().contains_key(&head), "its numbers go on");
    let again = world.vault("dev").await;
    assert_ne!(again.state.envelope.id, vault.state.envelope.id);
}

#[tokio::test(start_paused = true)]
async fn a_recovered_vault_has_all_it_had() {
    let world = World::new().await;
    let vault = world.vault("dev").await;
    write(&world, &vault).await;
    world.service.delete_vault(&context(), &name("dev")).await.unwrap();
    let before = left_of(&world, &vault).len();
    world.service.recover_vault(&context(), &name("dev")).await.unwrap();
    let back = world.service.look(Some(&name("dev"))).await.unwrap().vault.unwrap();
    assert_eq!(back.state.envelope.id, vault.state.envelope.id);
    assert_eq!(left_of(&world, &vault).len(), before + 1, "one log record more");
    round(&world).await;
    world.clock.advance(200 * DAY);
    round(&world).await;
    assert!(world.service.look(Some(&name("dev"))).await.unwrap().vault.is_some(), "no longer scheduled");
}

#[tokio::test(start_paused = true)]
async fn f31_a_clock_that_jumps_ahead_or_a_long_absence_purges_nothing_for_a_day() {
    let mut world = World::new().await;
    world.vault("dev").await;
    round(&world).await;
    world.service.delete_vault(&context(), &name("dev")).await.unwrap();
    world.clock.jump(100 * DAY);
    round(&world).await;
    assert_eq!(world.service.vaults(true).await.unwrap().len(), 1, "the clock jumped");
    world.clock.jump(-100 * DAY);
    round(&world).await;
    world.restart().await;
    world.clock.jump(95 * DAY);
    round(&world).await;
    assert_eq!(
        world.service.vaults(true).await.unwrap().len(),
        1,
        "a start far from the time that was recorded"
    );
    for _ in 0..24 {
        world.clock.advance(3599);
        round(&world).await;
    }
    assert_eq!(world.service.vaults(true).await.unwrap().len(), 1, "not a day yet");
    world.clock.advance(100);
    round(&world).await;
    assert_eq!(world.service.vaults(true).await.unwrap().len(), 0, "even for a day: believed");
}

#[tokio::test(start_paused = true)]
async fn f33_a_rotated_root_key_opens_all_alone_and_rotating_again_changes_nothing() {
    let mut world = World::new().await;
    let (live, deleted) = (world.vault("live").await, world.vault("gone").await);
    write(&world, &live).await;
    write(&world, &deleted).await;
    world.service.delete_vault(&context(), &name("gone")).await.unwrap();
    let before = world.keyring.root_keys().current().id().clone();

    let line = RootKeys::generate().unwrap();
    let source = |line: &zeroize::Zeroizing<String>| valv_sealing::RootKeySource::Text {
        variable: "NEW".into(),
        line: line.clone(),
    };
    // The old key is still needed to unwrap: a set of both, the new one first.
    let both = both_root_keys(&source(&line), &world.keyring);
    world.keyring.replace_root_keys(both);
    assert_eq!(world.service.rotate_root_key(&context()).await.unwrap(), 3, "two vaults and the system's");
    assert_eq!(world.service.rotate_root_key(&context()).await.unwrap(), 0);

    world.keyring = std::sync::Arc::new(Keyring::new(RootKeys::load(&[source(&line)]).unwrap()));
    world.restart().await;
    let seen = world.service.look(Some(&name("live"))).await.unwrap().vault.unwrap();
    write(&world, &seen).await;
    world.service.recover_vault(&context(), &name("gone")).await.unwrap();
    assert_ne!(*world.keyring.root_keys().current().id(), before);
    // A root key that the store is not under is refused.
    let stranger = std::sync::Arc::new(Keyring::new(RootKeys::load(&[root_key()]).unwrap()));
    let engine = std::sync::Arc::clone(&world.engine) as std::sync::Arc<dyn valv_engine::Engine>;
    assert!(valv_sealing::Barrier::open(engine, stranger).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn f02_a_purge_that_a_crash_interrupted_is_finished_by_a_later_round() {
    let mut world = World::new().await;
    let (vault, other) = (world.vault("dev").await, world.vault("other").await);
    write(&world, &other).await;
    let fill = |state: &State<'_>| {
        let put = |n: usize| Write::Put {
            path: format!("secrets/{n:03}"),
            kind: RecordKind::Secret,
            plaintext: plaintext(&state.now_ms().to_string()),
        };
        Ok(Decision { writes: (0..110).map(put).collect(), version: None })
    };
    let change = Change { operation: Operation::SecretSet, needs: Vec::new(), decide: Box::new(fill) };
    world.service.submit(&vault, &context(), change).await.unwrap();
    world.service.delete_vault(&context(), &name("dev")).await.unwrap();
    let (others, whole) = (left_of(&world, &other), left_of(&world, &vault).len());
    // The purge itself, one step of the removal, and then the process is gone.
    world.engine.faults.lock().unwrap().extend([Fault::None, Fault::None, Fault::CrashBefore]);
    world.service.purge_vault(&context(), &name("dev"), Purge::Asked).await.unwrap();
    crate::testing::until(|| world.engine.faults.lock().unwrap().is_empty()).await;
    let left = left_of(&world, &vault).len();
    assert!(left > 1 && left < whole, "{left} of {whole}");
    world.restart().await;
    round(&world).await;
    let left = left_of(&world, &vault);
    assert!(left.iter().all(|key| key.contains("/log/")) && left.len() == 1, "{left:?}");
    assert_eq!(left_of(&world, &other), others);
}

#[tokio::test(start_paused = true)]
async fn a_log_beyond_its_bounds_is_trimmed_while_the_vault_is_written() {
    let settings = crate::ServiceSettings { log_commits_max: 50, ..crate::testing::settings() };
    let world = World::with(settings).await;
    let vault = world.vault("dev").await;
    for _ in 0..400 {
        write(&world, &vault).await;
    }
    let logs = || left_of(&world, &vault).into_iter().filter(|key| key.contains("/log/")).count();
    crate::testing::until(|| logs() <= 150).await;
    round(&world).await;
    assert_eq!(logs(), 50);
    world.clock.advance(2 * 3600);
    round(&world).await;
    assert_eq!(logs(), 0, "older than the log's age");
    write(&world, &vault).await;
    assert_eq!(logs(), 1);
}
