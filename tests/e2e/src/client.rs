//! A small blocking client: one request at a time, or many pipelined.
//!
//! Owns one connection. Never retries: a test wants to see what the broker really answers.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use ringmq_protocol::command::Command;
use ringmq_protocol::encode::{self, Head};
use ringmq_protocol::frame::{self, Spelling};
use ringmq_protocol::header::Header;
use ringmq_protocol::headers::namesrv::RouteHeader;
use ringmq_protocol::headers::pull::{PullHeader, PullReply};
use ringmq_protocol::headers::send::{SendHeader, SendReply, ShortSendHeader};
use ringmq_protocol::headers::topic::CreateTopicHeader;
use ringmq_protocol::record;
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::text::Text;

/// No answer for this long is a failed test, not patience: a broker on a busy machine answers in milliseconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// One connection to a broker or name server.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    opaque: i32,
}

/// The server said no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub code: i32,
    pub remark: String,
}

/// Where a message was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendOutcome {
    pub opaque: i32,
    pub queue: i32,
    pub offset: i64,
}

/// One message as a consumer gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub offset: i64,
    pub body: Vec<u8>,
}

impl Client {
    /// Connects over IPv4.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(port: u16) -> io::Result<Client> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        Ok(Client { stream, received: Vec::new(), opaque: 0 })
    }

    /// The socket, for tests that write something else than frames.
    pub fn socket(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Appends a request to `out`; returns its number.
    pub fn encode<'h>(&mut self, out: &mut Vec<u8>, code: i32, header: &impl Header<'h>, body: &[u8]) -> i32 {
        self.opaque += 1;
        let head = Head::request(Spelling::Json, code, self.opaque);
        encode::begin(out, &head).header(header).finish_with(body).expect("tests send no oversized frames");
        self.opaque
    }

    /// Writes encoded requests.
    ///
    /// # Errors
    /// The connection broke.
    pub fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        self.stream.write_all(frames)
    }

    /// Waits for the next frame and shows it to `read`.
    ///
    /// # Errors
    /// The connection broke or stayed silent.
    pub fn receive<R>(&mut self, read: impl FnOnce(&Command<'_>) -> R) -> io::Result<R> {
        let mut buffer = [0; 64 * 1024];
        loop {
            if let Some(frame) = frame::split(&self.received).expect("the broker sends frames") {
                let len = frame.total_len;
                let result = read(&Command::parse(frame).expect("the broker sends commands"));
                self.received.drain(..len);
                return Ok(result);
            }
            let got = self.stream.read(&mut buffer)?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.received.extend_from_slice(&buffer[..got]);
        }
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// The connection broke or stayed silent.
    pub fn call<'h, R>(
        &mut self,
        code: i32,
        header: &impl Header<'h>,
        body: &[u8],
        read: impl FnOnce(&Command<'_>) -> R,
    ) -> io::Result<R> {
        let mut out = Vec::new();
        let opaque = self.encode(&mut out, code, header, body);
        self.write(&out)?;
        self.receive(|answer| {
            assert_eq!(answer.opaque, opaque, "one request was made, one answer is expected");
            read(answer)
        })
    }

    /// Appends a send to `out`; returns its number.
    pub fn encode_send(&mut self, out: &mut Vec<u8>, topic: &str, queue: i32, body: &[u8]) -> i32 {
        let header = SendHeader {
            producer_group: Text::plain("e2e_producer"),
            topic: Text::plain(topic),
            default_topic: Text::plain("TBW102"),
            default_topic_queue_nums: 4,
            queue_id: queue,
            sys_flag: 0,
            born_timestamp: 1_700_000_000_000,
            flag: 0,
            properties: Text::plain(""),
            reconsume_times: 0,
            unit_mode: false,
            max_reconsume_times: None,
            batch: false,
            broker_name: None,
        };
        self.encode(out, RequestCode::SendMessageV2.to_i32(), &ShortSendHeader(header), body)
    }

    /// Sends one message and waits for the answer.
    ///
    /// # Errors
    /// The connection broke; the inner error is the broker's refusal.
    pub fn send(&mut self, topic: &str, queue: i32, body: &[u8]) -> io::Result<Result<SendOutcome, Refused>> {
        let mut out = Vec::new();
        self.encode_send(&mut out, topic, queue, body);
        self.write(&out)?;
        self.receive(send_outcome)
    }

    /// Creates or changes a topic.
    ///
    /// # Errors
    /// The connection broke; the inner error is the broker's refusal.
    pub fn create_topic(&mut self, topic: &str, queues: i32, attributes: &str) -> io::Result<Result<(), Refused>> {
        let header = CreateTopicHeader {
            topic: Text::plain(topic),
            default_topic: Text::plain("TBW102"),
            read_queue_nums: queues,
            write_queue_nums: queues,
            perm: 6,
            topic_filter_type: Text::plain("SINGLE_TAG"),
            topic_sys_flag: Some(0),
            order: false,
            attributes: Some(Text::plain(attributes)),
            force: None,
        };
        self.call(RequestCode::UpdateAndCreateTopic.to_i32(), &header, &[], |answer| accepted(answer).map(drop))
    }

    /// The route of a topic, as the name server's text; the outer error is the connection's, the inner its refusal.
    ///
    /// # Errors
    /// The connection broke; the inner error is the name server's refusal.
    pub fn route(&mut self, topic: &str) -> io::Result<Result<String, Refused>> {
        let header = RouteHeader {
            topic: Text::plain(topic),
            accept_standard_json_only: Some(true),
            zone_mode: None,
            zone_name: None,
        };
        self.call(RequestCode::GetRouteinfoByTopic.to_i32(), &header, &[], |answer| {
            accepted(answer).map(|answer| String::from_utf8_lossy(answer.body).into_owned())
        })
    }

    /// Pulls up to 32 messages without waiting for new ones. Empty at the end of the queue.
    ///
    /// # Errors
    /// The connection broke; the inner error is the broker's refusal.
    pub fn pull(&mut self, topic: &str, queue: i32, offset: i64) -> io::Result<Result<Vec<Message>, Refused>> {
        /// The subscription stands in the request.
        const SUBSCRIPTION: i32 = 4;
        let header = PullHeader {
            consumer_group: Text::plain("e2e_consumer"),
            topic: Text::plain(topic),
            queue_id: queue,
            queue_offset: offset,
            max_msg_nums: 32,
            sys_flag: SUBSCRIPTION,
            commit_offset: 0,
            suspend_timeout_millis: 0,
            subscription: Some(Text::plain("*")),
            sub_version: 0,
            expression_type: None,
            max_msg_bytes: None,
            request_source: None,
            proxy_forward_client_id: None,
        };
        self.call(RequestCode::PullMessage.to_i32(), &header, &[], |answer| {
            match ResponseCode::from_i32(answer.code) {
                Some(ResponseCode::PullNotFound | ResponseCode::PullOffsetMoved) => return Ok(Vec::new()),
                _ => accepted(answer)?,
            };
            PullReply::decode(&answer.ext).expect("a pull's answer has its header");
            Ok(record::iter(answer.body)
                .map(|record| {
                    let record = record.expect("the broker sends whole records");
                    record.check_body().expect("the body has its checksum");
                    Message { offset: record.queue_offset(), body: record.body().to_vec() }
                })
                .collect())
        })
    }
}

/// What the answer to a send says.
///
/// # Errors
/// The broker's refusal.
pub fn send_outcome(answer: &Command<'_>) -> Result<SendOutcome, Refused> {
    accepted(answer)?;
    let reply = SendReply::decode(&answer.ext).expect("a send's answer has its header");
    Ok(SendOutcome { opaque: answer.opaque, queue: reply.queue_id, offset: reply.queue_offset })
}

fn accepted<'c, 'a>(answer: &'c Command<'a>) -> Result<&'c Command<'a>, Refused> {
    if answer.code == 0 {
        return Ok(answer);
    }
    let remark = answer.remark.map(|remark| remark.to_cow().into_owned()).unwrap_or_default();
    Err(Refused { code: answer.code, remark })
}
