//! PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361).
//!
//! Owns the checks of protocol.md 6.2 in their order, the statuses of 6.3, and what a held pull is told when a message
//! comes or its time is up (PullMessageProcessor, PullRequestHoldService). Scanning a queue is `scan.rs`'s.
//! Never waits by itself: a pull that finds nothing is put into `Held`, one that runs ahead of its heartbeat into
//! `Parked`.

use ringmq_protocol::header::Header;
use ringmq_protocol::headers::pull::{PullHeader, PullReply};
use ringmq_protocol::record::RecordRef;
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::tags::TagFilter;
use ringmq_protocol::{perm, pull_flag};

use super::scan::{self, Scan, Status};
use super::subscription::{self, Missing, Wanted};
use crate::again::{self, Again};
use crate::cold::{self, Gathered, Got, Use};
use crate::effects::{Answer, Ask, Effects, Refusal, ReplyTo};
use crate::event::Now;
use crate::limits::{HOLD_MAX_MS, PULL_MESSAGES_MAX, RETRY_TOPIC_MAX};
use crate::metadata::Metadata;
use crate::offsets::{GroupId, QueuePlace};
use crate::shard::{Scratch, Shard};
use crate::store::cold::Damage;
use crate::store::{Position, QueueSlot};

/// A checked pull: all that is needed to run it again when a message comes.
#[derive(Debug, Clone)]
pub struct Pull {
    pub to: ReplyTo,
    pub slot: QueueSlot,
    /// The offset asked for; negative ones stay what they are.
    pub offset: i64,
    /// While it is held: messages below this offset were looked at and not wanted.
    pub checked: i64,
    pub max_messages: usize,
    pub filter: TagFilter,
    /// Whose progress it is, if the group ever committed on this shard.
    pub group: Option<GroupId>,
    pub topic_sys_flag: i32,
    pub group_sys_flag: i32,
}

/// The handler of 11 and 361.
pub fn pull(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let header: PullHeader<'_> = ask.header()?;
    let (mut topic_room, mut group_room) = ([0; RETRY_TOPIC_MAX], [0; RETRY_TOPIC_MAX]);
    let topic = header.topic.decode_in(&mut topic_room);
    let topic = topic.ok_or_else(|| no_topic(&header.topic.to_cow()))?;
    let group = header.consumer_group.decode_in(&mut group_room);
    let group = group.ok_or_else(|| subscription::no_group(&header.consumer_group.to_cow()))?;
    check_service(&shard.metadata, ask)?;
    let group_sys_flag = subscription::check_group(shard, group, ask, out)?;
    let topic_sys_flag = check_topic(shard, topic, header.queue_id)?;
    let slot = shard.queues.open(topic, header.queue_id as u32);
    let filter = match subscription::wanted(&shard.metadata, &header, topic, group, ask)? {
        Wanted::Filter(filter) => filter,
        Wanted::Heartbeat(missing) => match (subscription::wait(shard, ask, group), missing) {
            (Some(parked), _) => return Ok(parked),
            (None, Missing::Everything) => TagFilter::All,
            (None, Missing::Refuse(refusal)) => return Err(refusal),
        },
    };
    let place = QueuePlace { topic, queue: header.queue_id as u32, slot };
    commit(shard, ask.now, &header, place, group)?;
    let to = ask.to();
    let pull = Pull {
        to,
        slot,
        offset: header.queue_offset,
        checked: header.queue_offset,
        max_messages: usize::try_from(header.max_msg_nums).unwrap_or(0).clamp(1, PULL_MESSAGES_MAX),
        filter,
        group: shard.offsets.find_group(group),
        topic_sys_flag,
        group_sys_flag,
    };
    if let Some(reset) = pull.group.and_then(|group| shard.offsets.take_reset(slot, group)) {
        return Ok(answer(shard, &pull, Status::OffsetReset, reset, out));
    }
    let hold_ms = hold_ms(&shard.metadata, &header);
    run(shard, ask.now, pull, hold_ms, out)
}

fn check_service(metadata: &Metadata, ask: &Ask<'_>) -> Result<(), Refusal> {
    if !perm::readable(metadata.settings.topics.broker_permission as i32) {
        return Err(Refusal::new(ResponseCode::NoPermission, "this broker has no read permission (brokerPermission)"));
    }
    let lite = ask.command.code == RequestCode::LitePullMessage.to_i32();
    if lite && !metadata.settings.consuming.lite_pull_message_enable {
        return Err(Refusal::new(ResponseCode::NoPermission, "lite pull is switched off (litePullMessageEnable)"));
    }
    Ok(())
}

