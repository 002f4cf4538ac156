//! Owns the comparison of two interfaces: what the contract has beside what a
//! component has, as WIT. Two types are the same where their structure is, as
//! for wasmtime: names of types do not matter, those of fields and cases do.

use std::collections::{BTreeMap, HashMap, HashSet};

use wit_component::WitPrinter;
use wit_parser::{Function, InterfaceId, Resolve, Type, TypeDefKind, TypeId, TypeOwner};

use super::{
    MISMATCHES_MAX, Mismatch,
    type_text::{Names, TypeText},
};

type Side<'a> = (&'a Resolve, InterfaceId);

/// What a component asks of an interface beyond what the contract has.
pub(super) fn imported(
    expected: Side<'_>,
    found: Side<'_>,
    interface: &str,
    hint: &str,
) -> Vec<Mismatch> {
    let mut mismatches = Vec::new();
    for (name, function) in &found.0.interfaces[found.1].functions {
        if mismatches.len() > MISMATCHES_MAX {
            break;
        }
        match expected.0.interfaces[expected.1].functions.get(name) {
            Some(wanted) => {
                mismatches.extend(functions(
                    (expected.0, wanted),
                    (found.0, function),
                    interface,
                    hint,
                ));
            }
            None => mismatches.push(Mismatch {
                what: format!(
                    "imports `{name}` of `{interface}`, which the contract does not have"
                ),
                expected: None,
                found: Some(signature(found.0, function)),
                hint: hint.into(),
            }),
        }
    }
    mismatches
}

/// What a component lacks of an interface that it exports. More than the
/// contract asks for does no harm.
pub(super) fn exported(
    expected: Side<'_>,
    found: Side<'_>,
    interface: &str,
    hint: &str,
) -> Vec<Mismatch> {
    let mut mismatches = Vec::new();
    for (name, wanted) in &expected.0.interfaces[expected.1].functions {
        match found.0.interfaces[found.1].functions.get(name) {
            Some(function) => {
                mismatches.extend(functions(
                    (expected.0, wanted),
                    (found.0, function),
                    interface,
                    hint,
                ));
            }
            None => mismatches.push(Mismatch {
                what: format!("missing export `{name}` in `{interface}`"),
                expected: Some(signature(expected.0, wanted)),
                found: None,
                hint: hint.into(),
            }),
        }
    }
    mismatches
}

/// The signatures where they read otherwise, and each named type that does.
fn functions(
    expected: (&Resolve, &Function),
    found: (&Resolve, &Function),
    interface: &str,
    hint: &str,
) -> Vec<Mismatch> {
    let same = structure(found.0, found.1)
        .is_some_and(|found| Some(found) == structure(expected.0, expected.1));
    if same {
        return Vec::new();
    }
    let name = &expected.1.name;
    let differs = |what: String, expected: String, found: String| Mismatch {
        what,
        expected: Some(expected),
        found: Some(found),
        hint: hint.into(),
    };
    let mut mismatches = Vec::new();
    let signatures = (
        signature(expected.0, expected.1),
        signature(found.0, found.1),
    );
    if signatures.0 != signatures.1 {
        mismatches.push(differs(
            format!("`{name}` of `{interface}` differs from the contract"),
            signatures.0,
            signatures.1,
        ));
    }
    let found_types = named_types(found.0, found.1);
    for (name, wanted) in named_types(expected.0, expected.1) {
        if let Some(id) = found_types.get(&name) {
            let texts = (declaration(expected.0, wanted), declaration(found.0, *id));
            if texts.0 != texts.1 {
                mismatches.push(differs(
                    format!("the type `{name}` differs from the contract"),
                    texts.0,
                    texts.1,
                ));
            }
        }
    }
    mismatches
}

/// `handle: func(command: command) -> result<option<string>, failure>`.
fn signature(resolve: &Resolve, function: &Function) -> String {
    written(resolve, function, Names::Written).text()
}

/// The same with each named type written out. Names of parameters do not
/// matter. None for one that is longer than any of the contract.
fn structure(resolve: &Resolve, function: &Function) -> Option<String> {
    written(resolve, function, Names::Resolved).whole()
}

fn written<'a>(resolve: &'a Resolve, function: &Function, names: Names) -> TypeText<'a> {
    let mut text = TypeText::new(resolve, names);
    text.push(&function.name);
    text.push(match function.kind.is_async() {
        true => ": async func(",
        false => ": func(",
    });
    text.joined(&function.params, |text, param| {
        text.push(match names {
            Names::Written => &param.name,
            Names::Resolved => "_",
        });
        text.push(": ");
        text.ty(&param.ty);
    });
    text.push(")");
    if let Some(result) = &function.result {
        text.push(" -> ");
        text.ty(result);
    }
    text
}

/// The types with a name that a function's signature leads to.
fn named_types(resolve: &Resolve, function: &Function) -> BTreeMap<String, TypeId> {
    fn walk(
        resolve: &Resolve,
        ty: &Type,
        seen: &mut HashSet<TypeId>,
        named: &mut BTreeMap<String, TypeId>,
    ) {
        let Type::Id(id) = ty else { return };
        if !seen.insert(*id) {
            return;
        }
        let def = &resolve.types[*id];
        let mut inner = |ty: &Type| walk(resolve, ty, seen, named);
        match &def.kind {
            TypeDefKind::Type(ty) => return inner(ty),
            TypeDefKind::Record(record) => record.fields.iter().for_each(|field| inner(&field.ty)),
            TypeDefKind::Variant(variant) => variant
                .cases
                .iter()
                .filter_map(|case| case.ty.as_ref())
                .for_each(inner),
            TypeDefKind::Tuple(tuple) => tuple.types.iter().for_each(inner),
            TypeDefKind::Option(ty) | TypeDefKind::List(ty) => inner(ty),
            TypeDefKind::Result(result) => {
                [&result.ok, &result.err]
                    .into_iter()
                    .flatten()
                    .for_each(inner);
            }
            _ => {}
        }
        // A type outside of an interface has no place to be declared in.
        if let (Some(name), TypeOwner::Interface(owner)) = (&def.name, def.owner)
            && resolve.interfaces[owner].package.is_some()
        {
            named.insert(name.clone(), *id);
        }
    }
    let (mut seen, mut named) = (HashSet::new(), BTreeMap::new());
    let types = function.params.iter().map(|param| &param.ty);
    for ty in types.chain(&function.result) {
        walk(resolve, ty, &mut seen, &mut named);
    }
    named
}

/// A type as its interface declares it.
fn declaration(resolve: &Resolve, id: TypeId) -> String {
    let def = &resolve.types[id];
    let mut structure = TypeText::new(resolve, Names::Resolved);
    structure.kind(&def.kind);
    let name = def.name.as_deref().unwrap_or_default();
    let mut printer = WitPrinter::default();
    printer.emit_docs(false);
    // It prints all of it, however long that is.
    let printed = structure.is_whole() && {
        let types = [(name, id)].into_iter();
        let printed = printer.print_types(resolve, def.owner, types, &HashMap::new());
        printed.is_ok()
    };
    match printed {
        true => printer.output.to_string().trim().to_owned(),
        false => structure.text(),
    }
}
