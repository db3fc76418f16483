//! A run from its start to its figures: threads, warm-up, live progress, Ctrl-C, and the sum of everything.
//!
//! Owns the threads and their start: all connect first, then all begin at the same moment. What a thread does is
//! its assignment's business.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use crate::clock::{Clock, MILLISECOND, Nanos, SECOND};
use crate::engine::connection::Connection;
use crate::engine::{Engine, Workload};
use crate::ledger::{Course, Ledger, Shared};
use crate::progress::{Interval, Progress};
use crate::tally::Tally;

/// How often the main thread looks for Ctrl-C and prints.
const TICK: Duration = Duration::from_millis(100);

/// Time between the last thread's connection and the first request, for all threads to get going.
const START_DELAY: Nanos = 5 * MILLISECOND;

/// What one thread is to do.
pub trait Assignment: Send + 'static {
    type Work: Workload;

    /// The peers to connect to, one connection each, in the order the workload numbers them.
    fn peers(&self) -> Vec<SocketAddr>;

    /// The workload, once connected and told the times.
    fn begin(self, ledger: Ledger, shared: Arc<Shared>) -> Self::Work;
}

/// How a run goes, apart from its assignments.
#[derive(Clone, Debug)]
pub struct Settings {
    pub duration: Duration,
    pub warmup: Duration,
    pub timeout: Duration,
    pub cpus: Vec<usize>,
    pub quiet: bool,
    /// Acknowledgements are counted beside messages (e2e).
    pub with_acks: bool,
    /// The run ends when the work is done; the duration is only a limit.
    pub until_done: bool,
}

/// What came of a run.
pub struct Outcome {
    pub total: Tally,
    pub intervals: Vec<Interval>,
    /// The time the total was measured over.
    pub elapsed: Duration,
    pub shared: Arc<Shared>,
    /// Ctrl-C ended it.
    pub interrupted: bool,
    /// Seconds since 1970 when measuring began.
    pub began_unix: f64,
}

/// Runs one thread per assignment.
///
/// # Errors
/// One sentence when it could not begin: a connection that fails, a CPU that does not exist.
pub fn run<A: Assignment>(assignments: Vec<A>, settings: &Settings) -> Result<Outcome, String> {
    let signals = Signals::block().map_err(|error| format!("signals cannot be blocked: {error}"))?;
    pin(&settings.cpus).map_err(|error| format!("cannot run on CPUs {:?}: {error}", settings.cpus))?;
    allow_files(assignments.iter().map(|assignment| assignment.peers().len()).sum())?;
    let shared = Arc::new(Shared::default());
    let (reports, intervals) = mpsc::channel();
    let (ready, connected) = mpsc::channel();
    let mut starts = Vec::new();
    let mut threads = Vec::new();
    let count = assignments.len();
    shared.sending.store(count as u32, std::sync::atomic::Ordering::Relaxed);
    for (number, assignment) in assignments.into_iter().enumerate() {
        let (start, course) = mpsc::channel::<Course>();
        starts.push(start);
        let thread = Thread {
            cpu: settings.cpus.get(number % settings.cpus.len().max(1)).copied(),
            timeout: settings.timeout,
            with_acks: settings.with_acks,
            shared: shared.clone(),
            reports: reports.clone(),
            ready: ready.clone(),
            course,
        };
        let spawned = std::thread::Builder::new().name(format!("load-{number}")).spawn(move || thread.run(assignment));
        threads.push(spawned.map_err(|error| format!("no thread could be started: {error}"))?);
    }
    drop((reports, ready));
    // A thread that cannot connect says why; the others end when `starts` is dropped.
    for _ in 0..count {
        connected.recv().unwrap_or_else(|_| Err("a load thread ended unexpectedly".into()))?;
    }
    let clock = Clock::start();
    // A backlog is measured from its very first pull.
    let start = clock.now() + if settings.until_done { 0 } else { START_DELAY };
    let begin = start + settings.warmup.as_nanos() as Nanos;
    let course = Course {
        clock,
        start,
        begin,
        end: begin.saturating_add(settings.duration.as_nanos() as Nanos),
        timeout: settings.timeout.as_nanos() as Nanos,
    };
    for start in starts {
        // A thread that ended meanwhile reports itself when it is joined.
        let _ = start.send(course);
    }
    let (total, intervals, interrupted) = watch(&intervals, course, settings, &shared, &signals);
    for thread in threads {
        let ended = thread.join().unwrap_or_else(|_| Err("a load thread panicked".into()));
        if let Err(reason) = ended {
            shared.halt(reason);
        }
    }
    let elapsed = elapsed(&total, course, settings);
    let began_unix = clock.unix_nanos(begin) as f64 / SECOND as f64;
    Ok(Outcome { total, intervals, elapsed, shared, interrupted, began_unix })
}

