//! The end of a life of the broker, the start of the next, and the look at everything that it shows.
//!
//! Owns what is compared after a start: each queue with the ledger and with a walk over the raw log, searches by time and
//! key with that walk, a group's offset with what was committed.

use std::collections::BTreeSet;

use ringmq_core::event::Input;
use ringmq_core::topic::TopicTable;
use ringmq_protocol::response_code::ResponseCode;

use super::answers::{Asked, messages_of, number_of, offset_of, with_command};
use super::{Exists, HalfMessage, NEW_TOPIC_QUEUES, POP_TOPIC, QUEUES, World};
use crate::disk;
use crate::ledger::{After, Content, Kind, QueueKey};
use crate::planted::Planted;
use crate::raw::{self, RawMessage, Walked};
use crate::reader::Reader;
use crate::wire::{self, QueueName};

/// Pops at the end of a run: many times what a run can have sent.
const POP_ROUNDS: u32 = 2_000;

impl World {
    /// Stops, one way or the other, starts again, and holds all queues against the ledger.
    pub(super) fn restart(&mut self, after: After) -> Result<(), String> {
        self.restart_with(after, None)
    }

    /// The same; a broker that stopped in order starts with as many shards as `shards` says.
    pub(super) fn restart_with(&mut self, after: After, shards: Option<u16>) -> Result<(), String> {
        let faulted = self.harness.nodes.iter().any(|node| node.shard.log.fault().is_some());
        // A broker whose disk failed cannot stop in order; and what was asked and not answered is anybody's guess.
        let after = if faulted { After::Cut } else { after };
        match after {
            After::Cut => self.cut(),
            After::Stop => {
                self.outcome.stops += 1;
                self.quiesce()?;
                // The last word of a consumer, shortly before the end.
                self.store_offset();
                self.harness.settle();
                self.listen()?;
                self.stop();
            }
        }
        let logs = self.walk_logs()?;
        (self.harness.eager, self.harness.prompt, self.harness.segments_wait) = (true, true, false);
        self.builds.clear();
        self.captures.clear();
        self.checkpoints.clear();
        let disks: Vec<_> = self.harness.nodes.iter().map(|node| node.disk.clone()).collect();
        self.removing.clear();
        let shards = shards.filter(|_| after == After::Stop);
        let makings = shards.map(|_| self.harness.nodes[0].shard.metadata.topics.clone());
        let epoch = self.harness.epoch();
        match shards {
            Some(to) => self.start_rewritten(to)?,
            None => {
                self.harness.crash().map_err(|error| format!("the broker does not start after {after:?}: {error}"))?;
            }
        }
        for asked in std::mem::take(&mut self.open).into_values() {
            if let Asked::Ack { receipt } = asked {
                self.pops.unsure(receipt.number);
            }
        }
        self.pops.forget();
        self.read_failed = false;
        self.connect();
        let makings = makings.unwrap_or_else(|| self.harness.nodes[0].shard.metadata.topics.clone());
        self.look_at_everything(after, &logs, &makings)?;
        if self.planted == Planted::Nothing && self.random.percent(20) {
            self.start_rotten(disks, epoch)?;
        }
        (self.harness.eager, self.harness.prompt) = (false, false);
        Ok(())
    }

    fn cut(&mut self) {
        self.outcome.cuts += 1;
        self.tear_checkpoints();
        for (id, plan, bytes) in std::mem::take(&mut self.unsynced) {
            self.harness.nodes[usize::from(id.0)].writes.push_back((plan, bytes));
        }
        for node in &mut self.harness.nodes {
            let pending = std::mem::take(&mut node.writes);
            disk::cut(&mut node.disk, pending, &mut self.random);
        }
    }

    /// What an orderly stop writes.
    fn stop(&mut self) {
        if self.planted == Planted::StopForgetsOffsets {
            return self.harness.flush();
        }
        for id in self.harness.ids() {
            self.harness.apply(id, Input::Stop);
        }
        self.harness.settle();
        self.finish_builds();
        self.harness.flush();
        self.harness.checkpoint();
    }

    /// What each shard's directory says, read by other code than the broker's.
    fn walk_logs(&mut self) -> Result<Vec<Walked>, String> {
        let mut logs = Vec::new();
        for node in &mut self.harness.nodes {
            match self.planted {
                Planted::SkipChecksum => raw::forge_checksums(&mut node.disk),
                Planted::LastFrameDropped => raw::drop_last_frame(&mut node.disk),
                Planted::SameMaking => raw::same_makings(&mut node.disk),
                _ => {}
            }
            let walked = raw::walk(&node.disk)?;
            let durable = node.shard.log.durable();
            if walked.end < durable.0 && self.planted == Planted::Nothing {
                return Err(format!("the log was durable up to {durable}, the disk holds it up to {}", walked.end));
            }
            logs.push(walked);
        }
        Ok(logs)
    }

