//! azure_security_keyvault_secrets, azure_security_keyvault_keys and azure_identity for Rust.

use valv_tests::{Dev, clients};

use crate::{client, plant, stop_and_scan};

#[tokio::test]
async fn rust_sdk() {
    let dev = Dev::start();
    let plant = plant();
    let nobody = client(&dev.api().await, "nobody").await.pair();
    let endpoint = format!("{}/msi/token", dev.var("AZURE_AUTHORITY_HOST").trim_end_matches('/'));
    let header = format!("{}:{}", dev.var("AZURE_CLIENT_ID"), dev.var("AZURE_CLIENT_SECRET"));
    let variables = [
        ("VALV_PLANT", plant.as_str()),
        ("VALV_NOBODY", &nobody),
        // Only the managed identity's credential looks at these two.
        ("IDENTITY_ENDPOINT", &endpoint),
        ("IDENTITY_HEADER", &header),
    ];
    clients::rust(&dev, env!("CARGO_BIN_EXE_valv-test-rust-sdk"), &variables);
    stop_and_scan(dev, &[&plant]);
}
