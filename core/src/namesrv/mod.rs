//! The name server: which brokers there are and which of them have a topic's queues.
//!
//! `NameServer::apply` takes what happened and says what must happen outside, like a shard. `table` holds brokers and
//! queues, `route` the answers, `kv` the little that is remembered over a restart, `requests` serves the request codes, and
//! `announcement` is the broker's side. It runs inside a broker's process or alone; it knows no other name server.

mod announcement;
mod kv;
mod queues;
mod requests;
mod route;
mod table;
#[cfg(test)]
mod tests;

pub use announcement::{Announcement, Telling, topic_config};
pub use kv::{KvConfig, ORDER_TOPIC_CONFIG};
pub use requests::serves;
pub use table::{BrokerAddress, RegisterError, Registering, RouteTable};

use std::collections::VecDeque;

use ringmq_protocol::command::Command;
use ringmq_protocol::response_code::ResponseCode;

use crate::effects::{Answer, Effects, Outgoing, Refusal, ReplyTo};
use crate::event::{ConnId, DiskError, Now, Origin};
use crate::settings::{Loaded, NamesrvSettings};

use route::RouteAnswers;

/// Most answers waiting for the key-value file: each belongs to a change by an administrator.
pub const WAITING_MAX: usize = 4_096;

/// What happened.
#[derive(Debug)]
pub enum NamesrvInput<'a> {
    /// A request.
    Request {
        /// Who asks.
        origin: Origin,
        /// What.
        command: &'a Command<'a>,
    },
    /// A connection is gone.
    Closed {
        /// Which.
        conn: ConnId,
    },
    /// The broker in this process announces topics.
    Announced(Announcement),
    /// The file given out by [`NameServer::next_file`] was written, or not.
    FileWritten(Result<(), DiskError>),
    /// Time passed; wanted when [`NameServer::next_deadline`] is reached.
    Tick,
}

/// A whole file to be written in place of the one before, atomically.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileToWrite {
    /// Where, as the settings say.
    pub path: String,
    /// What.
    pub bytes: Vec<u8>,
}

/// An answer that waits for the key-value file.
#[derive(Debug)]
struct Waiting {
    /// The change it acknowledges.
    change: u64,
    to: ReplyTo,
    frame: Box<[u8]>,
}

/// The name server's state.
#[derive(Debug)]
pub struct NameServer {
    loaded: Loaded<NamesrvSettings>,
    table: RouteTable,
    answers: RouteAnswers,
    kv: KvConfig,
    /// Counts changes of the key-value configuration.
    kv_changes: u64,
    /// The change the file on disk holds, and the one being written.
    kv_stored: u64,
    kv_writing: Option<u64>,
    waiting: VecDeque<Waiting>,
    /// Mono time at which the first routes may be given out.
    serves_from: u64,
    /// Mono time of the next look for silent brokers.
    scan_at: u64,
}

/// One request as a handler sees it.
struct Ask<'a> {
    now: Now,
    origin: Origin,
    command: &'a Command<'a>,
}

impl Ask<'_> {
    fn to(&self) -> ReplyTo {
        ReplyTo {
            conn: self.origin.conn,
            opaque: self.command.opaque,
            spelling: self.command.spelling,
            oneway: self.command.is_oneway(),
        }
    }
}

impl NameServer {
    /// A name server that knows nobody yet, with the key-value configuration of its file.
    #[must_use]
    pub fn new(now: Now, loaded: Loaded<NamesrvSettings>, kv: KvConfig) -> Self {
        let routes = &loaded.settings.routes;
        let wait_ms = if routes.need_wait_for_service { routes.wait_seconds_for_service * 1_000 } else { 0 };
        let scan_at = now.after_ms(routes.scan_not_active_broker_interval);
        NameServer {
            loaded,
            table: RouteTable::default(),
            answers: RouteAnswers::default(),
            kv,
            kv_changes: 0,
            kv_stored: 0,
            kv_writing: None,
            waiting: VecDeque::new(),
            serves_from: now.after_ms(wait_ms),
            scan_at,
        }
    }

