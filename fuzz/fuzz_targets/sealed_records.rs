//! Sealed records that somebody changed: nothing opens but what was sealed, at its own place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use valv_fuzz::data_keys;
use valv_sealing::RecordKind;

fuzz_target!(|bytes: &[u8]| {
    let keys = data_keys();
    // Bytes as they come: no fuzzer finds a valid tag.
    for kind in RecordKind::ALL {
        assert!(keys.open("secrets/A", kind, bytes).is_err());
    }
    // A real record, changed at the place and in the way that the first bytes say.
    let [at, change, value @ ..] = bytes else { return };
    let sealed = keys.seal("secrets/A", RecordKind::Secret, value);
    let open = |path, kind, sealed: &[u8]| keys.open(path, kind, sealed).map(|plain| plain.to_vec()).ok();
    assert_eq!(open("secrets/A", RecordKind::Secret, &sealed).as_deref(), Some(value));
    assert_eq!(open("secrets/B", RecordKind::Secret, &sealed), None);
    assert_eq!(open("secrets/A", RecordKind::SecretVersion, &sealed), None);
    let mut changed = sealed.to_vec();
    let at = usize::from(*at) % changed.len();
    changed[at] ^= change;
    assert_eq!(open("secrets/A", RecordKind::Secret, &changed).is_some(), *change == 0);
    assert_eq!(open("secrets/A", RecordKind::Secret, &sealed[..at]), None);
});
