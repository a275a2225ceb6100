#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ssm_hpn_fuzz::checkpoint::run(input));
