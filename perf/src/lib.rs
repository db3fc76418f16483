//! perfgen: a load generator for any broker that speaks RocketMQ's remoting protocol.
//!
//! From outside in: `cli` says what is wanted, `route` finds the target, `plan` deals the work out to threads,
//! `run` starts and watches them, `engine` is the loop of one thread, `workload` what it does there, `wire` how
//! frames are made, `ledger` and `tally` what is counted, `progress` and `report` what is shown. `null_broker`,
//! `disk` and `topics` stand alone. `compare` runs
//! perfgen against several brokers in turns and reports. It knows the `protocol` crate and nothing else of RingMQ, and has no `unsafe`.

#![forbid(unsafe_code)]

pub mod call;
pub mod check;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod compare;
pub mod disk;
pub mod engine;
pub mod ledger;
pub mod null_broker;
pub mod plan;
pub mod progress;
pub mod report;
pub mod route;
pub mod run;
pub mod tally;
pub mod topics;
pub mod wire;
pub mod workload;