#[cold]
fn no_topic(topic: &str) -> Refusal {
    Refusal::new(ResponseCode::TopicNotExist, format!("topic[{topic}] not exist, apply first please!"))
}

/// The topic's sysFlag, if the queue may be read here.
fn check_topic(shard: &Shard, topic: &str, queue_id: i32) -> Result<i32, Refusal> {
    let Some(config) = shard.metadata.topics.get(topic) else {
        return Err(no_topic(topic));
    };
    if !config.perm.readable() {
        return Err(Refusal::new(ResponseCode::NoPermission, format!("topic[{topic}] has no read permission")));
    }
    let queue = u32::try_from(queue_id).ok().filter(|queue| *queue < config.read_queues);
    let Some(queue) = queue else {
        return Err(Refusal::new(
            ResponseCode::InvalidParameter,
            format!(
                "queueId {queue_id} is out of range: topic[{topic}] has {} read queues, from 0 on",
                config.read_queues
            ),
        ));
    };
    if config.shard_of(queue) != Some(shard.id) {
        return Err(Refusal::new(
            ResponseCode::SystemBusy,
            format!("queue {queue_id} of topic[{topic}] is not on shard {}; pull again", shard.id.0),
        ));
    }
    Ok(config.sys_flag)
}

/// Stores the offset that rides along. A pending reset wins over it.
fn commit(
    shard: &mut Shard,
    now: Now,
    header: &PullHeader<'_>,
    place: QueuePlace<'_>,
    group: &str,
) -> Result<(), Refusal> {
    let valid = header.sys_flag & pull_flag::COMMIT_OFFSET != 0 && header.commit_offset >= 0;
    if !valid {
        return Ok(());
    }
    super::offset::store(shard, now, place, group, header.commit_offset)
}

/// How long the pull may be held, ms; `None` if it may not.
fn hold_ms(metadata: &Metadata, header: &PullHeader<'_>) -> Option<u64> {
    if header.sys_flag & pull_flag::SUSPEND == 0 {
        return None;
    }
    let consuming = &metadata.settings.consuming;
    let asked = u64::try_from(header.suspend_timeout_millis).unwrap_or(0);
    Some(if consuming.long_polling_enable { asked.min(HOLD_MAX_MS) } else { consuming.short_polling_time })
}

/// Looks, and answers, holds, or goes to disk.
fn run(shard: &mut Shard, now: Now, pull: Pull, hold_ms: Option<u64>, out: &mut Effects) -> Result<Answer, Refusal> {
    match look(shard, &pull, out)? {
        Looked::Answered(answer) => Ok(answer),
        Looked::Cold { next } => read(shard, pull, next),
        Looked::Nothing { status, next } => match hold_ms {
            Some(ms) if status.code() == ResponseCode::PullNotFound => hold(shard, now, pull, ms),
            _ => Ok(answer(shard, &pull, status, next, out)),
        },
    }
}

/// What came of a look.
enum Looked {
    Answered(Answer),
    /// Messages that are to be read; they stand in `scratch.spans`.
    Cold {
        next: i64,
    },
    Nothing {
        status: Status,
        next: i64,
    },
}

/// Answers with what the queue has in memory, or says where it is.
fn look(shard: &mut Shard, pull: &Pull, out: &mut Effects) -> Result<Looked, Refusal> {
    let Shard { log, queues, scratch, .. } = shard;
    if queues.get(pull.slot).is_none() {
        return Err(Refusal::new(ResponseCode::TopicNotExist, "the topic was deleted"));
    }
    let Scratch { spans, entries, .. } = scratch;
    Ok(match scan::scan(queues, log, pull, spans, entries)? {
        Scan::Resident { next } => Looked::Answered(answer(shard, pull, Status::Found, next, out)),
        Scan::Cold { next } => Looked::Cold { next },
        Scan::Nothing { status, next } => Looked::Nothing { status, next },
    })
}

