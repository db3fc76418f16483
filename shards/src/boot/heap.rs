//! How the process's heap gives memory back.
//!
//! Owns one setting of the C library. With a million queues a checkpoint has tens of megabytes; glibc, left to itself, learns
//! from the first such block that they are common, takes later ones from its arenas, and keeps them there for ever.

/// Blocks of at least this size are the system's again as soon as they are freed, bytes. Buffers of the hot path are smaller:
/// asking the system for each of those would cost more than it gives back.
const OWN_MAPPING: i32 = 4 << 20;

/// Fixes the threshold. Call it before threads are started.
pub fn give_back_large_blocks() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: the call takes two numbers and changes the allocator's own settings only.
        let taken = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING) };
        // The process only needs more memory without it.
        debug_assert_eq!(taken, 1);
    }
}
