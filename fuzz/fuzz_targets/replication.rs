//! What a replica is sent: messages of the wire, pages of a log, log records. What would be written stays within the vault.
#![no_main]

use libfuzzer_sys::fuzz_target;
use valv_engine::GroupId;
use valv_geo::apply::fuzzing::{read_any, take_page, take_record};
use valv_geo::source::LogAnswer;
use valv_geo::wire;
use valv_model::{RegionName, VaultId};

fuzz_target!(|bytes: &[u8]| {
    let _ = read_any(bytes);
    let region = RegionName::parse("eastus").expect("a region");
    let vault = VaultId::parse("00000000-0000-4000-8000-000000000000").expect("a vault");
    let group = GroupId::of_region(&region);
    for generation in [None, Some(7)] {
        if let Ok(LogAnswer::Page(page)) = wire::decode(bytes) {
            let _ = take_page(&group, &vault, generation, &page);
        }
        let _ = take_record(&group, &vault, generation, bytes);
    }
});
