//! @azure/keyvault-secrets, @azure/keyvault-keys and @azure/identity for JavaScript.

use valv_tests::{Dev, clients};

use crate::{client, crypto_vault, plant, stop_and_scan};

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

#[tokio::test]
async fn javascript_sdk_keys() {
    let dev = Dev::start();
    clients::javascript(&dev, "check_keys.mjs", &[]);
    let (keeper, crypto) = crypto_vault(&dev.api().await).await;
    let pairs = [keeper.pair(), crypto.pair()];
    clients::javascript(
        &dev,
        "check_cryptography.mjs",
        &[("VALV_KEEPER", &pairs[0]), ("VALV_CRYPTO", &pairs[1])],
    );
    stop_and_scan(dev, &[&keeper.secret, &crypto.secret]);
}
