//! Telling standalone name servers about this broker, over TCP, without ever holding up the data path.
//!
//! Owns one connection and one task per name server, its retries and its timing: at once on a change, every period without
//! one, everything again after a reconnect. What is said is core's (`namesrv::Announcement`). The embedded name server is
//! told by the driver directly.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncReadExt, AsyncWriteExt, Future};
use glommio::GlommioError;
use glommio::net::TcpStream;
use glommio::timer::Timer;
use ringmq_core::event::ShardId;
use ringmq_core::namesrv::{Announcement, Telling};
use ringmq_core::shard::Shard;
use ringmq_core::topic::Registration;
use ringmq_protocol::command::Command;
use ringmq_protocol::encode::FrameTooLarge;
use ringmq_protocol::frame;

use crate::driver::Driver;
use crate::limits;
use crate::nudge::Nudge;

/// What one name server still has to be told.
#[derive(Debug, Default)]
pub struct Inbox {
    pending: RefCell<Option<Registration>>,
    stopping: Cell<bool>,
    done: Cell<bool>,
    nudge: Nudge,
}

impl Inbox {
    /// Adds an announcement; several before the next message become one.
    pub fn put(&self, registration: Registration) {
        let mut pending = self.pending.borrow_mut();
        *pending = Some(match pending.take() {
            Some(earlier) => earlier.then(registration),
            None => registration,
        });
        drop(pending);
        self.nudge.nudge();
    }

    /// Asks the task to unregister and end.
    pub fn stop(&self) {
        self.stopping.set(true);
        self.nudge.nudge();
    }

    /// Whether the task has ended.
    pub fn is_done(&self) -> bool {
        self.done.get()
    }

    /// Waits for something to say, for `rest` to pass, or for the connection's end; whether it ended.
    async fn wait(&self, rest: Duration, link: Option<&mut Link>) -> bool {
        let mut timer = Timer::new(rest);
        let mut stream = link.map(|link| &mut link.stream);
        poll_fn(|cx| {
            if self.nudge.poll(cx).is_ready() || Pin::new(&mut timer).poll(cx).is_ready() {
                return Poll::Ready(false);
            }
            match &mut stream {
                // Nobody asked anything: whatever comes is the end, or as good as that.
                Some(stream) => Pin::new(&mut **stream).poll_read(cx, &mut [0]).map(|_| true),
                None => Poll::Pending,
            }
        })
        .await
    }
}

/// When and how to register.
#[derive(Debug, Clone)]
pub struct Habits {
    /// The name server, `host:port`.
    pub address: String,
    /// How often everything is said again.
    pub every: Duration,
    /// How long an answer may take.
    pub patience: Duration,
    /// Send registrations deflated.
    pub compressed: bool,
}

/// Why a name server was not told.
#[derive(Debug)]
enum Failure {
    Io(io::Error),
    /// It answered, and said no.
    Refused {
        code: i32,
        remark: String,
    },
    /// What it sent is not the protocol.
    Garbled,
    TooLarge(FrameTooLarge),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Io(error) => write!(f, "{error}"),
            Failure::Refused { code, remark } => write!(f, "it answers {code}: {remark}"),
            Failure::Garbled => f.write_str("it does not speak RocketMQ's protocol"),
            Failure::TooLarge(error) => write!(f, "{error}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Io(error)
    }
}

impl From<GlommioError<()>> for Failure {
    fn from(error: GlommioError<()>) -> Self {
        Failure::Io(error.into())
    }
}

impl From<FrameTooLarge> for Failure {
    fn from(error: FrameTooLarge) -> Self {
        Failure::TooLarge(error)
    }
}

/// Keeps one name server informed until the inbox is told to stop.
pub async fn register(driver: Rc<Driver>, inbox: Rc<Inbox>, habits: Habits) {
    let mut link: Option<Link> = None;
    let mut known = false;
    let mut complained = false;
    // Periods since all topics were told.
    let mut quiet = 0;
    while !inbox.stopping.get() {
        let said = tell(&driver, &inbox, &habits, &mut link, known.then_some(&mut quiet)).await;
        let rest = match said {
            Ok(topics) => {
                if !known {
                    crate::info!("registered at name server {} with {topics} topics", habits.address);
                }
                (known, complained) = (true, false);
                habits.every
            }
            Err(failure) => {
                if !complained {
                    crate::warn!("not registered at name server {}: {failure}; trying on", habits.address);
                }
                (known, complained) = (false, true);
                link = None;
                limits::REGISTER_RETRY
            }
        };
        if inbox.wait(rest, link.as_mut()).await {
            (known, link) = (false, None);
        }
    }
    if let Some(link) = &mut link {
        // The process ends either way; a name server that does not answer finds out by itself.
        let _ = link.unregister(&driver, &habits).await;
    }
    inbox.done.set(true);
}

