//! Real processes under test: a broker that is started, spoken to over TCP, and killed.
//!
//! Owns the starting of binaries, the choice of free ports, and a small blocking client on top of `ringmq_protocol`. Knows
//! nothing of how the broker is made. Tests wait for lines and answers, never for time.

pub mod client;
pub mod cut_disk;
pub mod ledger;
pub mod medium;
pub mod ports;
pub mod process;
pub mod volume;

pub use client::{Client, Refused, SendOutcome};
pub use cut_disk::{CutDisk, Temper};
pub use ports::Ports;
pub use process::{Process, Stopped};
pub use volume::{Volume, ran};
