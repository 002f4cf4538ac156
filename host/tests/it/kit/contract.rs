//! The contract, what is made from it, and how it may change.

use std::{fs, path::Path};

use expect_test::{expect, expect_file};
use pointsman::outcome::Status;
use sha2::{Digest as _, Sha256};
use wit_bindgen_core::{Files, WorldGenerator, wit_parser::Resolve};

use crate::{
    cli::check,
    host::{Folders, only, root},
};

/// Each released version with the SHA-256 of its text, oldest first. An entry
/// here never changes.
const RELEASED: &[(&str, &str)] = &[
    (
        "0.1.0",
        "4ba62e75ce4a1455d12f7baa17ac56516a50d54e4f10eb658d0a66d4d82aa110",
    ),
    (
        "0.2.0",
        "9e54cd82166dd09d1f0e8c05129d5e9cb6db69b99b8b2d8cc7b30c9141b0cb5a",
    ),
];

fn wit() -> String {
    fs::read_to_string(root().join("wit/handler.wit")).unwrap()
}

fn digest(text: &str) -> String {
    let digest = Sha256::digest(text);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_released_contract_does_not_change() {
    let wit = wit();
    let (_, rest) = wit.split_once("package pointsman:handler@").unwrap();
    let (version, _) = rest.split_once(';').unwrap();
    let entry = RELEASED.iter().find(|(released, _)| *released == version);
    assert!(
        entry.is_some_and(|(_, released)| *released == digest(&wit)),
        "wit/handler.wit is not what was released as {version}. Components that were built for {version} are out \
         there: take the change back, or give the package a new version and then\n\
         - copy the text to host/crates/sandbox/wit/handler@<version>.wit and its SHA-256 to RELEASED in this file,\n\
         - add its bindings to host/crates/sandbox/src/call/bindings.rs and an entry to SERVED in host/crates/sandbox/src/component/contract.rs,\n\
         - update the SDK and the templates, and keep a component built for it in host/tests/fixtures/contract.\n\
         The version before stays as it is."
    );
    assert_eq!(
        entry,
        RELEASED.last(),
        "wit/ holds the newest version, host/crates/sandbox/wit/ all of them"
    );
}

#[test]
fn the_text_of_every_released_contract_is_kept() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/sandbox/wit");
    for (version, released) in RELEASED {
        let path = folder.join(format!("handler@{version}.wit"));
        let kept = fs::read_to_string(&path).unwrap();
        assert_eq!(digest(&kept), *released, "{}: take it back", path.display());
    }
    assert_eq!(
        fs::read_dir(folder).unwrap().count(),
        RELEASED.len(),
        "host/crates/sandbox/wit/ holds released versions and nothing else"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_of_every_released_contract_still_answers() {
    for (version, _) in RELEASED {
        let folders = Folders::new();
        folders.plugin("greet", released(version));
        folders.settings("greet", "[config]\ngreeting = \"good day\"");
        folders.rules(
            "greet.json",
            r#"{"rules":[{"name":"greet","match":"*","handlers":["greet"]}]}"#,
        );
        let app = folders.start().await;
        let report = only(&app, r#"{"name":"Ada"}"#).await;
        let output = report.outcome.result.unwrap().unwrap();
        assert_eq!(output.get(), r#"{"greeting":"good day Ada"}"#);
        let report = only(&app, "{}").await;
        assert_eq!(report.outcome.status(), Status::Rejected);
    }
}

/// The handler that was built when this version was released.
pub(crate) fn released(version: &str) -> Vec<u8> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/contract");
    fs::read(fixtures.join(format!("greet-{version}.wasm"))).unwrap()
}

/// A component that exports `handle` of this version of the contract.
fn of_version(version: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
        (core module $m (func (export "handle")))
        (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "handle")))
        (instance $e (export "handle" (func $f)))
        (export "pointsman:handler/command-handler@{version}" (instance $e)))"#
    );
    wat::parse_str(text).unwrap()
}

#[test]
fn another_version_of_the_contract_is_named_beside_those_served() {
    let folders = Folders::new();
    folders.plugin("newer", of_version("0.3.0"));
    folders.plugin("older", of_version("0.0.1"));
    // To wasmtime alone, 0.1.7 would be as good as 0.1.0.
    folders.plugin("nearly", of_version("0.1.7"));
    check(
        &folders,
        &[
            "check",
            "plugins/newer.wasm",
            "plugins/nearly.wasm",
            "plugins/older.wasm",
        ],
        expect![[r#"
            error: plugins/newer.wasm: was built for pointsman:handler@0.3.0, newer than what this host serves: 0.1.0, 0.2.0
              hint: use a newer `pointsman`, or build it against the contract of this one: `pointsman wit` prints 0.2.0
            error: plugins/nearly.wasm: was built for pointsman:handler@0.1.7, which this host does not serve: it serves 0.1.0, 0.2.0
              hint: put what `pointsman wit` prints (0.2.0) into its `wit/` folder, and build it again with `pointsman build`
            error: plugins/older.wasm: was built for pointsman:handler@0.0.1, which this host does not serve: it serves 0.1.0, 0.2.0
              hint: put what `pointsman wit` prints (0.2.0) into its `wit/` folder, and build it again with `pointsman build`
            exit 1
        "#]],
    );
}

#[test]
fn the_bindings_of_the_sdk_are_those_of_the_contract() {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("handler.wit", &wit()).unwrap();
    let world = resolve.select_world(&[package], Some("handler")).unwrap();
    let opts = wit_bindgen_rust::Opts {
        format: true,
        generate_all: true,
        runtime_path: Some("wit_bindgen::rt".into()),
        pub_export_macro: true,
        export_macro_name: Some("export_component".into()),
        default_bindings_module: Some("pointsman_sdk::bindings".into()),
        ..wit_bindgen_rust::Opts::default()
    };
    let mut files = Files::default();
    opts.build()
        .generate(&mut resolve, world, &mut files)
        .unwrap();
    let (_, generated) = files.iter().next().unwrap();
    expect_file!["../../../../plugins/sdk/src/bindings.rs"]
        .assert_eq(std::str::from_utf8(generated).unwrap());
}
