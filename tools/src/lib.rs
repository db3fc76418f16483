//! RingMQ's small clients: what the quick-start programs and command line tools share.
//!
//! A map of the room: [`link`] is one connection to one server, [`client`] knows routes and keeps links,
//! [`producer`] sends, [`consumer`] is one member of a consumer group. Everything blocks and runs on the
//! calling thread: these are tools, not a client library for busy services (use RocketMQ's for that).
//! Knows only `ringmq-protocol`, so it talks to any RocketMQ broker.

pub mod client;
pub mod consumer;
pub mod link;
pub mod producer;
