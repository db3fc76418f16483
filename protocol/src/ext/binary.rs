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
use crate::command::{CommandError, Head, RESPONSE_FLAG};
use crate::language::Language;
use crate::text::Text;
use crate::wire::Reader;

/// `200050 - 3442`: the code is an int16 on the wire, so the POP family arrives modulo 65536.
const POP_WRAP: i32 = 3 << 16;

/// Reads a binary header into its fixed members and its extension fields.
#[inline]
pub(crate) fn parse<'a>(header: &'a [u8], head: &mut Head<'a>, ext: &mut Ext<'a>) -> Result<(), CommandError> {
    read(header, head, ext).unwrap_or(Err(CommandError::BinaryTooShort))
}

/// `None` when the header ends before the field it announces.
fn read<'a>(header: &'a [u8], head: &mut Head<'a>, ext: &mut Ext<'a>) -> Option<Result<(), CommandError>> {
    let mut reader = Reader::new(header);
    let code = i32::from(reader.i16()?);
    head.language = Language::from_byte(reader.u8()?);
    head.version = i32::from(reader.i16()?);
    head.opaque = reader.i32()?;
    head.flag = reader.i32()?;
    head.code = if head.flag & RESPONSE_FLAG == 0 { unwrap_code(code) } else { code };
    let remark = reader.counted_i32()?;
    if !remark.is_empty() {
        let Ok(remark) = std::str::from_utf8(remark) else {
            return Some(Err(CommandError::NotUtf8));
        };
        head.remark = Some(Text::plain(remark));
    }
    let block = reader.i32()?;
    // What follows the block is ignored, as RocketMQ does; a block longer than the header is not.
    let end = reader.position().checked_add(usize::try_from(block).ok()?)?;
    let block = header.get(..end)?;
    while reader.position() < end {
        let key = reader.counted_i16()?;
        let key_end = reader.position();
        let value = reader.counted_i32()?;
        let value_end = reader.position();
        if value_end > block.len() {
            return None;
        }
        if std::str::from_utf8(key).is_err() || std::str::from_utf8(value).is_err() {
            return Some(Err(CommandError::NotUtf8));
        }
        let key = Span::new(key_end - key.len(), key_end, false);
        let value = Span::new(value_end - value.len(), value_end, false);
        if !ext.push(key, value) {
            return Some(Err(CommandError::TooManyFields));
        }
    }
    Some(Ok(()))
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
