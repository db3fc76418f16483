//! From the command line and the route to what each thread does.
//!
//! Owns how connections, queues and the rate are dealt out to threads and brokers. Nothing here is measured.

mod idle;
mod pop;

pub use idle::idle_parts;
pub use pop::{pop_parts, pop_settings};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringmq_protocol::frame::Spelling;

use crate::call::Caller;
use crate::check::{self, QueueBook};
use crate::cli::{ConsumeArgs, E2eArgs, Headers, Messages, Pull, Run, SendLoad, Start};
use crate::clock::{Clock, Nanos, SECOND};
use crate::engine::pace::Schedule;
use crate::ledger::{Ledger, Shared};
use crate::route::{self, Broker, Targets};
use crate::run::{Assignment, Settings};
use crate::wire::volley::{Pattern, Volley};
use crate::workload::consume::Consume;
use crate::workload::e2e::EndToEnd;
use crate::workload::puller::{self, Measure, PullPattern, Puller, Reader};
use crate::workload::send::Send;
use crate::workload::sender::{self, Lane, Pace, Sender, Stamping};

/// How long a run may take that ends by itself, unless --duration says otherwise.
const LIMIT: Duration = Duration::from_secs(600);
const DURATION: Duration = Duration::from_secs(10);

/// Rate of e2e, unless given.
pub const E2E_RATE: f64 = 1_000.0;

/// One sending connection: which broker, and its number in the run.
struct SendingLine {
    broker: usize,
    stream: u32,
}

/// One thread's sending part, before it begins.
pub struct SendPart {
    brokers: Vec<SendTarget>,
    lines: Vec<SendingLine>,
    in_flight: usize,
    batch: usize,
    size: usize,
    /// Requests per second of this thread, and how much later its first one is; `None` in a closed loop.
    rate: Option<(f64, Nanos)>,
    budget: u64,
    stamping: Option<Stamping>,
}

/// What sending needs of a broker. Volleys are made before the run begins: large ones take their time.
struct SendTarget {
    address: SocketAddr,
    lanes: Vec<Lane>,
    volley: Volley,
}

impl SendPart {
    fn peers(&self) -> Vec<SocketAddr> {
        self.lines.iter().map(|line| self.brokers[line.broker].address).collect()
    }

    fn begin(self, ledger: &Ledger) -> Sender {
        let mut volleys = Vec::new();
        let mut lanes: Vec<Rc<[Lane]>> = Vec::new();
        for broker in self.brokers {
            volleys.push(broker.volley);
            lanes.push(broker.lanes.into());
        }
        let stamped = self.stamping.is_some();
        let line = |line: &SendingLine| {
            sender::Line::new(line.broker, lanes[line.broker].clone(), line.stream, self.in_flight, stamped)
        };
        let pace = match self.rate {
            Some((rate, offset)) => Pace::Open(Schedule::new(ledger.course.start + offset, rate)),
            None => Pace::Closed,
        };
        let mut sender = Sender::new(self.lines.iter().map(line).collect(), volleys, pace, self.batch, self.size);
        sender.stamping = self.stamping;
        sender.budget = self.budget;
        sender
    }
}

/// One thread's pulling part, before it begins.
pub struct PullPart {
    lines: Vec<(SocketAddr, Vec<Reader>)>,
    pattern: PullPattern,
    measure: Measure,
}

impl PullPart {
    fn peers(&self) -> Vec<SocketAddr> {
        self.lines.iter().map(|(address, _)| *address).collect()
    }

    fn begin(self) -> Puller {
        let lines = self.lines.into_iter().map(|(_, readers)| puller::Line::new(readers)).collect();
        Puller::new(lines, self.pattern, self.measure)
    }
}

impl Assignment for SendPart {
    type Work = Send;

    fn peers(&self) -> Vec<SocketAddr> {
        SendPart::peers(self)
    }

    fn begin(self, ledger: Ledger, shared: Arc<Shared>) -> Send {
        Send { sender: SendPart::begin(self, &ledger), ledger, shared }
    }
}

impl Assignment for PullPart {
    type Work = Consume;

    fn peers(&self) -> Vec<SocketAddr> {
        PullPart::peers(self)
    }

