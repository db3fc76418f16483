//! Pulling: the part of a thread that consumes messages.
//!
//! Owns the readers of its queues, each with at most one pull under way, and what they verify. Counting is the
//! ledger's. It commits no offsets: a run reads what the command line says, not what an earlier run left.

use ringmq_protocol::command::Command;
use ringmq_protocol::encode::{self, Head};
use ringmq_protocol::frame::{Frame, Spelling};
use ringmq_protocol::header::Header;
use ringmq_protocol::headers::pull::{PullHeader, PullReply};
use ringmq_protocol::pull_flag;
use ringmq_protocol::record::{self, RecordRef};
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::text::Text;
use ringmq_protocol::wire;

use super::{SUCCESS, remark};
use crate::check::{Findings, QueueBook, Stamp};
use crate::clock::{MILLISECOND, Nanos};
use crate::engine::HOUSEKEEPING;
use crate::engine::connection::Connection;
use crate::engine::in_flight::InFlight;
use crate::engine::scan::Scanner;
use crate::ledger::Ledger;
use crate::tally::local_code;
use crate::workload::sender::Progress;

/// Response codes a pull takes in its stride: nothing new, and nothing in the scanned range.
const PULL_NOT_FOUND: i32 = ResponseCode::PullNotFound.to_i32();
const PULL_RETRY_IMMEDIATELY: i32 = ResponseCode::PullRetryImmediately.to_i32();

/// Pause before a refused pull is repeated.
const RETRY_AFTER: Nanos = 20 * MILLISECOND;

const EXPIRY_CHECK: Nanos = 250 * MILLISECOND;

/// One queue being read.
pub struct Reader {
    pub topic: String,
    pub queue: u32,
    /// The next offset to pull.
    pub next: i64,
    /// Where to stop; `None` follows the queue for ever.
    pub until: Option<i64>,
    pub book: Option<QueueBook>,
}

impl Reader {
    fn finished(&self) -> bool {
        self.until.is_some_and(|until| self.next >= until)
    }
}

/// What latency means.
#[derive(Clone, Copy, Debug)]
pub enum Measure {
    /// From sending a pull to its answer; one per pull that brought messages.
    Pull,
    /// From the time a message of this run should have been sent to its receipt.
    EndToEnd { run: u64 },
}

/// What every pull has in common.
#[derive(Clone, Debug)]
pub struct PullPattern {
    pub spelling: Spelling,
    pub group: String,
    pub batch: i32,
    /// How long the broker may hold a pull; `None` when it should answer at once.
    pub suspend: Option<Nanos>,
}

/// One connection and its queues.
pub struct Line {
    readers: Vec<Reader>,
    in_flight: InFlight,
    /// Which reader a slot in flight belongs to.
    reader_of: Vec<usize>,
    /// Readers whose next pull may go out.
    ready: Vec<usize>,
    /// Readers that were refused, and when they may try again.
    later: Vec<(Nanos, usize)>,
    lost: bool,
}

impl Line {
    pub fn new(readers: Vec<Reader>) -> Line {
        assert!(!readers.is_empty(), "a connection needs a queue to read");
        let ready = (0..readers.len()).rev().filter(|reader| !readers[*reader].finished()).collect();
        Line {
            in_flight: InFlight::with_capacity(readers.len()),
            reader_of: vec![0; readers.len()],
            ready,
            later: Vec::new(),
            lost: false,
            readers,
        }
    }

    /// Whether it will never pull again.
    fn finished(&self) -> bool {
        self.lost || (self.in_flight.is_empty() && self.ready.is_empty() && self.later.is_empty())
    }
}

/// The pulling part of a thread.
pub struct Puller {
    pub lines: Vec<Line>,
    pub pattern: PullPattern,
    pub measure: Measure,
    scanner: Scanner,
    /// Pulls being put together for one write.
    out: Vec<u8>,
    next_expiry: Nanos,
    hopeless: Option<String>,
}

