//! What is checked before anything is started, and the one line that is said when something is missing.
//!
//! Owns [`Refused`] and the order of the checks. Each check leaves the machine as it was when it refuses. Nothing here
//! panics or prints: `bin/` turns a [`Refused`] into one line and exit code 1.

pub mod configuration;
pub mod cpus;
pub mod direct_io;
pub mod directory;
pub mod format;
pub mod heap;
pub mod memory;
pub mod owner;
pub mod ports;
pub mod ring;
pub mod shard_directory;

use std::fmt;

/// Why the process cannot start, and what to do about it: one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong, with the path, port or limit at fault.
    pub reason: String,
    /// What to do about it.
    pub mend: String,
}

impl Refused {
    /// A refusal with its mend.
    pub fn new(reason: impl Into<String>, mend: impl Into<String>) -> Self {
        Refused { reason: reason.into(), mend: mend.into() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Remarks of the operating system may hold line breaks; the promise is one line.
        let one_line = |text: &str| text.replace(['\n', '\r'], " ");
        write!(f, "{}; {}", one_line(&self.reason), one_line(&self.mend))
    }
}

impl std::error::Error for Refused {}
