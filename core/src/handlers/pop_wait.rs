//! POP requests that found nothing: the way from shard to shard, waiting, and what ends it.
//!
//! Owns the rule of `pop::place` ("one shard at a time") on the side of each shard, and the waking: by a message here, by
//! word from another shard, by time. A woken request runs again from its frame. Never looks for messages itself.

use ringmq_protocol::command::Command;
use ringmq_protocol::request_code::RequestCode;

use super::{pop, pop_notice};
use crate::again::{self, Again};
use crate::effects::{Answer, Ask, Effects, Refusal};
use crate::event::{Now, Origin, PeerMessage, ShardId};
use crate::peer;
use crate::pop::place;
use crate::pop::rooms::{Cleared, RoomId, RoomsFull, Waiter};
use crate::routes;
use crate::shard::Shard;
use crate::store::QueueSlot;

/// A POP request on its way to the next shard.
#[derive(Debug)]
pub struct Walk {
    pub origin: Origin,
    pub frame: Box<[u8]>,
    /// Mono microseconds until which it may wait.
    pub deadline: u64,
    /// How many shards are left, the receiver not counted.
    pub left: u16,
}

/// What a request that found nothing here waits for.
#[derive(Debug)]
pub struct Stay<'a> {
    pub topic: &'a str,
    pub group: &'a str,
    /// `None`: any, on any shard.
    pub queue: Option<u32>,
    pub deadline: u64,
    pub shape: u64,
    /// Queues here that may get what it wants.
    pub slots: &'a [QueueSlot],
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stayed {
    /// It waits, here or elsewhere.
    Held,
    /// Its time is up.
    TimeUp,
    /// Too many wait.
    Full,
}

/// Sends a request on to the next shard, or lets it wait here. `left` is `None` for one that just came from its client.
pub(crate) fn stay(shard: &mut Shard, ask: &Ask<'_>, stay: &Stay<'_>, left: Option<u16>, out: &mut Effects) -> Stayed {
    let owners = match (stay.queue, shard.metadata.topics.get(stay.topic)) {
        (None, Some(topic)) => place::owners(topic),
        _ => Vec::new(),
    };
    let left = left.unwrap_or(owners.len().saturating_sub(1) as u16);
    let waits = stay.deadline > ask.now.mono_us;
    if left > 0 && !owners.is_empty() {
        if waits {
            let Ok(room) = shard.pop.rooms.enter(stay.topic, stay.group, stay.slots) else { return Stayed::Full };
            let here = owners.iter().position(|owner| *owner == shard.id).unwrap_or(0);
            shard.pop.rooms.note_interest(room, owners[(here + usize::from(left)) % owners.len()]);
        }
        let walk = Walk { origin: ask.origin, frame: ask.frame.into(), deadline: stay.deadline, left: left - 1 };
        out.peers.push((place::after(&owners, shard.id), PeerMessage::Pop(Box::new(walk))));
        return Stayed::Held;
    }
    if !waits {
        return Stayed::TimeUp;
    }
    let Ok(room) = shard.pop.rooms.enter(stay.topic, stay.group, stay.slots) else { return Stayed::Full };
    let waiter = Waiter {
        origin: ask.origin,
        frame: ask.frame.into(),
        deadline: stay.deadline,
        shape: stay.shape,
        queue: stay.queue,
    };
    match shard.pop.rooms.hold(room, waiter) {
        Ok(()) => Stayed::Held,
        Err(RoomsFull) => Stayed::Full,
    }
}

/// A request that another shard passed on.
pub(crate) fn arrived(shard: &mut Shard, now: Now, walk: Walk, out: &mut Effects) {
    let Walk { origin, frame, deadline, left } = walk;
    run(shard, now, &origin, &frame, deadline, left, 0, out);
}

/// Runs a request again; whether it waits again. `rounds` says how often it ran before, for pages of an index.
#[expect(clippy::too_many_arguments, reason = "the first four are what is kept of it")]
pub(crate) fn run(
    shard: &mut Shard,
    now: Now,
    origin: &Origin,
    frame: &[u8],
    deadline: u64,
    left: u16,
    rounds: u16,
    out: &mut Effects,
) -> bool {
    let mut waits = false;
    shard.queues.forget_miss();
    peer::with_command(frame, |command: &Command<'_>| {
        let ask = Ask { now, origin: *origin, command, frame, wait_until: Some(deadline) };
        let outcome = match RequestCode::from_i32(command.code) {
            Some(RequestCode::PopMessage) => pop::serve(shard, &ask, Some(left), out),
            Some(RequestCode::Notification) => pop_notice::serve(shard, &ask, Some(left), out),
            _ => Err(routes::unserved(command.code)),
        };
        if outcome.is_err() && shard.queues.has_miss() {
            let walk = Walk { origin: *origin, frame: frame.into(), deadline, left };
            return again::page_in(shard, now, Again::Walk(walk), rounds, out);
        }
        waits = matches!(outcome, Ok(Answer::Held));
        finish(shard, &ask, outcome, out);
    });
    waits
}

