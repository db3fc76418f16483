//! `perfgen null`: a broker and name server that answers every send at once and stores nothing.
//!
//! Owns one loop on one thread. Its speed is the ceiling of the wire: what a broker could reach if it did nothing
//! but receive, answer and send. Its answers are as long as real ones; with a backlog, its pulls bring made-up
//! messages, so that consuming has a ceiling too. It never checks a request beyond what answering takes.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};

use mio::{Events, Interest, Poll, Token};
use ringmq_protocol::command::Command;
use ringmq_protocol::encode::{self, Head};
use ringmq_protocol::frame::{Frame, Spelling};
use ringmq_protocol::header::Header;
use ringmq_protocol::headers::offset::OffsetReply;
use ringmq_protocol::headers::pop::{PopHeader, PopReply};
use ringmq_protocol::headers::pull::{PullHeader, PullReply};
use ringmq_protocol::headers::send::SendReply;
use ringmq_protocol::record::{self, Message, PropertyParts};
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::text::Text;
use serde_json::json;

use crate::cli::NullArgs;
use crate::clock::Clock;
use crate::engine::connection::Connection;
use crate::engine::in_flight::FIRST_OPAQUE;
use crate::engine::scan::Scanner;
use crate::run::{Signals, pin};

/// How often Ctrl-C is looked for.
const TICK: std::time::Duration = std::time::Duration::from_millis(100);

const EVENTS: usize = 1_024;

/// The listener's token; connections are numbered from 0.
const LISTENER: Token = Token(usize::MAX);

/// Messages a pull brings at most, as with an Apache broker that reads from memory.
const PULL_AT_MOST: i32 = 32;

/// Serves until Ctrl-C.
///
/// # Errors
/// One sentence: the address is taken, the CPU does not exist.
pub fn serve(args: &NullArgs) -> Result<(), String> {
    let signals = Signals::block().map_err(|error| format!("signals cannot be blocked: {error}"))?;
    let cpus: Vec<usize> = args.cpus.into_iter().collect();
    pin(&cpus).map_err(|error| format!("cannot run on CPU {cpus:?}: {error}"))?;
    let mut null = Null::bind(args).map_err(|error| format!("cannot listen on {}: {error}", args.listen))?;
    eprintln!("null broker and name server on {}: answers sends, stores nothing; Ctrl-C ends it", null.address());
    while !signals.pending() {
        null.turn().map_err(|error| format!("the event loop failed: {error}"))?;
    }
    Ok(())
}

/// A null broker, listening.
pub struct Null {
    address: SocketAddr,
    poll: Poll,
    listener: mio::net::TcpListener,
    connections: BTreeMap<usize, Connection>,
    next: usize,
    answers: Answers,
    clock: Clock,
    events: Option<Events>,
}

impl Null {
    /// Listens.
    ///
    /// # Errors
    /// The address is taken or not ours.
    pub fn bind(args: &NullArgs) -> io::Result<Null> {
        let listener = TcpListener::bind(args.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let answers = Answers::new(args, address);
        let mut listener = mio::net::TcpListener::from_std(listener);
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Null {
            address,
            poll,
            listener,
            connections: BTreeMap::new(),
            next: 0,
            answers,
            clock: Clock::start(),
            events: Some(Events::with_capacity(EVENTS)),
        })
    }

    /// Where it listens; the port is the real one even if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves whoever has something to say, or returns after a moment.
    ///
    /// # Errors
    /// The poll failed.
    pub fn turn(&mut self) -> io::Result<()> {
        // Taken out while it is walked, because serving needs the rest of `self`.
        let mut events = self.events.take().unwrap_or_else(|| Events::with_capacity(EVENTS));
        match self.poll.poll(&mut events, Some(TICK)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                self.accept()?;
            } else {
                self.serve(event.token().0);
            }
        }
        self.events = Some(events);
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let (stream, peer) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The peer gave up, or files ran out: neither ends the others.
                Err(_) => return Ok(()),
            };
            let mut connection = Connection::accepted(stream.into(), peer)?;
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(connection.source(), Token(self.next), both)?;
            self.connections.insert(self.next, connection);
            self.next += 1;
        }
    }

    fn serve(&mut self, number: usize) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.flush();
        // A peer that does not read its answers is not read from: that bounds what waits for it.
        if connection.is_clear() {
            let answers = &mut self.answers;
            answers.out.clear();
            connection.receive(self.clock, |frame, _| answers.answer(&frame));
            if !answers.out.is_empty() && connection.is_clear() {
                connection.send(&answers.out);
            }
        }
        if connection.closed().is_some() {
            self.connections.remove(&number);
        }
    }
}

