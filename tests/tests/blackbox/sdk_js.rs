//! @azure/keyvault-secrets and @azure/identity for JavaScript.

use valv_tests::{Dev, clients};

use crate::{plant, stop_and_scan};

#[test]
fn javascript_sdk() {
    let dev = Dev::start();
    let plant = plant();
    for program in ["check_secrets.mjs", "check_identity.mjs"] {
        clients::javascript(&dev, program, &[("VALV_PLANT", &plant)]);
    }
    stop_and_scan(dev, &[&plant]);
}
