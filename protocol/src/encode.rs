//! Writing commands.
//!
//! Owns [`Encoder`], which appends one frame to the end of a send buffer and patches its lengths when
//! the header is complete. Fields are written as they come, in the spelling asked for; nothing is
//! gathered first. Never allocates beyond the growth of the caller's buffer.

use crate::command::{Command, ONEWAY_FLAG, OUR_VERSION, RESPONSE_FLAG};
use crate::frame::{FRAME_LIMIT, PREFIX_LEN, Spelling};
use crate::header::{FieldSink, Header};
use crate::language::Language;
use crate::seek::{PRINTABLE, seek};
use crate::text::Text;
use std::fmt;

/// The fixed members of a command to be written.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// How to spell the header.
    pub spelling: Spelling,
    /// Request or response code.
    pub code: i32,
    /// Correlation id.
    pub opaque: i32,
    /// [`RESPONSE_FLAG`] and [`ONEWAY_FLAG`].
    pub flag: i32,
    /// What we claim to be written in. `Java` is the one value every client knows.
    pub language: Language,
    /// What version we claim to be.
    pub version: i32,
    /// Text for a human.
    pub remark: Option<&'a str>,
}

impl<'a> Head<'a> {
    /// An answer to the request with this `opaque`, in the spelling of the request.
    pub const fn response(spelling: Spelling, code: i32, opaque: i32) -> Self {
        Head {
            spelling,
            code,
            opaque,
            flag: RESPONSE_FLAG,
            language: Language::Java,
            version: OUR_VERSION,
            remark: None,
        }
    }

    /// An answer to `request`.
    pub const fn answering(request: &Command<'_>, code: i32) -> Self {
        Head::response(request.spelling, code, request.opaque)
    }

    /// A request that expects an answer.
    pub const fn request(spelling: Spelling, code: i32, opaque: i32) -> Self {
        Head { flag: 0, ..Head::response(spelling, code, opaque) }
    }

    /// A request that expects no answer.
    pub const fn oneway(spelling: Spelling, code: i32, opaque: i32) -> Self {
        Head { flag: ONEWAY_FLAG, ..Head::response(spelling, code, opaque) }
    }

    /// The same with a remark.
    #[must_use]
    pub const fn with_remark(self, remark: &'a str) -> Self {
        Head { remark: Some(remark), ..self }
    }
}

/// Header and body exceed what a frame may hold; nothing was left in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameTooLarge {
    /// How many bytes the frame would have had.
    pub bytes: usize,
}

impl fmt::Display for FrameTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a frame of {} bytes exceeds the limit of {FRAME_LIMIT}", self.bytes)
    }
}

impl std::error::Error for FrameTooLarge {}

/// One frame being written at the end of a buffer.
///
/// Write fields, then finish with one of the `finish` functions. Dropping it unfinished leaves half a
/// frame in the buffer, hence `must_use`.
#[must_use = "a frame is only valid after one of the finish functions"]
#[derive(Debug)]
pub struct Encoder<'o> {
    out: &'o mut Vec<u8>,
    /// Where the frame starts in `out`.
    start: usize,
    /// Binary only: where the length of the field block is to be patched.
    block_at: usize,
    spelling: Spelling,
    /// JSON only: whether a comma is due.
    any_field: bool,
}

/// Fields that are the same in very many frames, spelled out once.
#[derive(Clone, Debug)]
pub struct Prepared {
    json: Vec<u8>,
    binary: Vec<u8>,
}

