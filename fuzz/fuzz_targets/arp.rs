#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| xvrrp_fuzz::decoders::arp(bytes, &mut xvrrp_fuzz::reached));
