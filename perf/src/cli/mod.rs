//! The command line: options, their defaults, their help and what they mean together.
//!
//! Owns the parsing at the rim: what leaves this file is typed and within limits. Nothing here connects anywhere.

mod pop;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Serialize, Serializer};

use crate::check::STAMP;
use crate::engine::in_flight::MAX_IN_FLIGHT;
use crate::wire::volley;

pub use pop::{IdleArgs, Pop, PopArgs};

/// Smallest body: room for the stamp of --check, and the same for runs without it, so that they compare.
const SMALLEST: usize = 128;
const _: () = assert!(SMALLEST >= STAMP);

/// Largest body: the protocol's default limit (maxMessageSize, 4 MiB).
const LARGEST: usize = 4 << 20;

/// Sockets of one run; beyond it the default limit of open files stops us first.
const MAX_CONNECTIONS: usize = 60_000;

/// Topics and queues: what fits the 16 bits each has in a checked body.
const MAX_TOPICS: usize = 10_000;
const MAX_QUEUES: u32 = 65_535;

/// In flight per connection of an open loop, unless given: enough that the rate is never held back by it.
const OPEN_LOOP_IN_FLIGHT: usize = 1_024;
const CLOSED_LOOP_IN_FLIGHT: usize = 64;

/// A load generator for any broker that speaks RocketMQ's remoting protocol.
///
/// It measures sending, consuming, and the way from producer to consumer, and can stand in as a broker that
/// stores nothing (the wire's ceiling) and calibrate the disk a broker would write to.
#[derive(Parser, Debug)]
#[command(
    name = "perfgen",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  perfgen send -n 127.0.0.1:9876 --topic load --create --queues 8 --flush async
  perfgen consume -n 127.0.0.1:9876 --topic load --backlog
  perfgen e2e -n 127.0.0.1:9876 --topic tail --create --rate 10000 --duration 30
  perfgen pop -n 127.0.0.1:9876 --topic load --group pop-1
  perfgen idle -n 127.0.0.1:9876 -c 10000
  perfgen null --cpus 0 & perfgen send --broker 127.0.0.1:10911 --cpus 1
  perfgen disk /var/lib/ringmq
  perfgen topics create --topics 125000 --queues 8

Each command has its own help with more examples: perfgen help send"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    Send(SendArgs),
    Consume(ConsumeArgs),
    E2e(E2eArgs),
    Pop(PopArgs),
    Idle(IdleArgs),
    Null(NullArgs),
    Disk(DiskArgs),
    Topics(TopicsArgs),
}

/// Which broker, which topics.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Target")]
pub struct Target {
    /// Name servers; routes are asked from the first that answers.
    #[arg(
        short,
        long,
        value_name = "HOST:PORT[;HOST:PORT]",
        required_unless_present = "broker",
        conflicts_with = "broker"
    )]
    pub namesrv: Option<String>,
    /// One broker, without a name server; --queues says which queues it has.
    #[arg(long, value_name = "HOST:PORT")]
    pub broker: Option<String>,
    /// Topic; with --topics the front of their names (load-0, load-1 ..).
    #[arg(long, default_value = "perfgen")]
    pub topic: String,
    /// How many topics to use.
    #[arg(long, default_value_t = 1, value_parser = topics)]
    pub topics: usize,
    /// Queues per topic and broker: to create with --create or by auto-creation, to use with --broker.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_QUEUES)))]
    pub queues: u32,
    /// Create the topics first (or change them if they exist).
    #[arg(long)]
    pub create: bool,
    /// With --create: the topics' flush mode (attribute flush.type); a broker without that attribute uses its own.
    #[arg(long, value_enum, requires = "create")]
    pub flush: Option<Flush>,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Flush {
    Sync,
    Async,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Headers {
    Json,
    Binary,
}

/// How long, on which threads, on which CPUs.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Run")]
pub struct Run {
    /// How long to measure: seconds, or 500ms, 30s, 2m [default: 10s; with --backlog or --count at most 10m].
    #[arg(short, long, value_parser = duration)]
    #[serde(serialize_with = "optional_seconds")]
    pub duration: Option<Duration>,
    /// How long to run before measuring.
    #[arg(short, long, default_value = "2s", value_parser = duration)]
    #[serde(serialize_with = "seconds")]
    pub warmup: Duration,
    /// Load threads; connections are dealt out to them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// CPUs to run on: thread i is pinned to the i-th.
    #[arg(long, value_delimiter = ',', value_name = "CPU[,CPU]")]
    pub cpus: Vec<usize>,
    /// How long connecting and an answer may take.
    #[arg(long, default_value = "5s", value_parser = duration)]
    #[serde(serialize_with = "seconds")]
    pub timeout: Duration,
    /// Spelling of request headers. Java clients write JSON unless told otherwise.
    #[arg(long, value_enum, default_value_t = Headers::Json)]
    pub headers: Headers,
}

/// Where results go.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Print one JSON object with all inputs and results to stdout, instead of the summary.
    #[arg(long)]
    pub json: bool,
    /// Write the histogram log (one histogram per second) to FILE.
    #[arg(long, value_name = "FILE")]
    pub hdr: Option<PathBuf>,
    /// No live progress.
    #[arg(short, long)]
    pub quiet: bool,
}

