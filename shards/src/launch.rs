//! From settings to a running process: the checks in their order, the executors, the greeting, the end.
//!
//! Owns what mqbroker and mqnamesrv have in common and where they differ. Everything that can be refused is refused before
//! the first executor is started, and leaves the machine as it was.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use ringmq_core::event::{CoreId, ShardId};
use ringmq_core::namesrv::{KvConfig, NameServer};
use ringmq_core::settings::{BrokerSettings, Loaded, NamesrvSettings};
use ringmq_core::store::{LogOptions, Superblock};

use crate::args::{self, BrokerArgs, NamesrvArgs};
use crate::boot::direct_io::WriteMode;
use crate::boot::directory::DataDirectory;
use crate::boot::{
    Refused, configuration, cpus, direct_io, directory, format, heap, memory, ports, ring, shard_directory,
};
use crate::executor::{self, ExecutorPlan};
use crate::greeting::{BrokerGreeting, Greeting, NamesrvGreeting};
use crate::limits;
use crate::net::Door;
use crate::net::listener::{self, Census, Listening};
use crate::open::{ShardPlan, Source};
use crate::registrar::Habits;
use crate::{clock, mesh, reshard, signals};

/// Runs a broker until it is told to stop.
///
/// # Errors
/// The one line that says why it cannot start.
pub fn broker(args: &BrokerArgs) -> Result<(), Refused> {
    let begun = Instant::now();
    let mut flags = args::pairs(&args.set)?;
    if let Some(namesrv) = &args.namesrv {
        flags.push(("namesrvAddr", namesrv));
    }
    let mut loaded: Loaded<BrokerSettings> = configuration::load(args.config.as_deref(), &flags)?;
    if args.print {
        print!("{}", loaded.listing());
        return Ok(());
    }
    loaded.notices.iter().for_each(|notice| crate::warn!("{notice}"));
    if let Some(shards) = args.reshard {
        return reshard::run(loaded, shards);
    }
    if let Some(shard) = args.abandon_shard {
        return shard_directory::abandon(&loaded, ShardId(shard));
    }
    heap::give_back_large_blocks();
    ring::probe()?;
    let network = &loaded.settings.network;
    let bind = bind_address(&network.bind_address);
    let mut doors = vec![
        (ports::free(bind, network.listen_port, "listenPort")?, Door::Broker),
        (ports::free(bind, loaded.settings.vip_port(), "listenPort")?, Door::Broker),
    ];
    if loaded.settings.runs_embedded_namesrv() {
        doors.push((ports::free(bind, network.namesrv_listen_port, "namesrvListenPort")?, Door::NameServer));
    }
    let cores = &loaded.settings.cores;
    let node = cpus::numa_node(cores.numa_node);
    let cpus = cpus::choose(cores.cpus.as_deref(), node)?;
    bind_memory(node);
    let directory = directory::open(Path::new(&loaded.settings.store.store_path_root_dir))?;
    let mode = direct_io::probe(&directory.root)?;
    let superblock = format::start(&directory, &mut loaded, cpus.len())?;
    // An executor without a shard would have nothing to do.
    let cpus = &cpus[..cpus.len().min(usize::from(superblock.shards))];
    let io_memory = ring::lock_memory(cpus.len())?;
    let names = match loaded.settings.runs_embedded_namesrv() {
        true => Some(embedded_name_server(&loaded.settings)?),
        false => None,
    };
    let greeting = BrokerGreeting::new(&loaded.settings, &superblock, cpus, mode, doors[0].0);
    let registrars = habits(&loaded.settings);
    let idle = Duration::from_secs(loaded.settings.network.server_channel_max_idle_time);
    let crew = Crew { cpus, io_memory, idle, doors };
    let shards = Some((shard_plans(&directory, &superblock, mode)?, loaded));
    run(crew, shards, names, registrars, &greeting, begun)
}

