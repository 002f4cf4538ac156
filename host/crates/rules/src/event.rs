//! Owns the reading of a command's attributes: one pass over the raw text that
//! checks all of it and keeps only the fields that rules use.
//!
//! A field is named by its path, keys joined with `.`, so that
//! `{"a": {"b": 1}}` and `{"a.b": 1}` hold the same field. A value inside an
//! array element remembers which one (its place), because two clauses of a rule
//! may not be satisfied by different elements of one array.

use std::borrow::Cow;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{
    error::EventError,
    json::{Lexer, SyntaxError},
    matcher::Scalar,
};

/// Number of a path in a [`FieldTrie`].
pub(crate) type PathId = u32;
/// Number of an array element in an [`Event`]; 0 is outside all arrays.
pub(crate) type PlaceId = u32;

/// Outside all arrays.
pub(crate) const TOP: PlaceId = 0;

/// The paths that rules use, by key.
#[derive(Clone, Debug, Default)]
pub(crate) struct FieldTrie {
    /// The first is the attributes as a whole.
    nodes: Vec<TrieNode>,
    paths: Vec<Box<str>>,
}

#[derive(Clone, Debug, Default)]
struct TrieNode {
    children: FxHashMap<Box<str>, u32>,
    path: Option<PathId>,
}

impl FieldTrie {
    /// The number of `path`, a new one if it was not known.
    pub(crate) fn insert(&mut self, path: &str) -> PathId {
        if self.nodes.is_empty() {
            self.nodes.push(TrieNode::default());
        }
        let mut at = 0;
        for key in path.split('.') {
            at = match self.nodes[at].children.get(key) {
                Some(&child) => child as usize,
                None => {
                    let child = self.nodes.len();
                    self.nodes[at].children.insert(key.into(), child as u32);
                    self.nodes.push(TrieNode::default());
                    child
                }
            };
        }
        let next = self.paths.len() as PathId;
        let node = &mut self.nodes[at];
        *node.path.get_or_insert_with(|| {
            self.paths.push(path.into());
            next
        })
    }

    /// How many paths there are: their numbers go from 0 to below this.
    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }

    pub(crate) fn name(&self, path: PathId) -> &str {
        &self.paths[path as usize]
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(|path| &**path)
    }

    /// The node below `node` for a key of a command, which may itself hold dots.
    #[inline]
    fn child(&self, node: u32, key: &str) -> Option<u32> {
        let step = |node: u32, key: &str| self.nodes.get(node as usize)?.children.get(key).copied();
        match step(node, key) {
            None if key.contains('.') => key.split('.').try_fold(node, step),
            found => found,
        }
    }
}

/// The fields of one command that rules use.
#[derive(Debug, Default)]
pub(crate) struct Event<'e> {
    /// Sorted by path.
    fields: SmallVec<[Field<'e>; 16]>,
    /// The array elements met, the first of them is [`TOP`].
    places: SmallVec<[Place; 4]>,
}

/// One value and where it stood.
#[derive(Debug)]
pub(crate) struct Field<'e> {
    pub(crate) path: PathId,
    pub(crate) place: PlaceId,
    pub(crate) value: Scalar<'e>,
}

/// An array element that is itself an object or an array.
#[derive(Clone, Copy, Debug)]
struct Place {
    parent: PlaceId,
    /// Which array of the command it is an element of.
    array: u32,
    depth: u32,
    /// The first place after all that stand inside this one.
    end: PlaceId,
}

impl<'e> Event<'e> {
    /// Reads the fields of `trie` out of `text`.
    ///
    /// # Errors
    /// [`EventError`] if `text` is not one JSON object.
    pub(crate) fn read(text: &'e str, trie: &FieldTrie) -> Result<Self, EventError> {
        let mut reader = Reader {
            lexer: Lexer::new(text),
            trie,
            event: Event::default(),
            arrays: 0,
        };
        reader.event.places.push(Place {
            parent: TOP,
            array: 0,
            depth: 0,
            end: PlaceId::MAX,
        });
        if reader.lexer.peek() != b'{' {
            // What is no JSON at all shall be called that.
            let mut lexer = Lexer::new(text);
            lexer
                .skip(0)
                .and_then(|()| lexer.end())
                .map_err(|error| EventError::syntax(text, error))?;
            return Err(EventError::NotAnObject);
        }
        reader
            .value(Some(0), TOP, 0)
            .and_then(|()| reader.lexer.end())
            .map_err(|error| EventError::syntax(text, error))?;
        let mut event = reader.event;
        event.fields.sort_by_key(|field| field.path);
        Ok(event)
    }

