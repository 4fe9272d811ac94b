//! Stored records that are open by design: what is read is written the same way again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use valv_engine::{Epoch, GroupId, WriteLease};
use valv_model::RegionName;
use valv_sealing::{Head, LogRecord, VaultEnvelope};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(head) = Head::decode(bytes) {
        assert_eq!(&*head.encode(), bytes);
    }
    if let Ok(record) = LogRecord::decode(bytes) {
        assert_eq!(LogRecord::decode(&record.encode()), Ok(record));
    }
    if let Ok(envelope) = VaultEnvelope::decode(bytes) {
        assert_eq!(VaultEnvelope::decode(&envelope.encode()), Ok(envelope));
    }
    let Ok(region) = RegionName::parse("here") else { return };
    let stored = bytes.to_vec().into();
    if let Ok(lease) = WriteLease::grant(&GroupId::of_region(&region), &region, Some(&stored)) {
        assert!(lease.epoch() >= Epoch(0) && lease.region() == &region);
    }
});
