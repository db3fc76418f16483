//! `ringmq-fuzz`: damages directories for as long as it is told to, and says which case made a start go wrong.
//!
//! A case that does not end, or takes memory beyond a limit, ends the run with its name.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use clap::Parser;
use ringmq_sim::fuzz::{CASES, Directory, Ended};

/// Starts brokers on damaged directories.
#[derive(Parser)]
#[command(
    name = "ringmq-fuzz",
    version,
    after_help = "\
Examples:
  ringmq-fuzz --minutes 30
  ringmq-fuzz --seed 42 --case 7   one case again"
)]
struct Flags {
    /// How long
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// The directory of this seed only; fresh ones from the clock if absent
    #[arg(long)]
    seed: Option<u64>,
    /// One case of that directory
    #[arg(long, requires = "seed")]
    case: Option<u64>,
}

/// A case takes milliseconds; one that takes this long will not end.
const HANGS_AFTER: Duration = Duration::from_secs(20);

/// Resident memory of the whole process beyond which something was believed that must not be: directories have a few
/// megabytes.
const MEMORY_LIMIT_KIB: u64 = 2 << 20;

/// What the watchdog looks at.
static CASE: AtomicU64 = AtomicU64::new(0);
static SEED: AtomicU64 = AtomicU64::new(0);

fn main() -> ExitCode {
    let flags = Flags::parse();
    if let (Some(seed), Some(case)) = (flags.seed, flags.case) {
        let ended = Directory::new(seed).and_then(|directory| directory.case(case));
        println!("seed {seed} case {case}: {ended:?}");
        return if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    std::thread::spawn(watch);
    let first = flags.seed.unwrap_or_else(|| UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos() as u64 & 0xffff_ffff);
    let end = Instant::now() + Duration::from_secs_f64(flags.minutes * 60.0);
    println!("directories from seed {first} on, {} minutes", flags.minutes);
    let (mut started, mut refused, mut failed) = (0_u64, 0_u64, 0_u64);
    for seed in first.. {
        if Instant::now() >= end || failed >= 20 || flags.seed.is_some_and(|only| only != seed) {
            break;
        }
        SEED.store(seed, Ordering::Relaxed);
        // What the simulation itself finds is its own run's to report.
        let Ok(directory) = Directory::new(seed) else { continue };
        for case in 0..CASES {
            CASE.fetch_add(1, Ordering::Relaxed);
            match directory.case(case) {
                Ok(Ended::Started) => started += 1,
                Ok(Ended::Refused) => refused += 1,
                Err(why) => {
                    failed += 1;
                    println!(
                        "seed {seed} case {case}: {why}\n  again: cargo run --release -p ringmq-sim --bin ringmq-fuzz -- --seed {seed} --case {case}"
                    );
                }
            }
        }
    }
    println!(
        "{started} started, {refused} refused with a reason, {failed} findings; peak memory {} MiB",
        peak_kib() >> 10
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Ends the process when a case neither ends nor stays small.
fn watch() {
    let mut last = (0, Instant::now());
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let case = CASE.load(Ordering::Relaxed);
        if case != last.0 {
            last = (case, Instant::now());
        }
        let hangs = last.1.elapsed() > HANGS_AFTER;
        if hangs || peak_kib() > MEMORY_LIMIT_KIB {
            let seed = SEED.load(Ordering::Relaxed);
            let what = if hangs { "does not end" } else { "takes all memory" };
            println!("seed {seed}, case {} in all: {what}", case);
            std::process::exit(1);
        }
    }
}

/// The most memory this process has held so far.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
