//! Owns which type each parameter has on the server, so that a statement can be
//! sent in one piece: to ask the server for the types takes a prepared one.

use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

/// A parameter of a statement.
pub(super) trait Param: Sync {
    fn kind(&self) -> Type;
    fn value(&self) -> &(dyn ToSql + Sync);
}

impl<T: Typed + ToSql + Sync> Param for T {
    fn kind(&self) -> Type {
        T::TYPE
    }

    fn value(&self) -> &(dyn ToSql + Sync) {
        self
    }
}

/// A type with one type on the server.
pub(super) trait Typed {
    const TYPE: Type;
}

/// A type that may stand in an array.
pub(super) trait Element {
    const ARRAY: Type;
}

macro_rules! typed {
    ($($rust:ty => $one:ident, $many:ident);* $(;)?) => {$(
        impl Typed for $rust {
            const TYPE: Type = Type::$one;
        }
        impl Element for $rust {
            const ARRAY: Type = Type::$many;
        }
    )*};
}

typed! {
    i64 => INT8, INT8_ARRAY;
    i32 => INT4, INT4_ARRAY;
    bool => BOOL, BOOL_ARRAY;
    &str => TEXT, TEXT_ARRAY;
    String => TEXT, TEXT_ARRAY;
    Uuid => UUID, UUID_ARRAY;
}

/// Bytes.
impl Element for u8 {
    const ARRAY: Type = Type::BYTEA;
}

impl<T: Typed> Typed for Option<T> {
    const TYPE: Type = T::TYPE;
}

impl<T: Element> Element for Option<T> {
    const ARRAY: Type = T::ARRAY;
}

impl<T: Element> Typed for Vec<T> {
    const TYPE: Type = T::ARRAY;
}

impl<T: Element> Typed for &[T] {
    const TYPE: Type = T::ARRAY;
}
