//! Reading ahead: who reads the log in order gets what comes next before he asks.
//!
//! Owns the readers it can tell apart and how far ahead of each is read. Never reads.

use super::Stretch;
use crate::store::limits::{COLD_AHEAD_MAX, COLD_AHEAD_MIN, COLD_GATHER, COLD_LEAD, COLD_STREAM_IDLE, COLD_STREAMS};

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
        let reads_it = |stream: &Stream| {
            let (behind, before) = (stream.at.saturating_sub(COLD_AHEAD_MAX), stream.at + stream.window);
            (behind..=before).contains(&chunk.from)
        };
        let front = self.streams.iter().copied().filter(reads_it).max_by_key(|stream| stream.at);
        // Who has caught up with another goes on as one with him.
        self.streams.retain(|stream| !reads_it(stream));
        // Those who follow do not count: however many they are, nobody got further.
        self.uses += u64::from(front.is_none_or(|front| chunk.from >= front.at));
        let stream = match front {
            Some(front) if chunk.from < front.at => front,
            Some(front) => {
                Stream { at: chunk.to, window: (front.window * 2).clamp(COLD_AHEAD_MIN, COLD_AHEAD_MAX), ..front }
            }
            None => Stream { at: chunk.to, window: 0, used: 0 },
        };
        if self.streams.len() == COLD_STREAMS {
            let oldest = (0..COLD_STREAMS).min_by_key(|at| self.streams[*at].used).expect("there are some");
            self.streams.swap_remove(oldest);
        }
        self.streams.push(Stream { used: self.uses, ..stream });
    }

    /// A read ahead failed: nothing more is read for whoever it was until he asks himself.
    pub(super) fn failed(&mut self, stretch: &Stretch) {
        self.streams.retain(|stream| !stretch.meets(&Stretch { from: stream.at, to: stream.at + COLD_AHEAD_MAX }));
    }

    /// What should be here. Of several who read the same part of the log only the last one is helped, until he has caught up:
    /// from then on what is read is there for all of them. Were they all helped, each would read everything by himself, as
    /// far apart as they are, and the disk would be read as often as there are readers.
    pub(super) fn wanted(&self) -> impl Iterator<Item = Stretch> {
        let all = self.streams.iter().filter(|stream| self.is_active(stream));
        let share = self.room / all.clone().filter(|stream| !self.is_in_front(stream)).count().max(1) as u64;
        all.map(move |stream| {
            let window = if self.is_in_front(stream) { 0 } else { stream.window.min(share) };
            Stretch { from: stream.at, to: stream.at + window }
        })
    }

    /// How far the next one who reads in order has to go until he comes to `at`; none if nobody will.
    pub(super) fn distance(&self, at: u64) -> Option<u64> {
        let coming = self.streams.iter().filter(|stream| self.uses - stream.used < COLD_STREAM_IDLE);
        // Some of those who are one with him are a little behind.
        let behind = coming.map(|stream| stream.at.saturating_sub(COLD_AHEAD_MAX)).filter(|from| *from <= at).max();
        behind.map(|from| at - from)
    }

    /// Whether somebody who reads the same part of the log is further behind `at` than [`COLD_LEAD`].
    pub(super) fn leads(&self, at: u64) -> bool {
        let behind = at.saturating_sub(COLD_GATHER)..at.saturating_sub(COLD_LEAD);
        self.streams.iter().any(|other| behind.contains(&other.at) && self.is_active(other))
    }

    fn is_active(&self, stream: &Stream) -> bool {
        stream.window > 0 && self.uses - stream.used < COLD_STREAM_IDLE
    }

    /// Whether another one reads the same part of the log behind him.
    fn is_in_front(&self, stream: &Stream) -> bool {
        let behind = stream.at.saturating_sub(COLD_GATHER)..stream.at;
        self.streams.iter().any(|other| behind.contains(&other.at) && self.is_active(other))
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
    fn the_last_of_several_is_helped_until_he_has_caught_up() {
        let mut ahead = Ahead::new(16 << 20);
        for n in 0..8 {
            ahead.used(chunk(200 + n));
            ahead.used(chunk(20 + n));
        }
        let ahead_of = |ahead: &Ahead, n| {
            let mut wanted = ahead.wanted().filter(|wanted| wanted.from == chunk(n).to);
            wanted.next().map(|wanted| wanted.to - wanted.from)
        };
        assert_eq!((ahead_of(&ahead, 27), ahead_of(&ahead, 207)), (Some(COLD_AHEAD_MAX), Some(0)));
        for n in 28..208 {
            ahead.used(chunk(n));
        }
        assert_eq!(ahead.wanted().count(), 1);
        assert_eq!(ahead.streams.len(), 1, "they are one now");
        // Somebody who stopped holds nobody up.
        ahead.used(chunk(100));
        ahead.used(chunk(101));
        for n in 208..300 {
            ahead.used(chunk(n));
        }
        assert_eq!(ahead_of(&ahead, 299), Some(COLD_AHEAD_MAX));
        ahead.failed(&chunk(300));
        assert_eq!(ahead_of(&ahead, 299), None);
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
