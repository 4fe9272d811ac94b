//! The disk is full, over quota or damaged: FAILURES F12, F13, F36.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use valv_tests::{Ledger, Node, until_async};

use crate::plant;

/// A small file system of its own; unmounted when dropped.
struct SmallDisk {
    path: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(size: &str) -> Self {
        let path = tempfile::TempDir::with_prefix("valv-disk-").expect("a temporary directory");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "tmpfs"])
            .arg(path.path())
            .status()
            .expect("mount runs");
        assert!(status.success(), "this test mounts a small tmpfs, which needs root: {status}");
        Self { path }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.path().join(name)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path.path()).status();
    }
}

/// Fills what is left of a file system.
fn fill(file: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::options().create(true).append(true).open(file).expect("a file");
    let block = vec![0x55; 64 * 1024];
    while file.write_all(&block).is_ok() {}
    while file.write_all(&block[..512]).is_ok() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f13_a_full_disk_refuses_writes_keeps_answering_reads_and_heals() {
    let plant = plant();
    let disk = SmallDisk::mount("48m");
    let mut node = Node::with_store(&disk.file("store.redb"));
    node.init();
    node.start();
    node.furnish().await;
    let api = node.api().await;
    let mut ledger = Ledger::default();
    for turn in 0..20 {
        assert!(ledger.set(&api, &format!("before-{turn}"), &format!("{plant}-{turn}")).await);
    }
    fill(&disk.file("ballast"));
    // Some writes may still fit in what the store has; then they are refused, and go on being refused.
    let value = "x".repeat(20_000);
    let refused = until_async("a write to be refused", async || {
        let name = format!("full-{}", uuid::Uuid::new_v4().simple());
        let answer = api.try_send("PUT", &format!("/secrets/{name}"), Some(json!({ "value": value }))).await;
        answer.ok().filter(|answer| answer.status != 200)
    })
    .await;
    let words = refused.refused(507, "InsufficientStorage", None).json()["error"]["message"].to_string();
    assert!(words.contains("full") || words.contains("space") || words.contains("room"), "{words}");
    for turn in 0..20 {
        api.send("GET", &format!("/secrets/before-{turn}"), None).await.expect(200);
    }
    api.send("GET", "/secrets", None).await.expect(200);
    assert_eq!(
        node.health("/readyz").map(|(status, _)| status),
        Some(200),
        "reads are served, so it is ready to read"
    );
    ledger.check(&api).await;

    // A restart on the full disk serves reads as well.
    node.kill();
    node.start();
    ledger.check(&node.api().await).await;

    std::fs::remove_file(disk.file("ballast")).expect("the ballast");
    until_async("writes to work again", async || {
        let answer = api.send("PUT", "/secrets/healed", Some(json!({ "value": "well" }))).await;
        (answer.status == 200).then_some(())
    })
    .await;
    ledger.check(&api).await;
    assert!(node.stop().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f12_over_quota_creations_are_refused_and_deletes_make_room() {
    let mut node = Node::new();
    node.store_settings = "quota_mib = 16\n".to_owned();
    node.init();
    node.start();
    node.furnish().await;
    let api = node.api().await;
    let value = "y".repeat(25_000);
    let mut names = Vec::new();
    let refused = until_async("the quota to be reached", async || {
        let name = format!("fill-{}", names.len());
        let answer = api.send("PUT", &format!("/secrets/{name}"), Some(json!({ "value": value }))).await;
        if answer.status == 200 {
            names.push(name);
            return None;
        }
        Some(answer)
    })
    .await;
    let words = refused.refused(507, "InsufficientStorage", None).json()["error"]["message"].to_string();
    assert!(words.contains("quota"), "{words}");
    assert!(names.len() > 20, "the quota was reached after {} secrets", names.len());
    api.send("GET", &format!("/secrets/{}", names[0]), None).await.expect(200);
    // Deleting and purging go on, all of it, and then there is room again.
    for name in &names {
        api.send("DELETE", &format!("/secrets/{name}"), None).await.expect(200);
        api.send("DELETE", &format!("/deletedsecrets/{name}"), None).await.expect(204);
    }
    until_async("room after the purge", async || {
        let answer = api.send("PUT", "/secrets/again", Some(json!({ "value": value }))).await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert!(node.stop().success());
}

/// Flips bytes all over the store's file while the node is stopped: what it says afterwards is a value that was
/// written or an error, never something else, and never a crash of the process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f36_a_damaged_file_never_gives_a_wrong_value() {
    let plant = plant();
    let mut node = Node::ready().await;
    let api = node.api().await;
    let mut values = Vec::new();
    for turn in 0..40 {
        let value = format!("{plant}-{turn}-{}", "z".repeat(400));
        api.send("PUT", &format!("/secrets/d{turn}"), Some(json!({ "value": value }))).await.expect(200);
        values.push(value);
    }
    assert!(node.stop().success());
    let whole = std::fs::read(node.store()).expect("the store");
    let (mut refused_starts, mut damaged_answers) = (0, 0);
    for round in 0..12_usize {
        let file = std::fs::File::options().write(true).open(node.store()).expect("the store");
        file.write_all_at(&whole, 0).expect("a write");
        file.set_len(whole.len() as u64).expect("a length");
        // Past the header, at a stride that reaches another part of every page in each round.
        for at in (8192 + round * 331..whole.len()).step_by(4096 * 3 + 17) {
            file.write_all_at(&[whole[at] ^ 0x41], at as u64).expect("a write");
        }
        drop(file);
        node.spawn();
        let started = until_async("a start or a refusal", async || {
            if node.process().exited().is_some() {
                return Some(false);
            }
            node.health("/healthz").filter(|(status, _)| *status == 200).map(|_| true)
        })
        .await;
        if !started {
            let said = node.process().output();
            assert!(!said.contains("panicked"), "{said}");
            refused_starts += 1;
            continue;
        }
        let api = node.anonymous().with_token(api.token().map(str::to_owned));
        for (turn, value) in values.iter().enumerate() {
            let answer = api.send("GET", &format!("/secrets/d{turn}"), None).await;
            match answer.status.as_u16() {
                200 => assert_eq!(answer.json()["value"], **value, "a damaged record came back as a value"),
                // The signing key or the vault may be what was hit; 404 would be a lie.
                500 | 503 | 401 => damaged_answers += 1,
                other => panic!("{other} for a damaged store: {answer:?}"),
            }
        }
        node.kill();
    }
    assert!(refused_starts + damaged_answers > 0, "no damage was noticed in 12 rounds");
}