impl Prepared {
    /// The fields that `write` writes.
    pub fn of(write: impl Fn(&mut Encoder<'_>)) -> Self {
        let spelled = |spelling| {
            let mut bytes = Vec::new();
            let mut encoder = begin(&mut bytes, &Head::response(spelling, 0, 0));
            let start = encoder.out.len();
            write(&mut encoder);
            bytes.split_off(start)
        };
        Prepared { json: spelled(Spelling::Json), binary: spelled(Spelling::Binary) }
    }
}

/// Made room for at once: more than the header of an answer to a send takes.
const HEAD_ROOM: usize = 512;

/// Starts a frame at the end of `out`.
#[inline]
pub fn begin<'o>(out: &'o mut Vec<u8>, head: &Head<'_>) -> Encoder<'o> {
    let start = out.len();
    out.reserve(HEAD_ROOM);
    out.extend_from_slice(&[0; PREFIX_LEN]);
    let block_at = match head.spelling {
        Spelling::Json => begin_json(out, head),
        Spelling::Binary => begin_binary(out, head),
    };
    Encoder { out, start, block_at, spelling: head.spelling, any_field: false }
}

#[inline]
fn begin_json(out: &mut Vec<u8>, head: &Head<'_>) -> usize {
    if let Head { code: 0, flag: RESPONSE_FLAG, language: Language::Java, version: OUR_VERSION, remark: None, .. } =
        head
    {
        // Nearly all answers: they differ in one number.
        out.extend_from_slice(b"{\"code\":0,\"flag\":1,\"language\":\"JAVA\",\"opaque\":");
        put_decimal(out, i64::from(head.opaque));
        out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":479,\"extFields\":{");
        return out.len();
    }
    begin_any_json(out, head)
}

const _: () = assert!(RESPONSE_FLAG == 1 && OUR_VERSION == 479, "they are spelled out in begin_json");

fn begin_any_json(out: &mut Vec<u8>, head: &Head<'_>) -> usize {
    out.extend_from_slice(b"{\"code\":");
    put_decimal(out, i64::from(head.code));
    out.extend_from_slice(b",\"flag\":");
    put_decimal(out, i64::from(head.flag));
    out.extend_from_slice(b",\"language\":\"");
    out.extend_from_slice(head.language.name().as_bytes());
    out.extend_from_slice(b"\",\"opaque\":");
    put_decimal(out, i64::from(head.opaque));
    if let Some(remark) = head.remark {
        out.extend_from_slice(b",\"remark\":\"");
        put_json_text(out, Text::plain(remark));
        out.push(b'"');
    }
    out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    put_decimal(out, i64::from(head.version));
    // Always present: the Java client dereferences the map of a send answer unasked.
    out.extend_from_slice(b",\"extFields\":{");
    out.len()
}

fn begin_binary(out: &mut Vec<u8>, head: &Head<'_>) -> usize {
    // Codes and versions are int16 here; the POP family wraps (see ext/binary.rs).
    out.extend_from_slice(&(head.code as i16).to_be_bytes());
    out.push(head.language.to_byte());
    out.extend_from_slice(&(head.version as i16).to_be_bytes());
    out.extend_from_slice(&head.opaque.to_be_bytes());
    out.extend_from_slice(&head.flag.to_be_bytes());
    let remark = head.remark.unwrap_or_default().as_bytes();
    out.extend_from_slice(&(remark.len() as u32).to_be_bytes());
    out.extend_from_slice(remark);
    let block_at = out.len();
    out.extend_from_slice(&[0; 4]);
    block_at
}