/// A ready-made answer with room for its opaque.
struct Canned {
    bytes: Vec<u8>,
    opaque_at: usize,
}

/// How answers are made.
struct Answers {
    scanner: Scanner,
    out: Vec<u8>,
    sent: [Canned; 2],
    /// The body of a route, the same for every topic.
    route: Vec<u8>,
    backlog: i64,
    /// What pops have not been given yet, of all queues together; all of it is said to lie in queue 0.
    popped: i64,
    poppable: i64,
    /// Made-up records, and the length of one.
    records: Vec<u8>,
    record: usize,
}

impl Answers {
    fn new(args: &NullArgs, address: SocketAddr) -> Answers {
        let record = made_up_record(args.size, address);
        let mut records = Vec::new();
        for _ in 0..PULL_AT_MOST {
            records.extend_from_slice(&record);
        }
        Answers {
            scanner: Scanner::default(),
            out: Vec::new(),
            sent: [canned_send_reply(Spelling::Json), canned_send_reply(Spelling::Binary)],
            route: route(address, args.queues),
            backlog: args.backlog.into(),
            popped: 0,
            poppable: i64::from(args.backlog) * i64::from(args.queues),
            record: record.len(),
            records,
        }
    }

    #[inline]
    fn answer(&mut self, frame: &Frame<'_>) {
        let Some((code, opaque)) = self.scanner.scan(frame) else { return };
        match RequestCode::from_i32(code) {
            Some(RequestCode::SendMessageV2 | RequestCode::SendBatchMessage | RequestCode::SendMessage) => {
                let at = self.out.len();
                let canned = &self.sent[usize::from(frame.spelling == Spelling::Binary)];
                // Opaques of perfgen have ten digits, and so has the room for them.
                if frame.spelling == Spelling::Json && opaque < FIRST_OPAQUE {
                    send_reply(&mut self.out, frame.spelling, opaque);
                    return;
                }
                self.out.extend_from_slice(&canned.bytes);
                let place = &mut self.out[at + canned.opaque_at..];
                match frame.spelling {
                    Spelling::Json => crate::wire::digits::decimal(&mut place[..10], opaque as u64),
                    Spelling::Binary => place[..4].copy_from_slice(&opaque.to_be_bytes()),
                }
            }
            Some(RequestCode::PullMessage | RequestCode::LitePullMessage) => self.pull(frame),
            Some(RequestCode::PopMessage) => self.pop(frame),
            Some(RequestCode::GetMaxOffset) => self.offset(frame.spelling, opaque, self.backlog),
            Some(RequestCode::GetMinOffset) => self.offset(frame.spelling, opaque, 0),
            Some(RequestCode::GetRouteinfoByTopic) => {
                let head = Head::response(frame.spelling, ResponseCode::Success.to_i32(), opaque);
                let done = encode::begin(&mut self.out, &head).finish_with(&self.route);
                done.expect("a route fits a frame");
            }
            // Heartbeats, acknowledgements of pops, topic creation and all the rest: agreed.
            _ => self.bare(frame.spelling, ResponseCode::Success, opaque),
        }
    }

    fn bare(&mut self, spelling: Spelling, code: ResponseCode, opaque: i32) {
        let head = Head::response(spelling, code.to_i32(), opaque);
        encode::begin(&mut self.out, &head).finish(0).expect("an empty answer fits a frame");
    }

