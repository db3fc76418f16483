//! One executor: a thread pinned to a CPU, from the recovery of its shards to their last write.
//!
//! Owns the order of starting and stopping. A shard is data; several may live on one executor, so a directory made on
//! sixteen cores starts on two. A panic anywhere ends the whole process with one line: the log is safe, and half a broker
//! would only be harder to understand.

use std::os::fd::{FromRawFd, IntoRawFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use futures_lite::AsyncReadExt;
use glommio::net::UnixStream;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use ringmq_core::event::{CoreId, ShardId};
use ringmq_core::namesrv::NameServer;

use crate::boot::Refused;
use crate::clock;
use crate::disk::DiskQueues;
use crate::disk::ring::{self, DiskRing, LogRing};
use crate::driver::{Driver, Hosted, Names};
use crate::limits;
use crate::mesh::{self, Ends};
use crate::net::listener::{self, Census, Listening};
use crate::open::{self, ShardPlan, Source};
use crate::registrar::{self, Habits, Inbox};
use crate::signals::Bell;
use crate::turn;

/// Everything an executor's thread is given.
pub struct ExecutorPlan {
    pub core: CoreId,
    /// The CPU to run on; `None` where pinning is not possible.
    pub cpu: Option<usize>,
    /// Memory registered with the rings, bytes.
    pub io_memory: usize,
    /// The shards that live here, and where they learn about topics; none in a name server's process.
    pub shards: Option<(Vec<ShardPlan>, Source)>,
    /// The name server that lives here, if any.
    pub names: Option<NameServer>,
    /// Standalone name servers to register at; on the control shard's executor.
    pub registrars: Vec<Habits>,
    /// The executor of every shard, by shard.
    pub cores: Box<[CoreId]>,
    pub ends: Ends,
    pub listening: Vec<Listening>,
    pub census: Census,
    /// Connections idle for this long are closed.
    pub idle: Duration,
    /// Rings when it is time to stop.
    pub bell: Bell,
    /// Where to say that the shards are there, or why not.
    pub ready: mpsc::Sender<Result<CoreId, Refused>>,
}

/// Starts the executor's thread.
///
/// # Errors
/// The kernel gives no thread, no ring or no memory.
pub fn start(plan: ExecutorPlan) -> Result<ExecutorJoinHandle<()>, Refused> {
    let placement = plan.cpu.map_or(Placement::Unbound, Placement::Fixed);
    LocalExecutorBuilder::new(placement)
        .name(&format!("core-{}", plan.core.0))
        .io_memory(plan.io_memory)
        .ring_depth(limits::RING_DEPTH)
        .spawn(move || run(plan))
        .map_err(|error| {
            Refused::new(format!("an executor cannot be started: {error}"), "see the limits of this process")
        })
}

/// An executor has stopped in order: everything is written.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// Ends the process when any thread panics: one clear line instead of an executor that is silently gone.
pub fn abort_on_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Glommio's helper thread panics when its executor is gone before it can hand over a last result.
        if STOPPED.load(Ordering::Relaxed) {
            return;
        }
        usual(panic);
        crate::error!(
            "a bug ended this process; what was acknowledged is safe in the log, please report the lines above"
        );
        std::process::abort();
    }));
}

async fn run(plan: ExecutorPlan) {
    let ExecutorPlan { core, cpu: _, io_memory: _, shards, names, registrars, cores, ends, .. } = plan;
    let ExecutorPlan { listening, census, idle, bell, ready, .. } = plan;
    let opened = match shards {
        Some((shards, source)) => open_on_ring(shards, source).await,
        None => Ok((Vec::new(), None)),
    };
    let (hosted, ring) = match opened {
        Ok(opened) => opened,
        Err(refused) => {
            let _ = ready.send(Err(refused));
            return;
        }
    };
    let inboxes: Box<[Rc<Inbox>]> = registrars.iter().map(|_| Rc::default()).collect();
    let driver = Rc::new(Driver::new(core, hosted, names.map(Names::new), cores, inboxes, ring.clone()));
    for hosted in &driver.hosted {
        hosted.disk.attach(&driver, hosted);
        glommio::spawn_local(hosted.disk.clone().keep_watch()).detach();
        hosted.disk.start_scrub();
    }
    connect(&driver, ends, &census);
    if let Some(ring) = ring {
        glommio::spawn_local(ring::wake(driver.clone(), ring)).detach();
    }
    let tasks = [
        glommio::spawn_local(turn::end_turns(driver.clone())),
        glommio::spawn_local(turn::keep_deadlines(driver.clone())),
        glommio::spawn_local(turn::close_idle(driver.clone(), idle)),
    ];
    driver.begin();
    for (inbox, habits) in driver.inboxes.iter().zip(registrars) {
        glommio::spawn_local(registrar::register(driver.clone(), inbox.clone(), habits)).detach();
    }
    let accept = |listening| glommio::spawn_local(listener::accept(driver.clone(), listening, census.clone()));
    let accepting: Vec<_> = listening.into_iter().map(accept).collect();
    let _ = ready.send(Ok(core));
    wait_for(bell).await;
    for task in accepting {
        task.cancel().await;
    }
    stop(&driver).await;
    for task in tasks {
        task.cancel().await;
    }
    STOPPED.store(true, Ordering::Relaxed);
}

