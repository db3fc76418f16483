//! Changes of metadata as bytes: payloads of the log's own records, and the snapshot a checkpoint carries.
//!
//! Owns the layout. Every payload opens with a version byte, then fields in a fixed order: integers big-endian, texts with an
//! int32 length before them, lists with an int32 count. Bytes read back are checked field by field; what does not fit is a
//! `RecordError`, never a panic. Views are not stored.
//!
//! ```text
//! TopicPut    1 | name | read u32 | write u32 | perm i32 | filter u8 | sysFlag i32 | order u8 | attributes | queues i32 | round i16
//!               | where round is 0: shard i16 per queue; else first i16: queue n is on shard (first + n) % round
//!               | incarnation i64
//! TopicDrop   1 | name
//! GroupPut    1 | name | flags u8 | retryQueues i32 | retryMaxTimes i32 | policy | brokerId i64 | slowBroker i64
//!               | groupSysFlag i32 | consumeTimeout i32 | attributes | modes
//! GroupDrop   1 | name | cleanOffsets u8
//! SettingPut  1 | key | value | replaced
//! snapshot    1 | count i32 | per record: kind i16, length i32, payload
//! ```

use std::collections::BTreeMap;
use std::fmt;

use ringmq_protocol::names;
use ringmq_protocol::wire::Reader;

use super::{Attributes, Change, FilterType, Owners, Perm, QUEUES_PER_TOPIC_MAX, Topic, TopicSpec};
use crate::event::ShardId;
use crate::group::{Group, Mode, RequestMode, RetryPolicy};
use crate::store::{AppendRefused, CommitLog, Incarnation, OwnKind, OwnRecord, Position};

const VERSION: u8 = 1;

/// Bytes that are not what this version (or any before it) writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Too short, too long, or a field out of its range.
    Malformed(OwnKind),
    /// A newer version wrote it.
    Newer(u8),
    /// Not a kind of metadata.
    Kind(u16),
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::Malformed(kind) => write!(f, "a {kind:?} record is malformed"),
            RecordError::Newer(version) => write!(f, "a record has format {version}, newer than {VERSION}"),
            RecordError::Kind(kind) => write!(f, "record kind {kind} is no metadata"),
        }
    }
}

impl std::error::Error for RecordError {}

impl Change {
    /// The kind of own record that keeps this change; `None` for changes that are not kept.
    #[must_use]
    pub fn record_kind(&self) -> Option<OwnKind> {
        match self {
            Change::TopicPut(_) => Some(OwnKind::TopicPut),
            Change::TopicDrop { .. } => Some(OwnKind::TopicDrop),
            Change::GroupPut(_) => Some(OwnKind::GroupPut),
            Change::GroupDrop { .. } => Some(OwnKind::GroupDrop),
            Change::Setting { .. } => Some(OwnKind::SettingPut),
            Change::View { .. } => None,
        }
    }

    /// The record that keeps this change; `None` for changes that are not kept.
    #[must_use]
    pub fn to_record(&self) -> Option<(OwnKind, Vec<u8>)> {
        let kind = self.record_kind()?;
        let mut out = vec![VERSION];
        match self {
            Change::TopicPut(topic) => put_topic(&mut out, topic),
            Change::TopicDrop { name } => put_text(&mut out, name),
            Change::GroupPut(group) => put_group(&mut out, group),
            Change::GroupDrop { name, clean_offsets } => {
                put_text(&mut out, name);
                out.push(u8::from(*clean_offsets));
            }
            Change::Setting { key, value, replaced } => {
                put_text(&mut out, key);
                put_text(&mut out, value);
                put_text(&mut out, replaced);
            }
            Change::View { .. } => unreachable!("a view has no kind of record"),
        }
        Some((kind, out))
    }

