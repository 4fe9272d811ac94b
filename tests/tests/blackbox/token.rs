//! A node whose root key is in a PKCS#11 token (SoftHSM), set up as docs/deploy.md says.

use std::process::Command;

use valv_tests::{Ledger, Node, scan};

use crate::plant;

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "correct-horse-7319";
const SOURCE: &str = "{ pkcs11 = \"/usr/lib/softhsm/libsofthsm2.so\", token = \"valv\", key = \"root\", pin_variable = \"VALV_PIN\" }";

/// A SoftHSM of the node's own with a token and the key `root`. Returns the variable that says where.
fn token(node: &Node) -> (String, String) {
    let tokens = node.root().join("tokens");
    let configuration = node.root().join("softhsm2.conf");
    std::fs::create_dir(&tokens).expect("a writable directory");
    std::fs::write(&configuration, format!("directories.tokendir = {}\n", tokens.display()))
        .expect("a writable directory");
    let variable = ("SOFTHSM2_CONF".to_owned(), configuration.display().to_string());
    let run = |command: &mut Command| {
        let output = command.env(&variable.0, &variable.1).output().expect("it is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    };
    let init = ["--init-token", "--free", "--label", "valv", "--so-pin", "12345678", "--pin", PIN];
    run(Command::new("softhsm2-util").args(init));
    run(Command::new("pkcs11-tool").args(["--module", MODULE, "--token-label", "valv", "--login"]).args([
        "--pin",
        PIN,
        "--keygen",
        "--key-type",
        "AES:32",
        "--label",
        "root",
        "--sensitive",
        "--private",
    ]));
    variable
}

/// Starts the node, which must end by itself; what it said.
fn refusal(node: &mut Node) -> String {
    node.spawn();
    let status = node.process().wait();
    let said = node.process().output();
    assert!(!status.success(), "it did not refuse:\n{said}");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_runs_on_a_token_and_refuses_to_start_without_its_pin() {
    let plant = plant();
    let mut node = Node::new();
    let softhsm = token(&node);
    let variables = |pin: &str| vec![softhsm.clone(), ("VALV_PIN".to_owned(), pin.to_owned())];
    node.root_keys = vec![SOURCE.to_owned()];
    node.variables = variables(PIN);
    node.init();
    node.start();
    node.furnish().await;
    let mut ledger = Ledger::default();
    assert!(ledger.set(&node.api().await, "one", &format!("{plant}-one")).await);
    assert!(node.stop().success());
    node.start();
    ledger.check(&node.api().await).await;
    assert!(ledger.set(&node.api().await, "two", &format!("{plant}-two")).await);
    node.kill();

    node.variables = vec![softhsm.clone()];
    let said = refusal(&mut node);
    assert!(said.contains("VALV_PIN is not set or empty; put the token's user PIN there"), "{said}");
    node.variables = variables("battery-staple-4402");
    let said = refusal(&mut node);
    assert!(said.contains("the token refuses the PIN in the environment variable VALV_PIN"), "{said}");

    // From the token to a file while serving, and on without the token.
    node.variables = variables(PIN);
    node.start();
    node.generate_root_key("file.key");
    node.root_keys = vec!["file.key".to_owned(), SOURCE.to_owned()];
    node.configure();
    node.administer(&["key", "rotate"]);
    ledger.check(&node.api().await).await;
    assert!(node.stop().success());
    node.root_keys = vec!["file.key".to_owned()];
    node.variables = Vec::new();
    node.start();
    ledger.check(&node.api().await).await;

    // And back again.
    assert!(node.stop().success());
    node.root_keys = vec![SOURCE.to_owned(), "file.key".to_owned()];
    node.variables = variables(PIN);
    node.start();
    node.administer(&["key", "rotate"]);
    assert!(node.stop().success());
    node.root_keys = vec![SOURCE.to_owned()];
    node.start();
    ledger.check(&node.api().await).await;
    assert!(node.stop().success());
    scan::assert_nowhere(node.root(), &[&plant, PIN, "battery-staple-4402"], &[]);
}
