//! Requests of ours to clients, made on the control shard, which knows their connections.
//!
//! Owns what another shard asks to be pushed ([`ClientPush`]), the finding of the connection, and the way of the client's
//! answer back to who waits for it. Never repeats a push: who wants that asks again.

use ringmq_protocol::command::Command;
use ringmq_protocol::encode::{Encoder, Head};
use ringmq_protocol::frame::Spelling;
use ringmq_protocol::header::{FieldSink, Header};
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::text::Text;

use crate::effects::{Effects, Refusal};
use crate::event::{ConnId, Now, Origin, PeerMessage, ShardId};
use crate::limits::PUSH_REPLY_MAX_MS;
use crate::peer;
use crate::pushes::{Push, Waiter};
use crate::shard::Shard;

/// To whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushTarget {
    /// The client of this id.
    Client(Box<str>),
    /// Any one client of this producer group.
    ProducerOf(Box<str>),
}

/// A request to a client.
#[derive(Debug, Clone)]
pub struct ClientPush {
    pub target: PushTarget,
    pub code: RequestCode,
    pub fields: Fields,
    pub body: Vec<u8>,
    /// The sender's number for the outcome; `None` for a push that expects no answer.
    pub answer: Option<u64>,
}

/// Header fields as text, for a frame that is encoded elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(Box<str>, Box<str>)>);

impl Fields {
    /// The fields of a typed header.
    pub fn of<'h>(header: &impl Header<'h>) -> Self {
        let mut fields = Fields::default();
        header.encode(&mut fields);
        fields
    }

    fn write(&self, encoder: &mut Encoder<'_>) {
        for (key, value) in &self.0 {
            encoder.foreign(key, Text::plain(value));
        }
    }
}

impl FieldSink for Fields {
    fn text(&mut self, key: &str, value: Text<'_>) {
        self.0.push((key.into(), value.to_cow().into()));
    }

    fn int(&mut self, key: &str, value: i64) {
        self.0.push((key.into(), value.to_string().into()));
    }

    fn boolean(&mut self, key: &str, value: bool) {
        self.0.push((key.into(), if value { "true" } else { "false" }.into()));
    }
}

/// Has a client asked something; on any shard.
pub fn ask(shard: &mut Shard, now: Now, push: ClientPush, out: &mut Effects) {
    peer::tell_control(shard, now, PeerMessage::Push { push: Box::new(push) }, out);
}

/// Control shard: sends the push of another shard, or says why not.
pub(crate) fn send(shard: &mut Shard, now: Now, from: ShardId, push: &ClientPush, out: &mut Effects) {
    let outcome = match connection(shard, &push.target) {
        Some(conn) => send_to(shard, now, from, conn, push, out),
        None => Err(Refusal::new(ResponseCode::SystemError, not_connected(&push.target))),
    };
    if let (Err(refusal), Some(id)) = (outcome, push.answer) {
        out.peers.push((from, PeerMessage::Pushed { id, outcome: Err(refusal) }));
    }
}

fn connection(shard: &mut Shard, target: &PushTarget) -> Option<ConnId> {
    let control = shard.control.as_mut()?;
    match target {
        PushTarget::Client(id) => control.client(id),
        PushTarget::ProducerOf(group) => control.a_producer_of(group),
    }
}

#[cold]
fn not_connected(target: &PushTarget) -> String {
    match target {
        PushTarget::Client(id) => format!("client {id} is not connected to this broker as a producer"),
        PushTarget::ProducerOf(group) => format!("no producer of group[{group}] is connected to this broker"),
    }
}

fn send_to(
    shard: &mut Shard,
    now: Now,
    from: ShardId,
    conn: ConnId,
    push: &ClientPush,
    out: &mut Effects,
) -> Result<(), Refusal> {
    let head = match push.answer {
        None => Head::oneway(Spelling::Json, push.code.to_i32(), shard.relays.pushes.next_opaque()),
        Some(id) => {
            let waiter = Waiter::Shard { shard: from, id };
            let open = Push { target: conn, waiter, deadline: now.after_ms(PUSH_REPLY_MAX_MS) };
            let opaque = shard.relays.pushes.open(open).ok_or_else(|| {
                Refusal::new(ResponseCode::SystemBusy, "too many pushes to clients wait for their answers")
            })?;
            Head::request(Spelling::Json, push.code.to_i32(), opaque)
        }
    };
    out.frame(conn, &head, |fields| push.fields.write(fields), |body| body.extend_from_slice(&push.body));
    Ok(())
}

/// A client answered a push of ours.
pub(crate) fn answered(shard: &mut Shard, origin: &Origin, command: &Command<'_>, out: &mut Effects) {
    let Some(push) = shard.relays.pushes.answered(origin.conn, command.opaque) else { return };
    match push.waiter {
        Waiter::Client(to) => {
            // As it is, whatever the code: only the correlation and the spelling are the asker's own.
            let remark = command.remark.map(|remark| remark.to_cow());
            let head = Head { remark: remark.as_deref(), ..Head::response(to.spelling, command.code, to.opaque) };
            let fields = |fields: &mut Encoder<'_>| {
                command.ext.iter().for_each(|(key, value)| fields.foreign(&key.to_cow(), value));
            };
            out.frame(to.conn, &head, fields, |body| body.extend_from_slice(command.body));
        }
        Waiter::Shard { shard, id } => {
            let outcome = if command.code == ResponseCode::Success.to_i32() {
                Ok(())
            } else {
                let remark = command.remark.map(|remark| remark.to_cow()).unwrap_or_default();
                Err(Refusal::new(ResponseCode::SystemError, format!("the client answered {}: {remark}", command.code)))
            };
            out.peers.push((shard, PeerMessage::Pushed { id, outcome }));
        }
    }
}