/// What messages look like.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Messages")]
pub struct Messages {
    /// Bytes of each body: 128 to 4MiB; 1024, 16KiB ..
    #[arg(short, long, default_value = "1024", value_parser = body_size)]
    pub size: usize,
    /// Messages per request; above 1 they are sent as batches (code 320).
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub batch: u16,
    /// Tags, taken in turns.
    #[arg(long, value_delimiter = ',', value_name = "TAG[,TAG]")]
    pub tags: Vec<String>,
    /// Producer group.
    #[arg(long, default_value = "perfgen_producer")]
    pub producer_group: String,
}

/// Send messages and wait for their acknowledgements.
///
/// In a closed loop (the default) each of C connections keeps F requests in flight. In an open loop (--rate)
/// requests are sent on schedule, and latency counts from the scheduled time, so a broker that stalls cannot
/// make its own stall invisible.
#[derive(Args, Clone, Debug, Serialize)]
#[command(after_help = "\
Examples:
  throughput, 16 connections with 64 in flight each, sync topic
    perfgen send -n 127.0.0.1:9876 --topic s --create --flush sync -c 16 -f 64
  one at a time
    perfgen send -n 127.0.0.1:9876 --topic s -c 1 -f 1
  latency at a fixed rate
    perfgen send -n 127.0.0.1:9876 --topic s --rate 50000 --duration 60 --hdr send.hlog
  batches of 32, 256 topics with 8 queues each, binary headers, two threads
    perfgen send -n 127.0.0.1:9876 --topic many --topics 256 --create --batch 32 --headers binary --threads 2
  fill a topic with exactly ten million messages
    perfgen send -n 127.0.0.1:9876 --topic full --create --count 10000000
  verifiable bodies, read back with: perfgen consume --topic c --backlog --check
    perfgen send -n 127.0.0.1:9876 --topic c --create --check

