//! Reading ahead: who reads the log in order gets what comes next before he asks.
//!
//! Owns the readers it can tell apart and how far ahead of each is read. Never reads.

use super::Stretch;
use crate::store::limits::{COLD_AHEAD_MAX, COLD_AHEAD_MIN, COLD_STREAMS};

/// Someone who reads in order.
#[derive(Debug, Clone, Copy)]
struct Stream {
    /// Where what he has used ends.
    at: u64,
    /// How far ahead of him is read; 0 until he is seen to go on.
    window: u64,
    used: u64,
}

/// The readers, a bounded number; the one that has not read for longest is forgotten.
#[derive(Debug)]
pub(super) struct Ahead {
    streams: Vec<Stream>,
    uses: u64,
    /// Bytes that all windows together may take.
    room: u64,
}

impl Ahead {
    /// For a cache of so many bytes: half of it is for what was asked for.
    pub(super) fn new(cache: u64) -> Self {
        Ahead { streams: Vec::with_capacity(COLD_STREAMS), uses: 0, room: cache / 2 }
    }

    /// A chunk was used.
    pub(super) fn used(&mut self, chunk: Stretch) {
        self.uses += 1;
        let uses = self.uses;
        let known = self.streams.iter_mut().find(|stream| {
            let (behind, before) = (stream.at.saturating_sub(COLD_AHEAD_MAX), stream.at + stream.window);
            (behind..=before).contains(&chunk.from)
        });
        match known {
            Some(stream) => {
                stream.used = uses;
                if chunk.from >= stream.at {
                    stream.at = chunk.to;
                    stream.window = (stream.window * 2).clamp(COLD_AHEAD_MIN, COLD_AHEAD_MAX);
                }
            }
            None => {
                if self.streams.len() == COLD_STREAMS {
                    let oldest = (0..COLD_STREAMS).min_by_key(|at| self.streams[*at].used).expect("there are some");
                    self.streams.swap_remove(oldest);
                }
                self.streams.push(Stream { at: chunk.to, window: 0, used: uses });
            }
        }
    }

    /// What should be here, nearest reader first.
    pub(super) fn wanted(&self) -> impl Iterator<Item = Stretch> {
        let active = self.streams.iter().filter(|stream| stream.window > 0);
        let share = self.room / active.clone().count().max(1) as u64;
        active.map(move |stream| Stretch { from: stream.at, to: stream.at + stream.window.min(share) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::limits::COLD_CHUNK;

    fn chunk(n: u64) -> Stretch {
        Stretch { from: n * COLD_CHUNK, to: (n + 1) * COLD_CHUNK }
    }

    #[test]
    fn windows_grow_with_who_goes_on_and_only_then() {
        let mut ahead = Ahead::new(16 << 20);
        ahead.used(chunk(100));
        assert_eq!(ahead.wanted().count(), 0, "one read is no order");
        let mut last = 0;
        for n in 101..120 {
            ahead.used(chunk(n));
            let wanted = ahead.wanted().next().expect("in order");
            assert_eq!(wanted.from, chunk(n).to);
            assert!(wanted.to - wanted.from >= last && wanted.to - wanted.from <= COLD_AHEAD_MAX);
            last = wanted.to - wanted.from;
        }
        assert_eq!(last, COLD_AHEAD_MAX);
        // Someone who follows a little behind reads the same.
        ahead.used(chunk(110));
        assert_eq!(ahead.wanted().count(), 1);
        for n in 0..2 * COLD_STREAMS as u64 {
            ahead.used(chunk(1_000 * (n + 1)));
        }
        assert_eq!(ahead.wanted().count(), 0, "he has not read for long");
    }
}
