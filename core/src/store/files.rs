//! The files beside the log: what the directory is, snapshots of what the log said, indexes of full segments.
//!
//! Owns their layouts, each with a checksum over all of it. Except for the superblock all can be made again from the log.

pub mod checkpoint;
pub mod index_build;
pub mod index_file;
pub mod index_page;
#[cfg(test)]
mod index_tests;
pub mod queue_marks;
pub mod superblock;
