//! What a broker costs as a process: time to the first acknowledged send, memory, CPU while idle.
//!
//! Owns the reading of /proc. The first message is sent by a perfgen process, whose own start is part of the time.

use std::time::{Duration, Instant};

use nix::unistd::{Pid, SysconfVar, sysconf};

use super::Stage;
use super::contestant::{Contestant, Kind};
use super::workloads::{Flush, IDLE};

/// How long a broker is watched doing nothing.
const WATCHED: Duration = Duration::from_secs(10);

/// Ten thousand connections are made, and each has sent a heartbeat.
const IDLE_SETTLES: Duration = Duration::from_secs(32);

/// What was found.
#[derive(Debug)]
pub struct ProcessFigures {
    pub kind: Kind,
    pub first_ack: Duration,
    pub idle_mib: f64,
    /// Of one CPU, percent.
    pub idle_cpu: f64,
    /// Resident memory per idle connection.
    pub connection_kib: f64,
    pub loaded_mib: f64,
    /// The first ten seconds of a fresh process under full load.
    pub cold_per_second: f64,
    pub cold_errors: u64,
}

/// Starts each broker anew and looks at it.
///
/// # Errors
/// One does not start, or is gone.
pub fn measure(stage: &Stage<'_>) -> Result<Vec<ProcessFigures>, String> {
    let mut figures = Vec::new();
    for kind in ProcessFigures::OF {
        super::say(&format!("{}: start, idle, cold", kind.name()));
        let since = Instant::now();
        let broker = match kind {
            Kind::Apache(flush) => stage.apache(flush)?,
            _ => Some(stage.ringmq(&stage.args.broker_cpus)?),
        };
        let Some(broker) = broker else { continue };
        figures.push(look(stage, &broker, since)?);
        drop(broker);
        stage.rest();
    }
    Ok(figures)
}

fn look(stage: &Stage<'_>, broker: &Contestant, since: Instant) -> Result<ProcessFigures, String> {
    let cpus = &stage.args.load_cpus;
    stage.perfgen.wait_for(broker, cpus)?;
    let first_ack = since.elapsed();
    std::thread::sleep(Duration::from_secs(2));
    let before = cpu_time(broker.pid())?;
    std::thread::sleep(WATCHED);
    let idle = cpu_time(broker.pid())? - before;
    let idle_mib = resident_mib(broker.pid())?;
    let connection_kib = with_connections(stage, broker, idle_mib)?;
    let cold =
        stage.perfgen.run(broker, "send -c 16 -f 64 --warmup 0s --duration 10s", "cold", Some(Flush::Async), cpus)?;
    Ok(ProcessFigures {
        kind: broker.kind,
        first_ack,
        idle_mib,
        idle_cpu: idle.as_secs_f64() / WATCHED.as_secs_f64() * 100.0,
        connection_kib,
        loaded_mib: resident_mib(broker.pid())?,
        cold_per_second: cold.per_second,
        cold_errors: cold.errors,
    })
}

/// What ten thousand idle connections cost, KiB of memory each.
fn with_connections(stage: &Stage<'_>, broker: &Contestant, before_mib: f64) -> Result<f64, String> {
    let beside = stage.perfgen.beside(broker, IDLE, &stage.args.load_cpus)?;
    std::thread::sleep(IDLE_SETTLES);
    let grown = resident_mib(broker.pid())? - before_mib;
    drop(beside);
    std::thread::sleep(Duration::from_secs(1));
    Ok(grown * 1024.0 / 10_000.0)
}

/// User and system time of all threads so far (proc_pid_stat(5), fields 14 and 15, in clock ticks).
fn cpu_time(pid: Pid) -> Result<Duration, String> {
    let gone = || format!("process {pid} is gone");
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|_| gone())?;
    let (_, fields) = text.rsplit_once(')').ok_or_else(gone)?;
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// Resident memory, mapped files counted (proc_pid_status(5), VmRSS).
fn resident_mib(pid: Pid) -> Result<f64, String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(|_| format!("process {pid} is gone"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 = line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0.0);
    Ok(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_used_time() {
        let pid = Pid::this();
        assert!(resident_mib(pid).expect("alive") > 0.1);
        assert!(cpu_time(pid).expect("alive") < Duration::from_secs(3600));
    }
}
