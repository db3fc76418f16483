//! `perfgen topics`: creates, deletes or looks up very many topics, or fills their queues, with many requests in flight.
//!
//! Owns the loop of one connection (a window of requests over a blocking socket) and the report. What a broker's memory and
//! start are like with that many topics is measured around it, by `perf/topics.sh`.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use ringmq_protocol::command::Command;
use ringmq_protocol::encode::{self, FrameTooLarge, Head};
use ringmq_protocol::frame::{self, Spelling};
use ringmq_protocol::headers::namesrv::RouteHeader;
use ringmq_protocol::headers::send::{SendHeader, ShortSendHeader};
use ringmq_protocol::headers::topic::{CreateTopicHeader, TopicHeader};
use ringmq_protocol::perm;
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::text::Text;

use crate::call;
use crate::cli::{TopicsArgs, Work};
use crate::report::grouped;
use crate::tally::code_name;

/// Body of a message that fills a queue, bytes.
const FILLING: usize = 100;

/// What one connection did.
struct Done {
    answered: u64,
    refused: u64,
    /// The first refusal, as text.
    complaint: Option<String>,
    /// From sending to the answer, microseconds.
    times: Histogram<u64>,
}

/// Runs and prints one line with rates and latencies; whether all went well.
///
/// # Errors
/// One sentence when a connection cannot be made or is lost.
pub fn measure(args: &TopicsArgs) -> Result<bool, String> {
    let address = call::address(&args.server)?;
    let started = Instant::now();
    let parts: Vec<Result<Done, String>> = std::thread::scope(|scope| {
        let run = |part| scope.spawn(move || connection(args, address, part));
        let threads: Vec<_> = (0..args.connections).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into()))).collect()
    });
    let seconds = started.elapsed().as_secs_f64();
    let mut total = Done::new();
    for part in parts {
        let part = part?;
        total.answered += part.answered;
        total.refused += part.refused;
        total.complaint = total.complaint.or(part.complaint);
        total.times.add(part.times).map_err(|error| error.to_string())?;
    }
    print(args, &total, seconds);
    Ok(total.refused == 0)
}

impl Done {
    fn new() -> Self {
        let times = Histogram::new_with_bounds(1, 600_000_000, 3).expect("constant bounds");
        Done { answered: 0, refused: 0, complaint: None, times }
    }
}

fn print(args: &TopicsArgs, total: &Done, seconds: f64) {
    let Done { answered, refused, complaint, times } = total;
    let rate = *answered as f64 / seconds;
    let ms = |quantile: f64| times.value_at_quantile(quantile) as f64 / 1e3;
    let queues = match args.work {
        Work::Create => format!(", {} queues/s", grouped((rate * f64::from(args.queues)) as u64)),
        Work::Delete | Work::Routes | Work::Fill => String::new(),
    };
    let what = match args.work {
        Work::Fill => "messages",
        Work::Create | Work::Delete | Work::Routes => "topics",
    };
    println!(
        "{:?} {} {what}, {} queues a topic, in {seconds:.2} s: {} {what}/s{queues}; p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms; {refused} refused",
        args.work,
        grouped(*answered),
        args.queues,
        grouped(rate as u64),
        ms(0.5),
        ms(0.99),
        ms(1.0)
    );
    if let Some(complaint) = complaint {
        println!("first refusal: {complaint}");
    }
}

/// One connection's share of the topics (queues, if they are filled): those whose number modulo the connections is `part`.
fn connection(args: &TopicsArgs, address: SocketAddr, part: usize) -> Result<Done, String> {
    let lost = |error: std::io::Error| format!("{address}: {error}");
    let mut stream = TcpStream::connect_timeout(&address, args.timeout).map_err(lost)?;
    stream.set_read_timeout(Some(args.timeout)).map_err(lost)?;
    stream.set_nodelay(true).map_err(lost)?;
    let things = match args.work {
        Work::Fill => args.topics * args.queues as usize,
        Work::Create | Work::Delete | Work::Routes => args.topics,
    };
    let mut numbers = (part..things).step_by(args.connections);
    let mut done = Done::new();
    // When the request with this opaque left; a window of the numbering, as answers may come in any order.
    let mut sent: Vec<Instant> = Vec::new();
    let mut in_flight = 0;
    let (mut outbox, mut inbox) = (Vec::new(), Vec::new());
    loop {
        outbox.clear();
        while in_flight < args.in_flight
            && let Some(number) = numbers.next()
        {
            request(args, number, sent.len() as i32, &mut outbox)?;
            sent.push(Instant::now());
            in_flight += 1;
        }
        if in_flight == 0 {
            return Ok(done);
        }
        stream.write_all(&outbox).map_err(lost)?;
        in_flight -= receive(&mut stream, &mut inbox, &sent, &mut done).map_err(lost)?;
    }
}