A lost connection is counted and not replaced; the run ends when all are lost.
MB/s are megabytes (1,000,000 bytes) of message bodies.")]
pub struct SendArgs {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub load: SendLoad,
    #[command(flatten)]
    pub messages: Messages,
    /// Write a sequence and a checksum into every body, for consume --check. A refused message leaves a gap.
    #[arg(long)]
    pub check: bool,
    #[command(flatten)]
    pub run: Run,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Load")]
pub struct SendLoad {
    /// Connections, over all threads; dealt out to the brokers of the route.
    #[arg(short, long, default_value_t = 16, value_parser = connections)]
    pub connections: usize,
    /// Requests in flight per connection [default: 64; with --rate at most 1024].
    #[arg(short = 'f', long, value_parser = in_flight)]
    pub in_flight: Option<usize>,
    /// Open loop: messages per second, over all connections.
    #[arg(short, long, value_parser = rate)]
    pub rate: Option<f64>,
    /// Stop after this many messages, whole requests at least; there is no warm-up and --duration is the limit then.
    #[arg(long, value_name = "MESSAGES", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

impl SendLoad {
    /// Requests in flight per connection, as given or by default.
    pub fn in_flight(&self) -> usize {
        let default = if self.rate.is_some() { OPEN_LOOP_IN_FLIGHT } else { CLOSED_LOOP_IN_FLIGHT };
        self.in_flight.unwrap_or(default)
    }
}

/// Pull messages from every queue.
///
/// Each queue has one pull under way at a time, as with real consumers. With --backlog queues are read from
/// --from to what was their end when the run began; without it, pulls wait for new messages until the time is up.
#[derive(Args, Clone, Debug, Serialize)]
#[command(after_help = "\
Examples:
  drain what is there, as fast as possible
    perfgen consume -n 127.0.0.1:9876 --topic load --backlog
  the same, verifying bodies that were sent with --check: order, gaps, duplicates, damage
    perfgen consume -n 127.0.0.1:9876 --topic c --backlog --check
  follow the end of the queues for a minute
    perfgen consume -n 127.0.0.1:9876 --topic load --from max --duration 60")]
pub struct ConsumeArgs {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub pull: Pull,
    /// Read to the present end of every queue, then report; --duration is only the limit then.
    #[arg(long)]
    pub backlog: bool,
    /// Where to begin in every queue: min, max, or an offset.
    #[arg(long, default_value = "min", value_parser = start)]
    pub from: Start,
    /// Verify bodies that were sent with --check.
    #[arg(long)]
    pub check: bool,
    #[command(flatten)]
    pub run: Run,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "Pulls")]
pub struct Pull {
    /// Consumer connections, over all threads; queues are dealt out to them.
    #[arg(long, default_value_t = 4, value_parser = connections)]
    pub consumers: usize,
    /// Messages asked for by one pull.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub pull_batch: u16,
    /// How long a pull may wait for a message.
    #[arg(long, default_value = "15s", value_parser = duration)]
    #[serde(serialize_with = "seconds")]
    pub suspend: Duration,
    /// Consumer group.
    #[arg(long, default_value = "perfgen_consumer")]
    pub group: String,
}

/// Send at a fixed rate and consume at the same time.
///
/// Latency counts from the time a message should have been sent (it travels in the body) to its receipt;
/// that of the acknowledgements is reported beside it.
#[derive(Args, Clone, Debug, Serialize)]
#[command(after_help = "\
Examples:
  perfgen e2e -n 127.0.0.1:9876 --topic tail --create --rate 1000 --duration 30
  perfgen e2e -n 127.0.0.1:9876 --topic tail --create --rate 50000 --threads 2 --check --hdr tail.hlog

Without a given --rate it sends 1,000 messages per second. Connections: -c for sending, --consumers for pulling.")]
pub struct E2eArgs {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub load: SendLoad,
    #[command(flatten)]
    pub messages: Messages,
    #[command(flatten)]
    pub pull: Pull,
    /// Verify order, gaps, duplicates and checksums.
    #[arg(long)]
    pub check: bool,
    #[command(flatten)]
    pub run: Run,
    #[command(flatten)]
    pub output: Output,
}

/// Stand in for a broker and its name server: every send is answered at once, nothing is stored.
///
/// One thread. What perfgen reaches against it is the ceiling of the wire, of the kernel's sockets and of perfgen
/// itself. Pulls and pops find made-up messages with --backlog, and nothing without it.
#[derive(Args, Clone, Debug, Serialize)]
#[command(after_help = "\
Examples:
  the ceiling on two CPUs
    perfgen null --cpus 0 &
    perfgen send -n 127.0.0.1:10911 --cpus 1
  the ceiling of consuming
    perfgen null --cpus 0 --backlog 1000000 &
    perfgen consume -n 127.0.0.1:10911 --backlog --cpus 1")]
pub struct NullArgs {
    /// Address to listen on, as broker and as name server.
    #[arg(long, default_value = "127.0.0.1:10911")]
    pub listen: SocketAddr,
    /// Queues of every topic.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_QUEUES)))]
    pub queues: u32,
    /// Made-up messages in each queue.
    #[arg(long, default_value_t = 0)]
    pub backlog: u32,
    /// Bytes of a made-up message's body.
    #[arg(long, default_value = "1024", value_parser = body_size)]
    pub size: usize,
    /// CPU to run on.
    #[arg(long, value_name = "CPU")]
    pub cpus: Option<usize>,
}

/// Measure durable writes and reads in order: what a disk gives a log that is written with O_DIRECT and O_DSYNC.
///
/// Writes go into space that was written before, one after the other: 4 KiB with one write in flight, 256 KiB with
/// one and with four. Reads are O_DIRECT, 1 MiB with one and with four in flight. Each one in flight is a thread with
/// its own pwrite or pread; the file is removed at the end.
#[derive(Args, Clone, Debug, Serialize)]
#[command(after_help = "\
Example:
  perfgen disk /var/lib/ringmq --duration 5")]
pub struct DiskArgs {
    /// Directory on the disk to measure.
    pub dir: PathBuf,
    /// Size of the file written to.
    #[arg(long, default_value = "1GiB", value_parser = file_size)]
    pub file_size: u64,
    /// How long each pattern runs.
    #[arg(short, long, default_value = "3s", value_parser = duration)]
    #[serde(serialize_with = "seconds")]
    pub duration: Duration,
    /// Print one JSON object to stdout, instead of the table.
    #[arg(long)]
    pub json: bool,
}

/// Create, delete or look up very many topics, with many requests in flight.
///
/// The answers to creating and deleting come when the change is stored and known to the whole broker. What memory and
/// starts cost afterwards is measured by perf/topics.sh.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  a million queues
    perfgen topics create --server 127.0.0.1:10911 --topics 125000 --queues 8
    perfgen topics create --server 127.0.0.1:10911 --topics 1000 --queues 1000
  every route, from the name server, and the end of it all
    perfgen topics routes --server 127.0.0.1:9876 --topics 125000
    perfgen topics delete --server 127.0.0.1:10911 --topics 125000")]
pub struct TopicsArgs {
    /// What to do with each topic.
    #[arg(value_enum)]
    pub work: Work,
    /// The broker; the name server for routes.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:10911")]
    pub server: String,
    /// The front of the topics' names (many-0, many-1 ..).
    #[arg(long, default_value = "many")]
    pub topic: String,
    /// How many topics.
    #[arg(long, default_value_t = 100_000, value_parser = very_many)]
    pub topics: usize,
    /// Number of the first one.
    #[arg(long, default_value_t = 0)]
    pub first: usize,
    /// Queues of each.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub queues: u32,
    /// With fill: bodies of so many zeros instead of 100 letters. A file system can make holes of them (fallocate
    /// --dig-holes on full segments), so that a log of 50 GB takes little of the disk.
    #[arg(long, value_name = "BYTES", value_parser = body_size)]
    pub zeros: Option<usize>,
    /// Connections, each with a thread.
    #[arg(short, long, default_value_t = 4, value_parser = connections)]
    pub connections: usize,
    /// Requests in flight per connection.
    #[arg(short = 'f', long, default_value_t = 256, value_parser = in_flight)]
    pub in_flight: usize,
    /// How long connecting and an answer may take.
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
}

/// What `perfgen topics` does.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// UPDATE_AND_CREATE_TOPIC.
    Create,
    /// DELETE_TOPIC_IN_BROKER.
    Delete,
    /// GET_ROUTEINFO_BY_TOPIC.
    Routes,
    /// One message of 100 bytes (or --zeros) into every queue, topic after topic; --queues numbers them.
    Fill,
}

