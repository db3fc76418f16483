//! One executor: a thread pinned to a CPU, from the recovery of its shards to their last write.
//!
//! Owns the order of starting and stopping. A shard is data; several may live on one executor, so a directory made on
//! sixteen cores starts on two. A panic anywhere ends the whole process with one line: the log is safe, and half a broker
//! would only be harder to understand.

use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use futures_lite::AsyncReadExt;
use glommio::net::UnixStream;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use ringmq_core::event::{CoreId, ShardId};

use crate::boot::Refused;
use crate::clock;
use crate::disk::DiskQueues;
use crate::driver::{Driver, Hosted, Names};
use crate::limits;
use crate::mesh::{self, Ends};
use crate::net::listener::{self, Census, Listening};
use crate::registrar;
use crate::signals::Bell;
use crate::store::{self, ShardPlan};
use crate::turn;

/// Everything an executor's thread is given.
pub struct ExecutorPlan {
    pub core: CoreId,
    /// The CPU to run on; `None` where pinning is not possible.
    pub cpu: Option<usize>,
    /// Memory registered with the rings, bytes.
    pub io_memory: usize,
    /// The shards that live here.
    pub shards: Vec<ShardPlan>,
    /// The name server that lives here, if any.
    pub names: Option<ringmq_core::namesrv::NameServer>,
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
        .spawn(move || run(plan))
        .map_err(|error| {
            Refused::new(format!("an executor cannot be started: {error}"), "see the limits of this process")
        })
}

/// Ends the process when any thread panics: one clear line instead of an executor that is silently gone.
pub fn abort_on_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        crate::error!(
            "a bug ended this process; what was acknowledged is safe in the log, please report the lines above"
        );
        std::process::abort();
    }));
}

async fn run(plan: ExecutorPlan) {
    let ExecutorPlan { core, cpu: _, io_memory: _, shards, names, cores, ends, listening, census, idle, bell, ready } =
        plan;
    let hosted = match store::open_all(shards, DiskQueues::new()).await {
        Ok(hosted) => hosted,
        Err(refused) => {
            let _ = ready.send(Err(refused));
            return;
        }
    };
    let driver = Rc::new(Driver::new(core, hosted, names.map(Names::new), cores));
    for hosted in &driver.hosted {
        hosted.disk.attach(&driver, hosted);
    }
    connect(&driver, ends, &census).await;
    let mut tasks = vec![
        glommio::spawn_local(turn::end_turns(driver.clone())),
        glommio::spawn_local(turn::keep_deadlines(driver.clone())),
        glommio::spawn_local(turn::close_idle(driver.clone(), idle)),
    ];
    driver.turn.nudge();
    let accepting: Vec<_> = listening
        .into_iter()
        .map(|listening| glommio::spawn_local(listener::accept(driver.clone(), listening, census.clone())))
        .collect();
    let _ = ready.send(Ok(core));
    wait_for(bell).await;
    for task in accepting {
        task.cancel().await;
    }
    stop(&driver).await;
    for task in tasks.drain(..) {
        task.cancel().await;
    }
}

/// Connects this executor with all others, both ways at once.
async fn connect(driver: &Rc<Driver>, ends: Ends, census: &Census) {
    for (to, sender) in ends.senders {
        let link = driver.mesh.borrow_mut().connect(to);
        let turn = driver.turn.clone();
        glommio::spawn_local(async move { mesh::carry(link, sender.connect().await, turn).await }).detach();
    }
    for (_, receiver) in ends.receivers {
        let (driver, census) = (driver.clone(), census.clone());
        glommio::spawn_local(async move { turn::receive(driver, receiver.connect().await, census).await }).detach();
    }
}

async fn wait_for(Bell(bell): Bell) {
    let mut bell = UnixStream::from(socket2::Socket::from(std::os::fd::OwnedFd::from(bell)));
    let mut byte = [0; 1];
    // The end of the stream counts as a ring: whoever could have rung is gone.
    let _ = bell.read(&mut byte).await;
}

/// Writes what is in memory only, waits for the disk, and leaves a checkpoint.
async fn stop(driver: &Rc<Driver>) {
    let patience = clock::mono_us() + limits::STOP_PATIENCE.as_micros() as u64;
    driver.stop();
    for hosted in &driver.hosted {
        while !is_written(hosted) && clock::mono_us() < patience {
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
        store::leave(hosted).await;
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
