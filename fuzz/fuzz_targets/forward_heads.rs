//! The header x-valv-forward: refused, or read back the same, with nothing in it that does not belong in a header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use valv_peer::ForwardHead;

fuzz_target!(|value: &[u8]| {
    let Ok(head) = ForwardHead::parse(value) else { return };
    assert!(
        head.authority
            .bytes()
            .chain(head.doors.iter().flat_map(|door| door.bytes()))
            .all(|b| b.is_ascii_graphic())
    );
    let again = head.encode().expect("what was read can be sent");
    assert_eq!(ForwardHead::parse(again.as_bytes()), Ok(head));
});
