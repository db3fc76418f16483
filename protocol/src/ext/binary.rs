//! The binary ("ROCKETMQ") spelling of a header.
//!
//! Owns the layout of protocol.md 1.3 (RocketMQ: `RocketMQSerializable`):
//!
//! ```text
//!  0      2      3         5        9      13          17+n       21+n
//!  +------+------+---------+--------+------+-----+-----+-----+-----------------------+
//!  | code | lang | version | opaque | flag | n   | rem.| m   | (k16 key, v32 value)* |
//!  +------+------+---------+--------+------+-----+-----+-----+-----------------------+
//! ```
//!
//! Never copies a value; keys and values become spans after their UTF-8 was checked.

use super::{Ext, Span};
use crate::command::{Command, CommandError};
use crate::language::Language;
use crate::text::Text;
use crate::wire::Reader;

/// `200050 - 3442`: the code is an int16 on the wire, so the POP family arrives modulo 65536.
const POP_WRAP: i32 = 3 << 16;

/// Reads a binary header into the fixed members and the extension fields of `command`.
#[inline]
pub(crate) fn parse<'a>(header: &'a [u8], command: &mut Command<'a>) -> Result<(), CommandError> {
    let mut reader = Reader::new(header);
    let block = fixed(&mut reader, command).ok_or(CommandError::BinaryTooShort)?;
    if let Some(remark) = block.remark {
        let remark = std::str::from_utf8(remark).map_err(|_| CommandError::NotUtf8)?;
        command.remark = Some(Text::plain(remark));
    }
    // What follows the block is ignored, as RocketMQ does; a block longer than the header is not.
    let header = header.get(..block.end).ok_or(CommandError::BinaryTooShort)?;
    entries(header, reader.position(), &mut command.ext)
}

/// What comes before the entries, apart from what is in the command already.
struct Fixed<'a> {
    remark: Option<&'a [u8]>,
    /// Where the entries end.
    end: usize,
}

/// `None` when the header ends before the field it announces.
#[inline]
fn fixed<'a>(reader: &mut Reader<'a>, command: &mut Command<'a>) -> Option<Fixed<'a>> {
    let code = i32::from(reader.i16()?);
    command.language = Language::from_byte(reader.u8()?);
    command.version = i32::from(reader.i16()?);
    command.opaque = reader.i32()?;
    command.flag = reader.i32()?;
    command.code = if command.is_response() { code } else { unwrap_code(code) };
    let remark = Some(reader.counted_i32()?).filter(|remark| !remark.is_empty());
    let block_len = usize::try_from(reader.i32()?).ok()?;
    Some(Fixed { remark, end: reader.position().checked_add(block_len)? })
}

/// Reads the entries from `at` to the end of `header`.
#[inline]
fn entries(header: &[u8], at: usize, ext: &mut Ext<'_>) -> Result<(), CommandError> {
    let mut reader = Reader::new(header);
    reader.take(at).ok_or(CommandError::BinaryTooShort)?;
    let mut at = at as u32;
    while !reader.is_empty() {
        let key = reader.counted_i16().ok_or(CommandError::BinaryTooShort)?;
        let value = reader.counted_i32().ok_or(CommandError::BinaryTooShort)?;
        if !(is_text(key) && is_text(value)) {
            return Err(CommandError::NotUtf8);
        }
        let key_at = at + 2;
        let key_end = key_at + key.len() as u32;
        let value_at = key_end + 4;
        at = value_at + value.len() as u32;
        if !ext.push(Span::new(key_at, key_end, false), Span::new(value_at, at, false)) {
            return Err(CommandError::TooManyFields);
        }
    }
    Ok(())
}

#[inline(always)]
fn is_text(bytes: &[u8]) -> bool {
    match bytes {
        // All keys of a send, and most numbers.
        [byte] => byte.is_ascii(),
        _ => is_long_text(bytes),
    }
}

fn is_long_text(bytes: &[u8]) -> bool {
    bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()
}

/// Restores the POP family (200050..=200056 and 200151) from its truncated form; no other code of
/// RocketMQ has these values.
const fn unwrap_code(code: i32) -> i32 {
    match code {
        3442..=3448 | 3543 => code + POP_WRAP,
        _ => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pop_family_is_restored() {
        assert_eq!(unwrap_code(3442), 200_050);
        assert_eq!(unwrap_code(3448), 200_056);
        assert_eq!(unwrap_code(3543), 200_151);
        assert_eq!(unwrap_code(3441), 3441);
        assert_eq!(unwrap_code(310), 310);
    }
}
