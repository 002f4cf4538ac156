//! Finds the field of a command that was probably meant by one that it lacks:
//! `requesttype` for `requestType`.

use pointsman_core::{
    command::Command,
    json::{Kind, Value},
    name::nearest,
};

use super::report::Miss;
use crate::event::FieldTrie;

/// How many absent fields of an explanation are looked up.
const FIELDS_MAX: usize = 20;
/// How many keys of an object are compared. With [`NAME_MAX_BYTES`], about 0.2 ms.
const KEYS_MAX: usize = 50;
/// Longer names are not compared.
const NAME_MAX_BYTES: usize = 64;

/// Sets [`ClauseReport::similar`](super::ClauseReport::similar) of clauses that failed
/// because the command lacks their field.
pub(super) fn name_similar<'m>(
    misses: impl IntoIterator<Item = &'m mut Miss>,
    command: &Command,
    trie: &FieldTrie,
) {
    let clauses = misses.into_iter().flat_map(|miss| &mut miss.failed);
    let absent = clauses.filter(|clause| clause.seen.is_empty() && clause.seen_more == 0);
    for clause in absent.take(FIELDS_MAX) {
        clause.similar = similar(command, &clause.field, trie);
    }
}

/// The path of the field whose last key is most similar to that of `field`, among the
/// fields beside it that no rule names.
fn similar(command: &Command, field: &str, trie: &FieldTrie) -> Option<String> {
    let (parent, name) = match field.rsplit_once('.') {
        Some((parent, name)) => (Some(parent), name),
        None => (None, field),
    };
    if name.len() > NAME_MAX_BYTES {
        return None;
    }
    let mut object = parent.into_iter().flat_map(|parent| parent.split('.'));
    let object = object.try_fold(command.root(), member)?;
    let Kind::Object(entries) = object.kind() else {
        return None;
    };
    let path = |key: &str| match parent {
        Some(parent) => format!("{parent}.{key}"),
        None => key.to_owned(),
    };
    let keys = entries.take(KEYS_MAX).map(|(key, _)| key);
    let keys = keys.filter(|key| key.len() <= NAME_MAX_BYTES && !trie.has(&path(key)));
    let keys: Vec<_> = keys.collect();
    let key = keys.iter().find(|key| key.eq_ignore_ascii_case(name));
    let key = key.map(|key| &**key);
    key.or_else(|| nearest(name, keys.iter().map(|key| &**key)))
        .map(path)
}

fn member<'c>(value: Value<'c>, name: &str) -> Option<Value<'c>> {
    let Kind::Object(mut entries) = value.kind() else {
        return None;
    };
    entries.find(|(key, _)| key == name).map(|(_, value)| value)
}