impl<'o> Encoder<'o> {
    /// Writes a typed header.
    #[inline]
    pub fn header<'h>(mut self, header: &impl Header<'h>) -> Self {
        header.encode(&mut self);
        self
    }

    /// Writes one more field, such as `MSG_REGION`.
    #[inline]
    pub fn pair(mut self, key: &str, value: &str) -> Self {
        self.foreign(key, Text::plain(value));
        self
    }

    /// Writes a field whose name came from outside, whatever is in it.
    pub fn foreign(&mut self, key: &str, value: Text<'_>) {
        match self.spelling {
            Spelling::Json => {
                self.json_comma();
                put_json_text(self.out, Text::plain(key));
                self.out.extend_from_slice(b"\":\"");
                self.json_value(value);
            }
            Spelling::Binary => {
                self.binary_key(key);
                self.binary_value(value);
            }
        }
    }

    /// Writes the fields that were spelled out before.
    #[inline]
    pub fn prepared(&mut self, fields: &Prepared) {
        match self.spelling {
            Spelling::Json if fields.json.is_empty() => {}
            Spelling::Json => {
                if self.any_field {
                    self.out.push(b',');
                }
                self.any_field = true;
                self.out.extend_from_slice(&fields.json);
            }
            Spelling::Binary => self.out.extend_from_slice(&fields.binary),
        }
    }

    /// Completes the header and patches both lengths for a body of `body_len` bytes, which the caller
    /// appends to the same buffer or sends right behind it. Returns how many bytes the frame has in
    /// the buffer so far (words and header).
    ///
    /// # Errors
    /// The frame would exceed [`FRAME_LIMIT`]; the buffer is back to what it was before `begin`.
    #[inline]
    pub fn finish(self, body_len: usize) -> Result<usize, FrameTooLarge> {
        let (out, start) = self.end_header();
        let head_len = out.len() - start;
        let total = head_len + body_len;
        if total > FRAME_LIMIT {
            out.truncate(start);
            return Err(FrameTooLarge { bytes: total });
        }
        // Both fit: the limit is 2^24.
        let length = (total - 4) as u32;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        Ok(head_len)
    }

    /// Completes the frame with a body that lies elsewhere. Returns the frame's length.
    ///
    /// # Errors
    /// As [`Encoder::finish`].
    pub fn finish_with(self, body: &[u8]) -> Result<usize, FrameTooLarge> {
        self.finish_by(|out| out.extend_from_slice(body))
    }

    /// Completes the frame with a body that `write` appends to the buffer. Returns the frame's length.
    ///
    /// # Errors
    /// As [`Encoder::finish`].
    pub fn finish_by(self, write: impl FnOnce(&mut Vec<u8>)) -> Result<usize, FrameTooLarge> {
        let (out, start) = self.end_header();
        write(out);
        let total = out.len() - start;
        if total > FRAME_LIMIT {
            out.truncate(start);
            return Err(FrameTooLarge { bytes: total });
        }
        let length = (total - 4) as u32;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        Ok(total)
    }

    /// Closes the header and writes the header word.
    fn end_header(self) -> (&'o mut Vec<u8>, usize) {
        let Encoder { out, start, block_at, spelling, any_field: _ } = self;
        match spelling {
            Spelling::Json => out.extend_from_slice(b"}}"),
            Spelling::Binary => {
                let block_len = (out.len() - block_at - 4) as u32;
                out[block_at..block_at + 4].copy_from_slice(&block_len.to_be_bytes());
            }
        }
        // A header of 2^24 bytes or more makes the frame too large, so a wrapped word is never sent.
        let header_len = (out.len() - start - PREFIX_LEN) as u32 & 0x00ff_ffff;
        let word = u32::from(spelling.to_byte()) << 24 | header_len;
        out[start + 4..start + PREFIX_LEN].copy_from_slice(&word.to_be_bytes());
        (out, start)
    }

    #[inline(always)]
    fn json_comma(&mut self) {
        if self.any_field {
            self.out.extend_from_slice(b",\"");
        } else {
            self.out.push(b'"');
        }
        self.any_field = true;
    }

    #[inline(always)]
    fn json_key(&mut self, key: &'static str) {
        debug_assert!(
            clean_len(key.as_bytes(), [b'"', b'\\']) == key.len(),
            "the name of a field has to be escaped: {key}"
        );
        self.json_comma();
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":\"");
    }

    #[inline]
    fn json_value(&mut self, value: Text<'_>) {
        put_json_text(self.out, value);
        self.out.push(b'"');
    }

    #[inline(always)]
    fn binary_key(&mut self, key: &str) {
        // No key of ours is long; a longer one would be cut by the int16 and is cut here instead.
        let key = &key.as_bytes()[..key.len().min(i16::MAX as usize)];
        self.out.extend_from_slice(&(key.len() as u16).to_be_bytes());
        self.out.extend_from_slice(key);
    }

    #[inline]
    fn binary_value(&mut self, value: Text<'_>) {
        if let Some(plain) = value.as_plain() {
            return self.binary_ascii(plain);
        }
        let at = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        value.decode_into(self.out);
        let length = (self.out.len() - at - 4) as u32;
        self.out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }

    #[inline]
    fn json_ascii(&mut self, value: &str) {
        self.out.extend_from_slice(value.as_bytes());
        self.out.push(b'"');
    }

    #[inline]
    fn binary_ascii(&mut self, value: &str) {
        self.out.extend_from_slice(&(value.len() as u32).to_be_bytes());
        self.out.extend_from_slice(value.as_bytes());
    }

    #[inline(always)]
    fn ascii(&mut self, key: &'static str, value: &str) {
        match self.spelling {
            Spelling::Json => {
                self.json_key(key);
                self.json_ascii(value);
            }
            Spelling::Binary => {
                self.binary_key(key);
                self.binary_ascii(value);
            }
        }
    }
}

