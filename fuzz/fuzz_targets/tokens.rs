//! Tokens: without the issuer's key nothing is accepted; with it, only what was issued for this deployment.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use valv_fuzz::{NOW, RESOURCE, TENANT, World, world};

fuzz_target!(|text: &str| {
    let World { registry, authenticator, issuer, .. } = world();
    let caller =
        |header: &str| futures::executor::block_on(authenticator.authenticate(Some(header), registry, NOW));
    assert!(caller(text).is_err());
    assert!(caller(&format!("Bearer {text}")).is_err());
    // Claims that the issuer did sign, and should not have.
    let Ok(claims @ Value::Object(_)) = serde_json::from_str::<Value>(text) else { return };
    if caller(&format!("Bearer {}", world().sign(&claims))).is_ok() {
        assert_eq!(claims["iss"], *issuer.issuer());
        assert_eq!(claims["tid"], *TENANT);
        let audience = Value::from(RESOURCE);
        assert!(claims["aud"] == audience || claims["aud"].as_array().is_some_and(|a| a.contains(&audience)));
        assert!(claims["exp"].as_f64().is_some_and(|exp| exp + 60.0 >= NOW.0 as f64));
    }
});
