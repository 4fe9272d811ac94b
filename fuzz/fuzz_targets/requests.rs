//! Everything that is read of a request before anything is done: method, host, path, query, headers, body.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use valv_front::{FrontSettings, Limits, parse_raw_request};
use valv_model::{ErrorCode, RegionName, TenantId, VaultName};

static SETTINGS: LazyLock<FrontSettings> = LazyLock::new(|| FrontSettings {
    domain: "vault.localhost".into(),
    port: 8443,
    default_vault: VaultName::parse("dev").ok(),
    region: RegionName::parse("here").expect("a region name"),
    tenant: TenantId::parse(valv_fuzz::TENANT).expect("a tenant"),
    limits: Limits::default(),
    rates: None,
});

fuzz_target!(|raw: &[u8]| {
    if let Err(error) = parse_raw_request(&SETTINGS, raw) {
        assert_ne!(error.code, ErrorCode::InternalError, "{error}");
        assert!(!error.message.chars().any(char::is_control), "{error:?}");
    }
});
