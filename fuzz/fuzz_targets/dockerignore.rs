#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| images::fuzzed::dockerignore(text));
