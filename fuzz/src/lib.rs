//! What the fuzz targets share: keys that are the same in every run and seal nothing that matters.

use std::sync::{Arc, LazyLock};

use valv_model::{UnixSeconds, VaultId};
use valv_sealing::{DataKeys, Keyring, RootKeySource, RootKeys};
use zeroize::Zeroizing;

/// A root key for fuzzing only.
const ROOT_KEY: &str = "valv-root-1:8kE3l4sxImQ-C5WI7vP3CtR9OEnh4utSu1fDMyHyJ9M:a49ed2e8";

/// A keyring over the fixed root key.
pub fn keyring() -> &'static Keyring {
    static KEYRING: LazyLock<Keyring> = LazyLock::new(|| {
        let line = Zeroizing::new(ROOT_KEY.to_owned());
        let source = RootKeySource::Text { variable: "fuzz".into(), line };
        Keyring::new(RootKeys::load(&[source]).expect("the root key above"))
    });
    &KEYRING
}

/// Data keys of a vault, new in every process.
pub fn data_keys() -> Arc<DataKeys> {
    static KEYS: LazyLock<Arc<DataKeys>> = LazyLock::new(|| {
        let vault = VaultId::parse("00482a5a-887f-4fb3-b363-3b7fe8e74483").expect("a vault id");
        let wrapped = keyring().generate(&vault, 1, UnixSeconds(1_700_000_000)).expect("a data key");
        keyring().unwrap(&vault, &[wrapped]).expect("the same data key")
    });
    KEYS.clone()
}