impl Puller {
    pub fn new(lines: Vec<Line>, pattern: PullPattern, measure: Measure) -> Puller {
        Puller { lines, pattern, measure, scanner: Scanner::default(), out: Vec::new(), next_expiry: 0, hopeless: None }
    }

    /// An answer on line `on`. Returns how many messages of ours it brought.
    pub fn arrived(&mut self, on: usize, frame: &Frame<'_>, now: Nanos, ledger: &mut Ledger) -> u64 {
        let Some((code, opaque)) = self.scanner.scan(frame) else {
            self.hopeless = Some("an answer without code and opaque arrived: that is no broker".into());
            return 0;
        };
        let line = &mut self.lines[on];
        let Some(pending) = line.in_flight.settle(opaque) else {
            ledger.tally().stray += 1;
            return 0;
        };
        let number = line.reader_of[pending.slot];
        let reader = &mut line.readers[number];
        let mut brought = 0;
        match (code, next_offset(frame)) {
            (SUCCESS, Ok(next)) => {
                brought = match self.measure {
                    Measure::Pull => took(reader, frame.body, pending.sent, now, ledger),
                    Measure::EndToEnd { run } => took_stamped(reader, frame.body, run, now, ledger),
                };
                reader.next = next;
            }
            (PULL_NOT_FOUND | PULL_RETRY_IMMEDIATELY, Ok(next)) => reader.next = next,
            (SUCCESS | PULL_NOT_FOUND | PULL_RETRY_IMMEDIATELY, Err(problem)) => {
                self.hopeless = Some(format!("a pull's answer cannot be read: {problem}"));
                return 0;
            }
            (code, moved) => {
                // A moved offset (21) says where to go on; anything else is asked again.
                if let Ok(next) = moved {
                    reader.next = next;
                }
                ledger.failed(pending.intended, code, 1, || remark(frame));
                line.later.push((now + RETRY_AFTER, number));
                return 0;
            }
        }
        if !reader.finished() {
            line.ready.push(number);
        }
        brought
    }

    /// Sends every pull of line `on` that may go out, with one write.
    pub fn refill(&mut self, on: usize, connection: &mut Connection, now: Nanos) {
        let line = &mut self.lines[on];
        if line.ready.is_empty() || !connection.is_clear() {
            return;
        }
        self.out.clear();
        while let Some(number) = line.ready.pop() {
            let (slot, opaque) = line.in_flight.begin(now, now).expect("one slot per reader");
            line.reader_of[slot] = number;
            encode_pull(&mut self.out, &self.pattern, &line.readers[number], opaque);
        }
        connection.send(&self.out);
    }

    /// The connection of line `on` is gone.
    pub fn lost(&mut self, on: usize, reason: &str, now: Nanos, ledger: &mut Ledger) {
        let line = &mut self.lines[on];
        line.lost = true;
        let queues = line.readers.iter().filter(|reader| !reader.finished()).count();
        ledger.failed(now, local_code::CONNECTION_LOST, queues as u64, || reason.to_owned());
        if self.lines.iter().all(|line| line.lost) {
            self.hopeless = Some(format!("every consumer connection was lost, the last one: {reason}"));
        }
    }

    /// Repeats what was refused, gives up what never came, and says what is next.
    pub fn turn(&mut self, connections: &mut [Connection], now: Nanos, ledger: &mut Ledger) -> Progress {
        let mut due = now + HOUSEKEEPING;
        for (on, connection) in connections.iter_mut().enumerate() {
            let line = &mut self.lines[on];
            let ready = &mut line.ready;
            line.later.retain(|(at, reader)| {
                if *at <= now {
                    ready.push(*reader);
                } else {
                    due = due.min(*at);
                }
                *at > now
            });
            self.refill(on, connection, now);
        }
        if now >= self.next_expiry {
            self.next_expiry = now + EXPIRY_CHECK;
            self.expire(connections, now, ledger);
        }
        match &self.hopeless {
            Some(reason) => Progress::Hopeless(reason.clone()),
            None if self.lines.iter().all(Line::finished) => Progress::Done,
            None => Progress::Until(due),
        }
    }

