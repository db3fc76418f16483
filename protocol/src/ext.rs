//! The string-to-string map of a command, without a map.
//!
//! Owns [`Ext`]: a bounded inline list of where each key and value lies in the header. Reading a
//! header fills it in one pass; typed headers (`header!`) then walk it once.
//! Never allocates, never copies a value, never grows beyond [`EXT_LIMIT`].

pub(crate) mod binary;
pub(crate) mod json;

use crate::key_table::KeyTable;
use crate::text::Text;
use arrayvec::ArrayVec;
use std::fmt;

/// The most entries one command may carry. The widest standard header (pull) has 18 fields; signing,
/// namespaces, tracing and zones add fewer than ten. Beyond this a command is refused.
pub const EXT_LIMIT: usize = 48;

/// The longest key that is compared after undoing JSON escapes. No known key comes near; a longer
/// escaped key is unknown by definition and skipped.
const ESCAPED_KEY_LIMIT: usize = 64;

/// The top bit of a length: the text still carries JSON escapes. Headers are shorter than 2^24.
const ESCAPED: u32 = 1 << 31;

/// Where one text lies in the header.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    at: u32,
    /// Length, with [`ESCAPED`] in the top bit.
    len: u32,
}

impl Span {
    /// `at..end` of a header, which the frame limit keeps below 2^24 bytes.
    #[inline]
    pub(crate) fn new(at: u32, end: u32, escaped: bool) -> Self {
        let len = end - at;
        Span { at, len: if escaped { len | ESCAPED } else { len } }
    }

    /// Where no header has anything: it is shorter than 2^24 bytes.
    const NOWHERE: Span = Span { at: u32::MAX, len: 0 };

    /// The bytes of the header it covers.
    #[inline(always)]
    fn range(self) -> std::ops::Range<usize> {
        let at = self.at as usize;
        at..at + (self.len & !ESCAPED) as usize
    }
}

/// Where one key and its value lie in the header.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    key: Span,
    value: Span,
}

/// The extension fields of one command, borrowed from its header.
#[derive(Clone)]
pub struct Ext<'a> {
    header: &'a [u8],
    entries: ArrayVec<Entry, EXT_LIMIT>,
}

impl<'a> Ext<'a> {
    /// No entries, over the header that spans will point into.
    #[inline]
    pub(crate) fn over(header: &'a [u8]) -> Self {
        Ext { header, entries: ArrayVec::new() }
    }

    /// No entries at all.
    pub fn empty() -> Self {
        Ext::over(&[])
    }

    /// The entries of a header that was read before.
    ///
    /// The caller has them from [`Ext::entries`] over the same bytes: [`Ext::text`] relies on it.
    #[inline]
    pub(crate) fn of_entries(header: &'a [u8], entries: &[Entry]) -> Self {
        let mut ext = Ext::over(header);
        let fits = ext.entries.try_extend_from_slice(entries);
        debug_assert!(fits.is_ok(), "they came out of such a list");
        ext
    }

    /// Where all entries lie.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What the entries lie in.
    pub(crate) fn header(&self) -> &'a [u8] {
        self.header
    }

    /// Adds an entry; `false` when the list is full.
    ///
    /// Both spans lie inside the header and, once the parser says that all of it is well, are valid UTF-8 with
    /// well-formed escapes: [`Ext::text`] relies on it.
    #[inline]
    pub(crate) fn push(&mut self, key: Span, value: Span) -> bool {
        self.entries.try_push(Entry { key, value }).is_ok()
    }

    /// The text a span points at. Falls back to the empty text if the span is not a string of the
    /// header, which the parsers rule out.
    #[inline]
    pub(crate) fn text(&self, span: Span) -> Text<'a> {
        self.located(span).unwrap_or(Text::EMPTY)
    }

    /// The same; `None` if the span is not a part of the header, as for a field that [`Ext::locate`] did not find.
    #[inline(always)]
    pub(crate) fn located(&self, span: Span) -> Option<Text<'a>> {
        let bytes = self.header.get(span.range())?;
        // SAFETY: every span was made by `json` or `binary`. `json` cuts only at ASCII quotes or around ASCII
        // tokens, and before it asks for a text or returns the command it has validated the header as UTF-8
        // unless all of it is ASCII; `binary` validates each key and value by itself. A command that either
        // finds fault with is dropped unread. The header is borrowed immutably since then; `Convoy` moves spans
        // together with a copy of their header.
        let raw = unsafe { std::str::from_utf8_unchecked(bytes) };
        Some(Text::checked(raw, span.len & ESCAPED != 0))
    }

    /// How many entries there are, repeated keys counted each time.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries in the order received. Of a repeated key the last one counts.
    pub fn iter(&self) -> impl Iterator<Item = (Text<'a>, Text<'a>)> + '_ {
        self.entries.iter().map(|entry| (self.text(entry.key), self.text(entry.value)))
    }

    /// For each field of a header where its value is, for [`Ext::located`]. Of a repeated key the last
    /// one counts.
    #[inline]
    pub(crate) fn locate<const FIELDS: usize>(&self, table: &KeyTable) -> [Span; FIELDS] {
        let mut found = [Span::NOWHERE; FIELDS];
        for entry in &self.entries {
            // All names of a send are one letter; an escaped one has a longer length.
            let field = match self.header.get(entry.key.at as usize) {
                Some(letter) if entry.key.len == 1 => table.find_letter(*letter),
                _ => self.find_name(entry.key, table),
            };
            if let Some(place) = field.and_then(|field| found.get_mut(field)) {
                *place = entry.value;
            }
        }
        found
    }

    #[inline(always)]
    fn find_name(&self, key: Span, table: &KeyTable) -> Option<usize> {
        let key = self.text(key);
        match key.as_plain() {
            Some(key) => table.find(key),
            None => self.find_escaped(key, table),
        }
    }

    #[cold]
    fn find_escaped(&self, key: Text<'a>, table: &KeyTable) -> Option<usize> {
        table.find(key.decode_in(&mut [0; ESCAPED_KEY_LIMIT])?)
    }

    /// The value of one key. For a whole header use `Header::decode`, which walks the list once.
    pub fn get(&self, key: &str) -> Option<Text<'a>> {
        let found = self.entries.iter().rev().find(|entry| self.text(entry.key).eq_str(key))?;
        Some(self.text(found.value))
    }
}

impl fmt::Debug for Ext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