/// Where a consumer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    Min,
    Max,
    Offset(i64),
}

/// Checks what no single option can check.
///
/// # Errors
/// One sentence.
pub fn check_messages(messages: &Messages) -> Result<(), String> {
    if !volley::fits(messages.size, messages.batch.into()) {
        return Err(format!(
            "{} messages of {} bytes do not fit one request of 16 MiB; use a smaller --batch or --size",
            messages.batch, messages.size
        ));
    }
    let bad = messages.tags.iter().find(|tag| tag.is_empty() || tag.chars().any(|c| c.is_control() || c == '|'));
    match bad {
        Some(tag) => Err(format!("{tag:?} cannot be a tag: tags are not empty and have no | or control characters")),
        None => Ok(()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().map_err(|_| "expected something like 500ms, 10s or 2m".to_owned())?;
    let seconds = match &text[digits..] {
        "" | "s" => number,
        "ms" => number / 1e3,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        unit => return Err(format!("unknown unit {unit:?}; use ms, s, m or h")),
    };
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

fn optional_seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
}

fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| "expected something like 1024, 16KiB or 4MiB".to_owned())?;
    let shift = match text[digits..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        unit => return Err(format!("unknown unit {unit:?}; use KiB, MiB or GiB")),
    };
    number.checked_mul(1 << shift).ok_or_else(|| "too large".to_owned())
}

