//! What must now happen outside a shard, as plain data, and the three kinds of no.
//!
//! Owns `Effects` (filled by `apply`, drained and reused by the driver), `Ask` and `ReplyTo` (whom an answer goes to),
//! `Answer` (what a reply waits for) and `Refusal` (the client is told no). `Fault` (this shard cannot go on) is its own file.
//! Never carries any of it out, and never keeps a borrowed byte.

use std::borrow::Cow;

use ringmq_protocol::command::Command;
use ringmq_protocol::encode::{self, Encoder, Head};
use ringmq_protocol::frame::Spelling;
use ringmq_protocol::header::{Header, HeaderError};

use ringmq_protocol::response_code::ResponseCode;

use crate::event::{ConnId, Now, Origin, PeerMessage, ReadId, ShardId};
pub use crate::fault::Fault;
use crate::reading::Reading;
use crate::store::cold::Damage;
use crate::store::{Position, ReadPlan};
use crate::topic::Registration;

/// One request as a handler sees it.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub now: Now,
    pub origin: Origin,
    pub command: &'a Command<'a>,
    /// The whole frame: copied only to park the request or to ask other shards.
    pub frame: &'a [u8],
    /// Set on a request that was parked before: mono microseconds until which it may go on waiting.
    pub wait_until: Option<u64>,
}

impl<'a> Ask<'a> {
    /// Where its answer goes.
    pub fn to(&self) -> ReplyTo {
        ReplyTo {
            conn: self.origin.conn,
            opaque: self.command.opaque,
            spelling: self.command.spelling,
            oneway: self.command.is_oneway(),
        }
    }

    /// The typed header, or a refusal that names the bad field.
    ///
    /// # Errors
    /// SYSTEM_ERROR: RocketMQ's broker would run on with nulls and answer 1 with a stack trace.
    #[inline]
    pub fn header<H: Header<'a>>(&self) -> Result<H, Refusal> {
        H::decode(&self.command.ext).map_err(Refusal::from)
    }
}

/// Whom an answer goes to; small and `Copy`, so that waiting answers cost no allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyTo {
    pub conn: ConnId,
    pub opaque: i32,
    pub spelling: Spelling,
    /// The client wants no answer: everything encoded for it is dropped at once.
    pub oneway: bool,
}

/// What the answer to a request waits for.
#[derive(Debug)]
#[must_use]
pub enum Answer {
    /// Nothing: it stands in `Effects` already.
    Now,
    /// It is the last frame in `Effects` and must stay back until the log is durable up to here.
    When(Position),
    /// Bytes that are no longer resident.
    Read(ReadPlan, Reading),
    /// A new message, a topic, other shards: the request is kept in one of the shard's own tables.
    Held,
    /// There is none.
    Silent,
}

/// The client is told no: a response code and, for its user, what was wrong and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: ResponseCode,
    pub remark: Cow<'static, str>,
}

impl Refusal {
    /// A refusal whose remark is fixed or built; never on the success path.
    #[cold]
    pub fn new(code: ResponseCode, remark: impl Into<Cow<'static, str>>) -> Self {
        Refusal { code, remark: remark.into() }
    }
}

impl From<HeaderError> for Refusal {
    fn from(error: HeaderError) -> Self {
        Refusal::new(ResponseCode::SystemError, format!("bad request header: {error}"))
    }
}

/// A frame for one connection: `Effects::bytes[start..end]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// Its socket may live on another executor; the driver forwards the bytes there.
    pub conn: ConnId,
    pub start: u32,
    pub end: u32,
}

