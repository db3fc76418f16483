//! A search by key through all segments, newest first.
//!
//! Owns how far it is: first what is resident, then one index on disk after the other. A hash says where in an index's sorted
//! words it must be, so that a segment costs its first page and mostly one read of three more. Never reads: a page that is
//! not in memory ends a step with [`Absent`], and the next step goes on where that one stopped.

use std::ops::RangeInclusive;

use crate::store::files::index_file::{Header, PAGE_WORDS};
use crate::store::index::cold::{Absent, Wanted};
use crate::store::index::key_index::{KeyIndex, PLACE_BITS, PLACE_MASK};
use crate::store::index::queue_table::QueueTable;
use crate::store::segment::SegmentBase;
use ringmq_protocol::offset::Position;

/// A search under way.
#[derive(Debug, Clone)]
pub struct KeySearch {
    hash: u64,
    times: RangeInclusive<i64>,
    before: u64,
    limit: usize,
    /// Segments from here on have been looked at.
    looked_to: u64,
    probe: Option<Probe>,
    /// Candidates, newest first.
    pub found: Vec<Position>,
}

/// The look into one index.
#[derive(Debug, Clone, Copy)]
struct Probe {
    base: SegmentBase,
    /// First page of the words.
    first: u32,
    words: u64,
    /// The page that holds the last wanted word is `low` or, if `low` is not the last before `high`, one between.
    low: u64,
    high: u64,
    tries: u32,
    /// The page looked at last was too early.
    upward: bool,
}

/// Looks around the place where the hash should be, before the rest is halved: keys are hashes, so it is rarely far.
const NEAR_TRIES: u32 = 4;

impl KeyIndex {
    /// Begins a search for up to `limit` candidates below `before`, newest first, out of segments with messages stored in
    /// `times`. The caller reads each record and compares key and time.
    pub fn begin(&self, hash: u64, times: RangeInclusive<i64>, before: Position, limit: usize) -> KeySearch {
        let mut found = Vec::new();
        self.search(hash, times.clone(), before, limit, &mut found);
        KeySearch { hash, times, before: before.0, limit, looked_to: self.sealed_to, probe: None, found }
    }

    /// Goes on with a search; when it returns `Ok`, all candidates are found.
    ///
    /// # Errors
    /// [`Absent`] when a page must be read first.
    pub fn advance(&self, search: &mut KeySearch, queues: &mut QueueTable) -> Result<(), Absent> {
        while search.found.len() < search.limit {
            let Some(probe) = self.probe(search, queues)? else { return Ok(()) };
            search.probe = Some(probe);
            search.look(queues)?;
            search.looked_to = probe.base.0;
            search.probe = None;
        }
        Ok(())
    }

    /// The index to look into: the one begun, or the newest that may have something.
    fn probe(&self, search: &mut KeySearch, queues: &mut QueueTable) -> Result<Option<Probe>, Absent> {
        if let Some(probe) = search.probe.filter(|probe| probe.base.0 >= self.start) {
            return Ok(Some(probe));
        }
        loop {
            let top = search.looked_to.min(search.before);
            if top <= self.start {
                return Ok(None);
            }
            let base = self.layout.segment_of(Position(top - 1));
            let Some(content) = queues.pages.get(base, 0) else {
                return Err(queues.missing(Wanted::pages(base, 0, 1)));
            };
            let Some(header) = Header::decode(content, &self.layout, base) else {
                queues.note_damaged(base);
                return Err(queues.missing(Wanted::pages(base, 0, 1)));
            };
            let words = header.keys.len / 8;
            let in_time = header.times.0 <= *search.times.end() && header.times.1 >= *search.times.start();
            if words > 0 && in_time {
                let (high, first) = (words.div_ceil(PAGE_WORDS), header.keys.first);
                return Ok(Some(Probe { base, first, words, low: 0, high, tries: 0, upward: false }));
            }
            search.looked_to = base.0;
        }
    }
}

impl KeySearch {
    /// Looks into the index of the probe, from its newest candidate to its oldest.
    fn look(&mut self, queues: &mut QueueTable) -> Result<(), Absent> {
        let probe = self.probe.as_mut().expect("set by the caller");
        let low_word = self.hash << PLACE_BITS;
        let last_place = (self.before - probe.base.0 - 1).min(PLACE_MASK);
        let last_word = low_word | last_place;
        while probe.high - probe.low > 1 {
            let middle = probe.next_page(last_word);
            let first_word = first_word(queues, probe, middle)?;
            probe.tries += 1;
            probe.upward = first_word <= last_word;
            if probe.upward {
                probe.low = middle;
            } else {
                probe.high = middle;
            }
        }
        loop {
            let page = probe.low;
            let content = page_of(queues, probe, page)?;
            let count = (probe.words - page * PAGE_WORDS).min(PAGE_WORDS) as usize;
            let words = content.as_chunks::<8>().0[..count].iter().map(|word| u64::from_be_bytes(*word));
            for word in words.rev().filter(|word| *word <= last_word) {
                if word < low_word {
                    return Ok(());
                }
                self.found.push(Position(probe.base.0 + (word & PLACE_MASK)));
                if self.found.len() == self.limit {
                    return Ok(());
                }
            }
            if page == 0 {
                return Ok(());
            }
            // Here is where it goes on should that page have to be read.
            (probe.low, probe.high) = (page - 1, page);
        }
    }
}

impl Probe {
    /// The page to look at: where a word like this should be, then around it, then the middle of what is left.
    fn next_page(&self, word: u64) -> u64 {
        let pages = self.words.div_ceil(PAGE_WORDS);
        let guess = match self.tries {
            0 => ((u128::from(word) * u128::from(pages)) >> 64) as u64,
            1..NEAR_TRIES if self.upward => self.low + (1 << (self.tries - 1)),
            1..NEAR_TRIES => self.high.saturating_sub(1 << (self.tries - 1)),
            _ => self.low + (self.high - self.low) / 2,
        };
        guess.clamp(self.low + 1, self.high - 1)
    }
}

fn first_word(queues: &mut QueueTable, probe: &Probe, page: u64) -> Result<u64, Absent> {
    let content = page_of(queues, probe, page)?;
    Ok(u64::from_be_bytes(content.as_chunks::<8>().0[0]))
}

/// A page of words; with one that must be read its neighbours come, too.
fn page_of<'q>(queues: &'q mut QueueTable, probe: &Probe, page: u64) -> Result<&'q [u8], Absent> {
    if queues.pages.get(probe.base, probe.first + page as u32).is_none() {
        let pages = probe.words.div_ceil(PAGE_WORDS);
        let (from, to) = (page.saturating_sub(1), (page + 2).min(pages));
        return Err(queues.missing(Wanted::pages(probe.base, probe.first + from as u32, (to - from) as u32)));
    }
    Ok(queues.pages.get(probe.base, probe.first + page as u32).expect("it was there just now"))
}
