//! Owns stabbing queries: which of many intervals contain a point, in time that
//! grows with the answer and the logarithm of their number.

use super::Place;

/// Intervals, both ends included.
///
/// Invariant: sorted by low end; `reach` is the furthest high end in the
/// subtree of an interval, where the root of a range is its middle.
#[derive(Debug, Default)]
pub(super) struct Intervals<T> {
    nodes: Vec<Node<T>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Interval<T> {
    pub(super) low: T,
    pub(super) high: T,
    pub(super) place: Place,
}

#[derive(Debug)]
struct Node<T> {
    interval: Interval<T>,
    reach: T,
}

impl<T: Copy + Ord> Intervals<T> {
    pub(super) fn build(mut intervals: Vec<Interval<T>>) -> Self {
        intervals.sort_by_key(|interval| interval.low);
        let mut nodes: Vec<_> = intervals
            .into_iter()
            .map(|interval| Node {
                interval,
                reach: interval.high,
            })
            .collect();
        fill(&mut nodes);
        Self { nodes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Calls `found` for every interval that contains `point`.
    pub(super) fn containing(&self, point: T, found: &mut impl FnMut(Place)) {
        search(&self.nodes, point, found);
    }
}

fn search<T: Copy + Ord>(nodes: &[Node<T>], point: T, found: &mut impl FnMut(Place)) {
    let middle = nodes.len() / 2;
    let Some(Node { interval, reach }) = nodes.get(middle) else {
        return;
    };
    if *reach < point {
        return;
    }
    search(&nodes[..middle], point, found);
    if interval.low <= point {
        if point <= interval.high {
            found(interval.place);
        }
        search(&nodes[middle + 1..], point, found);
    }
}

/// Fills `reach` and returns the furthest high end of all.
fn fill<T: Copy + Ord>(nodes: &mut [Node<T>]) -> Option<T> {
    let middle = nodes.len() / 2;
    let (before, rest) = nodes.split_at_mut(middle);
    let (root, after) = rest.split_first_mut()?;
    root.reach = [fill(before), fill(after)]
        .into_iter()
        .flatten()
        .fold(root.interval.high, T::max);
    Some(root.reach)
}

/// A number of any spelling as an integer that keeps the order. Numbers that
/// one double stands for become equal, which proposes too much, never too little.
pub(super) fn ordered(number: &str) -> u64 {
    // Adding zero makes -0 the same as 0.
    let bits = (number.parse::<f64>().unwrap_or(f64::NAN) + 0.0).to_bits();
    if bits >> 63 == 1 {
        !bits
    } else {
        bits | 1 << 63
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_finds_the_intervals_around_it() {
        let mut state = 7_u32;
        let mut random = || {
            state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            (state >> 16) % 50
        };
        for count in [0, 1, 2, 7, 100] {
            let items: Vec<Interval<u32>> = (0..count)
                .map(|id| {
                    let (a, b) = (random(), random());
                    Interval {
                        low: if a % 7 == 0 { 0 } else { a.min(b) },
                        high: if b % 7 == 0 { u32::MAX } else { a.max(b) },
                        place: Place::new(0, id, 0),
                    }
                })
                .collect();
            let intervals = Intervals::build(items.clone());
            for point in 0..52 {
                let mut found = Vec::new();
                intervals.containing(point, &mut |place| found.push(place));
                found.sort_unstable();
                let contains = |item: &&Interval<u32>| item.low <= point && point <= item.high;
                let wanted: Vec<Place> = items
                    .iter()
                    .filter(contains)
                    .map(|item| item.place)
                    .collect();
                assert_eq!(found, wanted, "{point} in {items:?}");
            }
        }
    }

    #[test]
    fn order_survives_the_conversion() {
        let ascending = [
            "-1e999",
            "-2",
            "-1.5",
            "-1e-320",
            "0",
            "1e-320",
            "0.1",
            "1",
            "9007199254740993",
            "1e999",
        ];
        for pair in ascending.windows(2) {
            assert!(ordered(pair[0]) < ordered(pair[1]), "{pair:?}");
        }
        assert_eq!(ordered("-0"), ordered("0"));
    }
}
