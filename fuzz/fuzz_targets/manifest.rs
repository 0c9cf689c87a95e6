#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| images::fuzzed::manifest(bytes));
