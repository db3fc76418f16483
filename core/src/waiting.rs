//! Answers that wait until the log is durable, and messages that stay invisible until then.
//!
//! Owns one queue in log order: each entry says up to which position it waits, which queue becomes readable how far,
//! and which frame is then sent. The frames were encoded when the message was appended and lie back to back in one
//! buffer, so that releasing a group commit is one copy. Never reorders, never encodes on release, and allocates only
//! while its two buffers grow.

use std::collections::VecDeque;

use crate::effects::{Effects, Outgoing, Refusal, ReplyTo};
use crate::limits::WAITING_MAX;
use crate::store::{Position, QueueSlot};

/// What waits, in log order.
#[derive(Debug, Default)]
pub struct Waiting {
    entries: VecDeque<Entry>,
    /// The frames of `entries`, back to back, from `released` on.
    bytes: Vec<u8>,
    /// Bytes at the front of `bytes` that were sent already.
    released: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Due when the log is durable up to here.
    until: Position,
    /// Messages of this queue below this offset become visible to consumers.
    shows: Option<Shows>,
    /// Whom the frame is for; `None` when nobody waits (one-way).
    to: Option<ReplyTo>,
    /// Bytes of the frame.
    len: u32,
}

/// A queue whose messages become visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shows {
    pub slot: QueueSlot,
    /// Offsets below this one.
    pub below: u64,
}

