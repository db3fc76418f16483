//! RingMQ's simulator: the shards of a broker on one thread, over a disk that tears, reorders and loses writes, with
//! producers and consumers whose every answer is held against what they did.
//!
//! A run is a function of its seed: the same seed gives the same frames, bit for bit (`world::Outcome::trace`).
//! What decides lives in [`world`]; what is known to be true lives in [`ledger`], which never looks into a shard.
//! What is production code here: everything in `ringmq-core`, recovery included. What is not: disk, mesh, clock, sockets.

pub mod disk;
pub mod fuzz;
pub mod ledger;
pub mod planted;
pub mod pops;
pub mod random;
pub mod raw;
pub mod reader;
pub mod runs;
pub mod wire;
pub mod world;
