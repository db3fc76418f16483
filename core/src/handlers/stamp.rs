//! The properties of a message on its way in: what the broker reads there, drops, and adds.
//!
//! Owns one walk over the properties string per message (`Found`) and the UNIQ_KEY for one that came without (SendMessageProcessor,
//! AbstractSendMessageProcessor); what every stored message carries is `Imprint`'s.
//! Never builds a map, never allocates.

use ringmq_protocol::ids::{MessageId, UniqueKey};
use ringmq_protocol::properties::{self, names};
use ringmq_protocol::response_code::ResponseCode;
use ringmq_protocol::text::Text;

use crate::effects::Refusal;
use crate::event::{Now, Origin, ShardId};
use crate::store::Marks;

/// What the broker reads from a message's properties before it stores them.
#[derive(Debug, Default)]
pub struct Found<'a> {
    pub marks: Marks<'a>,
    /// DELAY above 0.
    pub delay_level: Option<i32>,
    /// One of TIMER_DELAY_SEC, TIMER_DELAY_MS, TIMER_DELIVER_MS.
    pub timer: bool,
    /// TRAN_MSG.
    pub transaction: bool,
    /// WAIT is `false`: the answer does not wait for the flush.
    pub no_wait: bool,
}

impl<'a> Found<'a> {
    /// Reads a properties string.
    pub fn of(text: &'a str) -> Self {
        let mut found = Found::default();
        for (key, value) in properties::iter(text) {
            found.note(key, value);
        }
        found
    }

    /// Reads a properties string and puts what is to be stored of it into `kept`, which then takes further pairs.
    #[inline]
    pub fn keep(text: &'a str, kept: &mut String) -> Self {
        let mut found = Found::default();
        kept.clear();
        // What lies between two dropped pairs is copied in one piece.
        let mut from = 0;
        for (key, value) in properties::iter(text) {
            if found.note(key, value) {
                kept.push_str(text.get(from..offset(text, key)).unwrap_or_default());
                from = (offset(text, value) + value.len() + 1).min(text.len());
            }
        }
        kept.push_str(text.get(from..).unwrap_or_default());
        if !kept.is_empty() && !kept.ends_with(PAIR_END) {
            kept.push(PAIR_END);
        }
        found
    }

    /// The same for a properties string that still has its JSON escapes, if it is as nearly all of them are; see
    /// [`properties::each_escaped`].
    #[inline]
    fn keep_escaped(text: Text<'a>, kept: &mut String) -> Option<Self> {
        let mut found = Found::default();
        kept.clear();
        let whole = properties::each_escaped(text, |key, value| {
            if !found.note(key, value) {
                add(kept, key, value);
            }
        });
        whole.then_some(found)
    }

    /// Whether the message does not go straight to its queue.
    #[inline]
    pub fn wants_detour(&self) -> bool {
        self.transaction || self.timer || self.delay_level.is_some()
    }

    /// Takes note of one pair; true if it is not to be stored, because the broker sets it or it was only meant for it.
    #[inline]
    fn note(&mut self, key: &'a str, value: &'a str) -> bool {
        match key {
            names::TAGS | names::KEYS | names::UNIQ_KEY => self.marks.note(key, value),
            names::MSG_REGION | names::TRACE_ON | names::CLUSTER | names::POP_CK => return true,
            names::WAIT => {
                self.no_wait = value == "false";
                return !self.no_wait;
            }
            names::DELAY => self.delay_level = value.parse().ok().filter(|level| *level > 0),
            names::TIMER_DELAY_SEC | names::TIMER_DELAY_MS | names::TIMER_DELIVER_MS => self.timer = true,
            names::TRAN_MSG => self.transaction = value.eq_ignore_ascii_case("true"),
            _ => {}
        }
        false
    }
}

/// Behind every pair.
const PAIR_END: char = '\u{2}';

/// Where `part`, which was cut out of `text`, begins in it.
#[inline]
fn offset(text: &str, part: &str) -> usize {
    part.as_ptr().addr() - text.as_ptr().addr()
}

/// Adds a pair to what is stored.
#[inline]
pub fn add(kept: &mut String, key: &str, value: &str) {
    kept.push_str(key);
    kept.push('\u{1}');
    kept.push_str(value);
    kept.push(PAIR_END);
}

/// Reads the properties of a message and puts what is to be stored of them into `kept`. With them comes the properties string without
/// JSON escapes, which is in `buffer` if it came with some; it is left empty if the message wants no detour and nobody has to look at
/// it again.
///
/// # Errors
/// As [`decoded`].
#[inline]
pub fn take<'s, 'a: 's>(
    text: Text<'a>,
    buffer: &'s mut Vec<u8>,
    kept: &mut String,
) -> Result<(Found<'s>, &'s str), Refusal> {
    if let Some(found) = Found::keep_escaped(text, kept)
        && !found.wants_detour()
    {
        return Ok((found, ""));
    }
    let text = decoded(text, buffer)?;
    Ok((Found::keep(text, kept), text))
}

