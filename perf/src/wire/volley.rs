//! Send requests, ready-made.
//!
//! Owns a buffer of complete SEND_MESSAGE_V2 (310) or SEND_BATCH_MESSAGE (320) frames, back to back, so that
//! many go out with one write and nothing is encoded per message: only opaque, topic number, queue id, born
//! timestamp and unique key are stamped over the old ones, each at its fixed width. It never does I/O.
//!
//! Where a field lies is found, not known: the frame is encoded twice with one value changed in every digit, and
//! the bytes that differ are the field. So any encoder and both spellings will do.

use std::ops::Range;

use ringmq_protocol::batch::{self, BatchEntry};
use ringmq_protocol::encode::{self, Head};
use ringmq_protocol::frame::{FRAME_LIMIT, Spelling};
use ringmq_protocol::headers::send::{SendHeader, ShortSendHeader};
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::text::Text;

use super::digits;

/// Size a volley aims at: more would leave the level 2 cache between stamping and writing.
const VOLLEY_BYTES: usize = 256 << 10;

/// Hexadecimal digits of a unique key that tell one process from another; as many again count its messages.
/// 32 together, as the Java client writes them.
const UNIQUE_HALF: usize = 16;

/// Room kept for header and properties when body sizes are checked against the frame limit.
pub const HEADER_ROOM: usize = 64 << 10;

/// What every frame of a volley has in common.
#[derive(Clone, Debug)]
pub struct Pattern {
    pub spelling: Spelling,
    pub producer_group: String,
    /// The topic, or the front of the topics' names when there are several (see [`topic_name`]).
    pub topic: String,
    pub topics: usize,
    /// Queues the broker should give a topic it creates.
    pub queues: u32,
    /// Highest queue id that will be stamped.
    pub last_queue: u32,
    /// Broker name (field `n`); absent when no route named one.
    pub broker: Option<String>,
    /// Bytes of each body.
    pub size: usize,
    /// Messages per request; 1 sends them one by one.
    pub batch: usize,
    /// Cycled through frame by frame; none when empty.
    pub tags: Vec<String>,
    /// First half of every unique key.
    pub process: u64,
}

/// What differs from frame to frame.
#[derive(Clone, Copy, Debug)]
pub struct Values {
    pub opaque: i32,
    pub topic: usize,
    pub queue: u32,
    pub born_millis: u64,
    /// Second half of the (first) unique key; a batch uses as many consecutive ones as it has messages.
    pub unique: u64,
}

/// The name of topic `number` out of `topics`: all names have one width.
pub fn topic_name(front: &str, number: usize, topics: usize) -> String {
    if topics == 1 {
        return front.to_owned();
    }
    let width = digits::width(topics as u64 - 1);
    format!("{front}-{number:0width$}")
}

/// One frame and the places of its fields.
struct Template {
    bytes: Vec<u8>,
    opaque: Range<usize>,
    topic: Option<Range<usize>>,
    queue: Range<usize>,
    born: Range<usize>,
    unique: Vec<Range<usize>>,
    bodies: Vec<Range<usize>>,
}

/// Frames back to back.
pub struct Volley {
    spelling: Spelling,
    templates: Vec<Template>,
    bytes: Vec<u8>,
    /// Where each frame starts, and where the last one ends.
    starts: Vec<usize>,
    /// The digits of the born timestamp used last: it changes once a millisecond.
    born_millis: u64,
    born: [u8; 13],
}

impl Volley {
    /// At most `most` frames, fewer when they are large.
    ///
    /// # Errors
    /// One sentence when a frame would exceed the protocol's limit.
    pub fn new(pattern: &Pattern, most: usize) -> Result<Volley, String> {
        let tags: Vec<Option<&str>> = match pattern.tags.as_slice() {
            [] => vec![None],
            tags => tags.iter().map(|tag| Some(tag.as_str())).collect(),
        };
        let templates = tags.iter().map(|tag| Template::new(pattern, *tag)).collect::<Result<Vec<_>, _>>()?;
        let frames = (VOLLEY_BYTES / templates[0].bytes.len()).clamp(1, most.max(1));
        // Every tag should have its turn.
        let frames = frames.next_multiple_of(templates.len());
        let mut bytes = Vec::new();
        let mut starts = vec![0];
        for frame in 0..frames {
            bytes.extend_from_slice(&templates[frame % templates.len()].bytes);
            starts.push(bytes.len());
        }
        Ok(Volley { spelling: pattern.spelling, templates, bytes, starts, born_millis: 0, born: [b'0'; 13] })
    }

