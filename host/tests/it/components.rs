//! Handlers written in WebAssembly text, for what no compiler would make, and
//! what measures the process that runs them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use wit_bindgen_core::wit_parser::Resolve;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use crate::host::root;

/// WASI, as far as these handlers use it.
const WASI: &str = "
    package pointsman:test;
    world text {
        include pointsman:handler/handler@0.2.0;
        import wasi:clocks/monotonic-clock@0.2.0;
        import wasi:io/poll@0.2.0;
        import wasi:random/random@0.2.0;
    }
    package wasi:io@0.2.0 {
        interface poll {
            resource pollable;
            poll: func(in: list<borrow<pollable>>) -> list<u32>;
        }
    }
    package wasi:random@0.2.0 { interface random { get-random-bytes: func(len: u64) -> list<u8>; } }
    package wasi:clocks@0.2.0 {
        interface monotonic-clock {
            use wasi:io/poll@0.2.0.{pollable};
            subscribe-duration: func(when: u64) -> pollable;
        }
    }";

/// A handler whose function `handle` has this body, among these other fields
/// of its core module. It answers nothing where the body leaves `i32.const 0`.
pub(crate) fn handler(fields: &str, body: &str) -> Vec<u8> {
    let module = format!(
        r#"(module {fields}
            (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 4096)
            (func (export "pointsman:handler/command-handler@0.2.0#handle")
                (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                {body}))"#
    );
    let mut module = wat::parse_str(module).unwrap();
    let mut resolve = Resolve::default();
    resolve.push_path(root().join("wit")).unwrap();
    let package = resolve.push_str("wasi.wit", WASI).unwrap();
    let world = resolve.select_world(&[package], Some("text")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let encoder = ComponentEncoder::default();
    let mut encoder = encoder.module(&module).unwrap().validate(true);
    encoder.encode().unwrap()
}

/// A handler that answers with this JSON text.
pub(crate) fn answering(json: &str) -> Vec<u8> {
    // ok(some(text)): the cases at 0 and 8, the text's place and length behind.
    let len = (json.len() as u32).to_le_bytes();
    let len: String = len.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let fields = format!(
        r#"(data (i32.const 8) "\01\00\00\00\40\00\00\00{len}") (data (i32.const 64) "{}")"#,
        json.escape_default(),
    );
    handler(&fields, "i32.const 0")
}

/// A component without imports, with so many instances of this core module in
/// it that start after its own.
pub(crate) fn beside(mut component: Vec<u8>, module: impl AsRef<[u8]>, instances: u8) -> Vec<u8> {
    section(
        &mut component,
        1,
        &wat::parse_bytes(module.as_ref()).unwrap(),
    );
    // Each: instantiate, core module 1, no arguments.
    let instance = [0, 1, 0];
    let instances = [&[instances], instance.repeat(instances.into()).as_slice()].concat();
    section(&mut component, 2, &instances);
    component
}

/// Appends a section to a WebAssembly binary.
pub(crate) fn section(binary: &mut Vec<u8>, id: u8, content: &[u8]) {
    binary.push(id);
    let mut len = content.len();
    while len >= 0x80 {
        binary.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    binary.push(len as u8);
    binary.extend_from_slice(content);
}

/// Runs the test of this name in a process of its own, where no other test
/// uses memory and files. Says whether this is that process.
pub(crate) fn is_alone(test: &str) -> bool {
    const ALONE: &str = "POINTSMAN_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(ALONE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed in its own process");
    false
}

/// As many as the issue asks for where `POINTSMAN_STRESS` is set, else few.
pub(crate) fn rounds(few: usize, many: usize) -> usize {
    match std::env::var_os("POINTSMAN_STRESS") {
        Some(_) => many,
        None => few,
    }
}

/// Bytes of this process in memory.
pub(crate) fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// The open files of this process, but for the folder that lists them.
pub(crate) fn open_files() -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    let target = |path: &Path| fs::read_link(path).unwrap_or_default();
    let mut files: Vec<_> = entries
        .map(|entry| target(&entry.unwrap().path()))
        .collect();
    files.retain(|file| !file.starts_with("/proc"));
    files.sort();
    files
}

/// That memory is back where it was: within a tenth, and what an allocator
/// keeps for itself.
pub(crate) fn assert_flat(before: u64, after: u64) {
    const KEPT_BY_ALLOCATOR: u64 = 8 << 20;
    let allowed = before + before / 10 + KEPT_BY_ALLOCATOR;
    assert!(after <= allowed, "{before} bytes before, {after} after");
}
