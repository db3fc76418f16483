//! The entries of one queue's messages in segments that have no index yet, as they lie in memory.
//!
//! Owns their forms, by how many there are: a single one in place, as most of a million queues have no more of them; one page;
//! many pages. Positions and times ascend because `ConsumeQueue` sees to it. Never knows what of it may be shown.

use std::collections::VecDeque;

use crate::store::index::consume_queue::Entry;
use crate::store::limits::{PAGE_ENTRIES, POSITION_END, RECORD_MAX};
use ringmq_protocol::offset::Position;

/// An entry in 16 bytes: position (48 bits), size (24), tag hash (32), store time since the page's first entry (24, ms).
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed {
    position_and_low_time: u64,
    size_high_time_and_tag: u64,
}

/// Entries whose times lie further apart are in different pages: 4 hours 39 minutes.
pub(super) const TIME_SPAN_MS: i64 = (1 << 24) - 1;

impl Packed {
    #[inline]
    fn new(entry: &Entry, after_ms: u32) -> Self {
        let after = u64::from(after_ms);
        Packed {
            position_and_low_time: entry.position.0 << 16 | after & 0xffff,
            size_high_time_and_tag: u64::from(entry.size) << 40
                | (after >> 16) << 32
                | u64::from(entry.tag_hash as u32),
        }
    }

    #[inline]
    pub(super) fn position(self) -> u64 {
        self.position_and_low_time >> 16
    }

    #[inline]
    pub(super) fn after_ms(self) -> i64 {
        ((self.size_high_time_and_tag >> 32 & 0xff) << 16 | self.position_and_low_time & 0xffff) as i64
    }

    #[inline]
    pub(super) fn entry(self) -> Entry {
        Entry {
            position: Position(self.position()),
            size: (self.size_high_time_and_tag >> 40) as u32,
            tag_hash: self.size_high_time_and_tag as u32 as i32,
        }
    }
}

const _: () = assert!(POSITION_END < 1 << 48);
const _: () = assert!(RECORD_MAX < 1 << 24);

/// Consecutive entries, at least one. Not all pages are full: a long silence starts a new one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page<'a> {
    pub(super) first: u64,
    pub(super) first_ms: i64,
    pub(super) entries: &'a [Packed],
}

impl Page<'_> {
    #[inline]
    pub(super) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Store time of the entry at a place.
    #[inline]
    pub(super) fn ms(&self, place: usize) -> i64 {
        self.first_ms + self.entries[place].after_ms()
    }
}

/// A page on the heap.
#[derive(Debug)]
pub(super) struct OwnPage {
    first: u64,
    first_ms: i64,
    entries: Vec<Packed>,
}

impl OwnPage {
    #[inline]
    fn page(&self) -> Page<'_> {
        Page { first: self.first, first_ms: self.first_ms, entries: &self.entries }
    }
}

/// The resident entries of one queue. They end where the queue ends, which tells the offset of the first one as long as there
/// is one page.
#[derive(Debug, Default)]
pub(super) enum Resident {
    #[default]
    None,
    One {
        ms: i64,
        entry: Packed,
    },
    Few {
        first_ms: i64,
        entries: Vec<Packed>,
    },
    #[expect(clippy::box_collection, reason = "32 bytes in each of a million queues instead of 40")]
    Pages(Box<VecDeque<OwnPage>>),
}

// What each of a million queues has of it, whether it was ever used or not.
const _: () = assert!(size_of::<Resident>() == 32);

