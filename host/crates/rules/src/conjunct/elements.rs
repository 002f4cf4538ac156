//! Owns the agreement of clauses on array elements, in one pass over the places
//! that the clauses could take.
//!
//! Places are numbered in the order of the text, so that what stands inside an
//! element has the numbers that follow its own. The pass keeps a stack of the
//! elements around the place it is at. Each array must offer one element that
//! has everything the array has to give: what one array gives, nothing else
//! can. That holds unless a field is found in two arrays side by side, as
//! `{"a": {"b": […]}, "a.b": […]}` spells it; then the answer is
//! [`Verdict::Tangled`], and [`search`](super::search) has to find out.

use smallvec::SmallVec;

use super::{Options, Role, View, clause_set::ClauseSet};
use crate::event::{Event, PlaceId, TOP};

/// Steps of a place: it is sorted and visited.
const ENTRY_STEPS: u64 = 4;
/// Steps of an element: its sets of clauses are made, and given to its array.
const ELEMENT_STEPS: u64 = 8;

/// What a pass finds out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Holds,
    Fails,
    /// One pass cannot tell.
    Tangled,
}

/// Whether the clauses agree, each in its role. [`Role::Either`] has to be
/// decided before.
pub(super) fn agree(view: View<'_, '_>, options: &[Options], roles: &[Role]) -> Verdict {
    let mut entries: SmallVec<[Entry; 16]> = SmallVec::new();
    for (clause, (options, role)) in options.iter().zip(roles).enumerate() {
        let (places, is_match) = match role {
            Role::Value => (&options.matching, true),
            Role::Hidden => (&options.all, false),
            Role::Either | Role::Absent => continue,
        };
        let clause = clause as u32;
        entries.extend(places.iter().map(|&place| Entry {
            place,
            clause,
            is_match,
        }));
    }
    if !view.fuel.spend(entries.len() as u64 * ENTRY_STEPS) {
        return Verdict::Fails;
    }
    entries.sort_unstable_by_key(|entry| entry.place);
    let mut pass = Pass {
        event: view.event,
        hides: roles.contains(&Role::Hidden),
        frames: SmallVec::new(),
        tangled: false,
    };
    pass.frames
        .push(Frame::of(TOP, view.event, ClauseSet::default()));
    for entry in &entries {
        let Some(opened) = pass.entry(entry) else {
            return Verdict::Tangled;
        };
        if !view.fuel.spend(opened * ELEMENT_STEPS) {
            return Verdict::Fails;
        }
    }
    pass.verdict()
}

/// A place that matters to a clause.
struct Entry {
    place: PlaceId,
    clause: u32,
    /// Whether the value there satisfies the clause; else it is a value that
    /// the clause wants hidden.
    is_match: bool,
}

/// An element on the way to the current place.
struct Frame {
    place: PlaceId,
    /// The first place after everything inside.
    end: PlaceId,
    /// Clauses that an element around this one satisfies by itself.
    above: ClauseSet,
    /// Clauses that a value satisfies right here.
    direct: ClauseSet,
    /// Clauses with a match here or anywhere inside.
    gives: ClauseSet,
    /// Clauses to hide that have a value here or inside.
    hidden: ClauseSet,
    /// Whether taking this element fails.
    broken: bool,
    /// The array inside that the pass is in.
    array: Option<Array>,
}

/// One array, as far as its elements are known.
struct Array {
    number: u32,
    /// Clauses with a match in any element.
    gives: ClauseSet,
    /// What the best element that does not fail gives.
    best: ClauseSet,
    hidden: ClauseSet,
}

impl Frame {
    fn of(place: PlaceId, event: &Event<'_>, above: ClauseSet) -> Self {
        Self {
            place,
            end: event.end(place),
            above,
            direct: ClauseSet::default(),
            gives: ClauseSet::default(),
            hidden: ClauseSet::default(),
            broken: false,
            array: None,
        }
    }

    /// Takes the array that was open into account; true where a field is in
    /// two arrays of this element.
    fn close_array(&mut self) -> bool {
        let Some(array) = self.array.take() else {
            return false;
        };
        let in_two = self.gives.meets(&array.gives);
        self.gives.add(&array.gives);
        self.hidden.add(&array.hidden);
        if array.best != array.gives {
            self.broken = true;
        }
        // Values are out of sight only if an earlier clause takes another element.
        match (array.gives.first(), array.hidden.first()) {
            (Some(taken), Some(hidden)) => self.broken |= taken > hidden,
            (None, Some(_)) => self.broken = true,
            (_, None) => {}
        }
        in_two
    }
}

struct Pass<'p, 'e> {
    event: &'p Event<'e>,
    /// Whether some clause wants its values hidden.
    hides: bool,
    frames: SmallVec<[Frame; 4]>,
    tangled: bool,
}

impl Pass<'_, '_> {
    /// Notes one entry, and returns how many elements it led through; none
    /// where a pass cannot tell.
    fn entry(&mut self, entry: &Entry) -> Option<u64> {
        while self.top().end <= entry.place {
            self.leave();
        }
        let clause = entry.clause as usize;
        let top = self.top();
        let mut above = top.above;
        if entry.place != top.place {
            above.add(&top.direct);
        }
        if entry.is_match && above.contains(clause) {
            // An outer value does as well, unless the inner one may hide others.
            return (!self.hides).then_some(0);
        }
        let opened = self.enter(entry.place, above);
        let top = self.top_mut();
        if entry.is_match {
            top.direct.insert(clause);
            top.gives.insert(clause);
        } else {
            top.hidden.insert(clause);
            top.broken = true;
        }
        Some(opened)
    }

    /// Opens the elements between the current one and `place`.
    fn enter(&mut self, place: PlaceId, above: ClauseSet) -> u64 {
        let from = self.top().place;
        let mut way: SmallVec<[PlaceId; 8]> = SmallVec::new();
        let mut at = place;
        while at != from {
            way.push(at);
            at = self.event.parent(at);
        }
        let opened = way.len() as u64;
        while let Some(place) = way.pop() {
            self.frames.push(Frame::of(place, self.event, above));
        }
        opened
    }

    /// Closes the current element and gives its array what is known of it.
    fn leave(&mut self) {
        let Some(mut frame) = self.frames.pop() else {
            return;
        };
        self.tangled |= frame.close_array();
        let number = self.event.array(frame.place);
        let parent = self.top_mut();
        let mut tangled = false;
        if parent
            .array
            .as_ref()
            .is_none_or(|array| array.number != number)
        {
            tangled = parent.close_array();
            parent.array = Some(Array {
                number,
                gives: ClauseSet::default(),
                best: ClauseSet::default(),
                hidden: ClauseSet::default(),
            });
        }
        if let Some(array) = &mut parent.array {
            array.gives.add(&frame.gives);
            array.hidden.add(&frame.hidden);
            if !frame.broken && frame.gives.len() > array.best.len() {
                array.best = frame.gives;
            }
        }
        self.tangled |= tangled;
    }

    fn verdict(mut self) -> Verdict {
        while self.frames.len() > 1 {
            self.leave();
        }
        self.tangled |= self.top_mut().close_array();
        match (self.tangled, self.top().broken) {
            (true, _) => Verdict::Tangled,
            (false, true) => Verdict::Fails,
            (false, false) => Verdict::Holds,
        }
    }

    // The outermost frame, of what is outside all arrays, ends after every place.
    fn top(&self) -> &Frame {
        self.frames.last().expect("the outermost frame stays")
    }

    fn top_mut(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("the outermost frame stays")
    }
}
