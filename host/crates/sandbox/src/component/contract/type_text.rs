//! Owns [`TypeText`]: types as WIT, cut while they are written. Types come from a
//! file, where a few hundred bytes can stand for a type of many megabytes: one
//! that holds another twice, and so on.

use wit_parser::{Handle, Resolve, Type, TypeDef, TypeDefKind, TypeId};

/// Several times as long as any signature of the contract with all its types.
const TEXT_MAX_BYTES: usize = 4 << 10;
/// Several times as deep.
const DEPTH_MAX: usize = 32;

/// Whether a type with a name is written as that, or as what it stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    Written,
    Resolved,
}

/// Text of types, up to a limit.
pub(super) struct TypeText<'a> {
    resolve: &'a Resolve,
    names: Names,
    text: String,
    depth: usize,
    cut: bool,
}

impl<'a> TypeText<'a> {
    pub(super) fn new(resolve: &'a Resolve, names: Names) -> Self {
        Self {
            resolve,
            names,
            text: String::new(),
            depth: 0,
            cut: false,
        }
    }

    /// Whether all of it is there.
    pub(super) fn is_whole(&self) -> bool {
        !self.cut
    }

    /// All of it, where nothing is cut.
    pub(super) fn whole(self) -> Option<String> {
        self.is_whole().then_some(self.text)
    }

    /// As much as there is.
    pub(super) fn text(mut self) -> String {
        if self.cut {
            self.text.push('…');
        }
        self.text
    }

    /// Adds what stands between types.
    pub(super) fn push(&mut self, text: &str) {
        let room = TEXT_MAX_BYTES.saturating_sub(self.text.len());
        self.cut |= text.len() > room;
        if !self.cut {
            self.text.push_str(text);
        }
    }

