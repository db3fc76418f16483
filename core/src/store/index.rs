//! What finds a message: by queue and offset, by time, by key.
//!
//! Owns what of it is in memory; `files/index_file.rs` is how it lies on disk. Never reads the log: whoever appends tells.

pub mod cold;
pub mod consume_queue;
pub mod key_index;
pub mod key_search;
pub mod lives;
pub mod marks;
pub mod pages;
pub mod queue_table;
mod resident;
pub mod runs;
pub mod walk;
