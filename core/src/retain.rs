//! The life of the shard's segments: what goes, what is still needed, and whether producers may go on.
//!
//! Owns the look that follows each report of the volume (once a second), and what release means to the parts of a shard:
//! queues and keys forget, minimums move. The arithmetic is `store::retention`'s, the order in which files go is the
//! log's (`docs/storage-format.md` section 11). Never removes what a half, delayed or popped message still needs.

use ringmq_protocol::offset::Position;
use ringmq_protocol::response_code::ResponseCode;

use crate::delay::SCHEDULE_TOPIC;
use crate::effects::{Ask, Effects, Refusal, ReplyTo};
use crate::event::{GatherId, Now, ShardId};
use crate::gather::Part;
use crate::half::{HALF_TOPIC, OP_TOPIC};
use crate::limits::LOOKS_WHEN_ASKED;
use crate::shard::Shard;
use crate::store::retention::{Pin, Retention, Rules, Shortage, SizeTold, Volume, is_hour};
use crate::store::{FullSegment, SegmentBase};
use crate::topic::Topic;

/// The driver has looked at the volume: lets go of what is too old, too much or dead.
pub fn look(shard: &mut Shard, now: Now, volume: Volume, out: &mut Effects) {
    note_volume(shard, volume);
    note_shortage(shard, &volume, out);
    cut_topics(shard);
    let to = to_go(shard, now, &volume).max(dead_below(shard));
    shard.log.retention.asked = shard.log.retention.asked.saturating_sub(1);
    let start = shard.log.start();
    let Some(to) = Some(to).filter(|to| *to > start) else { return };
    let pinned = pin_below(shard, Position(to.0));
    let to = pinned.map_or(to, |(position, _)| shard.log.layout().segment_of(position));
    note_pin(shard, pinned.map(|(_, pin)| pin).filter(|_| to == start), out);
    shard.log.want_released(to);
    let to = to.min(shard.log.releasable_to());
    if to > start {
        release(shard, to);
    }
}

fn note_volume(shard: &mut Shard, volume: Volume) {
    let end = shard.log.appended().0;
    let retention = &mut shard.log.retention;
    let first = retention.volume.replace(volume).is_none();
    // The first look after a start knows nothing of growth.
    let grown = if first { 0 } else { end - retention.seen };
    retention.growth = grown.max(retention.growth - retention.growth / 8);
    retention.seen = end;
}

/// The settings as they are now.
fn rules(shard: &Shard, now: Now, volume: &Volume) -> Rules {
    let store = &shard.metadata.settings.store;
    let hour = is_hour(&store.delete_when, now.wall_ms, volume.utc_offset_s);
    Rules {
        reserved_ms: i64::from(store.file_reserved_time) * 3_600_000,
        any_age_hour: hour || shard.log.retention.asked > 0,
        max_used: store.disk_max_used_space_ratio,
        forced: store.disk_space_clean_forcibly_ratio,
        forcibly: store.clean_file_forcibly_enable,
        shards: shard.shards,
        segment_size: shard.log.layout().segment_size(),
        growth: shard.log.retention.growth,
    }
}

/// How many files of released segments the driver keeps to use them again.
pub fn spares(shard: &Shard) -> usize {
    let Some(volume) = &shard.log.retention.volume else { return 0 };
    usize::try_from(rules(shard, Now { wall_ms: 0, mono_us: 0 }, volume).spares(volume)).unwrap_or(0)
}

/// Where the log should begin by age and by the volume. The clock is the steady one: setting the wall clock forward lets
/// nothing expire.
fn to_go(shard: &mut Shard, now: Now, volume: &Volume) -> SegmentBase {
    let rules = rules(shard, now, volume);
    let now_ms = shard.delay.clock().now_ms(now);
    let full: Vec<FullSegment> = shard.log.full_segments().copied().collect();
    let count = rules.to_go(&full, now_ms, volume, shard.log.releasing() as u64);
    match count.checked_sub(1) {
        Some(last) => SegmentBase(shard.log.layout().end_of(full[last].base)),
        None => shard.log.start(),
    }
}

/// Topics of limited size let go of what they have too much.
fn cut_topics(shard: &mut Shard) {
    let Shard { log, queues, .. } = shard;
    if log.retention.sizes.is_empty() {
        return;
    }
    // An index tells of all its segment has, so nothing is cut before it is made.
    let end = log.indexed_to();
    let layout = *log.layout();
    for (topic, below) in log.retention.sizes.take_cuts(&layout, end) {
        queues.expire_topic_below(&topic, below);
        log.retention.look_for_dead = true;
    }
}

/// Where the first segment lies that has anything alive in it; looked for after topics were deleted or cut. The broker's
/// own notes count only as far as something waits (see [`pin_below`]): what is done in them is dead.
fn dead_below(shard: &mut Shard) -> SegmentBase {
    let Shard { log, queues, .. } = shard;
    if !std::mem::take(&mut log.retention.look_for_dead) {
        return log.retention.dead_to;
    }
    let alive = queues.firsts().filter(|(topic, _)| ![SCHEDULE_TOPIC, HALF_TOPIC, OP_TOPIC].contains(topic));
    // Of a queue whose first messages are on disk only a bound may be known: then the segment stays until its time.
    let first = alive.map(|(_, first)| first).min().unwrap_or(log.appended());
    // What cannot go yet (no index, no checkpoint) is dead all the same.
    log.retention.dead_to = log.layout().segment_of(first);
    log.retention.dead_to
}

