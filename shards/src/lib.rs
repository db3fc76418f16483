//! RingMQ's executors: the only room that knows glommio, sockets, files and threads.
//!
//! `launch` turns settings into a running process, `boot` refuses what cannot work, `executor` is one thread with its shards,
//! `driver` hands each input to its shard and carries out the effects. `net` is sockets, `disk` and `open` are files, `mesh`
//! is what executors tell each other. Nothing here decides what a client is answered: that is `ringmq_core`'s.

pub mod args;
pub mod boot;
pub mod check;
pub mod clock;
pub mod disk;
pub mod doctor;
pub mod driver;
pub mod executor;
pub mod greeting;
pub mod launch;
pub mod limits;
pub mod log;
pub mod mesh;
pub mod net;
pub mod nudge;
pub mod open;
pub mod registrar;
pub mod reshard;
pub mod service;
pub mod signals;
pub mod turn;
