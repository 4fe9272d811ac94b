//! What the token service reads: nobody gets a token without the secret, and refusals are clean.
#![no_main]

use libfuzzer_sys::fuzz_target;
use valv_fuzz::{NOW, TENANT, World, world};

fuzz_target!(|form: &[u8]| {
    let World { issuer, registry, .. } = world();
    let text = String::from_utf8_lossy(form);
    let run = futures::executor::block_on::<futures::future::BoxFuture<'_, _>>;
    assert!(run(Box::pin(issuer.token(TENANT, form, None, registry, NOW))).is_err());
    assert!(run(Box::pin(issuer.token(TENANT, form, Some(&text), registry, NOW))).is_err());
    assert!(run(Box::pin(issuer.app_service_token(&text, Some(&text), registry, NOW))).is_err());
});