    /// All fields, sorted by path.
    pub(crate) fn fields(&self) -> &[Field<'e>] {
        &self.fields
    }

    /// The values of one path, in the order of the text.
    #[inline]
    pub(crate) fn values(&self, path: PathId) -> &[Field<'e>] {
        let start = self.fields.partition_point(|field| field.path < path);
        let count = self.fields[start..]
            .iter()
            .take_while(|field| field.path == path)
            .count();
        &self.fields[start..start + count]
    }

    /// Whether no value stands in an array element, so that any two agree.
    pub(crate) fn is_flat(&self) -> bool {
        self.places.len() == 1
    }

    /// The array element around an array element.
    pub(crate) fn parent(&self, place: PlaceId) -> PlaceId {
        self.places[place as usize].parent
    }

    /// The array that an element is of.
    pub(crate) fn array(&self, place: PlaceId) -> u32 {
        self.places[place as usize].array
    }

    /// How many array elements are around a place, itself included.
    pub(crate) fn depth(&self, place: PlaceId) -> u32 {
        self.places[place as usize].depth
    }

    /// The first place after all that stand inside `place`.
    pub(crate) fn end(&self, place: PlaceId) -> PlaceId {
        self.places[place as usize].end
    }

    /// Whether two values may satisfy one rule together: they do not stand in
    /// different elements of one array.
    pub(crate) fn agree(&self, a: PlaceId, b: PlaceId) -> bool {
        let (mut a, mut b) = (a, b);
        let place = |id: PlaceId| self.places[id as usize];
        // The ancestors on both sides just below the first they share.
        let (mut below_a, mut below_b) = (TOP, TOP);
        while a != b {
            if place(a).depth >= place(b).depth {
                if place(a).depth == place(b).depth {
                    below_b = b;
                    b = place(b).parent;
                }
                below_a = a;
                a = place(a).parent;
            } else {
                below_b = b;
                b = place(b).parent;
            }
        }
        let met_on_one_line = |below: PlaceId| below == TOP || place(below).parent != a;
        met_on_one_line(below_a)
            || met_on_one_line(below_b)
            || place(below_a).array != place(below_b).array
    }
}

struct Reader<'e, 't> {
    lexer: Lexer<'e>,
    trie: &'t FieldTrie,
    event: Event<'e>,
    arrays: u32,
}

