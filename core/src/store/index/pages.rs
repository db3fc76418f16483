//! Pages of index files that were read lately.
//!
//! Owns their verified content, a bounded number of them; those not used for the longest time leave (one turn of a clock
//! hand). Owns how much is read ahead of who reads in order: a marked page is one at which the next piece should be asked for,
//! and the pieces shrink when they have to leave before anybody came to them. Never reads: whoever misses a page says so, and
//! it is put in when it came.

use std::cell::Cell;

use crate::map::Map;
use crate::store::files::index_page::{CONTENT, PAGE, verified};
use crate::store::limits::{INDEX_AHEAD_MAX, INDEX_AHEAD_MIN, INDEX_PAGES_DEFAULT, INDEX_PAGES_MIN};
use crate::store::segment::SegmentBase;

/// What a page is found by.
type Key = (u64, u32);

/// Verified pages of one shard's index files.
#[derive(Debug)]
pub struct PageCache {
    at: Map<Key, u32>,
    places: Vec<Place>,
    hand: usize,
    limit: usize,
    /// Pages read ahead at once.
    window: u32,
    /// Pages asked for and not there, since the start.
    pub missed: Cell<u64>,
}

#[derive(Debug)]
struct Place {
    key: Key,
    content: Box<[u8; CONTENT]>,
    /// Used since the hand passed.
    used: Cell<bool>,
    /// Nobody came to it since it was read ahead.
    early: Cell<bool>,
    /// Who comes here wants what follows.
    mark: Cell<bool>,
}

impl Default for PageCache {
    fn default() -> Self {
        let (at, places) = (Map::default(), Vec::new());
        PageCache { at, places, hand: 0, limit: INDEX_PAGES_DEFAULT, window: INDEX_AHEAD_MAX, missed: Cell::new(0) }
    }
}

impl PageCache {
    /// How many pages it may hold; never fewer than one read brings.
    pub fn set_limit(&mut self, pages: usize) {
        self.limit = pages.max(INDEX_PAGES_MIN);
        self.places.truncate(self.limit);
        let limit = self.limit as u32;
        self.at.retain(|_, at| *at < limit);
        self.hand = 0;
    }

    /// A page's content.
    #[inline]
    pub fn get(&self, base: SegmentBase, page: u32) -> Option<&[u8; CONTENT]> {
        self.place(base, page).map(|place| &*place.content)
    }

    fn place(&self, base: SegmentBase, page: u32) -> Option<&Place> {
        let Some(at) = self.at.get(&(base.0, page)) else {
            self.missed.set(self.missed.get() + 1);
            return None;
        };
        let place = &self.places[*at as usize];
        place.used.set(true);
        place.early.set(false);
        Some(place)
    }

    /// The same for who reads in order, and whether what follows should be asked for now: that is said once.
    #[inline]
    pub fn pass(&self, base: SegmentBase, page: u32) -> Option<(&[u8; CONTENT], bool)> {
        self.place(base, page).map(|place| (&*place.content, place.mark.take()))
    }

    /// Whether a page is here; if so, it will be wanted soon.
    pub fn keeps(&self, base: SegmentBase, page: u32) -> bool {
        let place = self.at.get(&(base.0, page)).map(|at| &self.places[*at as usize]);
        place.is_some_and(|place| {
            place.used.set(true);
            true
        })
    }

    /// How many pages should be read ahead at once.
    pub fn window(&self) -> u32 {
        self.window.min(self.limit as u32 / 2)
    }

    /// Takes pages that were read, from number `page` on. `false` if one of them is not what was written.
    #[must_use]
    pub fn put(&mut self, base: SegmentBase, page: u32, bytes: &[u8], count: u32) -> bool {
        self.put_all(base, page, bytes, count, false)
    }

    /// The same for pages that were read before anybody asked for them.
    #[must_use]
    pub fn put_ahead(&mut self, base: SegmentBase, page: u32, bytes: &[u8], count: u32) -> bool {
        self.window = (self.window + 1).min(INDEX_AHEAD_MAX);
        self.put_all(base, page, bytes, count, true)
    }

