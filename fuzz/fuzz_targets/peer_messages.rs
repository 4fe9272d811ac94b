//! What peers send each other: questions, probes, streams of messages.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(fault) = valv_peer::read_everything(bytes) {
        panic!("{fault}");
    }
});