    /// What the order books still miss, and what queues hold that were not read to their end.
    pub fn findings(&self) -> Findings {
        let books = self.lines.iter().flat_map(|line| &line.readers).filter_map(|reader| reader.book.as_ref());
        Findings { missing: books.map(QueueBook::missing).sum(), ..Findings::default() }
    }

    /// A pull that is not answered in time ends the run: its queue would stand still unnoticed.
    fn expire(&mut self, connections: &[Connection], now: Nanos, ledger: &mut Ledger) {
        let patience = ledger.course.timeout + self.pattern.suspend.unwrap_or(0);
        let Some(sent_by) = now.checked_sub(patience) else { return };
        for (line, connection) in self.lines.iter_mut().zip(connections) {
            let hopeless = &mut self.hopeless;
            line.in_flight.expire(sent_by, |pending| {
                let seconds = patience / MILLISECOND;
                let stuck = format!("no answer from {} to a pull within {seconds} ms", connection.peer());
                ledger.failed(pending.intended, local_code::NO_ANSWER, 1, || stuck.clone());
                *hopeless = Some(stuck);
            });
        }
    }
}

/// Where the queue goes on, by the answer.
fn next_offset(frame: &Frame<'_>) -> Result<i64, String> {
    let command = Command::parse(*frame).map_err(|error| error.to_string())?;
    let reply = PullReply::decode(&command.ext).map_err(|error| error.to_string())?;
    Ok(reply.next_begin_offset)
}

fn encode_pull(out: &mut Vec<u8>, pattern: &PullPattern, reader: &Reader, opaque: i32) {
    let suspend = if pattern.suspend.is_some() { pull_flag::SUSPEND } else { 0 };
    let header = PullHeader {
        consumer_group: Text::plain(&pattern.group),
        topic: Text::plain(&reader.topic),
        queue_id: reader.queue as i32,
        queue_offset: reader.next,
        max_msg_nums: pattern.batch,
        sys_flag: suspend | pull_flag::SUBSCRIPTION,
        commit_offset: 0,
        suspend_timeout_millis: (pattern.suspend.unwrap_or(0) / MILLISECOND) as i64,
        subscription: Some(Text::plain("*")),
        sub_version: 0,
        expression_type: Some(Text::plain("TAG")),
        max_msg_bytes: None,
        request_source: None,
        proxy_forward_client_id: None,
    };
    let head = Head::request(pattern.spelling, RequestCode::PullMessage.to_i32(), opaque);
    // Topics and groups are checked when the run is planned; a pull is a few hundred bytes.
    encode::begin(out, &head).header(&header).finish(0).expect("a pull fits a frame");
}

/// Counts the messages of a pull's answer; verifies them when the reader keeps a book.
fn took(reader: &mut Reader, body: &[u8], sent: Nanos, now: Nanos, ledger: &mut Ledger) -> u64 {
    let mut messages = 0;
    let mut bytes = 0;
    let whole = if reader.book.is_some() {
        each_record(reader, body, ledger, |reader, record, ledger| {
            messages += 1;
            bytes += record.body().len() as u64;
            if let Some(book) = &mut reader.book {
                book.verify(record.body(), &mut ledger.tally().findings);
            }
        })
    } else {
        count_records(reader.next, body, &mut ledger.tally().findings).map(|counted| (messages, bytes) = counted)
    };
    if let Err(problem) = whole {
        ledger.failed(sent, local_code::UNREADABLE, 1, || problem);
    }
    ledger.received(sent, messages, bytes, now);
    messages
}