    fn put_all(&mut self, base: SegmentBase, page: u32, bytes: &[u8], count: u32, early: bool) -> bool {
        // Ahead is one piece: whoever begins it asks for the next. Who asks for the first time has to go on a little before it
        // counts as reading in order.
        let mark = if early { 0 } else { count / 2 };
        (0..count).all(|n| {
            let read = bytes.get(n as usize * PAGE..).and_then(|bytes| verified(bytes, base, page + n));
            let content = read.and_then(|content| <&[u8; CONTENT]>::try_from(content).ok());
            if let Some(content) = content {
                self.put_one((base.0, page + n), content, early, n == mark);
            }
            content.is_some()
        })
    }

    fn put_one(&mut self, key: Key, content: &[u8; CONTENT], early: bool, mark: bool) {
        if let Some(at) = self.at.get(&key) {
            let place = &mut self.places[*at as usize];
            *place.content = *content;
            place.mark.set(mark || place.mark.get());
            return;
        }
        let (used, early, mark) = (Cell::new(true), Cell::new(early), Cell::new(mark));
        if self.places.len() < self.limit {
            self.at.insert(key, self.places.len() as u32);
            self.places.push(Place { key, content: Box::new(*content), used, early, mark });
            return;
        }
        let mut hand = self.hand % self.places.len();
        while self.places[hand].used.replace(false) {
            hand = (hand + 1) % self.places.len();
        }
        let place = &mut self.places[hand];
        if place.early.get() {
            self.window = (self.window / 2).max(INDEX_AHEAD_MIN);
        }
        self.at.remove(&place.key);
        self.at.insert(key, hand as u32);
        *place.content = *content;
        (place.key, place.used, place.early, place.mark) = (key, used, early, mark);
        self.hand = hand + 1;
    }

    /// Forgets the pages of one index: its file was replaced.
    pub fn forget(&mut self, base: SegmentBase) {
        self.forget_where(|key| key.0 == base.0);
    }

    /// Forgets the pages of indexes that are gone.
    pub fn forget_below(&mut self, start: u64) {
        self.forget_where(|key| key.0 < start);
    }

    fn forget_where(&mut self, gone: impl Fn(&Key) -> bool) {
        let mut at = 0;
        while at < self.places.len() {
            if !gone(&self.places[at].key) {
                at += 1;
                continue;
            }
            let gone = self.places.swap_remove(at);
            self.at.remove(&gone.key);
            if let Some(moved) = self.places.get(at) {
                self.at.insert(moved.key, at as u32);
            }
        }
    }

    /// Heap bytes held.
    pub fn memory(&self) -> usize {
        self.places.len() * (CONTENT + size_of::<Place>() + 2 * size_of::<(Key, u32)>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::files::index_page::PageWriter;

    fn file(base: u64, pages: usize) -> Vec<u8> {
        let mut writer = PageWriter::new(SegmentBase(base));
        (1..pages).for_each(|page| writer.put(&[page as u8; CONTENT]));
        writer.finish(b"header")
    }

    #[test]
    fn the_least_used_page_leaves() {
        let (mut cache, file) = (PageCache::default(), file(0, 3 * INDEX_PAGES_MIN));
        cache.set_limit(0);
        let put = |cache: &mut PageCache, page: usize| {
            assert!(cache.put(SegmentBase(0), page as u32, &file[page * PAGE..], 1));
        };
        for page in 0..3 * INDEX_PAGES_MIN {
            put(&mut cache, page);
            assert_eq!(
                cache.get(SegmentBase(0), page as u32).expect("just put")[5],
                if page == 0 { b'r' } else { page as u8 }
            );
        }
        let there = (0..3 * INDEX_PAGES_MIN).filter(|page| cache.get(SegmentBase(0), *page as u32).is_some()).count();
        assert_eq!(there, INDEX_PAGES_MIN);
        cache.forget(SegmentBase(0));
        assert!(cache.places.is_empty() && cache.at.is_empty());
    }

    #[test]
    fn what_is_damaged_is_not_taken() {
        let (mut cache, mut file) = (PageCache::default(), file(0, 4));
        file[2 * PAGE + 100] ^= 1;
        assert!(!cache.put(SegmentBase(0), 1, &file[PAGE..], 2));
        assert!(cache.get(SegmentBase(0), 2).is_none());
        assert!(!cache.put(SegmentBase(0), 3, &file[3 * PAGE..], 2), "the file ends before");
        assert!(!cache.put(SegmentBase(4096), 3, &file[3 * PAGE..], 1), "another segment's");
    }
}