/// Keeps memory on the NUMA node that was chosen. Whoever may not choose runs without.
fn bind_memory(node: Option<u32>) {
    if let Some(node) = node
        && let Err(error) = memory::stay_on(node)
    {
        crate::warn!("memory is not bound to NUMA node {node}: {error}; numactl --membind={node} may be allowed to");
    }
}

/// Runs a name server until it is told to stop.
///
/// # Errors
/// The one line that says why it cannot start.
pub fn name_server(args: &NamesrvArgs) -> Result<(), Refused> {
    let begun = Instant::now();
    let loaded: Loaded<NamesrvSettings> = configuration::load(args.config.as_deref(), &args::pairs(&args.set)?)?;
    if args.print {
        print!("{}", loaded.listing());
        return Ok(());
    }
    loaded.notices.iter().for_each(|notice| crate::warn!("{notice}"));
    ring::probe()?;
    let network = &loaded.settings.network;
    let address = ports::free(bind_address(&network.bind_address), network.listen_port, "listenPort")?;
    // Routes are little work: one CPU, wherever the scheduler wants it.
    let cpus = cpus::allowed()?;
    let io_memory = ring::lock_memory(1)?;
    let idle = Duration::from_secs(network.server_channel_max_idle_time);
    let greeting = NamesrvGreeting { address };
    let kv = key_values(Path::new(&loaded.settings.routes.kv_config_path))?;
    let server = NameServer::new(clock::now(), loaded, kv);
    let crew = Crew { cpus: &cpus[..1], io_memory, idle, doors: vec![(address, Door::NameServer)] };
    run(crew, None, Some(server), Vec::new(), &greeting, begun)
}

/// What all executors have in common.
struct Crew<'c> {
    cpus: &'c [usize],
    io_memory: usize,
    idle: Duration,
    doors: Vec<(SocketAddr, Door)>,
}

/// Starts the executors, greets, and waits for their end.
fn run(
    crew: Crew<'_>,
    shards: Option<(Vec<ShardPlan>, Loaded<BrokerSettings>)>,
    mut names: Option<NameServer>,
    mut registrars: Vec<Habits>,
    greeting: &dyn Greeting,
    begun: Instant,
) -> Result<(), Refused> {
    signals::block();
    executor::abort_on_panic();
    let count = crew.cpus.len();
    let most = connections_max();
    let census = Census::new(count, most);
    let (plans, truth) = match shards {
        Some((plans, loaded)) => (plans, Some(loaded)),
        None => (Vec::new(), None),
    };
    let cores: Box<[CoreId]> = executor::spread(plans.len(), count).into();
    let (mut sources, mut plans) = (sources(truth, count), plans.into_iter());
    let (ready, readiness) = mpsc::channel();
    let (mut handles, mut ropes) = (Vec::new(), Vec::new());
    for (at, ends) in mesh::wire(count).into_iter().enumerate() {
        let core = CoreId(at as u16);
        let own = executor::shards_of(core, &cores).len();
        let (rope, bell) = signals::bell().map_err(|error| system_refused(&error))?;
        ropes.push(rope);
        handles.push(executor::start(ExecutorPlan {
            core,
            cpu: Some(crew.cpus[at]),
            io_memory: crew.io_memory,
            shards: sources.next().map(|source| (plans.by_ref().take(own).collect(), source)),
            names: names.take(),
            registrars: std::mem::take(&mut registrars),
            cores: cores.clone(),
            ends,
            listening: listening(&crew.doors, at == 0)?,
            census: census.clone(),
            idle: crew.idle,
            bell,
            ready: ready.clone(),
        })?);
    }
    drop(ready);
    signals::watch(ropes).map_err(|error| system_refused(&error))?;
    for _ in 0..count {
        readiness.recv().map_err(|_| Refused::new("an executor ended while starting", "see the lines above"))??;
    }
    println!("{}", greeting.text(begun.elapsed()));
    for handle in handles {
        // A panic has ended the process already.
        let _ = handle.join();
    }
    crate::info!("stopped");
    Ok(())
}