    fn begin(self, ledger: Ledger, shared: Arc<Shared>) -> Consume {
        Consume::new(PullPart::begin(self), ledger, shared)
    }
}

/// One thread of e2e.
pub struct BothParts {
    send: SendPart,
    pull: PullPart,
}

impl Assignment for BothParts {
    type Work = EndToEnd;

    fn peers(&self) -> Vec<SocketAddr> {
        [self.send.peers(), self.pull.peers()].concat()
    }

    fn begin(self, ledger: Ledger, shared: Arc<Shared>) -> EndToEnd {
        let sender = self.send.begin(&ledger);
        EndToEnd::new(sender, self.pull.begin(), ledger, shared)
    }
}

/// The settings every kind of run shares.
pub fn load_settings(run: &Run, quiet: bool) -> Settings {
    Settings {
        duration: run.duration.unwrap_or(DURATION),
        warmup: run.warmup,
        timeout: run.timeout,
        cpus: run.cpus.clone(),
        quiet,
        with_acks: false,
        until_done: false,
    }
}

/// The settings of a run that sends: with a count it ends when all of them are acknowledged.
pub fn send_settings(load: &SendLoad, run: &Run, quiet: bool) -> Settings {
    let settings = load_settings(run, quiet);
    if load.count.is_none() {
        return settings;
    }
    let duration = run.duration.unwrap_or(LIMIT);
    Settings { duration, warmup: Duration::ZERO, until_done: true, ..settings }
}

/// The settings of a consume run: a backlog is measured from its first pull to its last message.
pub fn consume_settings(args: &ConsumeArgs) -> Settings {
    let settings = load_settings(&args.run, args.output.quiet);
    if !args.backlog {
        return settings;
    }
    let duration = args.run.duration.unwrap_or(LIMIT);
    Settings { duration, warmup: Duration::ZERO, until_done: true, ..settings }
}

/// A number that tells this process from every other one that used the topic.
pub fn run_id() -> u64 {
    Clock::start().unix_nanos(0)
}

fn spelling(headers: Headers) -> Spelling {
    match headers {
        Headers::Json => Spelling::Json,
        Headers::Binary => Spelling::Binary,
    }
}

/// What is common to everything that sends.
pub struct Sending<'a> {
    pub topic: &'a str,
    pub queues: u32,
    pub load: &'a SendLoad,
    pub messages: &'a Messages,
    pub run: &'a Run,
    pub run_id: u64,
    /// Bodies carry a stamp; with or without a checksum.
    pub stamped: Option<bool>,
}

/// Deals connections and rate out to threads.
///
/// # Errors
/// One sentence.
pub fn send_parts(sending: &Sending<'_>, targets: &Targets) -> Result<Vec<SendPart>, String> {
    let brokers: Vec<&Broker> = targets.brokers.iter().filter(|broker| !broker.write.is_empty()).collect();
    if brokers.is_empty() {
        return Err("no broker has a queue of these topics that may be written".into());
    }
    let connections = sending.load.connections;
    let threads = usize::from(sending.run.threads).min(connections);
    let requests = sending.load.rate.map(|rate| rate / f64::from(sending.messages.batch));
    let budget = sending.load.count.map(|count| count.div_ceil(sending.messages.batch.into()));
    let part = |thread: usize| {
        let target = |broker: &&Broker| send_target(sending, targets, broker);
        let lines: Vec<SendingLine> = (thread..connections)
            .step_by(threads)
            .map(|number| SendingLine { broker: number % brokers.len(), stream: number as u32 })
            .collect();
        let share = lines.len() as f64 / connections as f64;
        Ok(SendPart {
            brokers: brokers.iter().map(target).collect::<Result<Vec<_>, String>>()?,
            // The first threads take what does not divide evenly.
            budget: budget.map_or(u64::MAX, |budget| (budget + (threads - 1 - thread) as u64) / threads as u64),
            in_flight: sending.load.in_flight(),
            batch: sending.messages.batch.into(),
            size: sending.messages.size,
            rate: requests.map(|requests| (requests * share, (SECOND as f64 / requests * thread as f64) as Nanos)),
            stamping: sending.stamped.map(|checksum| Stamping { run: sending.run_id, checksum }),
            lines,
        })
    };
    (0..threads).map(part).collect()
}

