//! Owns the memory that all compilations have together. Each holds as much of it
//! as its process may take, and waits for that. So that a few do not keep all
//! others waiting, one that is usual is tried with less first.

use std::{sync::Arc, thread};

use pointsman_machine::budget::{Budget, Machine, Share};
use tokio_util::sync::CancellationToken;

use super::process::LOOK;
use crate::settings::SandboxSettings;

/// Enough for one component of CPython's size four times over; half of a small machine.
const EACH_BYTES: u64 = 2 << 30;

/// What most components are compiled with: the process itself with its threads,
/// and for each byte of the component twice what CPython takes.
const USUAL_BYTES: u64 = 512 << 20;
const USUAL_PER_BYTE: u64 = 24;

/// The memory of all compilations.
#[derive(Debug)]
pub(super) struct Memory {
    /// What one compilation may take.
    pub(super) each_bytes: u64,
    all: Arc<Budget>,
}

impl Memory {
    pub(super) fn new(settings: &SandboxSettings) -> Self {
        let half = Machine::here().memory_bytes / 2;
        let each_bytes = settings.compile_memory_max_bytes;
        let each_bytes = each_bytes.unwrap_or(EACH_BYTES.min(half));
        let all = settings.compile_memory_total_bytes.unwrap_or(half);
        Self::of(each_bytes, all)
    }

    pub(super) fn of(each_bytes: u64, all_bytes: u64) -> Self {
        Self {
            each_bytes,
            // One must be able to run.
            all: Budget::new("host.compile_memory_total_bytes", all_bytes.max(each_bytes)),
        }
    }

    /// What a component of so many bytes is tried with first.
    pub(super) fn usual(&self, component_bytes: usize) -> u64 {
        let usual = USUAL_PER_BYTE.saturating_mul(component_bytes as u64);
        USUAL_BYTES.saturating_add(usual).min(self.each_bytes)
    }

    /// Waits for `bytes`, unless it is stopped. Blocks.
    pub(super) fn wait(&self, bytes: u64, stop: &CancellationToken) -> Option<Share> {
        while !stop.is_cancelled() {
            if let Ok(share) = self.all.take(bytes) {
                return Some(share);
            }
            // As often as a child is looked at, whose end it waits for.
            thread::sleep(LOOK);
        }
        None
    }
}
