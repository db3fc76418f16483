//! Looking for a consumer's messages in one queue.
//!
//! Owns the table of protocol.md 6.3 (which status, which next offset) and the limits of one pull. Reads queue entries
//! only: what it finds is a list of log ranges. Never copies a message, never answers.

use ringmq_protocol::response_code::ResponseCode;

use super::pull::Pull;
use crate::limits::{PULL_BYTES_MAX, PULL_SCAN_MAX, PULL_SCAN_MIN};
use crate::store::{Absent, CommitLog, ConsumeQueue, Entry, Position, QueueTable};

/// What came of a pull (GetMessageStatus); its name is the answer's remark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Found,
    NoMatchedMessage,
    NoMessageInQueue { illegal: bool },
    OffsetTooSmall,
    OffsetOverflowOne,
    OffsetOverflowBadly,
    OffsetReset,
}

impl Status {
    /// RocketMQ's name.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Found => "FOUND",
            Status::NoMatchedMessage => "NO_MATCHED_MESSAGE",
            Status::NoMessageInQueue { .. } => "NO_MESSAGE_IN_QUEUE",
            Status::OffsetTooSmall => "OFFSET_TOO_SMALL",
            Status::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
            Status::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
            Status::OffsetReset => "OFFSET_RESET",
        }
    }

    /// The answer's code.
    pub const fn code(self) -> ResponseCode {
        match self {
            Status::Found => ResponseCode::Success,
            Status::NoMatchedMessage => ResponseCode::PullRetryImmediately,
            Status::OffsetOverflowOne | Status::NoMessageInQueue { illegal: false } => ResponseCode::PullNotFound,
            Status::OffsetTooSmall
            | Status::OffsetOverflowBadly
            | Status::OffsetReset
            | Status::NoMessageInQueue { illegal: true } => ResponseCode::PullOffsetMoved,
        }
    }
}

/// What a scan found; the messages stand in the list the caller gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// Messages that are all in memory; the next pull starts at `next`.
    Resident { next: i64 },
    /// Messages of which some are to be read from disk.
    Cold { next: i64 },
    /// None.
    Nothing { status: Status, next: i64 },
}

/// Looks for the messages of one pull. `spans` receives position and size of each; `entries` is scratch.
///
/// # Errors
/// [`Absent`] when the queue's entries are on disk.
pub fn scan(
    queues: &mut QueueTable,
    log: &CommitLog,
    pull: &Pull,
    spans: &mut Vec<(Position, u32)>,
    entries: &mut Vec<(u64, Entry)>,
) -> Result<Scan, Absent> {
    spans.clear();
    let queue = &queues[pull.slot];
    let (min, max) = (queue.min() as i64, queue.visible() as i64);
    let offset = pull.offset;
    let nothing = |status, next| Ok(Scan::Nothing { status, next });
    if max == 0 {
        return nothing(Status::NoMessageInQueue { illegal: offset != 0 }, 0);
    }
    if offset < min {
        return nothing(Status::OffsetTooSmall, min);
    }
    if offset == max {
        return nothing(Status::OffsetOverflowOne, offset);
    }
    if offset > max {
        return nothing(Status::OffsetOverflowBadly, max);
    }
    // It is not negative here.
    let (from, count) = (offset as u64, (pull.max_messages * 20).clamp(PULL_SCAN_MIN, PULL_SCAN_MAX));
    if from >= queue.resident_from() {
        return Ok(collect(queue.entries(from, count), log, pull, spans));
    }
    // Mostly all are wanted; what is filtered out is made up for in growing steps.
    let mut step = pull.max_messages.min(count);
    let mut found = Collected::at(offset);
    queues.entries_from(pull.slot, from, step, entries)?;
    // The look may have found that the messages there have expired.
    let min = queues[pull.slot].min() as i64;
    if offset < min {
        return nothing(Status::OffsetTooSmall, min);
    }
    let end = from + count as u64;
    while !found.take(entries.iter().copied(), log, pull, spans) && !entries.is_empty() && (found.next as u64) < end {
        step *= 2;
        let left = (end - found.next as u64) as usize;
        if let Err(Absent) = queues.entries_from(pull.slot, found.next as u64, step.min(left), entries) {
            // What was found is an answer; whoever pulls again asks for the rest.
            queues.forget_miss();
            break;
        }
    }
    Ok(found.end(spans))
}

fn collect(
    entries: impl Iterator<Item = (u64, Entry)>,
    log: &CommitLog,
    pull: &Pull,
    spans: &mut Vec<(Position, u32)>,
) -> Scan {
    let mut found = Collected::at(pull.offset);
    found.take(entries, log, pull, spans);
    found.end(spans)
}

/// How far a pull's collecting is.
struct Collected {
    next: i64,
    bytes: usize,
    cold: bool,
}

impl Collected {
    fn at(next: i64) -> Self {
        Collected { next, bytes: 0, cold: false }
    }

    /// Takes what the pull wants; whether it has enough.
    fn take(
        &mut self,
        entries: impl Iterator<Item = (u64, Entry)>,
        log: &CommitLog,
        pull: &Pull,
        spans: &mut Vec<(Position, u32)>,
    ) -> bool {
        let resident_from = log.resident_from();
        for (offset, entry) in entries {
            if pull.filter.matches(i64::from(entry.tag_hash)) {
                // The first message is taken whatever its size.
                if !spans.is_empty() && self.bytes + entry.size as usize > PULL_BYTES_MAX {
                    return true;
                }
                self.cold |= entry.position < resident_from;
                self.bytes += entry.size as usize;
                spans.push((entry.position, entry.size));
            }
            self.next = offset as i64 + 1;
            if spans.len() == pull.max_messages {
                return true;
            }
        }
        false
    }

    fn end(self, spans: &[(Position, u32)]) -> Scan {
        let Collected { next, bytes: _, cold } = self;
        match (spans.is_empty(), cold) {
            (true, _) => Scan::Nothing { status: Status::NoMatchedMessage, next },
            (false, true) => Scan::Cold { next },
            (false, false) => Scan::Resident { next },
        }
    }
}

/// Whether a held pull should be answered now: its queue has a message for it, or changed under it. Each message is looked
/// at once; a pull that fell far behind without finding one is answered so that it moves on.
pub fn wants(queue: &ConsumeQueue, pull: &mut Pull) -> bool {
    let visible = queue.visible() as i64;
    if pull.offset >= visible {
        return pull.offset > visible;
    }
    let (Ok(offset), Ok(from)) = (u64::try_from(pull.offset), u64::try_from(pull.checked)) else { return true };
    if offset < queue.min() || from < queue.resident_from() || queue.visible() - offset > PULL_SCAN_MIN as u64 {
        return true;
    }
    pull.checked = visible;
    let fresh = queue.visible().saturating_sub(from) as usize;
    queue.entries(from, fresh).any(|(_, entry)| pull.filter.matches(i64::from(entry.tag_hash)))
}