impl Resident {
    #[inline]
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Resident::None)
    }

    /// Offset of the first one, `max` without one.
    #[inline]
    pub(super) fn first(&self, max: u64) -> u64 {
        match self {
            Resident::None => max,
            Resident::One { .. } => max - 1,
            Resident::Few { entries, .. } => max - entries.len() as u64,
            Resident::Pages(pages) => pages.front().map_or(max, |page| page.first),
        }
    }

    /// Position and store time of the last one.
    #[inline]
    pub(super) fn last(&self) -> Option<(u64, i64)> {
        match self {
            Resident::None => None,
            Resident::One { ms, entry } => Some((entry.position(), *ms)),
            Resident::Few { first_ms, entries } => {
                let last = entries.last()?;
                Some((last.position(), first_ms + last.after_ms()))
            }
            Resident::Pages(pages) => {
                let page = pages.back()?;
                let last = page.entries.last()?;
                Some((last.position(), page.first_ms + last.after_ms()))
            }
        }
    }

    /// The page with this number, counted from the first one.
    #[inline]
    pub(super) fn page(&self, number: usize, max: u64) -> Option<Page<'_>> {
        match self {
            Resident::None => None,
            Resident::One { ms, entry } => {
                let page = Page { first: max - 1, first_ms: *ms, entries: std::slice::from_ref(entry) };
                (number == 0).then_some(page)
            }
            Resident::Few { first_ms, entries } => {
                let page = Page { first: max - entries.len() as u64, first_ms: *first_ms, entries };
                (number == 0).then_some(page)
            }
            Resident::Pages(pages) => pages.get(number).map(OwnPage::page),
        }
    }

    /// How many pages at the front are as `is` says; those behind are not.
    pub(super) fn pages_until(&self, max: u64, is: impl Fn(Page<'_>) -> bool) -> usize {
        match self {
            Resident::None => 0,
            Resident::One { .. } | Resident::Few { .. } => usize::from(self.page(0, max).is_some_and(is)),
            Resident::Pages(pages) => pages.partition_point(|page| is(page.page())),
        }
    }

    /// The page that holds an offset below `max`, and its number.
    #[inline]
    pub(super) fn page_of(&self, offset: u64, max: u64) -> Option<(usize, Page<'_>)> {
        let number = match self {
            Resident::None => return None,
            Resident::One { .. } | Resident::Few { .. } => 0,
            Resident::Pages(pages) => match pages.len().checked_sub(1)? {
                last if pages[last].first <= offset => last,
                _ => pages.partition_point(|page| page.first <= offset).checked_sub(1)?,
            },
        };
        self.page(number, max).filter(|page| page.first <= offset).map(|page| (number, page))
    }

    /// Adds the entry of the message `offset`, which follows the last one, stored at `ms`, not before it.
    #[inline]
    pub(super) fn push(&mut self, offset: u64, entry: &Entry, ms: i64) {
        match self {
            Resident::None => *self = Resident::One { ms, entry: Packed::new(entry, 0) },
            Resident::One { ms: first_ms, entry: only } => {
                // Grows with what it holds: of a million quiet queues each pays for no more.
                let mut entries = Vec::with_capacity(2);
                entries.push(*only);
                *self = Resident::Few { first_ms: *first_ms, entries };
                self.push(offset, entry, ms);
            }
            Resident::Few { first_ms, entries } => {
                let after = ms.saturating_sub(*first_ms);
                if entries.len() < PAGE_ENTRIES && after <= TIME_SPAN_MS {
                    entries.push(Packed::new(entry, after as u32));
                } else {
                    let first = offset - entries.len() as u64;
                    let page = OwnPage { first, first_ms: *first_ms, entries: std::mem::take(entries) };
                    *self = Resident::Pages(Box::new(VecDeque::from([page])));
                    self.push(offset, entry, ms);
                }
            }
            Resident::Pages(pages) => {
                let page = pages.back_mut().expect("there are pages only with entries");
                let after = ms.saturating_sub(page.first_ms);
                if page.entries.len() < PAGE_ENTRIES && after <= TIME_SPAN_MS {
                    page.entries.push(Packed::new(entry, after as u32));
                } else {
                    pages.push_back(begun(offset, entry, ms));
                }
            }
        }
    }

    /// Lets go of what lies below `end` in the log.
    pub(super) fn drop_below(&mut self, end: u64) {
        match self {
            Resident::None => {}
            Resident::One { entry, .. } if entry.position() >= end => {}
            Resident::One { .. } => *self = Resident::None,
            Resident::Few { entries, .. } => {
                let gone = entries.partition_point(|entry| entry.position() < end);
                if gone < entries.len() {
                    entries.drain(..gone);
                } else {
                    *self = Resident::None;
                }
            }
            Resident::Pages(pages) => {
                while let Some(page) = pages.front_mut() {
                    let gone = page.entries.partition_point(|entry| entry.position() < end);
                    if gone < page.entries.len() {
                        page.entries.drain(..gone);
                        page.first += gone as u64;
                        return;
                    }
                    pages.pop_front();
                }
                *self = Resident::None;
            }
        }
    }

    /// Heap bytes held.
    pub(super) fn memory(&self) -> usize {
        let of = |entries: &Vec<Packed>| entries.capacity() * size_of::<Packed>();
        match self {
            Resident::None | Resident::One { .. } => 0,
            Resident::Few { entries, .. } => of(entries),
            Resident::Pages(pages) => {
                let entries: usize = pages.iter().map(|page| of(&page.entries)).sum();
                size_of::<VecDeque<OwnPage>>() + pages.capacity() * size_of::<OwnPage>() + entries
            }
        }
    }
}

/// A queue that has filled a page is a busy one.
fn begun(offset: u64, entry: &Entry, ms: i64) -> OwnPage {
    let mut entries = Vec::with_capacity(PAGE_ENTRIES);
    entries.push(Packed::new(entry, 0));
    OwnPage { first: offset, first_ms: ms, entries }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_survive_packing() {
        for tag_hash in [i32::MIN, -1, 0, 1, i32::MAX] {
            let entry = Entry { position: Position(POSITION_END), size: RECORD_MAX as u32, tag_hash };
            let packed = Packed::new(&entry, TIME_SPAN_MS as u32);
            assert_eq!((packed.entry(), packed.after_ms()), (entry, TIME_SPAN_MS));
        }
    }

    #[test]
    fn a_few_entries_need_little_heap() {
        let entry = |n: u64| Entry { position: Position(40 + n), size: 90, tag_hash: 0 };
        let mut resident = Resident::default();
        resident.push(7, &entry(0), 5);
        assert_eq!((resident.memory(), resident.first(8), resident.last()), (0, 7, Some((40, 5))));
        resident.push(8, &entry(1), 6);
        assert_eq!(resident.memory(), 2 * size_of::<Packed>());
        assert_eq!((resident.first(9), resident.page(0, 9).unwrap().end(), resident.last()), (7, 9, Some((41, 6))));
        resident.drop_below(41);
        assert_eq!((resident.first(9), resident.last()), (8, Some((41, 6))));
        resident.drop_below(42);
        assert!(resident.is_none());
    }
}
