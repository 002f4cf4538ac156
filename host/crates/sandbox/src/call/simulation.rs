//! Owns what a simulated call sees instead of this machine's clock, its random
//! numbers and the servers out there: a clock that moves only where the guest
//! waits, numbers that follow from a seed, and replies from a test. The same call
//! ends the same way each time.

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use rand_core::TryRng;
use wasmtime_wasi::WasiCtxBuilder;

use super::{
    clock::Clock,
    servers::{Servers, SimulatedServers},
};
use crate::grants::outgoing::Recorder;

/// The world of a simulated call.
#[derive(Clone)]
pub struct Simulation {
    /// The time when the call begins, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// Where the random numbers begin.
    pub seed: u64,
    /// Who answers requests; without, those that are granted go out.
    pub servers: Option<Arc<dyn SimulatedServers>>,
    /// Who records requests that go out.
    pub recorder: Option<Recorder>,
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("now_ms", &self.now_ms)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// What a call carries of its [`Simulation`]. Clones share the clock.
#[derive(Clone)]
pub(crate) struct Simulated {
    pub(crate) clock: Clock,
    /// In place of the servers of all requests.
    pub(crate) servers: Option<Arc<Servers>>,
    pub(crate) recorder: Option<Recorder>,
    seed: u64,
}

impl Simulated {
    /// The beginning of a call that may take as long as `timeout`.
    pub(crate) fn new(simulation: Simulation, timeout: Duration) -> Self {
        let clock = Clock::new(Duration::from_millis(simulation.now_ms), timeout);
        let servers = simulation
            .servers
            .map(|servers| Servers::new(servers, clock.clone()));
        Self {
            servers: servers.map(Arc::new),
            recorder: simulation.recorder,
            clock,
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
