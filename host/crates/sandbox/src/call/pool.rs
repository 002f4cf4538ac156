//! Owns the shape of the pool that instances come from: how many places it has
//! of each kind, and what of a place stays in memory between two calls.

use wasmtime::{Enabled, PoolingAllocationConfig};

use crate::{
    component::parts::{
        CORE_INSTANCES_EACH, CORE_INSTANCES_MAX, MEMORIES_MAX, TABLES_EACH, TABLES_MAX,
    },
    settings::SandboxSettings,
};

/// The first bytes of each memory are cleared by hand when a call ends and stay
/// mapped; what lies behind goes back to the kernel, which costs as much as half
/// of a short call. The whole memory of a Rust handler that `pointsman build`
/// makes fits: a stack of 96 KiB, data, and the SDK's first heap.
const MEMORY_KEEP_RESIDENT_BYTES: usize = 256 << 10;
/// A table is cleared as far as it reaches: 64 KiB hold 8,192 functions.
const TABLE_KEEP_RESIDENT_BYTES: usize = 64 << 10;
/// What a call without deep recursion uses of its call stack.
const STACK_KEEP_RESIDENT_BYTES: usize = 64 << 10;

/// Places that stay ready for the component that used them last, of all
/// components together. Each may hold what is kept resident.
const WARM_PLACES: u32 = 100;

/// Instances that may wait for their next call: enough for each core and
/// handler of a usual host, and no more memory than a quarter of what may run.
pub(crate) fn idle_max(limits: &SandboxSettings) -> u32 {
    (limits.instances_max / 4).max(1)
}

/// The pool for these limits. Places that are never used cost address space only.
pub(crate) fn pool(limits: &SandboxSettings) -> PoolingAllocationConfig {
    // Those that are kept do not take the place of those at work.
    let instances = limits.instances_max.saturating_add(idle_max(limits));
    // The largest component runs on the smallest host.
    let with_largest = |count: u32, largest: u32| count.saturating_add(largest);
    let tables = instances.saturating_mul(TABLES_EACH);
    let core_instances = instances.saturating_mul(CORE_INSTANCES_EACH);
    let memories = with_largest(instances, MEMORIES_MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_stacks(instances)
        .total_memories(memories)
        .total_gc_heaps(memories)
        .total_tables(with_largest(tables, TABLES_MAX))
        .total_core_instances(with_largest(core_instances, CORE_INSTANCES_MAX))
        // `parts` says how many there may be, with a pool and without.
        .max_memories_per_module(MEMORIES_MAX)
        .max_tables_per_module(TABLES_MAX)
        .table_elements(limits.table_elements_max)
        .linear_memory_keep_resident(MEMORY_KEEP_RESIDENT_BYTES)
        .table_keep_resident(TABLE_KEEP_RESIDENT_BYTES)
        .async_stack_keep_resident(STACK_KEEP_RESIDENT_BYTES)
        .max_unused_warm_slots(WARM_PLACES)
        // A batch keeps places back until it is full: each call then gets one
        // that is cold, which costs more than the system calls that are saved.
        .decommit_batch_size(1)
        // Never, with this wasmtime. Its scan asks the kernel for the pages that
        // are written *and present*. A page that is swapped out, or that the
        // kernel is just migrating, is written and not present: the scan passes
        // it by, it is neither cleared nor given back, and the next call finds
        // in its memory what another handler left there, and in its tables
        // pointers into instances that are gone, which a guest can call.
        // bytecodealliance/wasmtime#14357 fixes it; until a release has that,
        // every page is cleared or given back without asking.
        .pagemap_scan(Enabled::No);
    pool
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HandlerLimits, Runtime};
    use pointsman_machine::budget::Budgets;

    #[test]
    fn no_page_is_left_out_when_an_instance_is_cleared() {
        // What the engine runs with, not what was asked for.
        let (settings, limits) = (SandboxSettings::default(), HandlerLimits::default());
        let runtime =
            Runtime::new(&settings, &limits, &Budgets::here(&Default::default())).unwrap();
        let pool = runtime.engine.get_pooling_config();
        let pool = pool.expect("a machine with the address space for a pool");
        assert_eq!(
            pool.get_pagemap_scan(),
            Enabled::No,
            "see bytecodealliance/wasmtime#14357: pages that are swapped out keep what is in them"
        );
    }

    #[test]
    fn what_stays_resident_of_a_place_is_fitted_to_what_a_handler_dirties() {
        let pool = pool(&SandboxSettings::default());
        let kept = pool.get_memory_keep_resident();
        assert!((64 << 10..=256 << 10).contains(&kept), "{kept}");
    }
}