/// The first position below `to` that something still waits for.
fn pin_below(shard: &mut Shard, to: Position) -> Option<(Position, Pin)> {
    let Shard { half, delay, pop, queues, .. } = shard;
    let half = half.table.iter().next().map(|(position, _)| (position, Pin::HalfMessage));
    let delayed = delay.oldest_below(to).map(|position| (position, Pin::DelayedMessage));
    let popped = pop.lines.iter().filter_map(|line| {
        let (offset, _) = line.out.first_key_value()?;
        queues.position_at_least(line.slot, *offset)
    });
    let popped = popped.min().map(|position| (position, Pin::PoppedMessage));
    let first = [half, delayed, popped].into_iter().flatten().min_by_key(|(position, _)| *position);
    first.filter(|(position, _)| *position < to)
}

/// Says once what keeps the first segment.
fn note_pin(shard: &mut Shard, pin: Option<Pin>, out: &mut Effects) {
    let retention: &mut Retention = &mut shard.log.retention;
    if let Some(pin) = pin
        && retention.pinned != Some(pin)
    {
        let start = shard.log.start().log_name();
        out.notes.push(format!("{start} should go and is kept: it holds {}", pin.what()));
    }
    shard.log.retention.pinned = pin;
}

/// Lets go of the segments below `to`: from here on nobody finds anything in them.
fn release(shard: &mut Shard, to: SegmentBase) {
    let Shard { log, queues, index, cold, .. } = shard;
    cold.forget_below(Position(to.0));
    queues.expire_below(Position(to.0));
    index.expire_below(Position(to.0));
    log.retention.sizes.released(to);
    log.release(to);
}

/// Says when producers are refused and when they are not any more.
fn note_shortage(shard: &mut Shard, volume: &Volume, out: &mut Effects) {
    let limit = shard.metadata.settings.store.disk_space_warning_level_ratio;
    let next = Shortage::of(volume, limit);
    let path = &shard.metadata.settings.store.store_path_root_dir;
    match (&shard.log.retention.shortage, &next) {
        (Some(before), Some(next)) if before.is_like(next) => {}
        (_, Some(next)) => out.notes.push(format!("{path}: {next}; producers are refused until there is room")),
        (Some(_), None) => out.notes.push(format!("{path}: there is room again; producers are served")),
        (None, None) => {}
    }
    shard.log.retention.shortage = next;
}

/// Whether messages of clients may be stored now.
///
/// # Errors
/// SERVICE_NOT_AVAILABLE while the volume is too full (PutMessageStatus.SERVICE_NOT_AVAILABLE of the Java broker).
#[inline]
pub fn admit(shard: &Shard) -> Result<(), Refusal> {
    match &shard.log.retention.shortage {
        None => Ok(()),
        Some(shortage) => Err(refused(shard, shortage)),
    }
}

#[cold]
fn refused(shard: &Shard, shortage: &Shortage) -> Refusal {
    let path = &shard.metadata.settings.store.store_path_root_dir;
    Refusal::new(
        ResponseCode::ServiceNotAvailable,
        format!("no room in {path}: {shortage}; consumers go on, sending goes on by itself when there is room"),
    )
}

/// A topic is there, or has changed: how much of it this shard keeps (the attribute `reserve.size`).
pub(crate) fn limit_topic(shard: &mut Shard, topic: &Topic) {
    let share = topic.attributes.reserve_size().map(|bytes| share(topic, shard.id, bytes));
    if share.is_none() && shard.log.retention.sizes.is_empty() {
        return;
    }
    shard.log.retention.sizes.limit(&topic.name, share);
}

/// A shard keeps as much as it has queues.
fn share(topic: &Topic, shard: ShardId, bytes: u64) -> u64 {
    let all = topic.read_queues.max(topic.write_queues);
    let own = (0..all).filter(|queue| topic.shard_of(*queue) == Some(shard)).count() as u64;
    u64::try_from(u128::from(bytes) * u128::from(own) / u128::from(all.max(1))).unwrap_or(u64::MAX)
}

/// At the start: the topics of limited size go on with what was counted. Topics deleted in the last life may have left
/// dead segments.
pub(crate) fn resume(shard: &mut Shard, told: SizeTold) {
    let limited = |topic: &&Topic| topic.attributes.reserve_size().is_some();
    let topics: Vec<Topic> = shard.metadata.topics.iter().filter(limited).cloned().collect();
    topics.iter().for_each(|topic| limit_topic(shard, topic));
    shard.log.retention.sizes.restore(told);
    shard.log.retention.look_for_dead = true;
}

/// A topic was deleted.
pub(crate) fn topic_dropped(shard: &mut Shard, topic: &str) {
    let retention = &mut shard.log.retention;
    retention.sizes.limit(topic, None);
    retention.look_for_dead = true;
}

/// DELETE_EXPIRED_COMMITLOG (329): expired segments go at the next looks, whatever the hour.
pub(crate) fn asked_part(
    shard: &mut Shard,
    _ask: &Ask<'_>,
    _asker: ShardId,
    _id: GatherId,
    _out: &mut Effects,
) -> Result<Option<Part>, Refusal> {
    shard.log.retention.asked = LOOKS_WHEN_ASKED;
    Ok(Some(Part::Nothing))
}

/// CLEAN_EXPIRED_CONSUMEQUEUE (306) and CLEAN_UNUSED_TOPIC (316): queues go with their messages and with their topic, at
/// once; but segments that died of it are looked for.
pub(crate) fn dead_part(
    shard: &mut Shard,
    _ask: &Ask<'_>,
    _asker: ShardId,
    _id: GatherId,
    _out: &mut Effects,
) -> Result<Option<Part>, Refusal> {
    shard.log.retention.look_for_dead = true;
    Ok(Some(Part::Nothing))
}

/// Every shard knows.
pub(crate) fn asked_merge(to: &ReplyTo, _parts: Vec<Part>, out: &mut Effects) {
    let _ = out.done(to);
}