fn body_size(text: &str) -> Result<usize, String> {
    let size = bytes(text)?;
    usize::try_from(size)
        .ok()
        .filter(|size| (SMALLEST..=LARGEST).contains(size))
        .ok_or_else(|| format!("a body has {SMALLEST} bytes to 4 MiB, not {size}"))
}

fn file_size(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 64 << 20;
    bytes(text).and_then(|size| if size < LEAST { Err("at least 64MiB".into()) } else { Ok(size) })
}

fn within(text: &str, most: usize) -> Result<usize, String> {
    let number = text.parse().map_err(|_| "expected a whole number".to_owned())?;
    if (1..=most).contains(&number) { Ok(number) } else { Err(format!("expected 1 to {most}")) }
}

fn connections(text: &str) -> Result<usize, String> {
    within(text, MAX_CONNECTIONS)
}

fn in_flight(text: &str) -> Result<usize, String> {
    within(text, MAX_IN_FLIGHT)
}

fn topics(text: &str) -> Result<usize, String> {
    within(text, MAX_TOPICS)
}

/// Up to what a name server takes.
fn very_many(text: &str) -> Result<usize, String> {
    within(text, 4_194_304)
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e9 => Ok(rate),
        _ => Err("expected messages per second, above 0".into()),
    }
}

fn start(text: &str) -> Result<Start, String> {
    match text {
        "min" => Ok(Start::Min),
        "max" => Ok(Start::Max),
        offset => match offset.parse() {
            Ok(offset) if offset >= 0 => Ok(Start::Offset(offset)),
            _ => Err("expected min, max or an offset".into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn quantities_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1_500)));
        assert!(duration("soon").is_err() && duration("1w").is_err());
        assert_eq!(body_size("16KiB"), Ok(16 << 10));
        assert!(body_size("127").is_err() && body_size("5MiB").is_err());
        assert_eq!(start("17"), Ok(Start::Offset(17)));
        assert!(start("-1").is_err());
    }

    #[test]
    fn a_target_is_needed_and_only_one() {
        assert!(parse("perfgen send").is_err());
        assert!(parse("perfgen send -n a:1 --broker b:2").is_err());
        assert!(parse("perfgen send --broker b:2 --flush sync").is_err(), "--flush needs --create");
        assert!(parse("perfgen send --broker b:2").is_ok());
    }

    #[test]
    fn in_flight_depends_on_the_loop() {
        let Command::Send(closed) = parse("perfgen send -n a:1").expect("valid").command else { unreachable!() };
        let Command::Send(open) = parse("perfgen send -n a:1 -r 10").expect("valid").command else { unreachable!() };
        assert_eq!((closed.load.in_flight(), open.load.in_flight()), (64, 1_024));
    }

    #[test]
    fn requests_too_large_are_named() {
        let Command::Send(args) = parse("perfgen send -n a:1 -s 4MiB -b 32").expect("valid").command else {
            unreachable!()
        };
        assert!(check_messages(&args.messages).expect_err("too large").contains("--batch"));
    }
}