    /// How many frames it holds.
    pub fn frames(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether frames differ in more than what is stamped, so that all of them should have their turn.
    pub fn cycles(&self) -> bool {
        self.templates.len() > 1
    }

    /// The bytes of `frames`.
    pub fn bytes(&self, frames: Range<usize>) -> &[u8] {
        &self.bytes[self.starts[frames.start]..self.starts[frames.end]]
    }

    /// Gives frame `at` its own values.
    #[inline]
    pub fn stamp(&mut self, at: usize, values: &Values) {
        let template = &self.templates[at % self.templates.len()];
        let frame = &mut self.bytes[self.starts[at]..self.starts[at + 1]];
        let opaque = &mut frame[template.opaque.clone()];
        match self.spelling {
            Spelling::Json => digits::decimal(opaque, values.opaque as u64),
            Spelling::Binary => opaque.copy_from_slice(&values.opaque.to_be_bytes()),
        }
        if let Some(topic) = &template.topic {
            digits::decimal(&mut frame[topic.clone()], values.topic as u64);
        }
        digits::decimal(&mut frame[template.queue.clone()], values.queue.into());
        if self.born_millis != values.born_millis {
            self.born_millis = values.born_millis;
            digits::decimal(&mut self.born, values.born_millis);
        }
        frame[template.born.clone()].copy_from_slice(&self.born);
        for (offset, unique) in template.unique.iter().enumerate() {
            if let Some(place) = frame[unique.clone()].first_chunk_mut() {
                digits::hex(place, values.unique.wrapping_add(offset as u64));
            }
        }
    }

    /// The bodies of frame `at`, one per message, to write stamps into.
    pub fn each_body(&mut self, at: usize, mut each: impl FnMut(&mut [u8])) {
        let template = &self.templates[at % self.templates.len()];
        let frame = &mut self.bytes[self.starts[at]..self.starts[at + 1]];
        for body in &template.bodies {
            each(&mut frame[body.clone()]);
        }
    }
}

/// The values a template is encoded with; each is changed once, in all its digits.
struct Probe {
    opaque: i32,
    topic: usize,
    queue: u32,
    born_millis: u64,
    unique: u64,
}

impl Template {
    fn new(pattern: &Pattern, tag: Option<&str>) -> Result<Template, String> {
        let ones = |width: usize| "1".repeat(width).parse::<u64>().expect("few digits");
        let queue = ones(digits::width(pattern.last_queue.into())) as u32;
        let topic = ones(digits::width(pattern.topics as u64 - 1)) as usize;
        let probe = || Probe {
            opaque: 1_111_111_111,
            topic,
            queue,
            born_millis: 1_111_111_111_111,
            unique: 0x1111_1111_1111_1111,
        };
        let bytes = render(pattern, tag, &probe())?;
        let place = |changed: Probe| Ok::<_, String>(differences(&bytes, &render(pattern, tag, &changed)?));
        let topic_at =
            if pattern.topics > 1 { Some(only(place(Probe { topic: topic * 2, ..probe() })?)) } else { None };
        Ok(Template {
            opaque: only(place(Probe { opaque: 2_000_000_000, ..probe() })?),
            topic: topic_at,
            queue: only(place(Probe { queue: queue * 2, ..probe() })?),
            born: only(place(Probe { born_millis: 2_222_222_222_222, ..probe() })?),
            unique: place(Probe { unique: 0x2222_2222_2222_2222, ..probe() })?,
            bodies: bodies(pattern, tag, bytes.len()),
            bytes,
        })
    }
}

/// The one range of a field that occurs once.
fn only(places: Vec<Range<usize>>) -> Range<usize> {
    assert_eq!(places.len(), 1, "a header field was expected exactly once");
    places.into_iter().next().expect("just counted")
}

/// The ranges in which `one` and `other`, equally long, differ.
fn differences(one: &[u8], other: &[u8]) -> Vec<Range<usize>> {
    assert_eq!(one.len(), other.len(), "a stamped field must keep its width");
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for at in (0..one.len()).filter(|at| one[*at] != other[*at]) {
        match ranges.last_mut() {
            Some(last) if last.end == at => last.end += 1,
            _ => ranges.push(at..at + 1),
        }
    }
    ranges
}

fn properties(pattern: &Pattern, tag: Option<&str>, unique: u64) -> String {
    let mut text = String::new();
    if let Some(tag) = tag {
        text = format!("TAGS\u{1}{tag}\u{2}");
    }
    // WAIT=true is what the Java client writes: the answer waits for the flush of a sync topic.
    text + &format!("UNIQ_KEY\u{1}{:0w$X}{unique:0w$X}\u{2}WAIT\u{1}true\u{2}", pattern.process, w = UNIQUE_HALF)
}

fn render(pattern: &Pattern, tag: Option<&str>, probe: &Probe) -> Result<Vec<u8>, String> {
    let batch = pattern.batch > 1;
    let body = if batch { batch_body(pattern, tag, probe.unique) } else { filling(pattern.size) };
    let properties = if batch { String::new() } else { properties(pattern, tag, probe.unique) };
    let topic = topic_name(&pattern.topic, probe.topic, pattern.topics);
    let header = SendHeader {
        producer_group: Text::plain(&pattern.producer_group),
        topic: Text::plain(&topic),
        default_topic: Text::plain("TBW102"),
        default_topic_queue_nums: pattern.queues as i32,
        queue_id: probe.queue as i32,
        sys_flag: 0,
        born_timestamp: probe.born_millis as i64,
        flag: 0,
        properties: Text::plain(&properties),
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch,
        broker_name: pattern.broker.as_deref().map(Text::plain),
    };
    // Short names for single messages too: the Java client's default.
    let code = if batch { RequestCode::SendBatchMessage } else { RequestCode::SendMessageV2 };
    let head = Head::request(pattern.spelling, code.to_i32(), probe.opaque);
    let mut frame = Vec::new();
    encode::begin(&mut frame, &head)
        .header(&ShortSendHeader(header))
        .finish_with(&body)
        .map_err(|error| format!("the request does not fit: {error}"))?;
    Ok(frame)
}

/// Printable bytes without a short period, so that nothing compresses them away.
fn filling(size: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..size)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            b'0' + (state >> 58) as u8
        })
        .collect()
}

