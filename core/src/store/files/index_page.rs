//! The pages of an index file: each can be read alone and is believed only after its checksum.
//!
//! Owns the page's frame and the stepwise filling of pages. Never knows what stands in them.
//!
//! ```text
//! 0 crc32c of bytes 4..4096 | 4 page number | 8 segment base | 16 content, 4080 bytes
//! ```

use crate::store::segment::SegmentBase;

/// Bytes of a page: the unit of direct I/O.
pub const PAGE: usize = 4096;

/// What a page's frame takes.
pub const PAGE_HEAD: usize = 16;

/// Bytes of content in a page.
pub const CONTENT: usize = PAGE - PAGE_HEAD;

/// Content of whole pages, as it is filled.
#[derive(Debug)]
pub(crate) struct PageWriter {
    base: SegmentBase,
    /// The first page, then finished ones behind those taken, and the beginning of the next one.
    out: Vec<u8>,
    /// Bytes of pages that were taken.
    taken: usize,
}

impl PageWriter {
    /// The first page is kept free for the header.
    pub(crate) fn new(base: SegmentBase) -> Self {
        PageWriter { base, out: vec![0; PAGE], taken: 0 }
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.taken + self.out.len()
    }

    /// The finished pages behind those taken before and the first one, if there are `least` bytes of them: where they belong in
    /// the file, and the bytes.
    pub(crate) fn take_pages(&mut self, least: usize) -> Option<(u64, Vec<u8>)> {
        let whole = self.out.len() / PAGE * PAGE;
        if whole < PAGE + least.max(PAGE) {
            return None;
        }
        let begun = self.out.split_off(whole);
        let pages = self.out.split_off(PAGE);
        self.out.extend_from_slice(&begun);
        let at = self.taken + PAGE;
        self.taken += pages.len();
        Some((at as u64, pages))
    }

    /// Appends content; what does not fit goes on in the next page.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.out.len().is_multiple_of(PAGE) {
                self.out.extend_from_slice(&[0; PAGE_HEAD]);
            }
            let room = PAGE - self.out.len() % PAGE;
            let (now, later) = rest.split_at(rest.len().min(room));
            self.out.extend_from_slice(now);
            rest = later;
            if self.out.len().is_multiple_of(PAGE) {
                self.seal_last();
            }
        }
    }

    /// Ends the page that was begun; the number of the next one.
    pub(crate) fn next_page(&mut self) -> u32 {
        if !self.out.len().is_multiple_of(PAGE) {
            self.out.resize(self.out.len().next_multiple_of(PAGE), 0);
            self.seal_last();
        }
        (self.len() / PAGE) as u32
    }

    /// Where in the file the bytes behind the first page belong.
    pub(crate) fn rest_at(&self) -> u64 {
        (PAGE + self.taken) as u64
    }

    fn seal_last(&mut self) {
        let number = self.len() / PAGE - 1;
        let at = self.out.len() - PAGE;
        seal(&mut self.out[at..], self.base, number as u32);
    }

    /// The whole file, with this content in its first page; without the pages that were taken.
    pub(crate) fn finish(mut self, header: &[u8]) -> Vec<u8> {
        self.next_page();
        self.out[PAGE_HEAD..PAGE_HEAD + header.len()].copy_from_slice(header);
        seal(&mut self.out[..PAGE], self.base, 0);
        self.out
    }
}

fn seal(page: &mut [u8], base: SegmentBase, number: u32) {
    page[4..8].copy_from_slice(&number.to_be_bytes());
    page[8..16].copy_from_slice(&base.0.to_be_bytes());
    let crc = crc32c::crc32c(&page[4..PAGE]);
    page[..4].copy_from_slice(&crc.to_be_bytes());
}

/// The content of a page read from the index of the segment at `base`; `None` if it is not that page as it was written.
pub fn verified(page: &[u8], base: SegmentBase, number: u32) -> Option<&[u8]> {
    let page = page.get(..PAGE)?;
    let word = |at: usize| u32::from_be_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]);
    let named = u64::from(word(8)) << 32 | u64::from(word(12));
    let intact = word(0) == crc32c::crc32c(&page[4..]) && word(4) == number && named == base.0;
    intact.then_some(&page[PAGE_HEAD..])
}

/// The first `len` bytes of content of pages read from `number` on; `None` if one of them is not what was written.
pub(crate) fn contents(pages: &[u8], base: SegmentBase, number: u32, len: usize) -> Option<Vec<u8>> {
    let mut content = Vec::with_capacity(len.next_multiple_of(CONTENT));
    for (number, page) in (number..).zip(pages.chunks(PAGE)) {
        content.extend_from_slice(verified(page, base, number)?);
    }
    if content.len() < len {
        return None;
    }
    content.truncate(len);
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn content_comes_back(lens in proptest::collection::vec(0usize..9_000, 0..8)) {
            let mut writer = PageWriter::new(SegmentBase(8192));
            let mut all = Vec::new();
            for (n, len) in lens.iter().enumerate() {
                let bytes: Vec<u8> = (0..*len).map(|at| (at + n) as u8).collect();
                writer.put(&bytes);
                all.extend_from_slice(&bytes);
            }
            let file = writer.finish(b"head");
            prop_assert_eq!(&contents(&file[PAGE..], SegmentBase(8192), 1, all.len()).expect("intact"), &all);
            prop_assert_eq!(&verified(&file, SegmentBase(8192), 0).expect("intact")[..4], b"head");
            prop_assert!(verified(&file, SegmentBase(8192), 1).is_none() && verified(&file, SegmentBase(0), 0).is_none());
        }

        #[test]
        fn taken_in_pieces_it_is_the_same(lens in proptest::collection::vec(0usize..9_000, 0..8), least in 0usize..20_000) {
            let (mut whole, mut pieces) = (PageWriter::new(SegmentBase(0)), PageWriter::new(SegmentBase(0)));
            let mut file = vec![0; PAGE];
            for len in lens {
                let bytes = vec![len as u8; len];
                whole.put(&bytes);
                pieces.put(&bytes);
                prop_assert_eq!(whole.len(), pieces.len());
                if let Some((at, taken)) = pieces.take_pages(least) {
                    prop_assert_eq!(at as usize, file.len());
                    file.extend_from_slice(&taken);
                }
                if len % 3 == 0 {
                    prop_assert_eq!(whole.next_page(), pieces.next_page());
                }
            }
            let rest = pieces.finish(b"head");
            file.extend_from_slice(&rest[PAGE..]);
            file[..PAGE].copy_from_slice(&rest[..PAGE]);
            prop_assert_eq!(file, whole.finish(b"head"));
        }

        #[test]
        fn any_flipped_bit_is_seen(at in 0..PAGE, bit in 0u8..8) {
            let mut file = PageWriter::new(SegmentBase(4096)).finish(b"something");
            file[at] ^= 1u8 << bit;
            prop_assert!(verified(&file, SegmentBase(4096), 0).is_none());
        }
    }
}