/// Where each executor's shards learn about topics: the first from its log, the others from the first.
fn sources(truth: Option<Loaded<BrokerSettings>>, count: usize) -> impl Iterator<Item = Source> {
    let mut sources = Vec::new();
    if let Some(loaded) = truth {
        let (tell, told): (Vec<_>, Vec<_>) = (1..count).map(|_| mpsc::channel()).unzip();
        sources.push(Source::Truth(Box::new(loaded), tell));
        sources.extend(told.into_iter().map(Source::Told));
    }
    sources.into_iter()
}

/// The sockets of one executor. The name server lives on the first.
fn listening(doors: &[(SocketAddr, Door)], is_first: bool) -> Result<Vec<Listening>, Refused> {
    let own = doors.iter().filter(|(_, door)| is_first || *door == Door::Broker);
    own.map(|&(address, door)| {
        listener::listen(address, door).map_err(|error| {
            Refused::new(format!("cannot listen on {address}: {error}"), "another process was faster; try again")
        })
    })
    .collect()
}

fn system_refused(error: &std::io::Error) -> Refused {
    Refused::new(format!("the system is out of threads or descriptors: {error}"), "see the limits of this process")
}

/// `*` is every address.
fn bind_address(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

fn shard_plans(directory: &DataDirectory, superblock: &Superblock, mode: WriteMode) -> Result<Vec<ShardPlan>, Refused> {
    let plan = |id| {
        let options = LogOptions::of(superblock, id).ok_or_else(|| {
            Refused::new(
                format!("segments of {} bytes are not possible", superblock.segment_size),
                "set mappedFileSizeCommitLog to a multiple of 1 MiB up to 1 GiB",
            )
        })?;
        let directory = directory.root.join(superblock.shard_directory(id));
        Ok(ShardPlan { id, shards: superblock.shards, options, directory, mode })
    };
    (0..superblock.shards).map(|id| plan(ShardId(id))).collect()
}

fn habits(settings: &BrokerSettings) -> Vec<Habits> {
    let network = &settings.network;
    let habit = |address: &str| Habits {
        address: address.to_owned(),
        every: Duration::from_millis(network.register_name_server_period),
        patience: Duration::from_millis(network.register_broker_timeout),
        compressed: network.compressed_register,
    };
    settings.namesrv_addresses().map(habit).collect()
}

fn embedded_name_server(broker: &BrokerSettings) -> Result<NameServer, Refused> {
    let host = configuration::host();
    let settings = NamesrvSettings::embedded_in(broker, &host);
    let (network, routes) = (&settings.network, &settings.routes);
    let flags = [
        ("listenPort", network.listen_port.to_string()),
        ("bindAddress", network.bind_address.clone()),
        ("serverChannelMaxIdleTimeSeconds", network.server_channel_max_idle_time.to_string()),
        ("kvConfigPath", routes.kv_config_path.clone()),
    ];
    let flags = flags.each_ref().map(|(key, value)| (*key, value.as_str()));
    let kv = key_values(Path::new(&routes.kv_config_path))?;
    Ok(NameServer::new(clock::now(), configuration::load(None, &flags)?, kv))
}

/// The key-value configuration of a name server's earlier run.
fn key_values(path: &Path) -> Result<KvConfig, Refused> {
    let refused = |problem: String| {
        Refused::new(
            format!("{} {problem}", path.display()),
            "repair or remove it, or set kvConfigPath to another file",
        )
    };
    match std::fs::read_to_string(path) {
        Ok(text) => KvConfig::read(&text).map_err(|error| refused(format!("is no key-value configuration: {error}"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(KvConfig::default()),
        Err(error) => Err(refused(format!("cannot be read: {error}"))),
    }
}

/// Raises the limit of file descriptors as far as this process may; most of them are for connections.
fn connections_max() -> u32 {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // What counts is read below.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    let most = descriptors.saturating_sub(limits::FDS_RESERVED).clamp(64, limits::CONNECTIONS_MAX);
    u32::try_from(most).expect("CONNECTIONS_MAX fits 32 bits")
}