    /// Appends the record that keeps this change to the control shard's log, at mono time `now_us`; by it a topic that is made gets
    /// its incarnation. Where the log ends then, 0 for a change that is not kept.
    ///
    /// # Errors
    /// As [`CommitLog::append`]; nothing changed then.
    pub fn keep(&mut self, log: &mut CommitLog, now_us: u64) -> Result<Position, AppendRefused> {
        let Some((kind, mut payload)) = self.to_record() else { return Ok(Position(0)) };
        let size = OwnRecord { kind, payload: &payload }.size();
        log.append(now_us, size, |position, bytes| {
            if let Change::TopicPut(topic) = self
                && topic.is_made_at(position)
            {
                payload.splice(1.., topic_payload(topic));
            }
            OwnRecord { kind, payload: &payload }.encode(bytes);
        })?;
        Ok(log.appended())
    }

    /// Reads a record's payload. `shards` is how many shards the data directory has.
    ///
    /// # Errors
    /// When the payload is not one this version can read.
    pub fn from_record(kind: OwnKind, payload: &[u8], shards: u16) -> Result<Change, RecordError> {
        let mut from = Reader::new(payload);
        let malformed = RecordError::Malformed(kind);
        match from.u8().ok_or(malformed)? {
            VERSION => {}
            newer => return Err(RecordError::Newer(newer)),
        }
        let change = match kind {
            OwnKind::TopicPut => take_topic(&mut from, shards).map(Change::TopicPut),
            OwnKind::TopicDrop => take_text(&mut from).map(|name| Change::TopicDrop { name }),
            OwnKind::GroupPut => take_group(&mut from).map(Change::GroupPut),
            OwnKind::GroupDrop => take_text(&mut from)
                .and_then(|name| Some(Change::GroupDrop { name, clean_offsets: take_flag(&mut from)? })),
            OwnKind::SettingPut => take_setting(&mut from),
            other => return Err(RecordError::Kind(other.code())),
        };
        change.filter(|_| from.is_empty()).ok_or(malformed)
    }
}

/// The snapshot of a checkpoint being written: every change needed to come to a state, one after the other.
#[derive(Debug)]
pub struct SnapshotWriter {
    out: Vec<u8>,
    count: i32,
}

impl Default for SnapshotWriter {
    fn default() -> Self {
        SnapshotWriter { out: vec![VERSION, 0, 0, 0, 0], count: 0 }
    }
}

impl SnapshotWriter {
    /// This topic exists.
    pub fn topic(&mut self, topic: &Topic) {
        self.record(OwnKind::TopicPut, |out| put_topic(out, topic));
    }

    /// This group exists.
    pub fn group(&mut self, group: &Group) {
        self.record(OwnKind::GroupPut, |out| put_group(out, group));
    }

    /// This setting was changed from `replaced`.
    pub fn setting(&mut self, key: &str, value: &str, replaced: &str) {
        self.record(OwnKind::SettingPut, |out| [key, value, replaced].into_iter().for_each(|text| put_text(out, text)));
    }

    fn record(&mut self, kind: OwnKind, put: impl FnOnce(&mut Vec<u8>)) {
        let SnapshotWriter { out, count } = self;
        out.extend_from_slice(&kind.code().to_be_bytes());
        let length_at = out.len();
        out.extend_from_slice(&[0, 0, 0, 0, VERSION]);
        put(out);
        let length = i32::try_from(out.len() - length_at - 4).expect("one record is far below 2 GiB");
        out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
        *count += 1;
    }

    /// The bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        let SnapshotWriter { mut out, count } = self;
        out[1..5].copy_from_slice(&count.to_be_bytes());
        out
    }
}