fn send_target(sending: &Sending<'_>, targets: &Targets, broker: &Broker) -> Result<SendTarget, String> {
    let volley = Volley::new(&pattern(sending, targets, broker), sending.load.in_flight())?;
    Ok(SendTarget { address: broker.address, lanes: broker.write.clone(), volley })
}

fn pattern(sending: &Sending<'_>, targets: &Targets, broker: &Broker) -> Pattern {
    Pattern {
        spelling: spelling(sending.run.headers),
        producer_group: sending.messages.producer_group.clone(),
        topic: sending.topic.to_owned(),
        topics: targets.topics.len(),
        queues: sending.queues,
        last_queue: broker.write.iter().map(|lane| lane.queue).max().unwrap_or(0),
        broker: broker.name.clone(),
        size: sending.messages.size,
        batch: sending.messages.batch.into(),
        tags: sending.messages.tags.clone(),
        process: sending.run_id,
    }
}

/// What is common to everything that pulls.
pub struct Pulling<'a> {
    pub pull: &'a Pull,
    pub run: &'a Run,
    pub start: Start,
    pub backlog: bool,
    pub check: bool,
    pub measure: Measure,
}

/// Asks where every queue begins and ends, and deals the queues out to connections and those to threads.
///
/// # Errors
/// One sentence.
pub fn pull_parts(pulling: &Pulling<'_>, targets: &Targets) -> Result<Vec<PullPart>, String> {
    let brokers: Vec<&Broker> = targets.brokers.iter().filter(|broker| !broker.read.is_empty()).collect();
    if brokers.is_empty() {
        return Err("no broker has a queue of these topics that may be read".into());
    }
    let consumers = pulling.pull.consumers.max(brokers.len());
    let mut lines: BTreeMap<usize, (SocketAddr, Vec<Reader>)> = BTreeMap::new();
    for (number, broker) in brokers.iter().enumerate() {
        let own: Vec<usize> = (number..consumers).step_by(brokers.len()).collect();
        for (turn, reader) in readers(pulling, targets, broker)?.into_iter().enumerate() {
            let line = lines.entry(own[turn % own.len()]).or_insert((broker.address, Vec::new()));
            line.1.push(reader);
        }
    }
    let threads = usize::from(pulling.run.threads).min(lines.len());
    let mut parts: Vec<PullPart> = (0..threads)
        .map(|_| PullPart { lines: Vec::new(), pattern: pull_pattern(pulling), measure: pulling.measure })
        .collect();
    for (turn, line) in lines.into_values().enumerate() {
        parts[turn % threads].lines.push(line);
    }
    Ok(parts)
}

fn pull_pattern(pulling: &Pulling<'_>) -> PullPattern {
    PullPattern {
        spelling: spelling(pulling.run.headers),
        group: pulling.pull.group.clone(),
        batch: pulling.pull.pull_batch.into(),
        suspend: (!pulling.backlog).then_some(pulling.pull.suspend.as_nanos() as Nanos),
    }
}

fn readers(pulling: &Pulling<'_>, targets: &Targets, broker: &Broker) -> Result<Vec<Reader>, String> {
    let mut caller = Caller::connect(broker.address, pulling.run.timeout)?;
    let mut readers = Vec::with_capacity(broker.read.len());
    for lane in &broker.read {
        let topic = &targets.topics[lane.topic];
        let (min, max) = route::queue_ends(&mut caller, topic, lane.queue)?;
        let next = match pulling.start {
            Start::Min => min,
            Start::Max => max,
            Start::Offset(offset) => offset.clamp(min, max),
        };
        let lane_tag = check::lane(lane.topic, lane.queue);
        readers.push(Reader {
            topic: topic.clone(),
            queue: lane.queue,
            next,
            until: pulling.backlog.then_some(max),
            // From its very first message on, a queue must hold every sequence from 0.
            book: pulling.check.then(|| QueueBook::new(lane_tag, next == 0)),
        });
    }
    Ok(readers)
}

