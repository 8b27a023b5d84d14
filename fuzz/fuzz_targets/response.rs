//! Fuzzes the parser of responses: it neither panics nor reads more into the whole than into its
//! pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use starling_fuzz::engine::{Read, read};

fuzz_target!(|data: &[u8]| {
    // the first byte says how the rest comes
    let Some((&how, bytes)) = data.split_first() else {
        return;
    };
    let to_head = how & 1 == 1;
    let whole = read(bytes, to_head, bytes.len().max(1));
    let pieces = read(bytes, to_head, usize::from(how >> 1) + 1);
    match (&whole, &pieces) {
        // a bad head is only found out when the end of its line has come
        (Read::Malformed, Read::Unfinished) => {}
        _ => assert_eq!(whole, pieces),
    }
});
