//! The JSON spelling of a header, read in one pass.
//!
//! Owns the scanner for the flat object of protocol.md 1.2. It is hand-written because this is the
//! hottest function of the broker: no tree, no allocation, no copy; strings become spans.
//! Unknown members of any JSON type are skipped with bounded depth; numbers and booleans as ext values
//! are tolerated (and rejected by nobody but Go). Never recurses.
//!
//! Everything the scanner hands around fits in registers: a span is eight bytes, and a failure is
//! `None` with its reason left in the scanner. Returning the reason itself costs twice the time of the
//! whole scan, because results then pass through memory.

use super::{Ext, Span};
use crate::command::{Command, CommandError};
use crate::language::Language;
use crate::seek::{ANY, ASCII, chunk_at, seek};
use crate::text::{hex4, parse_decimal};

/// How deep a skipped value may nest: one bit per level in a machine word.
const DEPTH_LIMIT: u32 = 64;

/// Reads a JSON header into the fixed members and the extension fields of `command`.
#[inline]
pub(crate) fn parse<'a>(header: &'a [u8], command: &mut Command<'a>) -> Result<(), CommandError> {
    let mut scanner = Scanner { bytes: header, at: 0, is_ascii: true, remark: None, failure: CommandError::NoCode };
    scanner.header(command).ok_or(scanner.failure)?;
    // What the scanner passed outside of strings is ASCII; nearly always all of it is. No text was taken from a span so far.
    if !scanner.is_ascii && std::str::from_utf8(header).is_err() {
        return Err(CommandError::NotUtf8);
    }
    command.remark = scanner.remark.map(|remark| command.ext.text(remark));
    Ok(())
}

/// Whether both are decimal digits, of which all are hexadecimal ones.
#[inline(always)]
fn are_digits(two: &[u8; 2]) -> bool {
    two[0].is_ascii_digit() && two[1].is_ascii_digit()
}

/// Reads tokens from left to right; `None` is a failure whose reason is in `failure`.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: u32,
    /// No string had a byte beyond ASCII so far.
    is_ascii: bool,
    remark: Option<Span>,
    failure: CommandError,
}

impl<'a> Scanner<'a> {
    fn header(&mut self, command: &mut Command<'a>) -> Option<()> {
        let mut code_seen = false;
        self.open(b'{', "the header is not a JSON object")?;
        let mut more = !self.closes(b'}');
        while more {
            let key = self.key()?;
            match self.bytes.get(key.range()).unwrap_or_default() {
                b"code" => {
                    command.code = self.int("code")?;
                    code_seen = true;
                }
                b"extFields" => self.ext_fields(&mut command.ext)?,
                b"flag" => command.flag = self.int("flag")?,
                b"language" => {
                    if let Some(name) = self.string_or_null()? {
                        command.language = Language::from_name(self.bytes.get(name.range()).unwrap_or_default());
                    }
                }
                b"opaque" => command.opaque = self.int("opaque")?,
                b"version" => command.version = self.int("version")?,
                b"remark" => self.remark = self.string_or_null()?,
                _ => self.skip_value()?,
            }
            more = self.next_member(b'}')?;
        }
        self.space();
        if self.at as usize != self.bytes.len() {
            return self.bad("something follows the header object");
        }
        if !code_seen {
            return self.fail(CommandError::NoCode);
        }
        Some(())
    }

    #[cold]
    fn fail<T>(&mut self, failure: CommandError) -> Option<T> {
        self.failure = failure;
        None
    }

    #[cold]
    fn bad<T>(&mut self, problem: &'static str) -> Option<T> {
        self.fail(CommandError::Json { problem, at: self.at as usize })
    }

