//! Valv from outside: real processes, real clients, nothing mocked. One binary, so that all share one link.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test ends by panicking")]
#![allow(clippy::print_stdout, reason = "the test runner shows it")]

mod admin;
mod algorithms;
mod certificates;
mod clock;
mod examples;
mod faults_disk;
mod faults_keys;
mod faults_process;
mod identity;
mod limits;
mod pair_copies;
mod pair_lost;
mod pair_network;
mod pair_rights;
mod permissions;
mod region;
mod rehearsal;
mod routes;
mod sdk_failover;
mod sdk_js;
mod sdk_python;
mod sdk_rust;
mod stalled;
mod token;
mod wire;
mod wire_keys;

use serde_json::json;
use valv_tests::{Api, Dev, scan};

/// What every value stored by a client program begins with; random, so that a find is no chance.
fn plant() -> String {
    format!("planted-{}", uuid::Uuid::new_v4().simple())
}

/// The larger count where `VALV_TEST_LONG` asks for long tests, the smaller one otherwise.
fn long<T>(many: T, few: T) -> T {
    if std::env::var_os("VALV_TEST_LONG").is_some() { many } else { few }
}

/// After the clients have gone: stops the server, which must end well, and looks for what they stored
/// in every file and log. The client secret may stand in the file that hands it to the user, nowhere else.
fn stop_and_scan(mut dev: Dev, needles: &[&str]) {
    let secret = dev.var("AZURE_CLIENT_SECRET").to_owned();
    let status = dev.stop();
    assert!(status.success(), "Ctrl-C ended the server with {status}\n{}", dev.process().output());
    let read = scan::assert_nowhere(dev.root(), needles, &[]);
    assert!(read >= 3, "the search looked at {read} files only");
    // `valv dev` prints what it writes to dev.env, and keeps it for its next start.
    scan::assert_nowhere(dev.root(), &[&secret], &["dev.env", "admin.env", "valv-dev.stdout"]);
}

/// The vault `crypto`, whose access policies decide: its keeper may do everything with keys, and the other client
/// has the words for cryptography and none to read a key. What an SDK does there, the service did.
async fn crypto_vault(admin: &Api) -> (Client, Client) {
    valv_tests::create_vault(admin, "crypto", json!({ "enableRbacAuthorization": false })).await;
    let (keeper, crypto) = (client(admin, "keeper").await, client(admin, "crypto").await);
    let cryptography = ["encrypt", "decrypt", "wrapKey", "unwrapKey", "sign", "verify"];
    for (client, words) in [(&keeper, &["all"][..]), (&crypto, &cryptography)] {
        let path = format!("/admin/vaults/crypto/accesspolicies/{}", client.principal);
        admin.send("PUT", &path, Some(json!({ "permissions": { "keys": words } }))).await.expect(200);
    }
    (keeper, crypto)
}

/// A client of the built-in issuer.
struct Client {
    id: String,
    secret: String,
    principal: String,
}

impl Client {
    /// Id and secret in one variable.
    fn pair(&self) -> String {
        format!("{}:{}", self.id, self.secret)
    }
}

/// Registers a client, which may do nothing yet.
async fn client(admin: &Api, name: &str) -> Client {
    let id = uuid::Uuid::new_v4().to_string();
    let body = json!({ "displayName": name, "generateSecret": true });
    let made = admin.send("PUT", &format!("/admin/clients/{id}"), Some(body)).await.expect(200).json();
    let text = |member: &str| made[member].as_str().unwrap_or_else(|| panic!("no {member}")).to_owned();
    assert_eq!(text("clientId"), id);
    Client { id, secret: text("secret"), principal: text("objectId") }
}
