//! The log as bytes: what a shard's directory says, read by a walk that shares no code with recovery.
//!
//! Written from `docs/storage-format.md` sections 3 and 4 and the record layout of RocketMQ. Believes a frame when magic,
//! place and checksum fit, ends where one does not.

use std::collections::BTreeMap;

use ringmq_core::harness::Disk;

use crate::ledger::QueueKey;

/// Bytes of a frame's header.
pub const FRAME: usize = 40;
const FRAME_MAGIC: u32 = 0x524d_5146;
const OWN_MAGIC: u32 = 0x524d_514f;
const OFFSETS: u16 = 1;
const TOPIC_PUT: u16 = 2;
const TOPIC_DROP: u16 = 3;
const TOPIC_BEGUN: u16 = 6;

/// A message as it lies in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawMessage {
    pub offset: i64,
    pub store_ms: i64,
    pub body: Vec<u8>,
}

/// What a walk over a log found.
#[derive(Debug, Default)]
pub struct Walked {
    /// The position behind the last frame.
    pub end: u64,
    pub queues: BTreeMap<QueueKey, Vec<RawMessage>>,
    /// Which making of each topic the messages are of.
    pub begun: BTreeMap<String, u64>,
    /// What the control shard's log says of topics: the making of each that exists. Without what its first segments said, if
    /// they have expired.
    pub topics: BTreeMap<String, u64>,
    /// Where the first segment begins.
    pub start: u64,
}

/// One frame: where it begins in the file, and how long it is with its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawFrame {
    pub at: usize,
    pub total: usize,
    /// It says that the segment ends.
    pub last: bool,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

/// The header at `at` of a segment's file, if magic and place fit. Its checksum is not looked at.
fn header(base: u64, file: &[u8], at: usize) -> Option<RawFrame> {
    let bytes = file.get(at..at + FRAME)?;
    let total = FRAME + word(bytes, 8) as usize;
    let fits = word(bytes, 0) == FRAME_MAGIC && long(bytes, 16) == base + at as u64;
    (fits && at + total <= file.len()).then_some(RawFrame { at, total, last: half(bytes, 14) == 1 })
}

fn checksum(file: &[u8], frame: RawFrame) -> u32 {
    crc32c::crc32c(&file[frame.at + 8..frame.at + frame.total])
}

/// The frames at the front of a segment's file whose checksum fits.
pub fn frames(base: u64, file: &[u8]) -> Vec<RawFrame> {
    let (mut found, mut at, mut epoch) = (Vec::new(), 0, 0);
    while let Some(frame) = header(base, file, at) {
        // A lower epoch: left over from before an earlier crash.
        if checksum(file, frame) != word(file, at + 4) || word(file, at + 32) < epoch {
            break;
        }
        epoch = word(file, at + 32);
        found.push(frame);
        at += frame.total;
        if frame.last {
            break;
        }
    }
    found
}

/// Gives a frame a right checksum, whatever its bytes are.
pub fn seal(file: &mut [u8], frame: RawFrame) {
    let crc = checksum(file, frame);
    file[frame.at + 4..frame.at + 8].copy_from_slice(&crc.to_be_bytes());
}

/// Gives every frame a right checksum, whatever its bytes are: as if nobody compared it.
pub fn forge_checksums(disk: &mut Disk) {
    for (base, file) in &mut disk.segments {
        let mut at = 0;
        while let Some(frame) = header(*base, file, at) {
            seal(file, frame);
            at += frame.total;
            if frame.last {
                break;
            }
        }
    }
}

/// Makes the last frame of the log none.
pub fn drop_last_frame(disk: &mut Disk) {
    let written = disk.segments.iter_mut().rev();
    let last = written.filter_map(|(base, file)| frames(*base, file).last().copied().map(|frame| (file, frame))).next();
    if let Some((file, frame)) = last {
        file[frame.at..frame.at + FRAME].fill(0);
    }
}

/// Gives every making of a topic the same number, in the log; the log is all that is left.
pub fn same_makings(disk: &mut Disk) {
    disk.checkpoints = [None, None];
    disk.indexes.clear();
    disk.partials.clear();
    for (base, file) in &mut disk.segments {
        for frame in frames(*base, file) {
            let mut at = frame.at + FRAME;
            while at < frame.at + frame.total {
                let size = word(file, at) as usize;
                if word(file, at + 4) == OWN_MAGIC {
                    let kind = half(file, at + 8);
                    same_making(kind, &mut file[at + 16..at + size]);
                }
                at += size;
            }
            seal(file, frame);
        }
    }
}