/// Says what is to be said; returns the number of topics in it. `quiet` is there once everything was told.
async fn tell(
    driver: &Driver,
    inbox: &Inbox,
    habits: &Habits,
    link: &mut Option<Link>,
    quiet: Option<&mut u32>,
) -> Result<usize, Failure> {
    let pending = inbox.pending.borrow_mut().take();
    let link = match link {
        Some(link) => link,
        None => link.insert(Link::open(habits).await?),
    };
    let registration = match (pending, quiet) {
        (Some(changes), Some(_)) => changes,
        (None, Some(quiet)) => {
            *quiet += 1;
            if *quiet < limits::QUIET_PERIODS && driver.has_many_topics() && link.knows_all(driver).await? {
                return Ok(0);
            }
            *quiet = 0;
            driver.whole_registration()
        }
        // The first word, and the one after a failure.
        (_, None) => driver.whole_registration(),
    };
    let mut telling = Telling::new(registration);
    let mut topics = 0;
    while let Some(part) = driver.next_part(&mut telling) {
        topics += part.topics.len();
        let local = link.local.clone();
        link.call(|opaque, out| part.encode_register(&local, opaque, habits.compressed, out)).await?;
    }
    Ok(topics)
}

/// A connection to a name server.
struct Link {
    stream: TcpStream,
    /// Our end of it, as text: what we announce when nothing else is set.
    local: String,
    opaque: i32,
    /// How long an answer may take.
    patience: Duration,
}

impl Link {
    async fn open(habits: &Habits) -> Result<Link, Failure> {
        let name = habits.address.clone();
        // Name resolution may block for seconds.
        let resolve = move || name.to_socket_addrs().map(Iterator::collect::<Vec<SocketAddr>>);
        let addresses = glommio::executor().spawn_blocking(resolve).await?;
        let mut last = Failure::Io(io::ErrorKind::NotFound.into());
        for address in addresses {
            match TcpStream::connect_timeout(address, limits::CONNECT_TIMEOUT).await {
                Ok(stream) => {
                    stream.set_write_timeout(Some(habits.patience))?;
                    let local = stream.local_addr()?.ip().to_canonical().to_string();
                    return Ok(Link { stream, local, opaque: 0, patience: habits.patience });
                }
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    async fn unregister(&mut self, driver: &Driver, habits: &Habits) -> Result<(), Failure> {
        let announcement = driver.announcement_head();
        let local = self.local.clone();
        self.patience = habits.patience.min(limits::UNREGISTER_PATIENCE);
        self.call(|opaque, out| announcement.encode_unregister(&local, opaque, out)).await.map(drop)
    }

    /// Asks whether the name server has all topics as they are now, which tells it that we are alive.
    async fn knows_all(&mut self, driver: &Driver) -> Result<bool, Failure> {
        let announcement = driver.announcement_head();
        let local = self.local.clone();
        let changed = self.call(|opaque, out| announcement.encode_query_version(&local, opaque, out)).await?;
        Ok(changed == Some(false))
    }

    /// Asks and waits for the answer; what it says about `changed`, if anything.
    async fn call(
        &mut self,
        encode: impl FnOnce(i32, &mut Vec<u8>) -> Result<(), FrameTooLarge>,
    ) -> Result<Option<bool>, Failure> {
        self.opaque = self.opaque.wrapping_add(1);
        let mut bytes = Vec::new();
        encode(self.opaque, &mut bytes)?;
        self.stream.write_all(&bytes).await?;
        self.stream.set_read_timeout(Some(self.patience))?;
        let answered = self.answer().await;
        // Between calls the connection may be silent for as long as it likes.
        self.stream.set_read_timeout(None)?;
        answered
    }

    async fn answer(&mut self) -> Result<Option<bool>, Failure> {
        loop {
            let answer = self.frame().await?;
            let parts = frame::split(&answer).ok().flatten().ok_or(Failure::Garbled)?;
            let command = Command::parse(parts).map_err(|_| Failure::Garbled)?;
            // An older answer, or a request of the name server: neither is for us.
            if !command.is_response() || command.opaque != self.opaque {
                continue;
            }
            if command.code == 0 {
                return Ok(command.ext.get("changed").map(|changed| &*changed.to_cow() != "false"));
            }
            let remark = command.remark.map(|remark| remark.to_cow().into_owned()).unwrap_or_default();
            return Err(Failure::Refused { code: command.code, remark });
        }
    }

    async fn frame(&mut self) -> Result<Vec<u8>, Failure> {
        let mut bytes = vec![0; frame::PREFIX_LEN];
        self.stream.read_exact(&mut bytes).await?;
        let needed = frame::needed(&bytes).map_err(|_| Failure::Garbled)?;
        bytes.resize(needed, 0);
        self.stream.read_exact(&mut bytes[frame::PREFIX_LEN..]).await?;
        Ok(bytes)
    }
}

impl Driver {
    /// All topics of this broker, as one registration.
    fn whole_registration(&self) -> Registration {
        let version = |shard: &mut Shard| shard.control.as_ref().map(|control| control.topic_version);
        Registration::all(self.control().shard.apply(version).unwrap_or_default())
    }

    /// This broker as of now, without its topics.
    fn announcement_head(&self) -> Announcement {
        let version = self.whole_registration().version;
        self.control().shard.apply(|shard| Announcement::head(&shard.metadata, version))
    }

    fn next_part(&self, telling: &mut Telling) -> Option<Announcement> {
        self.control().shard.apply(|shard| telling.next_part(&shard.metadata, limits::TOPICS_PER_REGISTRATION))
    }

    /// Whether telling all topics takes more than one message.
    fn has_many_topics(&self) -> bool {
        self.control().shard.apply(|shard| shard.metadata.topics.end() > limits::TOPICS_PER_REGISTRATION)
    }

    fn control(&self) -> &crate::driver::Hosted {
        let control = self.hosted.iter().find(|hosted| hosted.id == ShardId::CONTROL);
        control.expect("registrars run on the control shard's executor")
    }
}