/// Everything that must happen outside, in the order it was decided. The driver drains it after a batch of inputs.
#[derive(Debug, Default)]
pub struct Effects {
    /// Encoded frames back to back.
    pub bytes: Vec<u8>,
    /// Replies and pushes, each a slice of `bytes`.
    pub sends: Vec<Outgoing>,
    /// Messages for other shards. A full ring is the driver's to answer: it keeps them until there is room.
    pub peers: Vec<(ShardId, PeerMessage)>,
    /// Damaged places of this shard's log that were just found; say so once each, loudly.
    pub damages: Vec<Damage>,
    /// Cold ranges wanted; each is answered by `Input::Read` with its id, in any order.
    pub reads: Vec<(ReadId, ReadPlan)>,
    /// Connections to close.
    pub closes: Vec<ConnId>,
    /// Control shard: topics changed; tell the name servers (the embedded one included).
    pub announce: Option<Registration>,
    /// Lines for the broker's log; rare.
    pub notes: Vec<String>,
    /// This shard's log is finished; say so once, loudly.
    pub fault: Option<Fault>,
}

impl Effects {
    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        let Effects { bytes, sends, peers, reads, damages, closes, announce, notes, fault } = self;
        bytes.clear();
        notes.clear();
        sends.clear();
        peers.clear();
        reads.clear();
        damages.clear();
        closes.clear();
        *announce = None;
        *fault = None;
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let Effects { bytes: _, sends, peers, reads, damages, closes, announce, notes, fault } = self;
        sends.is_empty()
            && peers.is_empty()
            && reads.is_empty()
            && damages.is_empty()
            && closes.is_empty()
            && announce.is_none()
            && notes.is_empty()
            && fault.is_none()
    }

    /// Encodes one answer: `fields` writes the header fields, `body` appends the body.
    #[inline]
    pub fn reply(
        &mut self,
        to: &ReplyTo,
        code: ResponseCode,
        remark: Option<&str>,
        fields: impl FnOnce(&mut Encoder<'_>),
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Answer {
        if to.oneway {
            return Answer::Silent;
        }
        let head = Head { remark, ..Head::response(to.spelling, code.to_i32(), to.opaque) };
        self.frame(to.conn, &head, fields, body);
        Answer::Now
    }

    /// Success with a typed header and no body.
    #[inline]
    pub fn answer<'h>(&mut self, to: &ReplyTo, header: &impl Header<'h>) -> Answer {
        self.reply(to, ResponseCode::Success, None, |fields| header.encode(fields), |_| {})
    }

    /// Success with a body and no header fields.
    pub fn answer_body(&mut self, to: &ReplyTo, body: &[u8]) -> Answer {
        self.reply(to, ResponseCode::Success, None, |_| {}, |out| out.extend_from_slice(body))
    }

    /// Success and nothing more to say.
    pub fn done(&mut self, to: &ReplyTo) -> Answer {
        self.reply(to, ResponseCode::Success, None, |_| {}, |_| {})
    }

    /// Tells the client no.
    pub fn refuse(&mut self, to: &ReplyTo, refusal: &Refusal) -> Answer {
        self.reply(to, refusal.code, Some(&refusal.remark), |_| {}, |_| {})
    }

    /// Encodes one frame of any kind (a push has its own `Head`).
    ///
    /// A frame beyond the limit is replaced by a refusal; the limits on bodies make that a bug, not an event.
    #[inline]
    pub fn frame(
        &mut self,
        conn: ConnId,
        head: &Head<'_>,
        fields: impl FnOnce(&mut Encoder<'_>),
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.bytes.len();
        let mut encoder = encode::begin(&mut self.bytes, head);
        fields(&mut encoder);
        if encoder.finish_by(body).is_err() {
            let code = ResponseCode::SystemError.to_i32();
            let remark = Some("the answer would exceed the largest frame (16 MiB); ask for less at once");
            let short = encode::begin(&mut self.bytes, &Head { code, remark, ..*head });
            let fits = short.finish(0);
            debug_assert!(fits.is_ok());
        }
        // Bounded by the driver's batch: it drains long before 4 GiB.
        let end = u32::try_from(self.bytes.len()).expect("effects are drained before they reach 4 GiB");
        self.sends.push(Outgoing { conn, start: start as u32, end });
    }
}