/// From the begin of measuring to its end, or to the last message if that was answered later.
fn elapsed(total: &Tally, course: Course, settings: &Settings) -> Duration {
    let asked = if settings.until_done { 0 } else { course.end.min(course.clock.now()) };
    Duration::from_nanos(asked.max(total.last_done).saturating_sub(course.begin))
}

/// Gathers the threads' intervals, prints progress, and passes Ctrl-C on.
fn watch(
    reports: &mpsc::Receiver<Tally>,
    course: Course,
    settings: &Settings,
    shared: &Shared,
    signals: &Signals,
) -> (Tally, Vec<Interval>, bool) {
    let mut total = Tally::new(settings.with_acks);
    let mut progress = Progress::new(course, settings.quiet, settings.with_acks);
    let mut interrupted = false;
    loop {
        match reports.recv_timeout(TICK) {
            Ok(tally) => {
                total.add(&tally);
                progress.add(&tally);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        progress.tick(course.clock.now());
        if signals.pending() {
            if interrupted {
                // The second time somebody means it.
                std::process::exit(130);
            }
            interrupted = true;
            shared.stop();
        }
    }
    (total, progress.finish(course.clock.now()), interrupted)
}

/// What a load thread is given.
struct Thread {
    cpu: Option<usize>,
    timeout: Duration,
    with_acks: bool,
    shared: Arc<Shared>,
    reports: mpsc::Sender<Tally>,
    ready: mpsc::Sender<Result<(), String>>,
    course: mpsc::Receiver<Course>,
}

impl Thread {
    fn run<A: Assignment>(self, assignment: A) -> Result<(), String> {
        let engine = self.connect(&assignment.peers());
        let (mut engine, outcome) = match engine {
            Ok(engine) => (engine, Ok(())),
            Err(problem) => {
                // The main thread waits for this; it ends the run.
                let _ = self.ready.send(Err(problem));
                return Ok(());
            }
        };
        let _ = self.ready.send(outcome);
        let Ok(course) = self.course.recv() else { return Ok(()) };
        let ledger = Ledger::new(course, self.with_acks, self.reports);
        let work = assignment.begin(ledger, self.shared);
        engine.run(work, course.clock).map_err(|error| format!("the event loop failed: {error}"))
    }

    fn connect(&self, peers: &[SocketAddr]) -> Result<Engine, String> {
        if let Some(cpu) = self.cpu {
            pin(&[cpu]).map_err(|error| format!("cannot run on CPU {cpu}: {error}"))?;
        }
        let mut connections = Vec::with_capacity(peers.len());
        for peer in peers {
            let connection = Connection::open(*peer, self.timeout)
                .map_err(|error| format!("cannot connect to {peer} (connection {}): {error}", connections.len() + 1))?;
            connections.push(connection);
        }
        Engine::new(connections).map_err(|error| format!("the event loop cannot be set up: {error}"))
    }
}

/// Files open beside the connections: standard streams, polls, alarms, the histogram log.
const OTHER_FILES: u64 = 64;

/// Raises the limit of open files to what `connections` take, as far as it may be raised.
fn allow_files(connections: usize) -> Result<(), String> {
    let wanted = connections as u64 + OTHER_FILES;
    let failed = |error| format!("the limit of open files cannot be read or raised: {error}");
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(failed)?;
    if soft >= wanted {
        return Ok(());
    }
    if hard < wanted {
        return Err(format!(
            "{connections} connections need {wanted} open files, but no more than {hard} are allowed; raise it with: \
             ulimit -Hn {wanted}"
        ));
    }
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).map_err(failed)
}

/// Pins this thread to `cpus`; to none in particular when empty.
pub fn pin(cpus: &[usize]) -> io::Result<()> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu)?;
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Ctrl-C and SIGTERM, read instead of handled: no handler, so no `unsafe` and no global state.
pub struct Signals {
    descriptor: SignalFd,
}

impl Signals {
    /// Blocks both in this thread and every thread it starts from now on.
    pub fn block() -> io::Result<Signals> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGINT);
        set.add(Signal::SIGTERM);
        set.thread_block()?;
        Ok(Signals { descriptor: SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)? })
    }

    /// Whether one arrived since the last call.
    pub fn pending(&self) -> bool {
        matches!(self.descriptor.read_signal(), Ok(Some(_)))
    }
}