    /// Adds items with commas between them.
    pub(super) fn joined<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        for (index, one) in items.iter().enumerate() {
            // However many there are: no more is added.
            if self.cut {
                return;
            }
            if index > 0 {
                self.push(", ");
            }
            item(self, one);
        }
    }

    /// Adds a type.
    pub(super) fn ty(&mut self, ty: &Type) {
        match ty {
            Type::Id(id) => self.id(*id),
            Type::Bool => self.push("bool"),
            Type::U8 => self.push("u8"),
            Type::U16 => self.push("u16"),
            Type::U32 => self.push("u32"),
            Type::U64 => self.push("u64"),
            Type::S8 => self.push("s8"),
            Type::S16 => self.push("s16"),
            Type::S32 => self.push("s32"),
            Type::S64 => self.push("s64"),
            Type::F32 => self.push("f32"),
            Type::F64 => self.push("f64"),
            Type::Char => self.push("char"),
            Type::String => self.push("string"),
            Type::ErrorContext => self.push("error-context"),
        }
    }

    fn id(&mut self, id: TypeId) {
        let TypeDef { name, kind, .. } = &self.resolve.types[id];
        match name {
            Some(name) if self.names == Names::Written => self.push(name),
            _ => self.kind(kind),
        }
    }

    /// Adds what a type stands for.
    pub(super) fn kind(&mut self, kind: &TypeDefKind) {
        self.cut |= self.depth >= DEPTH_MAX;
        if self.cut {
            return;
        }
        self.depth += 1;
        self.inner(kind);
        self.depth -= 1;
    }

    fn inner(&mut self, kind: &TypeDefKind) {
        match kind {
            TypeDefKind::Type(ty) => self.ty(ty),
            TypeDefKind::Record(record) => {
                self.push("record { ");
                self.joined(&record.fields, |text, field| {
                    text.push(&field.name);
                    text.push(": ");
                    text.ty(&field.ty);
                });
                self.push(" }");
            }
            TypeDefKind::Variant(variant) => {
                self.push("variant { ");
                self.joined(&variant.cases, |text, case| {
                    text.push(&case.name);
                    text.push("(");
                    text.some(case.ty.as_ref());
                    text.push(")");
                });
                self.push(" }");
            }
            TypeDefKind::Enum(cases) => {
                self.push("enum { ");
                self.joined(&cases.cases, |text, case| text.push(&case.name));
                self.push(" }");
            }
            TypeDefKind::Flags(flags) => {
                self.push("flags { ");
                self.joined(&flags.flags, |text, flag| text.push(&flag.name));
                self.push(" }");
            }
            TypeDefKind::Tuple(tuple) => {
                self.push("tuple<");
                self.joined(&tuple.types, Self::ty);
                self.push(">");
            }
            TypeDefKind::Option(ty) => self.around("option", &[Some(ty)]),
            // As WIT writes it: `result`, `result<a>`, `result<a, b>`, `result<_, b>`.
            TypeDefKind::Result(result) => match (&result.ok, &result.err) {
                (None, None) => self.push("result"),
                (Some(ok), None) => self.around("result", &[Some(ok)]),
                (ok, err) => self.around("result", &[ok.as_ref(), err.as_ref()]),
            },
            TypeDefKind::List(ty) => self.around("list", &[Some(ty)]),
            TypeDefKind::FixedLengthList(ty, len) => {
                self.push("list<");
                self.ty(ty);
                self.push(&format!(", {len}>"));
            }
            TypeDefKind::Map(key, value) => self.around("map", &[Some(key), Some(value)]),
            TypeDefKind::Future(ty) => self.around("future", &[ty.as_ref()]),
            TypeDefKind::Stream(ty) => self.around("stream", &[ty.as_ref()]),
            TypeDefKind::Handle(Handle::Own(id)) => self.resource("own", *id),
            TypeDefKind::Handle(Handle::Borrow(id)) => self.resource("borrow", *id),
            TypeDefKind::Resource => self.push("resource"),
            TypeDefKind::Unknown => self.push("unknown"),
        }
    }

    fn some(&mut self, ty: Option<&Type>) {
        match ty {
            Some(ty) => self.ty(ty),
            None => self.push("_"),
        }
    }

    fn around(&mut self, name: &str, types: &[Option<&Type>]) {
        self.push(name);
        self.push("<");
        self.joined(types, |text, ty| text.some(*ty));
        self.push(">");
    }

    fn resource(&mut self, handle: &str, id: TypeId) {
        self.push(handle);
        self.push("<");
        self.push(self.resolve.types[id].name.as_deref().unwrap_or_default());
        self.push(">");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of the last type of this interface.
    fn text(types: &str) -> String {
        let mut resolve = Resolve::default();
        let wit = format!("package a:b; interface i {{ {types} }}");
        resolve.push_str("a.wit", &wit).unwrap();
        let (_, last) = resolve.types.iter().next_back().unwrap();
        let mut text = TypeText::new(&resolve, Names::Resolved);
        text.kind(&last.kind);
        text.text()
    }

    #[test]
    fn a_type_that_doubles_with_each_line_is_cut() {
        let doubled = |level: u32| {
            let inner = level - 1;
            format!("type t{level} = tuple<t{inner}, t{inner}>;")
        };
        // 2^20 parts, of types that nest no deeper than the limit.
        let types: String = (1..=20).map(doubled).collect();
        let text = text(&format!("type t0 = u8; {types}"));
        assert!(text.len() <= TEXT_MAX_BYTES + "…".len(), "{}", text.len());
        assert!(text.starts_with("tuple<tuple<") && text.ends_with('…'));
    }

    #[test]
    fn a_type_of_many_levels_is_cut() {
        let wrapped = |level: u32| format!("type t{level} = list<t{}>;", level - 1);
        let types: String = (1..=200).map(wrapped).collect();
        let text = text(&format!("type t0 = u8; {types}"));
        assert_eq!(text, format!("{}…", "list<".repeat(DEPTH_MAX)));
    }

    #[test]
    fn types_read_as_in_wit() {
        let shown = text(
            "resource r; record a { x: option<u8>, y: own<r> }
             type b = result<list<a>, string>; type c = result<_, b>;",
        );
        assert_eq!(
            shown,
            "result<_, result<list<record { x: option<u8>, y: own<r> }>, string>>"
        );
    }
}
