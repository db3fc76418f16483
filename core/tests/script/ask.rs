//! Statements that make things: topics, groups, requests.

use ringmq_core::group::{Group, GroupView, MessageModel, Subscription, Wanted};
use ringmq_core::topic::{Attributes, Change, Perm, TopicSpec};
use ringmq_protocol::batch::BatchEntry;
use ringmq_protocol::encode::{self, Head};
use ringmq_protocol::properties::{self, names};
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::tags::TagFilter;

use super::{Client, Play, Words, clients};

/// A request under construction.
#[derive(Default)]
struct Request {
    code: i32,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn field(&mut self, key: &str, value: impl ToString) {
        self.fields.push((key.to_owned(), value.to_string()));
    }
}

impl Play {
    /// `topic`, `group` and `subscribe`: the change reaches every shard at once.
    pub fn make(&mut self, verb: &str, rest: &str) -> Result<(), String> {
        let change = match verb {
            "topic" => self.topic(rest)?,
            "group" => group(rest)?,
            _ => self.subscription(rest)?,
        };
        self.harness.make(&change);
        Ok(())
    }

    fn topic(&mut self, rest: &str) -> Result<Change, String> {
        let words = Words::of(rest);
        let name = words.plain.first().ok_or("a topic needs a name")?;
        let queues = words.number("queues", 4)? as u32;
        let perm = Perm(words.number("perm", 6)? as i32);
        let mut spec = TopicSpec::plain(name, queues, perm);
        spec.read_queues = words.number("read", i64::from(queues))? as u32;
        if let Some(flush) = words.get("flush") {
            let mut attributes = Attributes::default();
            let text = format!("+flush.type={flush}");
            attributes = attributes.changed(&text, true).map_err(|error| format!("{error:?}"))?;
            spec.attributes = attributes;
        }
        let control = self.harness.ids()[0];
        Ok(Change::TopicPut(self.harness.shard(control).metadata.topics.plan(spec)))
    }

    fn subscription(&mut self, rest: &str) -> Result<Change, String> {
        let mut words = rest.splitn(3, ' ');
        let (Some(group), Some(topic)) = (words.next(), words.next()) else {
            return Err("subscribe GROUP TOPIC EXPRESSION".to_owned());
        };
        let text = words.next().unwrap_or("*");
        let (model, text) = match text.strip_prefix("broadcasting ") {
            Some(text) => (MessageModel::Broadcasting, text),
            None => (MessageModel::Clustering, text),
        };
        let filter = TagFilter::parse(text).ok_or("no such expression")?;
        let control = self.harness.ids()[0];
        let known = self.harness.shard(control).metadata.views.get(group).cloned();
        let mut view = known.unwrap_or_default();
        view.model = model;
        let version = view.topics.get(topic).map_or(1, |old| old.version + 1);
        view.topics.insert(topic.into(), Subscription { text: text.into(), wanted: Wanted::Tags(filter), version });
        Ok(Change::View { group: group.into(), view: Some::<GroupView>(view) })
    }

    /// `> CLIENT WHAT field=value ...`
    pub fn ask(&mut self, rest: &str) -> Result<(), String> {
        let (name, rest) = rest.split_once(' ').ok_or("> CLIENT REQUEST ...")?;
        let rest = &rest.replace("$sent", &self.sent);
        let client = self.client(name)?;
        let words = Words::of(rest);
        let says = |word| words.plain.contains(&word);
        let request = match words.plain.first() {
            _ if says("send") => send(&words)?,
            _ if says("batch") => batch(&words)?,
            _ if says("pull") => pull(&words)?,
            _ if says("heartbeat") => {
                Request { code: 34, body: clients::heartbeat(&words).into(), ..Request::default() }
            }
            _ if says("lock") => Request { code: 41, body: clients::locks(&words).into(), ..Request::default() },
            _ if says("unlock") => Request { code: 42, body: clients::locks(&words).into(), ..Request::default() },
            Some(code) => any(code, &words)?,
            None => return Err("what?".to_owned()),
        };
        self.opaque += 1;
        let frame = encoded(&request, client, self.opaque, words.plain.contains(&"oneway"));
        self.harness.request(client.origin, &frame);
        Ok(())
    }
}

