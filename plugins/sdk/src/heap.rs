//! Owns the handler's heap: dlmalloc, as in Rust's own standard library on this
//! target, with a first part that is there when the handler starts. A memory
//! that grows makes the host change the protection of its pages, there and
//! back, which takes a fifth of a short call.

use core::{
    alloc::{GlobalAlloc, Layout},
    arch::wasm32::memory_grow,
    cell::{Cell, UnsafeCell},
    ptr,
};

use dlmalloc::{Allocator, Dlmalloc};

/// Room for a command of some tens of KiB and what becomes of it, and the least
/// that dlmalloc asks for. With a stack of 96 KiB and the data of a usual handler
/// its memory has three pages of 64 KiB in all. The host clears them between two
/// calls, which is a third of a short one: with four pages it takes a fifth longer.
const FIRST_BYTES: usize = 64 << 10;
const PAGE_BYTES: usize = 64 << 10;

#[repr(align(16))]
struct First(UnsafeCell<[u8; FIRST_BYTES]>);

// SAFETY: only `Pages` takes its address, and gives it out once.
unsafe impl Sync for First {}

static FIRST: First = First(UnsafeCell::new([0; FIRST_BYTES]));

/// Gives the first part, then pages of the memory; takes nothing back.
struct Pages {
    first_is_free: Cell<bool>,
}

// SAFETY: what it gives overlaps nothing, is as large as it says and zero.
unsafe impl Allocator for Pages {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        if size <= FIRST_BYTES && self.first_is_free.take() {
            return (FIRST.0.get().cast(), FIRST_BYTES, 0);
        }
        let pages = size.div_ceil(PAGE_BYTES);
        match memory_grow::<0>(pages) {
            usize::MAX => (ptr::null_mut(), 0, 0),
            at => (
                ptr::without_provenance_mut(at * PAGE_BYTES),
                pages * PAGE_BYTES,
                0,
            ),
        }
    }

    fn remap(&self, _at: *mut u8, _old: usize, _new: usize, _may_move: bool) -> *mut u8 {
        ptr::null_mut()
    }

    fn free_part(&self, _at: *mut u8, _old: usize, _new: usize) -> bool {
        false
    }

    fn free(&self, _at: *mut u8, _size: usize) -> bool {
        false
    }

    fn can_release_part(&self, _flags: u32) -> bool {
        false
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        PAGE_BYTES
    }
}

struct Heap(UnsafeCell<Dlmalloc<Pages>>);

// SAFETY: a handler has one thread.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap(UnsafeCell::new(Dlmalloc::new_with_allocator(Pages {
    first_is_free: Cell::new(true),
})));

// SAFETY: as the calls that it passes on; there is one thread, and dlmalloc
// does not call back, so that no two borrows of it meet.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { (*self.0.get()).malloc(layout.size(), layout.align()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { (*self.0.get()).calloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { (*self.0.get()).free(at, layout.size(), layout.align()) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe { (*self.0.get()).realloc(at, layout.size(), layout.align(), size) }
    }
}