fn same_making(kind: u16, payload: &mut [u8]) {
    let put = |at: usize, payload: &mut [u8]| {
        if long(payload, at) > 0 {
            payload[at..at + 8].copy_from_slice(&7u64.to_be_bytes());
        }
    };
    match kind {
        TOPIC_PUT => put(payload.len() - 8, payload),
        TOPIC_BEGUN => put(0, payload),
        OFFSETS => {
            let mut at = 4;
            while at < payload.len() {
                at += 2 + usize::from(half(payload, at));
                put(at, payload);
                at += 12;
                at += 2 + usize::from(half(payload, at)) + 8;
            }
        }
        _ => {}
    }
}

/// Reads all segments.
///
/// # Errors
/// A frame with a right checksum holds something that is no record.
pub fn walk(disk: &Disk) -> Result<Walked, String> {
    let mut walked = Walked { start: disk.segments.keys().next().copied().unwrap_or(0), ..Walked::default() };
    if walked.start > 0 {
        // What has expired said of which making what follows is.
        let lives = disk.found().checkpoint.map(|checkpoint| checkpoint.queues);
        let lives = lives.iter().flat_map(|queues| queues.lives().map(|life| (life.topic.into(), life.incarnation.0)));
        walked.begun = lives.collect();
    }
    let mut epoch = 0;
    for (base, file) in &disk.segments {
        walked.end = walked.end.max(*base);
        let mut whole = false;
        for frame in frames(*base, file) {
            let of_frame = word(file, frame.at + 32);
            if of_frame < epoch {
                return Ok(walked);
            }
            epoch = of_frame;
            let (from, to) = (frame.at + FRAME, frame.at + frame.total);
            take_records(&file[from..to], &mut walked).map_err(|why| format!("segment {base}: {why}"))?;
            walked.end = base + to as u64;
            whole = frame.last;
        }
        if !whole {
            return Ok(walked);
        }
        walked.end = base + file.len() as u64;
    }
    Ok(walked)
}

fn take_records(mut rest: &[u8], walked: &mut Walked) -> Result<(), String> {
    while !rest.is_empty() {
        let size = rest.get(..8).map(|head| word(head, 0) as usize).ok_or("half a record")?;
        let record = rest.get(..size).filter(|record| record.len() >= 16).ok_or("a record beyond its frame")?;
        rest = &rest[size..];
        if word(record, 4) != OWN_MAGIC {
            let (queue, message) = take_message(record).ok_or("a message that is none")?;
            walked.queues.entry(queue).or_default().push(message);
        } else {
            take_own(half(record, 8), &record[16..], walked).ok_or("an own record that is none")?;
        }
    }
    Ok(())
}

fn take_own(kind: u16, payload: &[u8], walked: &mut Walked) -> Option<()> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // A version, and the name with its length.
    let name = || Some(text(payload.get(5..5 + word(payload.get(..5)?, 1) as usize)?));
    match kind {
        TOPIC_PUT => drop(walked.topics.insert(name()?, long(payload, payload.len().checked_sub(8)?))),
        TOPIC_DROP => drop(walked.topics.remove(&name()?)),
        TOPIC_BEGUN => {
            let topic = text(payload.get(8..)?);
            walked.queues.retain(|(name, _), _| *name != topic);
            walked.begun.insert(topic, long(payload, 0));
        }
        _ => {}
    }
    Some(())
}

/// A stored message: fixed fields, two hosts, body, topic, properties.
fn take_message(record: &[u8]) -> Option<(QueueKey, RawMessage)> {
    const BORN_HOST_V6: u32 = 1 << 4;
    const STORE_HOST_V6: u32 = 1 << 5;
    let wide = word(record, 4) == 0xdaa3_20ab;
    let sys_flag = word(record, 36);
    let host = |v6: u32| if sys_flag & v6 == 0 { 8 } else { 20 };
    let stored = 48 + host(BORN_HOST_V6);
    let body_at = stored + 8 + host(STORE_HOST_V6) + 12 + 4;
    let body_len = word(record.get(..body_at)?, body_at - 4) as usize;
    let body = record.get(body_at..body_at + body_len)?.to_vec();
    let at = body_at + body_len;
    let (topic_at, topic_len) = match wide {
        false => (at + 1, usize::from(*record.get(at)?)),
        true => (at + 2, usize::from(half(record.get(..at + 2)?, at))),
    };
    let topic = std::str::from_utf8(record.get(topic_at..topic_at + topic_len)?).ok()?.to_owned();
    let message = RawMessage { offset: long(record, 20) as i64, store_ms: long(record, stored) as i64, body };
    Some(((topic, word(record, 12) as i32), message))
}
