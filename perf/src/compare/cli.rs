//! The command line of `compare`.
//!
//! Owns options, defaults and help.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// RingMQ, the Apache broker and a broker that stores nothing, under the same load, in turns.
///
/// Needs a JDK and Maven for the Apache broker (its jars come from Maven Central by name and version). Two CPUs are
/// enough: the brokers run on one, the load on the other, unless a workload says "all CPUs".
#[derive(Parser, Debug, Clone)]
#[command(
    name = "compare",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  the figures of README and issue tracker, about half an hour
    perf/compare
  three workloads, quickly
    perf/compare --rounds 3 --workloads async-16x64,sync-16x64,sync-1x1
  RingMQ and the null broker only: no JDK needed
    perf/compare --without-apache
  everything there is
    perf/compare --all"
)]
pub struct Args {
    /// Workloads by name [default: those of the summary table]; --list shows all.
    #[arg(long, value_delimiter = ',', value_name = "NAME[,NAME]")]
    pub workloads: Vec<String>,
    /// Every workload.
    #[arg(long, conflicts_with = "workloads")]
    pub all: bool,
    /// Show the workloads and end.
    #[arg(long)]
    pub list: bool,
    /// Rounds; figures are medians over them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=99))]
    pub rounds: u16,
    /// Seconds each contestant is measured in a round.
    #[arg(long, default_value_t = 3)]
    pub seconds: u32,
    /// CPUs of the brokers.
    #[arg(long, value_delimiter = ',', default_value = "0", value_name = "CPU[,CPU]")]
    pub broker_cpus: Vec<usize>,
    /// CPUs of the load.
    #[arg(long, value_delimiter = ',', default_value = "1", value_name = "CPU[,CPU]")]
    pub load_cpus: Vec<usize>,
    /// Directory for all brokers' data; the disk that is compared. About 20 GB are used at most.
    #[arg(long, default_value = "target/compare")]
    pub data: PathBuf,
    /// Directory of the report [default: perf/results/DATE-COMMIT].
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Version of the Apache broker.
    #[arg(long, default_value = "5.3.3")]
    pub apache_version: String,
    /// Heap of each Apache broker.
    #[arg(long, default_value = "2g")]
    pub heap: String,
    /// How long an Apache broker is loaded before it is measured, seconds: its JIT compiler needs that.
    #[arg(long, default_value = "20", value_parser = seconds)]
    pub warm_apache: Duration,
    /// Leave the Apache broker out.
    #[arg(long)]
    pub without_apache: bool,
    /// Leave start-up time, memory and idle CPU out.
    #[arg(long)]
    pub skip_processes: bool,
}

impl Args {
    /// Where the report goes.
    pub fn out_directory(&self) -> PathBuf {
        self.out.clone().unwrap_or_else(|| {
            PathBuf::from("perf/results").join(format!("{}-{}", super::machine::today(), super::machine::commit()))
        })
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_secs).map_err(|_| "expected whole seconds".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        super::Args::command().debug_assert();
    }
}
