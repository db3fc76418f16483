//! One measured run: perfgen as a process, and what its JSON says.
//!
//! Owns perfgen's command line and the reading of its figures.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::cli::Args;
use super::contestant::{Contestant, Kind};
use super::workloads::{Flush, Workload};
use crate::report::grouped;

/// Time before the measured part of each run.
const WARMUP: &str = "1s";

/// How long a broker may take no message after it went on.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one run gave.
#[derive(Debug, Clone)]
pub struct Sample {
    pub per_second: f64,
    pub megabytes: f64,
    pub errors: u64,
    /// Nanoseconds.
    pub p50: u64,
    pub p99: u64,
    pub p99_9: u64,
    /// perfgen's whole result.
    pub raw: Value,
}

impl Sample {
    fn of(raw: Value) -> Option<Self> {
        let results = &raw["results"];
        let latency = &results["latency"];
        Some(Sample {
            per_second: results["messages_per_second"].as_f64()?,
            megabytes: results["megabytes_per_second"].as_f64()?,
            errors: results["errors"].as_u64()?,
            p50: latency["p50"].as_u64()?,
            p99: latency["p99"].as_u64()?,
            p99_9: latency["p99_9"].as_u64()?,
            raw,
        })
    }

    /// For the progress.
    pub fn line(&self) -> String {
        let ms = |nanos: u64| nanos as f64 / 1e6;
        format!(
            "{:>10} msg/s  p50 {:>8.3} ms  p99 {:>8.3} ms  {} errors",
            grouped(self.per_second as u64),
            ms(self.p50),
            ms(self.p99),
            self.errors
        )
    }
}

/// perfgen, and the command lines it was started with.
pub struct Perfgen {
    binary: PathBuf,
    seconds: u32,
    /// Per workload and contestant, the newest.
    commands: RefCell<BTreeMap<(String, &'static str), String>>,
}

impl Perfgen {
    /// The program at `binary`.
    pub fn new(binary: PathBuf, args: &Args) -> Self {
        Perfgen { binary, seconds: args.seconds, commands: RefCell::default() }
    }

    /// The program.
    pub fn path(&self) -> &Path {
        &self.binary
    }

    /// The measured commands of each workload and contestant.
    pub fn commands(&self) -> Vec<(String, &'static str, String)> {
        self.commands.borrow().iter().map(|((workload, kind), line)| (workload.clone(), *kind, line.clone())).collect()
    }

    /// Measures one round.
    ///
    /// # Errors
    /// perfgen could not begin.
    pub fn measure(
        &self,
        target: &Contestant,
        workload: &'static Workload,
        round: usize,
        cpus: &[usize],
    ) -> Result<Sample, String> {
        let beside = match workload.beside {
            None => None,
            Some(line) => {
                let topic =
                    if workload.fill.is_some() { workload.name.to_owned() } else { format!("{}-2", workload.name) };
                let group = format!("beside-{round}");
                let beside = Beside(self.start(target, line, &topic, Some(workload.flush), cpus, Some(&group))?);
                std::thread::sleep(Duration::from_secs(workload.head_start));
                Some(beside)
            }
        };
        // A drain that runs beside has the filled topic; a measured one has it itself.
        let topic = match (workload.fill, &beside) {
            (Some(_), None) => workload.name.to_owned(),
            _ => format!("{}-sent", workload.name),
        };
        let group = format!("compare-{round}");
        let child = self.start(target, workload.command, &topic, Some(workload.flush), cpus, Some(&group))?;
        let sample = read(child, workload.command);
        drop(beside);
        sample
    }

    /// Runs a command to its end, on a topic of its own.
    ///
    /// # Errors
    /// perfgen could not begin.
    pub fn run(
        &self,
        target: &Contestant,
        line: &str,
        topic: &str,
        flush: Option<Flush>,
        cpus: &[usize],
    ) -> Result<Sample, String> {
        read(self.start(target, line, topic, flush, cpus, None)?, line)
    }

