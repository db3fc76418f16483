//! What of POP survives a restart.
//!
//! Owns the payload of the Pop record (one change of one line), the checkpoint section, and how both become lines again.
//!
//! ```text
//! record:  op u8 | topic (u16 length, bytes) | queue u32 | group (u16 length, bytes) | by op:
//!   1 taken    next u64 | pop time i64 | until i64 | ordered u8 | offsets u64 ...
//!   2 done     offsets u64 ...
//!   3 changed  offset u64 | pop time i64 | until i64
//!   4 reset    next u64
//!   5 gone
//!   7 moved    offset u64 | retry topic (u16 length, bytes) | queue u32 | its offset there u64
//!   6 state    next u64 | per message: offset u64, pop time i64, until i64, ordered u8, times u32
//! section: per line: length u32 | a record of op 6
//! ```
//! A record of op 7 stands before the copy it announces: a log that ends between the two has the message still out.
//! Pop times are wall milliseconds (clients see them), `until` is steady milliseconds (`delay::steady`).

use std::collections::BTreeMap;

use ringmq_protocol::wire::Reader;

use super::Pop;
use super::lines::{Line, Popped};
use crate::store::{ConsumeQueue, QueueSlot, QueueTable};

/// One change of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op<'a> {
    Taken {
        next: u64,
        popped: Popped,
        offsets: &'a [u64],
    },
    Done {
        offsets: &'a [u64],
    },
    Changed {
        offset: u64,
        pop_time: i64,
        until_ms: i64,
    },
    Reset {
        next: u64,
    },
    /// The next message of that queue is this one's copy.
    Moved {
        offset: u64,
        topic: &'a str,
        queue: u32,
        at: u64,
    },
    Gone,
}

/// A payload that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadPopState;

/// The payload for one change of one line.
pub fn payload(topic: &str, queue: u32, group: &str, op: &Op<'_>) -> Vec<u8> {
    let code = match op {
        Op::Taken { .. } => TAKEN,
        Op::Done { .. } => DONE,
        Op::Changed { .. } => CHANGED,
        Op::Reset { .. } => RESET,
        Op::Moved { .. } => MOVED,
        Op::Gone => GONE,
    };
    let mut out = head(code, topic, queue, group);
    match op {
        Op::Taken { next, popped, offsets } => {
            out.extend_from_slice(&next.to_be_bytes());
            out.extend_from_slice(&popped.pop_time.to_be_bytes());
            out.extend_from_slice(&popped.until_ms.to_be_bytes());
            out.push(u8::from(popped.ordered));
            offsets.iter().for_each(|offset| out.extend_from_slice(&offset.to_be_bytes()));
        }
        Op::Done { offsets } => offsets.iter().for_each(|offset| out.extend_from_slice(&offset.to_be_bytes())),
        Op::Changed { offset, pop_time, until_ms } => {
            out.extend_from_slice(&offset.to_be_bytes());
            out.extend_from_slice(&pop_time.to_be_bytes());
            out.extend_from_slice(&until_ms.to_be_bytes());
        }
        Op::Reset { next } => out.extend_from_slice(&next.to_be_bytes()),
        Op::Moved { offset, topic, queue, at } => {
            out.extend_from_slice(&offset.to_be_bytes());
            put_text(&mut out, topic);
            out.extend_from_slice(&queue.to_be_bytes());
            out.extend_from_slice(&at.to_be_bytes());
        }
        Op::Gone => {}
    }
    out
}

const TAKEN: u8 = 1;
const DONE: u8 = 2;
const CHANGED: u8 = 3;
const RESET: u8 = 4;
const GONE: u8 = 5;
const STATE: u8 = 6;
const MOVED: u8 = 7;

