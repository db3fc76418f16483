//! The properties string: `key 0x01 value 0x02`, repeated (protocol.md 4.4).
//!
//! Owns scanning, finding and building such strings, and the names that RocketMQ reserves. Works on
//! the decoded string; never builds a map.

use crate::seek::{ANY, PRINTABLE, chunk_at, seek};
use crate::text::Text;

/// Between a key and its value.
pub const KEY_VALUE: u8 = 0x01;

/// Behind a value; may be missing behind the last one.
pub const PAIR_END: u8 = 0x02;

/// The longest properties string: its length is an int16 in the record.
pub const PROPERTIES_LIMIT: usize = i16::MAX as usize;

/// The pairs of a properties string in order. Pieces without a key or without a separator are skipped,
/// as RocketMQ's decoder does.
#[inline]
pub fn iter(properties: &str) -> Pairs<'_> {
    Pairs { properties, start: 0 }
}

/// Iterator over the pairs of a properties string.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    properties: &'a str,
    /// Where the next piece starts.
    start: u32,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.properties.as_bytes();
        while (self.start as usize) < bytes.len() {
            let start = self.start;
            let key_end = seek::<KEY_VALUE, PAIR_END, ANY>(bytes, start);
            // Further separators of key and value belong to the value.
            let end = match bytes.get(key_end as usize) {
                Some(&KEY_VALUE) => seek::<PAIR_END, PAIR_END, ANY>(bytes, key_end + 1),
                _ => key_end,
            };
            self.start = end + 1;
            if start < key_end && key_end < end {
                let key = self.properties.get(start as usize..key_end as usize)?;
                return Some((key, self.properties.get(key_end as usize + 1..end as usize)?));
            }
        }
        None
    }
}

/// Tells `each` the pairs of a properties string as it lies in a JSON header, without undoing its escapes first: `true` if it is
/// made of pairs alone, with nothing in them but printable ASCII that needs no escape, as nearly every message's is.
///
/// `false` if not. Then what was told may be a part only; decode the text and use [`iter`].
#[inline]
pub fn each_escaped<'a>(text: Text<'a>, mut each: impl FnMut(&'a str, &'a str)) -> bool {
    let (raw, is_escaped) = text.raw();
    let bytes = raw.as_bytes();
    let mut start = 0;
    while (start as usize) < bytes.len() {
        let key_end = seek::<b'\\', b'\\', PRINTABLE>(bytes, start);
        if key_end == start || chunk_at(bytes, key_end) != Some(b"\\u0001") {
            return false;
        }
        let value = key_end + 6;
        let end = seek::<b'\\', b'\\', PRINTABLE>(bytes, value);
        if end as usize != bytes.len() && chunk_at(bytes, end) != Some(b"\\u0002") {
            return false;
        }
        let (Some(key), Some(value)) =
            (raw.get(start as usize..key_end as usize), raw.get(value as usize..end as usize))
        else {
            return false;
        };
        each(key, value);
        start = end.saturating_add(6);
    }
    is_escaped
}

/// The value of `key`; of a repeated key the last one, as Java's map keeps it.
pub fn find<'a>(properties: &'a str, key: &str) -> Option<&'a str> {
    iter(properties).filter(|(name, _)| *name == key).last().map(|(_, value)| value)
}

/// Appends one pair, with a separator before it if the string so far lacks its last one.
///
/// Neither key nor value may contain the separators; the caller has checked text that came from a
/// client with [`is_clean`].
pub fn append(out: &mut Vec<u8>, key: &str, value: &str) {
    debug_assert!(is_clean(key) && is_clean(value));
    if out.last().is_some_and(|&last| last != PAIR_END) {
        out.push(PAIR_END);
    }
    out.extend_from_slice(key.as_bytes());
    out.push(KEY_VALUE);
    out.extend_from_slice(value.as_bytes());
    out.push(PAIR_END);
}

/// Whether text can be a key or a value.
pub fn is_clean(text: &str) -> bool {
    memchr::memchr2(KEY_VALUE, PAIR_END, text.as_bytes()).is_none()
}

