//! `compare`: RingMQ, the Apache broker and a broker that stores nothing, under the same load, in turns.
//!
//! Owns the order of a comparison: calibrate the disk, start everything, warm everything, then drive each workload through
//! all contestants round after round (only one runs at a time, the others are stopped by SIGSTOP), calibrate the disk
//! again, write the report. The machine changes its speed for minutes at a time; alternation makes that hit all alike, and
//! figures are medians over the rounds. Never measures anything itself: perfgen does, as a process of its own.

pub mod apache;
pub mod cli;
pub mod contestant;
pub mod figures;
pub mod machine;
pub mod plots;
pub mod report;
pub mod sample;
pub mod workloads;

use std::path::{Path, PathBuf};
use std::time::Duration;

use apache::Apache;
use cli::Args;
use contestant::{Contestant, Kind};
use figures::ProcessFigures;
use machine::Machine;
use report::{Comparison, Row};
use sample::{Perfgen, Sample};
use workloads::{Flush, Workload};

/// Sends before the first measured round, so that a JIT compiler has seen the path.
const WARM: &str = "send -c 16 -f 64 --warmup 0s";

/// Runs the comparison and writes the report.
///
/// # Errors
/// One sentence: something is missing, does not start, or cannot be written.
pub fn run(args: &Args) -> Result<(), String> {
    let out = args.out_directory();
    std::fs::create_dir_all(&out).map_err(|error| format!("{} cannot be made: {error}", out.display()))?;
    let workloads: Vec<&'static Workload> = workloads::chosen(&args.workloads, args.all)?;
    let stage = Stage::new(args)?;
    let machine = Machine::look(&stage.data)?;
    say(&format!("{} workloads, {} rounds; data in {}", workloads.len(), args.rounds, stage.data.display()));
    let before = stage.perfgen.disk(&stage.data)?;
    let figures = if args.skip_processes { Vec::new() } else { figures::measure(&stage)? };
    let mut company = stage.start_apache()?;
    let mut rows = Vec::new();
    for (n, workload) in workloads.iter().enumerate() {
        say(&format!("[{}/{}] {}: {}", n + 1, workloads.len(), workload.name, workload.about));
        rows.push(stage.alternate(workload, &mut company)?);
    }
    drop(company);
    let after = stage.perfgen.disk(&stage.data)?;
    stage.clear();
    let comparison = Comparison { machine, args, before, after, rows, figures, commands: stage.perfgen.commands() };
    report::write(&comparison, &out)?;
    say(&format!("the report is {}", out.join("report.md").display()));
    Ok(())
}

/// Progress goes to stderr.
pub fn say(line: &str) {
    eprintln!("compare: {line}");
}

/// Everything a run needs besides the contestants.
pub struct Stage<'a> {
    pub args: &'a Args,
    /// Where all brokers keep their data: the same disk.
    pub data: PathBuf,
    pub perfgen: Perfgen,
    apache: Option<Apache>,
    mqbroker: PathBuf,
}

impl<'a> Stage<'a> {
    fn new(args: &'a Args) -> Result<Self, String> {
        let data = args.data.join(format!("ringmq-compare-{}", std::process::id()));
        std::fs::create_dir_all(&data).map_err(|error| format!("{} cannot be made: {error}", data.display()))?;
        let here = std::env::current_exe().map_err(|error| format!("the own path is unknown: {error}"))?;
        let beside = |name: &str| -> Result<PathBuf, String> {
            let path = here.with_file_name(name);
            path.exists()
                .then_some(path.clone())
                .ok_or_else(|| format!("{} is missing; build it first: cargo build --release", path.display()))
        };
        let apache = if args.without_apache { None } else { Some(Apache::fetch(&args.apache_version)?) };
        let perfgen = Perfgen::new(beside("perfgen")?, args);
        Ok(Stage { args, data, perfgen, apache, mqbroker: beside("mqbroker")? })
    }

    /// A directory for one contestant's data.
    fn directory(&self, name: &str) -> PathBuf {
        self.data.join(name)
    }

