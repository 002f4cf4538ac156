#![no_main]

#[path = "../bodies/components.rs"]
mod body;

libfuzzer_sys::fuzz_target!(
    // Its own hook aborts before a panic that `load` catches can be caught. What
    // leaves `run` ends the process all the same.
    init: std::panic::set_hook(Box::new(|panic| eprintln!("{panic}"))),
    |data: &[u8]| body::run(data)
);