/// Keys are written in place, wherever a header is written: with their length known each is a store or two.
impl FieldSink for Encoder<'_> {
    #[inline(always)]
    fn text(&mut self, key: &'static str, value: Text<'_>) {
        match self.spelling {
            Spelling::Json => {
                self.json_key(key);
                self.json_value(value);
            }
            Spelling::Binary => {
                self.binary_key(key);
                self.binary_value(value);
            }
        }
    }

    #[inline(always)]
    fn int(&mut self, key: &'static str, value: i64) {
        self.ascii(key, itoa::Buffer::new().format(value));
    }

    #[inline(always)]
    fn boolean(&mut self, key: &'static str, value: bool) {
        self.ascii(key, if value { "true" } else { "false" });
    }
}

#[inline]
fn put_decimal(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends the inside of a JSON string literal. Text that still carries escapes keeps them.
#[inline]
pub(crate) fn put_json_text(out: &mut Vec<u8>, text: Text<'_>) {
    let (raw, escaped) = text.raw();
    let mut rest = raw.as_bytes();
    if !escaped && seek::<b'"', b'\\', PRINTABLE>(rest, 0) as usize == rest.len() {
        return out.extend_from_slice(rest);
    }
    // In already escaped text quotes only occur behind their backslash.
    let literal = if escaped { [0; 2] } else { [b'"', b'\\'] };
    loop {
        let run = clean_len(rest, literal);
        out.extend_from_slice(&rest[..run]);
        let Some(&byte) = rest.get(run) else { return };
        put_escape(out, byte);
        rest = &rest[run + 1..];
    }
}

/// Marks the lowest of eight bytes that is a control character or one of the two `others`; bytes above it may be marked wrongly.
#[inline(always)]
fn unclean(word: u64, others: [u8; 2]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = ONES << 7;
    // Marks every byte below `limit`, and perhaps some above such a byte.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    let one = below(word ^ (ONES * u64::from(others[0])), 1);
    let other = below(word ^ (ONES * u64::from(others[1])), 1);
    (below(word, 0x20) | one | other) & HIGHS
}

/// How many bytes at the front need no escape: they are neither control characters nor one of the two
/// `others`. Eight bytes at a time.
fn clean_len(bytes: &[u8], others: [u8; 2]) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let marks = unclean(u64::from_le_bytes(*word), others);
        if marks != 0 {
            return index * 8 + (marks.trailing_zeros() / 8) as usize;
        }
    }
    let needs = |byte: &u8| *byte < 0x20 || others.contains(byte);
    bytes.len() - tail.len() + tail.iter().position(needs).unwrap_or(tail.len())
}

