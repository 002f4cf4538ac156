//! Owns what the index knows of one field: which kinds of keys its values need,
//! and the structures that a hash cannot replace.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use smallvec::SmallVec;

use super::{
    COMPACT_AT, Candidates, Place, SeenKeys, compact,
    intervals::{Interval, Intervals, ordered},
    keys::{KeysBuilder, Kind, number_key, text_key},
};
use crate::{
    Dialect,
    decimal::Decimal,
    event::{Field, PathId},
    fold::fold_text,
    fuel::Fuel,
    matcher::{Bound, Matcher, Scalar},
    network::{Address, Network},
};

/// How one alternative of a clause is found.
pub(super) enum Route<'m> {
    /// By the hash of this text.
    Text(Kind, &'m str),
    /// By the hash of this number.
    Number(&'m Decimal),
    /// By the numbers of its range.
    Range,
    /// By the addresses of this network.
    Network(&'m Network),
    /// By this text somewhere inside the value.
    Inside(&'m str),
    /// By any value of the field.
    Present,
    /// Not by a value: it wants none.
    Absent,
}

/// The best way to find what `matcher` wants; it finds at least that.
pub(super) fn route(matcher: &Matcher) -> Route<'_> {
    match matcher {
        Matcher::Null => Route::Text(Kind::Null, ""),
        Matcher::Bool(true) => Route::Text(Kind::True, ""),
        Matcher::Bool(false) => Route::Text(Kind::False, ""),
        Matcher::Number(number) => Route::Number(&number.0),
        Matcher::Exact(text) => Route::Text(Kind::Exact, text),
        Matcher::Prefix(text) => Route::Text(Kind::Prefix, text),
        Matcher::Suffix(text) => Route::Text(Kind::Suffix, text),
        Matcher::EqualsIgnoreCase(text) => Route::Text(Kind::Folded, text),
        Matcher::PrefixIgnoreCase(text) => Route::Text(Kind::FoldedPrefix, text),
        Matcher::SuffixIgnoreCase(text) => Route::Text(Kind::FoldedSuffix, text),
        Matcher::Wildcard(wildcard) => match (wildcard.as_plain(), wildcard.longest_piece()) {
            (Some(text), _) => Route::Text(Kind::Exact, text),
            (None, piece) if piece == wildcard.first() => Route::Text(Kind::Prefix, piece),
            (None, piece) if piece == wildcard.last() => Route::Text(Kind::Suffix, piece),
            (None, piece) => Route::Inside(piece),
        },
        Matcher::Numeric(range) => match (&range.low, &range.high) {
            (Some(low), Some(high)) if low == high => Route::Number(&low.value),
            _ => Route::Range,
        },
        Matcher::Address(network) | Matcher::Cidr(network) => Route::Network(&network.0),
        Matcher::Exists | Matcher::AnythingBut(_) => Route::Present,
        Matcher::Absent => Route::Absent,
    }
}

/// Lengths in bytes.
type Lengths = SmallVec<[u32; 4]>;

/// The keys that the values of a field need.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each kind is needed or not, whatever the others"
)]
struct Kinds {
    literals: bool,
    numbers: bool,
    exact: bool,
    folded: bool,
    /// How long the affixes are, of each kind.
    prefixes: Lengths,
    suffixes: Lengths,
    folded_prefixes: Lengths,
    folded_suffixes: Lengths,
}

/// A field of an index.
#[derive(Debug)]
pub(super) struct FieldIndex {
    kinds: Kinds,
    /// Whether any key is made of the folded value.
    folds: bool,
    ranges: Intervals<u64>,
    v4: Intervals<u128>,
    v6: Intervals<u128>,
    wildcards: Option<Wildcards>,
    present: Vec<Place>,
}

/// One automaton over the longest piece of every wildcard of a field.
#[derive(Debug)]
struct Wildcards {
    automaton: AhoCorasick,
    /// By piece.
    places: Vec<Vec<Place>>,
}

impl FieldIndex {
    /// Adds the combinations that any value of the field brings in.
    #[inline]
    pub(super) fn look_up_present(&self, fuel: &Fuel, candidates: &mut Candidates) {
        fuel.spend(self.present.len() as u64);
        candidates.extend_from_slice(&self.present);
    }

