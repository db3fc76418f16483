//! A header value as it lies in the frame.
//!
//! Owns [`Text`]: a borrowed string that is either plain or still carries JSON escapes. Java clients
//! write the 0x01 and 0x02 of every properties string as `\u0001` and `\u0002`, so nearly every send
//! carries escapes, and undoing them into a fresh `String` would be an allocation per message.
//! Whoever needs the decoded bytes decodes them straight into their destination.
//! Never allocates unless asked for a `Cow` or a `Vec`.

use crate::seek::{ANY, chunk_at, seek};
use std::borrow::Cow;
use std::fmt;

/// A string from a header, borrowed from the frame.
///
/// Invariant of the escaped form: the scanner has checked every escape, so decoding cannot fail.
/// Equality compares the decoded content.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> Text<'a> {
    /// The empty text.
    pub const EMPTY: Text<'static> = Text { raw: "", escaped: false };

    /// Text that is already what it says.
    #[inline]
    pub const fn plain(raw: &'a str) -> Self {
        Text { raw, escaped: false }
    }

    /// The inside of a JSON string literal whose escapes were all checked by the scanner.
    #[inline]
    pub(crate) const fn checked(raw: &'a str, escaped: bool) -> Self {
        Text { raw, escaped }
    }

    /// The string itself if it carries no escapes.
    #[inline]
    pub const fn as_plain(&self) -> Option<&'a str> {
        if self.escaped { None } else { Some(self.raw) }
    }

    /// The bytes as they lie in the frame and whether they carry escapes.
    #[inline]
    pub(crate) const fn raw(&self) -> (&'a str, bool) {
        (self.raw, self.escaped)
    }

    /// No characters at all.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// An upper bound of the decoded length: escapes only ever shrink.
    #[inline]
    pub const fn max_len(&self) -> usize {
        self.raw.len()
    }

    /// The exact length in bytes after decoding.
    pub fn decoded_len(&self) -> usize {
        let mut length = 0;
        self.each_run(|run| length += run.len());
        length
    }

    /// Appends the decoded bytes, which are valid UTF-8, to `out`.
    pub fn decode_into(&self, out: &mut Vec<u8>) {
        out.reserve(self.raw.len());
        self.each_run(|run| out.extend_from_slice(run));
    }

    /// The decoded bytes in the front of `scratch`, or the plain string itself without a copy.
    /// `None` if `scratch` is too small. For short names on a path that must not allocate.
    pub fn decode_in<'s>(&self, scratch: &'s mut [u8]) -> Option<&'s str>
    where
        'a: 's,
    {
        if !self.escaped {
            return Some(self.raw);
        }
        let mut at = 0;
        let mut fits = true;
        self.each_run(|run| match scratch.get_mut(at..at + run.len()) {
            Some(room) if fits => {
                room.copy_from_slice(run);
                at += run.len();
            }
            _ => fits = false,
        });
        if !fits {
            return None;
        }
        std::str::from_utf8(&scratch[..at]).ok()
    }

    /// The decoded string, borrowed when it is plain.
    pub fn to_cow(&self) -> Cow<'a, str> {
        if !self.escaped {
            return Cow::Borrowed(self.raw);
        }
        let mut decoded = Vec::new();
        self.decode_into(&mut decoded);
        match String::from_utf8(decoded) {
            Ok(text) => Cow::Owned(text),
            Err(bytes) => Cow::Owned(String::from_utf8_lossy(bytes.as_bytes()).into_owned()),
        }
    }

    /// Whether the decoded text is `other`.
    pub fn eq_str(&self, other: &str) -> bool {
        if !self.escaped {
            return self.raw == other;
        }
        let mut rest = Some(other.as_bytes());
        self.each_run(|run| rest = rest.and_then(|bytes| bytes.strip_prefix(run)));
        rest.is_some_and(<[u8]>::is_empty)
    }

    /// As a 32-bit integer, the way Java's `Integer.parseInt` reads it.
    #[inline(always)]
    pub fn parse_i32(&self) -> Option<i32> {
        i32::try_from(self.parse_i64()?).ok()
    }

    /// As a 64-bit integer, the way Java's `Long.parseLong` reads it.
    #[inline(always)]
    pub fn parse_i64(&self) -> Option<i64> {
        if self.escaped { self.parse_escaped() } else { parse_decimal(self.raw.as_bytes()) }
    }

    #[cold]
    fn parse_escaped(&self) -> Option<i64> {
        let mut scratch = [0; 24];
        parse_decimal(self.decode_in(&mut scratch)?.as_bytes())
    }

    /// As a boolean; any case, because Python clients write `True`.
    #[inline]
    pub fn parse_bool(&self) -> Option<bool> {
        match self.raw {
            "true" => Some(true),
            "false" => Some(false),
            other if other.eq_ignore_ascii_case("true") => Some(true),
            other if other.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }

    /// Calls `emit` with the decoded content in pieces, in order. Pieces between two escapes are
    /// borrowed runs; every piece is valid UTF-8 on its own.
    #[inline]
    fn each_run(&self, mut emit: impl FnMut(&[u8])) {
        let bytes = self.raw.as_bytes();
        if !self.escaped {
            emit(bytes);
            return;
        }
        let mut rest = bytes;
        loop {
            let (run, escape) = rest.split_at(seek::<b'\\', b'\\', ANY>(rest, 0) as usize);
            emit(run);
            if escape.is_empty() {
                return;
            }
            rest = emit_escape(escape, &mut emit);
        }
    }
}

