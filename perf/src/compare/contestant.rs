//! A broker that takes part: its processes, where it listens, and that only one runs at a time.
//!
//! Owns the child processes and ends them when dropped, by their ids. A paused broker is stopped by SIGSTOP: it takes no
//! CPU and keeps its state. Never sends a message.

use std::cell::Cell;
use std::fs::File;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::apache::Apache;
use super::workloads::Flush;
use crate::run::pin;

/// How long a broker may take to listen.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a broker may take to end by itself.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Ports of each: name server, broker. Away from the usual ones, so that a broker on this machine is left alone.
const RINGMQ_PORTS: (u16, u16) = (19_876, 20_911);
const ASYNC_PORTS: (u16, u16) = (29_876, 30_911);
const SYNC_PORTS: (u16, u16) = (39_876, 40_911);
const NULL_PORT: u16 = 50_911;

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    RingMq,
    /// One process per flush mode: it has no flush mode per topic.
    Apache(Flush),
    Null,
}

impl Kind {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::RingMq => "RingMQ",
            Kind::Apache(_) => "Apache",
            Kind::Null => "null broker",
        }
    }

    /// The flush mode it is fixed to.
    pub fn flush(self) -> Option<Flush> {
        match self {
            Kind::Apache(flush) => Some(flush),
            Kind::RingMq | Kind::Null => None,
        }
    }
}

/// One broker and, if it has one, its name server.
pub struct Contestant {
    pub kind: Kind,
    /// perfgen's -n.
    pub namesrv: String,
    /// The broker last: it is the one that is looked at, and the first to be stopped.
    processes: Vec<Child>,
    cpus: Vec<usize>,
    paused: Cell<bool>,
}

/// RingMQ with its own name server, in an empty directory; without `cpus` on all.
///
/// # Errors
/// It does not start.
pub fn ringmq(binary: &Path, directory: &Path, cpus: &[usize]) -> Result<Contestant, String> {
    let (namesrv, port) = RINGMQ_PORTS;
    make(directory)?;
    let conf = directory.with_extension("conf");
    let listed: Vec<String> = cpus.iter().map(ToString::to_string).collect();
    let cpus = if cpus.is_empty() { String::new() } else { format!("cpus = {}\n", listed.join(",")) };
    let text = format!(
        "brokerName = ringmq\nbrokerIP1 = 127.0.0.1\nlistenPort = {port}\nnamesrvListenPort = {namesrv}\n\
         storePathRootDir = {}\n{cpus}",
        directory.display(),
    );
    std::fs::write(&conf, text).map_err(|error| format!("{} cannot be written: {error}", conf.display()))?;
    let mut command = Command::new(binary);
    command.arg("-c").arg(&conf);
    // Its executors pin themselves.
    let broker = spawn(&mut command, &[], &directory.with_extension("log"))?;
    started(Contestant::new(Kind::RingMq, namesrv, vec![broker], &[]), port)
}

/// An Apache broker in an empty directory.
///
/// # Errors
/// It does not start.
pub fn apache(
    apache: &Apache,
    directory: &Path,
    flush: Flush,
    heap: &str,
    cpus: &[usize],
) -> Result<Contestant, String> {
    let (namesrv, port) = if flush == Flush::Async { ASYNC_PORTS } else { SYNC_PORTS };
    make(directory)?;
    let first = spawn(&mut apache.namesrv(directory, namesrv)?, cpus, &directory.with_extension("namesrv.log"))?;
    let mut contestant = Contestant::new(Kind::Apache(flush), namesrv, vec![first], cpus);
    contestant = started(contestant, namesrv)?;
    let mut command = apache.broker(directory, port, namesrv, flush, heap)?;
    contestant.processes.push(spawn(&mut command, cpus, &directory.with_extension("log"))?);
    started(contestant, port)
}