/// How many records `body` holds, and the bytes of their bodies: looks at no more of a record than that takes.
fn count_records(from: i64, body: &[u8], findings: &mut Findings) -> Result<(u64, u64), String> {
    let mut expected = from;
    let (mut messages, mut bytes) = (0, 0);
    let mut rest = body;
    while !rest.is_empty() {
        let size = record::peek_size(rest).map_err(|error| error.to_string())?;
        let (record, behind) = rest.split_at_checked(size).ok_or("the answer ends within a record")?;
        let mut offset = wire_at(record, record::at::QUEUE_OFFSET);
        let mut flag = wire_at(record, record::at::SYS_FLAG);
        let fixed = offset
            .i64()
            .zip(flag.i32())
            .and_then(|(offset, flag)| Some((offset, wire_at(record, record::body_len_at(flag)).i32()?)));
        let (offset, length) = fixed.ok_or("a record is shorter than its fixed fields")?;
        findings.offset_breaks += u64::from(offset != expected);
        expected = offset + 1;
        messages += 1;
        bytes += length.max(0) as u64;
        rest = behind;
    }
    Ok((messages, bytes))
}

/// Counts the messages of this run in a pull's answer, each with its own way from producer to here.
fn took_stamped(reader: &mut Reader, body: &[u8], run: u64, now: Nanos, ledger: &mut Ledger) -> u64 {
    let clock = ledger.course.clock;
    let mut messages = 0;
    let whole = each_record(reader, body, ledger, |reader, record, ledger| {
        let stamp = Stamp::read(record.body()).filter(|stamp| stamp.run == run);
        let Some(stamp) = stamp else {
            ledger.tally().findings.foreign += 1;
            return;
        };
        if let Some(book) = &mut reader.book {
            book.verify(record.body(), &mut ledger.tally().findings);
        }
        messages += 1;
        let intended = stamp.intended_unix.saturating_sub(clock.unix_nanos(0));
        ledger.received(intended, 1, record.body().len() as u64, now);
    });
    if let Err(problem) = whole {
        ledger.failed(now, local_code::UNREADABLE, 1, || problem);
    }
    messages
}

/// Reads from byte `at` of a record.
fn wire_at(record: &[u8], at: usize) -> wire::Reader<'_> {
    wire::Reader::new(record.get(at..).unwrap_or_default())
}

/// Walks the records of `body`; queue offsets must follow each other from where the pull began.
fn each_record(
    reader: &mut Reader,
    body: &[u8],
    ledger: &mut Ledger,
    mut each: impl FnMut(&mut Reader, &RecordRef<'_>, &mut Ledger),
) -> Result<(), String> {
    let mut expected = reader.next;
    for record in record::iter(body) {
        let record = record.map_err(|error| error.to_string())?;
        if record.queue_offset() != expected {
            ledger.tally().findings.offset_breaks += 1;
        }
        expected = record.queue_offset() + 1;
        each(reader, &record, ledger);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ringmq_protocol::record::{Message, PropertyParts};

    use super::*;

    fn records(offsets: &[i64]) -> Vec<u8> {
        let host = "127.0.0.1:10911".parse().expect("an address");
        let mut bytes = Vec::new();
        for offset in offsets {
            let message = Message {
                topic: "t",
                queue_id: 3,
                flag: 0,
                queue_offset: *offset,
                physical_offset: 0,
                sys_flag: 0,
                born_timestamp: 0,
                born_host: host,
                store_timestamp: 0,
                store_host: host,
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body: &[7; 200],
                properties: PropertyParts::just("TAGS\u{1}A\u{2}"),
            };
            let size = message.size().expect("small");
            let at = bytes.len();
            bytes.resize(at + size.total, 0);
            message.encode_into(&mut bytes[at..], &size);
        }
        bytes
    }

    #[test]
    fn counting_agrees_with_reading() {
        let body = records(&[5, 6, 7, 9]);
        let mut findings = Findings::default();
        assert_eq!(count_records(5, &body, &mut findings), Ok((4, 800)));
        assert_eq!(findings.offset_breaks, 1, "8 is missing");
        let read: u64 = record::iter(&body).map(|record| record.expect("whole").body().len() as u64).sum();
        assert_eq!(read, 800);
    }

    #[test]
    fn a_cut_answer_is_unreadable() {
        let body = records(&[0, 1]);
        for cut in [1, 90, body.len() / 2 + 1, body.len() - 1] {
            assert!(count_records(0, &body[..cut], &mut Findings::default()).is_err(), "cut at {cut}");
        }
    }
}