    #[inline(always)]
    fn peek(&self) -> u8 {
        // 0 never starts a token, so it doubles as "the end".
        self.bytes.get(self.at as usize).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\r' | b'\n') {
            self.at += 1;
        }
    }

    /// Whether these two are next: what stands between two strings when no blanks do, as all clients write it.
    #[inline(always)]
    fn are_next(&self, two: [u8; 2]) -> bool {
        chunk_at(self.bytes, self.at) == Some(&two)
    }

    #[inline(always)]
    fn open(&mut self, bracket: u8, problem: &'static str) -> Option<()> {
        self.space();
        if self.peek() != bracket {
            return self.bad(problem);
        }
        self.at += 1;
        Some(())
    }

    /// Takes a closing bracket if it is next.
    #[inline(always)]
    fn closes(&mut self, bracket: u8) -> bool {
        self.space();
        let closes = self.peek() == bracket;
        self.at += u32::from(closes);
        closes
    }

    /// After a value: `true` for a comma, `false` for the closing bracket.
    #[inline(always)]
    fn next_member(&mut self, bracket: u8) -> Option<bool> {
        if self.are_next(*b",\"") {
            self.at += 1;
            return Some(true);
        }
        self.next_member_after_blanks(bracket)
    }

    fn next_member_after_blanks(&mut self, bracket: u8) -> Option<bool> {
        self.space();
        let next = self.peek();
        if next == b',' {
            self.at += 1;
            self.space();
            return Some(true);
        }
        if next == bracket {
            self.at += 1;
            return Some(false);
        }
        self.bad("expected a comma or a closing bracket")
    }

    /// A member's name and the colon after it.
    #[inline(always)]
    fn key(&mut self) -> Option<Span> {
        let key = self.string()?;
        if self.peek() != b':' {
            self.space();
            if self.peek() != b':' {
                return self.bad("expected a colon");
            }
        }
        self.at += 1;
        self.space();
        Some(key)
    }

    /// A string literal; leaves `at` behind its closing quote.
    #[inline(always)]
    fn string(&mut self) -> Option<Span> {
        if self.peek() != b'"' {
            return self.bad("expected a string");
        }
        let start = self.at + 1;
        self.string_to(start, seek::<b'"', b'\\', ASCII>(self.bytes, start))
    }

    /// A string literal whose first quote, backslash or byte beyond ASCII behind the opening quote (or missing end) is at `end`.
    #[inline(always)]
    fn string_to(&mut self, start: u32, end: u32) -> Option<Span> {
        if self.bytes.get(end as usize) == Some(&b'"') {
            self.at = end + 1;
            return Some(Span::new(start, end, false));
        }
        self.special_string(start, end)
    }

    /// The rest of a string literal whose first backslash or byte beyond ASCII (or missing end) is at `at`.
    fn special_string(&mut self, start: u32, mut at: u32) -> Option<Span> {
        let mut escaped = false;
        loop {
            match self.bytes.get(at as usize) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Some(Span::new(start, at, escaped));
                }
                Some(b'\\') => {
                    escaped = true;
                    at = self.escape(at)?;
                }
                Some(_) => self.is_ascii = false,
                None => {
                    self.at = self.bytes.len() as u32;
                    return self.bad("a string does not end");
                }
            }
            at = if self.is_ascii {
                seek::<b'"', b'\\', ASCII>(self.bytes, at)
            } else {
                seek::<b'"', b'\\', ANY>(self.bytes, at)
            };
        }
    }

    /// Checks the escape whose backslash is at `at`; returns where it ends.
    #[inline(always)]
    fn escape(&mut self, at: u32) -> Option<u32> {
        // Control characters first: they are what is escaped in practice.
        if chunk_at(self.bytes, at) == Some(b"\\u00") && chunk_at(self.bytes, at + 4).is_some_and(are_digits) {
            return Some(at + 6);
        }
        match self.bytes.get(at as usize + 1) {
            Some(b'u') if chunk_at::<4>(self.bytes, at + 2).is_some_and(|digits| hex4(digits).is_some()) => {
                Some(at + 6)
            }
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Some(at + 2),
            _ => {
                self.at = at;
                self.bad("a backslash starts no JSON escape")
            }
        }
    }

    #[inline(always)]
    fn string_or_null(&mut self) -> Option<Option<Span>> {
        if self.peek() == b'n' {
            self.word(b"null")?;
            return Some(None);
        }
        self.string().map(Some)
    }

    /// An integer member; also accepted in quotes, as fastjson does.
    #[inline(always)]
    fn int(&mut self, member: &'static str) -> Option<i32> {
        let (mut at, mut value) = (self.at, 0);
        // So many digits always fit; whatever else there may be is read the slow way.
        while at < self.at + 9
            && let Some(digit) =
                self.bytes.get(at as usize).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10)
        {
            value = value * 10 + i32::from(digit);
            at += 1;
        }
        if at > self.at && matches!(self.bytes.get(at as usize), Some(b',' | b'}')) {
            self.at = at;
            return Some(value);
        }
        self.unusual_int(member)
    }

    #[cold]
    fn unusual_int(&mut self, member: &'static str) -> Option<i32> {
        let digits = if self.peek() == b'"' {
            self.string()?.range()
        } else {
            let start = self.at;
            while matches!(self.peek(), b'-' | b'0'..=b'9') {
                self.at += 1;
            }
            start as usize..self.at as usize
        };
        let value = parse_decimal(self.bytes.get(digits).unwrap_or_default());
        match value.map(i32::try_from) {
            Some(Ok(value)) => Some(value),
            _ => self.fail(CommandError::NotAnInt { member }),
        }
    }

    #[inline]
    fn ext_fields(&mut self, ext: &mut Ext<'_>) -> Option<()> {
        if self.peek() == b'n' {
            return self.word(b"null");
        }
        self.open(b'{', "extFields is not an object")?;
        let mut more = !self.closes(b'}');
        while more {
            let behind_value = self.peek() == b'"' && self.usual_fields(ext)?;
            if !behind_value {
                let key = self.key()?;
                let value = match self.peek() {
                    b'"' => Some(self.string()?),
                    _ => self.unquoted_value()?,
                };
                if let Some(value) = value {
                    self.push(ext, key, value)?;
                }
            }
            more = self.next_member(b'}')?;
        }
        Some(())
    }

    /// The fields from here, a quote, on that are written as all clients do: two strings in a row with no blanks around them. `true` if
    /// it stops behind a value, after which something else comes, `false` if it stops at a key.
    #[inline]
    fn usual_fields(&mut self, ext: &mut Ext<'_>) -> Option<bool> {
        loop {
            let key_end = seek::<b'"', b'\\', ASCII>(self.bytes, self.at + 1);
            if chunk_at(self.bytes, key_end) != Some(b"\":\"") {
                return Some(false);
            }
            let key = Span::new(self.at + 1, key_end, false);
            let (start, end) = (key_end + 3, seek::<b'"', b'\\', ASCII>(self.bytes, key_end + 3));
            if chunk_at(self.bytes, end) == Some(b"\",\"") {
                self.push(ext, key, Span::new(start, end, false))?;
                self.at = end + 2;
                continue;
            }
            let value = self.string_to(start, end)?;
            self.push(ext, key, value)?;
            if !self.are_next(*b",\"") {
                return Some(true);
            }
            self.at += 1;
        }
    }

    #[inline(always)]
    fn push(&mut self, ext: &mut Ext<'_>, key: Span, value: Span) -> Option<()> {
        if ext.push(key, value) { Some(()) } else { self.fail(CommandError::TooManyFields) }
    }

    /// A value of extFields that is no string: a number or boolean counts as its text; null and nested
    /// values count as absent.
    #[cold]
    fn unquoted_value(&mut self) -> Option<Option<Span>> {
        if matches!(self.peek(), b'n' | b'{' | b'[') {
            self.skip_value()?;
            return Some(None);
        }
        let start = self.at;
        self.scalar()?;
        Some(Some(Span::new(start, self.at, false)))
    }

    fn word(&mut self, word: &'static [u8]) -> Option<()> {
        if !self.bytes[self.at as usize..].starts_with(word) {
            return self.bad("expected a JSON value");
        }
        self.at += word.len() as u32;
        Some(())
    }

    /// A number, true, false or null.
    fn scalar(&mut self) -> Option<()> {
        match self.peek() {
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            b'-' | b'0'..=b'9' => {
                while matches!(self.peek(), b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9') {
                    self.at += 1;
                }
                Some(())
            }
            _ => self.bad("expected a JSON value"),
        }
    }

    /// Steps over any value. A string, which is what `serializeTypeCurrentRPC` has, goes at once.
    #[inline]
    fn skip_value(&mut self) -> Option<()> {
        if self.peek() == b'"' { self.string().map(drop) } else { self.skip_nested() }
    }

    /// Steps over any value. Brackets must match and nest at most [`DEPTH_LIMIT`] deep; commas and
    /// colons inside are not checked, because the value is thrown away.
    #[cold]
    fn skip_nested(&mut self) -> Option<()> {
        let mut depth = 0u32;
        // Bit n: the bracket open at depth n + 1 is a curly one.
        let mut curly = 0u64;
        loop {
            self.space();
            match self.peek() {
                b'"' => {
                    self.string()?;
                }
                open @ (b'{' | b'[') => {
                    if depth == DEPTH_LIMIT {
                        return self.bad("values nest too deeply");
                    }
                    curly = curly & !(1 << depth) | u64::from(open == b'{') << depth;
                    depth += 1;
                    self.at += 1;
                }
                close @ (b'}' | b']') => {
                    if depth == 0 || (curly >> (depth - 1) & 1 == 1) != (close == b'}') {
                        return self.bad("brackets do not match");
                    }
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => self.at += 1,
                _ => self.scalar()?,
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}