    /// Starts a load that runs until the result is dropped.
    ///
    /// # Errors
    /// perfgen could not begin.
    pub fn beside(&self, target: &Contestant, line: &str, cpus: &[usize]) -> Result<Beside, String> {
        self.start(target, line, "beside", None, cpus, None).map(Beside)
    }

    /// Waits until a message goes through: an Apache broker that was stopped for longer than its name server waits for a
    /// sign of life is out of the routes until it registers again.
    ///
    /// # Errors
    /// None does within a minute.
    pub fn wait_for(&self, target: &Contestant, cpus: &[usize]) -> Result<(), String> {
        let since = Instant::now();
        loop {
            match self.run(target, "send -c 1 -f 1 --count 1 --timeout 1s", "ready", None, cpus) {
                Ok(sample) if sample.errors == 0 => return Ok(()),
                Err(problem) if since.elapsed() > PATIENCE => return Err(problem),
                _ if since.elapsed() > PATIENCE => return Err(format!("{} takes no message", target.kind.name())),
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn start(
        &self,
        target: &Contestant,
        line: &str,
        topic: &str,
        flush: Option<Flush>,
        cpus: &[usize],
        group: Option<&str>,
    ) -> Result<Child, String> {
        let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let consumes = ["consume", "pop"].contains(&words[0].as_str());
        words.extend(["-n".into(), target.namesrv.clone(), "--topic".into(), topic.into()]);
        if !consumes && target.kind != Kind::Null {
            words.push("--create".into());
            if let (Some(flush), Kind::RingMq) = (flush, target.kind) {
                words.extend(["--flush".into(), flush.name().into()]);
            }
        }
        if !["send", "idle"].contains(&words[0].as_str())
            && let Some(group) = group
        {
            words.extend(["--group".into(), group.into()]);
        }
        if !consumes && !line.contains("--duration") && !line.contains("--count") {
            words.extend(["--duration".into(), self.seconds.to_string(), "--warmup".into(), WARMUP.into()]);
        }
        if !cpus.is_empty() {
            let listed: Vec<String> = cpus.iter().map(ToString::to_string).collect();
            words.extend(["--cpus".into(), listed.join(",")]);
        }
        self.commands
            .borrow_mut()
            .insert((topic.to_owned(), target.kind.name()), format!("perfgen {}", words.join(" ")));
        words.extend(["--json".into(), "--quiet".into()]);
        Command::new(&self.binary)
            .args(&words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("perfgen cannot be started: {error}"))
    }

    /// What the disk gives: perfgen's own calibration, as JSON.
    ///
    /// # Errors
    /// It cannot be written to.
    pub fn disk(&self, directory: &Path) -> Result<Value, String> {
        super::say("calibrating the disk");
        let output = Command::new(&self.binary)
            .args(["disk", "--duration", "2s", "--json"])
            .arg(directory)
            .output()
            .map_err(|error| format!("perfgen cannot be started: {error}"))?;
        serde_json::from_slice(&output.stdout)
            .map_err(|_| format!("perfgen disk failed: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// A load that nobody measures; it ends with the run.
pub struct Beside(Child);

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// perfgen ends with 1 when there were errors; they are among the figures.
fn read(child: Child, line: &str) -> Result<Sample, String> {
    let output = child.wait_with_output().map_err(|error| format!("perfgen was lost: {error}"))?;
    let raw = serde_json::from_slice(&output.stdout).ok();
    raw.and_then(Sample::of).ok_or_else(|| {
        format!(
            "perfgen {line} gave no figures ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_result_without_figures_is_none() {
        assert!(Sample::of(json!({"results": {"messages_per_second": 1.0}})).is_none());
        let raw = json!({"results": {"messages_per_second": 1.5, "megabytes_per_second": 2.0, "errors": 3,
            "latency": {"p50": 4, "p99": 5, "p99_9": 6}}});
        let sample = Sample::of(raw).expect("complete");
        assert_eq!((sample.per_second, sample.errors, sample.p99_9), (1.5, 3, 6));
    }
}