/// Decodes the escape at the front of `rest` and returns what follows it. The scanner has checked
/// the escape, so the fall-backs for malformed ones are unreachable from the wire; they keep the
/// backslash rather than panic.
#[inline]
fn emit_escape<'r>(rest: &'r [u8], emit: &mut impl FnMut(&[u8])) -> &'r [u8] {
    // The separators of properties strings first: they are what is escaped in practice.
    if let Some((&[b'\\', b'u', b'0', b'0', b'0', digit @ b'0'..=b'9'], tail)) = rest.split_first_chunk() {
        emit(&[digit - b'0']);
        return tail;
    }
    let simple = match rest.get(1) {
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'b') => 0x08,
        Some(b'f') => 0x0c,
        Some(b'u') => return emit_unicode(rest, emit),
        Some(&other) => other,
        None => {
            emit(b"\\");
            return &[];
        }
    };
    emit(&[simple]);
    &rest[2..]
}

/// Decodes `\uXXXX`, joining a surrogate pair; a lone surrogate becomes U+FFFD.
fn emit_unicode<'r>(rest: &'r [u8], emit: &mut impl FnMut(&[u8])) -> &'r [u8] {
    let Some(high) = chunk_at(rest, 2).and_then(hex4) else {
        emit(b"\\");
        return &rest[1..];
    };
    let mut tail = &rest[6..];
    let mut code = high;
    if (0xd800..0xdc00).contains(&high)
        && tail.starts_with(b"\\u")
        && let Some(low @ 0xdc00..0xe000) = chunk_at(tail, 2).and_then(hex4)
    {
        code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        tail = &tail[6..];
    }
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    emit(character.encode_utf8(&mut [0; 4]).as_bytes());
    tail
}

/// The value of four hexadecimal digits.
#[inline]
pub(crate) fn hex4(digits: &[u8; 4]) -> Option<u32> {
    let mut value = 0;
    for digit in digits {
        value = value << 4 | char::from(*digit).to_digit(16)?;
    }
    Some(value)
}