fn head(code: u8, topic: &str, queue: u32, group: &str) -> Vec<u8> {
    let mut out = vec![code];
    put_text(&mut out, topic);
    out.extend_from_slice(&queue.to_be_bytes());
    put_text(&mut out, group);
    out
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("names are at most 255 bytes");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn take_text(reader: &mut Reader<'_>) -> Option<Box<str>> {
    std::str::from_utf8(reader.counted_i16()?).ok().map(Box::from)
}

fn offset(reader: &mut Reader<'_>) -> Option<u64> {
    u64::try_from(reader.i64()?).ok()
}

/// What recovery has found so far.
#[derive(Debug, Default)]
pub struct Progress {
    /// By topic, queue and group.
    lines: BTreeMap<(Box<str>, u32, Box<str>), Found>,
}

#[derive(Debug, Default)]
struct Found {
    next: u64,
    out: BTreeMap<u64, Popped>,
    moved: BTreeMap<u64, Moved>,
}

/// A message whose copy should stand in the log.
#[derive(Debug)]
struct Moved {
    popped: Popped,
    topic: Box<str>,
    queue: u32,
    at: u64,
}

impl Found {
    fn take(&mut self, code: u8, reader: &mut Reader<'_>) -> Option<()> {
        match code {
            TAKEN => {
                self.next = offset(reader)?;
                let (pop_time, until_ms, ordered) = (reader.i64()?, reader.i64()?, reader.u8()? != 0);
                while !reader.is_empty() {
                    let offset = offset(reader).filter(|offset| *offset < self.next)?;
                    let times = self.out.get(&offset).map_or(0, |before| before.times.saturating_add(1));
                    self.moved.remove(&offset);
                    self.out.insert(offset, Popped { pop_time, until_ms, ordered, times });
                }
            }
            DONE => {
                while !reader.is_empty() {
                    self.out.remove(&offset(reader)?);
                }
            }
            CHANGED => {
                let (offset, pop_time, until_ms) = (offset(reader)?, reader.i64()?, reader.i64()?);
                if let Some(popped) = self.out.get_mut(&offset) {
                    (popped.pop_time, popped.until_ms) = (pop_time, until_ms);
                }
            }
            RESET => {
                self.next = offset(reader)?;
                self.out.clear();
                self.moved.clear();
            }
            MOVED => {
                let offset = offset(reader)?;
                let (topic, queue, at) = (take_text(reader)?, reader.i32()? as u32, self::offset(reader)?);
                if let Some(popped) = self.out.remove(&offset) {
                    self.moved.insert(offset, Moved { popped, topic, queue, at });
                }
            }
            STATE => {
                self.next = offset(reader)?;
                self.out.clear();
                while !reader.is_empty() {
                    let offset = offset(reader).filter(|offset| *offset < self.next)?;
                    let (pop_time, until_ms, ordered) = (reader.i64()?, reader.i64()?, reader.u8()? != 0);
                    self.out.insert(offset, Popped { pop_time, until_ms, ordered, times: reader.i32()? as u32 });
                }
            }
            _ => return None,
        }
        reader.is_empty().then_some(())
    }
}

impl Progress {
    /// Takes the checkpoint's section, before any record behind it.
    ///
    /// # Errors
    /// When it is not one.
    pub fn restore(&mut self, section: &[u8]) -> Result<(), BadPopState> {
        let mut reader = Reader::new(section);
        while !reader.is_empty() {
            self.record(reader.counted_i32().ok_or(BadPopState)?)?;
        }
        Ok(())
    }

    /// Takes a Pop record.
    ///
    /// # Errors
    /// When it is not one.
    pub fn record(&mut self, payload: &[u8]) -> Result<(), BadPopState> {
        let mut reader = Reader::new(payload);
        let named = (|| {
            let code = reader.u8()?;
            Some((code, (take_text(&mut reader)?, reader.i32()? as u32, take_text(&mut reader)?)))
        })();
        let (code, name) = named.ok_or(BadPopState)?;
        if code == GONE {
            self.lines.remove(&name);
            return Ok(());
        }
        self.lines.entry(name).or_default().take(code, &mut reader).ok_or(BadPopState)
    }

    /// All but the queues of these topics have ended.
    pub fn keep_topics(&mut self, keeps: impl Fn(&str) -> bool) {
        self.lines.retain(|(name, _, _), _| keeps(name));
        // Copies went with their topic.
        self.lines.values_mut().for_each(|found| found.moved.retain(|_, moved| keeps(&moved.topic)));
    }

    /// The lines as of the log's end.
    pub fn finish(self, queues: &mut QueueTable) -> Pop {
        let mut pop = Pop::default();
        for ((topic, queue, group), Found { next, mut out, moved }) in self.lines {
            for (offset, Moved { popped, topic, queue, at }) in moved {
                let copies = queues.find(&topic, queue).and_then(|slot| queues.get(slot)).map_or(0, ConsumeQueue::max);
                if copies <= at {
                    out.insert(offset, popped);
                }
            }
            let slot: QueueSlot = queues.open(&topic, queue);
            pop.lines.add(Line { topic, queue, slot, group, next, out, attempt: None });
        }
        pop
    }
}

impl Pop {
    /// The checkpoint's section: true for everything appended so far.
    pub fn section(&self) -> Vec<u8> {
        let mut section = Vec::new();
        for Line { topic, queue, slot: _, group, next, out, attempt: _ } in self.lines.iter() {
            let mut row = head(STATE, topic, *queue, group);
            row.extend_from_slice(&next.to_be_bytes());
            for (offset, Popped { pop_time, until_ms, ordered, times }) in out {
                row.extend_from_slice(&offset.to_be_bytes());
                row.extend_from_slice(&pop_time.to_be_bytes());
                row.extend_from_slice(&until_ms.to_be_bytes());
                row.push(u8::from(*ordered));
                row.extend_from_slice(&times.to_be_bytes());
            }
            section.extend_from_slice(&(row.len() as u32).to_be_bytes());
            section.extend_from_slice(&row);
        }
        section
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Entry, Position};

    const POPPED: Popped = Popped { pop_time: 100, until_ms: 200, ordered: false, times: 0 };

    fn record(progress: &mut Progress, op: &Op<'_>) {
        progress.record(&payload("T", 3, "G", op)).unwrap();
    }

    #[test]
    fn the_log_tells_what_is_out() {
        let mut progress = Progress::default();
        record(&mut progress, &Op::Taken { next: 9, popped: POPPED, offsets: &[5, 6, 8] });
        record(&mut progress, &Op::Done { offsets: &[6] });
        record(&mut progress, &Op::Changed { offset: 8, pop_time: 150, until_ms: 900 });
        let mut queues = QueueTable::new();
        let pop = progress.finish(&mut queues);
        let mut again = Progress::default();
        again.restore(&pop.section()).unwrap();
        let again = again.finish(&mut queues);
        for pop in [&pop, &again] {
            let line = pop.lines.iter().next().unwrap();
            assert_eq!((line.next, line.committed(), line.queue), (9, 5, 3));
            assert_eq!(line.out.get(&8), Some(&Popped { pop_time: 150, until_ms: 900, ..POPPED }));
            assert_eq!((line.out.len(), pop.lines.next_due_ms()), (2, Some(200)));
        }
    }

    #[test]
    fn what_was_moved_is_out_until_its_copy_is_there() {
        for copied in [false, true] {
            let mut progress = Progress::default();
            record(&mut progress, &Op::Taken { next: 9, popped: POPPED, offsets: &[5] });
            record(&mut progress, &Op::Moved { offset: 5, topic: "R", queue: 1, at: 0 });
            let mut queues = QueueTable::new();
            let slot = queues.open("R", 1);
            if copied {
                queues[slot].push(Entry { position: Position(100), size: 90, tag_hash: 0 }, 7);
            }
            let pop = progress.finish(&mut queues);
            assert_eq!(pop.lines.out(), usize::from(!copied));
        }
    }

    #[test]
    fn what_is_gone_is_gone() {
        let mut progress = Progress::default();
        record(&mut progress, &Op::Taken { next: 2, popped: POPPED, offsets: &[0, 1] });
        record(&mut progress, &Op::Reset { next: 1 });
        assert!(progress.lines.values().all(|found| found.next == 1 && found.out.is_empty()));
        record(&mut progress, &Op::Gone);
        assert!(progress.lines.is_empty());
    }

    #[test]
    fn damaged_payloads_are_refused() {
        let whole = payload("T", 3, "G", &Op::Taken { next: 9, popped: POPPED, offsets: &[5] });
        for cut in 0..whole.len() {
            let is_prefix = cut == whole.len() - 8;
            assert_eq!(Progress::default().record(&whole[..cut]).is_ok(), is_prefix, "{cut}");
        }
        assert_eq!(Progress::default().restore(&[0, 0, 0, 9, 1]), Err(BadPopState));
    }
}