    /// Lets everything that is under way come to its end.
    pub(super) fn quiesce(&mut self) -> Result<(), String> {
        (self.harness.eager, self.harness.prompt, self.harness.segments_wait) = (true, true, false);
        for (id, plan, bytes) in std::mem::take(&mut self.unsynced) {
            disk::complete(&mut self.harness.nodes[usize::from(id.0)].disk, &plan, &bytes);
        }
        for id in self.harness.ids() {
            let pending = std::mem::take(&mut self.harness.nodes[usize::from(id.0)].writes);
            for (plan, bytes) in pending {
                disk::complete(&mut self.harness.nodes[usize::from(id.0)].disk, &plan, &bytes);
                self.harness.apply(id, Input::Written { seq: plan.seq, result: Ok(()) });
            }
        }
        self.harness.settle();
        self.finish_builds();
        self.harness.flush();
        self.harness.advance(5_000);
        self.harness.flush();
        self.ledger.clock(self.harness.now.mono_us);
        self.listen()
    }

    fn look_at_everything(&mut self, after: After, logs: &[Walked], makings: &TopicTable) -> Result<(), String> {
        self.ledger.clock(self.harness.now.mono_us);
        let topics: Vec<String> = self.topics.keys().cloned().collect();
        for topic in topics {
            let queues = if topic.starts_with("new-") { NEW_TOPIC_QUEUES } else { QUEUES };
            let exists = self.topics[&topic].exists;
            let there = self.heard(|reader| reader.exists(&topic))?;
            for queue in 0..queues {
                let key = (topic.clone(), queue);
                if exists == Exists::Dropping && !there {
                    continue;
                }
                let content = if there { self.whole_queue(&key)? } else { Content::default() };
                self.ledger.settle(&key, &content, after)?;
                let making = making(&topic, logs, makings)?;
                let of_present = logs.iter().filter(|log| there && log.begun.get(&topic) == making.as_ref());
                let raw = of_present.filter_map(|log| log.queues.get(&key)).next();
                self.compare_with_log(&key, &content, raw.map_or(&[][..], Vec::as_slice))?;
                self.look_at_offset(&key, after)?;
            }
            match (exists, there) {
                (Exists::Yes, true) => {}
                (Exists::Yes, false) if topic.starts_with("new-") => {}
                (Exists::Yes, false) => return Err(format!("topic {topic} is gone")),
                (Exists::No, true) => return Err(format!("topic {topic} was deleted and is back")),
                (Exists::Dropping | Exists::Making, true) => self.set_exists(&topic, Exists::Yes),
                (Exists::No | Exists::Dropping | Exists::Making, false) => self.topic_gone(&topic),
            }
        }
        self.listen()
    }

