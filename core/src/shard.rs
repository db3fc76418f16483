//! One shard: its parts, and `apply`, through which everything that happens to it goes.
//!
//! Owns the struct and the outline of `apply`: match the input, let its file mutate, settle what became ready, assert.
//! Decisions live in `handlers/`, `append.rs`, `peer.rs` and the rooms of the parts; this file only says which one is
//! asked. Never reads a clock, awaits, or does input and output.

use ringmq_protocol::command::Command;

use crate::cold::{self, Cold};
use crate::control::Control;
use crate::counts::Counts;
use crate::delay::Delay;
use crate::duties::{Duties, Duty, Next};
use crate::effects::{Answer, Ask, Effects, Fault, Refusal, ReplyTo};
use crate::event::{ConnId, DiskError, Input, Now, Origin, ReadId, ShardId};
use crate::half::Half;
use crate::handlers::relay::Relays;
use crate::held::Held;
use crate::metadata::Metadata;
use crate::offsets::Offsets;
use crate::parked::Parked;
use crate::place::Place;
use crate::pop::Pop;
use crate::reading::{Reading, Reads};
use crate::store::cold::Block;
use crate::store::{CommitLog, Entry, KeyIndex, Position, QueueTable};
use crate::waiting::{Shows, Waiting};
use crate::{again, append, handlers, peer, retain, routes, store};

/// The parts of one shard. Handlers take them apart in their first line; there are no getters.
#[derive(Debug)]
pub struct Shard {
    pub id: ShardId,
    /// How many shards the data directory has.
    pub shards: u16,
    /// This shard's copy of topics, groups, subscriptions and settings.
    pub metadata: Metadata,
    pub log: CommitLog,
    pub queues: QueueTable,
    pub index: KeyIndex,
    pub offsets: Offsets,
    pub waiting: Waiting,
    pub held: Held,
    pub parked: Parked,
    pub reads: Reads,
    /// What of the log was read back, and who waits for more.
    pub cold: Cold,
    pub delay: Delay,
    pub half: Half,
    pub relays: Relays,
    pub pop: Pop,
    pub duties: Duties,
    pub counts: Counts,
    pub scratch: Scratch,
    /// The truth about metadata; on the control shard only.
    pub control: Option<Box<Control>>,
}

/// Buffers that are reused so that SEND and PULL do not allocate. Their content is meaningless between calls.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Properties of the message being sent, without JSON escapes.
    pub decoded: Vec<u8>,
    /// Properties of the message being stored.
    pub properties: String,
    /// Ids of a batch being answered.
    pub ids: String,
    /// Log ranges of the messages being sent to a consumer.
    pub spans: Vec<(Position, u32)>,
    /// Queue entries from disk that a pull looks at.
    pub entries: Vec<(u64, Entry)>,
    /// Queues that became readable further.
    pub shown: Vec<Shows>,
}

impl Shard {
    /// Where a request runs: read by the driver before it hands the frame to this shard or to another one.
    /// Reads topic and queue id (or the physical offset) only.
    #[inline]
    pub fn place(&self, origin: &Origin, command: &Command<'_>) -> Place {
        if self.shards == 1 {
            return Place::Here;
        }
        routes::place(self, origin, command)
    }

    /// Lets one thing happen. Everything it causes outside stands in `out` afterwards.
    pub fn apply(&mut self, now: Now, input: Input<'_>, out: &mut Effects) {
        let own_from = out.peers.len();
        match input {
            Input::Request { origin, command, frame } => {
                self.request(&Ask { now, origin, command, frame, wait_until: None }, out);
            }
            Input::ClientAnswer { origin, command, .. } => handlers::push::answered(self, &origin, command, out),
            Input::Closed { conn } => self.closed(now, conn, out),
            Input::Written { seq, result } => self.written(seq, result, out),
            Input::Read { id, result } => self.read(now, id, result, out),
            Input::ReadLog { id, blocks } => self.read_log(id, blocks, out),
            Input::Serve { bytes } => cold::serve(self, now, bytes, out),
            Input::Lost { fault } => {
                if self.log.stop(fault.clone()) {
                    self.stopped(fault, out);
                }
            }
            Input::Damaged { damage } => cold::note(self, damage, out),
            Input::Volume(volume) => retain::look(self, now, volume, out),
            Input::Peer { from, message } => peer::apply(self, now, from, message, out),
            Input::Tick => self.tick(now, out),
            Input::Stop => handlers::offset::write_all(self, now),
        }
        self.settle(now, out);
        while peer::deliver_own(self, now, own_from, out) {
            self.settle(now, out);
        }
    }

    /// When `Input::Tick` is wanted, mono microseconds; `None` while nothing waits for time.
    pub fn next_deadline(&self) -> Option<u64> {
        let control = self.control.as_ref().and_then(|control| control.next_deadline());
        let own = [
            self.held.next_deadline(),
            self.parked.next_deadline(),
            self.pop.rooms.next_deadline(),
            self.relays.pushes.next_deadline(),
            self.duties.next_deadline(),
            control,
        ];
        own.into_iter().flatten().min()
    }

    /// Whether somebody waits for what was appended to become durable: a sender on a sync topic, a change of topics or groups,
    /// another shard.
    pub fn is_awaited(&self) -> bool {
        !self.waiting.is_empty()
            || self.relays.wait_for_disk()
            || self.control.as_ref().is_some_and(|control| !control.pending.is_empty())
    }

