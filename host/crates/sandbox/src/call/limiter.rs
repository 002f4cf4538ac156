//! Owns the growth of one instance's memories and tables, against the handler's
//! limit and the host's budget.

use std::{io, sync::Arc};

use rustix::io::Errno;
use wasmtime::ResourceLimiter;

use super::{memory::Refused, shared::Shared};
use pointsman_machine::budget::{Budget, Share};

/// Bytes that one table element takes on the host.
const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();

/// What is taken of the host's budget at least, so that the small growths of
/// most calls ask once or twice: a page of WebAssembly.
const BUDGET_STEP_BYTES: u64 = 64 << 10;

/// Adds up all linear memories and tables of one instance, the heap of its
/// collected objects included, and takes them of the host's budget until its
/// store is dropped.
pub(crate) struct MemoryLimiter {
    used: usize,
    bytes_max: usize,
    table_elements_max: usize,
    of_host: Share,
    shared: Arc<Shared>,
}

impl MemoryLimiter {
    pub(crate) fn new(
        bytes_max: usize,
        table_elements_max: usize,
        host: &Arc<Budget>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            used: 0,
            bytes_max,
            table_elements_max,
            of_host: host.nothing(),
            shared,
        }
    }

    /// Counts for another call from now on; the memory is what it was.
    pub(crate) fn begin(&mut self, shared: Arc<Shared>) {
        shared.memory.begin(self.used);
        self.shared = shared;
    }

    fn grow(&mut self, bytes: usize) -> bool {
        let memory = &self.shared.memory;
        let used = self.used.saturating_add(bytes);
        if used > self.bytes_max {
            return memory.refuse(Refused::Bytes);
        }
        if self
            .of_host
            .grow_to(used as u64, BUDGET_STEP_BYTES)
            .is_err()
        {
            return memory.refuse(Refused::Host);
        }
        self.used = used;
        memory.grown_to(used);
        true
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current)))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // Past a maximum of its own a memory does not grow for anybody.
        if error.is::<io::Error>() || error.is::<Errno>() {
            self.shared.memory.refuse(Refused::Machine);
        }
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > self.table_elements_max {
            return Ok(self.shared.memory.refuse(Refused::TableElements));
        }
        let elements = desired.saturating_sub(current);
        Ok(self.grow(elements.saturating_mul(TABLE_ELEMENT_BYTES)))
    }

    // How many of each there may be is checked at load: see `parts`.
    fn instances(&self) -> usize {
        usize::MAX
    }

    fn tables(&self) -> usize {
        usize::MAX
    }

    fn memories(&self) -> usize {
        usize::MAX
    }
}