#[cold]
fn put_escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::split;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_is_written_as_serde_writes_it(text in prop_oneof!["[a-z\"\\\\\u{0}-\u{1f}]{0,20}", ".{0,40}", "[A-F0-9]{0,70}"]) {
            let mut out = vec![b'"'];
            put_json_text(&mut out, Text::plain(&text));
            out.push(b'"');
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn the_usual_head_is_written_like_any_other(opaque: i32) {
            let head = Head::response(Spelling::Json, 0, opaque);
            let (mut usual, mut any) = (Vec::new(), Vec::new());
            prop_assert_eq!(begin_json(&mut usual, &head), begin_any_json(&mut any, &head));
            prop_assert_eq!(usual, any);
        }
    }

    #[test]
    fn a_response_reads_back_in_both_spellings() {
        for spelling in [Spelling::Json, Spelling::Binary] {
            let mut out = b"earlier".to_vec();
            let head = Head::response(spelling, 17, -5).with_remark("no \"topic\"\n\u{1}你好");
            let mut encoder = begin(&mut out, &head);
            encoder.int("queueOffset", -7);
            encoder.boolean("hasMsg", true);
            let total = encoder.pair("MSG_REGION", "Default\\Region").finish_with(b"body").unwrap();
            assert_eq!(out.len(), 7 + total);
            let frame = split(&out[7..]).unwrap().unwrap();
            let command = Command::parse(frame).unwrap();
            assert_eq!((command.code, command.opaque, command.flag), (17, -5, 1));
            assert_eq!((command.version, command.language), (OUR_VERSION, Language::Java));
            assert_eq!(command.spelling, spelling);
            assert_eq!(command.remark.unwrap(), "no \"topic\"\n\u{1}你好");
            assert_eq!(command.ext.len(), 3);
            assert_eq!(command.ext.get("queueOffset").unwrap(), "-7");
            assert_eq!(command.ext.get("hasMsg").unwrap(), "true");
            assert_eq!(command.ext.get("MSG_REGION").unwrap(), "Default\\Region");
            assert_eq!(command.body, b"body");
        }
    }

    #[test]
    fn prepared_fields_are_what_they_would_be_if_written_one_by_one() {
        let fields = |encoder: &mut Encoder<'_>| {
            encoder.text("MSG_REGION", Text::plain("a \"region\" 你"));
            encoder.boolean("TRACE_ON", true);
        };
        let (some, none) = (Prepared::of(fields), Prepared::of(|_| {}));
        for spelling in [Spelling::Json, Spelling::Binary] {
            for first in [true, false] {
                let (mut prepared, mut written) = (Vec::new(), Vec::new());
                let mut encoder = begin(&mut prepared, &Head::request(spelling, 1, 2));
                let mut plain = begin(&mut written, &Head::request(spelling, 1, 2));
                if !first {
                    encoder.int("queueId", 3);
                    plain.int("queueId", 3);
                }
                encoder.prepared(&none);
                encoder.prepared(&some);
                fields(&mut plain);
                encoder.int("last", 4);
                plain.int("last", 4);
                assert_eq!(encoder.finish(0), plain.finish(0));
                assert_eq!(prepared, written);
            }
        }
    }

    #[test]
    fn a_body_may_be_sent_separately() {
        let mut out = Vec::new();
        let head = Head::request(Spelling::Json, 10, 1);
        let head_len = begin(&mut out, &head).finish(100).unwrap();
        assert_eq!(out.len(), head_len);
        assert_eq!(crate::frame::needed(&out), Ok(head_len + 100));
    }

    #[test]
    fn a_frame_over_the_limit_leaves_nothing_behind() {
        let mut out = b"earlier".to_vec();
        let head = Head::oneway(Spelling::Binary, 10, 1);
        let refused = begin(&mut out, &head).finish(FRAME_LIMIT);
        assert!(refused.is_err());
        assert_eq!(out, b"earlier");
        let body = vec![0; FRAME_LIMIT];
        assert!(begin(&mut out, &head).finish_with(&body).is_err());
        assert_eq!(out, b"earlier");
    }

    #[test]
    fn the_json_spelling_is_what_java_writes_apart_from_order() {
        let mut out = Vec::new();
        let head = Head::response(Spelling::Json, 0, 3);
        begin(&mut out, &head).pair("a", "\u{1}").finish(0).unwrap();
        assert_eq!(
            std::str::from_utf8(&out[8..]).unwrap(),
            r#"{"code":0,"flag":1,"language":"JAVA","opaque":3,"serializeTypeCurrentRPC":"JSON","version":479,"extFields":{"a":"\u0001"}}"#
        );
    }
}
