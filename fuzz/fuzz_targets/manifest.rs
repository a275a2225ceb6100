#![no_main]

libfuzzer_sys::fuzz_target!(
    init: ssm_hpn_fuzz::write_seeds("manifest"),
    |input: &[u8]| ssm_hpn_fuzz::manifest::run(input)
);