/// Decimal digits with an optional sign, as Java's `Long.parseLong` takes them.
#[inline]
pub(crate) fn parse_decimal(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes.split_first()? {
        (b'-', digits) => (true, digits),
        (b'+', digits) => (false, digits),
        _ => (false, bytes),
    };
    // 18 digits always fit, so the common case needs no overflow check.
    if digits.is_empty() || digits.len() > 18 {
        return parse_long_decimal(negative, digits);
    }
    let mut value = 0i64;
    for &digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

/// The rare lengths: none at all, or so many digits that the value may overflow.
#[cold]
fn parse_long_decimal(negative: bool, digits: &[u8]) -> Option<i64> {
    let mut value = 0i64;
    for &digit in digits {
        let digit = i64::from(char::from(digit).to_digit(10)?);
        let scaled = value.checked_mul(10)?;
        // Counted downwards when negative, because only then i64::MIN is reachable.
        value = if negative { scaled.checked_sub(digit)? } else { scaled.checked_add(digit)? };
    }
    (!digits.is_empty()).then_some(value)
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(raw: &'a str) -> Self {
        Text::plain(raw)
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self.as_plain(), other.as_plain()) {
            (Some(a), _) => other.eq_str(a),
            (None, Some(b)) => self.eq_str(b),
            (None, None) => self.to_cow() == other.to_cow(),
        }
    }
}

impl Eq for Text<'_> {}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        self.eq_str(other)
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.eq_str(other)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_cow())
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_cow(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(raw: &str) -> Text<'_> {
        Text::checked(raw, true)
    }

    #[test]
    fn escapes_are_undone() {
        let text = escaped(r#"KEYS\u0001k\u0002 \"q\" \\ \/ \n\t\r\b\f \u4f60\u597D \ud83d\uDE00"#);
        let expected = "KEYS\u{1}k\u{2} \"q\" \\ / \n\t\r\u{8}\u{c} 你好 😀";
        assert_eq!(text.to_cow(), expected);
        assert_eq!(text.decoded_len(), expected.len());
        assert!(text.eq_str(expected));
        assert!(!text.eq_str("KEYS"));
        assert!(!text.eq_str(&format!("{expected}x")));
        assert_eq!(text, Text::plain(expected));
        let mut out = b"before ".to_vec();
        text.decode_into(&mut out);
        assert_eq!(out, format!("before {expected}").into_bytes());
    }

    #[test]
    fn a_lone_surrogate_becomes_the_replacement_character() {
        assert_eq!(escaped(r"a\ud83db").to_cow(), "a\u{fffd}b");
        assert_eq!(escaped(r"\ud83dA").to_cow(), "\u{fffd}A");
        assert_eq!(escaped(r"\udc00").to_cow(), "\u{fffd}");
    }

    #[test]
    fn scratch_space_may_be_too_small() {
        let mut scratch = [0; 3];
        assert_eq!(escaped(r"a\u0001b").decode_in(&mut scratch), Some("a\u{1}b"));
        assert_eq!(escaped(r"ab\u0001b").decode_in(&mut scratch), None);
        assert_eq!(Text::plain("long enough").decode_in(&mut scratch), Some("long enough"));
    }

    #[test]
    fn numbers_are_read_like_java_reads_them() {
        let cases = [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("+7", Some(7)),
            ("0012", Some(12)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("", None),
            ("-", None),
            (" 1", None),
            ("1x", None),
            ("0x10", None),
            ("١", None),
        ];
        for (raw, expected) in cases {
            assert_eq!(Text::plain(raw).parse_i64(), expected, "{raw:?}");
        }
        assert_eq!(escaped(r"\u0031\u0032").parse_i64(), Some(12));
        assert_eq!(Text::plain("2147483647").parse_i32(), Some(i32::MAX));
        assert_eq!(Text::plain("2147483648").parse_i32(), None);
    }

    #[test]
    fn booleans_come_in_any_case() {
        assert_eq!(Text::plain("true").parse_bool(), Some(true));
        assert_eq!(Text::plain("False").parse_bool(), Some(false));
        assert_eq!(Text::plain("1").parse_bool(), None);
    }
}