impl<'e> Reader<'e, '_> {
    /// Reads one value; `node` is where its path leads in the trie.
    fn value(
        &mut self,
        node: Option<u32>,
        place: PlaceId,
        depth: usize,
    ) -> Result<(), SyntaxError> {
        let Some(node) = node else {
            return self.lexer.skip(depth);
        };
        let path = self
            .trie
            .nodes
            .get(node as usize)
            .and_then(|node| node.path);
        let value = match self.lexer.peek() {
            b'{' => return self.object(node, place, depth),
            b'[' => return self.array(node, place, depth),
            b'"' => Scalar::String(match path {
                Some(_) => self.lexer.string()?,
                None => return self.lexer.skip(depth),
            }),
            b'-' | b'0'..=b'9' => Scalar::Number(self.lexer.number()?),
            b'n' => self.lexer.literal("null").map(|()| Scalar::Null)?,
            b't' => self.lexer.literal("true").map(|()| Scalar::Bool(true))?,
            b'f' => self.lexer.literal("false").map(|()| Scalar::Bool(false))?,
            _ => return self.lexer.unexpected("a JSON value"),
        };
        if let Some(path) = path {
            self.event.fields.push(Field { path, place, value });
        }
        Ok(())
    }

    fn object(&mut self, node: u32, place: PlaceId, depth: usize) -> Result<(), SyntaxError> {
        self.lexer.check_depth(depth)?;
        self.lexer.advance();
        if self.lexer.peek() == b'}' {
            self.lexer.advance();
            return Ok(());
        }
        loop {
            if self.lexer.peek() != b'"' {
                return self.lexer.unexpected("a key in quotes");
            }
            let key: Cow<'_, str> = self.lexer.string()?;
            self.lexer.expect(b':', "after the key")?;
            let child = self.trie.child(node, &key);
            self.value(child, place, depth + 1)?;
            if !self.lexer.more(b'}')? {
                return Ok(());
            }
        }
    }

    fn array(&mut self, node: u32, place: PlaceId, depth: usize) -> Result<(), SyntaxError> {
        self.lexer.check_depth(depth)?;
        self.lexer.advance();
        if self.lexer.peek() == b']' {
            self.lexer.advance();
            return Ok(());
        }
        let array = self.arrays;
        self.arrays += 1;
        loop {
            // Only objects and arrays are places of their own: plain values of
            // one array may satisfy different clauses, as in event-ruler.
            let element = match self.lexer.peek() {
                b'{' | b'[' => {
                    let parent_depth = self.event.places[place as usize].depth;
                    self.event.places.push(Place {
                        parent: place,
                        array,
                        depth: parent_depth + 1,
                        // Known when the element has been read.
                        end: PlaceId::MAX,
                    });
                    (self.event.places.len() - 1) as PlaceId
                }
                _ => place,
            };
            self.value(Some(node), element, depth + 1)?;
            if element != place {
                self.event.places[element as usize].end = self.event.places.len() as PlaceId;
            }
            if !self.lexer.more(b']')? {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'e>(text: &'e str, trie: &FieldTrie) -> Event<'e> {
        Event::read(text, trie).unwrap()
    }

    #[test]
    fn only_used_fields_are_kept() {
        let mut trie = FieldTrie::default();
        let (a, bc) = (trie.insert("a"), trie.insert("b.c"));
        let event = read(
            r#"{"b":{"c":[1,"x"],"d":2},"a":null,"z":{"a":3},"b.c":true}"#,
            &trie,
        );
        let values = |path| {
            event
                .values(path)
                .iter()
                .map(|field| field.value.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(values(a), ["null"]);
        assert_eq!(values(bc), ["1", "\"x\"", "true"]);
        assert_eq!(event.fields().len(), 4);
    }

    #[test]
    fn places_agree_unless_they_are_different_elements_of_one_array() {
        let mut trie = FieldTrie::default();
        let (x, y) = (trie.insert("a.b.x"), trie.insert("a.y"));
        let event = read(
            r#"{"a":[{"b":[{"x":1},{"x":2}],"y":3},{"y":4,"b":{"x":5}}]}"#,
            &trie,
        );
        let places = |path| {
            event
                .values(path)
                .iter()
                .map(|field| field.place)
                .collect::<Vec<_>>()
        };
        let (xs, ys) = (places(x), places(y));
        assert!(event.agree(xs[0], ys[0]) && event.agree(ys[0], xs[1]));
        assert!(
            !event.agree(xs[0], xs[1]) && !event.agree(xs[0], ys[1]) && event.agree(xs[2], ys[1])
        );
        assert!(event.agree(TOP, xs[0]) && event.agree(xs[0], xs[0]));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let trie = FieldTrie::default();
        assert_eq!(
            Event::read("[1]", &trie).unwrap_err(),
            EventError::NotAnObject
        );
        let error = Event::read("{\"a\":\n tru}", &trie).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid JSON at line 2, column 2: found `t`, expected a JSON value"
        );
        assert!(Event::read(&"[".repeat(100_000), &trie).is_err());
        assert!(Event::read(&"{\"a\":".repeat(100_000), &trie).is_err());
    }
}
