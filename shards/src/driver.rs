//! Everything one executor drives: its shards, its name server, its connections; what goes in and what comes out.
//!
//! Owns the way of a command to its shard, and the carrying out of effects: answers to sockets, messages to other shards,
//! reads and writes to the disk. Decides nothing that a client could notice: where a request runs is `Shard::place`'s to say,
//! what it does is `apply`'s.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ringmq_core::effects::{Effects, Outgoing};
use ringmq_core::event::{ConnId, CoreId, Input, Now, Origin, PeerMessage, ShardId};
use ringmq_core::handlers;
use ringmq_core::namesrv::{FileToWrite, NameServer, NamesrvInput, Telling};
use ringmq_core::place::Place;
use ringmq_core::shard::Shard;
use ringmq_core::store::Undurable;
use ringmq_core::topic::Registration;
use ringmq_protocol::command::Command;
use ringmq_protocol::convoy::Convoy;
use ringmq_protocol::request_code::RequestCode;

use crate::clock;
use crate::disk::Disk;
use crate::disk::ring::{LogRing, Writing};
use crate::limits;
use crate::mesh::{Batch, Mesh, Said};
use crate::net::Door;
use crate::net::table::{Blocked, Table};
use crate::nudge::Nudge;
use crate::registrar::Inbox;
use crate::service::ServiceHandle;

/// One shard that lives here.
pub struct Hosted {
    pub id: ShardId,
    pub shard: ServiceHandle<Shard>,
    pub disk: Rc<Disk>,
    /// What the shard wants done; drained before another shard runs on its account.
    out: RefCell<Effects>,
    /// The shard's fault was logged.
    faulted: Cell<bool>,
}

impl Hosted {
    /// Takes a recovered shard and its files in.
    pub fn new(id: ShardId, shard: Shard, disk: Rc<Disk>) -> Self {
        Hosted {
            id,
            shard: ServiceHandle::new(shard),
            disk,
            out: RefCell::new(Effects::default()),
            faulted: Cell::new(false),
        }
    }

    fn apply(&self, now: Now, input: Input<'_>) {
        let mut out = self.out.borrow_mut();
        self.shard.apply(|shard| shard.apply(now, input, &mut out));
    }
}

/// The name server that lives here, if any.
pub struct Names {
    pub server: ServiceHandle<NameServer>,
    out: RefCell<Effects>,
}

impl Names {
    /// Takes a name server in.
    pub fn new(server: NameServer) -> Self {
        Names { server: ServiceHandle::new(server), out: RefCell::new(Effects::default()) }
    }

    fn apply(&self, now: Now, input: NamesrvInput<'_>) {
        let mut out = self.out.borrow_mut();
        self.server.apply(|server| server.apply(now, input, &mut out));
    }
}

/// What the end of a turn leaves to tasks of their own.
#[derive(Debug, Default)]
pub struct Left {
    /// Connections whose socket takes no more for now.
    pub blocked: Vec<Blocked>,
    /// The name server's key-value file.
    pub file: Option<FileToWrite>,
}

/// One executor's state; shared by its tasks, never across threads.
pub struct Driver {
    pub core: CoreId,
    pub hosted: Box<[Rc<Hosted>]>,
    pub names: Option<Names>,
    /// The executor of every shard, by shard.
    cores: Box<[CoreId]>,
    pub table: RefCell<Table>,
    pub mesh: RefCell<Mesh>,
    /// Requests of this turn.
    requests: Cell<u32>,
    /// What all connections read into.
    pub read_buffer: RefCell<Box<[u8]>>,
    /// Bytes of unfinished frames of all connections.
    pub unfinished: Cell<usize>,
    /// Messages between two shards that both live here.
    local: RefCell<VecDeque<(ShardId, ShardId, PeerMessage)>>,
    /// Nudged when something happened; the turn task then carries it out.
    pub turn: Rc<Nudge>,
    /// Nudged when a deadline may have come nearer.
    pub deadlines: Nudge,
    /// Reading tasks that wait for the disk or another executor to catch up.
    waiting_readers: RefCell<Vec<Waker>>,
    /// The disk or another executor has to catch up: connections are not read.
    loaded: Cell<bool>,
    stopping: Cell<bool>,
    /// When somebody last asked for something else than messages, microseconds of the monotonic clock.
    asked_us: Cell<u64>,
    /// The second of the last complaints about garbage, and how many there were in it.
    complaints: Cell<(u64, u32)>,
    /// What standalone name servers have to be told, one each; on the control shard's executor only.
    pub inboxes: Box<[Rc<Inbox>]>,
    /// What the logs are written through; none where no shard lives.
    ring: Option<Rc<LogRing>>,
}

