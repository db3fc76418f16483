//! What `--check` verifies: every body is the one that was sent, each queue keeps each sender's order, nothing
//! is missing and nothing comes twice.
//!
//! Owns the stamp at the front of a checked body and the order book of one queue. Counting what it finds is all
//! it does; it never prints.
//!
//! Layout of a body (big-endian):
//! ```text
//!  0   4  magic "pgn1"
//!  4   4  crc32c of everything behind this field
//!  8   8  run: tells one perfgen process from another on the same topic
//! 16   4  stream: the sending connection
//! 20   4  lane: topic number << 16 | queue id it was sent to
//! 24   8  sequence: 0, 1, 2 .. within run, stream and lane
//! 32   8  intended send time, nanoseconds since 1970
//! 40   .  filling
//! ```

use std::collections::HashMap;
use std::ops::Range;

const MAGIC: [u8; 4] = *b"pgn1";

/// Bytes of the stamp; a body is never shorter.
pub const STAMP: usize = 40;

/// The facts a body carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub run: u64,
    pub stream: u32,
    pub lane: u32,
    pub sequence: u64,
    pub intended_unix: u64,
}

impl Stamp {
    /// Writes the stamp over the front of `body`; with `checksum`, over the whole of it.
    pub fn write(&self, body: &mut [u8], checksum: bool) {
        assert!(body.len() >= STAMP, "a body of {} bytes has no room for a stamp", body.len());
        body[..4].copy_from_slice(&MAGIC);
        body[4..8].fill(0);
        body[8..16].copy_from_slice(&self.run.to_be_bytes());
        body[16..20].copy_from_slice(&self.stream.to_be_bytes());
        body[20..24].copy_from_slice(&self.lane.to_be_bytes());
        body[24..32].copy_from_slice(&self.sequence.to_be_bytes());
        body[32..40].copy_from_slice(&self.intended_unix.to_be_bytes());
        if checksum {
            let sum = crc32c::crc32c(&body[8..]);
            body[4..8].copy_from_slice(&sum.to_be_bytes());
        }
    }

    /// Reads the stamp of `body`; `None` when perfgen did not write it. The checksum is not looked at.
    pub fn read(body: &[u8]) -> Option<Stamp> {
        let stamp = body.first_chunk::<STAMP>().filter(|stamp| stamp.starts_with(&MAGIC))?;
        let word = |at: usize| u32::from_be_bytes([stamp[at], stamp[at + 1], stamp[at + 2], stamp[at + 3]]);
        let long = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
        Some(Stamp { run: long(8), stream: word(16), lane: word(20), sequence: long(24), intended_unix: long(32) })
    }
}

/// The lane of a queue.
pub fn lane(topic: usize, queue: u32) -> u32 {
    (topic as u32) << 16 | (queue & 0xFFFF)
}

/// Whether the checksum of `body` is right.
pub fn intact(body: &[u8]) -> bool {
    body.len() >= STAMP && body[4..8] == crc32c::crc32c(&body[8..]).to_be_bytes()
}

/// What a check found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Findings {
    /// Bodies verified.
    pub checked: u64,
    /// Bodies without our stamp: somebody else's messages.
    pub foreign: u64,
    /// Bodies whose checksum is wrong.
    pub corrupt: u64,
    /// Bodies that arrived in another queue than they were sent to.
    pub misplaced: u64,
    /// Messages that came after a later one of the same sender and queue.
    pub out_of_order: u64,
    pub duplicates: u64,
    /// Sequences never seen below the highest one seen.
    pub missing: u64,
    /// Breaks in the queue offsets the broker gave.
    pub offset_breaks: u64,
}

impl Findings {
    /// Findings that mean something went wrong.
    pub fn faults(&self) -> u64 {
        let Findings { checked: _, foreign: _, corrupt, misplaced, out_of_order, duplicates, missing, offset_breaks } =
            self;
        corrupt + misplaced + out_of_order + duplicates + missing + offset_breaks
    }

    pub fn add(&mut self, other: &Findings) {
        let Findings { checked, foreign, corrupt, misplaced, out_of_order, duplicates, missing, offset_breaks } = other;
        self.checked += checked;
        self.foreign += foreign;
        self.corrupt += corrupt;
        self.misplaced += misplaced;
        self.out_of_order += out_of_order;
        self.duplicates += duplicates;
        self.missing += missing;
        self.offset_breaks += offset_breaks;
    }
}

/// The order book of one queue: what each sender's sequence has shown so far.
pub struct QueueBook {
    lane: u32,
    from_start: bool,
    streams: HashMap<(u64, u32), Sequence>,
}