    /// Notes the keys of one value, and adds the combinations that are found
    /// without keys; false where the fuel ran out.
    #[inline]
    pub(super) fn look_up(
        &self,
        field: &Field<'_>,
        fuel: &Fuel,
        (seen, candidates): (&mut SeenKeys, &mut Candidates),
    ) -> bool {
        let path = field.path;
        // Candidates may become fewer: those found twice are dropped on the way.
        let before = seen.len() + candidates.len();
        match &field.value {
            Scalar::String(text) => {
                if !self.look_up_text((path, text), fuel, (seen, candidates)) {
                    return false;
                }
            }
            Scalar::Number(text) => {
                if self.kinds.numbers {
                    seen.push((path, number_key(path, &Decimal::parse(text))));
                }
                if !self.ranges.is_empty() {
                    let before = candidates.len();
                    self.ranges
                        .containing(ordered(text), &mut |place| candidates.push(place));
                    spend_hits(fuel, candidates.len() - before);
                }
            }
            Scalar::Null if self.kinds.literals => {
                seen.push((path, text_key(path, Kind::Null, "")))
            }
            Scalar::Bool(true) if self.kinds.literals => {
                seen.push((path, text_key(path, Kind::True, "")))
            }
            Scalar::Bool(false) if self.kinds.literals => {
                seen.push((path, text_key(path, Kind::False, "")))
            }
            Scalar::Null | Scalar::Bool(_) => {}
        }
        fuel.spend(1 + (seen.len() + candidates.len()).saturating_sub(before) as u64)
    }

    #[inline]
    fn look_up_text(
        &self,
        (path, text): (PathId, &str),
        fuel: &Fuel,
        (seen, candidates): (&mut SeenKeys, &mut Candidates),
    ) -> bool {
        let kinds = &self.kinds;
        if kinds.exact {
            seen.push((path, text_key(path, Kind::Exact, text)));
        }
        let plain = (&kinds.prefixes, &kinds.suffixes);
        affixes(
            (path, text),
            [Kind::Prefix, Kind::Suffix],
            plain,
            fuel,
            seen,
        );
        if self.folds {
            let folded = fold_text(text);
            if kinds.folded {
                seen.push((path, text_key(path, Kind::Folded, &folded)));
            }
            let lengths = (&kinds.folded_prefixes, &kinds.folded_suffixes);
            let folds = [Kind::FoldedPrefix, Kind::FoldedSuffix];
            affixes((path, &folded), folds, lengths, fuel, seen);
            fuel.spend_bytes(text.len() * 8);
        }
        if let Some(wildcards) = &self.wildcards
            && !wildcards.look_up(text, fuel, candidates)
        {
            return false;
        }
        if !(self.v4.is_empty() && self.v6.is_empty()) {
            let before = candidates.len();
            self.look_up_address(text, candidates);
            spend_hits(fuel, candidates.len() - before);
        }
        true
    }

    /// An address is looked up in both families and both dialects' readings:
    /// event-ruler does not keep them apart.
    fn look_up_address(&self, text: &str, candidates: &mut Candidates) {
        let mut found = |place| candidates.push(place);
        let readings =
            [Dialect::Pointsman, Dialect::EventBridge].map(|dialect| Address::parse(text, dialect));
        let again = if readings[1] == readings[0] {
            None
        } else {
            readings[1]
        };
        for address in readings[0].into_iter().chain(again) {
            let (v4, v6) = match address {
                Address::V4(address) => (u128::from(address), u128::from(address) << 96),
                Address::V6(address) => (address >> 96, address),
            };
            self.v4.containing(v4, &mut found);
            self.v6.containing(v6, &mut found);
        }
    }
}

/// Spends what finding a combination by an interval costs beyond the step that
/// each candidate does: the walk through the tree, and sorting out those that
/// other values of the field have found, some 8 ns together.
#[inline]
fn spend_hits(fuel: &Fuel, hits: usize) {
    fuel.spend(hits as u64);
}

impl Wildcards {
    /// Adds the combinations whose piece `text` contains; false where the fuel ran out.
    fn look_up(&self, text: &str, fuel: &Fuel, candidates: &mut Candidates) -> bool {
        let mut room = candidates.len() + self.places.len();
        for piece in self.automaton.find_overlapping_iter(text) {
            let places = &self.places[piece.pattern().as_usize()];
            if !fuel.spend(1 + places.len() as u64) {
                return false;
            }
            candidates.extend_from_slice(places);
            // A long text has the same piece many times.
            if candidates.len() > room.max(COMPACT_AT) {
                compact(candidates);
                room = candidates.len() * 2;
            }
        }
        fuel.spend_bytes(text.len() * 8)
    }
}