impl Play {
    /// `answer CLIENT CODE remark=...`: what a client says to the last request of ours.
    pub fn answer(&mut self, rest: &str) -> Result<(), String> {
        let words = Words::of(rest);
        let client = self.client(words.plain.first().ok_or("answer CLIENT CODE")?)?;
        let code = words.plain.get(1).and_then(|code| code.parse().ok()).ok_or("answer CLIENT CODE")?;
        let head = Head { remark: words.get("remark"), ..Head::response(client.spelling, code, self.push) };
        let mut bytes = Vec::new();
        encode::begin(&mut bytes, &head).finish_with(&[]).expect("a small frame");
        self.harness.request(client.origin, &bytes);
        Ok(())
    }
}

fn encoded(request: &Request, client: Client, opaque: i32, oneway: bool) -> Vec<u8> {
    let head = if oneway {
        Head::oneway(client.spelling, request.code, opaque)
    } else {
        Head::request(client.spelling, request.code, opaque)
    };
    let mut bytes = Vec::new();
    let mut encoder = encode::begin(&mut bytes, &head);
    for (key, value) in &request.fields {
        encoder = encoder.pair(key, value);
    }
    encoder.finish_with(&request.body).expect("a test's frame is small");
    bytes
}

fn group(rest: &str) -> Result<Change, String> {
    let words = Words::of(rest);
    let name = words.plain.first().ok_or("a group needs a name")?;
    let mut group = Group::named(name);
    group.consume_enable = words.get("consume") != Some("false");
    group.retry_queues = words.number("retries", 1)? as u32;
    group.consume_broadcast_enable = words.get("broadcast") != Some("false");
    Ok(Change::GroupPut(group))
}

/// The properties of `tags=`, `keys=`, `unique=` and `p.NAME=`, in the order written.
fn properties_of(words: &Words<'_>) -> String {
    let mut out = Vec::new();
    for (key, value) in &words.pairs {
        let name = match *key {
            "tags" => names::TAGS,
            "keys" => names::KEYS,
            "unique" => names::UNIQ_KEY,
            other => match other.strip_prefix("p.") {
                Some(name) => name,
                None => continue,
            },
        };
        properties::append(&mut out, name, &value.replace('+', " "));
    }
    String::from_utf8(out).expect("text")
}

/// A body: text, or `N*x` for N times x.
fn body_of(text: &str) -> Vec<u8> {
    match text.split_once('*') {
        Some((count, what)) if count.parse::<usize>().is_ok() => what.repeat(count.parse().unwrap_or(0)).into_bytes(),
        _ => text.as_bytes().to_vec(),
    }
}

/// SEND_MESSAGE_V2 with short names, or with `long` SEND_MESSAGE.
fn send(words: &Words<'_>) -> Result<Request, String> {
    let long = words.plain.contains(&"long");
    let names = if long { LONG } else { SHORT };
    let mut request = Request { code: if long { 10 } else { 310 }, ..Request::default() };
    let values: [(usize, String); 14] = [
        (0, words.get("group").unwrap_or("PG").to_owned()),
        (1, repeated(words.get("topic").unwrap_or("T"))),
        (2, words.get("default").unwrap_or("TBW102").to_owned()),
        (3, words.get("queues").unwrap_or("4").to_owned()),
        (4, words.get("queue").unwrap_or("0").to_owned()),
        (5, words.get("sysFlag").unwrap_or("0").to_owned()),
        (6, words.get("born").unwrap_or("1700000000000").to_owned()),
        (7, words.get("flag").unwrap_or("0").to_owned()),
        (8, properties_of(words)),
        (9, words.get("reconsume").unwrap_or("0").to_owned()),
        (10, "false".to_owned()),
        (11, words.get("max").unwrap_or("16").to_owned()),
        (12, "false".to_owned()),
        (13, "broker".to_owned()),
    ];
    for (at, value) in values {
        request.field(names[at], value);
    }
    request.body = body_of(words.get("body").unwrap_or("x"));
    Ok(request)
}

