//! Owns the turns of calls: a call is polled, and its guest computes, only while
//! it has a turn, and there are as many turns as cores. Calls that wait for a turn
//! wait here and not in the queues of the runtime. So however many calls compute,
//! fill their memory or wake up at once, the runtime has a worker free for sockets
//! and timers where it has a worker thread more than cores.
//!
//! A call that computed for less than a tick goes before those that compute for
//! longer: it waits for no more than a tick of the others.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    thread,
};

/// Of so many turns in a row, one goes to a call that computes for long.
const SHORT_IN_A_ROW: u32 = 3;

/// How long a call computed when it had its last turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// Less than a tick, or not at all yet.
    Short,
    /// Up to a tick, and it would have gone on.
    Long,
}

/// The turns of one host; clones are the same turns.
#[derive(Clone, Debug)]
pub(crate) struct Turns(Arc<Mutex<Lines>>);

#[derive(Debug)]
struct Lines {
    /// More than 0 only while nobody waits.
    free: usize,
    short: VecDeque<Arc<Place>>,
    long: VecDeque<Arc<Place>>,
    short_in_a_row: u32,
}

/// Where a call waits in one of the lines.
#[derive(Debug)]
struct Place(Mutex<State>);

#[derive(Debug)]
enum State {
    Waits(Waker),
    HasTurn,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a>(&'a Turns);

/// A place in a line, until it is dropped.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    turns: &'a Turns,
    place: Arc<Place>,
}

impl Default for Turns {
    fn default() -> Self {
        Self::new(thread::available_parallelism().map_or(1, usize::from))
    }
}

impl Turns {
    pub(crate) fn new(at_once: usize) -> Self {
        Self(Arc::new(Mutex::new(Lines {
            free: at_once,
            short: VecDeque::new(),
            long: VecDeque::new(),
            short_in_a_row: 0,
        })))
    }

    /// Takes a turn, or a place in the line behind all that wait already.
    pub(crate) fn ask(&self, length: Length, waker: &Waker) -> Result<Turn<'_>, Waiting<'_>> {
        let mut lines = self.lines();
        if lines.free > 0 {
            lines.free -= 1;
            return Ok(Turn(self));
        }
        let place = Arc::new(Place(Mutex::new(State::Waits(waker.clone()))));
        let line = match length {
            Length::Short => &mut lines.short,
            Length::Long => &mut lines.long,
        };
        line.push_back(Arc::clone(&place));
        drop(lines);
        Err(Waiting { turns: self, place })
    }

    /// Hands a turn that ended to the next in line.
    fn hand_on(&self) {
        let mut lines = self.lines();
        let Some(next) = lines.next() else {
            lines.free += 1;
            return;
        };
        let before = std::mem::replace(&mut *next.state(), State::HasTurn);
        drop(lines);
        if let State::Waits(waker) = before {
            waker.wake();
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.lines().free
    }
}

impl Lines {
    fn next(&mut self) -> Option<Arc<Place>> {
        let may_be_short = self.short_in_a_row < SHORT_IN_A_ROW || self.long.is_empty();
        if may_be_short && let Some(place) = self.short.pop_front() {
            self.short_in_a_row += 1;
            return Some(place);
        }
        self.short_in_a_row = 0;
        self.long.pop_front()
    }
}

impl Place {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.hand_on();
    }
}

impl<'a> Waiting<'a> {
    /// The turn, once it has come; until then `waker` hears of it.
    pub(crate) fn poll(self, waker: &Waker) -> Result<Turn<'a>, Self> {
        let mut state = self.place.state();
        if let State::Waits(known) = &mut *state {
            known.clone_from(waker);
            drop(state);
            return Err(self);
        }
        // Taken: this place has none any more that its end would hand on.
        *state = State::Waits(Waker::noop().clone());
        drop(state);
        Ok(Turn(self.turns))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut lines = self.turns.lines();
        let is_other = |place: &Arc<Place>| !Arc::ptr_eq(place, &self.place);
        lines.short.retain(is_other);
        lines.long.retain(is_other);
        drop(lines);
        let has_turn = matches!(*self.place.state(), State::HasTurn);
        if has_turn {
            self.turns.hand_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn waits<'a>(turns: &'a Turns, length: Length, waker: &Waker) -> Waiting<'a> {
        turns.ask(length, waker).unwrap_err()
    }

    #[test]
    fn turns_go_round_in_the_order_in_which_they_were_asked_for() {
        let turns = Turns::new(1);
        let waker = Waker::noop();
        let first = turns.ask(Length::Long, waker).unwrap();
        let second = waits(&turns, Length::Long, waker).poll(waker).unwrap_err();
        let third = waits(&turns, Length::Long, waker);
        drop(first);
        let third = third.poll(waker).unwrap_err();
        let second = second.poll(waker).unwrap();
        drop(second);
        drop(third.poll(waker).unwrap());
        assert_eq!(turns.free(), 1);
    }

    #[test]
    fn short_calls_go_first_and_long_ones_are_not_left_out() {
        let turns = Turns::new(1);
        let waker = Waker::noop();
        let mut turn = turns.ask(Length::Short, waker).unwrap();
        let mut long = Some(waits(&turns, Length::Long, waker));
        let mut short: VecDeque<_> = (0..5)
            .map(|_| waits(&turns, Length::Short, waker))
            .collect();
        let mut order = String::new();
        for _ in 0..6 {
            drop(turn);
            turn = match short.pop_front().map(|first| first.poll(waker)) {
                Some(Ok(turn)) => {
                    order.push('s');
                    turn
                }
                waiting => {
                    if let Some(Err(waiting)) = waiting {
                        short.push_front(waiting);
                    }
                    order.push('l');
                    long.take().unwrap().poll(waker).unwrap()
                }
            };
        }
        assert_eq!(order, "ssslss");
    }

    #[test]
    fn a_place_that_is_left_holds_nobody_up() {
        let turns = Turns::new(1);
        let woken = Arc::new(Woken::default());
        let (noop, waker) = (Waker::noop(), Waker::from(Arc::clone(&woken)));
        let turn = turns.ask(Length::Short, noop).unwrap();
        let left = waits(&turns, Length::Short, noop);
        let has_turn = waits(&turns, Length::Short, noop);
        let last = waits(&turns, Length::Long, &waker);
        drop(left);
        drop(turn);
        assert_eq!(woken.0.load(SeqCst), 0);
        // It was handed the turn, and its call ended before it was polled.
        drop(has_turn);
        assert_eq!(woken.0.load(SeqCst), 1);
        drop(last.poll(noop).unwrap());
        assert_eq!(turns.free(), 1);
    }
}
