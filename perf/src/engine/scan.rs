//! The two numbers of a frame the hot path needs: code and opaque.
//!
//! Owns the cheap look into a header in either spelling; everything else of a header (remarks, fields) is read
//! by the `protocol` crate, off the hot path. It never allocates.
//!
//! JSON members are found by their quoted names. A string value cannot imitate one: inside a string the quotes
//! would be escaped. Only a field inside `extFields` named `opaque` or `code` could, and no header has one.

use memchr::memmem::Finder;
use ringmq_protocol::frame::{Frame, Spelling};

/// Bytes of the fixed part of a binary header: code, language, version, opaque, flag, remark and ext length.
const BINARY_MINIMUM: usize = 21;

const OPAQUE_MEMBER: &[u8] = b"\"opaque\":";
const CODE_MEMBER: &[u8] = b"\"code\":";

/// Looks into frames and remembers where the last one had its opaque: a peer writes all alike.
pub struct Scanner {
    opaque: Finder<'static>,
    code: Finder<'static>,
    /// Where the opaque's digits last were, from the front and from the end of the header: fields of varying
    /// length lie behind it (RingMQ's answers) or before it (fastjson sorts `extFields` to the front).
    from_front: usize,
    from_end: usize,
}

impl Default for Scanner {
    fn default() -> Scanner {
        Scanner { opaque: Finder::new(OPAQUE_MEMBER), code: Finder::new(CODE_MEMBER), from_front: 0, from_end: 0 }
    }
}

impl Scanner {
    /// The code and the opaque of `frame`; `None` when its header has none.
    #[inline]
    pub fn scan(&mut self, frame: &Frame<'_>) -> Option<(i32, i32)> {
        match frame.spelling {
            Spelling::Json => self.json_numbers(frame.header),
            Spelling::Binary => {
                let fixed = frame.header.first_chunk::<BINARY_MINIMUM>()?;
                let code = i16::from_be_bytes([fixed[0], fixed[1]]);
                let opaque = i32::from_be_bytes([fixed[5], fixed[6], fixed[7], fixed[8]]);
                Some((code.into(), opaque))
            }
        }
    }

    #[inline]
    fn json_numbers(&mut self, header: &[u8]) -> Option<(i32, i32)> {
        let code_at = if header.get(1..)?.starts_with(CODE_MEMBER) { 1 } else { self.code.find(header)? };
        let code = number(&header[code_at + CODE_MEMBER.len()..])?;
        let digits_at = match self.expected_places(header) {
            Some(at) => at,
            None => {
                let at = self.opaque.find(header)? + OPAQUE_MEMBER.len();
                self.from_front = at;
                self.from_end = header.len() - at;
                at
            }
        };
        Some((code, number(&header[digits_at..])?))
    }
}

impl Scanner {
    /// The opaque's digits, if they are where they last were.
    #[inline]
    fn expected_places(&self, header: &[u8]) -> Option<usize> {
        let places = [Some(self.from_front), header.len().checked_sub(self.from_end)];
        places.into_iter().flatten().find(|at| header.get(..*at).is_some_and(|front| front.ends_with(OPAQUE_MEMBER)))
    }
}

/// The JSON integer `bytes` start with (blanks in front allowed); `None` when there is none or it exceeds 32 bits.
#[inline]
fn number(bytes: &[u8]) -> Option<i32> {
    let blanks = bytes.iter().take_while(|byte| **byte == b' ').count();
    let negative = bytes.get(blanks) == Some(&b'-');
    let mut value = 0i64;
    let mut digits = 0;
    for byte in &bytes[blanks + usize::from(negative)..] {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 || digits > 10 {
            break;
        }
        value = value * 10 + i64::from(digit);
        digits += 1;
    }
    if digits == 0 {
        return None;
    }
    i32::try_from(if negative { -value } else { value }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(scanner: &mut Scanner, spelling: Spelling, header: &[u8]) -> Option<(i32, i32)> {
        scanner.scan(&Frame { bytes: header, total_len: header.len(), spelling, header, body: b"" })
    }

    #[test]
    fn json_members_in_any_order() {
        let mut scanner = Scanner::default();
        for (header, code, opaque) in [
            (&br#"{"code":0,"flag":1,"opaque":1000000007,"version":479}"#[..], 0, 1_000_000_007),
            (br#"{"code":0,"flag":1,"opaque":1000000008,"version":479}"#, 0, 1_000_000_008),
            (br#"{"code":0,"flag":1,"opaque":8,"version":479}"#, 0, 8),
            (br#"{"opaque":-5,"remark":"\"opaque\":9,\"code\":8","code": 17}"#, 17, -5),
            (br#"{"code":2,"opaque":2147483647}"#, 2, i32::MAX),
        ] {
            assert_eq!(scan(&mut scanner, Spelling::Json, header), Some((code, opaque)));
        }
    }

    #[test]
    fn binary_numbers_sit_at_fixed_places() {
        let mut header = vec![0, 17, 0, 1, 0xDF, 0x3B, 0x9A, 0xCA, 0x07];
        header.extend_from_slice(&[0; 12]);
        assert_eq!(scan(&mut Scanner::default(), Spelling::Binary, &header), Some((17, 1_000_000_007)));
    }

    #[test]
    fn broken_headers_are_refused() {
        let mut scanner = Scanner::default();
        for header in [&b""[..], b"{\"code\":0}", b"{\"code\":99999999999,\"opaque\":1}", b"{\"code\":,\"opaque\":1}"] {
            assert_eq!(scan(&mut scanner, Spelling::Json, header), None, "{header:?}");
        }
        assert_eq!(scan(&mut scanner, Spelling::Binary, &[0; 20]), None);
    }
}