fn hold(shard: &mut Shard, now: Now, pull: Pull, ms: u64) -> Result<Answer, Refusal> {
    if shard.held.is_full() {
        return Err(Refusal::new(
            ResponseCode::SystemBusy,
            format!("{} pulls are held on this shard; pull again later", shard.held.len()),
        ));
    }
    if pull.to.oneway {
        return Ok(Answer::Silent);
    }
    shard.counts.pulls_held += 1;
    shard.held.hold(pull, now.after_ms(ms));
    Ok(Answer::Held)
}

/// The answer's header: the same for all statuses, because Java unboxes it without looking at the code.
fn reply(shard: &Shard, pull: &Pull, next: i64) -> PullReply {
    let (min, max) = shard.queues.get(pull.slot).map_or((0, 0), |queue| (queue.min(), queue.visible()));
    PullReply {
        suggest_which_broker_id: 0,
        next_begin_offset: next,
        min_offset: min as i64,
        max_offset: max as i64,
        offset_delta: None,
        topic_sys_flag: Some(pull.topic_sys_flag),
        group_sys_flag: Some(pull.group_sys_flag),
        forbidden_type: None,
    }
}

/// Answers with what `scratch.spans` lists, which is resident; nothing unless the status is `Found`.
fn answer(shard: &mut Shard, pull: &Pull, status: Status, next: i64, out: &mut Effects) -> Answer {
    let reply = reply(shard, pull, next);
    let Shard { log, scratch, .. } = shard;
    let spans: &[_] = if status == Status::Found { &scratch.spans } else { &[] };
    let body = |body: &mut Vec<u8>| {
        for (position, size) in spans {
            log.resident(*position, *size).expect("the scan took resident messages only").append_to(body);
        }
    };
    let answer = out.reply(&pull.to, status.code(), Some(status.name()), |fields| reply.encode(fields), body);
    if status == Status::Found {
        count_out(shard, pull, next);
    } else {
        shard.offsets.pulled(pull.slot, pull.group, next);
    }
    answer
}

/// Notes that the messages of `scratch.spans` go out.
fn count_out(shard: &mut Shard, pull: &Pull, next: i64) {
    let Shard { counts, offsets, scratch, .. } = shard;
    counts.messages_out += scratch.spans.len() as u64;
    counts.bytes_out += scratch.spans.iter().map(|(_, size)| u64::from(*size)).sum::<u64>();
    offsets.pulled(pull.slot, pull.group, next);
}

/// A pull whose messages are being read; the next one would start at `next`.
#[derive(Debug)]
pub struct ColdPull {
    pull: Pull,
    next: i64,
}

/// Lets the pull join those who wait for the disk, with what `scratch.spans` lists; also when that was read before: their
/// answers are megabytes, for which there is a time of its own.
fn read(shard: &mut Shard, pull: Pull, next: i64) -> Result<Answer, Refusal> {
    let spans = shard.scratch.spans.clone();
    cold::want(shard, spans, Use::Pull(Box::new(ColdPull { pull, next })))?;
    Ok(Answer::Held)
}

/// Sends messages that are all in memory, in the cache or in the tail.
pub(crate) fn send_cold(shard: &mut Shard, cold: &ColdPull, spans: &[(Position, u32)], out: &mut Effects) {
    let ColdPull { pull, next } = cold;
    let reply = reply(shard, pull, *next);
    let Shard { cold, log, counts, offsets, .. } = shard;
    let found = Status::Found;
    let body = |body: &mut Vec<u8>| spans.iter().for_each(|(at, len)| cold.copy(log, *at, *len, body));
    let _ = out.reply(&pull.to, found.code(), Some(found.name()), |fields| reply.encode(fields), body);
    counts.messages_out += spans.len() as u64;
    counts.bytes_out += spans.iter().map(|(_, size)| u64::from(*size)).sum::<u64>();
    offsets.pulled(pull.slot, pull.group, *next);
}

