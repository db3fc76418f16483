//! What each thread of `perfgen idle` does.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{run_id, spelling};
use crate::cli::IdleArgs;
use crate::clock::Nanos;
use crate::ledger::{Ledger, Shared};
use crate::route::Targets;
use crate::run::Assignment;
use crate::workload::idle::{Habit, Idle};

/// One thread's connections, before they are made.
pub struct IdlePart {
    peers: Vec<SocketAddr>,
    habit: Habit,
}

impl Assignment for IdlePart {
    type Work = Idle;

    fn peers(&self) -> Vec<SocketAddr> {
        self.peers.clone()
    }

    fn begin(self, ledger: Ledger, shared: Arc<Shared>) -> Idle {
        Idle::new(self.peers.len(), self.habit, ledger, shared)
    }
}

/// Deals the connections out to brokers and threads, and their heartbeats over the period.
///
/// # Errors
/// One sentence.
pub fn idle_parts(args: &IdleArgs, targets: &Targets) -> Result<Vec<IdlePart>, String> {
    if targets.brokers.is_empty() {
        return Err("there is no broker to connect to".into());
    }
    let every = args.every.as_nanos() as Nanos;
    let threads = usize::from(args.run.threads).min(args.connections);
    let process = run_id();
    let part = |thread: usize| {
        let numbers = args.connections * thread / threads..args.connections * (thread + 1) / threads;
        let apart = every / numbers.len() as Nanos;
        let habit = Habit { spelling: spelling(args.run.headers), every, first: numbers.start, apart, process };
        let peers = numbers.map(|number| targets.brokers[number % targets.brokers.len()].address).collect();
        IdlePart { peers, habit }
    };
    Ok((0..threads).map(part).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use crate::route::Broker;
    use clap::Parser;

    #[test]
    fn every_connection_has_a_thread_and_a_turn_within_the_period() {
        let address = SocketAddr::from(([127, 0, 0, 1], 10_911));
        let broker = Broker { name: None, address, write: Vec::new(), read: Vec::new() };
        let targets = Targets { topics: Vec::new(), brokers: vec![broker], notes: Vec::new() };
        let line = ["perfgen", "idle", "--broker", "a:1", "-c", "10", "--threads", "3", "--every", "30s"];
        let Command::Idle(args) = Cli::parse_from(line).command else { unreachable!("idle was asked") };
        let parts = idle_parts(&args, &targets).expect("plannable");
        assert_eq!(parts.iter().map(|part| part.peers.len()).collect::<Vec<_>>(), [3, 3, 4]);
        assert_eq!(parts.iter().map(|part| part.habit.first).collect::<Vec<_>>(), [0, 3, 6]);
        assert!(parts.iter().all(|part| part.habit.apart * part.peers.len() as Nanos <= part.habit.every));
    }
}