impl Driver {
    /// The driver of executor `core`, which hosts `hosted` and perhaps a name server.
    pub fn new(
        core: CoreId,
        hosted: Vec<Hosted>,
        names: Option<Names>,
        cores: Box<[CoreId]>,
        inboxes: Box<[Rc<Inbox>]>,
        ring: Option<Rc<LogRing>>,
    ) -> Self {
        Driver {
            core,
            hosted: hosted.into_iter().map(Rc::new).collect(),
            names,
            cores,
            table: RefCell::new(Table::new(core)),
            mesh: RefCell::new(Mesh::default()),
            requests: Cell::new(0),
            read_buffer: RefCell::new(vec![0; limits::READ_BUFFER].into_boxed_slice()),
            unfinished: Cell::new(0),
            local: RefCell::new(VecDeque::new()),
            turn: Rc::new(Nudge::default()),
            deadlines: Nudge::default(),
            waiting_readers: RefCell::new(Vec::new()),
            loaded: Cell::new(false),
            stopping: Cell::new(false),
            asked_us: Cell::new(0),
            complaints: Cell::new((0, 0)),
            inboxes,
            ring,
        }
    }

    /// Hands one command of a connection to whoever answers it.
    pub fn command(&self, now: Now, origin: Origin, door: Door, command: &Command<'_>, frame: &[u8]) {
        match door {
            Door::NameServer => {
                if let Some(names) = &self.names {
                    names.apply(now, NamesrvInput::Request { origin, command });
                }
            }
            Door::Broker if command.is_response() => self.client_answer(now, origin, command, frame),
            Door::Broker => self.request(now, origin, command, frame),
        }
    }

    fn request(&self, now: Now, origin: Origin, command: &Command<'_>, frame: &[u8]) {
        self.requests.set(self.requests.get() + 1);
        if command.code != RequestCode::PullMessage.to_i32() {
            self.asked_us.set(now.mono_us);
        }
        let home = self.home(origin.conn);
        let to = match home.shard.apply(|shard| shard.place(&origin, command)) {
            Place::Here => return home.apply(now, Input::Request { origin, command, frame }),
            Place::Shard(to) => to,
        };
        // Behind what the home shard itself has sent on: a frame overtakes no earlier one of its topic.
        if !home.out.borrow().peers.is_empty() {
            self.carry_out();
        }
        let core = self.cores[usize::from(to.0)];
        if core == self.core {
            self.asked(now, to, origin, command, frame);
        } else {
            self.mesh.borrow().put(core, frame.len(), |batch| batch.request(home.id, to, origin, command, frame));
        }
    }

    /// A request came to another shard, here or on another executor, and is answered by this one.
    fn asked(&self, now: Now, to: ShardId, origin: Origin, command: &Command<'_>, frame: &[u8]) {
        if let Some(hosted) = self.hosted(to) {
            hosted.apply(now, Input::Request { origin, command, frame });
            self.carry_much(hosted);
        }
    }

    /// Carries out effects before there is too much of them.
    fn carry_much(&self, hosted: &Hosted) {
        let collected = hosted.out.borrow().bytes.len();
        if collected >= limits::EFFECTS_BYTES {
            self.carry_out();
        }
    }

    /// Whether nobody but those who pull messages has asked for anything lately.
    pub fn only_pulls(&self) -> bool {
        clock::mono_us() > self.asked_us.get() + limits::ONLY_PULLS_US
    }

    /// An answer to a push: only the control shard pushes.
    fn client_answer(&self, now: Now, origin: Origin, command: &Command<'_>, frame: &[u8]) {
        match self.hosted(ShardId::CONTROL) {
            Some(control) => control.apply(now, Input::ClientAnswer { origin, command, frame }),
            None => {
                let core = self.cores[usize::from(ShardId::CONTROL.0)];
                self.mesh.borrow().put(core, frame.len(), |batch| batch.answers.push((origin, frame.into())));
            }
        }
    }

    /// The shard that speaks for a connection.
    fn home(&self, conn: ConnId) -> &Hosted {
        &self.hosted[conn.slot as usize % self.hosted.len()]
    }

    fn hosted(&self, id: ShardId) -> Option<&Rc<Hosted>> {
        self.hosted.iter().find(|hosted| hosted.id == id)
    }

