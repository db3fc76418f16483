//! Questions that every shard answers a part of.
//!
//! Owns the table of such questions (how a shard makes its part, how the home shard merges them) and the questions
//! that still miss parts. Never waits for ever: what is there when the time is up is merged.

use std::collections::BTreeSet;

use ringmq_protocol::bodies::queue::MessageQueue;
use ringmq_protocol::bodies::stats::{ConsumeOffset, TopicOffset};
use ringmq_protocol::request_code::RequestCode;

use ringmq_protocol::response_code::ResponseCode;

use crate::again::{self, Again};
use crate::duties::{Duty, Next};
use crate::effects::{Answer, Ask, Effects, Refusal, ReplyTo};
use crate::event::{GatherId, Now, PeerMessage, ShardId};
use crate::handlers::{pop_ack, pop_notice, query, reset, runtime, stats};
use crate::limits::{GATHER_MAX_MS, GATHERS_MAX};
use crate::map::Map;
use crate::retain;
use crate::shard::Shard;

/// One shard's part of an answer.
#[derive(Debug)]
pub enum Part {
    /// Whole records that match, newest first, how many the client wants at most, and what lay in damage.
    Messages { found: Vec<query::Found>, most: usize, damaged: Option<Refusal> },
    /// First and next offset of this shard's queues of a topic.
    TopicOffsets(Vec<(MessageQueue, TopicOffset)>),
    /// Where a group stands on this shard's queues.
    ConsumeOffsets(Vec<(MessageQueue, ConsumeOffset)>),
    /// Names of topics or groups.
    Names(BTreeSet<String>),
    /// Queues of this shard and the offsets they were reset to.
    Resets(Vec<(MessageQueue, i64)>),
    /// A number.
    Count(u64),
    /// How this shard is doing.
    Figures(Box<runtime::Figures>),
    /// This shard could not look; the others' parts count.
    Nothing,
    /// This shard has something to say and cannot: an answer without it would be wrong.
    Refused(Refusal),
}

