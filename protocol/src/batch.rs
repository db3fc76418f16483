//! The body of SEND_BATCH_MESSAGE: several small messages in one (protocol.md 4.5).
//!
//! Owns the checked walk over its entries and the writing of one. Topic, queue, times and hosts are
//! those of the request; an entry has only its flag, body and properties.
//!
//! ```text
//!  0       4       8       12      16           20+n            22+n+m
//!  +-------+-------+-------+-------+------+------+-------+-------+
//!  | total | magic | crc   | flag  | n    | body | m i16 | props |
//!  +-------+-------+-------+-------+------+------+-------+-------+
//! ```
//! Clients send 0 for magic and crc; both are ignored.

use crate::wire::Reader;
use std::fmt;

/// The smallest entry: no body, no properties.
pub const ENTRY_OVERHEAD: usize = 4 + 4 + 4 + 4 + 4 + 2;

/// One message of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchEntry<'a> {
    /// The user's flag.
    pub flag: i32,
    /// The body.
    pub body: &'a [u8],
    /// The properties string.
    pub properties: &'a str,
}

impl BatchEntry<'_> {
    /// Bytes of the entry.
    pub fn len(&self) -> usize {
        ENTRY_OVERHEAD + self.body.len() + self.properties.len()
    }

    /// Never: an entry has its overhead at least.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Appends the entry as clients send it. The caller keeps body and properties within their limits.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.len() as u32).to_be_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.flag.to_be_bytes());
        out.extend_from_slice(&(self.body.len() as u32).to_be_bytes());
        out.extend_from_slice(self.body);
        out.extend_from_slice(&(self.properties.len() as u16).to_be_bytes());
        out.extend_from_slice(self.properties.as_bytes());
    }
}

/// An entry that is not one; the whole batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchError {
    /// Which entry, from 0.
    pub entry: usize,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} of the batch: {}", self.entry, self.problem)
    }
}

impl std::error::Error for BatchError {}

/// The entries of a batch body, in order; ends after the first error.
pub fn iter(body: &[u8]) -> Entries<'_> {
    Entries { rest: body, entry: 0 }
}

/// Iterator over the entries of a batch body.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
    entry: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<BatchEntry<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.entry;
        self.entry += 1;
        match split_entry(self.rest) {
            Ok((found, rest)) => {
                self.rest = rest;
                Some(Ok(found))
            }
            Err(problem) => {
                self.rest = &[];
                Some(Err(BatchError { entry, problem }))
            }
        }
    }
}

fn split_entry(bytes: &[u8]) -> Result<(BatchEntry<'_>, &[u8]), &'static str> {
    const SHORT: &str = "the body ends within it";
    let total = Reader::new(bytes).i32().ok_or(SHORT)?;
    let total = usize::try_from(total).map_err(|_| "its size is negative")?;
    let (entry, rest) = bytes.split_at_checked(total).ok_or(SHORT)?;
    let mut reader = Reader::new(entry);
    reader.take(4 + 4 + 4).ok_or("it is smaller than its fixed fields")?;
    let flag = reader.i32().ok_or("it is smaller than its fixed fields")?;
    let body = reader.counted_i32().ok_or("its body reaches beyond it")?;
    let properties = reader.counted_i16().ok_or("its properties reach beyond it")?;
    if !reader.is_empty() {
        return Err("its size is more than its parts");
    }
    let properties = std::str::from_utf8(properties).map_err(|_| "its properties are not UTF-8")?;
    Ok((BatchEntry { flag, body, properties }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Vec<u8> {
        let mut body = Vec::new();
        BatchEntry { flag: 1, body: b"one", properties: "TAGS\x01a\x02" }.encode(&mut body);
        BatchEntry { flag: -2, body: b"", properties: "" }.encode(&mut body);
        body
    }

    #[test]
    fn entries_read_back() {
        let body = batch();
        let entries: Vec<_> = iter(&body).map(Result::unwrap).collect();
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].flag, entries[0].body), (1, &b"one"[..]));
        assert_eq!(entries[0].properties, "TAGS\x01a\x02");
        assert_eq!(entries[1].len(), ENTRY_OVERHEAD);
        assert!(iter(b"").next().is_none());
    }

    #[test]
    fn broken_entries_are_named() {
        let body = batch();
        for cut in 1..body.len() {
            let last = iter(&body[..cut]).last().unwrap();
            let first_len = body.len() - ENTRY_OVERHEAD;
            assert_eq!(last.is_ok(), cut == first_len, "cut at {cut}");
        }
        // A size of zero must not loop for ever.
        assert_eq!(iter(&[0; 64]).count(), 1);
        let mut bigger = body.clone();
        bigger[3] += 1;
        let error = iter(&bigger).next().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "entry 0 of the batch: its size is more than its parts");
    }
}