/// `perfgen null`.
///
/// # Errors
/// It does not start.
pub fn null(perfgen: &Path, cpus: &[usize]) -> Result<Contestant, String> {
    let mut command = Command::new(perfgen);
    command.args(["null", "--listen", &format!("127.0.0.1:{NULL_PORT}")]);
    let process = spawn(&mut command, cpus, Path::new("/dev/null"))?;
    started(Contestant::new(Kind::Null, NULL_PORT, vec![process], cpus), NULL_PORT)
}

impl Contestant {
    fn new(kind: Kind, namesrv: u16, processes: Vec<Child>, cpus: &[usize]) -> Self {
        let namesrv = format!("127.0.0.1:{namesrv}");
        Contestant { kind, namesrv, processes, cpus: cpus.to_vec(), paused: Cell::new(false) }
    }

    /// The broker's process.
    pub fn pid(&self) -> Pid {
        id(self.processes.last().expect("a contestant is a process at least"))
    }

    /// Stops it where it is.
    ///
    /// # Errors
    /// A process has ended by itself.
    pub fn pause(&self) -> Result<(), String> {
        self.paused.set(true);
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on, on its own CPUs or on all.
    ///
    /// # Errors
    /// A process has ended by itself.
    pub fn resume(&self, all_cpus: bool) -> Result<(), String> {
        if !self.cpus.is_empty() {
            for process in &self.processes {
                self.spread(id(process), all_cpus)?;
            }
        }
        self.paused.set(false);
        self.signal(Signal::SIGCONT)
    }

    /// Moves every thread of a process.
    fn spread(&self, pid: Pid, all_cpus: bool) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| format!("{} cannot be moved: {error}", self.kind.name());
        let mut set = CpuSet::new();
        let all = if all_cpus { 0..CpuSet::count() } else { 0..0 };
        for cpu in all.chain(self.cpus.iter().copied().filter(|_| !all_cpus)) {
            set.set(cpu).map_err(|error| failed(&error))?;
        }
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| failed(&error))?;
        for task in tasks.flatten() {
            let Some(thread) = task.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A thread may have ended since it was listed.
            let _ = sched_setaffinity(Pid::from_raw(thread), &set);
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<(), String> {
        for process in &self.processes {
            kill(id(process), signal).map_err(|error| format!("{} has ended by itself: {error}", self.kind.name()))?;
        }
        Ok(())
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        if self.paused.get() {
            let _ = self.signal(Signal::SIGCONT);
        }
        while let Some(mut process) = self.processes.pop() {
            let _ = kill(id(&process), Signal::SIGTERM);
            let since = Instant::now();
            while since.elapsed() < STOP_LIMIT && matches!(process.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn id(process: &Child) -> Pid {
    Pid::from_raw(i32::try_from(process.id()).expect("Linux counts processes in 22 bits"))
}

fn make(directory: &Path) -> Result<(), String> {
    std::fs::create_dir_all(directory).map_err(|error| format!("{} cannot be made: {error}", directory.display()))
}

/// Starts a process on `cpus`: it inherits them from a thread that is moved there first.
fn spawn(command: &mut Command, cpus: &[usize], log: &Path) -> Result<Child, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |error: &dyn std::fmt::Display| format!("{name} cannot be started: {error}");
    let open = || File::options().create(true).append(true).open(log).map_err(|error| failed(&error));
    command.stdin(Stdio::null()).stdout(open()?).stderr(open()?);
    std::thread::scope(|scope| {
        let start = scope.spawn(|| pin(cpus).and_then(|()| command.spawn()).map_err(|error| failed(&error)));
        start.join().expect("it does not panic")
    })
}

/// Waits until the newest process listens.
fn started(mut contestant: Contestant, port: u16) -> Result<Contestant, String> {
    let since = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let process = contestant.processes.last_mut().expect("one was started");
        if let Ok(Some(status)) = process.try_wait() {
            return Err(format!("{} ended while starting ({status}); see its .log file", contestant.kind.name()));
        }
        if since.elapsed() > START_LIMIT {
            return Err(format!("{} does not listen on port {port} after {START_LIMIT:?}", contestant.kind.name()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(contestant)
}
