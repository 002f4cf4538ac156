//! Owns the reading of `match`: from the tree of a rule file to [`Conjunct`]s,
//! one for every combination of `$or` branches.
//!
//! A bad pattern gets an error that points at the offending value and says what
//! is allowed there; the operators themselves are read in [`operator`].

mod operator;

use pointsman_core::source::{Source, excerpt};
use smallvec::{SmallVec, smallvec};

use super::{
    Diagnostic, Dialect,
    conjunct::{Clause, Conjunct, MAX_CLAUSES},
    event::{FieldTrie, PathId},
    json::{Member, Node, NodeValue},
    matcher::Matcher,
};

/// The most combinations that the `$or`s of one pattern may multiply to.
pub(crate) const MAX_OR_COMBINATIONS: usize = 1_000;

/// The most alternatives that the `$or`s of one file may copy: each branch gets
/// what stands beside it, and a small text can ask for gigabytes.
pub(crate) const MAX_OR_COPIES: usize = 1_000_000;

/// The longest path of a field in bytes.
pub(crate) const MAX_PATH_BYTES: usize = 4_096;

const OR: &str = "$or";

/// Words that event-ruler keeps for operators: a branch of `$or` with such a
/// key makes `$or` an ordinary field name.
const RESERVED: [&str; 24] = [
    "exactly",
    "equals-ignore-case",
    "prefix",
    "suffix",
    "anything-but",
    "exists",
    "wildcard",
    "numeric",
    "cidr",
    "=",
    "<",
    "<=",
    ">",
    ">=",
    "regex",
    "not-wildcard",
    "not-equals-ignore-case",
    "date-after",
    "date-on-or-after",
    "date-before",
    "date-on-or-before",
    "in-date-range",
    "ip-address-in-range",
    "ip-address-not-in-range",
];

/// Reads the pattern `node`, whose paths are numbered in `trie`; `copies` is
/// what is left of [`MAX_OR_COPIES`].
///
/// # Errors
/// [`Diagnostic`] at the first thing wrong.
pub(crate) fn read(
    source: &Source<'_>,
    (dialect, copies): (Dialect, &mut usize),
    trie: &mut FieldTrie,
    node: &Node<'_>,
) -> Result<Conjuncts, Diagnostic> {
    let mut reader = Reader {
        source,
        dialect,
        trie,
        or_is_keyword: true,
        copies,
    };
    match &node.value {
        NodeValue::String(text) if text == "*" && dialect == Dialect::Pointsman => {
            Ok(smallvec![Conjunct {
                clauses: smallvec![]
            }])
        }
        NodeValue::Object(members) => {
            let first = reader.pattern(node, members);
            let Err(error) = first else { return first };
            // event-ruler's way to keep old patterns alive: if `$or` makes no
            // sense as a keyword, it is tried as the name of a field.
            if !mentions_or(members) || is_final(&error) {
                return Err(error);
            }
            reader.or_is_keyword = false;
            reader.pattern(node, members).map_err(|_| error)
        }
        _ => {
            let (message, hint) = match dialect {
                Dialect::Pointsman => (
                    "must be an object or `\"*\"`",
                    "`\"*\"` matches every command",
                ),
                Dialect::EventBridge => (
                    "must be an object",
                    "name at least one field, such as `{\"source\": [\"web\"]}`",
                ),
            };
            Err(source.error_with_hint(
                node.at,
                "not-an-object",
                format!("a pattern {message}, found {}", node.kind()),
                hint,
            ))
        }
    }
}

/// Whether an error stands however `$or` is read.
fn is_final(error: &Diagnostic) -> bool {
    matches!(
        error.code(),
        "duplicate-key" | "field-twice" | "too-many-combinations" | "too-many-fields"
    )
}

fn mentions_or(members: &[Member<'_>]) -> bool {
    members.iter().any(|member| {
        member.key == OR
            || matches!(&member.value.value, NodeValue::Object(members) if mentions_or(members))
    })
}

/// The combinations of a pattern; without `$or`, there is one.
pub(crate) type Conjuncts = SmallVec<[Conjunct; 1]>;

/// One combination of branches while it is being read.
type Combination = Vec<(PathId, SmallVec<[Matcher; 1]>)>;

/// Where an object of a pattern stands.
#[derive(Clone, Copy)]
struct Scope<'p> {
    /// Its path, empty at the top.
    path: &'p str,
    /// Whether a branch of `$or` is around it.
    in_or: bool,
}

struct Reader<'r, 't> {
    source: &'r Source<'t>,
    dialect: Dialect,
    trie: &'r mut FieldTrie,
    or_is_keyword: bool,
    copies: &'r mut usize,
}