    fn offset(&mut self, spelling: Spelling, opaque: i32, offset: i64) {
        let head = Head::response(spelling, ResponseCode::Success.to_i32(), opaque);
        encode::begin(&mut self.out, &head).header(&OffsetReply { offset }).finish(0).expect("it fits a frame");
    }

    fn pull(&mut self, frame: &Frame<'_>) {
        let Ok(command) = Command::parse(*frame) else { return };
        let Ok(asked) = PullHeader::decode(&command.ext) else {
            return self.bare(frame.spelling, ResponseCode::InvalidParameter, command.opaque);
        };
        let from = asked.queue_offset.clamp(0, self.backlog);
        let count = (self.backlog - from).min(asked.max_msg_nums.clamp(0, PULL_AT_MOST).into());
        let code = if count > 0 { ResponseCode::Success } else { ResponseCode::PullNotFound };
        let reply = PullReply {
            suggest_which_broker_id: 0,
            next_begin_offset: from + count,
            min_offset: 0,
            max_offset: self.backlog,
            offset_delta: None,
            topic_sys_flag: None,
            group_sys_flag: None,
            forbidden_type: None,
        };
        self.records(frame.spelling, code, command.opaque, &reply, from, count);
    }

    fn pop(&mut self, frame: &Frame<'_>) {
        let Ok(command) = Command::parse(*frame) else { return };
        let Ok(asked) = PopHeader::decode(&command.ext) else {
            return self.bare(frame.spelling, ResponseCode::InvalidParameter, command.opaque);
        };
        let from = self.popped;
        let count = (self.poppable - from).min(asked.max_msg_nums.clamp(0, PULL_AT_MOST).into());
        if count == 0 {
            return self.bare(frame.spelling, ResponseCode::PollingTimeout, command.opaque);
        }
        self.popped += count;
        let starts = format!("0 0 {from}");
        let reply = PopReply {
            pop_time: asked.born_time,
            invisible_time: asked.invisible_time,
            revive_queue_id: 0,
            rest_num: self.poppable - self.popped,
            start_offset_info: Some(Text::plain(&starts)),
            msg_offset_info: None,
            order_count_info: None,
        };
        self.records(frame.spelling, ResponseCode::Success, command.opaque, &reply, from, count);
    }

    /// Answers with `count` made-up records, the first of which has the queue offset `from`.
    fn records<'h>(
        &mut self,
        spelling: Spelling,
        code: ResponseCode,
        opaque: i32,
        reply: &impl Header<'h>,
        from: i64,
        count: i64,
    ) {
        let bytes = count as usize * self.record;
        for (number, record) in self.records[..bytes].chunks_exact_mut(self.record).enumerate() {
            record::patch::queue_offset(record, from + number as i64);
        }
        let head = Head::response(spelling, code.to_i32(), opaque);
        let whole = encode::begin(&mut self.out, &head).header(reply).finish_with(&self.records[..bytes]);
        if whole.is_err() {
            self.bare(spelling, ResponseCode::MessageIllegal, opaque);
        }
    }
}

/// A send's answer as long as a real one.
fn send_reply(out: &mut Vec<u8>, spelling: Spelling, opaque: i32) {
    let reply = SendReply {
        msg_id: Text::plain("7F00000100002A9F0000000000000000"),
        queue_id: 0,
        queue_offset: 1_000_000,
        transaction_id: Some(Text::plain("00000000000000000000000000000000")),
        batch_uniq_id: None,
        recall_handle: None,
    };
    let head = Head::response(spelling, ResponseCode::Success.to_i32(), opaque);
    let encoder = encode::begin(out, &head).header(&reply);
    encoder.pair("MSG_REGION", "DefaultRegion").pair("TRACE_ON", "true").finish(0).expect("it fits a frame");
}

/// The answer with a place for ten digits, or four bytes, of opaque.
fn canned_send_reply(spelling: Spelling) -> Canned {
    let (mut bytes, mut other) = (Vec::new(), Vec::new());
    send_reply(&mut bytes, spelling, 1_111_111_111);
    send_reply(&mut other, spelling, 2_000_000_000);
    let opaque_at = bytes.iter().zip(&other).position(|(one, two)| one != two).expect("the opaques differ");
    Canned { bytes, opaque_at }
}