/// The keys of the prefixes and suffixes of `text` that have the given lengths.
#[inline]
fn affixes(
    (path, text): (PathId, &str),
    [prefix, suffix]: [Kind; 2],
    (prefix_lengths, suffix_lengths): (&Lengths, &Lengths),
    fuel: &Fuel,
    seen: &mut SeenKeys,
) {
    for &length in prefix_lengths.iter() {
        if let Some(start) = text.get(..length as usize) {
            fuel.spend_bytes(start.len());
            seen.push((path, text_key(path, prefix, start)));
        }
    }
    for &length in suffix_lengths.iter() {
        if let Some(end) = text
            .len()
            .checked_sub(length as usize)
            .and_then(|start| text.get(start..))
        {
            fuel.spend_bytes(end.len());
            seen.push((path, text_key(path, suffix, end)));
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct FieldBuilder {
    kinds: Kinds,
    ranges: Vec<Interval<u64>>,
    v4: Vec<Interval<u128>>,
    v6: Vec<Interval<u128>>,
    pieces: rustc_hash::FxHashMap<Box<str>, Vec<Place>>,
    present: Vec<Place>,
}

impl FieldBuilder {
    /// Notes which keys `matcher` needs of the field's values.
    pub(super) fn note(&mut self, matcher: &Matcher) {
        let lengths = |lengths: &mut Lengths, text: &str| {
            let length = text.len() as u32;
            if !lengths.contains(&length) {
                lengths.push(length);
            }
        };
        match route(matcher) {
            Route::Text(kind, text) => match kind {
                Kind::Null | Kind::True | Kind::False => self.kinds.literals = true,
                Kind::Number => self.kinds.numbers = true,
                Kind::Exact => self.kinds.exact = true,
                Kind::Folded => self.kinds.folded = true,
                Kind::Prefix => lengths(&mut self.kinds.prefixes, text),
                Kind::Suffix => lengths(&mut self.kinds.suffixes, text),
                Kind::FoldedPrefix => lengths(&mut self.kinds.folded_prefixes, text),
                Kind::FoldedSuffix => lengths(&mut self.kinds.folded_suffixes, text),
            },
            Route::Number(_) => self.kinds.numbers = true,
            Route::Range
            | Route::Network(_)
            | Route::Inside(_)
            | Route::Present
            | Route::Absent => {}
        }
    }

    /// Hangs the combination at `place` on what `matcher` wants of the field `path`.
    pub(super) fn add(
        &mut self,
        path: PathId,
        matcher: &Matcher,
        place: Place,
        keys: &mut KeysBuilder,
    ) {
        self.note(matcher);
        match route(matcher) {
            Route::Text(kind, text) => keys.add(text_key(path, kind, text), place),
            Route::Number(number) => keys.add(number_key(path, number), place),
            Route::Range => {
                let Matcher::Numeric(range) = matcher else {
                    return;
                };
                let end = |bound: &Option<Bound>, endless| {
                    bound
                        .as_ref()
                        .map_or(endless, |bound| ordered(&bound.value.to_exact()))
                };
                self.ranges.push(Interval {
                    low: end(&range.low, 0),
                    high: end(&range.high, u64::MAX),
                    place,
                });
            }
            Route::Network(network) => {
                let (low, high, is_v6) = network.ends();
                let family = if is_v6 { &mut self.v6 } else { &mut self.v4 };
                family.push(Interval { low, high, place });
            }
            Route::Inside(piece) => self.pieces.entry(piece.into()).or_default().push(place),
            Route::Present => self.present.push(place),
            // The clause would not have been chosen.
            Route::Absent => {}
        }
    }

    pub(super) fn build(mut self) -> FieldIndex {
        self.present.dedup();
        let kinds = self.kinds;
        let folds =
            kinds.folded || !kinds.folded_prefixes.is_empty() || !kinds.folded_suffixes.is_empty();
        let (pieces, places): (Vec<Box<str>>, Vec<_>) = self.pieces.into_iter().unzip();
        let automaton = (!pieces.is_empty()).then(|| {
            AhoCorasick::builder()
                .match_kind(MatchKind::Standard)
                .kind(Some(AhoCorasickKind::ContiguousNFA))
                .build(pieces.iter().map(|piece| piece.as_bytes()))
        });
        let wildcards = match automaton {
            None => None,
            Some(Ok(automaton)) => Some(Wildcards { automaton, places }),
            Some(Err(_)) => {
                // More text than the automaton can number: ask whenever the field is present.
                self.present.extend(places.into_iter().flatten());
                None
            }
        };
        FieldIndex {
            kinds,
            folds,
            ranges: Intervals::build(self.ranges),
            v4: Intervals::build(self.v4),
            v6: Intervals::build(self.v6),
            wildcards,
            present: self.present,
        }
    }
}
