//! The process's heap: how it gives memory back, and where the log's tails lie.
//!
//! Owns one setting of the C library, and the memory of blocks that are aligned to a huge page. Everything else is the C
//! library's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;

/// Size and alignment of a huge page on x86-64 and, with 4 KiB pages, on ARM (the kernel's transhuge.rst), bytes.
const HUGE_PAGE: usize = 2 << 20;

/// Blocks of at least this size are the system's again as soon as they are freed, bytes. Buffers of the hot path are smaller:
/// asking the system for each of those would cost more than it gives back.
const OWN_MAPPING: i32 = 4 << 20;

/// Fixes the threshold. Call it before threads are started.
///
/// With a million queues a checkpoint has tens of megabytes; glibc, left to itself, learns from the first such block that they
/// are common, takes later ones from its arenas, and keeps them there for ever.
pub fn give_back_large_blocks() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: the call takes two numbers and changes the allocator's own settings only.
        let taken = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING) };
        // The process only needs more memory without it.
        debug_assert_eq!(taken, 1);
    }
}

/// The C library's heap, but for blocks aligned to a huge page: those, the chunks of a log's tail, are mappings of their own in
/// huge pages where the kernel has them for whoever asks (transparent_hugepage/enabled `madvise` or `always`). A write of 256 KiB
/// then pins one page instead of 64, and a tail of a gigabyte needs 512 entries of the TLB instead of 262,144.
pub struct Heap;

/// Whether a block is one of the log's chunks.
fn is_huge(layout: Layout) -> bool {
    layout.align() >= HUGE_PAGE
}

// SAFETY: every block comes from `System` or from `map`, which is told apart by its layout alone, and goes back to where it came
// from; both give what `GlobalAlloc` asks for.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the callee's.
        if is_huge(layout) { map(layout) } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above; a new mapping is zero.
        if is_huge(layout) { map(layout) } else { unsafe { System.alloc_zeroed(layout) } }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_huge(layout) {
            // SAFETY: `map` mapped exactly these bytes, and the caller no longer uses them.
            let done = unsafe { libc::munmap(block.cast(), layout.size().next_multiple_of(HUGE_PAGE)) };
            debug_assert_eq!(done, 0);
        } else {
            // SAFETY: `System` gave the block with this layout.
            unsafe { System.dealloc(block, layout) };
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !is_huge(layout) {
            // SAFETY: `System` gave the block with this layout; the alignment stays, so the new one is its, too.
            return unsafe { System.realloc(block, layout, size) };
        }
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else { return ptr::null_mut() };
        let new = map(wanted);
        if !new.is_null() {
            // SAFETY: both blocks are at least as long as the shorter one, and the new one is nobody else's.
            unsafe {
                ptr::copy_nonoverlapping(block, new, layout.size().min(size));
                self.dealloc(block, layout);
            }
        }
        new
    }
}

/// A mapping of its own, zero, aligned as `layout` wants it; null if there is no memory.
fn map(layout: Layout) -> *mut u8 {
    let size = layout.size().next_multiple_of(HUGE_PAGE);
    let around = size + layout.align();
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new anonymous mapping touches nothing that exists.
    let mapped = unsafe { libc::mmap(ptr::null_mut(), around, protection, flags, -1, 0) };
    if mapped == libc::MAP_FAILED {
        return ptr::null_mut();
    }
    let front = mapped.cast::<u8>().align_offset(layout.align());
    // SAFETY: `front` is less than the alignment, so block and both ends lie within the mapping; the ends are nobody's.
    unsafe {
        let block = mapped.cast::<u8>().add(front);
        if front > 0 {
            libc::munmap(mapped, front);
        }
        if around - front > size {
            libc::munmap(block.add(size).cast(), around - front - size);
        }
        // A kernel without huge pages says EINVAL: then they are small ones.
        libc::madvise(block.cast(), size, libc::MADV_HUGEPAGE);
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_huge_block_is_aligned_zero_and_can_grow() {
        let layout = Layout::from_size_align(HUGE_PAGE + 5, HUGE_PAGE).unwrap();
        // SAFETY: the layout has a size; blocks are used within their lengths and given back once.
        unsafe {
            let block = Heap.alloc_zeroed(layout);
            assert!(!block.is_null() && block.align_offset(HUGE_PAGE) == 0);
            assert_eq!((block.read(), block.add(HUGE_PAGE + 4).read()), (0, 0));
            block.add(HUGE_PAGE + 4).write(7);
            let grown = Heap.realloc(block, layout, 3 * HUGE_PAGE);
            assert!(grown.align_offset(HUGE_PAGE) == 0);
            assert_eq!((grown.add(HUGE_PAGE + 4).read(), grown.add(3 * HUGE_PAGE - 1).read()), (7, 0));
            Heap.dealloc(grown, Layout::from_size_align(3 * HUGE_PAGE, HUGE_PAGE).unwrap());
        }
    }
}