fn repeated(text: &str) -> String {
    String::from_utf8(body_of(text)).expect("text")
}

const SHORT: [&str; 14] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"];
const LONG: [&str; 14] = [
    "producerGroup",
    "topic",
    "defaultTopic",
    "defaultTopicQueueNums",
    "queueId",
    "sysFlag",
    "bornTimestamp",
    "flag",
    "properties",
    "reconsumeTimes",
    "unitMode",
    "maxReconsumeTimes",
    "batch",
    "bname",
];

/// SEND_BATCH_MESSAGE; `bodies=a,b` makes its entries, which share the properties.
fn batch(words: &Words<'_>) -> Result<Request, String> {
    let mut request = send(words)?;
    request.code = 320;
    let properties = properties_of(words);
    for field in &mut request.fields {
        match field.0.as_str() {
            "i" => field.1 = String::new(),
            "m" => field.1 = "true".to_owned(),
            _ => {}
        }
    }
    request.body.clear();
    for body in words.get("bodies").unwrap_or("").split(',').filter(|body| !body.is_empty()) {
        let body = body_of(body);
        BatchEntry { flag: 0, body: &body, properties: &properties }.encode(&mut request.body);
    }
    Ok(request)
}

/// PULL_MESSAGE; `sub=` puts the expression into the header, `hold=` lets it wait, `commit=` commits.
fn pull(words: &Words<'_>) -> Result<Request, String> {
    let mut flag = 0;
    flag |= if words.get("commit").is_some() { 1 } else { 0 };
    flag |= if words.get("hold").is_some() { 2 } else { 0 };
    flag |= if words.get("sub").is_some() { 4 } else { 0 };
    let code = if words.plain.contains(&"lite") { 361 } else { 11 };
    let mut request = Request { code, ..Request::default() };
    request.field("consumerGroup", words.get("group").unwrap_or("G"));
    request.field("topic", words.get("topic").unwrap_or("T"));
    request.field("queueId", words.get("queue").unwrap_or("0"));
    request.field("queueOffset", words.get("offset").unwrap_or("0"));
    request.field("maxMsgNums", words.get("max").unwrap_or("32"));
    request.field("sysFlag", flag);
    request.field("commitOffset", words.get("commit").unwrap_or("0"));
    request.field("suspendTimeoutMillis", words.get("hold").unwrap_or("0"));
    if let Some(sub) = words.get("sub") {
        request.field("subscription", sub.replace('+', " "));
    }
    request.field("subVersion", words.get("version").unwrap_or("0"));
    if let Some(kind) = words.get("type") {
        request.field("expressionType", kind);
    }
    Ok(request)
}

/// Any request by its name or number, with its fields as they are.
fn any(code: &str, words: &Words<'_>) -> Result<Request, String> {
    let named = RequestCode::ALL.iter().find(|known| known.name() == code).map(|known| known.to_i32());
    let code = named.or_else(|| code.parse().ok()).ok_or_else(|| format!("{code} is no request"))?;
    let mut request = Request { code, ..Request::default() };
    for (key, value) in &words.pairs {
        match *key {
            "body" => request.body = body_of(value),
            _ if key.starts_with("p.") => {}
            _ => request.field(key, value.replace('+', " ")),
        }
    }
    if words.pairs.iter().any(|(key, _)| key.starts_with("p.")) {
        let short = words.get("a").is_some();
        request.field(if short { "i" } else { "properties" }, properties_of(words));
    }
    Ok(request)
}
