#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| xvrrp_properties::ipv6(bytes, &mut xvrrp_fuzz::reached));
