//! What clients are told, and what they believe of it.
//!
//! Owns the meaning of answers: which code says that a message is stored, that it is not, or nothing.

use ringmq_core::harness::Received;
use ringmq_protocol::command::Command;
use ringmq_protocol::frame;
use ringmq_protocol::header::Header;
use ringmq_protocol::headers::offset::OffsetReply;
use ringmq_protocol::headers::pop::PopReply;
use ringmq_protocol::headers::pull::PullReply;
use ringmq_protocol::headers::send::SendReply;
use ringmq_protocol::ids::OffsetId;
use ringmq_protocol::record;
use ringmq_protocol::response_code::ResponseCode;

use super::{Exists, HalfMessage, POP_TOPIC, World};
use crate::ledger::{Ledger, QueueKey};
use crate::pops::Receipt;

/// What an answer is about.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    Send { first: usize, count: usize },
    Prepare { number: usize },
    Decide { number: usize },
    Pull { queue: QueueKey, offset: i64 },
    StoreOffset { queue: QueueKey, offset: i64 },
    Pop { asked: i32, until_us: u64 },
    Ack { receipt: Receipt },
    Drop { topic: String },
    Make { topic: String },
}

impl Asked {
    /// Whether it may touch this topic.
    pub(super) fn is_about(&self, name: &str, ledger: &Ledger) -> bool {
        match self {
            Asked::Send { first: number, .. } | Asked::Prepare { number } | Asked::Decide { number } => {
                ledger.message(*number).queue.0 == name
            }
            Asked::Pull { queue, .. } | Asked::StoreOffset { queue, .. } => queue.0 == name,
            Asked::Pop { .. } | Asked::Ack { .. } => name == POP_TOPIC,
            Asked::Drop { topic } | Asked::Make { topic } => topic == name,
        }
    }
}

/// A message in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) queue: i32,
    pub(crate) offset: i64,
    pub(crate) number: usize,
}

impl World {
    /// Takes in what the clients received.
    pub(super) fn listen(&mut self) -> Result<(), String> {
        while let Some(Received { conn, frame }) = self.harness.received.pop_front() {
            self.note(&frame);
            with_command(&frame, |command| {
                if !command.is_response() {
                    return Ok(());
                }
                let asked = self.open.remove(&(conn.slot, command.opaque));
                let asked = asked.ok_or(format!("an answer to nothing: opaque {}", command.opaque))?;
                self.believe(asked, command)
            })?;
        }
        Ok(())
    }