/// Opens the shards of an executor, with a ring that their logs are written through.
async fn open_on_ring(shards: Vec<ShardPlan>, source: Source) -> Result<(Vec<Hosted>, Option<Rc<LogRing>>), Refused> {
    let ring = DiskRing::new(shards.len()).map_err(|error| {
        Refused::new(format!("the kernel gives no io_uring for the logs: {error}"), "see the limits of this process")
    })?;
    let hosted = open::open_all(shards, source, DiskQueues::new(ring.clone())).await?;
    Ok((hosted, Some(ring)))
}

/// Connects this executor with all others, both ways at once.
fn connect(driver: &Rc<Driver>, ends: Ends, census: &Census) {
    for (to, sender) in ends.senders {
        let link = driver.mesh.borrow_mut().connect(to);
        let turn = driver.turn.clone();
        glommio::spawn_local(async move { mesh::carry(link, sender.connect().await, turn).await }).detach();
    }
    for (from, receiver) in ends.receivers {
        let (driver, census) = (driver.clone(), census.clone());
        glommio::spawn_local(async move { turn::receive(driver, from, receiver.connect().await, census).await })
            .detach();
    }
}

async fn wait_for(Bell(bell): Bell) {
    // SAFETY: the descriptor is a stream socket that nobody else owns from here on.
    let mut bell = unsafe { UnixStream::from_raw_fd(bell.into_raw_fd()) };
    let mut byte = [0; 1];
    // The end of the stream counts as a ring: whoever could have rung is gone.
    let _ = bell.read(&mut byte).await;
}

/// Unregisters, writes what is in memory only, waits for the disk, and leaves a checkpoint.
async fn stop(driver: &Rc<Driver>) {
    driver.inboxes.iter().for_each(|inbox| inbox.stop());
    driver.stop();
    let patience = clock::mono_us() + limits::STOP_PATIENCE.as_micros() as u64;
    for hosted in &driver.hosted {
        while !(is_written(hosted) && hosted.disk.is_kept_up()) && clock::mono_us() < patience {
            glommio::timer::sleep(limits::STOP_LOOK).await;
        }
        open::leave(hosted).await;
    }
    let patience = clock::mono_us() + limits::UNREGISTER_PATIENCE.as_micros() as u64;
    while driver.inboxes.iter().any(|inbox| !inbox.is_done()) && clock::mono_us() < patience {
        glommio::timer::sleep(limits::STOP_LOOK).await;
    }
}

/// Whether everything the shard's log holds is on the disk, or will never be.
fn is_written(hosted: &Hosted) -> bool {
    let done = hosted.shard.apply(|shard| shard.log.fault().is_some() || shard.log.durable() == shard.log.appended());
    done && hosted.disk.is_quiet()
}

/// Which executor serves which shard: neighbouring shards together, as evenly as it goes.
pub fn spread(shards: usize, cores: usize) -> Vec<CoreId> {
    (0..shards).map(|shard| CoreId((shard * cores / shards) as u16)).collect()
}

/// The shards of one executor.
pub fn shards_of(core: CoreId, cores: &[CoreId]) -> Vec<ShardId> {
    (0..cores.len()).filter(|&shard| cores[shard] == core).map(|shard| ShardId(shard as u16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_spread_evenly_and_the_control_shard_comes_first() {
        for (shards, cores) in [(1, 1), (16, 2), (16, 3), (2, 2), (5, 5)] {
            let spread = spread(shards, cores);
            assert_eq!(spread[0], CoreId(0));
            let counts: Vec<usize> = (0..cores).map(|core| shards_of(CoreId(core as u16), &spread).len()).collect();
            assert_eq!(counts.iter().sum::<usize>(), shards);
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
        }
    }
}
