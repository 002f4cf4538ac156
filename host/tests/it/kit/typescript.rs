//! The types of the TypeScript template say what the contract says.

use std::fs;

use wit_bindgen_core::wit_parser::{Function, Interface, Resolve, Type, TypeDefKind, TypeId};

use crate::host::root;

/// Functions of the contract and what they are called in TypeScript, where a
/// bare `now` or `get` would say too little.
const FUNCTIONS: [(&str, &str, &str); 5] = [
    ("clock", "now", "nowMs"),
    ("clock", "sleep", "sleepMs"),
    ("random", "bytes", "randomBytes"),
    ("config", "get", "config"),
    ("command-handler", "handle", "handler"),
];

/// Interfaces that TypeScript has as objects of a shape of its own.
const OBJECTS: [&str; 3] = ["state", "sql", "emit"];

/// Functions that TypeScript has in another shape, or not at all.
const OTHERWISE: [(&str, &str); 2] = [
    // An object with a function a level.
    ("log", "log"),
    // 64 random bits are no number in JavaScript; `randomBytes` gives them.
    ("random", "number"),
];

fn types() -> String {
    let path = root().join("host/crates/kit/templates/ts/src/pointsman.d.ts");
    fs::read_to_string(path).unwrap()
}

fn contract() -> Resolve {
    let mut resolve = Resolve::default();
    let text = fs::read_to_string(root().join("wit/handler.wit")).unwrap();
    resolve.push_str("handler.wit", &text).unwrap();
    resolve
}

fn interface<'a>(resolve: &'a Resolve, name: &str) -> &'a Interface {
    let mut interfaces = resolve.interfaces.iter();
    let found = interfaces.find(|(_, interface)| interface.name.as_deref() == Some(name));
    found.unwrap().1
}

/// `retry-after-ms` → `retryAfterMs`.
fn camel(name: &str) -> String {
    let mut words = name.split('-');
    let first = words.next().unwrap().to_owned();
    words.fold(first, |camel, word| {
        camel + &word[..1].to_uppercase() + &word[1..]
    })
}

/// What a type of the contract is in TypeScript.
fn typescript(resolve: &Resolve, ty: &Type) -> String {
    match ty {
        Type::String => "string".into(),
        Type::U32 | Type::U64 => "number".into(),
        Type::Id(id) => match &resolve.types[*id].kind {
            TypeDefKind::Option(ty) => format!("{} | undefined", typescript(resolve, ty)),
            TypeDefKind::List(Type::U8) => "Uint8Array".into(),
            kind => panic!("TypeScript has no word for {kind:?} here yet"),
        },
        ty => panic!("TypeScript has no word for {ty:?} here yet"),
    }
}

/// What stands between the first `from` and the next `to`.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text
        .split_once(from)
        .unwrap_or_else(|| panic!("pointsman.d.ts has no `{from}`"));
    rest.split_once(to).unwrap().0
}

fn function<'a>(resolve: &'a Resolve, interface_name: &str, name: &str) -> &'a Function {
    &interface(resolve, interface_name).functions[name]
}

fn ty(resolve: &Resolve, name: &str) -> TypeId {
    interface(resolve, "types").types[name]
}

#[test]
fn the_types_of_typescript_have_every_function_of_the_contract() {
    let (resolve, types) = (contract(), types());
    for (_, interface) in &resolve.interfaces {
        let interface_name = interface.name.as_deref().unwrap();
        for name in interface.functions.keys() {
            let known = FUNCTIONS
                .iter()
                .any(|(i, f, _)| (*i, *f) == (interface_name, name));
            let otherwise =
                OTHERWISE.contains(&(interface_name, name)) || OBJECTS.contains(&interface_name);
            assert!(
                known || otherwise,
                "`{name}` of `{interface_name}` is new: give it to pointsman.js, pointsman.d.ts and FUNCTIONS"
            );
        }
    }
    for (interface_name, name, called) in FUNCTIONS {
        let function = function(&resolve, interface_name, name);
        if called == "handler" {
            let wanted = "handle: (command: Command) => ";
            assert_eq!(function.params[0].name, "command");
            assert!(types.contains(&format!("export function handler({wanted}")));
            continue;
        }
        let params: Vec<_> = function
            .params
            .iter()
            .map(|param| {
                format!(
                    "{}: {}",
                    camel(&param.name),
                    typescript(&resolve, &param.ty)
                )
            })
            .collect();
        let result = function.result.as_ref();
        let result = result.map_or_else(|| "void".into(), |ty| typescript(&resolve, ty));
        let wanted = format!("({}): {result}", params.join(", "));
        let found = between(&types, &format!("export function {called}"), ";");
        assert_eq!(found, wanted, "`{called}`");
    }
}

#[test]
fn the_types_of_typescript_have_every_field_and_case_of_the_contract() {
    let (resolve, types) = (contract(), types());
    let TypeDefKind::Record(command) = &resolve.types[ty(&resolve, "command")].kind else {
        panic!("`command` is no record any more");
    };
    let wanted: Vec<_> = command
        .fields
        .iter()
        .map(
            |field| match (field.name.as_str(), typescript(&resolve, &field.ty)) {
                // Parsed already.
                ("attributes", _) => {
                    "readonly attributes: { readonly [name: string]: Json | undefined }".into()
                }
                (name, ty) => match ty.strip_suffix(" | undefined") {
                    Some(ty) => format!("readonly {}?: {ty}", camel(name)),
                    None => format!("readonly {}: {ty}", camel(name)),
                },
            },
        )
        .collect();
    let found: Vec<_> = between(&types, "export interface Command {", "\n}")
        .lines()
        .filter_map(|line| line.trim().strip_suffix(';'))
        .map(str::to_owned)
        .collect();
    assert_eq!(found, wanted);

    let TypeDefKind::Variant(failure) = &resolve.types[ty(&resolve, "failure")].kind else {
        panic!("`failure` is no variant any more");
    };
    for case in &failure.cases {
        let class = case.name[..1].to_uppercase() + &case.name[1..];
        assert!(
            types.contains(&format!("export class {class} extends Error")),
            "`{class}`"
        );
    }
    let TypeDefKind::Record(retry) = &resolve.types[ty(&resolve, "retry-info")].kind else {
        panic!("`retry-info` is no record any more");
    };
    let unavailable = between(&types, "export class Unavailable", "\n}");
    for field in &retry.fields {
        let name = camel(&field.name);
        assert!(
            unavailable.contains(&format!("{name}: "))
                || unavailable.contains(&format!("{name}?: ")),
            "`Unavailable` lacks `{name}`"
        );
    }
    let level = interface(&resolve, "log").types["level"];
    let TypeDefKind::Enum(levels) = &resolve.types[level].kind else {
        panic!("`level` is no enum any more");
    };
    let levels: Vec<_> = levels
        .cases
        .iter()
        .map(|case| format!("\"{}\"", case.name))
        .collect();
    let found = between(&types, "export const log: Record<", ",");
    assert_eq!(found, levels.join(" | "));
}
