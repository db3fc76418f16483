//! Sends to a topic that does not exist yet.
//!
//! Owns the line such frames stand in: the first one has the control shard asked, later ones join behind it, and all go
//! on in their order when the topic is there. Whether a topic may be created is the control shard's decision.

use ringmq_protocol::headers::send::SendHeader;
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::response_code::ResponseCode;

use crate::effects::{Answer, Ask, Effects, Refusal};
use crate::event::{Now, PeerMessage, TopicWish};
use crate::limits::{PARKED_MAX_MS, RETRY_TOPIC_MAX};
use crate::parked::{Awaited, ParkedFrame};
use crate::peer;
use crate::shard::Shard;

/// Parks a send until `topic` exists, and asks for the topic unless somebody did.
///
/// # Errors
/// SYSTEM_BUSY when too much is parked; TOPIC_NOT_EXIST for a frame that has waited its time.
pub(crate) fn wait(
    shard: &mut Shard,
    ask: &Ask<'_>,
    header: &SendHeader<'_>,
    topic: &str,
    out: &mut Effects,
) -> Result<Answer, Refusal> {
    let late = || format!("topic[{topic}] not exist, and creating it took more than {PARKED_MAX_MS} ms; send again");
    let (parked, is_first) = stand_in_line(shard, ask, topic, late)?;
    if is_first {
        let wish = TopicWish {
            topic: topic.into(),
            // An empty name is the broker's own wish, which no setting stops; a client does not get that.
            default_topic: Some(header.default_topic.to_cow())
                .filter(|name| !name.is_empty())
                .map_or("TBW102".into(), Into::into),
            queues: header.default_topic_queue_nums,
            sys_flag: i32::from(header.unit_mode),
        };
        peer::tell_control(shard, ask.now, PeerMessage::TopicWanted { wish: Box::new(wish) }, out);
    }
    Ok(parked)
}

/// Parks any request until a topic of the broker's own making (a retry or dead-letter topic) exists.
///
/// # Errors
/// As [`wait`].
pub(crate) fn wait_for_own(
    shard: &mut Shard,
    ask: &Ask<'_>,
    topic: &str,
    out: &mut Effects,
) -> Result<Answer, Refusal> {
    let late = || format!("topic[{topic}] could not be created within {PARKED_MAX_MS} ms; try again");
    let (parked, is_first) = stand_in_line(shard, ask, topic, late)?;
    if is_first {
        want_own(shard, ask.now, topic, out);
    }
    Ok(parked)
}

/// Parks a request for its topic unless it has waited its time, and says whether it is the first of the line.
fn stand_in_line(
    shard: &mut Shard,
    ask: &Ask<'_>,
    topic: &str,
    late: impl FnOnce() -> String,
) -> Result<(Answer, bool), Refusal> {
    let deadline = ask.wait_until.unwrap_or_else(|| ask.now.after_ms(PARKED_MAX_MS));
    if deadline <= ask.now.mono_us {
        return Err(Refusal::new(ResponseCode::TopicNotExist, late()));
    }
    let is_first = !shard.parked.holds_topic(topic);
    Ok((park(shard, ask, topic, deadline)?, is_first))
}

/// Asks for a topic of the broker's own making: a wish that names no topic to copy from.
pub(crate) fn want_own(shard: &mut Shard, now: Now, topic: &str, out: &mut Effects) {
    let wish = TopicWish { topic: topic.into(), default_topic: "".into(), queues: 0, sys_flag: 0 };
    peer::tell_control(shard, now, PeerMessage::TopicWanted { wish: Box::new(wish) }, out);
}

/// Asks for a POP retry topic, which has one queue on every shard: messages are revived where they are.
pub(crate) fn want_pop_retry(shard: &mut Shard, now: Now, topic: &str, out: &mut Effects) {
    let wish =
        TopicWish { topic: topic.into(), default_topic: "".into(), queues: i32::from(shard.shards), sys_flag: 0 };
    peer::tell_control(shard, now, PeerMessage::TopicWanted { wish: Box::new(wish) }, out);
}

fn park(shard: &mut Shard, ask: &Ask<'_>, topic: &str, deadline: u64) -> Result<Answer, Refusal> {
    if !shard.parked.has_room(ask.frame.len()) {
        return Err(Refusal::new(
            ResponseCode::SystemBusy,
            "too many messages wait for topics to be created; send again",
        ));
    }
    let awaited = Awaited::Topic(topic.into());
    shard.parked.park(ParkedFrame { awaited, origin: ask.origin, frame: ask.frame.into(), deadline });
    Ok(Answer::Held)
}

/// Lets a send join the line of its topic, if there is one; the caller has made sure that something is parked.
pub(crate) fn join(shard: &mut Shard, ask: &Ask<'_>) -> Option<Result<Answer, Refusal>> {
    let code = RequestCode::from_i32(ask.command.code)?;
    if !matches!(code, RequestCode::SendMessage | RequestCode::SendMessageV2 | RequestCode::SendBatchMessage) {
        return None;
    }
    let mut scratch = [0; RETRY_TOPIC_MAX];
    let short = ask.command.ext.get("b");
    let name = short.or_else(|| ask.command.ext.get("topic"))?;
    let topic = name.decode_in(&mut scratch)?;
    if !shard.parked.holds_topic(topic) {
        return None;
    }
    Some(park(shard, ask, topic, ask.now.after_ms(PARKED_MAX_MS)))
}
