//! VIEW_MESSAGE_BY_ID (33) and QUERY_MESSAGE (12).
//!
//! Owns what counts as a match of a key and how the parts of all shards become one answer (QueryMessageProcessor).
//! Getting at the records, resident or not, is `fetch.rs`'s.

use ringmq_protocol::header::Header;
use ringmq_protocol::headers::pull::{QueryMessageHeader, QueryMessageReply, ViewMessageHeader};
use ringmq_protocol::offset::WireOffset;
use ringmq_protocol::properties::names;
use ringmq_protocol::record::RecordRef;
use ringmq_protocol::response_code::ResponseCode;

use crate::again::{self, Again};
use crate::append::{self, wire_offset};
use crate::effects::{Answer, Ask, Effects, Refusal, ReplyTo};
use crate::event::{GatherId, Now, ShardId};
use crate::fetch::{self, Purpose, Record};
use crate::gather::{self, Part};
use crate::limits::{QUERY_BYTES_MAX, QUERY_CANDIDATES_MAX, QUERY_MESSAGES_MAX, QUERY_UNIQUE_MAX};
use crate::shard::Shard;
use crate::store::{KeySearch, Position, key_hash};

/// VIEW_MESSAGE_BY_ID (33).
pub fn view(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let header: ViewMessageHeader<'_> = ask.header()?;
    let place = WireOffset::from_wire(header.offset).filter(|offset| offset.shard() == shard.id.0);
    let Some(place) = place else { return Err(no_message(header.offset)) };
    let purpose = Purpose::View { to: ask.to(), offset: header.offset };
    fetch::fetch(shard, ask.now, vec![place.position()], purpose, out)?;
    Ok(Answer::Held)
}

#[cold]
fn no_message(offset: i64) -> Refusal {
    Refusal::new(ResponseCode::SystemError, format!("can not find message by the offset, {offset}"))
}

/// The record that was asked for, if there is one at exactly this place.
pub(crate) fn viewed(to: &ReplyTo, offset: i64, record: Option<&Record>, out: &mut Effects) {
    let found = record.filter(|record| RecordRef::parse(record).is_ok_and(|found| found.physical_offset() == offset));
    let _ = match found {
        Some(record) => out.answer_body(to, record),
        None => out.refuse(to, &no_message(offset)),
    };
}

/// What a query by key looks for.
#[derive(Debug, Clone)]
pub struct Question {
    topic: String,
    key: String,
    begin: i64,
    end: i64,
    most: usize,
    unique: bool,
}

impl Question {
    fn of(header: &QueryMessageHeader<'_>) -> Self {
        let unique = header.unique_key_query;
        let limit = if unique { QUERY_UNIQUE_MAX } else { QUERY_MESSAGES_MAX };
        Question {
            topic: header.topic.to_cow().into_owned(),
            key: header.key.to_cow().into_owned(),
            begin: header.begin_timestamp,
            end: header.end_timestamp,
            most: usize::try_from(header.max_num).unwrap_or(0).clamp(1, limit),
            unique,
        }
    }

    /// The index knows hashes only; the record decides.
    fn matches(&self, record: &RecordRef<'_>) -> bool {
        let in_time = (self.begin..=self.end).contains(&record.store_timestamp());
        if !in_time || record.topic() != self.topic {
            return false;
        }
        let is_unique = record.property(names::UNIQ_KEY) == Some(&self.key);
        let is_key = || record.property(names::KEYS).is_some_and(|keys| keys.split(' ').any(|key| key == self.key));
        is_unique || (!self.unique && is_key())
    }
}

/// A record that matches.
#[derive(Debug)]
pub struct Found {
    store_timestamp: i64,
    wire_offset: i64,
    record: Record,
}