fn finish(shard: &mut Shard, ask: &Ask<'_>, outcome: Result<Answer, Refusal>, out: &mut Effects) {
    shard.finish(&ask.to(), outcome, out);
}

/// A queue has something for those who wait, or changed under them.
pub(crate) fn wake_slot(shard: &mut Shard, now: Now, slot: QueueSlot, out: &mut Effects) {
    let rooms: Vec<RoomId> = shard.pop.rooms.watching(slot).to_vec();
    for room in rooms {
        wake(shard, now, room, out);
    }
}

/// A topic is gone: its pops are told.
pub(crate) fn wake_topic(shard: &mut Shard, now: Now, topic: &str, out: &mut Effects) {
    for room in shard.pop.rooms.of_topic(topic) {
        wake(shard, now, room, out);
    }
}

fn wake(shard: &mut Shard, now: Now, room: RoomId, out: &mut Effects) {
    let Some(Cleared { topic, group, held, interested }) = shard.pop.rooms.clear(room) else { return };
    for waiting in interested {
        let news = PeerMessage::PopNews { topic: topic.clone(), group: group.clone(), at: shard.id, waiting };
        let owners = shard.metadata.topics.get(&topic).map(place::owners).unwrap_or_default();
        out.peers.push((place::after(&owners, shard.id), news));
    }
    let mut in_vain: Vec<u64> = Vec::new();
    for waiter in held {
        // The first of its kind that waits again has made the room again.
        let room = shard.pop.rooms.find(&topic, &group).filter(|_| in_vain.contains(&waiter.shape));
        match room {
            Some(room) => {
                let held = shard.pop.rooms.hold(room, waiter);
                assert!(held.is_ok(), "it was held just now");
            }
            None => {
                let Waiter { origin, frame, deadline, shape, queue: _ } = waiter;
                if run(shard, now, &origin, &frame, deadline, 0, 0, out) {
                    in_vain.push(shape);
                }
            }
        }
    }
}

/// Another shard has a message for those who wait here, or farther on.
pub(crate) fn news(
    shard: &mut Shard,
    now: Now,
    topic: Box<str>,
    group: Box<str>,
    at: ShardId,
    waiting: ShardId,
    out: &mut Effects,
) {
    let owners = shard.metadata.topics.get(&topic).map(place::owners).unwrap_or_default();
    if waiting != shard.id {
        let next = place::after(&owners, shard.id);
        // Once round is enough: the owners changed.
        if next != at {
            out.peers.push((next, PeerMessage::PopNews { topic, group, at, waiting }));
        }
        return;
    }
    let Some(room) = shard.pop.rooms.find(&topic, &group) else { return };
    let Some(Cleared { held, interested, .. }) = shard.pop.rooms.clear(room) else { return };
    let left = owners.len().saturating_sub(1) as u16;
    for Waiter { origin, frame, deadline, shape: _, queue } in held {
        if queue.is_none() && at != shard.id {
            let walk = Walk { origin, frame, deadline, left };
            out.peers.push((at, PeerMessage::Pop(Box::new(walk))));
        } else {
            run(shard, now, &origin, &frame, deadline, 0, 0, out);
        }
    }
    // They are not here any more; who passed by here is still wanted.
    keep_interest(shard, &topic, &group, &interested);
}

/// Interest in this shard's messages outlives the waking of those who wait here.
fn keep_interest(shard: &mut Shard, topic: &str, group: &str, interested: &[ShardId]) {
    if interested.is_empty() {
        return;
    }
    let slots = pop::slots(shard, topic, group);
    if let Ok(room) = shard.pop.rooms.enter(topic, group, &slots) {
        interested.iter().for_each(|waiting| shard.pop.rooms.note_interest(room, *waiting));
    }
}

/// Time passed: whose time is up looks for the last time.
pub(crate) fn tick(shard: &mut Shard, now: Now, out: &mut Effects) {
    while let Some(Waiter { origin, frame, deadline, .. }) = shard.pop.rooms.expire(now.mono_us) {
        run(shard, now, &origin, &frame, deadline, 0, 0, out);
    }
}
