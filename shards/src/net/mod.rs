//! Sockets: listening, reading frames, writing answers.
//!
//! A connection is one task that reads and one entry in the executor's table that holds what is to be written. Frames are
//! cut here and handed to the driver; nothing in this room knows what a request means.

pub mod connection;
pub mod listener;
pub mod outbound;
pub mod table;

/// Which service the connections of a listener talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The broker: the shards.
    Broker,
    /// The embedded (or only) name server.
    NameServer,
}