/// Builds a properties string from pairs.
pub fn build<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> String {
    let mut out = Vec::new();
    for (key, value) in pairs {
        append(&mut out, key, value);
    }
    String::from_utf8(out).expect("made of strings and ASCII separators")
}

macro_rules! reserved {
    ($($name:ident = $wire:literal;)*) => {
        /// The property names RocketMQ reserves (RocketMQ: `MessageConst`), protocol.md 5.10.
        #[allow(missing_docs)]
        pub mod names {
            $(pub const $name: &str = $wire;)*

            /// Every reserved name. Names under [`TRANSIENT_PREFIX`] are reserved too.
            pub const RESERVED: &[&str] = &[$($name,)*];
        }
    };
}

reserved! {
    KEYS = "KEYS";
    TAGS = "TAGS";
    WAIT = "WAIT";
    DELAY = "DELAY";
    RETRY_TOPIC = "RETRY_TOPIC";
    REAL_TOPIC = "REAL_TOPIC";
    REAL_QID = "REAL_QID";
    TRAN_MSG = "TRAN_MSG";
    PGROUP = "PGROUP";
    MIN_OFFSET = "MIN_OFFSET";
    MAX_OFFSET = "MAX_OFFSET";
    BUYER_ID = "BUYER_ID";
    ORIGIN_MESSAGE_ID = "ORIGIN_MESSAGE_ID";
    TRANSFER_FLAG = "TRANSFER_FLAG";
    CORRECTION_FLAG = "CORRECTION_FLAG";
    MQ2_FLAG = "MQ2_FLAG";
    RECONSUME_TIME = "RECONSUME_TIME";
    MSG_REGION = "MSG_REGION";
    TRACE_ON = "TRACE_ON";
    UNIQ_KEY = "UNIQ_KEY";
    EXTEND_UNIQ_INFO = "EXTEND_UNIQ_INFO";
    MAX_RECONSUME_TIMES = "MAX_RECONSUME_TIMES";
    CONSUME_START_TIME = "CONSUME_START_TIME";
    INNER_NUM = "INNER_NUM";
    INNER_BASE = "INNER_BASE";
    DUP_INFO = "DUP_INFO";
    CHECK_IMMUNITY_TIME_IN_SECONDS = "CHECK_IMMUNITY_TIME_IN_SECONDS";
    TRAN_PREPARED_QUEUE_OFFSET = "TRAN_PREPARED_QUEUE_OFFSET";
    TRANSACTION_ID = "__transactionId__";
    TRANSACTION_CHECK_TIMES = "TRANSACTION_CHECK_TIMES";
    INSTANCE_ID = "INSTANCE_ID";
    CORRELATION_ID = "CORRELATION_ID";
    REPLY_TO_CLIENT = "REPLY_TO_CLIENT";
    TTL = "TTL";
    ARRIVE_TIME = "ARRIVE_TIME";
    PUSH_REPLY_TIME = "PUSH_REPLY_TIME";
    CLUSTER = "CLUSTER";
    MSG_TYPE = "MSG_TYPE";
    POP_CK = "POP_CK";
    POP_CK_OFFSET = "POP_CK_OFFSET";
    FIRST_POP_TIME = "1ST_POP_TIME";
    SHARDING_KEY = "__SHARDINGKEY";
    FORWARD_QUEUE_ID = "PROPERTY_FORWARD_QUEUE_ID";
    REDIRECT = "REDIRECT";
    INNER_MULTI_DISPATCH = "INNER_MULTI_DISPATCH";
    INNER_MULTI_QUEUE_OFFSET = "INNER_MULTI_QUEUE_OFFSET";
    TRACE_CONTEXT = "TRACE_CONTEXT";
    TIMER_DELAY_SEC = "TIMER_DELAY_SEC";
    TIMER_DELAY_MS = "TIMER_DELAY_MS";
    TIMER_DELIVER_MS = "TIMER_DELIVER_MS";
    TIMER_ENQUEUE_MS = "TIMER_ENQUEUE_MS";
    TIMER_DEQUEUE_MS = "TIMER_DEQUEUE_MS";
    TIMER_ROLL_TIMES = "TIMER_ROLL_TIMES";
    TIMER_OUT_MS = "TIMER_OUT_MS";
    TIMER_DEL_UNIQKEY = "TIMER_DEL_UNIQKEY";
    TIMER_DELAY_LEVEL = "TIMER_DELAY_LEVEL";
    BORN_HOST = "__BORNHOST";
    BORN_TIMESTAMP = "BORN_TIMESTAMP";
    TRANSIENT_PREFIX = "__RMQ.TRANSIENT.";
    CRC32 = "__CRC32#";
    DLQ_ORIGIN_TOPIC = "DLQ_ORIGIN_TOPIC";
    DLQ_ORIGIN_MESSAGE_ID = "DLQ_ORIGIN_MESSAGE_ID";
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pairs_are_found_and_broken_pieces_skipped() {
        let text = "TAGS\u{1}a\u{2}lonely\u{2}\u{1}v\u{2}empty\u{1}\u{2}\u{2}KEYS\u{1}k\u{1}2";
        let pairs: Vec<_> = iter(text).collect();
        assert_eq!(pairs, [("TAGS", "a"), ("empty", ""), ("KEYS", "k\u{1}2")]);
        assert_eq!(find(text, "KEYS"), Some("k\u{1}2"));
        assert_eq!(find(text, "lonely"), None);
        assert_eq!(iter("").next(), None);
    }

    /// A text as a JSON header spells it.
    fn in_json(text: &str) -> String {
        let spelled = serde_json::to_string(text).unwrap();
        spelled[1..spelled.len() - 1].to_owned()
    }

    #[test]
    fn what_clients_write_is_read_with_its_escapes() {
        let spelled = in_json("KEYS\u{1}k 1\u{2}UNIQ_KEY\u{1}7F00\u{2}empty\u{1}\u{2}TAGS\u{1}a");
        let mut pairs = Vec::new();
        assert!(each_escaped(Text::checked(&spelled, true), |key, value| pairs.push((key, value))));
        assert_eq!(pairs, [("KEYS", "k 1"), ("UNIQ_KEY", "7F00"), ("empty", ""), ("TAGS", "a")]);
    }

    proptest! {
        #[test]
        fn a_walk_over_escapes_tells_all_or_nothing(
            text in prop_oneof![
                "([A-Z_a]{1,20}\u{1}[a-zA-Z0-9 ]{0,40}\u{2}){0,5}([A-Z]{1,3}\u{1}v)?",
                "[a\u{1}\u{2}]{0,12}",
                "[ab\u{1}\u{2}\"\\\\\u{3}é]{0,40}",
            ],
            raw: bool
        ) {
            // Control characters that came without escapes are tolerated by the scanner.
            let spelled = if raw { in_json(&text).replacen("\\u0001", "\u{1}", 1) } else { in_json(&text) };
            let mut pairs = Vec::new();
            let told = each_escaped(Text::checked(&spelled, spelled.contains('\\')), |key, value| pairs.push((key, value)));
            if told {
                prop_assert_eq!(pairs, iter(&text).collect::<Vec<_>>());
                // Nothing was skipped, apart from the last separator.
                let built = build(iter(&text));
                let is_whole = built == text || built.strip_suffix('\u{2}') == Some(&text);
                prop_assert!(is_whole);
            }
        }
    }

    #[test]
    fn the_last_of_a_repeated_key_counts() {
        assert_eq!(find("a\u{1}1\u{2}a\u{1}2\u{2}", "a"), Some("2"));
    }

    #[test]
    fn appending_closes_an_open_pair() {
        let mut out = b"a\x011".to_vec();
        append(&mut out, "b", "2");
        assert_eq!(out, b"a\x011\x02b\x012\x02");
        assert_eq!(build([("a", "1"), ("名", "值")]), "a\u{1}1\u{2}名\u{1}值\u{2}");
    }

    #[test]
    fn reserved_names_are_distinct() {
        let mut names = names::RESERVED.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), names::RESERVED.len());
    }
}
