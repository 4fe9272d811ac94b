//! Keys in JSON: refused, or taken whole, so that the stored form is the same key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use valv_crypto::{JsonWebKey, PrivateKey, import};
use valv_model::ErrorCode;

fuzz_target!(|text: &[u8]| {
    let Ok(jwk) = serde_json::from_slice::<JsonWebKey>(text) else { return };
    match import(&jwk) {
        Ok(key) => {
            let stored = key.to_stored().expect("a key that was taken can be stored");
            let read = PrivateKey::from_stored(&stored).expect("and read again");
            assert_eq!(read.public(), key.public());
        }
        Err(error) => assert_eq!(error.code, ErrorCode::BadParameter, "{error:?}"),
    }
});