/// Reads a snapshot, change by change.
///
/// # Errors
/// When it is not one this version can read; what stood before the flaw was passed on.
pub fn read_snapshot(bytes: &[u8], shards: u16, mut each: impl FnMut(Change)) -> Result<(), RecordError> {
    let malformed = RecordError::Malformed(OwnKind::TopicPut);
    let mut from = Reader::new(bytes);
    match from.u8().ok_or(malformed)? {
        VERSION => {}
        newer => return Err(RecordError::Newer(newer)),
    }
    let count = from.i32().ok_or(malformed)?;
    for _ in 0..count {
        let code = from.i16().ok_or(malformed)? as u16;
        let kind = OwnKind::of(code).ok_or(RecordError::Kind(code))?;
        each(Change::from_record(kind, from.counted_i32().ok_or(malformed)?, shards)?);
    }
    if from.is_empty() { Ok(()) } else { Err(malformed) }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = i32::try_from(count).expect("texts and lists of metadata are bounded far below 2^31");
    out.extend_from_slice(&count.to_be_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_pairs<'a>(out: &mut Vec<u8>, count: usize, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
    put_count(out, count);
    for (key, value) in pairs {
        put_text(out, key);
        put_text(out, value);
    }
}

fn take_text(from: &mut Reader<'_>) -> Option<Box<str>> {
    std::str::from_utf8(from.counted_i32()?).ok().map(Box::from)
}

fn take_flag(from: &mut Reader<'_>) -> Option<bool> {
    match from.u8()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn take_pairs(from: &mut Reader<'_>) -> Option<Vec<(Box<str>, Box<str>)>> {
    let count = from.i32()?;
    let mut pairs = Vec::new();
    for _ in 0..count {
        pairs.push((take_text(from)?, take_text(from)?));
    }
    (count >= 0).then_some(pairs)
}

fn topic_payload(topic: &Topic) -> Vec<u8> {
    let mut out = Vec::new();
    put_topic(&mut out, topic);
    out
}

fn put_topic(out: &mut Vec<u8>, topic: &Topic) {
    // Destructured so that a new field cannot be forgotten here.
    let Topic {
        name,
        class: _,
        read_queues,
        write_queues,
        perm,
        filter,
        sys_flag,
        order,
        attributes,
        flush: _,
        shards,
        incarnation,
    } = topic;
    put_text(out, name);
    out.extend_from_slice(&read_queues.to_be_bytes());
    out.extend_from_slice(&write_queues.to_be_bytes());
    out.extend_from_slice(&perm.0.to_be_bytes());
    out.push(u8::from(*filter == FilterType::MultiTag));
    out.extend_from_slice(&sys_flag.to_be_bytes());
    out.push(u8::from(*order));
    put_pairs(out, attributes.len(), attributes.iter());
    put_count(out, shards.len());
    match shards.as_round() {
        Some((first, round)) => {
            out.extend_from_slice(&round.to_be_bytes());
            out.extend_from_slice(&first.0.to_be_bytes());
        }
        None => {
            out.extend_from_slice(&LISTED.to_be_bytes());
            shards.iter().for_each(|shard| out.extend_from_slice(&shard.0.to_be_bytes()));
        }
    }
    out.extend_from_slice(&incarnation.0.to_be_bytes());
}

/// Stands where the number of shards in a round would: the shards are listed.
const LISTED: u16 = 0;

fn take_topic(from: &mut Reader<'_>, shards: u16) -> Option<Topic> {
    let name = take_text(from)?;
    names::check_topic(&name).ok()?;
    let read_queues = from.i32()? as u32;
    let write_queues = from.i32()? as u32;
    let perm = Perm(from.i32()?);
    let filter = if take_flag(from)? { FilterType::MultiTag } else { FilterType::SingleTag };
    let sys_flag = from.i32()?;
    let order = take_flag(from)?;
    let attributes = Attributes::from_stored(take_pairs(from)?);
    let count = usize::try_from(from.i32()?).ok()?;
    let queues = read_queues.max(write_queues);
    if queues > QUEUES_PER_TOPIC_MAX || count < queues as usize || count > QUEUES_PER_TOPIC_MAX as usize {
        return None;
    }
    let shards = match from.i16()? as u16 {
        LISTED => {
            let mut list = Vec::with_capacity(count);
            for _ in 0..count {
                let shard = from.i16()? as u16;
                list.push((shard < shards).then_some(ShardId(shard))?);
            }
            Owners::listed(&list, shards)
        }
        round => {
            let first = ShardId(from.i16()? as u16);
            let fits = round <= shards && first.0 < round;
            fits.then(|| Owners::round(first, round, count as u32))?
        }
    };
    let incarnation = Incarnation(from.i64()? as u64);
    let spec = TopicSpec { name, read_queues, write_queues, perm, filter, sys_flag, order, attributes };
    Some(spec.placed(shards, incarnation))
}

/// Bits of a group's flags byte.
const CONSUME_ENABLE: u8 = 1;
const FROM_MIN: u8 = 2;
const BROADCAST: u8 = 4;
const ORDERLY: u8 = 8;
const NOTIFY: u8 = 16;

fn put_group(out: &mut Vec<u8>, group: &Group) {
    let Group {
        name,
        consume_enable,
        consume_from_min_enable,
        consume_broadcast_enable,
        consume_message_orderly,
        retry_queues,
        retry_max_times,
        retry_policy,
        broker_id,
        which_broker_when_consume_slowly,
        notify_consumer_ids_changed_enable,
        group_sys_flag,
        consume_timeout_minute,
        attributes,
        modes,
    } = group;
    put_text(out, name);
    let bit = |on: &bool, bit: u8| if *on { bit } else { 0 };
    out.push(
        bit(consume_enable, CONSUME_ENABLE)
            | bit(consume_from_min_enable, FROM_MIN)
            | bit(consume_broadcast_enable, BROADCAST)
            | bit(consume_message_orderly, ORDERLY)
            | bit(notify_consumer_ids_changed_enable, NOTIFY),
    );
    out.extend_from_slice(&retry_queues.to_be_bytes());
    out.extend_from_slice(&retry_max_times.to_be_bytes());
    put_policy(out, retry_policy);
    out.extend_from_slice(&broker_id.to_be_bytes());
    out.extend_from_slice(&which_broker_when_consume_slowly.to_be_bytes());
    out.extend_from_slice(&group_sys_flag.to_be_bytes());
    out.extend_from_slice(&consume_timeout_minute.to_be_bytes());
    put_pairs(out, attributes.len(), attributes.iter().map(|(key, value)| (&**key, &**value)));
    put_count(out, modes.len());
    for (topic, Mode { mode, share }) in modes {
        put_text(out, topic);
        out.push(u8::from(*mode == RequestMode::Pop));
        out.extend_from_slice(&share.to_be_bytes());
    }
}

fn put_policy(out: &mut Vec<u8>, policy: &RetryPolicy) {
    match policy {
        RetryPolicy::Customized(waits) => {
            out.push(0);
            put_count(out, waits.len());
            for wait in waits {
                out.extend_from_slice(&wait.to_be_bytes());
            }
        }
        RetryPolicy::Exponential { initial, max, multiplier } => {
            out.push(1);
            for number in [initial, max, multiplier] {
                out.extend_from_slice(&number.to_be_bytes());
            }
        }
    }
}

fn take_policy(from: &mut Reader<'_>) -> Option<RetryPolicy> {
    if take_flag(from)? {
        return Some(RetryPolicy::Exponential { initial: from.i64()?, max: from.i64()?, multiplier: from.i64()? });
    }
    let count = from.i32()?;
    let mut waits = Vec::new();
    for _ in 0..count {
        waits.push(from.i64()?);
    }
    Some(RetryPolicy::Customized(waits))
}

fn take_group(from: &mut Reader<'_>) -> Option<Group> {
    let name = take_text(from)?;
    let flags = from.u8()?;
    let mut group = Group {
        name,
        consume_enable: flags & CONSUME_ENABLE != 0,
        consume_from_min_enable: flags & FROM_MIN != 0,
        consume_broadcast_enable: flags & BROADCAST != 0,
        consume_message_orderly: flags & ORDERLY != 0,
        notify_consumer_ids_changed_enable: flags & NOTIFY != 0,
        retry_queues: from.i32()? as u32,
        retry_max_times: from.i32()?,
        retry_policy: take_policy(from)?,
        broker_id: from.i64()?,
        which_broker_when_consume_slowly: from.i64()?,
        group_sys_flag: from.i32()?,
        consume_timeout_minute: from.i32()?,
        attributes: take_pairs(from)?.into_iter().collect(),
        modes: BTreeMap::new(),
    };
    let modes = from.i32()?;
    for _ in 0..modes {
        let topic = take_text(from)?;
        let mode = if take_flag(from)? { RequestMode::Pop } else { RequestMode::Pull };
        group.modes.insert(topic, Mode { mode, share: from.i32()? });
    }
    (group.retry_queues <= QUEUES_PER_TOPIC_MAX).then_some(group)
}

fn take_setting(from: &mut Reader<'_>) -> Option<Change> {
    Some(Change::Setting { key: take_text(from)?, value: take_text(from)?, replaced: take_text(from)? })
}

#[cfg(test)]
mod tests {
    use super::super::{TopicSpec, TopicTable};
    use super::*;

    fn topic() -> Topic {
        let table = TopicTable::new(3);
        let attributes = Attributes::default().changed("+flush.type=ASYNC,+message.type=FIFO", true).unwrap();
        let spec =
            TopicSpec { read_queues: 5, order: true, sys_flag: 3, attributes, ..TopicSpec::plain("t", 4, Perm(7)) };
        table.plan(spec)
    }

    fn changes() -> Vec<Change> {
        let mut group = Group { consume_message_orderly: true, retry_max_times: -1, ..Group::named("g") };
        group.retry_policy = RetryPolicy::Exponential { initial: 5_000, max: 7_200_000, multiplier: 2 };
        group.attributes.insert("k".into(), "v".into());
        group.modes.insert("t".into(), Mode { mode: RequestMode::Pop, share: 8 });
        let odd = Topic { shards: Owners::listed(&[2, 2, 0, 1, 2].map(ShardId), 3), ..topic() };
        vec![
            Change::TopicPut(odd),
            Change::TopicPut(topic()),
            Change::TopicDrop { name: "旧".into() },
            Change::GroupPut(group),
            Change::GroupPut(Group::named("plain")),
            Change::GroupDrop { name: "h".into(), clean_offsets: true },
            Change::Setting { key: "k".into(), value: "v".into(), replaced: "".into() },
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        for change in changes() {
            let (kind, payload) = change.to_record().unwrap();
            assert_eq!(Change::from_record(kind, &payload, 3), Ok(change));
        }
        assert_eq!(Change::View { group: "g".into(), view: None }.to_record(), None);
    }

    #[test]
    fn a_snapshot_is_its_changes() {
        let read = |bytes: &[u8], shards| {
            let mut changes = Vec::new();
            read_snapshot(bytes, shards, |change| changes.push(change)).map(|()| changes)
        };
        let mut writer = SnapshotWriter::default();
        writer.topic(&topic());
        writer.group(&Group::named("plain"));
        writer.setting("k", "v", "");
        let bytes = writer.finish();
        let setting = Change::Setting { key: "k".into(), value: "v".into(), replaced: "".into() };
        assert_eq!(
            read(&bytes, 3),
            Ok(vec![Change::TopicPut(topic()), Change::GroupPut(Group::named("plain")), setting])
        );
        assert!(read(&bytes[..bytes.len() - 1], 3).is_err());
        assert!(read(&bytes, 2).is_err(), "a queue on a shard that does not exist");
        assert_eq!(read(&SnapshotWriter::default().finish(), 1), Ok(vec![]));
    }

    #[test]
    fn cut_and_flipped_payloads_are_errors_not_panics() {
        for change in changes() {
            let (kind, payload) = change.to_record().unwrap();
            for len in 0..payload.len() {
                assert!(Change::from_record(kind, &payload[..len], 3).is_err());
            }
            for at in 0..payload.len() {
                for bit in 0..8 {
                    let mut flipped = payload.clone();
                    flipped[at] ^= 1 << bit;
                    // Many flips still make a record; none may panic or allocate without bound.
                    let _ = Change::from_record(kind, &flipped, 3);
                }
            }
            let mut newer = payload.clone();
            newer[0] = 9;
            assert_eq!(Change::from_record(kind, &newer, 3), Err(RecordError::Newer(9)));
        }
    }
}
