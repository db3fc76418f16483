//! What shards tell each other.
//!
//! Owns the handling of every `PeerMessage` and the two ways of sending one: to any shard, or to control. A message to
//! the own shard is handled within the same `apply`. Never blocks, never drops: the driver keeps what a full ring
//! does not take.

use ringmq_protocol::command::Command;
use ringmq_protocol::frame;

use crate::effects::{Ask, Effects, Refusal};
use crate::event::{Now, PeerMessage, ShardId};
use crate::parked::{Awaited, ParkedFrame};
use crate::place::Place;
use crate::shard::Shard;
use crate::store::Position;
use crate::topic::Change;
use crate::{gather, handlers, pop, retain};

/// Sends to the control shard, which may be this one.
pub fn tell_control(shard: &mut Shard, now: Now, message: PeerMessage, out: &mut Effects) {
    let _ = (shard.id, now);
    out.peers.push((ShardId::CONTROL, message));
}

/// Handles the messages that this shard sent to itself during this `apply`; the driver never sees them. `false` if there
/// were none.
pub fn deliver_own(shard: &mut Shard, now: Now, from: usize, out: &mut Effects) -> bool {
    let mut any = false;
    let mut at = from;
    while at < out.peers.len() {
        if out.peers[at].0 == shard.id {
            any = true;
            let (_, message) = out.peers.remove(at);
            apply(shard, now, shard.id, message, out);
        } else {
            at += 1;
        }
    }
    any
}

/// Handles one message of another shard (or this one).
pub fn apply(shard: &mut Shard, now: Now, from: ShardId, message: PeerMessage, out: &mut Effects) {
    match message {
        PeerMessage::Request { origin, frame } => {
            with_command(&frame, |command| {
                // Not `dispatch`: frames of the same connection may stand in line for their topic here.
                shard.request(&Ask { now, origin, command, frame: &frame, wait_until: None }, out);
            });
        }
        PeerMessage::TopicWanted { wish } => handlers::control::topic_wanted(shard, now, from, &wish, out),
        PeerMessage::TopicDecided { topic, outcome } => topic_decided(shard, now, &topic, outcome, out),
        PeerMessage::GroupWanted { group } => handlers::control::group_wanted(shard, now, from, &group, out),
        PeerMessage::Delta { version, changes } => {
            let until = changes.into_iter().map(|one| change(shard, now, one, out)).max();
            shard.relays.confirm(until.unwrap_or(Position(0)), version);
        }
        PeerMessage::Confirm { version } => handlers::control::confirmed(shard, from, version, out),
        PeerMessage::Gather { id, origin, frame } => {
            with_command(&frame, |command| {
                let ask = Ask { now, origin, command, frame: &frame, wait_until: None };
                gather::asked(shard, &ask, from, id, 0, out);
            });
        }
        PeerMessage::Part { id, part } => gather::take_part(shard, id, part, out),
        PeerMessage::Store { id, letter } => handlers::relay::store(shard, now, from, id, &letter, out),
        PeerMessage::Stored { id, outcome } => handlers::relay::stored(shard, id, outcome, out),
        PeerMessage::Pop(walk) => handlers::pop_wait::arrived(shard, now, *walk, out),
        PeerMessage::PopNews { topic, group, at, waiting } => {
            handlers::pop_wait::news(shard, now, topic, group, at, waiting, out);
        }
        PeerMessage::Push { push } => handlers::push::send(shard, now, from, &push, out),
        PeerMessage::Pushed { id, outcome } => handlers::relay::pushed(shard, id, outcome, out),
    }
}

/// Reads a frame that came over the mesh. Its home executor has read it before, so it is one.
pub(crate) fn with_command(bytes: &[u8], then: impl FnOnce(&Command<'_>)) {
    if let Ok(Some(frame)) = frame::split(bytes)
        && let Ok(command) = Command::parse(frame)
    {
        then(&command);
    }
}

/// A wanted topic is there on every shard, or refused: its line moves on.
fn topic_decided(shard: &mut Shard, now: Now, topic: &str, outcome: Result<(), Refusal>, out: &mut Effects) {
    for parked in shard.parked.take(&Awaited::Topic(topic.into())) {
        match &outcome {
            Ok(()) => rerun(shard, now, parked, out),
            Err(refusal) => with_command(&parked.frame, |command| {
                let ask = Ask { now, origin: parked.origin, command, frame: &parked.frame, wait_until: None };
                let _ = handlers::send::refuse(&shard.metadata, &ask.to(), refusal, out);
            }),
        }
    }
}

/// Runs a parked request where it belongs now. Its deadline stays: it does not wait twice.
pub fn rerun(shard: &mut Shard, now: Now, parked: ParkedFrame, out: &mut Effects) {
    let ParkedFrame { awaited: _, origin, frame, deadline } = parked;
    let mut elsewhere = None;
    with_command(&frame, |command| match shard.place(&origin, command) {
        Place::Here => shard.dispatch(&Ask { now, origin, command, frame: &frame, wait_until: Some(deadline) }, out),
        Place::Shard(other) => elsewhere = Some(other),
    });
    if let Some(other) = elsewhere {
        out.peers.push((other, PeerMessage::Request { origin, frame }));
    }
}

/// Takes over a change of metadata and lets go of what it removes. How far the log must be durable for it to hold here for ever.
pub(crate) fn change(shard: &mut Shard, now: Now, change: Change, out: &mut Effects) -> Position {
    let before = shard.log.appended();
    take_over(shard, now, change, out);
    // Whatever it wrote: what groups hold by POP is not gone before that is durable.
    let after = shard.log.appended();
    if after == before { Position(0) } else { after }
}

fn take_over(shard: &mut Shard, now: Now, change: Change, out: &mut Effects) {
    if let Change::TopicPut(topic) = &change {
        retain::limit_topic(shard, topic);
    }
    match &change {
        Change::TopicPut(_) | Change::GroupPut(_) | Change::GroupDrop { clean_offsets: false, .. } => {
            shard.metadata.take(change);
        }
        Change::View { group, view } => {
            let came = view.is_some().then(|| Awaited::Subscription(group.clone()));
            shard.metadata.take(change);
            for parked in came.map(|group| shard.parked.take(&group)).unwrap_or_default() {
                rerun(shard, now, parked, out);
            }
        }
        Change::TopicDrop { name } => {
            drop_topic(shard, now, name, out);
            shard.metadata.apply(&change);
            handlers::pop_wait::wake_topic(shard, now, name, out);
        }
        Change::GroupDrop { name, clean_offsets: true } => {
            shard.offsets.drop_group(name);
            pop::drop_group(shard, now, name);
            shard.metadata.take(change);
        }
        Change::Setting { .. } => {
            shard.metadata.take(change);
            shard.delay.set_levels(shard.metadata.settings.delay_levels_ms());
        }
    }
}

/// A topic is deleted: its queues, offsets and held pulls go. This shard's log does not say so, nor need it: what it has of
/// the topic is of an incarnation that the topic, if it is ever made again, will not have.
pub(crate) fn drop_topic(shard: &mut Shard, now: Now, name: &str, out: &mut Effects) {
    let slots: Vec<_> = shard.queues.of_topic(name).map(|(_, slot)| slot).collect();
    if slots.is_empty() {
        return;
    }
    shard.queues.drop_topic(name, shard.log.appended());
    retain::topic_dropped(shard, name);
    for slot in slots {
        shard.offsets.drop_queue(slot);
        shard.pop.lines.drop_queue(slot);
        // The queue is gone: whoever waits for it is told.
        handlers::pull::wake(shard, now, slot, out);
    }
}