    /// Whether a connection's reading should stop after this command: its answers, or what they cost, pile up.
    pub fn has_enough(&self, conn: ConnId) -> bool {
        let collected = self.hosted.first().map_or(0, |_| self.home(conn).out.borrow().bytes.len());
        if collected < limits::EFFECTS_BYTES {
            return false;
        }
        self.carry_out();
        let mut table = self.table.borrow_mut();
        table.get(conn).is_none_or(|connection| connection.out.pending() > limits::OUTBOUND_PAUSE)
    }

    /// A connection's bytes were handed over for now.
    pub fn end_of_batch(&self, conn: ConnId, now: Now) {
        if let Some(connection) = self.table.borrow_mut().get(conn) {
            connection.active_us = now.mono_us;
        }
        self.carry_out();
    }

    /// The control shard begins: it makes the topics every broker has, and announces all.
    pub fn begin(&self) {
        if let Some(control) = self.hosted(ShardId::CONTROL) {
            let mut out = control.out.borrow_mut();
            control.shard.apply(|shard| handlers::control::start(shard, clock::now(), &mut out));
        }
        self.carry_out();
    }

    /// One thing happened to a shard that lives here.
    pub fn happened(&self, hosted: &Hosted, input: Input<'_>) {
        hosted.apply(clock::now(), input);
        self.carry_out();
    }

    /// One thing happened to the name server.
    pub fn happened_to_names(&self, input: NamesrvInput<'_>) {
        if let Some(names) = &self.names {
            names.apply(clock::now(), input);
            self.carry_out();
        }
    }

    /// A connection ended.
    pub fn closed(&self, conn: ConnId, door: Door) {
        self.table.borrow_mut().remove(conn);
        match door {
            Door::NameServer => self.happened_to_names(NamesrvInput::Closed { conn }),
            Door::Broker => {
                self.tell_closed(conn);
                self.mesh.borrow().put_all(|batch| batch.closed.push(conn));
                self.carry_out();
            }
        }
    }

    fn tell_closed(&self, conn: ConnId) {
        let now = clock::now();
        self.hosted.iter().for_each(|hosted| hosted.apply(now, Input::Closed { conn }));
    }

    /// Another executor's batch arrived. Sockets are the caller's. Like requests that came in one read it happens at one time, and
    /// its effects are carried out once.
    pub fn received(&self, from: CoreId, mut batch: Batch) {
        let now = clock::now();
        batch.each_send(|conn, frames| self.table.borrow_mut().push(conn, frames));
        self.took(now, &mut batch.peers, &batch.requests);
        self.carry_out();
        let Batch { answers, closed, closes, .. } = &mut batch;
        for (origin, frame) in answers.drain(..) {
            self.received_answer(now, origin, &frame);
        }
        closed.drain(..).for_each(|conn| self.tell_closed(conn));
        closes.drain(..).for_each(|conn| self.close(conn));
        self.carry_out();
        self.mesh.borrow().give_back(from, batch);
    }

    /// What shards of another executor have for shards here, in its order.
    fn took(&self, now: Now, peers: &mut Vec<(ShardId, ShardId, Said)>, requests: &Convoy) {
        let mut requests = requests.iter();
        for (from, to, said) in peers.drain(..) {
            match said {
                Said::Message(message) => self.told(now, from, to, message),
                Said::Request(origin) => {
                    let (frame, command) = requests.next().expect("a batch has a frame for each of its requests");
                    self.asked(now, to, origin, &command, frame);
                }
            }
        }
    }

    /// A message of another shard came.
    fn told(&self, now: Now, from: ShardId, to: ShardId, message: PeerMessage) {
        if let Some(hosted) = self.hosted(to) {
            hosted.apply(now, Input::Peer { from, message });
            self.carry_much(hosted);
        }
    }

    fn received_answer(&self, now: Now, origin: Origin, frame: &[u8]) {
        // It was parsed once by the executor that read it; a failure here would be a bug and costs one push.
        let Ok(Some(parts)) = ringmq_protocol::frame::split(frame) else { return };
        let Ok(command) = Command::parse(parts) else { return };
        self.client_answer(now, origin, &command, frame);
    }

    fn close(&self, conn: ConnId) {
        if conn.core != self.core {
            self.mesh.borrow().put(conn.core, 0, |batch| batch.closes.push(conn));
        } else if let Some(connection) = self.table.borrow_mut().get(conn) {
            connection.shut();
        }
    }

