//! The one reader and the one writer of big-endian integers.
//!
//! Owns the bounds check: every other file of this room takes bytes through [`Reader`] or puts them
//! through [`Writer`], so no index arithmetic on untrusted lengths lives anywhere else.
//! Never panics on what a peer sent; running out of bytes is `None`.

/// Takes values from the front of a byte slice; `None` when the slice ends too early.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// Bytes there were at first.
    length: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, length: bytes.len() }
    }

    /// How many bytes were taken so far.
    #[inline]
    pub fn position(&self) -> usize {
        self.length - self.rest.len()
    }

    /// How many bytes are left.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Nothing left.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` bytes.
    #[inline]
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Two bytes, signed.
    #[inline]
    pub fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    /// Four bytes, signed.
    #[inline]
    pub fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    /// Eight bytes, signed.
    #[inline]
    pub fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// A byte run whose length is given by an int32 before it; a negative length is `None`.
    #[inline]
    pub fn counted_i32(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.i32()?).ok()?;
        self.take(count)
    }

    /// A byte run whose length is given by an int16 before it; a negative length is `None`.
    #[inline]
    pub fn counted_i16(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.i16()?).ok()?;
        self.take(count)
    }
}

/// Puts values one after another into a slice of exactly the right size.
///
/// The caller computed the size before; a slice that is too short is a bug in that computation, so
/// the writer panics like any slice access. It never sees a length that came from a peer.
#[derive(Debug)]
pub struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were put so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Copies a byte run.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        self.bytes[self.at..end].copy_from_slice(bytes);
        self.at = end;
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    /// Two bytes.
    #[inline]
    pub fn i16(&mut self, value: i16) {
        self.put(&value.to_be_bytes());
    }

    /// Four bytes.
    #[inline]
    pub fn i32(&mut self, value: i32) {
        self.put(&value.to_be_bytes());
    }

    /// Eight bytes.
    #[inline]
    pub fn i64(&mut self, value: i64) {
        self.put(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_stops_at_the_end() {
        let mut reader = Reader::new(&[0, 0, 0, 2, 7, 8, 9]);
        assert_eq!(reader.counted_i32(), Some(&[7u8, 8][..]));
        assert_eq!(reader.i16(), None);
        assert_eq!(reader.u8(), Some(9));
        assert!(reader.is_empty());
    }

    #[test]
    fn negative_counts_are_refused() {
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff]).counted_i32(), None);
        assert_eq!(Reader::new(&[0x80, 0]).counted_i16(), None);
    }

    #[test]
    fn what_is_put_is_taken() {
        let mut bytes = [0u8; 15];
        let mut writer = Writer::new(&mut bytes);
        writer.u8(1);
        writer.i16(-2);
        writer.i32(3);
        writer.i64(-4);
        assert_eq!(writer.position(), 15);
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u8(), Some(1));
        assert_eq!(reader.i16(), Some(-2));
        assert_eq!(reader.i32(), Some(3));
        assert_eq!(reader.i64(), Some(-4));
    }
}
