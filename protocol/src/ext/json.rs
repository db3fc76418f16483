//! The JSON spelling of a header, read in one pass.
//!
//! Owns the scanner for the flat object of protocol.md 1.2. It is hand-written because this is the
//! hottest function of the broker: no tree, no allocation, no copy; strings become spans.
//! Unknown members of any JSON type are skipped with bounded depth; numbers and booleans as ext values
//! are tolerated (and rejected by nobody but Go). Never recurses.

use super::{Ext, Span};
use crate::command::{CommandError, Head};
use crate::language::Language;
use crate::text::hex4;

/// How deep a skipped value may nest: one bit per level in a machine word.
const DEPTH_LIMIT: u32 = 64;

type Scan<T> = Result<T, CommandError>;

/// Reads a JSON header into its fixed members and its extension fields.
#[inline]
pub(crate) fn parse<'a>(header: &'a [u8], head: &mut Head<'a>, ext: &mut Ext<'a>) -> Scan<()> {
    if std::str::from_utf8(header).is_err() {
        return Err(CommandError::NotUtf8);
    }
    let mut scanner = Scanner { bytes: header, at: 0 };
    let mut code_seen = false;
    scanner.open(b'{', "the header is not a JSON object")?;
    let mut more = !scanner.closes(b'}');
    while more {
        let key = scanner.key()?;
        match scanner.slice(key) {
            b"code" => {
                head.code = scanner.int("code")?;
                code_seen = true;
            }
            b"extFields" => scanner.ext_fields(ext)?,
            b"flag" => head.flag = scanner.int("flag")?,
            b"language" => {
                if let Some(span) = scanner.string_or_null()? {
                    let name = ext.text(span);
                    head.language = Language::from_name(name.as_plain().unwrap_or_default());
                }
            }
            b"opaque" => head.opaque = scanner.int("opaque")?,
            b"version" => head.version = scanner.int("version")?,
            b"remark" => head.remark = scanner.string_or_null()?.map(|span| ext.text(span)),
            _ => scanner.skip_value()?,
        }
        more = scanner.next_member(b'}')?;
    }
    scanner.space();
    if scanner.at != header.len() {
        return Err(scanner.bad("something follows the header object"));
    }
    if !code_seen {
        return Err(CommandError::NoCode);
    }
    Ok(())
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A string literal's content: start, end, whether it carries escapes.
type Literal = (usize, usize, bool);

impl Scanner<'_> {
    #[cold]
    fn bad(&self, problem: &'static str) -> CommandError {
        CommandError::Json { problem, at: self.at }
    }

    #[inline]
    fn peek(&self) -> u8 {
        // 0 never starts a token, so it doubles as "the end".
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    #[inline]
    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\r' | b'\n') {
            self.at += 1;
        }
    }

    #[inline]
    fn open(&mut self, bracket: u8, problem: &'static str) -> Scan<()> {
        self.space();
        if self.peek() != bracket {
            return Err(self.bad(problem));
        }
        self.at += 1;
        Ok(())
    }

    /// Takes a closing bracket if it is next.
    #[inline]
    fn closes(&mut self, bracket: u8) -> bool {
        self.space();
        let closes = self.peek() == bracket;
        self.at += usize::from(closes);
        closes
    }

    /// After a value: `true` for a comma, `false` for the closing bracket.
    #[inline]
    fn next_member(&mut self, bracket: u8) -> Scan<bool> {
        self.space();
        let next = self.peek();
        if next == b',' {
            self.at += 1;
            self.space();
            return Ok(true);
        }
        if next == bracket {
            self.at += 1;
            return Ok(false);
        }
        Err(self.bad("expected a comma or a closing bracket"))
    }

    #[inline]
    fn slice(&self, literal: Literal) -> &[u8] {
        &self.bytes[literal.0..literal.1]
    }

    /// A member's name and the colon after it.
    #[inline]
    fn key(&mut self) -> Scan<Literal> {
        let literal = self.string()?;
        self.space();
        if self.peek() != b':' {
            return Err(self.bad("expected a colon"));
        }
        self.at += 1;
        self.space();
        Ok(literal)
    }

    /// A string literal; leaves `at` behind its closing quote.
    #[inline]
    fn string(&mut self) -> Scan<Literal> {
        if self.peek() != b'"' {
            return Err(self.bad("expected a string"));
        }
        let start = self.at + 1;
        let end = quote_or_backslash(self.bytes, start);
        if self.bytes.get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok((start, end, false));
        }
        self.escaped_string(start, end)
    }

    /// The rest of a string literal whose first backslash (or missing end) is at `at`.
    fn escaped_string(&mut self, start: usize, mut at: usize) -> Scan<Literal> {
        loop {
            match self.bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok((start, at, true));
                }
                Some(_) => at = self.escape(at)?,
                None => {
                    self.at = self.bytes.len();
                    return Err(self.bad("a string does not end"));
                }
            }
            at = quote_or_backslash(self.bytes, at);
        }
    }

    /// Checks the escape whose backslash is at `at` and returns where it ends.
    #[inline]
    fn escape(&mut self, at: usize) -> Scan<usize> {
        match self.bytes.get(at + 1) {
            Some(b'u') if hex4(self.bytes.get(at + 2..at + 6)).is_some() => Ok(at + 6),
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
            _ => {
                self.at = at;
                Err(self.bad("a backslash starts no JSON escape"))
            }
        }
    }

    #[inline]
    fn string_or_null(&mut self) -> Scan<Option<Span>> {
        if self.peek() == b'n' {
            self.word(b"null")?;
            return Ok(None);
        }
        let (start, end, escaped) = self.string()?;
        Ok(Some(Span::new(start, end, escaped)))
    }

    /// An integer member; also accepted in quotes, as fastjson does.
    #[inline]
    fn int(&mut self, member: &'static str) -> Scan<i32> {
        let quoted = self.peek() == b'"';
        self.at += usize::from(quoted);
        let negative = self.peek() == b'-';
        self.at += usize::from(negative);
        let first = self.at;
        let mut value = 0i64;
        while let digit @ b'0'..=b'9' = self.peek() {
            value = value * 10 + i64::from(digit - b'0');
            self.at += 1;
            if self.at - first > 10 {
                return Err(CommandError::NotAnInt { member });
            }
        }
        let number = i32::try_from(if negative { -value } else { value });
        let (Ok(number), true) = (number, self.at > first) else {
            return Err(CommandError::NotAnInt { member });
        };
        if quoted {
            if self.peek() != b'"' {
                return Err(CommandError::NotAnInt { member });
            }
            self.at += 1;
        }
        Ok(number)
    }

    #[inline]
    fn ext_fields(&mut self, ext: &mut Ext<'_>) -> Scan<()> {
        if self.peek() == b'n' {
            return self.word(b"null");
        }
        self.open(b'{', "extFields is not an object")?;
        let mut more = !self.closes(b'}');
        while more {
            let (start, end, escaped) = self.key()?;
            if let Some(value) = self.ext_value()?
                && !ext.push(Span::new(start, end, escaped), value)
            {
                return Err(CommandError::TooManyFields);
            }
            more = self.next_member(b'}')?;
        }
        Ok(())
    }

    /// A value of extFields: a string as it should be, a number or boolean as its text; null and
    /// nested values count as absent.
    #[inline]
    fn ext_value(&mut self) -> Scan<Option<Span>> {
        match self.peek() {
            b'"' => {
                let (start, end, escaped) = self.string()?;
                Ok(Some(Span::new(start, end, escaped)))
            }
            b'n' | b'{' | b'[' => self.skip_value().map(|()| None),
            _ => {
                let start = self.at;
                self.scalar()?;
                Ok(Some(Span::new(start, self.at, false)))
            }
        }
    }

    fn word(&mut self, word: &'static [u8]) -> Scan<()> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.bad("expected a JSON value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// A number, true, false or null.
    fn scalar(&mut self) -> Scan<()> {
        match self.peek() {
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            b'-' | b'0'..=b'9' => {
                while matches!(self.peek(), b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9') {
                    self.at += 1;
                }
                Ok(())
            }
            _ => Err(self.bad("expected a JSON value")),
        }
    }

    /// Steps over any value. Brackets must match and nest at most [`DEPTH_LIMIT`] deep; commas and
    /// colons inside are not checked, because the value is thrown away.
    #[cold]
    fn skip_value(&mut self) -> Scan<()> {
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
                        return Err(self.bad("values nest too deeply"));
                    }
                    curly = curly & !(1 << depth) | u64::from(open == b'{') << depth;
                    depth += 1;
                    self.at += 1;
                }
                close @ (b'}' | b']') => {
                    if depth == 0 || (curly >> (depth - 1) & 1 == 1) != (close == b'}') {
                        return Err(self.bad("brackets do not match"));
                    }
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => self.at += 1,
                _ => self.scalar()?,
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

/// The first `"` or `\` at or after `at`, or the end. Eight bytes at a time: header strings are too
/// short for the set-up cost of a vectorised search.
#[inline]
fn quote_or_backslash(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = ONES << 7;
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*word);
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        // A byte of `x` is zero iff subtracting one borrows into its high bit. Bytes above the first
        // zero may be marked wrongly; only the lowest mark is used.
        let hits = (quote.wrapping_sub(ONES) & !quote | backslash.wrapping_sub(ONES) & !backslash) & HIGHS;
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while at < bytes.len() && bytes[at] != b'"' && bytes[at] != b'\\' {
        at += 1;
    }
    at
}
