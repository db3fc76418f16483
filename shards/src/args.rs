//! The command lines of mqbroker and mqnamesrv.
//!
//! Owns the flags and their help. RocketMQ's own flags keep their letters (`-c`, `-n`, `-p`). What a flag means for a setting
//! is the settings table's to say: flags become key and value pairs.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::boot::Refused;

/// RingMQ's broker: Apache RocketMQ's protocol, one shard per CPU core, durable by group commit.
///
/// Without arguments it needs nothing else: it runs a name server inside (port 9876), listens on port 10911, and keeps its data
/// in ~/ringmq/store.
#[derive(Debug, Parser)]
#[command(name = "mqbroker", version, after_help = BROKER_EXAMPLES)]
pub struct BrokerArgs {
    /// Configuration file in RocketMQ's own key = value format
    #[arg(short = 'c', long = "config", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Name servers to register at, instead of running one inside
    #[arg(short = 'n', long = "namesrv", global = true, value_name = "HOST:PORT[;HOST:PORT]")]
    pub namesrv: Option<String>,
    /// Print the effective settings and where each comes from, then exit
    #[arg(short = 'p', long = "print")]
    pub print: bool,
    /// One setting, as in the file; wins over the file; may be repeated
    #[arg(short = 's', long = "set", value_name = "KEY=VALUE", global = true)]
    pub set: Vec<String>,
    /// Read everything in the data directory while no broker runs on it, say what is damaged, and exit with 0 or 1
    ///
    /// Looks at the superblock, checkpoints, indexes, and every frame of every segment. Each finding is one line with file,
    /// byte and the queues whose messages are lost. Changes nothing.
    #[arg(long = "check", conflicts_with = "reshard")]
    pub check: bool,
    /// Rewrite the data directory to N shards while no broker runs on it, then exit
    ///
    /// Messages, queue and consumer offsets, topics, groups, delayed messages, transactions and POP states stay; physical
    /// offsets, and message ids that contain one, change. Needs as much free space as the directory takes; until the new
    /// shards are complete the old ones stay as they are.
    #[arg(long = "reshard", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub reshard: Option<u16>,
    /// Make the lost directory of shard N again, empty, while no broker runs, then exit
    ///
    /// A start refuses when the directory of a shard is gone. This accepts that the messages in it, and what groups had read of
    /// them, are lost; topics, groups and the other shards' messages stay. Not possible for shard 0, which knows the topics.
    #[arg(long = "abandon-shard", value_name = "N", conflicts_with_all = ["check", "reshard"])]
    pub abandon_shard: Option<u16>,
    #[command(subcommand)]
    pub command: Option<BrokerCommand>,
}

/// What mqbroker does besides being a broker.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum BrokerCommand {
    /// Say what this machine gives a broker, what stands in its way, and what to do about it
    Doctor,
}

const BROKER_EXAMPLES: &str = "Examples:
  mqbroker                                      broker and name server on an empty machine
  mqbroker -c conf/broker.conf                  settings from a file
  mqbroker -n 10.0.0.1:9876;10.0.0.2:9876       register at standalone name servers
  mqbroker -s listenPort=20911 -s cpus=0-3      another port, four CPUs
  mqbroker -s storePathRootDir=/data/ringmq     another data directory
  mqbroker doctor -c conf/broker.conf           is this machine ready, and what could be better
  mqbroker -p                                   what the settings are and where each comes from
  mqbroker --check -c conf/broker.conf          is everything in the data directory as it was written (broker stopped)
  mqbroker --reshard 8 -c conf/broker.conf      eight shards instead of as many as there are (broker stopped)

Stop it with Ctrl-C or SIGTERM: it flushes, leaves a checkpoint and unregisters.";

/// RingMQ's name server, standalone.
#[derive(Debug, Parser)]
#[command(name = "mqnamesrv", version, after_help = NAMESRV_EXAMPLES)]
pub struct NamesrvArgs {
    /// Configuration file in RocketMQ's own key = value format
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the effective settings and where each comes from, then exit
    #[arg(short = 'p', long = "print")]
    pub print: bool,
    /// One setting, as in the file; wins over the file; may be repeated
    #[arg(short = 's', long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

const NAMESRV_EXAMPLES: &str = "Examples:
  mqnamesrv                                     listens on port 9876
  mqnamesrv -c conf/namesrv.conf                settings from a file
  mqnamesrv -s listenPort=19876                 another port";

/// The pairs of `--set`, in order.
///
/// # Errors
/// One that is no pair.
pub fn pairs<'s>(set: &'s [String]) -> Result<Vec<(&'s str, &'s str)>, Refused> {
    let pair = |text: &'s String| {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            Refused::new(format!("--set {text} names no value"), "write for example --set listenPort=20911")
        })?;
        Ok((key.trim(), value.trim()))
    };
    set.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_lines_are_consistent() {
        BrokerArgs::command().debug_assert();
        NamesrvArgs::command().debug_assert();
    }

    #[test]
    fn settings_are_pairs() {
        let set = ["listenPort = 1".to_owned(), "a=b=c".to_owned()];
        assert_eq!(pairs(&set).unwrap(), [("listenPort", "1"), ("a", "b=c")]);
        assert!(pairs(&["listenPort".to_owned()]).unwrap_err().to_string().contains("listenPort"));
    }
}
