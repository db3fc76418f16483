//! What requests do: one file per family.
//!
//! A handler takes the shard apart, checks, changes, and says what its answer waits for. Which code leads to which
//! handler is `routes.rs`'s table. No handler reads a clock, allocates on the success path of SEND or PULL, or panics
//! on anything a client sent.

pub mod assignment;
pub mod client;
pub mod config;
pub mod connection;
pub mod control;
pub mod group_admin;
pub mod lock;
pub mod offset;
pub mod pop;
pub mod pop_ack;
pub mod pop_notice;
pub mod pop_pick;
pub mod pop_wait;
pub mod pull;
pub mod push;
pub mod query;
pub mod relay;
pub mod reply;
pub mod reset;
pub mod retry;
pub mod runtime;
pub mod scan;
pub mod send;
pub mod send_back;
pub mod stamp;
pub mod stats;
pub mod subscription;
pub mod topic_admin;
pub mod topic_wait;
pub mod transaction;