    /// A RingMQ broker with an empty directory; without `cpus` on all.
    pub fn ringmq(&self, cpus: &[usize]) -> Result<Contestant, String> {
        contestant::ringmq(&self.mqbroker, &self.directory("ringmq"), cpus)
    }

    /// The Apache broker in one flush mode; `None` if the comparison is without it.
    pub fn apache(&self, flush: Flush) -> Result<Option<Contestant>, String> {
        let Some(apache) = &self.apache else { return Ok(None) };
        let directory = self.directory(&format!("apache-{}", flush.name()));
        contestant::apache(apache, &directory, flush, &self.args.heap, &self.args.broker_cpus).map(Some)
    }

    /// Both Apache brokers, warm and stopped. They live through all workloads; RingMQ starts anew for each, which costs
    /// milliseconds and keeps the disk from filling.
    fn start_apache(&self) -> Result<Vec<Contestant>, String> {
        let mut company = Vec::new();
        for flush in [Flush::Async, Flush::Sync] {
            let Some(broker) = self.apache(flush)? else { continue };
            say(&format!("warming {} for {:?}", broker.kind.name(), self.args.warm_apache));
            let line = format!("{WARM} --duration {}ms", self.args.warm_apache.as_millis());
            // A cold Apache broker refuses sends: that is what warming is for.
            let _ = self.perfgen.run(&broker, &line, "warm", None, &self.args.load_cpus);
            broker.pause()?;
            company.push(broker);
        }
        Ok(company)
    }

    /// One workload on every contestant, round after round.
    fn alternate(&self, workload: &'static Workload, company: &mut [Contestant]) -> Result<Row, String> {
        let broker_cpus = if workload.all_cpus { &[][..] } else { &self.args.broker_cpus };
        let mut own = vec![self.ringmq(broker_cpus)?];
        if workload.null {
            own.push(contestant::null(self.perfgen.path(), &self.args.broker_cpus)?);
        }
        let apache = company.iter().filter(|broker| broker.kind.flush() == Some(workload.flush));
        let contestants: Vec<&Contestant> = own.iter().chain(apache).collect();
        let cpus = if workload.all_cpus { &[][..] } else { &self.args.load_cpus };
        for contestant in &contestants {
            self.wake(contestant, workload, cpus)?;
            if let Some(fill) = workload.fill {
                self.perfgen.run(contestant, fill, workload.name, Some(workload.flush), cpus)?;
            }
            contestant.pause()?;
        }
        let mut samples: Vec<(Kind, Vec<Sample>)> = contestants.iter().map(|one| (one.kind, Vec::new())).collect();
        for round in 0..usize::from(self.args.rounds) {
            for turn in 0..contestants.len() {
                // Another one begins each time: who comes first finds the disk as the last one left it.
                let at = (turn + round) % contestants.len();
                self.wake(contestants[at], workload, cpus)?;
                let sample = self.perfgen.measure(contestants[at], workload, round, cpus);
                contestants[at].pause()?;
                let sample = sample?;
                say(&format!("  {:<14} {}", contestants[at].kind.name(), sample.line()));
                samples[at].1.push(sample);
            }
        }
        drop(own);
        self.rest();
        Ok(Row { workload, samples })
    }

    fn wake(&self, contestant: &Contestant, workload: &Workload, cpus: &[usize]) -> Result<(), String> {
        contestant.resume(workload.all_cpus)?;
        if contestant.kind == Kind::Null { Ok(()) } else { self.perfgen.wait_for(contestant, cpus) }
    }

    /// Removes what RingMQ wrote; a file system that discards is busy with that for a moment.
    fn rest(&self) {
        remove(&self.directory("ringmq"));
        std::thread::sleep(Duration::from_secs(3));
    }

    fn clear(&self) {
        remove(&self.data);
    }
}

impl ProcessFigures {
    /// The two that are compared as processes, too.
    pub const OF: [Kind; 2] = [Kind::RingMq, Kind::Apache(Flush::Async)];
}

fn remove(directory: &Path) {
    if let Err(error) = std::fs::remove_dir_all(directory)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        say(&format!("{} could not be removed: {error}", directory.display()));
    }
}
