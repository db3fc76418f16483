//! Sends to a retry topic: what Java consumers do when CONSUMER_SEND_MSG_BACK fails, and ordered ones always.
//!
//! Owns when such a message has been retried often enough, and its way to the dead-letter topic
//! (AbstractSendMessageProcessor.handleRetryAndDLQ). Send-backs by code 36 are `send_back.rs`'s.

use ringmq_protocol::headers::send::SendHeader;
use ringmq_protocol::names;

use super::send::{self, Target};
use super::{subscription, topic_wait};
use crate::effects::{Answer, Ask, Effects, Refusal};
use crate::shard::Shard;

/// From this client version on the header's maxReconsumeTimes counts (V3_4_9).
pub(crate) const OWN_MAX_SINCE: i32 = 121;

/// Whether the message has been tried more often than its group allows.
///
/// # Errors
/// 26 for a group nobody knows.
pub(crate) fn is_exhausted(shard: &Shard, ask: &Ask<'_>, header: &SendHeader<'_>, group: &str) -> Result<bool, Refusal> {
    let Some(config) = shard.metadata.groups.get(group) else {
        return Err(subscription::no_group(group));
    };
    let own = header.max_reconsume_times.filter(|_| ask.command.version >= OWN_MAX_SINCE);
    Ok(header.reconsume_times > own.unwrap_or(config.retry_max_times))
}

/// Sends the message to the group's dead-letter topic instead; it is created with the first one.
pub(crate) fn send_to_dead_letters(
    shard: &mut Shard,
    ask: &Ask<'_>,
    header: &SendHeader<'_>,
    group: &str,
    out: &mut Effects,
) -> Result<Answer, Refusal> {
    let topic = names::dlq_topic(group);
    let target: Option<Target> = send::target(shard, &topic, -1)?;
    let Some(target) = target else {
        return topic_wait::wait(shard, ask, header, &topic, out);
    };
    shard.counts.dead_letters += 1;
    send::send_to(shard, ask, header, &topic, target, out)
}