impl Reader<'_, '_> {
    fn pattern(
        &mut self,
        node: &Node<'_>,
        members: &[Member<'_>],
    ) -> Result<Conjuncts, Diagnostic> {
        let mut combinations = vec![Combination::new()];
        let top = Scope {
            path: "",
            in_or: false,
        };
        self.object(node.at, members, top, &mut combinations)?;
        let conjuncts = combinations.into_iter().map(|mut combination| {
            combination.sort_by(|(a, _), (b, _)| {
                self.trie
                    .name(*a)
                    .encode_utf16()
                    .cmp(self.trie.name(*b).encode_utf16())
            });
            // Collected, it would have room for the next power of two.
            let mut clauses = SmallVec::with_capacity(combination.len());
            clauses.extend(
                combination
                    .into_iter()
                    .map(|(path, matchers)| Clause { path, matchers }),
            );
            Conjunct { clauses }
        });
        Ok(conjuncts.collect())
    }

    /// Reads the fields of one object into every combination.
    fn object(
        &mut self,
        at: usize,
        members: &[Member<'_>],
        scope: Scope<'_>,
        combinations: &mut Vec<Combination>,
    ) -> Result<(), Diagnostic> {
        let Scope { path, in_or } = scope;
        if members.is_empty() {
            let place = if path.is_empty() {
                "a pattern".into()
            } else {
                format!("`{path}`")
            };
            let message = format!("{place} must name at least one field, found an empty object");
            return Err(match self.dialect {
                Dialect::Pointsman if path.is_empty() && !in_or => self.source.error_with_hint(
                    at,
                    "empty-object",
                    message,
                    "`\"match\": \"*\"` matches every command",
                ),
                _ => self.source.error(at, "empty-object", message),
            });
        }
        if self.dialect == Dialect::Pointsman {
            self.refuse_duplicates(members, path)?;
        }
        for member in members {
            let key = &*member.key;
            if key == OR && self.or_is_keyword {
                self.or(&member.value, path, combinations)?;
                continue;
            }
            if in_or && RESERVED.contains(&key) {
                let message =
                    format!("`{key}` is an operator and cannot be a field in a branch of `$or`");
                let hint = format!(
                    "name the field first: `{{\"$or\": [{{\"field\": [{{\"{key}\": …}}]}}, …]}}`"
                );
                return Err(self.source.error_with_hint(
                    member.key_at,
                    "operator-as-field",
                    message,
                    hint,
                ));
            }
            let name = if path.is_empty() {
                key.to_owned()
            } else {
                format!("{path}.{key}")
            };
            match &member.value.value {
                NodeValue::Object(inner) => {
                    let inside = Scope { path: &name, in_or };
                    self.object(member.value.at, inner, inside, combinations)?
                }
                _ => self.field(member, &name, combinations)?,
            }
        }
        Ok(())
    }

    fn refuse_duplicates(&self, members: &[Member<'_>], path: &str) -> Result<(), Diagnostic> {
        let mut seen: Vec<(&str, usize)> = members
            .iter()
            .map(|member| (&*member.key, member.key_at))
            .collect();
        seen.sort_unstable();
        match seen.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => {
                let place = if path.is_empty() {
                    String::new()
                } else {
                    format!(" in `{path}`")
                };
                let message = format!("duplicate key `{}`{place}", pair[1].0);
                let hint =
                    "join the alternatives in one array, such as `[\"a\", {\"prefix\": \"b\"}]`";
                Err(self
                    .source
                    .error_with_hint(pair[1].1, "duplicate-key", message, hint))
            }
            None => Ok(()),
        }
    }

    /// The alternatives of the field `name`.
    fn matchers(
        &self,
        member: &Member<'_>,
        name: &str,
    ) -> Result<SmallVec<[Matcher; 1]>, Diagnostic> {
        let operators = operator::Reader {
            source: self.source,
            dialect: self.dialect,
            field: name,
        };
        Ok(match &member.value.value {
            NodeValue::Array(items) if items.is_empty() => {
                let message = format!("`{name}` has an empty array, which nothing matches");
                let hint = "list what the value may be, or `[{\"exists\": true}]` for any value";
                return Err(self.source.error_with_hint(
                    member.value.at,
                    "empty-array",
                    message,
                    hint,
                ));
            }
            NodeValue::Array(items) => items
                .iter()
                .map(|item| operators.alternative(item))
                .collect::<Result<_, _>>()?,
            _ if self.dialect == Dialect::EventBridge => {
                let message = format!(
                    "`{name}` must be an array or an object, found {}",
                    member.value.kind()
                );
                return Err(self.source.error_with_hint(
                    member.value.at,
                    "not-an-array",
                    message,
                    "put the value in an array",
                ));
            }
            // As the name of a field, `$or` is kept alive in event-ruler's spelling alone.
            _ if operator::OPERATORS.contains(&&*member.key) || member.key == OR => {
                let message = format!(
                    "`{name}` looks like the operator `{}` without its array",
                    member.key
                );
                let hint = format!(
                    "an operator must be in an array: `[{{\"{}\": …}}]`",
                    member.key
                );
                return Err(self.source.error_with_hint(
                    member.key_at,
                    "operator-as-field",
                    message,
                    hint,
                ));
            }
            _ => smallvec![operators.alternative(&member.value)?],
        })
    }

    /// Reads the field `name` into every combination.
    fn field(
        &mut self,
        member: &Member<'_>,
        name: &str,
        combinations: &mut [Combination],
    ) -> Result<(), Diagnostic> {
        let matchers = self.matchers(member, name)?;
        if name.len() > MAX_PATH_BYTES {
            let message = format!(
                "the path `{}` has more than {MAX_PATH_BYTES} bytes",
                excerpt(name)
            );
            return Err(self.source.error(member.key_at, "path-too-long", message));
        }
        let path = self.trie.insert(name);
        self.copy(member.key_at, matchers.len() * (combinations.len() - 1))?;
        for combination in combinations {
            match combination.iter().position(|(other, _)| *other == path) {
                Some(_) if self.dialect == Dialect::Pointsman => {
                    let message = format!(
                        "`{name}` is named twice in one pattern, which could never mean both"
                    );
                    let hint = "name a field either inside or outside of `$or`, and once";
                    return Err(self.source.error_with_hint(
                        member.key_at,
                        "field-twice",
                        message,
                        hint,
                    ));
                }
                // event-ruler: the later one wins, silently.
                Some(earlier) => combination[earlier].1 = matchers.clone(),
                None if combination.len() == MAX_CLAUSES => {
                    let message = format!("a pattern has at most {MAX_CLAUSES} fields");
                    return Err(self.source.error(member.key_at, "too-many-fields", message));
                }
                None => combination.push((path, matchers.clone())),
            }
        }
        Ok(())
    }

    /// Takes `count` copies of alternatives into account.
    fn copy(&mut self, at: usize, count: usize) -> Result<(), Diagnostic> {
        match self.copies.checked_sub(count) {
            Some(left) => {
                *self.copies = left;
                Ok(())
            }
            None => {
                let message = format!(
                    "the `$or`s of this file multiply to more than {MAX_OR_COPIES} alternatives"
                );
                let hint = "list alternatives of one field in its array, or split the file";
                Err(self
                    .source
                    .error_with_hint(at, "too-many-combinations", message, hint))
            }
        }
    }

    /// Multiplies the combinations with the branches of an `$or`.
    fn or(
        &mut self,
        node: &Node<'_>,
        path: &str,
        combinations: &mut Vec<Combination>,
    ) -> Result<(), Diagnostic> {
        let branches = match &node.value {
            NodeValue::Array(branches) if branches.len() >= 2 => branches,
            NodeValue::Array(branches) => {
                let message = format!(
                    "`$or` needs at least two branches, found {}",
                    branches.len()
                );
                let hint = "with one branch, leave `$or` away";
                return Err(self
                    .source
                    .error_with_hint(node.at, "or-branches", message, hint));
            }
            _ => {
                let message = format!("`$or` must be an array of objects, found {}", node.kind());
                let hint = "`{\"$or\": [{\"a\": [1]}, {\"b\": [2]}]}`";
                return Err(self
                    .source
                    .error_with_hint(node.at, "or-branches", message, hint));
            }
        };
        let before = std::mem::take(combinations);
        let scope = Scope { path, in_or: true };
        for branch in branches {
            let NodeValue::Object(members) = &branch.value else {
                let message = format!(
                    "a branch of `$or` must be an object, found {}",
                    branch.kind()
                );
                return Err(self.source.error(branch.at, "or-branches", message));
            };
            if before.len() + combinations.len() > MAX_OR_COMBINATIONS {
                let message = format!(
                    "the `$or`s of this pattern multiply to more than {MAX_OR_COMBINATIONS} combinations"
                );
                let hint = "split the rule, or list alternatives of one field in its array";
                return Err(self.source.error_with_hint(
                    node.at,
                    "too-many-combinations",
                    message,
                    hint,
                ));
            }
            let held = before.iter().flatten();
            self.copy(node.at, held.map(|(_, matchers)| matchers.len()).sum())?;
            let mut with_branch = before.clone();
            self.object(branch.at, members, scope, &mut with_branch)?;
            combinations.append(&mut with_branch);
        }
        if combinations.len() > MAX_OR_COMBINATIONS {
            let message = format!(
                "the `$or`s of this pattern multiply to more than {MAX_OR_COMBINATIONS} combinations"
            );
            return Err(self.source.error(node.at, "too-many-combinations", message));
        }
        Ok(())
    }
}
