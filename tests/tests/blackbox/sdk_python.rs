//! azure-keyvault-secrets, azure-keyvault-keys and azure-identity for Python. One server for all programs: they use names of
//! their own.

use valv_tests::{Dev, clients};

use crate::{crypto_vault, plant, stop_and_scan};

#[test]
fn python_sdk() {
    let dev = Dev::start();
    let plant = plant();
    for program in ["check_secrets.py", "check_identity.py", "check_async.py", "check_threads.py"] {
        clients::python(&dev, program, &[("VALV_PLANT", &plant)]);
    }
    stop_and_scan(dev, &[&plant]);
}

#[tokio::test]
async fn python_sdk_keys() {
    let dev = Dev::start();
    let plant = plant();
    for program in ["check_keys.py", "check_keys_async.py"] {
        clients::python(&dev, program, &[("VALV_PLANT", &plant)]);
    }
    let (keeper, crypto) = crypto_vault(&dev.api().await).await;
    let pairs = [keeper.pair(), crypto.pair()];
    let variables = [("VALV_PLANT", plant.as_str()), ("VALV_KEEPER", &pairs[0]), ("VALV_CRYPTO", &pairs[1])];
    clients::python(&dev, "check_cryptography.py", &variables);
    stop_and_scan(dev, &[&keeper.secret, &crypto.secret]);
}
