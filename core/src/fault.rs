//! Why a shard takes no more messages until the process is started again, in words for the log and for clients.
//!
//! Owns the kinds and their text. A fault is final: nothing is tried again, nothing is acknowledged after it, reads go on.
//! Want of space is none of these: that passes, and producers are refused meanwhile.

use std::fmt;

use crate::event::DiskError;
use crate::store::{Position, SegmentBase};

/// This shard cannot go on accepting messages; reads go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A log write failed; what was acknowledged is durable, nothing more will be acknowledged.
    Write { seq: u64, error: DiskError },
    /// The file of the next segment could not be made, and not for want of space.
    Segment { base: SegmentBase, error: DiskError },
    /// The shard's directory is not what it was when the process started.
    Directory { loss: Loss },
    /// Bytes below the durable position are not what was written.
    Corrupt { position: Position },
}

/// What became of a directory under a running broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Its name leads nowhere, or to another directory: removed, renamed, unmounted, mounted over.
    Gone,
    /// The file that is written to has no name there any more.
    SegmentGone { base: SegmentBase },
    /// Its file system takes no writes any more.
    ReadOnly,
    /// It cannot be looked at.
    Unreadable { error: DiskError },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Write { seq: _, error } => write!(f, "a write to its log failed: {error}"),
            Fault::Segment { base, error } => write!(f, "{} could not be made: {error}", base.log_name()),
            Fault::Directory { loss: Loss::Gone } => {
                write!(f, "its data directory is gone: removed, renamed, or its volume was unmounted")
            }
            Fault::Directory { loss: Loss::SegmentGone { base } } => {
                write!(f, "{}, which it writes to, was removed or renamed", base.log_name())
            }
            Fault::Directory { loss: Loss::ReadOnly } => {
                write!(f, "the file system of its data directory became read-only")
            }
            Fault::Directory { loss: Loss::Unreadable { error } } => {
                write!(f, "its data directory cannot be looked at: {error}")
            }
            Fault::Corrupt { position } => write!(f, "its log is damaged at byte {position}"),
        }
    }
}

/// Error numbers that an operator meets, in words (Linux).
const WORDS: [(i32, &str); 10] = [
    (2, "ENOENT, no such file"),
    (5, "EIO, the device failed"),
    (12, "ENOMEM, out of memory"),
    (13, "EACCES, no right to it"),
    (19, "ENODEV, the device is gone"),
    (24, "EMFILE, out of file descriptors"),
    (27, "EFBIG, beyond the largest file"),
    (28, "ENOSPC, no space left"),
    (30, "EROFS, the file system is read-only"),
    (122, "EDQUOT, the quota is used up"),
];

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match WORDS.iter().find(|(errno, _)| *errno == self.errno) {
            Some((_, words)) => f.write_str(words),
            None if self.errno == 0 => f.write_str("fewer bytes than asked for were moved"),
            None => write!(f, "errno {}", self.errno),
        }
    }
}