/// The messages of a cold pull came, or did not. Those before the first that did not are an answer; behind damage the
/// consumer is sent on with code 20, as the Apache broker does with MESSAGE_WAS_REMOVING: clients go on at
/// `nextBeginOffset` at once. Code 21 would make them drop what they hold and wait for 10 s and more.
pub(crate) fn gathered(shard: &mut Shard, now: Now, cold: ColdPull, got: &Gathered, out: &mut Effects) {
    let ColdPull { pull, next } = cold;
    let good: Vec<&[u8]> = got.iter().map_while(Got::record).collect();
    let queue_offset = |record: &[u8]| RecordRef::parse(record).ok().map(|record| record.queue_offset());
    let Some(first_bad) = got.iter().nth(good.len()) else {
        return found(shard, &pull, next, &good, out);
    };
    if let Some(behind) = good.last().and_then(|record| Some(queue_offset(record)? + 1)) {
        return found(shard, &pull, behind, &good, out);
    }
    let gone = shard.queues.get(pull.slot).is_none_or(|queue| pull.offset < queue.min() as i64);
    let refusal = match first_bad {
        // The log was cut behind the pull: its queue has a word for that.
        _ if gone => return rerun(shard, now, pull, out),
        Got::Damaged(damage) => {
            let lost = got.iter().take_while(|got| matches!(got, Got::Damaged(_))).count();
            let next = got.iter().nth(lost).and_then(Got::record).and_then(queue_offset).unwrap_or(next);
            return lead_past(shard, &pull, &damage, lost, next, out);
        }
        Got::Failed(error) => format!("the log could not be read (errno {}); pull again", error.errno),
        Got::Record(_) | Got::Nothing => "the index names no message; mqbroker --check says more".to_owned(),
    };
    let _ = out.refuse(&pull.to, &Refusal::new(ResponseCode::SystemError, refusal));
}

/// Sends messages that were read.
fn found(shard: &mut Shard, pull: &Pull, next: i64, records: &[&[u8]], out: &mut Effects) {
    let reply = reply(shard, pull, next);
    let status = Status::Found;
    let body = |body: &mut Vec<u8>| records.iter().for_each(|record| body.extend_from_slice(record));
    let _ = out.reply(&pull.to, status.code(), Some(status.name()), |fields| reply.encode(fields), body);
    let Shard { counts, offsets, .. } = shard;
    counts.messages_out += records.len() as u64;
    counts.bytes_out += records.iter().map(|record| record.len() as u64).sum::<u64>();
    offsets.pulled(pull.slot, pull.group, next);
}

/// Leads a consumer past damage.
fn lead_past(shard: &mut Shard, pull: &Pull, damage: &Damage, lost: usize, next: i64, out: &mut Effects) {
    shard.counts.messages_damaged += lost as u64;
    let place = damage.place(shard.log.layout());
    let remark = format!(
        "MESSAGE_DAMAGED: {lost} messages from offset {} on lie in shard-{:03}/{place}, which is damaged; go on at {next}",
        pull.offset, shard.id.0
    );
    let reply = reply(shard, pull, next);
    let code = ResponseCode::PullRetryImmediately;
    let _ = out.reply(&pull.to, code, Some(&remark), |fields| reply.encode(fields), |_| {});
    shard.offsets.pulled(pull.slot, pull.group, next);
}

/// Messages became visible on a queue: answers the held pulls that want one of them.
pub fn wake(shard: &mut Shard, now: Now, slot: QueueSlot, out: &mut Effects) {
    let mut at = 0;
    while let Some(&key) = shard.held.on(slot).get(at) {
        let Shard { held, queues, .. } = shard;
        let wants = queues.get(slot).is_none_or(|queue| scan::wants(queue, held.pull_mut(key)));
        if wants {
            // Its place in the list is taken by the next one.
            let pull = held.release(key);
            rerun(shard, now, pull, out);
        } else {
            at += 1;
        }
    }
}

/// Runs a held pull for the last time.
pub fn rerun(shard: &mut Shard, now: Now, pull: Pull, out: &mut Effects) {
    run_last(shard, now, pull, 0, out);
}

/// Runs a pull that may not be held any more. `rounds` says how often it ran before, for pages of an index.
pub(crate) fn run_last(shard: &mut Shard, now: Now, pull: Pull, rounds: u16, out: &mut Effects) {
    shard.queues.forget_miss();
    let to = pull.to;
    let outcome = match look(shard, &pull, out) {
        Err(_) if shard.queues.has_miss() => {
            return again::page_in(shard, now, Again::Pull(Box::new(pull)), rounds, out);
        }
        Err(refusal) => Err(refusal),
        Ok(Looked::Answered(answer)) => Ok(answer),
        Ok(Looked::Cold { next }) => read(shard, pull, next),
        Ok(Looked::Nothing { status, next }) => Ok(answer(shard, &pull, status, next, out)),
    };
    shard.finish(&to, outcome, out);
}