/// The body of a batch: equal entries; their keys are stamped later.
fn batch_body(pattern: &Pattern, tag: Option<&str>, unique: u64) -> Vec<u8> {
    let properties = properties(pattern, tag, unique);
    let body = filling(pattern.size);
    let entry = BatchEntry { flag: 0, body: &body, properties: &properties };
    let mut bytes = Vec::with_capacity(entry.len() * pattern.batch);
    for _ in 0..pattern.batch {
        entry.encode(&mut bytes);
    }
    bytes
}

/// Where the bodies lie in a frame of `frame` bytes: they end it.
fn bodies(pattern: &Pattern, tag: Option<&str>, frame: usize) -> Vec<Range<usize>> {
    if pattern.batch <= 1 {
        return std::iter::once(frame - pattern.size..frame).collect();
    }
    let properties = properties(pattern, tag, 0);
    let entry = batch::ENTRY_OVERHEAD + pattern.size + properties.len();
    // Behind a body come its properties and their length word.
    let behind = 2 + properties.len();
    let first = frame - entry * pattern.batch + (batch::ENTRY_OVERHEAD - 2);
    let bodies = (0..pattern.batch).map(|number| first + number * entry..first + number * entry + pattern.size);
    assert_eq!(bodies.clone().next_back().map(|last| last.end + behind), Some(frame), "the bodies end the frame");
    bodies.collect()
}

/// Whether `size` times `batch` fits a frame.
pub fn fits(size: usize, batch: usize) -> bool {
    // 128 bytes cover an entry's properties and lengths.
    size.saturating_add(128).saturating_mul(batch) <= FRAME_LIMIT - HEADER_ROOM
}

