#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| xsld_journal_fuzz::decode(bytes));
