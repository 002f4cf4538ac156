//! Random valid core modules: one for each 4 KiB of random bytes on standard
//! input, written to standard output behind its length (32 bits, little-endian).
//! Every other one is made to run: it imports nothing, has functions, and uses
//! only what the host takes.

use std::io::{Read, Write, stdin, stdout};

use arbitrary::Unstructured;
use wasm_smith::{Config, Module};

fn main() {
    let mut random = Vec::new();
    stdin().read_to_end(&mut random).expect("random bytes");
    for (number, random) in random.chunks(4 << 10).enumerate() {
        let config = match number % 2 {
            0 => Config::default(),
            _ => Config {
                compact_imports_enabled: false,
                max_imports: 0,
                max_memory32_bytes: 1 << 20,
                max_memory64_bytes: 1 << 20,
                max_table_elements: 1_000,
                min_funcs: 3,
                min_types: 1,
                threads_enabled: false,
                wide_arithmetic_enabled: false,
                ..Config::default()
            },
        };
        let module = Module::new(config, &mut Unstructured::new(random)).expect("enough bytes");
        let module = module.to_bytes();
        let len = u32::try_from(module.len()).expect("a small module");
        let mut out = stdout().lock();
        out.write_all(&len.to_le_bytes()).expect("a reader");
        out.write_all(&module).expect("a reader");
    }
}
