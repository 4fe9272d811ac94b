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
        // Issuers that send no tenant are taken for the deployment's.
        let tenant = claims.get("tid").map(|tid| tid.as_str().unwrap_or_default());
        assert!(tenant.is_none_or(|tid| tid.eq_ignore_ascii_case(TENANT)));
        let ours = |aud: &Value| aud.as_str().is_some_and(|a| a.strip_suffix('/').unwrap_or(a) == RESOURCE);
        assert!(ours(&claims["aud"]) || claims["aud"].as_array().is_some_and(|a| a.iter().any(ours)));
        assert!(claims["exp"].as_f64().is_some_and(|exp| exp + 60.0 >= NOW.0 as f64));
    }
});
