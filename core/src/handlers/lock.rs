//! Queue locks of orderly consumers: LOCK_BATCH_MQ (41) and UNLOCK_BATCH_MQ (42).
//!
//! Owns the translation between bodies and `group::locks`, which has the rules. Runs on the control shard.

use ringmq_protocol::bodies;
use ringmq_protocol::bodies::lock::{LockBatchReply, LockBatchRequest};
use ringmq_protocol::bodies::queue::MessageQueue;

use super::client::malformed;
use super::control::control;
use crate::effects::{Answer, Ask, Effects, Refusal};
use crate::group::locks::QueueName;
use crate::shard::Shard;

fn queue_name(queue: MessageQueue) -> QueueName {
    QueueName { topic: queue.topic.into(), broker: queue.broker_name.into(), queue: queue.queue_id }
}

/// LOCK_BATCH_MQ: answers which of the queues the client holds now.
pub fn lock(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let request: LockBatchRequest = bodies::decode(ask.command.body).map_err(|error| malformed(&error))?;
    let queues = request.mq_set.into_iter().map(queue_name).collect();
    let locks = &mut control(shard)?.locks;
    let held = locks.take(ask.now, &request.consumer_group, &request.client_id, ask.origin.conn, queues);
    let held = held.iter().map(|name| MessageQueue::new(&name.topic, &name.broker, name.queue)).collect();
    Ok(out.answer_body(&ask.to(), &bodies::to_vec(&LockBatchReply { lock_ok_mq_set: held })))
}

/// UNLOCK_BATCH_MQ: gives locks back; those of others stay.
pub fn unlock(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let request: LockBatchRequest = bodies::decode(ask.command.body).map_err(|error| malformed(&error))?;
    let queues: Vec<QueueName> = request.mq_set.into_iter().map(queue_name).collect();
    control(shard)?.locks.give_back(&request.consumer_group, &request.client_id, &queues);
    Ok(out.done(&ask.to()))
}
