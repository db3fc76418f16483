//! The command line of `perfgen pop` and `perfgen idle`.
//!
//! Owns their options, defaults and help.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{Output, Run, Target, connections, duration, in_flight, seconds};

/// Pop messages and acknowledge each of them.
///
/// Every connection keeps its pops under way, from any queue of the topic; each message is acknowledged by a request of its
/// own, as push consumers in POP mode do. It ends when what the topic held at the beginning is acknowledged, or when the
/// time is up. Latency counts from a pop to its answer; that of the acknowledgements is reported beside it.
#[derive(Args, Clone, Debug, Serialize)]
#[command(after_help = "\
Examples:
  drain a topic as a group that is new to it
    perfgen pop -n 127.0.0.1:9876 --topic load --group pop-1
  one pop at a time, for at most five seconds
    perfgen pop -n 127.0.0.1:9876 --topic load --group pop-2 --consumers 1 --duration 5

Receipts name the broker, so a name server is needed. Headers are JSON: POP's codes have no binary spelling.")]
pub struct PopArgs {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub pop: Pop,
    #[command(flatten)]
    pub run: Run,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Pops")]
pub struct Pop {
    /// Consumer connections, over all threads.
    #[arg(long, default_value_t = 4, value_parser = connections)]
    pub consumers: usize,
    /// Pops under way per connection.
    #[arg(short = 'f', long, default_value_t = 2, value_parser = in_flight)]
    pub in_flight: usize,
    /// Messages asked for by one pop; brokers give no more than 32.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=32))]
    pub pop_batch: u16,
    /// How long a pop may wait for a message.
    #[arg(long, default_value = "15s", value_parser = duration)]
    #[serde(serialize_with = "seconds")]
    pub poll: Duration,
    /// How long nobody else gets a popped message.
    #[arg(long, default_value = "60s", value_parser = duration)]
    #[serde(serialize_with = "seconds")]
    pub invisible: Duration,
    /// Consumer group.
    #[arg(long, default_value = "perfgen_popper")]
    pub group: String,
}

/// Hold many connections that do almost nothing.
///
/// Each says that it lives with a heartbeat, as a producer, once per period; the heartbeats are spread evenly. Latency is
/// that of their answers.
#[derive(Args, Clone, Debug, Serialize)]
#[command(after_help = "\
Example:
  ten thousand connections beside a measured load
    perfgen idle -n 127.0.0.1:9876 -c 10000 --duration 5m &
    perfgen send -n 127.0.0.1:9876 --topic load --create")]
pub struct IdleArgs {
    #[command(flatten)]
    pub target: Target,
    /// Connections, over all threads; dealt out to the brokers of the route.
    #[arg(short, long, default_value_t = 10_000, value_parser = connections)]
    pub connections: usize,
    /// Time between two heartbeats of a connection (clients' heartbeatBrokerInterval).
    #[arg(long, default_value = "30s", value_parser = duration)]
    #[serde(serialize_with = "seconds")]
    pub every: Duration,
    #[command(flatten)]
    pub run: Run,
    #[command(flatten)]
    pub output: Output,
}