    /// Asks with the consumer's connection and notes the answers.
    fn heard<T>(&mut self, ask: impl FnOnce(&mut Reader<'_>) -> Result<T, String>) -> Result<T, String> {
        let mut reader = Reader::new(&mut self.harness, self.consumer, &mut self.next_opaque);
        let answer = ask(&mut reader);
        let heard = reader.heard;
        heard.iter().for_each(|answer| self.note(answer));
        answer
    }

    fn whole_queue(&mut self, key: &QueueKey) -> Result<Content, String> {
        self.heard(|reader| reader.whole_queue(QueueName { topic: &key.0, queue: key.1 }))
    }

    /// The index says what the log says: every offset, searches by time, searches by key.
    fn compare_with_log(&mut self, key: &QueueKey, content: &Content, raw: &[RawMessage]) -> Result<(), String> {
        // Files of segments that were let go of may still be there.
        let raw = &raw[raw.partition_point(|message| message.offset < content.first)..];
        for (at, message) in (content.first..).zip(raw) {
            let (number, shown) = (number_of(&message.body)?, content.at(at));
            if message.offset != at || shown != Some(number) {
                return Err(format!("{key:?} offset {at}: the log has message {number}, the broker shows {shown:?}"));
            }
        }
        if raw.len() != content.numbers.len() {
            return Err(format!("{key:?} shows {content:?}, the log has {} of it", raw.len()));
        }
        if raw.is_empty() || !self.random.percent(30) {
            return Ok(());
        }
        let of = QueueName { topic: &key.0, queue: key.1 };
        let nth = self.random.index(raw.len());
        let timestamp = raw[nth].store_ms + self.random.below(3) as i64 - 1;
        let first = raw.iter().find(|message| message.store_ms >= timestamp);
        if let Some(first) = first {
            let opaque = self.opaque();
            let answer = self.ask_now(&wire::offset_at(opaque, of, timestamp))?;
            let offset = with_command(&answer, offset_of)?;
            if offset != first.offset {
                return Err(format!("{key:?}: the first at {timestamp} is {}, the broker says {offset}", first.offset));
            }
        }
        self.search_key(key, number_of(&raw[nth].body)?, raw[nth].offset)
    }

    fn search_key(&mut self, key: &QueueKey, number: usize, offset: i64) -> Result<(), String> {
        if !self.keyed.contains(&number) || self.ledger.message(number).kind != Kind::Plain {
            return Ok(());
        }
        let opaque = self.opaque();
        let answer = self.ask_now(&wire::by_unique_key(opaque, &key.0, number))?;
        let found = with_command(&answer, |command| match ResponseCode::from_i32(command.code) {
            Some(ResponseCode::Success) => messages_of(command, &key.0),
            _ => Err(format!("{key:?}: message {number} by its key: code {}, {:?}", command.code, command.remark)),
        })?;
        match found.as_slice() {
            [one] if (one.queue, one.offset, one.number) == (key.1, offset, number) => Ok(()),
            other => Err(format!("{key:?} offset {offset}: message {number} by its key: {other:?}")),
        }
    }

    fn look_at_offset(&mut self, key: &QueueKey, after: After) -> Result<(), String> {
        let opaque = self.opaque();
        let answer = self.ask_now(&wire::stored_offset(opaque, QueueName { topic: &key.0, queue: key.1 }))?;
        let offset = with_command(&answer, |command| match command.code {
            0 => offset_of(command).map(Some),
            _ => Ok(None),
        })?;
        let dropping = self.topics[&key.0].exists == Exists::Dropping;
        let last = self.stored.get(key).copied().filter(|_| !dropping);
        if after == After::Stop && last.is_some() && offset != last {
            return Err(format!("{key:?}: the group's offset was {last:?}, after an orderly stop it is {offset:?}"));
        }
        let asked = self.asked_offsets.get(key);
        match offset {
            Some(offset) if asked.is_none_or(|asked| !asked.contains(&offset)) => {
                Err(format!("{key:?}: the group's offset is {offset}, which nobody ever stored"))
            }
            Some(offset) => {
                self.stored.insert(key.clone(), offset);
                Ok(())
            }
            None => {
                self.stored.remove(key);
                Ok(())
            }
        }
    }

    /// After the last start: all that waits for its time comes, and a group that pops gets what it has not finished.
    pub(super) fn end(&mut self) -> Result<(), String> {
        (self.harness.eager, self.harness.prompt) = (true, true);
        for _ in 0..3 {
            self.quiesce()?;
        }
        let topics: Vec<String> = self.topics.keys().cloned().collect();
        for key in topics.iter().flat_map(|topic| (0..QUEUES).map(|queue| (topic.clone(), queue))) {
            if self.heard(|reader| reader.exists(&key.0))? {
                let content = self.whole_queue(&key)?;
                self.ledger.settle(&key, &content, After::Stop)?;
            }
        }
        self.ledger.all_kept()?;
        self.decide_everything()?;
        self.pop_everything()
    }

    /// A half message that was taken and never decided can still be.
    fn decide_everything(&mut self) -> Result<(), String> {
        for HalfMessage { number, place, .. } in
            self.halves.extract_if(.., |half| half.commit.is_none()).collect::<Vec<_>>()
        {
            let opaque = self.opaque();
            self.ledger.decides(number, true);
            let answer = self.ask_now(&wire::decide(opaque, number, place, true))?;
            with_command(&answer, |command| match command.code {
                0 => Ok(()),
                code => Err(format!("half message {number} cannot be decided: code {code}, {:?}", command.remark)),
            })?;
        }
        Ok(())
    }

    fn pop_everything(&mut self) -> Result<(), String> {
        // Each round that finds nothing lets everything become visible that somebody still holds.
        let (mut idle, mut given) = (0, BTreeSet::new());
        for _ in 0..POP_ROUNDS {
            (0..4).for_each(|_| self.pop());
            self.listen()?;
            given.extend(self.pops.numbers());
            idle = if self.pops.held() > 0 { 0 } else { idle + 1 };
            (0..self.pops.held()).for_each(|_| self.ack());
            self.harness.flush();
            self.listen()?;
            if idle == 4 {
                break;
            }
            if idle > 0 {
                self.harness.advance(wire::INVISIBLE_MS + 1_000);
                self.harness.flush();
            }
        }
        if idle < 4 {
            return Err(format!("pops do not come to an end: {given:?}"));
        }
        let missing = self.ledger.stored_in(POP_TOPIC).find(|number| {
            // A copy in the retry topic may have been let go of, if the message itself is as old.
            !given.contains(number) && self.pops.owes(*number) && !self.ledger.may_go(*number)
        });
        match missing {
            Some(number) => Err(format!("message {number} was neither acknowledged nor given to a pop")),
            None => Ok(()),
        }
    }
}

/// Which making of a topic the present one is. As long as the control shard's log has its beginning, it must say the same.
fn making(topic: &str, logs: &[Walked], makings: &TopicTable) -> Result<Option<u64>, String> {
    let known = Some(makings.incarnation(topic).0).filter(|known| *known > 0);
    let raw = logs[0].topics.get(topic).copied();
    if logs[0].start == 0 && raw != known {
        return Err(format!("topic {topic} is of making {known:?}, the log says {raw:?}"));
    }
    Ok(known)
}
