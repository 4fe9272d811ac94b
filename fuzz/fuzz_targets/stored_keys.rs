//! Stored keys of any bytes: refused, or a key that is stored as the same bytes again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use valv_crypto::PrivateKey;

fuzz_target!(|stored: &[u8]| {
    if let Ok(key) = PrivateKey::from_stored(stored) {
        let again =
            PrivateKey::from_stored(&key.to_stored().expect("it can be stored")).expect("and read again");
        assert_eq!((again.kty(), again.bits(), again.public()), (key.kty(), key.bits(), key.public()));
    }
});