/// One sender's numbers in one queue.
struct Sequence {
    first: u64,
    next: u64,
    /// Ranges skipped so far, in order; a late message closes its place again.
    missing: Vec<Range<u64>>,
}

impl QueueBook {
    /// A book for the queue of `lane`. Read from its start, every sequence must begin with 0; otherwise with
    /// whatever comes first.
    pub fn new(lane: u32, from_start: bool) -> QueueBook {
        QueueBook { lane, from_start, streams: HashMap::new() }
    }

    /// Verifies the next body of the queue.
    pub fn verify(&mut self, body: &[u8], findings: &mut Findings) -> Option<Stamp> {
        let Some(stamp) = Stamp::read(body) else {
            findings.foreign += 1;
            return None;
        };
        findings.checked += 1;
        if !intact(body) {
            findings.corrupt += 1;
            return None;
        }
        if stamp.lane != self.lane {
            findings.misplaced += 1;
        }
        let first = if self.from_start { 0 } else { stamp.sequence };
        let key = (stamp.run, stamp.stream);
        self.streams
            .entry(key)
            .or_insert(Sequence { first, next: first, missing: Vec::new() })
            .saw(stamp.sequence, findings);
        Some(stamp)
    }

    /// Sequences still missing below the highest one seen.
    pub fn missing(&self) -> u64 {
        self.streams.values().flat_map(|sequence| &sequence.missing).map(|range| range.end - range.start).sum()
    }
}

impl Sequence {
    fn saw(&mut self, number: u64, findings: &mut Findings) {
        if number >= self.next {
            if number > self.next {
                self.missing.push(self.next..number);
            }
            self.next = number + 1;
        } else if self.close(number) {
            findings.out_of_order += 1;
        } else if number >= self.first {
            findings.duplicates += 1;
        }
    }

    /// Takes `number` out of the missing ranges; false when it was not missing.
    fn close(&mut self, number: u64) -> bool {
        // Late messages are late by little: look from the end.
        let Some(at) = self.missing.iter().rposition(|range| range.contains(&number)) else { return false };
        let Range { start, end } = self.missing[at].clone();
        match (start == number, end == number + 1) {
            (true, true) => {
                self.missing.remove(at);
            }
            (true, false) => self.missing[at].start += 1,
            (false, true) => self.missing[at].end -= 1,
            (false, false) => {
                self.missing[at].end = number;
                self.missing.insert(at + 1, number + 1..end);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(sequence: u64) -> Vec<u8> {
        let mut body = vec![b'x'; 128];
        let stamp = Stamp { run: 1, stream: 2, lane: lane(3, 4), sequence, intended_unix: 5 };
        stamp.write(&mut body, true);
        body
    }

    fn findings_of(numbers: &[u64], from_start: bool) -> Findings {
        let mut book = QueueBook::new(lane(3, 4), from_start);
        let mut findings = Findings::default();
        for number in numbers {
            book.verify(&body(*number), &mut findings);
        }
        findings.missing = book.missing();
        findings
    }

    #[test]
    fn a_stamp_comes_back() {
        let stamp = Stamp::read(&body(77)).expect("stamped");
        assert_eq!(stamp, Stamp { run: 1, stream: 2, lane: lane(3, 4), sequence: 77, intended_unix: 5 });
        assert!(intact(&body(77)));
        assert_eq!(Stamp::read(b"hello"), None);
    }

    #[test]
    fn order_is_order() {
        let clean = findings_of(&[0, 1, 2, 3], true);
        assert_eq!((clean.checked, clean.faults()), (4, 0));
    }

    #[test]
    fn gaps_late_and_double_messages_are_told_apart() {
        let found = findings_of(&[0, 1, 5, 3, 3, 2, 9, 9], true);
        assert_eq!((found.out_of_order, found.duplicates, found.missing), (2, 2, 4));
    }

    #[test]
    fn the_start_counts_only_when_read_from_the_start() {
        assert_eq!(findings_of(&[7, 8], true).missing, 7);
        let joined = findings_of(&[7, 6, 8], false);
        assert_eq!((joined.missing, joined.duplicates, joined.out_of_order), (0, 0, 0));
    }

    #[test]
    fn damage_and_strangers_are_found() {
        let mut book = QueueBook::new(lane(0, 0), true);
        let mut findings = Findings::default();
        let mut damaged = body(0);
        damaged[100] ^= 1;
        book.verify(&damaged, &mut findings);
        book.verify(b"hello", &mut findings);
        book.verify(&body(0), &mut findings);
        assert_eq!((findings.corrupt, findings.foreign, findings.misplaced, findings.checked), (1, 1, 1, 2));
    }
}
