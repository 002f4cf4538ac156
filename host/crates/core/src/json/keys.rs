//! Owns [`Keys`]: the keys of the objects around the place where a walk is, to
//! find one that comes twice. Linear in the text, whatever keys a client chooses.

use std::{borrow::Cow, collections::HashSet, ops::Range};

use super::{
    SyntaxError,
    lexer::{Fault, Spelling, content},
};

/// Keys of one object that are compared one by one; past this, hashing costs less.
const FEW: usize = 16;

/// The keys of all open objects.
pub(super) struct Keys<'t> {
    text: &'t str,
    /// The first [`FEW`] keys of each open object, outer objects first.
    few: Vec<Key>,
    /// All keys of the open objects that have more, outer objects first.
    many: Vec<Many<'t>>,
    /// The keys in `few` with escapes, those resolved.
    resolved: String,
}

/// An open object: where its keys begin in [`Keys::few`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ObjectKeys(usize);

#[derive(Clone, Copy)]
struct Key {
    /// Of different keys mostly different, of equal ones equal.
    print: u64,
    spelling: Spelling,
    /// In the text without the quotes, or in [`Keys::resolved`].
    start: u32,
    end: u32,
}

struct Many<'t> {
    object: ObjectKeys,
    // With the standard library's random hashing: no client knows keys that collide.
    keys: HashSet<Cow<'t, str>>,
}

impl<'t> Keys<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            few: Vec::new(),
            many: Vec::new(),
            resolved: String::new(),
        }
    }

    /// An object begins inside those that are open.
    #[inline]
    pub(super) fn open(&self) -> ObjectKeys {
        ObjectKeys(self.few.len())
    }

    /// The innermost object ends.
    #[inline]
    pub(super) fn close(&mut self, object: ObjectKeys) {
        if self.few.len() - object.0 == FEW {
            self.many.pop_if(|many| many.object == object);
        }
        self.few.truncate(object.0);
    }

    /// Adds the key at `quoted` to the innermost object.
    ///
    /// # Errors
    /// If the object has it.
    #[inline]
    pub(super) fn insert(
        &mut self,
        object: ObjectKeys,
        quoted: Range<usize>,
        spelling: Spelling,
    ) -> Result<(), Fault> {
        let key = content(&self.text[quoted.clone()], spelling);
        let print = print(key.as_bytes());
        let few = &self.few[object.0..];
        for other in few {
            if other.print == print && self.content(*other) == key {
                return Err(SyntaxError::duplicate_key(quoted.start, &key));
            }
        }
        if few.len() >= FEW {
            return self.insert_hashed(object, quoted.start, key);
        }
        let content = match &key {
            Cow::Borrowed(_) => quoted.start + 1..quoted.end - 1,
            Cow::Owned(key) => self.keep(key),
        };
        self.few.push(Key {
            print,
            spelling,
            start: content.start as u32,
            end: content.end as u32,
        });
        Ok(())
    }

    /// Where a key with escapes stands from now on, those resolved.
    #[cold]
    fn keep(&mut self, key: &str) -> Range<usize> {
        let start = self.resolved.len();
        self.resolved.push_str(key);
        start..self.resolved.len()
    }

    #[inline]
    fn content(&self, key: Key) -> &str {
        let text = match key.spelling {
            Spelling::Plain => self.text,
            Spelling::Escaped => &self.resolved,
        };
        &text[key.start as usize..key.end as usize]
    }

    fn insert_hashed(
        &mut self,
        object: ObjectKeys,
        at: usize,
        key: Cow<'t, str>,
    ) -> Result<(), Fault> {
        if self.many.last().is_none_or(|many| many.object != object) {
            let keys = HashSet::new();
            self.many.push(Many { object, keys });
        }
        let Some(Many { keys, .. }) = self.many.last_mut() else {
            return Ok(());
        };
        // `few` has been compared.
        match keys.replace(key) {
            None => Ok(()),
            Some(key) => Err(SyntaxError::duplicate_key(at, &key)),
        }
    }
}

/// Both ends of a key and its length, mixed.
#[inline]
fn print(key: &[u8]) -> u64 {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    match (key.first_chunk(), key.last_chunk()) {
        (Some(first), Some(last)) => {
            let ends = u64::from_le_bytes(*first).wrapping_mul(MIX) ^ u64::from_le_bytes(*last);
            ends.wrapping_add(key.len() as u64)
        }
        // At most seven bytes, none of them zero unless escaped.
        _ => key
            .iter()
            .fold(0, |print, byte| print << 8 | u64::from(*byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Reason, check};

    fn duplicate(text: &str) -> Option<(usize, String)> {
        match check(text).err()? {
            super::SyntaxError {
                at,
                reason: Reason::DuplicateKey(key),
            } => Some((at, key.into())),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_second_of_two_equal_keys_is_found_wherever_it_is() {
        for count in [1, 2, FEW_AND_ONE, 40, 1_000] {
            let keys: String = (0..count)
                .map(|n| format!("\"k{n}\":{{\"k0\":0}},"))
                .collect();
            for twice in [0, count / 2, count - 1] {
                let text = format!("{{{keys}\"k{twice}\":0}}");
                let key = format!("k{twice}");
                assert_eq!(duplicate(&text), Some((keys.len() + 1, key)), "{text}");
            }
            assert_eq!(duplicate(&format!("{{{keys}\"other\":0}}")), None);
            // A large object inside and after another.
            let inner = format!("{{{keys}\"other\":0}}");
            let outer = format!("{{{keys}\"a\":{inner},\"b\":{inner},\"other\":0}}");
            assert_eq!(duplicate(&outer), None);
            let text = format!("{{{keys}\"a\":{inner},\"b\":{inner},\"a\":0}}");
            assert_eq!(duplicate(&text).map(|(_, key)| key), Some("a".into()));
        }
    }

    const FEW_AND_ONE: usize = super::FEW + 1;

    #[test]
    fn keys_are_compared_with_their_escapes_resolved() {
        let many: String = (0..40).map(|n| format!("\"key-{n}\":0,")).collect();
        for more in ["", &many] {
            for (one, other) in [
                (r"a", r"\u0061"),
                (r"\u0061", r"a"),
                (r"\u0061", r"\u0061"),
                (r"\ud83d\ude00", "😀"),
                (r"\/", "/"),
                (r"a longer key\n", r"a longer key\u000a"),
            ] {
                assert!(duplicate(&format!(r#"{{"{one}":0,{more}"{other}":1}}"#)).is_some());
                assert!(duplicate(&format!(r#"{{{more}"{one}":0,"{other}":1}}"#)).is_some());
            }
            // The same bytes as written, other keys.
            assert!(duplicate(&format!(r#"{{"\\n":0,{more}"\n":1}}"#)).is_none());
        }
    }

    #[test]
    fn keys_with_equal_ends_differ() {
        assert!(duplicate(r#"{"abcdefgh-1-abcdefgh":0,"abcdefgh-2-abcdefgh":0}"#).is_none());
        assert!(duplicate(r#"{"":0,"\u0000":0,"\u0000\u0000":0}"#).is_none());
        assert!(duplicate(r#"{"":0,"":0}"#).is_some());
    }
}
