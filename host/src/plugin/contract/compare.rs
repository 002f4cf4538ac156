//! Owns the comparison of two interfaces: what the contract has beside what a
//! component has, as WIT. Two types are the same where their structure is, as
//! for wasmtime: names of types do not matter, those of fields and cases do.

use std::collections::{BTreeMap, HashMap};

use wit_component::WitPrinter;
use wit_parser::{Function, Handle, InterfaceId, Resolve, Type, TypeDefKind, TypeId, TypeOwner};

use super::Mismatch;

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
    if structure(expected.0, expected.1) == structure(found.0, found.1) {
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
    written(function, true, &|ty| type_name(resolve, ty))
}

/// The same with each named type written out. Names of parameters do not matter.
fn structure(resolve: &Resolve, function: &Function) -> String {
    written(function, false, &|ty| type_structure(resolve, ty))
}

fn written(function: &Function, named: bool, ty: &dyn Fn(&Type) -> String) -> String {
    let params = function.params.iter().map(|param| {
        let name = if named { &param.name } else { "_" };
        format!("{name}: {}", ty(&param.ty))
    });
    let params = params.collect::<Vec<_>>().join(", ");
    let kind = if function.kind.is_async() {
        "async func"
    } else {
        "func"
    };
    let result = function.result.as_ref();
    let result = result.map_or_else(String::new, |result| format!(" -> {}", ty(result)));
    format!("{}: {kind}({params}){result}", function.name)
}

fn type_name(resolve: &Resolve, ty: &Type) -> String {
    let mut printer = WitPrinter::default();
    // It fails on a record without a name, which WIT cannot write.
    match printer.print_type_name(resolve, ty) {
        Ok(()) => printer.output.to_string(),
        Err(_) => type_structure(resolve, ty),
    }
}

fn type_structure(resolve: &Resolve, ty: &Type) -> String {
    let Type::Id(id) = ty else {
        return type_name(resolve, ty);
    };
    let write = |ty: &Type| type_structure(resolve, ty);
    let some = |ty: &Option<Type>| ty.as_ref().map_or_else(|| "_".into(), write);
    let join = |parts: Vec<String>| parts.join(", ");
    match &resolve.types[*id].kind {
        TypeDefKind::Type(ty) => write(ty),
        TypeDefKind::Record(record) => {
            let field = |field: &wit_parser::Field| format!("{}: {}", field.name, write(&field.ty));
            format!(
                "record {{ {} }}",
                join(record.fields.iter().map(field).collect())
            )
        }
        TypeDefKind::Variant(variant) => {
            let case = |case: &wit_parser::Case| format!("{}({})", case.name, some(&case.ty));
            format!(
                "variant {{ {} }}",
                join(variant.cases.iter().map(case).collect())
            )
        }
        TypeDefKind::Enum(cases) => {
            let cases = cases.cases.iter().map(|case| case.name.clone());
            format!("enum {{ {} }}", join(cases.collect()))
        }
        TypeDefKind::Flags(flags) => {
            let flags = flags.flags.iter().map(|flag| flag.name.clone());
            format!("flags {{ {} }}", join(flags.collect()))
        }
        TypeDefKind::Tuple(tuple) => {
            format!("tuple<{}>", join(tuple.types.iter().map(write).collect()))
        }
        TypeDefKind::Option(ty) => format!("option<{}>", write(ty)),
        TypeDefKind::Result(result) => {
            format!("result<{}, {}>", some(&result.ok), some(&result.err))
        }
        TypeDefKind::List(ty) => format!("list<{}>", write(ty)),
        TypeDefKind::FixedLengthList(ty, len) => format!("list<{}, {len}>", write(ty)),
        TypeDefKind::Map(key, value) => format!("map<{}, {}>", write(key), write(value)),
        TypeDefKind::Future(ty) => format!("future<{}>", some(ty)),
        TypeDefKind::Stream(ty) => format!("stream<{}>", some(ty)),
        TypeDefKind::Handle(Handle::Own(id)) => format!("own<{}>", resource(resolve, *id)),
        TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", resource(resolve, *id)),
        TypeDefKind::Resource => resource(resolve, *id),
        TypeDefKind::Unknown => "unknown".into(),
    }
}

fn resource(resolve: &Resolve, id: TypeId) -> String {
    resolve.types[id].name.clone().unwrap_or_default()
}

/// The types with a name that a function's signature leads to.
fn named_types(resolve: &Resolve, function: &Function) -> BTreeMap<String, TypeId> {
    fn walk(resolve: &Resolve, ty: &Type, named: &mut BTreeMap<String, TypeId>) {
        let Type::Id(id) = ty else { return };
        let def = &resolve.types[*id];
        let mut inner = |ty: &Type| walk(resolve, ty, named);
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
    let mut named = BTreeMap::new();
    let types = function.params.iter().map(|param| &param.ty);
    for ty in types.chain(&function.result) {
        walk(resolve, ty, &mut named);
    }
    named
}

/// A type as its interface declares it.
fn declaration(resolve: &Resolve, id: TypeId) -> String {
    let def = &resolve.types[id];
    let name = def.name.as_deref().unwrap_or_default();
    let mut printer = WitPrinter::default();
    printer.emit_docs(false);
    let printed = printer.print_types(
        resolve,
        def.owner,
        [(name, id)].into_iter(),
        &HashMap::new(),
    );
    match printed {
        Ok(()) => printer.output.to_string().trim().to_owned(),
        Err(_) => type_structure(resolve, &Type::Id(id)),
    }
}
