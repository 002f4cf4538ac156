//! Owns what a simulated call sees instead of this machine's clock and random
//! numbers: a clock that stands still but for sleeping, which takes no time,
//! and numbers that follow from a seed. The same call ends the same way each time.

use std::{
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand_core::TryRng;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtxBuilder, async_trait, p2::Pollable};

/// The world of a simulated call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Simulation {
    /// The time when the call begins, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// Where the random numbers begin.
    pub seed: u64,
}

/// What a call carries of its [`Simulation`]. Clones share the clock.
#[derive(Clone)]
pub(crate) struct Simulated {
    pub(crate) clock: Clock,
    seed: u64,
}

impl Simulated {
    /// The beginning of a call that may take as long as `timeout`.
    pub(crate) fn new(simulation: Simulation, timeout: Duration) -> Self {
        Self {
            clock: Clock(Arc::new(Inner {
                start: Duration::from_millis(simulation.now_ms),
                timeout,
                expired: CancellationToken::new(),
                moment: Mutex::default(),
            })),
            seed: simulation.seed,
        }
    }

    /// The numbers that the contract's `random` gives.
    pub(crate) fn random(&self) -> SplitMix64 {
        SplitMix64(self.seed)
    }

    /// Lets WASI have the same clock, and numbers from the same seed.
    pub(crate) fn grant(&self, ctx: &mut WasiCtxBuilder) {
        ctx.wall_clock(self.clock.clone())
            .monotonic_clock(self.clock.clone())
            .secure_random(self.random())
            .insecure_random(self.random())
            .insecure_random_seed(self.seed.into());
    }
}

/// A clock that only sleeping moves.
#[derive(Clone)]
pub(crate) struct Clock(Arc<Inner>);

struct Inner {
    start: Duration,
    timeout: Duration,
    expired: CancellationToken,
    moment: Mutex<Moment>,
}

#[derive(Default)]
struct Moment {
    // Since the start of the call.
    elapsed: Duration,
    // When the WASI timers are due that the guest waits for.
    due: Vec<Duration>,
}

impl Clock {
    /// Since the Unix epoch.
    pub(crate) fn now(&self) -> Duration {
        self.0.start.saturating_add(self.elapsed())
    }

    /// Since the start of the call.
    pub(crate) fn elapsed(&self) -> Duration {
        self.moment().elapsed
    }

    /// Moves on by `duration` at once. Never ends where that is past the
    /// call's timeout, which ends the call instead.
    pub(crate) async fn sleep(&self, duration: Duration) {
        self.move_to(self.elapsed().saturating_add(duration)).await;
        // As a real sleep does, however short: others get their turn.
        tokio::task::yield_now().await;
    }

    /// Waits until the call sleeps past its timeout.
    pub(crate) async fn expired(&self) {
        self.0.expired.cancelled().await;
    }

    /// A timer for the moment `due` since the start of the call.
    pub(crate) fn timer(self, due: Duration) -> Timer {
        Timer { clock: self, due }
    }

    async fn move_to(&self, elapsed: Duration) {
        if elapsed >= self.0.timeout {
            self.0.expired.cancel();
            pending::<()>().await;
        }
        let mut moment = self.moment();
        moment.elapsed = moment.elapsed.max(elapsed);
    }

    fn moment(&self) -> MutexGuard<'_, Moment> {
        self.0.moment.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        Self::now(self)
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A WASI timer on a simulated clock.
pub(crate) struct Timer {
    clock: Clock,
    due: Duration,
}

#[async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        if self.clock.elapsed() < self.due {
            let waiting = Waiting::new(&self.clock, self.due);
            // A guest may wait for several at once: all are seen before one is chosen.
            tokio::task::yield_now().await;
            waiting.until_first().await;
            self.clock.move_to(self.due).await;
        }
    }
}

/// A timer that the guest waits for now.
struct Waiting<'a>(&'a Clock, Duration);

impl<'a> Waiting<'a> {
    fn new(clock: &'a Clock, due: Duration) -> Self {
        clock.moment().due.push(due);
        Self(clock, due)
    }

    /// Never ends where another one is due before: the guest wakes up for that one.
    async fn until_first(&self) {
        let first = self.0.moment().due.iter().min().copied();
        if first.is_some_and(|first| first < self.1) {
            pending::<()>().await;
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut moment = self.0.moment();
        if let Some(at) = moment.due.iter().position(|due| *due == self.1) {
            moment.due.swap_remove(at);
        }
    }
}

/// Sebastiano Vigna's `SplitMix64`: tiny, and the same numbers in every version of
/// the host, which expectations rely on. Nothing here is secret.
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Fills `bytes`, eight from each number.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

impl TryRng for SplitMix64 {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.next() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.fill(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_are_those_of_the_reference() {
        // From Vigna's splitmix64.c with the seed 1234567.
        let mut random = SplitMix64(1_234_567);
        let numbers = [random.next(), random.next(), random.next()];
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }
}