/// This shard's part of QUERY_MESSAGE; it comes through [`fetched`], perhaps at once.
pub(crate) fn part(
    shard: &mut Shard,
    ask: &Ask<'_>,
    asker: ShardId,
    id: GatherId,
    out: &mut Effects,
) -> Result<Option<Part>, Refusal> {
    let question = Question::of(&ask.header()?);
    let times = question.begin..=question.end;
    let hash = key_hash(&question.topic, &question.key);
    let search = shard.index.begin(hash, times, Position(u64::MAX), QUERY_CANDIDATES_MAX);
    go_on(shard, ask.now, Box::new(Search { asker, id, question, search }), 0, out);
    Ok(None)
}

/// A query whose candidates are being looked for.
#[derive(Debug)]
pub struct Search {
    asker: ShardId,
    id: GatherId,
    question: Question,
    search: KeySearch,
}

impl Search {
    /// Whose question it is.
    pub(crate) fn asked(&self) -> (ShardId, GatherId) {
        (self.asker, self.id)
    }
}

/// Looks for candidates, and fetches them when they are all there.
pub(crate) fn go_on(shard: &mut Shard, now: Now, mut search: Box<Search>, rounds: u16, out: &mut Effects) {
    let Shard { index, queues, .. } = shard;
    if index.advance(&mut search.search, queues).is_err() {
        return again::page_in(shard, now, Again::Query(search), rounds, out);
    }
    let Search { asker, id, question, search } = *search;
    if search.found.is_empty() {
        return gather::give_part(shard, asker, id, Part::Nothing, out);
    }
    if let Err(refusal) = fetch::fetch(shard, now, search.found, Purpose::Query { asker, id, question }, out) {
        gather::give_part(shard, asker, id, Part::Refused(refusal), out);
    }
}

/// The candidates' records are here: the matching ones are this shard's part.
pub(crate) fn fetched(
    shard: &mut Shard,
    asker: ShardId,
    id: GatherId,
    question: &Question,
    records: impl Iterator<Item = (Position, Option<Record>)>,
    damaged: Option<Refusal>,
    out: &mut Effects,
) {
    let Shard { id: here, metadata, queues, .. } = &*shard;
    let here = *here;
    let is_present = |at| append::is_of_present(&metadata.topics, queues, &question.topic, at);
    let found = records.filter_map(|(position, record)| {
        let record = record.filter(|_| is_present(position))?;
        let parsed = RecordRef::parse(&record).ok().filter(|parsed| question.matches(parsed))?;
        let (store_timestamp, wire_offset) = (parsed.store_timestamp(), wire_offset(here, position));
        Some(Found { store_timestamp, wire_offset, record })
    });
    let part = Part::Messages { found: found.take(question.most).collect(), most: question.most, damaged };
    gather::give_part(shard, asker, id, part, out);
}

/// Answers QUERY_MESSAGE from all parts, newest first.
pub(crate) fn merge(to: &ReplyTo, parts: Vec<Part>, out: &mut Effects) {
    let mut limit = 0;
    let mut all = Vec::new();
    let mut lost = None;
    for part in parts {
        if let Part::Messages { found, most, damaged } = part {
            limit = most;
            all.extend(found);
            lost = lost.or(damaged);
        }
    }
    all.sort_by_key(|found| std::cmp::Reverse((found.store_timestamp, found.wire_offset)));
    all.truncate(limit);
    let mut room = QUERY_BYTES_MAX;
    all.retain(|found| {
        let fits = found.record.len() <= room;
        room -= if fits { found.record.len() } else { 0 };
        fits
    });
    let Some(newest) = all.first() else {
        let none = || Refusal::new(ResponseCode::QueryNotFound, "can not find message, maybe time range not correct");
        let _ = out.refuse(to, &lost.unwrap_or_else(none));
        return;
    };
    let reply = QueryMessageReply {
        index_last_update_timestamp: newest.store_timestamp,
        index_last_update_phyoffset: newest.wire_offset,
    };
    let body = |body: &mut Vec<u8>| all.iter().for_each(|found| body.extend_from_slice(&found.record));
    // What lies in damage may have matched, too.
    let remark = lost.as_ref().map(|lost| &*lost.remark);
    let _ = out.reply(to, ResponseCode::Success, remark, |fields| reply.encode(fields), body);
}
