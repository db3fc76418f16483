//! Pages of index files that were read lately.
//!
//! Owns their verified content, a bounded number of them; those not used for the longest time leave (one turn of a clock
//! hand). Never reads: whoever misses a page says so, and it is put in when it came.

use std::cell::Cell;

use crate::map::Map;
use crate::store::files::index_page::{CONTENT, PAGE, verified};
use crate::store::limits::{INDEX_PAGES_DEFAULT, INDEX_PAGES_MIN};
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
    /// Pages asked for and not there, since the start.
    pub missed: Cell<u64>,
}

#[derive(Debug)]
struct Place {
    key: Key,
    content: Box<[u8; CONTENT]>,
    /// Used since the hand passed.
    used: Cell<bool>,
}

impl Default for PageCache {
    fn default() -> Self {
        let (at, places) = (Map::default(), Vec::new());
        PageCache { at, places, hand: 0, limit: INDEX_PAGES_DEFAULT, missed: Cell::new(0) }
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
        let Some(at) = self.at.get(&(base.0, page)) else {
            self.missed.set(self.missed.get() + 1);
            return None;
        };
        let place = &self.places[*at as usize];
        place.used.set(true);
        Some(&place.content)
    }

    /// Takes pages that were read, from number `page` on. `false` if one of them is not what was written.
    #[must_use]
    pub fn put(&mut self, base: SegmentBase, page: u32, bytes: &[u8], count: u32) -> bool {
        (0..count).all(|n| {
            let read = bytes.get(n as usize * PAGE..).and_then(|bytes| verified(bytes, base, page + n));
            let content = read.and_then(|content| <&[u8; CONTENT]>::try_from(content).ok());
            if let Some(content) = content {
                self.put_one((base.0, page + n), content);
            }
            content.is_some()
        })
    }

    fn put_one(&mut self, key: Key, content: &[u8; CONTENT]) {
        if let Some(at) = self.at.get(&key) {
            *self.places[*at as usize].content = *content;
            return;
        }
        if self.places.len() < self.limit {
            self.at.insert(key, self.places.len() as u32);
            self.places.push(Place { key, content: Box::new(*content), used: Cell::new(true) });
            return;
        }
        let mut hand = self.hand % self.places.len();
        while self.places[hand].used.replace(false) {
            hand = (hand + 1) % self.places.len();
        }
        let place = &mut self.places[hand];
        self.at.remove(&place.key);
        self.at.insert(key, hand as u32);
        (place.key, *place.content) = (key, *content);
        place.used.set(true);
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