    /// Carries out the effects of everything that happened, and of what that made happen on shards that live here.
    fn carry_out(&self) {
        loop {
            for hosted in &self.hosted {
                let mut out = hosted.out.borrow_mut();
                if !out.is_empty() {
                    self.carry(hosted, &mut out);
                }
            }
            if let Some(names) = &self.names {
                let mut out = names.out.borrow_mut();
                self.send_all(&out);
                out.closes.drain(..).for_each(|conn| self.close(conn));
                out.clear();
            }
            let Some((from, to, message)) = self.local.borrow_mut().pop_front() else { break };
            if let Some(hosted) = self.hosted(to) {
                hosted.apply(clock::now(), Input::Peer { from, message });
            }
        }
        self.turn.nudge();
    }

    fn carry(&self, from: &Rc<Hosted>, out: &mut Effects) {
        self.send_all(out);
        for (to, message) in out.peers.drain(..) {
            self.tell(from.id, to, message);
        }
        out.closes.drain(..).for_each(|conn| self.close(conn));
        for (id, plan) in out.reads.drain(..) {
            from.disk.queue_read(id, plan);
        }
        for note in out.notes.drain(..) {
            crate::warn!("shard {}: {note}", from.id.0);
        }
        for damage in out.damages.drain(..) {
            from.disk.say_damaged(&damage);
        }
        if let Some(registration) = out.announce.take() {
            self.announce(from, registration);
        }
        if let Some(fault) = out.fault.take()
            && !from.faulted.replace(true)
        {
            let directory = from.disk.directory.display();
            crate::error!(
                "shard {} in {directory}: {fault}; it takes no more messages until a restart, reads go on",
                from.id.0
            );
        }
        out.clear();
    }

    /// The control shard's topics changed: the name server in this process knows at once, the others are told.
    fn announce(&self, control: &Hosted, registration: Registration) {
        if let Some(names) = &self.names {
            let mut telling = Telling::new(registration.clone());
            let mut next =
                || control.shard.apply(|shard| telling.next_part(&shard.metadata, limits::TOPICS_PER_ANNOUNCEMENT));
            while let Some(part) = next() {
                names.apply(clock::now(), NamesrvInput::Announced(part));
            }
        }
        for inbox in &self.inboxes {
            inbox.put(registration.clone());
        }
    }

    fn tell(&self, from: ShardId, to: ShardId, message: PeerMessage) {
        let core = self.cores[usize::from(to.0)];
        if core == self.core {
            return self.local.borrow_mut().push_back((from, to, message));
        }
        let weight = match &message {
            PeerMessage::Request { frame, .. } | PeerMessage::Gather { frame, .. } => frame.len(),
            PeerMessage::Store { letter, .. } => letter.record.len(),
            // Small or rare: the number of messages bounds them.
            _ => 0,
        };
        self.mesh.borrow().put(core, weight, |batch| batch.peers.push((from, to, Said::Message(message))));
    }

    /// Moves encoded frames to their connections; neighbours for the same connection in one go.
    fn send_all(&self, out: &Effects) {
        let mut table = self.table.borrow_mut();
        let mut sends = out.sends.iter().peekable();
        while let Some(&Outgoing { conn, start, mut end }) = sends.next() {
            while let Some(next) = sends.next_if(|next| next.conn == conn && next.start == end) {
                end = next.end;
            }
            let frames = &out.bytes[start as usize..end as usize];
            if conn.core == self.core {
                table.push(conn, frames);
            } else {
                self.mesh.borrow().put(conn.core, frames.len(), |batch| batch.send(conn, frames));
            }
        }
    }

    /// Tells the logs which of their writes are done.
    pub fn take_written(&self) {
        let Some(ring) = &self.ring else { return };
        let mut some = false;
        while let Some((Writing { hosted, seq, .. }, result)) = ring.next_done() {
            hosted.disk.written();
            hosted.apply(clock::now(), Input::Written { seq, result });
            some = true;
        }
        if some {
            self.carry_out();
        }
    }

    /// Gives the kernel what the logs want written. When that is one message that its sender waits for, its end is waited for here:
    /// its block is half full, so no other write could begin before.
    fn submit_writes(&self) {
        let Some(ring) = &self.ring else { return };
        if !ring.submit() {
            self.turn.nudge();
        }
        if self.requests.replace(0) == 1
            && self.hosted.iter().any(|hosted| hosted.shard.apply(|shard| shard.is_awaited()))
        {
            ring.linger();
            self.take_written();
        }
    }

