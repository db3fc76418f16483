//! SEND_REPLY_MESSAGE (324, 325): a consumer answers a request, and the producer that asked is waiting.
//!
//! Owns the reply's way to the requester (PUSH_REPLY_MESSAGE_TO_CLIENT, 326) and its record in the reply topic when
//! storeReplyMessageEnable is set (ReplyMessageProcessor). Finding the requester's connection is `push.rs`'s. An empty
//! reply is a reply: unlike the Java broker this one passes it on.

use ringmq_protocol::encode::Encoder;
use ringmq_protocol::header::Header;
use ringmq_protocol::headers::send::{PushReplyHeader, SendHeader, SendReply};
use ringmq_protocol::ids::{MessageId, OffsetId};
use ringmq_protocol::properties::{self, names};
use ringmq_protocol::record::{Message, PropertyParts};
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::text::Text;

use super::push::{self, ClientPush, Fields, PushTarget};
use super::send;
use super::stamp;
use crate::append::Intake;
use crate::effects::{Answer, Ask, Effects, Refusal, ReplyTo};
use crate::limits::RETRY_TOPIC_MAX;
use crate::metadata::Metadata;
use crate::retain;
use crate::shard::Shard;
use crate::store::Marks;

/// A reply whose push is under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reply {
    to: ReplyTo,
    queue_id: i32,
    /// Id and offset of its record in the reply topic.
    stored: Option<(MessageId, i64)>,
}

/// SEND_REPLY_MESSAGE (324) and its form with short names (325).
pub fn reply(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    match try_reply(shard, ask, out) {
        Ok(answer) => Ok(answer),
        Err(refusal) => Ok(send::refuse(&shard.metadata, &ask.to(), &refusal, out)),
    }
}

fn try_reply(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let header: SendHeader<'_> = ask.header()?;
    let mut scratch = [0; RETRY_TOPIC_MAX];
    let topic = send::topic_of(&header, &mut scratch)?;
    send::check_body(&shard.metadata, ask.command.body.len())?;
    let mut buffer = Vec::new();
    let text = stamp::decoded(header.properties, &mut buffer)?;
    let Some(client) = properties::find(text, names::REPLY_TO_CLIENT).filter(|client| !client.is_empty()) else {
        return Err(Refusal::new(
            ResponseCode::SystemError,
            "reply message properties[REPLY_TO_CLIENT] is null: the message that is answered was not a request",
        ));
    };
    let stored = match shard.metadata.settings.sending.store_reply_message_enable {
        true => Some(store(shard, ask, &header, topic, text)?),
        false => None,
    };
    let reply = Reply { to: ask.to(), queue_id: header.queue_id.max(0), stored };
    let id = shard.relays.open_reply(reply)?;
    let push = ClientPush {
        target: PushTarget::Client(client.into()),
        code: RequestCode::PushReplyMessageToClient,
        fields: push_fields(shard, ask, &header, topic, text),
        body: ask.command.body.to_vec(),
        answer: Some(id),
    };
    push::ask(shard, ask.now, push, out);
    Ok(Answer::Held)
}

/// Keeps the reply in its topic.
fn store(
    shard: &mut Shard,
    ask: &Ask<'_>,
    header: &SendHeader<'_>,
    topic: &str,
    text: &str,
) -> Result<(MessageId, i64), Refusal> {
    retain::admit(shard)?;
    let Some(target) = send::target(shard, topic, header.queue_id)? else {
        return Err(Refusal::new(ResponseCode::TopicNotExist, format!("topic[{topic}] not exist")));
    };
    let store_host = send::store_host(&shard.metadata, ask.origin.local);
    let mut message = Message {
        topic,
        queue_id: target.queue_id as i32,
        flag: header.flag,
        queue_offset: 0,
        physical_offset: 0,
        sys_flag: header.sys_flag,
        born_timestamp: header.born_timestamp,
        born_host: ask.origin.peer,
        store_timestamp: 0,
        store_host,
        reconsume_times: header.reconsume_times,
        prepared_transaction_offset: 0,
        body: ask.command.body,
        properties: PropertyParts::just(text),
    };
    let stored = Intake::of(shard).append(ask.now, target.slot, &mut message, &Marks::of(text), target.flush)?;
    Ok((OffsetId { host: store_host, offset: stored.wire_offset }.encode(), stored.queue_offset))
}

/// The header of the push: that of the send, with the time and both hosts.
fn push_fields(shard: &Shard, ask: &Ask<'_>, header: &SendHeader<'_>, topic: &str, text: &str) -> Fields {
    let mut properties = text.as_bytes().to_vec();
    properties::append(&mut properties, names::PUSH_REPLY_TIME, &ask.now.wall_ms.to_string());
    let properties = String::from_utf8(properties).unwrap_or_default();
    let born_host = ask.origin.peer.to_string();
    let store_host = send::store_host(&shard.metadata, ask.origin.local).to_string();
    Fields::of(&PushReplyHeader {
        producer_group: header.producer_group,
        topic: Text::plain(topic),
        default_topic: header.default_topic,
        default_topic_queue_nums: header.default_topic_queue_nums,
        queue_id: header.queue_id,
        sys_flag: header.sys_flag,
        born_timestamp: header.born_timestamp,
        flag: header.flag,
        properties: Some(Text::plain(&properties)),
        reconsume_times: Some(header.reconsume_times),
        unit_mode: Some(header.unit_mode),
        born_host: Text::plain(&born_host),
        store_host: Text::plain(&store_host),
        store_timestamp: ask.now.wall_ms,
    })
}

impl Reply {
    /// Answers who sent the reply: the requester has it, or why not.
    pub(crate) fn answer(&self, metadata: &Metadata, outcome: Result<(), Refusal>, out: &mut Effects) {
        let Reply { to, queue_id, stored } = self;
        let (msg_id, queue_offset) = match stored {
            Some((id, offset)) => (&**id, *offset),
            None => ("0", 0),
        };
        let header = SendReply {
            msg_id: Text::plain(msg_id),
            queue_id: *queue_id,
            queue_offset,
            transaction_id: None,
            batch_uniq_id: None,
            recall_handle: None,
        };
        let _ = match outcome {
            Ok(()) => send::answer(metadata, to, &header, None, out),
            Err(refusal) => {
                let fields = |fields: &mut Encoder<'_>| {
                    header.encode(fields);
                    fields.prepared(&metadata.imprint.answer);
                };
                out.reply(to, refusal.code, Some(&refusal.remark), fields, |_| {})
            }
        };
    }
}
