//! libFuzzer wrapper; the target is in the tests crate.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| countersign_tests::fuzz::certificate(data));
