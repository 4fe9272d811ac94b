//! azure-keyvault-secrets and azure-identity for Python. One server for all programs: they use names of
//! their own.

use valv_tests::{Dev, clients};

use crate::{plant, stop_and_scan};

#[test]
fn python_sdk() {
    let dev = Dev::start();
    let plant = plant();
    for program in ["check_secrets.py", "check_identity.py", "check_async.py", "check_threads.py"] {
        clients::python(&dev, program, &[("VALV_PLANT", &plant)]);
    }
    stop_and_scan(dev, &[&plant]);
}