fn request(args: &TopicsArgs, number: usize, opaque: i32, out: &mut Vec<u8>) -> Result<(), String> {
    let (topic, queue) = match args.work {
        Work::Fill => (number / args.queues as usize, number % args.queues as usize),
        Work::Create | Work::Delete | Work::Routes => (number, 0),
    };
    let name = format!("{}-{}", args.topic, args.first + topic);
    let topic = Text::plain(&name);
    let head = |code: RequestCode| Head::request(Spelling::Json, code.to_i32(), opaque);
    let written = match args.work {
        Work::Create => {
            let header = CreateTopicHeader {
                topic,
                default_topic: Text::plain("TBW102"),
                read_queue_nums: args.queues as i32,
                write_queue_nums: args.queues as i32,
                perm: perm::READ_WRITE,
                topic_filter_type: Text::plain("SINGLE_TAG"),
                topic_sys_flag: Some(0),
                order: false,
                attributes: None,
                force: None,
            };
            encode::begin(out, &head(RequestCode::UpdateAndCreateTopic)).header(&header).finish(0)
        }
        Work::Delete => {
            encode::begin(out, &head(RequestCode::DeleteTopicInBroker)).header(&TopicHeader { topic }).finish(0)
        }
        Work::Routes => {
            let header = RouteHeader { topic, accept_standard_json_only: Some(true), zone_mode: None, zone_name: None };
            encode::begin(out, &head(RequestCode::GetRouteinfoByTopic)).header(&header).finish(0)
        }
        Work::Fill => fill(args, topic, number, queue, opaque, out),
    };
    written.map(drop).map_err(|error| error.to_string())
}

/// A message as a client sends it: with a unique key.
fn fill(
    args: &TopicsArgs,
    topic: Text<'_>,
    number: usize,
    queue: usize,
    opaque: i32,
    out: &mut Vec<u8>,
) -> Result<usize, FrameTooLarge> {
    let properties = format!("UNIQ_KEY\u{1}{number:032X}\u{2}WAIT\u{1}true\u{2}");
    let header = SendHeader {
        producer_group: Text::plain("perfgen"),
        topic,
        default_topic: Text::plain("TBW102"),
        default_topic_queue_nums: args.queues as i32,
        queue_id: queue as i32,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        properties: Text::plain(&properties),
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
        broker_name: None,
    };
    let head = Head::request(Spelling::Json, RequestCode::SendMessageV2.to_i32(), opaque);
    let begun = encode::begin(out, &head).header(&ShortSendHeader(header));
    match args.zeros {
        Some(size) => begun.finish_with(&vec![0; size]),
        None => begun.finish_with(&[b'x'; FILLING]),
    }
}

/// Waits for answers; how many came.
fn receive(stream: &mut TcpStream, inbox: &mut Vec<u8>, sent: &[Instant], done: &mut Done) -> std::io::Result<usize> {
    let mut chunk = vec![0; 64 << 10];
    let mut answers = 0;
    while answers == 0 {
        let got = stream.read(&mut chunk)?;
        if got == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        inbox.extend_from_slice(&chunk[..got]);
        let mut used = 0;
        while let Some(found) = frame::split(&inbox[used..]).map_err(|_| ErrorKind::InvalidData)? {
            let length = found.total_len;
            let command = Command::parse(found).map_err(|_| ErrorKind::InvalidData)?;
            if let Some(at) = usize::try_from(command.opaque).ok().and_then(|at| sent.get(at)) {
                take(&command, at.elapsed(), done);
                answers += 1;
            }
            used += length;
        }
        inbox.drain(..used);
    }
    Ok(answers)
}

fn take(command: &Command<'_>, time: Duration, done: &mut Done) {
    done.answered += 1;
    done.times.saturating_record(time.as_micros() as u64);
    if command.code != 0 {
        done.refused += 1;
        let remark = || command.remark.map(|text| text.to_string()).unwrap_or_default();
        done.complaint.get_or_insert_with(|| format!("{} {}: {}", command.code, code_name(command.code), remark()));
    }
}
