//! RingMQ's decisions: shards, the log, topics, groups, offsets, the name server. Synchronous and deterministic.
//!
//! `shard::Shard::apply` takes what happened (`event::Input`) and says what must happen outside (`effects::Effects`).
//! Which handler serves a request and on which shard is the table in `routes`. `store` is the log and what finds
//! messages in it; `metadata` is a shard's copy of what the control shard (`control`) decides.
//!
//! Absent here, by rule: clocks, randomness, threads, locks, sockets, files, `async`. All of that is `shards`'.

pub mod again;
pub mod append;
pub mod boot;
pub mod cold;
pub mod control;
pub mod counts;
pub mod delay;
pub mod detour;
pub mod duties;
pub mod effects;
pub mod event;
pub mod fault;
pub mod fetch;
pub mod gather;
pub mod group;
pub mod half;
pub mod handlers;
pub mod harness;
pub mod held;
pub mod imprint;
pub mod limits;
pub mod map;
pub mod metadata;
pub mod namesrv;
pub mod offsets;
pub mod parked;
pub mod peer;
pub mod place;
pub mod pop;
pub mod pushes;
pub mod rates;
pub mod reading;
pub mod reshard;
pub mod retain;
pub mod routes;
pub mod settings;
pub mod shard;
pub mod store;
pub mod topic;
pub mod waiting;