/// The threads of an e2e run: each sends and pulls.
///
/// # Errors
/// One sentence.
pub fn both_parts(args: &E2eArgs, targets: &Targets) -> Result<Vec<BothParts>, String> {
    let run_id = run_id();
    let pulling = Pulling {
        pull: &args.pull,
        run: &args.run,
        start: Start::Max,
        backlog: false,
        check: args.check,
        measure: Measure::EndToEnd { run: run_id },
    };
    let pulls = pull_parts(&pulling, targets)?;
    let run = Run { threads: args.run.threads.min(pulls.len() as u16), ..args.run.clone() };
    let sending = Sending {
        topic: &args.target.topic,
        queues: args.target.queues,
        load: &args.load,
        messages: &args.messages,
        run: &run,
        run_id,
        stamped: Some(args.check),
    };
    let sends = send_parts(&sending, targets)?;
    if sends.len() < pulls.len() {
        return Err(format!(
            "{} sending connection(s) cannot be dealt out to {} threads; use a smaller --threads or more --connections",
            args.load.connections,
            pulls.len()
        ));
    }
    Ok(sends.into_iter().zip(pulls).map(|(send, pull)| BothParts { send, pull }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(brokers: usize) -> Targets {
        let broker = |number: usize| Broker {
            name: Some(format!("b{number}")),
            address: SocketAddr::from(([127, 0, 0, 1], 10_000 + number as u16)),
            write: (0..4).map(|queue| Lane { topic: 0, queue }).collect(),
            read: Vec::new(),
        };
        Targets { topics: vec!["t".into()], brokers: (0..brokers).map(broker).collect(), notes: Vec::new() }
    }

    fn parts(connections: usize, threads: u16, brokers: usize) -> Vec<SendPart> {
        let load = SendLoad { connections, in_flight: None, rate: Some(1_000.0), count: Some(101) };
        let messages = Messages { size: 128, batch: 10, tags: Vec::new(), producer_group: "p".into() };
        let run = Run {
            duration: None,
            warmup: Duration::ZERO,
            threads,
            cpus: Vec::new(),
            timeout: Duration::from_secs(1),
            headers: Headers::Json,
        };
        let sending =
            Sending { topic: "t", queues: 4, load: &load, messages: &messages, run: &run, run_id: 1, stamped: None };
        send_parts(&sending, &targets(brokers)).expect("plannable")
    }

    #[test]
    fn connections_and_rate_are_shared_out() {
        let parts = parts(5, 2, 2);
        assert_eq!(parts.iter().map(|part| part.lines.len()).collect::<Vec<_>>(), [3, 2]);
        let requests: f64 = parts.iter().filter_map(|part| part.rate).map(|(rate, _)| rate).sum();
        assert!((requests - 100.0).abs() < 1e-9, "1,000 messages per second in batches of ten");
        assert_eq!(parts.iter().map(|part| part.budget).collect::<Vec<_>>(), [6, 5], "101 messages in batches of ten");
        let mut streams: Vec<u32> = parts.iter().flat_map(|part| &part.lines).map(|line| line.stream).collect();
        streams.sort_unstable();
        assert_eq!(streams, [0, 1, 2, 3, 4]);
        let ports: Vec<u16> = parts.iter().flat_map(SendPart::peers).map(|peer| peer.port()).collect();
        assert_eq!(ports, [10_000, 10_000, 10_000, 10_001, 10_001]);
    }

    #[test]
    fn no_thread_is_left_without_a_connection() {
        assert_eq!(parts(1, 8, 1).len(), 1);
    }

    #[test]
    fn a_target_without_queues_is_refused() {
        let load = SendLoad { connections: 1, in_flight: None, rate: None, count: None };
        assert_eq!(load.in_flight(), 64);
        let mut none = targets(1);
        none.brokers[0].write.clear();
        let messages = Messages { size: 128, batch: 1, tags: Vec::new(), producer_group: "p".into() };
        let run = Run {
            duration: None,
            warmup: Duration::ZERO,
            threads: 1,
            cpus: Vec::new(),
            timeout: Duration::from_secs(1),
            headers: Headers::Binary,
        };
        let sending =
            Sending { topic: "t", queues: 4, load: &load, messages: &messages, run: &run, run_id: 1, stamped: None };
        assert!(send_parts(&sending, &none).is_err());
    }
}
