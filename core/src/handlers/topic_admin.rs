//! Administration of topics: 17, 18, 215, and the questions 21, 351, 305.
//!
//! Owns what an administrator may ask of a topic and the words of refusals (AdminBrokerProcessor). Changes go through
//! `control::commit` and are answered when they are stored and known to every shard.

use ringmq_protocol::bodies;
use ringmq_protocol::bodies::topic::{TopicConfig, TopicConfigList, TopicConfigTable, TopicFilterType, TopicList};
use ringmq_protocol::header::Header;
use ringmq_protocol::headers::topic::{
    AllTopicConfigHeader, AllTopicConfigReply, CreateTopicHeader, TopicConfigHeader, TopicHeader,
};
use ringmq_protocol::names;
use ringmq_protocol::response_code::ResponseCode;

use super::client::malformed;
use super::control::{commit, control, finish, later, topics_have_room};
use crate::control::Ticket;
use crate::effects::{Answer, Ask, Effects, Refusal};
use crate::namesrv::topic_config;
use crate::shard::Shard;
use crate::topic::{
    Attributes, Change, FilterType, Perm, QUEUES_PER_TOPIC_MAX, TopicSpec, is_system_topic, system_topics,
};

/// Most topics in one answer: with attributes one takes about 300 bytes, and a frame has at most 16 MiB.
const TOPICS_PER_ANSWER: usize = 32_768;

/// What an administrator asks of one topic.
struct Wanted<'a> {
    name: &'a str,
    read_queues: i32,
    write_queues: i32,
    perm: i32,
    filter: FilterType,
    sys_flag: i32,
    order: bool,
    /// `+key=value,-key`.
    attributes: String,
}

fn invalid(remark: String) -> Refusal {
    Refusal::new(ResponseCode::InvalidParameter, remark)
}

/// UPDATE_AND_CREATE_TOPIC.
pub fn put(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let header: CreateTopicHeader<'_> = ask.header()?;
    let name = header.topic.to_cow();
    let wanted = Wanted {
        name: &name,
        read_queues: header.read_queue_nums,
        write_queues: header.write_queue_nums,
        perm: header.perm,
        filter: FilterType::of(&header.topic_filter_type.to_cow()),
        sys_flag: header.topic_sys_flag.unwrap_or(0),
        order: header.order,
        attributes: header.attributes.map(|text| text.to_cow().into_owned()).unwrap_or_default(),
    };
    let ticket = put_one(shard, ask, wanted, out)?;
    let answer = out.done(&ask.to());
    finish(shard, ticket, ask, answer, out)
}

/// UPDATE_AND_CREATE_TOPIC_LIST: one after the other; the first that is refused ends it.
pub fn put_list(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let list: TopicConfigList = bodies::decode(ask.command.body).map_err(|error| malformed(&error))?;
    let mut ticket = None;
    for config in &list.topic_config_list {
        ticket = later(ticket, put_one(shard, ask, wanted_by(config), out)?);
    }
    let answer = out.done(&ask.to());
    finish(shard, ticket, ask, answer, out)
}

fn wanted_by(config: &TopicConfig) -> Wanted<'_> {
    // In a list the signs are part of the keys, and what was read from a broker has none: it is meant to be set.
    let signed = |(key, value): (&String, &String)| match key.as_bytes().first() {
        Some(b'-') => key.clone(),
        Some(b'+') => format!("{key}={value}"),
        _ => format!("+{key}={value}"),
    };
    Wanted {
        name: &config.topic_name,
        read_queues: config.read_queue_nums,
        write_queues: config.write_queue_nums,
        perm: config.perm,
        filter: match config.topic_filter_type {
            TopicFilterType::SingleTag => FilterType::SingleTag,
            TopicFilterType::MultiTag => FilterType::MultiTag,
        },
        sys_flag: config.topic_sys_flag,
        order: config.order,
        attributes: config.attributes.iter().map(signed).collect::<Vec<_>>().join(","),
    }
}

fn put_one(shard: &mut Shard, ask: &Ask<'_>, wanted: Wanted<'_>, out: &mut Effects) -> Result<Option<Ticket>, Refusal> {
    let spec = checked(shard, wanted)?;
    let known = shard.metadata.topics.get(&spec.name);
    if known.is_none() {
        topics_have_room(shard)?;
    }
    let topic = shard.metadata.topics.plan(spec);
    if shard.metadata.topics.get(&topic.name) == Some(&topic) {
        return Ok(None);
    }
    commit(shard, ask.now, Change::TopicPut(topic), out).map(Some)
}

