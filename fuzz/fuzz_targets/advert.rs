#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| xvrrp_properties::advert(bytes, &mut xvrrp_fuzz::reached));