/// Makes one shard's part for the asking shard; `None` if it comes later through [`give_part`] (bytes must be read first).
pub type MakePart = fn(&mut Shard, &Ask<'_>, ShardId, GatherId, &mut Effects) -> Result<Option<Part>, Refusal>;

/// A question asked of every shard.
#[derive(Debug, Clone, Copy)]
pub struct Gather {
    /// Makes this shard's part.
    pub part: MakePart,
    /// Answers the client from all parts.
    pub merge: fn(&ReplyTo, Vec<Part>, &mut Effects),
}

/// The table: one row per question.
fn row(code: i32) -> Option<Gather> {
    match RequestCode::from_i32(code)? {
        RequestCode::QueryMessage => Some(Gather { part: query::part, merge: query::merge }),
        RequestCode::GetTopicStatsInfo => Some(Gather { part: stats::topic_part, merge: stats::topic_merge }),
        RequestCode::GetConsumeStats => Some(Gather { part: stats::consume_part, merge: stats::consume_merge }),
        RequestCode::QueryTopicConsumeByWho => Some(Gather { part: stats::groups_part, merge: stats::groups_merge }),
        RequestCode::QueryTopicsByConsumer => Some(Gather { part: stats::topics_part, merge: stats::topics_merge }),
        RequestCode::GetBrokerRuntimeInfo => Some(Gather { part: runtime::part, merge: runtime::merge }),
        RequestCode::DeleteExpiredCommitlog => Some(Gather { part: retain::asked_part, merge: retain::asked_merge }),
        RequestCode::CleanExpiredConsumequeue | RequestCode::CleanUnusedTopic => {
            Some(Gather { part: retain::dead_part, merge: retain::asked_merge })
        }
        RequestCode::BatchAckMessage => Some(Gather { part: pop_ack::batch_part, merge: pop_ack::batch_merge }),
        RequestCode::PollingInfo => Some(Gather { part: pop_notice::waiting_part, merge: pop_notice::waiting_merge }),
        RequestCode::InvokeBrokerToResetOffset => Some(Gather { part: reset::part, merge: reset::merge }),
        _ => None,
    }
}

/// The questions of a home shard that miss parts.
#[derive(Debug, Default)]
pub struct Gathers {
    pending: Map<GatherId, Pending>,
    next: u64,
}

#[derive(Debug)]
struct Pending {
    to: ReplyTo,
    code: i32,
    missing: u16,
    parts: Vec<Part>,
    deadline: u64,
}

/// Asks every shard, this one included. The handler of every `Rule::All` request.
pub fn ask_all(shard: &mut Shard, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
    let code = ask.command.code;
    let Some(gather) = row(code) else {
        return Err(crate::routes::unserved(code));
    };
    if shard.relays.gathers.pending.len() >= GATHERS_MAX {
        return Err(Refusal::new(
            ResponseCode::SystemBusy,
            format!("{GATHERS_MAX} questions to all shards are open; ask again"),
        ));
    }
    let id = GatherId(shard.relays.gathers.next);
    shard.relays.gathers.next += 1;
    let deadline = ask.now.after_ms(GATHER_MAX_MS);
    let pending = Pending { to: ask.to(), code, missing: shard.shards, parts: Vec::new(), deadline };
    shard.relays.gathers.pending.insert(id, pending);
    // Asked here first: a malformed question is refused before anybody else is bothered.
    let own = match (gather.part)(shard, ask, shard.id, id, out) {
        Ok(own) => own,
        Err(refusal) => {
            shard.relays.gathers.pending.remove(&id);
            return Err(refusal);
        }
    };
    shard.duties.arm(Duty::EndGathers, deadline);
    for other in (0..shard.shards).map(ShardId).filter(|other| *other != shard.id) {
        out.peers.push((other, PeerMessage::Gather { id, origin: ask.origin, frame: ask.frame.into() }));
    }
    if let Some(part) = own {
        take_part(shard, id, part, out);
    }
    Ok(Answer::Held)
}

/// Another shard asks for this shard's part. `rounds` says how often it ran before, for pages of an index.
pub fn asked(shard: &mut Shard, ask: &Ask<'_>, from: ShardId, id: GatherId, rounds: u16, out: &mut Effects) {
    shard.queues.forget_miss();
    let part = match row(ask.command.code) {
        Some(gather) => (gather.part)(shard, ask, from, id, out),
        None => Ok(Some(Part::Nothing)),
    };
    if part.is_err() && shard.queues.has_miss() {
        let again = Again::Part { from, id, origin: ask.origin, frame: ask.frame.into() };
        return again::page_in(shard, ask.now, again, rounds, out);
    }
    let part = part.unwrap_or(Some(Part::Nothing));
    if let Some(part) = part {
        give_part(shard, from, id, part, out);
    }
}

/// Hands a part to the shard that merges, be it this one.
pub fn give_part(shard: &mut Shard, asker: ShardId, id: GatherId, part: Part, out: &mut Effects) {
    if asker == shard.id {
        take_part(shard, id, part, out);
    } else {
        out.peers.push((asker, PeerMessage::Part { id, part }));
    }
}

/// Takes a part; the last one answers the client. Parts of questions already answered are dropped.
pub fn take_part(shard: &mut Shard, id: GatherId, part: Part, out: &mut Effects) {
    let Some(pending) = shard.relays.gathers.pending.get_mut(&id) else { return };
    pending.parts.push(part);
    pending.missing -= 1;
    if pending.missing == 0 {
        end(shard, id, out);
    }
}

fn end(shard: &mut Shard, id: GatherId, out: &mut Effects) {
    if let Some(Pending { to, code, parts, .. }) = shard.relays.gathers.pending.remove(&id)
        && let Some(gather) = row(code)
    {
        match parts.iter().find_map(|part| if let Part::Refused(refusal) = part { Some(refusal) } else { None }) {
            Some(refusal) => drop(out.refuse(&to, refusal)),
            None => (gather.merge)(&to, parts, out),
        }
    }
}

/// Duty: answers what has waited too long with the parts that came.
pub fn end_late(shard: &mut Shard, now: Now, out: &mut Effects) -> Next {
    let pending = shard.relays.gathers.pending.iter();
    let mut late: Vec<_> = pending.filter(|(_, open)| open.deadline <= now.mono_us).map(|(id, _)| *id).collect();
    late.sort_unstable();
    for id in late {
        end(shard, id, out);
    }
    shard.relays.gathers.pending.values().map(|open| open.deadline).min().map_or(Next::WhenArmed, Next::At)
}