impl Waiting {
    /// Whether one more entry would exceed the limit.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= WAITING_MAX
    }

    /// How many entries wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Messages of a queue stay invisible until the log is durable up to `until`.
    pub fn hide(&mut self, until: Position, shows: Shows) {
        self.push(Entry { until, shows: Some(shows), to: None, len: 0 });
    }

    /// Takes the last frame out of `out` and keeps it until the log is durable up to `until`.
    pub fn hold_last(&mut self, until: Position, to: ReplyTo, out: &mut Effects) {
        let Some(Outgoing { start, end, .. }) = out.sends.pop() else {
            return;
        };
        let (start, end) = (start as usize, end as usize);
        assert_eq!(end, out.bytes.len(), "only the frame encoded last can be held back");
        self.bytes.extend_from_slice(&out.bytes[start..end]);
        out.bytes.truncate(start);
        let len = (end - start) as u32;
        match self.entries.back_mut() {
            // The message that is answered: one entry does for both.
            Some(hidden) if hidden.until == until && hidden.to.is_none() => (hidden.to, hidden.len) = (Some(to), len),
            _ => self.push(Entry { until, shows: None, to: Some(to), len }),
        }
    }

    fn push(&mut self, entry: Entry) {
        assert!(self.entries.back().is_none_or(|last| last.until <= entry.until), "entries wait in log order");
        self.entries.push_back(entry);
    }

    /// Sends every frame that waits for `durable` or less; `show` is told which queues become readable.
    pub fn release(&mut self, durable: Position, out: &mut Effects, mut show: impl FnMut(Shows)) {
        let Waiting { entries, bytes, released } = self;
        let copied_from = *released;
        let mut at = out.bytes.len();
        while let Some(entry) = entries.front().copied() {
            if entry.until > durable {
                break;
            }
            entries.pop_front();
            if let Some(shows) = entry.shows {
                show(shows);
            }
            if let Some(to) = entry.to {
                let end = at + entry.len as usize;
                out.sends.push(Outgoing { conn: to.conn, start: at as u32, end: end as u32 });
                at = end;
                *released += entry.len as usize;
            }
        }
        if out.bytes.is_empty() && copied_from == 0 && *released == bytes.len() {
            // All of them, and nothing else goes out: they need not be copied.
            std::mem::swap(bytes, &mut out.bytes);
            *released = 0;
        } else {
            out.bytes.extend_from_slice(&bytes[copied_from..*released]);
        }
        debug_assert_eq!(out.bytes.len(), at);
        self.compact();
    }

    /// The log is finished: everyone who waits is told so, and nothing hidden ever shows.
    pub fn fail(&mut self, refusal: &Refusal, out: &mut Effects) {
        for entry in std::mem::take(&mut self.entries) {
            if let Some(to) = entry.to {
                let _ = out.refuse(&to, refusal);
            }
        }
        self.bytes.clear();
        self.released = 0;
    }

    /// Gives released bytes back once they are at least half of the buffer, so each byte moves once at most.
    fn compact(&mut self) {
        if self.released * 2 >= self.bytes.len() {
            self.bytes.copy_within(self.released.., 0);
            self.bytes.truncate(self.bytes.len() - self.released);
            self.released = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ConnId, CoreId};
    use crate::store::QueueTable;
    use ringmq_protocol::frame::{self, Spelling};
    use ringmq_protocol::response_code::ResponseCode;

    fn to(opaque: i32) -> ReplyTo {
        let conn = ConnId { core: CoreId(0), slot: opaque as u32, generation: 0 };
        ReplyTo { conn, opaque, spelling: Spelling::Json, oneway: false }
    }

    fn hold(waiting: &mut Waiting, until: u64, opaque: i32) {
        let mut out = Effects::default();
        let _ = out.done(&to(opaque));
        waiting.hold_last(Position(until), to(opaque), &mut out);
        assert!(out.sends.is_empty() && out.bytes.is_empty());
    }

    /// The opaques of the released answers, each checked to be one whole frame.
    fn released(waiting: &mut Waiting, durable: u64) -> Vec<u32> {
        let mut out = Effects::default();
        waiting.release(Position(durable), &mut out, |_| {});
        for send in &out.sends {
            let bytes = &out.bytes[send.start as usize..send.end as usize];
            assert_eq!(frame::split(bytes).unwrap().unwrap().total_len, bytes.len());
        }
        out.sends.iter().map(|send| send.conn.slot).collect()
    }

    #[test]
    fn answers_are_released_in_order_and_only_when_durable() {
        let mut waiting = Waiting::default();
        for n in 1..=200 {
            hold(&mut waiting, n * 10, n as i32);
        }
        assert!(released(&mut waiting, 9).is_empty());
        assert_eq!(released(&mut waiting, 25), [1, 2]);
        hold(&mut waiting, 2_000, 201);
        assert_eq!(released(&mut waiting, 1_999), (3..200).collect::<Vec<_>>());
        assert_eq!(released(&mut waiting, 2_000), [200, 201]);
        assert!(waiting.is_empty() && waiting.bytes.is_empty());
    }

    #[test]
    fn queues_show_what_became_durable() {
        let slot = QueueTable::new().open("T", 0);
        let mut waiting = Waiting::default();
        waiting.hide(Position(10), Shows { slot, below: 1 });
        waiting.hide(Position(20), Shows { slot, below: 2 });
        let mut shown = Vec::new();
        waiting.release(Position(15), &mut Effects::default(), |shows| shown.push(shows.below));
        assert_eq!(shown, [1]);
    }

    #[test]
    fn a_message_and_its_answer_wait_in_one_entry() {
        let slot = QueueTable::new().open("T", 0);
        let mut waiting = Waiting::default();
        for n in 1..=3 {
            waiting.hide(Position(n * 10), Shows { slot, below: n });
            hold(&mut waiting, n * 10, n as i32);
        }
        assert_eq!(waiting.len(), 3);
        // A second answer at the same position waits by itself.
        hold(&mut waiting, 30, 4);
        assert_eq!(waiting.len(), 4);
        let (mut out, mut shown) = (Effects::default(), Vec::new());
        let _ = out.done(&to(9));
        waiting.release(Position(20), &mut out, |shows| shown.push(shows.below));
        assert_eq!((shown, out.sends.len()), (vec![1, 2], 3));
        assert_eq!(released(&mut waiting, 30), [3, 4]);
    }

    #[test]
    fn a_failed_log_refuses_everyone_once() {
        let mut waiting = Waiting::default();
        hold(&mut waiting, 10, 1);
        hold(&mut waiting, 20, 2);
        let mut out = Effects::default();
        waiting.fail(&Refusal::new(ResponseCode::ServiceNotAvailable, "the disk"), &mut out);
        assert_eq!(out.sends.len(), 2);
        assert!(released(&mut waiting, 100).is_empty());
    }
}
