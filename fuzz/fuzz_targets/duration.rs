#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| compose::file::parsers::duration(text));
