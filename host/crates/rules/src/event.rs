//! Owns the reading of a command's attributes: one pass over their index that
//! keeps only the fields that rules use, and steps over all others whole.
//!
//! A field is named by its path, keys joined with `.`, so that
//! `{"a": {"b": 1}}` and `{"a.b": 1}` hold the same field. A value inside an
//! array element remembers which one (its place), because two clauses of a rule
//! may not be satisfied by different elements of one array.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{
    json::{Elements, Entries, Kind, Value},
    matcher::Scalar,
};
use pointsman_core::command::Command;

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

    /// Whether rules use `path` or a field inside it.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.child(0, path).is_some()
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
    /// Reads the fields of `trie` out of `command`.
    pub(crate) fn read(command: &'e Command, trie: &FieldTrie) -> Self {
        let mut reader = Reader {
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
        reader.value(command.root(), 0, TOP);
        let mut event = reader.event;
        event.fields.sort_by_key(|field| field.path);
        event
    }

    /// All fields, sorted by path.
    pub(crate) fn fields(&self) -> &[Field<'e>] {
        &self.fields
    }

    /// The values of one path, in the order of the text.
    #[inline]
    pub(crate) fn values(&self, path: PathId) -> &[Field<'e>] {
        let start = self.fields.partition_point(|field| field.path < path);
        let rest = &self.fields[start..];
        // Searched, not counted: a rule that takes the first of 100,000 values
        // pays one step.
        &rest[..rest.partition_point(|field| field.path == path)]
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
    trie: &'t FieldTrie,
    event: Event<'e>,
    arrays: u32,
}

impl<'e> Reader<'e, '_> {
    /// Reads one value; `node` is where its path leads in the trie.
    fn value(&mut self, value: Value<'e>, node: u32, place: PlaceId) {
        let scalar = match value.kind() {
            Kind::Object(entries) => return self.object(entries, node, place),
            Kind::Array(elements) => return self.array(elements, node, place),
            Kind::String => None,
            Kind::Number(text) => Some(Scalar::Number(text)),
            Kind::Null => Some(Scalar::Null),
            Kind::Bool(value) => Some(Scalar::Bool(value)),
        };
        let node = self.trie.nodes.get(node as usize);
        if let Some(path) = node.and_then(|node| node.path) {
            let value = scalar.unwrap_or_else(|| Scalar::String(value.string()));
            self.event.fields.push(Field { path, place, value });
        }
    }

    fn object(&mut self, entries: Entries<'e>, node: u32, place: PlaceId) {
        for (key, value) in entries {
            if let Some(child) = self.trie.child(node, &key) {
                self.value(value, child, place);
            }
        }
    }

    fn array(&mut self, elements: Elements<'e>, node: u32, place: PlaceId) {
        let array = self.arrays;
        self.arrays += 1;
        for value in elements {
            // Only objects and arrays are places of their own: plain values of
            // one array may satisfy different clauses, as in event-ruler.
            if !matches!(value.kind(), Kind::Object(_) | Kind::Array(_)) {
                self.value(value, node, place);
                continue;
            }
            let element = self.event.places.len() as PlaceId;
            self.event.places.push(Place {
                parent: place,
                array,
                depth: self.event.places[place as usize].depth + 1,
                // Known when the element has been read.
                end: PlaceId::MAX,
            });
            self.value(value, node, element);
            self.event.places[element as usize].end = self.event.places.len() as PlaceId;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &str) -> Command {
        Command::parse(text).unwrap()
    }

    #[test]
    fn only_used_fields_are_kept() {
        let mut trie = FieldTrie::default();
        let (a, bc) = (trie.insert("a"), trie.insert("b.c"));
        let command = command(r#"{"b":{"c":[1,"x"],"d":2},"a":null,"z":{"a":3},"b.c":true}"#);
        let event = Event::read(&command, &trie);
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
        let command = command(r#"{"a":[{"b":[{"x":1},{"x":2}],"y":3},{"y":4,"b":{"x":5}}]}"#);
        let event = Event::read(&command, &trie);
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
}
