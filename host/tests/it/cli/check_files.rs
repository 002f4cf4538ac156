//! `pointsman check FILE.wasm...`: what is said of components, good and bad.

use std::{fmt::Write as _, fs};

use expect_test::{Expect, expect};
use serde_json::Value;
use wit_bindgen_core::{
    abi::{AbiVariant, WasmType},
    wit_parser::{Function, Resolve, WorldId, WorldItem},
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use crate::{
    cli::{check, output},
    host::{Folders, guest, root, wasi_guest},
    kit::contract::released,
};

/// A component for the contract with these changes: each text with what stands
/// in its place. Its code traps: nothing here calls it.
fn fitting(changes: &[(&str, &str)]) -> Vec<u8> {
    fitting_as(changes, |module| module)
}

/// As [`fitting`], with its module's text edited.
pub(crate) fn fitting_as(changes: &[(&str, &str)], edit: fn(String) -> String) -> Vec<u8> {
    let mut contract = fs::read_to_string(root().join("wit/handler.wit")).unwrap();
    for (from, to) in changes {
        assert!(contract.contains(from), "the contract has no `{from}`");
        contract = contract.replace(from, to);
    }
    let mut resolve = Resolve::default();
    let package = resolve.push_str("handler.wit", &contract).unwrap();
    let world = resolve.select_world(&[package], Some("handler")).unwrap();
    let mut module = wat::parse_str(edit(module(&resolve, world))).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let encoder = ComponentEncoder::default();
    let mut encoder = encoder.module(&module).unwrap().validate(true);
    encoder.encode().unwrap()
}

/// A core module that imports and exports all of a world.
fn module(resolve: &Resolve, world: WorldId) -> String {
    let world = &resolve.worlds[world];
    let signature = |function: &Function, variant| {
        let signature = resolve.wasm_signature(variant, function);
        let mut text = String::new();
        for (word, types) in [("param", signature.params), ("result", signature.results)] {
            for ty in types {
                let ty = match ty {
                    WasmType::I64 | WasmType::PointerOrI64 => "i64",
                    WasmType::F32 => "f32",
                    WasmType::F64 => "f64",
                    WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32",
                };
                write!(text, "({word} {ty})").unwrap();
            }
        }
        text
    };
    let mut text = "(module".to_owned();
    for (items, variant) in [
        (&world.imports, AbiVariant::GuestImport),
        (&world.exports, AbiVariant::GuestExport),
    ] {
        for (key, item) in items {
            let WorldItem::Interface { id, .. } = item else {
                continue;
            };
            let interface = resolve.name_world_key(key);
            for (name, function) in &resolve.interfaces[*id].functions {
                let signature = signature(function, variant);
                let line = match variant {
                    AbiVariant::GuestImport => {
                        format!("(import \"{interface}\" \"{name}\" (func {signature}))")
                    }
                    _ => format!("(func (export \"{interface}#{name}\") {signature} unreachable)"),
                };
                text.push_str(&line);
            }
        }
    }
    text + r#"(memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable))"#
}

/// What `check` prints of a component, which is also what the host says of it
/// where it does not fit.
async fn check_one(name: &str, bytes: impl AsRef<[u8]>, wanted: Expect) {
    let folders = Folders::new();
    folders.plugin(name, bytes);
    let file = format!("plugins/{name}.wasm");
    check(&folders, &["check", &file], wanted);
    let checked = output(&folders, &["check", "--json", &file]);
    let document: Value = serde_json::from_slice(&checked.stdout).unwrap();
    let error = &document["files"][0]["error"];
    let app = folders.start().await;
    let snapshot = app.snapshot();
    let loaded = snapshot.handler_files[0].error.as_ref();
    assert_eq!(
        error["reason"].as_str(),
        loaded.map(|error| error.reason.as_str())
    );
    assert_eq!(
        error["hint"].as_str(),
        loaded.map(|error| error.hint.as_str())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_fits_is_shown_with_what_it_carries_and_may_need() {
    check_one("greet", released("0.1.0"), expect![[r#"
        plugins/greet.wasm fits pointsman:handler@0.1.0
          size … KiB
          sha256 DIGEST
          name greet 0.1.0
          about Greets by name
          licence MIT
          language Rust
          made by wit-component 0.245.1, pointsman 0.1.0, rustc 1.95.0 (59807616e 2026-04-14), wit-component 0.258.3, wit-bindgen-rust 0.61.1
          imports pointsman:handler@0.1.0: log, config, types
          may need [config], [secrets] for the values that it reads (pointsman:handler/config)
        exit 0
    "#]]).await;
    // What std and interpreters import, in small.
    let wasi = [
        (
            "import config;",
            "import config; import wasi:cli/environment@0.2.0; import wasi:random/random@0.2.0;",
        ),
        (
            "/// What a handler imports and exports.",
            "package wasi:cli@0.2.0 { interface environment { get-arguments: func() -> list<string>; } }
             package wasi:random@0.2.0 { interface random { get-random-u64: func() -> u64; } }
             /// What a handler imports and exports.",
        ),
    ];
    check_one("wasi", fitting(&wasi), expect![[r#"
        plugins/wasi.wasm fits pointsman:handler@0.2.0
          size … KiB
          sha256 DIGEST
          made by wit-component 0.254.2
          imports pointsman:handler@0.2.0: log, clock, random, config, state, sql, emit, types
                    wasi:cli@0.2.0: environment
                    wasi:random@0.2.0: random
          may need [config], [secrets] for the values that it reads (pointsman:handler/config)
          may need [env] for environment variables (wasi:cli/environment)
                    std and interpreters import much of WASI whether they use it or not: grant what the handler does use
        exit 0
    "#]]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
async fn each_difference_from_the_contract_is_shown_as_wit_beside_wit() {
    let signature = "func(command: command) -> result<option<string>, failure>";
    check_one(
        "other-signature",
        fitting(&[(signature, "func(command: command, again: bool) -> string")]),
        expect![[r#"
            error: plugins/other-signature.wasm: `handle` of `pointsman:handler/command-handler@0.2.0` differs from the contract
              expected: handle: func(command: command) -> result<option<string>, failure>
              found: handle: func(command: command, again: bool) -> string
              hint: build it against wit/ (pointsman:handler@0.2.0), e.g. with `pointsman build`
              made by wit-component 0.254.2
              imports pointsman:handler@0.2.0: log, clock, random, config, state, sql, emit, types
            exit 1
        "#]],
    )
    .await;
    check_one(
        "other-field",
        fitting(&[
            ("attempt: u32", "tries: u64"),
            ("rejected(string)", "rejected"),
        ]),
        expect![[r#"
            error: plugins/other-field.wasm: does not match the contract in 2 places
              the type `command` differs from the contract
                expected: record command {
                            id: string,
                            attributes: string,
                            attempt: u32,
                            delivery-id: string,
                            traceparent: option<string>,
                          }
                found: record command {
                            id: string,
                            attributes: string,
                            tries: u64,
                            delivery-id: string,
                            traceparent: option<string>,
                          }
              the type `failure` differs from the contract
                expected: variant failure {
                            rejected(string),
                            unavailable(retry-info),
                          }
                found: variant failure {
                            rejected,
                            unavailable(retry-info),
                          }
              hint: build it against wit/ (pointsman:handler@0.2.0), e.g. with `pointsman build`
              made by wit-component 0.254.2
              imports pointsman:handler@0.2.0: log, clock, random, config, state, sql, emit, types
            exit 1
        "#]],
    )
    .await;
    check_one(
        "no-handle",
        fitting(&[("    handle: func", "    run: func")]),
        expect![[r#"
            error: plugins/no-handle.wasm: missing export `handle` in `pointsman:handler/command-handler@0.2.0`
              expected: handle: func(command: command) -> result<option<string>, failure>
              hint: build it against wit/ (pointsman:handler@0.2.0), e.g. with `pointsman build`
              made by wit-component 0.254.2
              imports pointsman:handler@0.2.0: log, clock, random, config, state, sql, emit, types
            exit 1
        "#]],
    )
    .await;
    check_one(
        "asks-more",
        fitting(&[
            (
                "now: func() -> u64;",
                "now: func() -> u32; zone: func() -> string;",
            ),
            (
                "import random;",
                "import random; import acme:mail/outbox@1.0.0;",
            ),
            (
                "/// What a handler imports and exports.",
                "package acme:mail@1.0.0 { interface outbox { send: func(); } }
                 /// What a handler imports and exports.",
            ),
            ("interface config {", "interface configuration {"),
            ("import config;", "import configuration;"),
        ]),
        expect![[r#"
            error: plugins/asks-more.wasm: does not match the contract in 4 places
              imports `acme:mail/outbox@1.0.0`, which the host does not provide
              imports `pointsman:handler/configuration@0.2.0`, which the host does not provide
              `now` of `pointsman:handler/clock@0.2.0` differs from the contract
                expected: now: func() -> u64
                found: now: func() -> u32
              imports `zone` of `pointsman:handler/clock@0.2.0`, which the contract does not have
                found: zone: func() -> string
              hint: a handler may import the interfaces of the contract, and WASI 0.2; the contract has no interface `configuration`; build it against wit/ (pointsman:handler@0.2.0), e.g. with `pointsman build`
              made by wit-component 0.254.2
              imports pointsman:handler@0.2.0: log, clock, random, configuration, state, sql, emit, types
                        acme:mail@1.0.0: outbox
            exit 1
        "#]],
    )
    .await;
}

/// Each is so much like the contract that it fits.
#[tokio::test(flavor = "multi_thread")]
async fn what_wasmtime_takes_is_no_difference() {
    for changes in [
        // Another name of a type, and more than was asked for.
        &[
            ("record retry-info", "record again"),
            ("unavailable(retry-info)", "unavailable(again)"),
        ][..],
        &[(
            "    handle: func",
            "    ready: func() -> bool; handle: func",
        )],
        &[("    import clock;\n", ""), ("    import random;\n", "")],
    ] {
        let folders = Folders::new();
        folders.plugin("alike", fitting(changes));
        let checked = output(&folders, &["check", "plugins/alike.wasm"]);
        let text = String::from_utf8(checked.stdout).unwrap();
        assert_eq!(checked.status.code(), Some(0), "{changes:?}: {text}");
        assert!(text.starts_with("plugins/alike.wasm fits pointsman:handler@0.2.0\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_handler_says_what_it_is() {
    let exporting = |name: &str| {
        wat::parse_str(format!(
            r#"(component (instance $e) (export "{name}" (instance $e)))"#
        ))
        .unwrap()
    };
    check_one("program", exporting("wasi:cli/run@0.2.0"), expect![[r#"
        error: plugins/program.wasm: was built for another world: it exports `wasi:cli/run@0.2.0`, not `pointsman:handler/command-handler@0.2.0`
          hint: a program with `main` is not a handler: build a library that exports the contract; `pointsman new` writes one
        exit 1
    "#]]).await;
    check_one(
        "server",
        exporting("wasi:http/incoming-handler@0.2.0"),
        expect![[r#"
            error: plugins/server.wasm: was built for another world: it exports `wasi:http/incoming-handler@0.2.0`, not `pointsman:handler/command-handler@0.2.0`
              hint: a handler gets commands from the host, not HTTP requests: `pointsman new` writes one
            exit 1
        "#]],
    )
    .await;
    check_one("other", exporting("acme:shop/cart@1.2.0"), expect![[r#"
        error: plugins/other.wasm: was built for another world: it exports `acme:shop/cart@1.2.0`, not `pointsman:handler/command-handler@0.2.0`
          hint: build it against wit/ (pointsman:handler@0.2.0), e.g. with `pointsman build`
        exit 1
    "#]]).await;
    let importing = |name: &str| {
        wat::parse_str(format!(r#"(component (import "{name}" (instance)))"#)).unwrap()
    };
    check_one(
        "newer-wasi",
        importing("wasi:cli/environment@0.3.0"),
        expect![[r#"
            error: plugins/newer-wasi.wasm: does not match the contract in 2 places
              imports `wasi:cli/environment@0.3.0`, which the host does not provide
              missing export `pointsman:handler/command-handler@0.2.0`; it exports nothing
              hint: the host provides WASI 0.2: build it for that version; build it against wit/ (pointsman:handler@0.2.0), e.g. with `pointsman build`
              imports wasi:cli@0.3.0: environment
            exit 1
        "#]],
    )
    .await;
    check_one(
        "module",
        wat::parse_str("(module)").unwrap(),
        expect![[r#"
            error: plugins/module.wasm: is a core WebAssembly module, not a component
              hint: build it with `pointsman build`, or with `wasm-component-ld` as the linker
            exit 1
        "#]],
    )
    .await;
    check_one(
        "empty",
        "",
        expect![[r#"
        error: plugins/empty.wasm: is empty
          hint: copy or build it again
        exit 1
    "#]],
    )
    .await;
    let whole = guest("create-policy");
    check_one("cut", &whole[..40], expect![[r#"
        error: plugins/cut.wasm: no valid component: failed to parse WebAssembly module: unexpected end-of-file (at offset 0xa)
          hint: the file may be cut short or damaged: copy or build it again
        exit 1
    "#]]).await;
}

#[test]
fn check_says_by_its_exit_code_what_came_of_it() {
    let folders = Folders::new();
    folders.plugin("create-policy", guest("create-policy"));
    folders.plugin("empty", "");
    let code = |args: &[&str]| output(&folders, args).status.code();
    assert_eq!(code(&["check", "plugins/create-policy.wasm"]), Some(0));
    let both = ["check", "plugins/create-policy.wasm", "plugins/empty.wasm"];
    assert_eq!(code(&both), Some(1));
    check(
        &folders,
        &["check", "plugins/empty.wasm", "plugins/gone.wasm"],
        expect![[r#"
            error: plugins/gone.wasm: cannot be read: No such file or directory (os error 2)
            exit 2
        "#]],
    );
}

#[test]
fn check_prints_one_json_document_for_machines() {
    let folders = Folders::new();
    folders.plugin("wasi", wasi_guest());
    folders.plugin(
        "other",
        fitting(&[(
            "handle: func(command: command) -> result<option<string>, failure>",
            "handle: func()",
        )]),
    );
    let checked = output(
        &folders,
        &["check", "--json", "plugins/wasi.wasm", "plugins/other.wasm"],
    );
    assert_eq!(checked.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&checked.stdout).unwrap();
    let [wasi, other] = document["files"].as_array().unwrap().as_slice() else {
        panic!("{document}");
    };
    assert_eq!(
        (&wasi["fits"], &wasi["error"]),
        (&true.into(), &Value::Null)
    );
    assert_eq!(wasi["contract"], "0.2.0");
    assert_eq!(wasi["digest"].as_str().unwrap().len(), 64);
    let grants: Vec<_> = wasi["needs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|need| need["grant"].as_str().unwrap())
        .collect();
    assert!(
        grants.contains(&"[http] allow") && grants.contains(&"[[folders]]"),
        "{grants:?}"
    );
    assert_eq!(other["fits"], false);
    let mismatch = &other["error"]["mismatches"][0];
    assert_eq!(mismatch["found"], "handle: func()");
    assert_eq!(
        mismatch["expected"],
        "handle: func(command: command) -> result<option<string>, failure>"
    );
}