/// The properties string without JSON escapes; in `buffer` if it came with some.
///
/// # Errors
/// Never for text that the command parser accepted; the check is what makes it a `str` again.
#[inline]
pub fn decoded<'s, 'a: 's>(text: Text<'a>, buffer: &'s mut Vec<u8>) -> Result<&'s str, Refusal> {
    if let Some(plain) = text.as_plain() {
        return Ok(plain);
    }
    buffer.clear();
    text.decode_into(buffer);
    std::str::from_utf8(buffer)
        .map_err(|_| Refusal::new(ResponseCode::MessageIllegal, "the properties string is not UTF-8"))
}

/// A UNIQ_KEY for a message that came without. `count` tells apart the messages of one shard.
#[cold]
pub fn unique_key(now: Now, origin: &Origin, shard: ShardId, epoch: u32, count: u64) -> MessageId {
    let key = UniqueKey {
        ip: origin.local.ip(),
        process: shard.0,
        // Counts of an earlier start must not meet this one's: the epoch is new with every start.
        maker: epoch.wrapping_mul(0x9e37_79b9) ^ (count >> 16) as u32,
        millis_of_month: millis_of_month(now.wall_ms),
        counter: count as u16,
    };
    key.encode()
}

/// Milliseconds since the start of the month, UTC (civil-from-days arithmetic on the proleptic Gregorian calendar).
fn millis_of_month(wall_ms: i64) -> i32 {
    const DAY: i64 = 86_400_000;
    // Days since 0000-03-01: years then start in March and leap days come last.
    let days = wall_ms.div_euclid(DAY) + 719_468;
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5;
    // At most 31 days: below 2^32 but not below 2^31; Java's int wraps there too.
    (day_of_month * DAY + wall_ms.rem_euclid(DAY)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmq_protocol::command::Command;
    use ringmq_protocol::encode::{self, Head};
    use ringmq_protocol::frame::{self, Spelling};

    #[test]
    fn a_month_starts_at_its_first_midnight() {
        // 2026-11-21 14:00:00 UTC.
        assert_eq!(i64::from(millis_of_month(1_795_269_600_000)), 20 * 86_400_000 + 14 * 3_600_000);
        // 2024-02-29 00:00:00.001 UTC.
        assert_eq!(i64::from(millis_of_month(1_709_164_800_001)) as u32, (28u64 * 86_400_000 + 1) as u32);
        assert_eq!(millis_of_month(0), 0);
    }

    #[test]
    fn only_what_must_go_goes() {
        let kept = |text| {
            let mut kept = "old".to_owned();
            Found::keep(text, &mut kept);
            kept.replace('\u{1}', ":").replace('\u{2}', ";")
        };
        assert_eq!(kept(""), "");
        assert_eq!(kept("TAGS\u{1}a\u{2}UNIQ_KEY\u{1}u"), "TAGS:a;UNIQ_KEY:u;");
        assert_eq!(kept("WAIT\u{1}true\u{2}TAGS\u{1}a\u{2}"), "TAGS:a;");
        assert_eq!(kept("TAGS\u{1}a\u{2}WAIT\u{1}true\u{2}x\u{1}y\u{2}CLUSTER\u{1}c"), "TAGS:a;x:y;");
        assert_eq!(kept("WAIT\u{1}false\u{2}"), "WAIT:false;");
        assert_eq!(kept("CLUSTER\u{1}c\u{2}POP_CK\u{1}p\u{2}"), "");
        assert_eq!(kept("颜色\u{1}红\u{2}WAIT\u{1}true\u{2}颜\u{1}\u{2}"), "颜色:红;颜:;");
        for text in [
            "",
            "TAGS:a;UNIQ_KEY:u",
            "WAIT:true;TAGS:a;",
            "TAGS:a;x:y",
            "lonely;TAGS:a;",
            "a:b:c;WAIT:false;",
            "DELAY:2;",
        ] {
            let text = text.replace(':', "\u{1}").replace(';', "\u{2}");
            let mut frame = Vec::new();
            let head = Head::request(Spelling::Json, 310, 1);
            encode::begin(&mut frame, &head).pair("i", &text).finish(0).unwrap();
            let command = Command::parse(frame::split(&frame).unwrap().unwrap()).unwrap();
            let (mut buffer, mut once, mut taken) = (Vec::new(), String::new(), String::new());
            let slow = Found::keep(&text, &mut once);
            let (found, _) = take(command.ext.get("i").unwrap(), &mut buffer, &mut taken).unwrap();
            assert_eq!((format!("{found:?}"), taken), (format!("{slow:?}"), once));
        }
        assert_eq!(Found::of("DELAY\u{1}3\u{2}").delay_level, Some(3));
        assert_eq!(Found::of("DELAY\u{1}-3\u{2}").delay_level, None);
    }
}