#[cfg(test)]
mod tests {
    use ringmq_protocol::command::Command;
    use ringmq_protocol::frame;
    use ringmq_protocol::header::Header;

    use super::*;

    fn pattern(spelling: Spelling, batch: usize) -> Pattern {
        Pattern {
            spelling,
            producer_group: "perf".into(),
            topic: "load".into(),
            topics: 100,
            queues: 16,
            last_queue: 15,
            broker: Some("broker-a".into()),
            size: 300,
            batch,
            tags: vec!["A".into(), "Blue".into()],
            process: 0xFEED,
        }
    }

    fn values(at: usize) -> Values {
        Values {
            opaque: 1_000_000_000 + at as i32,
            topic: at * 7,
            queue: at as u32 + 8,
            born_millis: 1_700_000_000_000 + at as u64,
            unique: 0xABC0 + at as u64,
        }
    }

    #[test]
    fn every_stamped_frame_reads_back() {
        for spelling in [Spelling::Json, Spelling::Binary] {
            let mut volley = Volley::new(&pattern(spelling, 1), 4).expect("fits");
            assert_eq!(volley.frames(), 4);
            for at in 0..4 {
                volley.stamp(at, &values(at));
            }
            let mut stream = volley.bytes(0..4);
            for at in 0..4 {
                let frame = frame::split(stream).expect("a frame").expect("complete");
                stream = &stream[frame.total_len..];
                let command = Command::parse(frame).expect("a header");
                assert_eq!((command.code, command.opaque), (310, 1_000_000_000 + at as i32));
                let header = SendHeader::decode(&command.ext).expect("a send header");
                assert_eq!(header.topic, format!("load-{:02}", at * 7).as_str());
                assert_eq!((header.queue_id, header.born_timestamp), (at as i32 + 8, 1_700_000_000_000 + at as i64));
                assert_eq!(header.broker_name.expect("named"), "broker-a");
                let tag = ["A", "Blue"][at % 2];
                let properties = format!(
                    "TAGS\u{1}{tag}\u{2}UNIQ_KEY\u{1}{:016X}{:016X}\u{2}WAIT\u{1}true\u{2}",
                    0xFEED,
                    0xABC0 + at
                );
                assert_eq!(header.properties, properties.as_str());
                assert_eq!(command.body, filling(300));
            }
            assert!(stream.is_empty());
        }
    }

    #[test]
    fn a_batch_has_its_own_keys_and_bodies() {
        let mut volley = Volley::new(&pattern(Spelling::Json, 3), 1).expect("fits");
        volley.stamp(0, &values(0));
        let mut number = 0u8;
        volley.each_body(0, |body| {
            body.fill(number);
            number += 1;
        });
        let frame = frame::split(volley.bytes(0..1)).expect("a frame").expect("complete");
        let command = Command::parse(frame).expect("a header");
        assert_eq!(command.code, 320);
        assert!(SendHeader::decode(&command.ext).expect("a send header").batch);
        let entry = frame.body.len() / 3;
        for (number, entry) in frame.body.chunks(entry).enumerate() {
            assert_eq!(u32::from_be_bytes(*entry.first_chunk().expect("size")) as usize, entry.len());
            assert_eq!(entry[20..320], [number as u8; 300]);
            let key = format!("{:016X}{:016X}", 0xFEED, 0xABC0 + number);
            assert!(String::from_utf8_lossy(&entry[322..]).contains(&key));
        }
    }

    #[test]
    fn one_topic_keeps_its_name() {
        assert_eq!(topic_name("load", 0, 1), "load");
        assert_eq!(topic_name("load", 3, 10), "load-3");
        assert_eq!(topic_name("load", 3, 11), "load-03");
    }

    #[test]
    fn large_messages_go_one_by_one() {
        let large = Pattern { size: 1 << 20, tags: Vec::new(), ..pattern(Spelling::Json, 1) };
        assert_eq!(Volley::new(&large, 64).expect("fits").frames(), 1);
        assert!(fits(4 << 20, 3) && !fits(4 << 20, 4));
    }
}
