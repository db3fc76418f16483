//! The properties of a message on its way in: what the broker reads there, drops, and adds.
//!
//! Owns one walk over the properties string per message (`Found`) and the properties that every stored message carries:
//! MSG_REGION, TRACE_ON, CLUSTER, and a UNIQ_KEY for one that came without (SendMessageProcessor, AbstractSendMessageProcessor).
//! Never builds a map, never allocates.

use ringmq_protocol::ids::{MessageId, UniqueKey};
use ringmq_protocol::properties::{self, names};
use ringmq_protocol::text::Text;
use ringmq_protocol::response_code::ResponseCode;

use crate::store::Marks;
use crate::effects::Refusal;
use crate::event::{Now, Origin, ShardId};

/// Names that are dropped from what came, because the broker sets them or they were only meant for it.
const UNWANTED: &[&str] = &[names::MSG_REGION, names::TRACE_ON, names::CLUSTER, names::POP_CK];

/// The same with WAIT, which is dropped where it only says what is the case anyway.
const UNWANTED_AND_WAIT: &[&str] = &[names::MSG_REGION, names::TRACE_ON, names::CLUSTER, names::POP_CK, names::WAIT];

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
    says_wait: bool,
    unwanted: bool,
}

impl<'a> Found<'a> {
    /// Walks over a properties string.
    #[inline]
    pub fn of(text: &'a str) -> Self {
        let mut found = Found::default();
        for (key, value) in properties::iter(text) {
            match key {
                names::TAGS | names::KEYS | names::UNIQ_KEY => found.marks.note(key, value),
                names::MSG_REGION | names::TRACE_ON | names::CLUSTER | names::POP_CK => found.unwanted = true,
                names::WAIT => {
                    found.no_wait = value == "false";
                    found.says_wait = value != "false";
                }
                names::DELAY => found.delay_level = value.parse().ok().filter(|level| *level > 0),
                names::TIMER_DELAY_SEC | names::TIMER_DELAY_MS | names::TIMER_DELIVER_MS => found.timer = true,
                names::TRAN_MSG => found.transaction = value.eq_ignore_ascii_case("true"),
                _ => {}
            }
        }
        found
    }

    /// The names to leave out when the message is stored; empty in the common case, when all is copied whole.
    #[inline]
    pub fn without(&self) -> &'static [&'static str] {
        match (self.unwanted, self.says_wait) {
            (false, false) => &[],
            (true, false) => UNWANTED,
            (_, true) => UNWANTED_AND_WAIT,
        }
    }
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
        assert!(Found::of("TAGS\u{1}a\u{2}UNIQ_KEY\u{1}u\u{2}").without().is_empty());
        assert!(Found::of("WAIT\u{1}false\u{2}").without().is_empty());
        assert_eq!(Found::of("WAIT\u{1}true\u{2}").without(), UNWANTED_AND_WAIT);
        assert_eq!(Found::of("CLUSTER\u{1}c\u{2}").without(), UNWANTED);
        assert_eq!(Found::of("DELAY\u{1}3\u{2}").delay_level, Some(3));
        assert_eq!(Found::of("DELAY\u{1}-3\u{2}").delay_level, None);
    }
}