    /// The end of a loop turn: writes to the disk, answers to the sockets, batches to the mesh, deadlines to the clock.
    pub fn end_turn(&self, left: &mut Left) {
        self.take_written();
        let now_us = clock::mono_us();
        for hosted in &self.hosted {
            hosted.shard.apply(|shard| hosted.disk.pull(shard, now_us));
        }
        self.submit_writes();
        if let Some(names) = &self.names
            && left.file.is_none()
        {
            left.file = names.server.apply(NameServer::next_file);
        }
        self.table.borrow_mut().flush(now_us, &mut left.blocked);
        self.mesh.borrow().flush();
        self.deadlines.nudge();
        let loaded = self.mesh.borrow().is_loaded() || self.hosted.iter().any(|hosted| hosted.is_loaded(now_us));
        self.loaded.set(loaded);
        if !loaded {
            self.waiting_readers.borrow_mut().drain(..).for_each(Waker::wake);
        }
    }

    /// Whether a reading task may read: not while its answers are unread or others must catch up. Breaks at the end.
    pub fn poll_may_read(&self, conn: ConnId, cx: &mut Context<'_>) -> Poll<ControlFlow<()>> {
        let mut table = self.table.borrow_mut();
        let Some(connection) = table.get(conn) else { return Poll::Ready(ControlFlow::Break(())) };
        if self.stopping.get() {
            return Poll::Ready(ControlFlow::Break(()));
        }
        if connection.out.pending() >= limits::OUTBOUND_PAUSE {
            connection.waiting_reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if self.loaded.get() {
            self.waiting_readers.borrow_mut().push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(ControlFlow::Continue(()))
    }

    /// The nearest deadline of all services here, microseconds of the monotonic clock.
    pub fn next_deadline(&self) -> Option<u64> {
        let shards = self.hosted.iter().filter_map(|hosted| {
            hosted
                .shard
                .apply(|shard| [shard.next_deadline(), hosted.disk.next_deadline(shard)].into_iter().flatten().min())
        });
        let names = self.names.iter().filter_map(|names| names.server.apply(|server| server.next_deadline()));
        shards.chain(names).min()
    }

    /// Time passed: every service whose deadline was reached gets its tick.
    pub fn tick(&self) {
        let now = clock::now();
        for hosted in &self.hosted {
            if hosted.shard.apply(|shard| shard.next_deadline()).is_some_and(|at| at <= now.mono_us) {
                hosted.apply(now, Input::Tick);
            }
        }
        if let Some(names) = &self.names
            && names.server.apply(|server| server.next_deadline()).is_some_and(|at| at <= now.mono_us)
        {
            names.apply(now, NamesrvInput::Tick);
        }
        self.carry_out();
    }

    /// No more requests: connections are shut, shards write what they hold in memory only.
    pub fn stop(&self) {
        self.stopping.set(true);
        self.table.borrow().shut_all();
        self.waiting_readers.borrow_mut().drain(..).for_each(Waker::wake);
        let now = clock::now();
        self.hosted.iter().for_each(|hosted| hosted.apply(now, Input::Stop));
        self.carry_out();
    }

    /// Whether one more line about what a client did wrong may be written: port scanners must not fill the log.
    pub fn may_complain(&self) -> bool {
        let second = clock::mono_us() / 1_000_000;
        let (last, count) = self.complaints.get();
        let count = if last == second { count + 1 } else { 1 };
        self.complaints.set((second, count));
        if count == limits::COMPLAINTS_PER_SECOND {
            crate::warn!("more clients were closed in this second; they are not listed");
        }
        count < limits::COMPLAINTS_PER_SECOND
    }

    /// Whether [`Driver::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }
}

impl Hosted {
    /// Whether the disk is so far behind that connections should not be read.
    fn is_loaded(&self, now_us: u64) -> bool {
        self.shard.apply(|shard| {
            let store = &shard.metadata.settings.store;
            let Undurable { bytes, oldest_us } = shard.log.undurable();
            // Without a segment to write to (a full volume) senders are refused, not kept waiting.
            let waits = shard.log.in_flight() > 0 || shard.log.may_write();
            let is_old = waits
                && oldest_us.is_some_and(|oldest_us| now_us.saturating_sub(oldest_us) > store.undurable_ms_max * 1_000);
            shard.log.fault().is_none() && (bytes > store.undurable_bytes_max.min(limits::UNDURABLE_PAUSE) || is_old)
        })
    }
}