/// What is asked, checked against what RocketMQ allows and what this topic is already.
fn checked(shard: &Shard, wanted: Wanted<'_>) -> Result<TopicSpec, Refusal> {
    let Wanted { name, read_queues, write_queues, perm, filter, sys_flag, order, attributes } = wanted;
    names::check_topic(name).map_err(|error| invalid(format!("topic: {error}")))?;
    let settings = &shard.metadata.settings;
    if is_system_topic(name, settings) {
        return Err(invalid(format!("topic[{name}] is the broker's own and cannot be changed")));
    }
    let queues = |what: &str, count: i32| {
        let checked = u32::try_from(count).ok().filter(|&count| count <= QUEUES_PER_TOPIC_MAX);
        checked.ok_or_else(|| invalid(format!("{what} is {count}; a topic has 0 to {QUEUES_PER_TOPIC_MAX} queues")))
    };
    let (read_queues, write_queues) = (queues("readQueueNums", read_queues)?, queues("writeQueueNums", write_queues)?);
    if !(0..=7).contains(&perm) {
        return Err(invalid(format!("perm is {perm}; it is a sum of 4 (read), 2 (write) and 1 (inherit)")));
    }
    let known = shard.metadata.topics.get(name);
    let before = known.map(|topic| topic.attributes.clone()).unwrap_or_default();
    let attributes: Attributes = before
        .changed(&attributes, known.is_none())
        .map_err(|error| Refusal::new(ResponseCode::SystemError, error.to_string()))?;
    if attributes.get("message.type") == Some("MIXED") && !settings.topics.enable_mixed_message_type {
        return Err(invalid("message.type MIXED is not allowed (enableMixedMessageType=false)".to_owned()));
    }
    let name = name.into();
    Ok(TopicSpec { name, read_queues, write_queues, perm: Perm(perm), filter, sys_flag, order, attributes })
}

/// DELETE_TOPIC_IN_BROKER: the topic and its messages are gone; a topic that does not exist is gone already.
pub fn delete(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let TopicHeader { topic } = ask.header()?;
    let name = topic.to_cow();
    if name.trim().is_empty() {
        return Err(invalid("the topic's name is blank".to_owned()));
    }
    if is_system_topic(&name, &shard.metadata.settings) {
        return Err(invalid(format!("topic[{name}] is the broker's own and cannot be deleted")));
    }
    let ticket = match shard.metadata.topics.get(&name) {
        None => None,
        Some(_) => Some(commit(shard, ask.now, Change::TopicDrop { name: name.into() }, out)?),
    };
    let answer = out.done(&ask.to());
    finish(shard, ticket, ask, answer, out)
}

/// GET_ALL_TOPIC_CONFIG: everything, or the page that is asked for.
pub fn all(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let AllTopicConfigHeader { topic_seq, max_topic_num, .. } = ask.header()?;
    let version = control(shard)?.topic_version;
    let topics = &shard.metadata.topics;
    let total = topics.len();
    let page = page_of(total, topic_seq, max_topic_num);
    if page.len() > TOPICS_PER_ANSWER {
        return Err(Refusal::new(
            ResponseCode::SystemError,
            format!(
                "{total} topics do not fit into one answer; ask for pages of at most {TOPICS_PER_ANSWER} \
                 (topicSeq, maxTopicNum), as tools of version 5.3 and later do"
            ),
        ));
    }
    let page = topics.iter().skip(page.start).take(page.len());
    let table = TopicConfigTable {
        data_version: version,
        topic_config_table: page.map(|topic| (topic.name.to_string(), topic_config(topic))).collect(),
        ..TopicConfigTable::default()
    };
    let reply = AllTopicConfigReply { total_topic_num: i32::try_from(total).ok() };
    let body = |bytes: &mut Vec<u8>| bodies::encode(&table, bytes);
    Ok(out.reply(&ask.to(), ResponseCode::Success, None, |fields| reply.encode(fields), body))
}

/// The part of `total` entries that starts behind the `seq` the client has and has at most `most`; all without `most`.
pub(crate) fn page_of(total: usize, seq: Option<i32>, most: Option<i32>) -> std::ops::Range<usize> {
    let start = seq.and_then(|seq| usize::try_from(seq).ok()).unwrap_or(0).min(total);
    let end = match most.and_then(|most| usize::try_from(most).ok()).filter(|&most| most > 0) {
        Some(most) => start.saturating_add(most).min(total),
        None => total,
    };
    start..end
}

/// GET_TOPIC_CONFIG; 17 for a topic that does not exist, which tools expect.
pub fn get(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let TopicConfigHeader { topic, .. } = ask.header()?;
    let name = topic.to_cow();
    let Some(topic) = shard.metadata.topics.get(&name) else {
        return Err(Refusal::new(ResponseCode::TopicNotExist, format!("No topic in this broker. topic: {name}")));
    };
    Ok(out.answer_body(&ask.to(), &bodies::to_vec(&topic_config(topic))))
}

/// GET_SYSTEM_TOPIC_LIST_FROM_BROKER.
pub fn system_list(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let list = TopicList { broker_addr: None, topic_list: system_topics(&shard.metadata.settings) };
    Ok(out.answer_body(&ask.to(), &bodies::to_vec(&list)))
}
