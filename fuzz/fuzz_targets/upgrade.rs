#![no_main]

libfuzzer_sys::fuzz_target!(
    init: ssm_hpn_fuzz::write_seeds("upgrade"),
    |input: &[u8]| ssm_hpn_fuzz::upgrade::run(input)
);