    /// Answers a request, or lets it join the line of its parked topic.
    pub(crate) fn request(&mut self, ask: &Ask<'_>, out: &mut Effects) {
        if !self.parked.is_empty()
            && let Some(joined) = handlers::topic_wait::join(self, ask)
        {
            return self.finish(&ask.to(), joined, out);
        }
        self.dispatch(ask, out);
    }

    /// Answers a request that must not be parked behind others (it may be the first of its line).
    pub(crate) fn dispatch(&mut self, ask: &Ask<'_>, out: &mut Effects) {
        let outcome = self.answer(ask, out);
        if outcome.is_err() && self.queues.has_miss() {
            return again::wait_for_request(self, ask, 0, out);
        }
        self.finish(&ask.to(), outcome, out);
    }

    /// The answer of the request's handler.
    pub(crate) fn answer(&mut self, ask: &Ask<'_>, out: &mut Effects) -> Result<Answer, Refusal> {
        self.queues.forget_miss();
        match routes::handler(ask.command.code) {
            Some(handler) => handler(self, ask, out),
            None => Err(routes::unserved(ask.command.code)),
        }
    }

    /// Does with an answer what it says it waits for.
    pub(crate) fn finish(&mut self, to: &ReplyTo, outcome: Result<Answer, Refusal>, out: &mut Effects) {
        let refused = match outcome {
            Ok(Answer::Now | Answer::Held | Answer::Silent) => return,
            Ok(Answer::When(position)) => return self.waiting.hold_last(position, *to, out),
            Ok(Answer::Read(plan, reading)) => self.reads.start(plan, reading, out).err(),
            Err(refusal) => Some(refusal),
        };
        if let Some(refusal) = refused {
            let _ = out.refuse(to, &refusal);
        }
    }

    fn closed(&mut self, now: Now, conn: ConnId, out: &mut Effects) {
        self.held.drop_conn(conn);
        self.parked.drop_conn(conn);
        self.pop.rooms.drop_conn(conn);
        self.relays.pushes.drop_conn(conn, out);
        handlers::control::closed(self, now, conn, out);
    }

    fn written(&mut self, seq: u64, result: Result<(), DiskError>, out: &mut Effects) {
        let had_stopped = self.log.fault().is_some();
        if let Err(fault) = self.log.complete(seq, result)
            && !had_stopped
        {
            self.stopped(fault, out);
        }
    }

    /// The log has just stopped: everyone who waits for it is told.
    fn stopped(&mut self, fault: Fault, out: &mut Effects) {
        let refusal = append::stopped(&fault);
        self.waiting.fail(&refusal, out);
        self.relays.fail(&refusal, out);
        handlers::pop_ack::fail(self, out);
        out.fault = Some(fault);
    }

    fn read(&mut self, now: Now, id: ReadId, result: Result<&[u8], DiskError>, out: &mut Effects) {
        let Some((_, reading)) = self.reads.take(id) else { return };
        match reading {
            Reading::Log { stretch, durable } => {
                cold::arrived(self, stretch, durable, result.map(store::cold::blocks), out);
            }
            Reading::Index { pages, waiting } => again::read(self, now, &pages, waiting, result, out),
        }
    }

    fn read_log(&mut self, id: ReadId, blocks: Vec<Block>, out: &mut Effects) {
        let Some((_, Reading::Log { stretch, durable })) = self.reads.take(id) else { return };
        cold::arrived(self, stretch, durable, Ok(blocks), out);
    }

    fn tick(&mut self, now: Now, out: &mut Effects) {
        while let Some(pull) = self.held.expire(now.mono_us) {
            handlers::pull::rerun(self, now, pull, out);
        }
        handlers::pop_wait::tick(self, now, out);
        for parked in self.parked.take_expired(now.mono_us) {
            peer::rerun(self, now, parked, out);
        }
        self.relays.pushes.expire(now.mono_us, out);
        // Each duty at most once per tick: one that wants to go on at once must not keep the later ones waiting.
        let mut again = [const { None }; Duty::ALL.len()];
        for _ in 0..Duty::ALL.len() {
            let Some(duty) = self.duties.take_due(now.mono_us) else { break };
            if let Next::At(at) = duty.step()(self, now, out) {
                again[duty as usize] = Some((duty, at));
            }
        }
        for (duty, at) in again.into_iter().flatten() {
            self.duties.arm(duty, at);
        }
        handlers::control::tick(self, now, out);
    }

    /// Sends what became durable, shows it to consumers, wakes their pulls, and checks what must always hold.
    fn settle(&mut self, now: Now, out: &mut Effects) {
        let Shard { log, queues, waiting, scratch, .. } = self;
        let durable = log.durable();
        if !waiting.is_empty() {
            waiting.release(durable, out, |shows| {
                // The queue may have been dropped since.
                if let Some(queue) = queues.get_mut(shows.slot) {
                    queue.show(shows.below);
                    append::note_shown(&mut scratch.shown, shows);
                }
            });
        }
        handlers::relay::durable(self, durable, out);
        handlers::pop_ack::durable(self, durable, out);
        handlers::control::durable(self, now, durable, out);
        while let Some(shows) = self.scratch.shown.pop() {
            if !self.held.on(shows.slot).is_empty() {
                handlers::pull::wake(self, now, shows.slot, out);
            }
            if !self.pop.rooms.watching(shows.slot).is_empty() {
                handlers::pop_wait::wake_slot(self, now, shows.slot, out);
            }
        }
        if self.queues.wants_ahead() {
            again::read_ahead(self, out);
        }
        assert!(durable <= self.log.written() && self.log.written() <= self.log.appended());
    }
}