    pub(super) fn note(&mut self, frame: &[u8]) {
        // FNV-1a: enough to tell two runs apart.
        for byte in frame {
            self.outcome.trace = (self.outcome.trace ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn believe(&mut self, asked: Asked, command: &Command<'_>) -> Result<(), String> {
        let code = ResponseCode::from_i32(command.code);
        let success = code == Some(ResponseCode::Success);
        match asked {
            Asked::Send { first, count } if success => {
                let reply = SendReply::decode(&command.ext).map_err(|e| e.to_string())?;
                (0..count).try_for_each(|n| self.ledger.acknowledged(first + n, reply.queue_offset + n as i64))?;
            }
            Asked::Prepare { number } if success => self.prepared(number, command)?,
            Asked::Send { first, count } => {
                (first..first + count).filter(|_| says_no(code)).for_each(|number| self.ledger.refused(number));
            }
            Asked::Prepare { number } if says_no(code) => self.ledger.refused(number),
            Asked::Decide { number } if success => {
                self.ledger.decided(number);
                self.halves.retain(|half| half.number != number);
            }
            Asked::Pull { queue, offset } if success => self.pulled(&queue, offset, command)?,
            Asked::StoreOffset { queue, offset } if success => drop(self.stored.insert(queue, offset)),
            Asked::Pop { asked, until_us } if success => self.popped(asked, until_us, command)?,
            Asked::Ack { receipt } if success => {
                self.pops.acknowledged(&receipt, self.harness.now.mono_us, self.next_opaque);
            }
            Asked::Ack { receipt } => self.pops.unsure(receipt.number),
            Asked::Drop { topic } if success => self.topic_gone(&topic),
            Asked::Make { topic } if success => self.set_exists(&topic, Exists::Yes),
            // What became of it shows after the next start.
            Asked::Prepare { .. }
            | Asked::Decide { .. }
            | Asked::Pull { .. }
            | Asked::StoreOffset { .. }
            | Asked::Pop { .. }
            | Asked::Drop { .. }
            | Asked::Make { .. } => {}
        }
        Ok(())
    }

    fn prepared(&mut self, number: usize, command: &Command<'_>) -> Result<(), String> {
        let reply = SendReply::decode(&command.ext).map_err(|e| e.to_string())?;
        let id = OffsetId::decode(&reply.msg_id.to_cow()).ok_or("a half message without an id")?;
        self.ledger.acknowledged(number, reply.queue_offset)?;
        self.halves.push(HalfMessage { number, place: (id.offset, reply.queue_offset), commit: None });
        Ok(())
    }

    fn pulled(&mut self, queue: &QueueKey, offset: i64, command: &Command<'_>) -> Result<(), String> {
        let found = messages_of(command, &queue.0)?;
        let reply = PullReply::decode(&command.ext).map_err(|e| e.to_string())?;
        let end = found.last().map_or(offset, |last| last.offset + 1);
        if reply.next_begin_offset < end || found.first().is_some_and(|first| first.offset < offset) {
            return Err(format!("{queue:?}: a pull at {offset} goes on at {}", reply.next_begin_offset));
        }
        for Found { queue: at, offset, number } in found {
            if at != queue.1 {
                return Err(format!("{queue:?}: a message of queue {at}"));
            }
            self.ledger.seen(queue, offset, number)?;
        }
        Ok(())
    }

    /// Reads the receipts as a client library does.
    fn popped(&mut self, asked: i32, until_us: u64, command: &Command<'_>) -> Result<(), String> {
        let reply = PopReply::decode(&command.ext).map_err(|e| e.to_string())?;
        let text = |text: Option<ringmq_protocol::text::Text<'_>>| text.map(|text| text.to_cow().into_owned());
        let starts = text(reply.start_offset_info).ok_or("a pop without offsets")?;
        let offsets = text(reply.msg_offset_info).ok_or("a pop without offsets")?;
        let mut receipts = Vec::new();
        for (start, offsets) in starts.split(';').zip(offsets.split(';')) {
            let (start, offsets): (Vec<&str>, Vec<&str>) = (start.split(' ').collect(), offsets.split(' ').collect());
            let ([source, queue, first], [_, _, list]) =
                (start[..].as_array().ok_or("half a receipt")?, offsets[..].as_array().ok_or("half a receipt")?);
            for offset in list.split(',') {
                let (time, invisible) = (reply.pop_time, reply.invisible_time);
                receipts.push((
                    format!("{first} {time} {invisible} {} {source} sim {queue} {offset}", reply.revive_queue_id),
                    *source == "0",
                    queue.parse::<i32>().map_err(|e| e.to_string())?,
                    offset.parse::<i64>().map_err(|e| e.to_string())?,
                ));
            }
        }
        let found = messages_of(command, POP_TOPIC)?;
        if found.len() != receipts.len() {
            return Err(format!("{} popped messages with {} receipts", found.len(), receipts.len()));
        }
        for (message, (extra_info, itself, queue, offset)) in found.into_iter().zip(receipts) {
            if itself {
                self.ledger.seen(&(POP_TOPIC.to_owned(), queue), offset, message.number)?;
            }
            self.pops.given(asked, Receipt { number: message.number, extra_info, queue, offset, until_us })?;
        }
        Ok(())
    }

    /// A topic was deleted.
    pub(super) fn topic_gone(&mut self, topic: &str) {
        self.ledger.dropped(topic);
        let Self { halves, ledger, .. } = self;
        halves.retain(|half| ledger.message(half.number).queue.0 != topic);
        self.stored.retain(|(name, _), _| name != topic);
        self.asked_offsets.retain(|(name, _), _| name != topic);
        self.set_exists(topic, Exists::No);
    }

    pub(super) fn set_exists(&mut self, topic: &str, exists: Exists) {
        self.topics.get_mut(topic).expect("only known topics are asked about").exists = exists;
    }

    /// Sends a request on the consumer's connection and returns its answer; reads and writes are made at once.
    pub(super) fn ask_now(&mut self, frame: &[u8]) -> Result<Vec<u8>, String> {
        self.harness.request(self.consumer, frame);
        let answer = self.harness.take(self.consumer.conn).ok_or("no answer")?;
        self.note(&answer);
        Ok(answer)
    }
}

/// The broker has not taken the message. After other answers it may be stored: the log failed, or a topic was not made
/// in time.
fn says_no(code: Option<ResponseCode>) -> bool {
    let unsure = [ResponseCode::ServiceNotAvailable, ResponseCode::SystemBusy, ResponseCode::SystemError];
    code.is_none_or(|code| !unsure.contains(&code))
}

/// The messages in an answer, checked byte by byte against what was sent.
pub(crate) fn messages_of(command: &Command<'_>, topic: &str) -> Result<Vec<Found>, String> {
    let mut found = Vec::new();
    for record in record::iter(command.body) {
        let record = record.map_err(|error| format!("{topic}: a record that is none: {error:?}"))?;
        record.check_body().map_err(|error| format!("{topic}: {error:?}"))?;
        if record.topic() != topic {
            return Err(format!("{topic} holds a message of {} {}", record.topic(), record.queue_id()));
        }
        let number = number_of(record.body()).map_err(|why| format!("{topic}: {why}"))?;
        found.push(Found { queue: record.queue_id(), offset: record.queue_offset(), number });
    }
    Ok(found)
}

/// Which message a body belongs to; all of it is looked at.
pub(crate) fn number_of(body: &[u8]) -> Result<usize, String> {
    let number = body.first_chunk::<8>().map(|number| u64::from_be_bytes(*number) as usize);
    let number = number.ok_or(format!("a body of {} bytes", body.len()))?;
    if body[8..].iter().any(|byte| *byte != number as u8) {
        return Err(format!("the body of message {number} is not what was sent"));
    }
    Ok(number)
}

pub(crate) fn offset_of(command: &Command<'_>) -> Result<i64, String> {
    OffsetReply::decode(&command.ext).map(|reply| reply.offset).map_err(|error| error.to_string())
}

pub(crate) fn with_command<T>(bytes: &[u8], read: impl FnOnce(&Command<'_>) -> Result<T, String>) -> Result<T, String> {
    let frame = frame::split(bytes).map_err(|e| e.to_string())?.ok_or("the broker sent half a frame")?;
    let command = Command::parse(frame).map_err(|e| e.to_string())?;
    read(&command)
}
