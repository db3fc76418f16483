//! The strings by which POP clients name what they were given (protocol.md 7.1, ExtraInfoUtil).
//!
//! Owns which topic a message was popped from ([`Source`]), the receipt of one message (POP_CK, extraInfo) and the three
//! lists of a POP answer. All are blanks and numbers; never a list of its own elsewhere.

use std::fmt::Write as _;

use ringmq_protocol::names::RETRY_PREFIX;

/// reviveQid of what was popped in order.
pub const ORDERED: i32 = 999;

/// Which topic a popped message really lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The topic itself.
    Topic,
    /// `%RETRY%group_topic`.
    RetryV1,
    /// `%RETRY%group+topic`: where the first name is that of another group's retry topic.
    RetryV2,
}

impl Source {
    /// Its number in receipts.
    pub fn digit(self) -> u8 {
        match self {
            Source::Topic => 0,
            Source::RetryV1 => 1,
            Source::RetryV2 => 2,
        }
    }

    /// The source with this number.
    pub fn of(text: &str) -> Option<Self> {
        match text {
            "0" => Some(Source::Topic),
            "1" => Some(Source::RetryV1),
            "2" => Some(Source::RetryV2),
            _ => None,
        }
    }

    /// The topic a group's messages of `topic` lie in.
    pub fn topic(self, group: &str, topic: &str) -> String {
        match self {
            Source::Topic => topic.to_owned(),
            Source::RetryV1 => [RETRY_PREFIX, group, "_", topic].concat(),
            Source::RetryV2 => [RETRY_PREFIX, group, "+", topic].concat(),
        }
    }
}

/// The receipt of one popped message: what a client must show to finish it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt<'a> {
    /// First offset popped from the queue at that time.
    pub start: i64,
    /// Milliseconds.
    pub pop_time: i64,
    /// Milliseconds.
    pub invisible: i64,
    pub revive_queue: i32,
    pub source: Source,
    pub broker: &'a str,
    pub queue: i32,
    pub offset: i64,
}

impl<'a> Receipt<'a> {
    /// Reads extraInfo; a ninth token (the proxy's physical offset) may follow.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut tokens = text.split(' ');
        let receipt = Receipt {
            start: tokens.next()?.parse().ok()?,
            pop_time: tokens.next()?.parse().ok()?,
            invisible: tokens.next()?.parse().ok()?,
            revive_queue: tokens.next()?.parse().ok()?,
            source: Source::of(tokens.next()?)?,
            broker: tokens.next()?,
            queue: tokens.next()?.parse().ok()?,
            offset: tokens.next()?.parse().ok()?,
        };
        (tokens.count() <= 1).then_some(receipt)
    }

    /// As POP_CK.
    pub fn text(&self) -> String {
        let Receipt { start, pop_time, invisible, revive_queue, source, broker, queue, offset } = self;
        format!("{start} {pop_time} {invisible} {revive_queue} {} {broker} {queue} {offset}", source.digit())
    }
}

/// startOffsetInfo, msgOffsetInfo and orderCountInfo under construction. One call of [`Infos::queue`] per source and queue.
#[derive(Debug, Default)]
pub struct Infos {
    pub starts: String,
    pub offsets: String,
    pub counts: String,
}

impl Infos {
    /// A queue's messages, ascending; each with how often it was popped before.
    pub fn queue(&mut self, source: Source, queue: u32, start: u64, messages: impl Iterator<Item = (u64, u32)>) {
        let digit = source.digit();
        // Writing into a String cannot fail.
        let _ = write!(self.starts, "{}{digit} {queue} {start}", separator(&self.starts));
        let _ = write!(self.offsets, "{}{digit} {queue} ", separator(&self.offsets));
        for (n, (offset, times)) in messages.enumerate() {
            let comma = if n == 0 { "" } else { "," };
            let _ = write!(self.offsets, "{comma}{offset}");
            if times > 0 {
                let _ = write!(self.counts, "{}{digit} qo{queue}%{offset} {times}", separator(&self.counts));
            }
        }
    }
}

fn separator(so_far: &str) -> &'static str {
    if so_far.is_empty() { "" } else { ";" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_reads_back() {
        let text = "7 1700000000000 60000 0 1 broker-a 3 9";
        let receipt = Receipt::parse(text).unwrap();
        assert_eq!(
            (receipt.source, receipt.broker, receipt.queue, receipt.offset),
            (Source::RetryV1, "broker-a", 3, 9)
        );
        assert_eq!(receipt.text(), text);
        assert_eq!(Receipt::parse(&[text, " 4711"].concat()), Some(receipt));
    }

    #[test]
    fn what_is_no_receipt_is_refused() {
        for text in ["", "7 1 2 0 1 b 3", "7 1 2 0 9 b 3 9", "x 1 2 0 1 b 3 9", "7 1 2 0 1 b 3 9 1 2"] {
            assert_eq!(Receipt::parse(text), None, "{text}");
        }
    }

    #[test]
    fn lists_name_each_queue_once() {
        let mut infos = Infos::default();
        infos.queue(Source::Topic, 2, 5, [(5, 0), (7, 2)].into_iter());
        infos.queue(Source::RetryV1, 0, 1, [(1, 0)].into_iter());
        assert_eq!(infos.starts, "0 2 5;1 0 1");
        assert_eq!(infos.offsets, "0 2 5,7;1 0 1");
        assert_eq!(infos.counts, "0 qo2%7 2");
    }

    #[test]
    fn retry_topics_carry_group_and_topic() {
        assert_eq!(Source::RetryV1.topic("g", "t"), "%RETRY%g_t");
        assert_eq!(Source::RetryV2.topic("g", "t"), "%RETRY%g+t");
    }
}
