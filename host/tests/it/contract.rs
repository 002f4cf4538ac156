//! The contract and what is made from it.

use std::{fs, path::Path};

use expect_test::expect_file;
use wit_bindgen_core::{Files, WorldGenerator, wit_parser::Resolve};

fn wit() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/handler.wit");
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_released_contract_does_not_change() {
    // A change needs a new version beside this one: never update this file.
    expect_file!["../cases/contract/handler@0.1.0.wit"].assert_eq(&wit());
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
    expect_file!["../../../plugins/sdk/src/bindings.rs"]
        .assert_eq(std::str::from_utf8(generated).unwrap());
}