    /// Lets one thing happen. Everything it causes outside stands in `out` afterwards.
    pub fn apply(&mut self, now: Now, input: NamesrvInput<'_>, out: &mut Effects) {
        match input {
            NamesrvInput::Request { origin, command } => self.request(&Ask { now, origin, command }, out),
            NamesrvInput::Closed { conn } => {
                self.table.closed(conn);
                self.waiting.retain(|waiting| waiting.to.conn != conn);
            }
            NamesrvInput::Announced(announcement) => self.announced(now, announcement),
            NamesrvInput::FileWritten(result) => self.file_written(result, out),
            NamesrvInput::Tick => self.tick(now, out),
        }
        assert!(self.kv_stored <= self.kv_changes, "only what was changed is stored");
    }

    /// When `Tick` is wanted, mono microseconds.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        Some(self.scan_at)
    }

    /// The file to be written now, if there is one; the next is given out when this one is reported written.
    pub fn next_file(&mut self) -> Option<FileToWrite> {
        if self.kv_writing.is_some() || self.kv_stored == self.kv_changes {
            return None;
        }
        self.kv_writing = Some(self.kv_changes);
        Some(FileToWrite { path: self.loaded.settings.routes.kv_config_path.clone(), bytes: self.kv.file() })
    }

    fn request(&mut self, ask: &Ask<'_>, out: &mut Effects) {
        // A response that nobody asked for is dropped, as every RocketMQ process does.
        if ask.command.is_response() {
            return;
        }
        if let Err(refusal) = requests::serve(self, ask, out) {
            let _ = out.refuse(&ask.to(), &refusal);
        }
    }

    fn announced(&mut self, now: Now, mut announcement: Announcement) {
        let dropped = std::mem::take(&mut announcement.dropped);
        let broker = announcement.into_registering();
        let name = broker.name.clone();
        let registered = self.table.register(now, broker);
        assert!(
            registered.is_ok() || registered == Err(RegisterError::Full),
            "the broker of this process is known once it says anything"
        );
        for topic in &dropped {
            self.table.remove_queues(topic, &name);
        }
    }

    fn tick(&mut self, now: Now, out: &mut Effects) {
        if now.mono_us < self.scan_at {
            return;
        }
        self.scan_at = now.after_ms(self.loaded.settings.routes.scan_not_active_broker_interval);
        out.closes.extend(self.table.expire(now));
    }

    /// Keeps the answer encoded last until the key-value file holds the latest change.
    fn answer_when_stored(&mut self, to: ReplyTo, out: &mut Effects) -> Result<(), Refusal> {
        if let Answer::Silent = out.done(&to) {
            return Ok(());
        }
        let Some(Outgoing { start, .. }) = out.sends.pop() else { return Ok(()) };
        let frame = out.bytes.split_off(start as usize).into_boxed_slice();
        self.waiting.push_back(Waiting { change: self.kv_changes, to, frame });
        Ok(())
    }

    fn file_written(&mut self, result: Result<(), DiskError>, out: &mut Effects) {
        let Some(written) = self.kv_writing.take() else { return };
        self.kv_stored = written;
        while self.waiting.front().is_some_and(|waiting| waiting.change <= written) {
            let Some(Waiting { to, frame, .. }) = self.waiting.pop_front() else { return };
            match result {
                Ok(()) => {
                    let start = out.bytes.len() as u32;
                    out.bytes.extend_from_slice(&frame);
                    out.sends.push(Outgoing { conn: to.conn, start, end: out.bytes.len() as u32 });
                }
                Err(error) => {
                    let path = &self.loaded.settings.routes.kv_config_path;
                    let remark =
                        format!("the change holds until the name server stops: {path} cannot be written ({error:?})");
                    let _ = out.refuse(&to, &Refusal::new(ResponseCode::SystemError, remark));
                }
            }
        }
    }
}