fn route(address: SocketAddr, queues: u32) -> Vec<u8> {
    let queue_data = json!({
        "brokerName": "null", "readQueueNums": queues, "writeQueueNums": queues, "perm": 6, "topicSysFlag": 0,
    });
    let broker_data = json!({
        "cluster": "DefaultCluster", "brokerName": "null", "brokerAddrs": {"0": address.to_string()},
    });
    let route = json!({"queueDatas": [queue_data], "brokerDatas": [broker_data], "filterServerTable": {}});
    route.to_string().into_bytes()
}

fn made_up_record(size: usize, store_host: SocketAddr) -> Vec<u8> {
    let body = vec![b'0'; size];
    let message = Message {
        topic: "perfgen",
        queue_id: 0,
        flag: 0,
        queue_offset: 0,
        physical_offset: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        born_host: store_host,
        store_timestamp: 1_700_000_000_000,
        store_host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: &body,
        properties: PropertyParts::just("UNIQ_KEY\u{1}00000000000000000000000000000000\u{2}"),
    };
    let layout = message.size().expect("sizes are limited on the command line");
    let mut bytes = vec![0; layout.total];
    message.encode_into(&mut bytes, &layout);
    bytes
}

#[cfg(test)]
mod tests {
    use ringmq_protocol::frame;

    use super::*;

    fn answers(backlog: u32) -> Answers {
        let listen = SocketAddr::from(([127, 0, 0, 1], 10_911));
        Answers::new(&NullArgs { listen, queues: 4, backlog, size: 128, cpus: None }, listen)
    }

    fn ask(answers: &mut Answers, bytes: &[u8]) -> (i32, i32, Vec<u8>) {
        answers.out.clear();
        answers.answer(&frame::split(bytes).expect("a frame").expect("complete"));
        let frame = frame::split(&answers.out).expect("a frame").expect("complete");
        assert_eq!(frame.total_len, answers.out.len());
        let command = Command::parse(frame).expect("a header");
        assert!(command.is_response());
        (command.code, command.opaque, command.body.to_vec())
    }

    #[test]
    fn sends_are_acknowledged_in_both_spellings() {
        let mut answers = answers(0);
        for spelling in [Spelling::Json, Spelling::Binary] {
            for opaque in [0, 7, FIRST_OPAQUE, i32::MAX] {
                let mut request = Vec::new();
                let head = Head::request(spelling, RequestCode::SendMessageV2.to_i32(), opaque);
                encode::begin(&mut request, &head).finish_with(b"body").expect("fits");
                assert_eq!(ask(&mut answers, &request), (0, opaque, Vec::new()));
            }
        }
    }

    #[test]
    fn pulls_bring_the_backlog_and_then_nothing() {
        let mut answers = answers(40);
        let pull = |offset: i64| {
            let mut request = Vec::new();
            let header = PullHeader {
                consumer_group: Text::plain("g"),
                topic: Text::plain("t"),
                queue_id: 0,
                queue_offset: offset,
                max_msg_nums: 32,
                sys_flag: 0,
                commit_offset: 0,
                suspend_timeout_millis: 0,
                subscription: None,
                sub_version: 0,
                expression_type: None,
                max_msg_bytes: None,
                request_source: None,
                proxy_forward_client_id: None,
            };
            let head = Head::request(Spelling::Json, RequestCode::PullMessage.to_i32(), 5);
            encode::begin(&mut request, &head).header(&header).finish(0).expect("fits");
            request
        };
        for (from, expected) in [(0, 0..32), (32, 32..40), (40, 40..40)] {
            let (_, _, body) = ask(&mut answers, &pull(from));
            let offsets: Vec<i64> =
                record::iter(&body).map(|record| record.expect("a record").queue_offset()).collect();
            assert_eq!(offsets, expected.collect::<Vec<i64>>());
        }
        assert_eq!(ask(&mut answers, &pull(40)).0, 19);
    }
}
