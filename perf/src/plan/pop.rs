//! What each thread of `perfgen pop` does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::load_settings;
use crate::call::Caller;
use crate::cli::PopArgs;
use crate::clock::Nanos;
use crate::ledger::{Ledger, Shared};
use crate::route::{self, Targets};
use crate::run::{Assignment, Settings};
use crate::workload::popper::{PopPattern, Popper, Source};

/// One thread's pops, before it begins.
pub struct PopPart {
    lines: Vec<(SocketAddr, Source)>,
    pattern: PopPattern,
    until: u64,
}

impl Assignment for PopPart {
    type Work = Popper;

    fn peers(&self) -> Vec<SocketAddr> {
        self.lines.iter().map(|(address, _)| *address).collect()
    }

    fn begin(self, ledger: Ledger, shared: Arc<Shared>) -> Popper {
        let sources = self.lines.into_iter().map(|(_, source)| source).collect();
        Popper::new(sources, self.pattern, self.until, ledger, shared)
    }
}

/// The settings of a pop run: measured from its first pop to its last acknowledgement.
pub fn pop_settings(args: &PopArgs) -> Settings {
    let settings = load_settings(&args.run, args.output.quiet);
    Settings { warmup: Duration::ZERO, until_done: true, with_acks: true, ..settings }
}

/// Asks how much there is, and deals the connections out to topics and brokers and those to threads.
///
/// # Errors
/// One sentence.
pub fn pop_parts(args: &PopArgs, targets: &Targets) -> Result<Vec<PopPart>, String> {
    let mut sources = Vec::new();
    let mut until = 0;
    for broker in targets.brokers.iter().filter(|broker| !broker.read.is_empty()) {
        let name = broker.name.as_ref().ok_or("receipts name the broker: use --namesrv instead of --broker")?;
        let mut caller = Caller::connect(broker.address, args.run.timeout)?;
        for lane in &broker.read {
            let (min, max) = route::queue_ends(&mut caller, &targets.topics[lane.topic], lane.queue)?;
            until += max.saturating_sub(min).max(0) as u64;
        }
        for (number, topic) in targets.topics.iter().enumerate() {
            if broker.read.iter().any(|lane| lane.topic == number) {
                sources.push((broker.address, Source { topic: topic.clone(), broker: name.clone() }));
            }
        }
    }
    if sources.is_empty() {
        return Err("no broker has a queue of these topics that may be read".into());
    }
    let consumers = args.pop.consumers.max(sources.len());
    let threads = usize::from(args.run.threads).min(consumers);
    let nanos = |duration: Duration| duration.as_nanos() as Nanos;
    let pattern = PopPattern {
        group: args.pop.group.clone(),
        batch: args.pop.pop_batch.into(),
        poll: nanos(args.pop.poll),
        invisible: nanos(args.pop.invisible),
        pops: args.pop.in_flight,
    };
    let part = |thread: usize| {
        let lines = (thread..consumers).step_by(threads).map(|number| sources[number % sources.len()].clone());
        PopPart { lines: lines.collect(), pattern: pattern.clone(), until }
    };
    Ok((0..threads).map(part).collect())
}
