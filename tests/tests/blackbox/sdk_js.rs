//! @azure/keyvault-secrets and @azure/identity for JavaScript.

use valv_tests::{Dev, clients};

use crate::{client, plant, stop_and_scan};

#[tokio::test]
async fn javascript_sdk() {
    let dev = Dev::start();
    let plant = plant();
    let nobody = client(&dev.api().await, "nobody").await.pair();
    for program in ["check_secrets.mjs", "check_identity.mjs"] {
        clients::javascript(&dev, program, &[("VALV_PLANT", &plant), ("VALV_NOBODY", &nobody)]);
    }
    stop_and_scan(dev, &[&plant]);
}
