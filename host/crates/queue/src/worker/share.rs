//! Owns how the places of one host are shared among handlers, so that one with
//! many slow deliveries does not starve another.

use std::{collections::HashMap, sync::Arc};

use crate::Capacity;
use pointsman_core::name::HandlerName;

/// What a claim may take of `free` places: from which handlers, and how many.
///
/// A handler may have `percent : 100 - percent` times as many places as are
/// left free. One alone comes to `percent` of all; with two or more, each stops
/// earlier, and some places are always free for one that runs nothing yet. A
/// handler with a limit of its own, and a host that takes deliveries for any
/// handler, are left as they are.
pub(super) fn share(
    mut capacity: Capacity,
    free: usize,
    percent: usize,
    running: impl FnOnce() -> HashMap<HandlerName, usize>,
) -> (Capacity, usize) {
    let Some(handlers) = capacity
        .handlers
        .as_ref()
        .filter(|_| percent < 100 && free > 0)
    else {
        return (capacity, free);
    };
    let room = |running: usize| {
        let room = (free * percent).saturating_sub(running * (100 - percent)) / 100;
        // The first of a handler needs no share.
        if running == 0 { room.max(1) } else { room }
    };
    let running = running();
    let limits = &capacity.limits;
    let rooms = running
        .iter()
        .filter(|(name, _)| !limits.contains_key(*name));
    let rooms: HashMap<&HandlerName, usize> =
        rooms.map(|(name, count)| (name, room(*count))).collect();
    // All that are claimed together may be of one handler: the least room counts.
    let least = rooms.values().copied().filter(|room| *room > 0).min();
    let max = room(0).min(least.unwrap_or(usize::MAX)).min(free);
    if rooms.values().any(|room| *room == 0) {
        let with_room = handlers.iter().filter(|name| rooms.get(name) != Some(&0));
        capacity.handlers = Some(with_room.cloned().collect::<Arc<[_]>>());
    }
    (capacity, max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HandlerName {
        HandlerName::parse(text).unwrap()
    }

    fn capacity(handlers: &[&str], limited: &[&str]) -> Capacity {
        Capacity {
            handlers: Some(handlers.iter().map(|text| name(text)).collect()),
            limits: Arc::new(limited.iter().map(|text| (name(text), 9)).collect()),
            ..Capacity::default()
        }
    }

    /// Claims until nothing more is taken, of handlers that all have plenty.
    fn fill(handlers: &[&str], places: usize, percent: usize) -> HashMap<HandlerName, usize> {
        let mut running: HashMap<HandlerName, usize> = HashMap::new();
        loop {
            let free = places - running.values().sum::<usize>();
            let (claim, max) = share(capacity(handlers, &[]), free, percent, || running.clone());
            // The most urgent are all of the first handler.
            match claim.handlers.unwrap().first() {
                Some(first) if max > 0 => *running.entry(first.clone()).or_default() += max,
                _ => return running,
            }
        }
    }

    #[test]
    fn one_handler_leaves_places_and_so_do_many() {
        assert_eq!(fill(&["a"], 64, 75)[&name("a")], 48);
        assert_eq!(fill(&["a"], 4, 75)[&name("a")], 3);
        assert_eq!(fill(&["a"], 64, 100)[&name("a")], 64);
        let three = fill(&["a", "b", "c"], 64, 75);
        assert_eq!(three.len(), 3);
        assert!(three.values().sum::<usize>() < 64, "{three:?}");
        // Even the last place goes to a handler that runs nothing.
        let running = || HashMap::from([(name("a"), 48), (name("b"), 15)]);
        let (claim, max) = share(capacity(&["a", "b", "c"], &[]), 1, 75, running);
        assert_eq!(
            (claim.handlers.unwrap().as_ref(), max),
            (&[name("c")][..], 1)
        );
    }

    #[test]
    fn a_handler_with_a_limit_of_its_own_has_no_share() {
        let running = || HashMap::from([(name("a"), 60)]);
        let (claim, max) = share(capacity(&["a", "b"], &["a"]), 4, 75, running);
        assert_eq!((claim.handlers.unwrap().len(), max), (2, 3));
        let (claim, max) = share(Capacity::default(), 4, 75, HashMap::new);
        assert_eq!((claim.handlers, max), (None, 4));
    }
}
